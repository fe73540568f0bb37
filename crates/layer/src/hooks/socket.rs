//! Sockets: addresses in, addresses out. Everything between is the kernel's.

use core::ffi::{c_int, c_void};

use libc::{msghdr, sockaddr, socklen_t};

use crate::context;
use crate::errno::{self, Errno};
use crate::hook::hook;
use crate::ops::connect::Course;
use crate::ops::{bind, connect, ends};
use crate::sockaddr::{Encoded, encode};
use crate::sys;

/// The program's address argument; empty when it is null.
fn given<'a>(address: *const sockaddr, len: socklen_t) -> &'a [u8] {
    if !sys::may_hold(address) {
        return &[];
    }
    // SAFETY: the program says that the address has `len` bytes; more than any address has are not looked at.
    unsafe { core::slice::from_raw_parts(address.cast(), len.min(128) as usize) }
}

/// Writes an address as the kernel does: cut at the program's room, with the full length. `room` is what the length
/// argument held before the call.
fn give(encoded: &Encoded, room: socklen_t, address: *mut sockaddr, len: *mut socklen_t) {
    let bytes = encoded.bytes();
    let count = bytes.len().min(room as usize);
    // SAFETY: a successful call has shown that both pointers can be written, the address for `room` bytes.
    unsafe {
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), address.cast(), count);
        *len = bytes.len() as socklen_t;
    }
}

/// What the length argument holds; 0 when there is none.
fn room(len: *const socklen_t) -> socklen_t {
    // SAFETY: the program passes null or a pointer to its length.
    if !sys::may_hold(len) { 0 } else { unsafe { *len } }
}

fn family(fd: c_int) -> c_int {
    sys::socket_option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN).unwrap_or(libc::AF_INET)
}

/// Corrects what `SO_ERROR` says of a connection in progress that the proxy has refused.
fn correct_error(fd: c_int, value: *mut c_int) {
    // SAFETY: the call succeeded and filled an integer.
    let value = unsafe { &mut *value };
    if let (libc::ECONNREFUSED, Some(context)) = (*value, context::active()) {
        kept_errno(|| {
            if let Some(Errno(errno)) = ends::true_error(context, fd) {
                *value = errno;
            }
        });
    }
}

fn kept_errno<R>(body: impl FnOnce() -> R) -> R {
    let before = errno::get();
    let result = body();
    errno::set(before);
    result
}

/// Corrects the peer that `accept` or `getpeername` wrote for connection `fd`.
fn correct_peer(fd: c_int, room: socklen_t, address: *mut sockaddr, len: *mut socklen_t) {
    let Some(context) = context::active() else { return };
    if address.is_null() || len.is_null() {
        return;
    }
    kept_errno(|| {
        if let Some(ends) = ends::of_connection(context, fd)
            && let Some(encoded) = encode(ends.peer, family(fd))
        {
            give(&encoded, room, address, len);
        }
    });
}

/// `connect`, also for the raw system call and for data sent with the first packet.
pub(crate) fn connect_with(fd: c_int, address: &[u8], real: impl Fn(&[u8]) -> c_int) -> Course {
    match context::active() {
        Some(context) => connect::connect(context, fd, address, real),
        None => Course::Native,
    }
}

/// `accept` and `getpeername` after the real call.
pub(crate) fn with_peer(
    result: c_int,
    fd: c_int,
    before: socklen_t,
    address: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    if result >= 0 {
        correct_peer(fd, before, address, len);
    }
    result
}

/// `getsockname` after the real call.
pub(crate) fn with_own(
    result: c_int,
    fd: c_int,
    before: socklen_t,
    address: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    let (0, Some(context)) = (result, context::active()) else { return result };
    kept_errno(|| {
        let known = ends::of_connection(context, fd).or_else(|| ends::of_moved(context, fd));
        if let Some(ends) = known
            && let Some(encoded) = encode(ends.local, family(fd))
        {
            give(&encoded, before, address, len);
        }
    });
    result
}

/// `bind`, also for the raw system call.
pub(crate) fn bind_with(fd: c_int, address: &[u8], real: impl Fn(&[u8]) -> c_int) -> Option<c_int> {
    bind::bind(context::active()?, fd, address, real)
}

/// `listen`, also for the raw system call.
pub(crate) fn listen_with(fd: c_int, real: impl Fn() -> c_int) -> c_int {
    match context::active() {
        Some(context) => bind::listen(context, fd, real),
        None => real(),
    }
}

/// Sends with `MSG_FASTOPEN` connect first: data in a first packet to the proxy would not reach the target any sooner.
/// True when the socket is now connected and the address must be left out.
fn connects_first(fd: c_int, address: *const sockaddr, len: socklen_t, flags: c_int) -> Result<bool, ()> {
    if flags & libc::MSG_FASTOPEN == 0 || address.is_null() {
        return Ok(false);
    }
    match connect_with(fd, given(address, len), |bytes| match sys::connect(fd, bytes) {
        Ok(()) => 0,
        Err(errno) => errno::fail(errno),
    }) {
        Course::Native => Ok(false),
        Course::Done(0) => Ok(true),
        Course::Done(_) => Err(()),
    }
}

hook! {
    fn connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int {
        match connect_with(fd, given(address, len), |bytes| real(fd, bytes.as_ptr().cast(), bytes.len() as socklen_t)) {
            Course::Native => real(fd, address, len),
            Course::Done(result) => result,
        }
    }

    fn __connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int {
        match connect_with(fd, given(address, len), |bytes| real(fd, bytes.as_ptr().cast(), bytes.len() as socklen_t)) {
            Course::Native => real(fd, address, len),
            Course::Done(result) => result,
        }
    }

    fn bind(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int {
        bind_with(fd, given(address, len), |bytes| real(fd, bytes.as_ptr().cast(), bytes.len() as socklen_t))
            .unwrap_or_else(|| real(fd, address, len))
    }

    fn listen(fd: c_int, backlog: c_int) -> c_int {
        listen_with(fd, || real(fd, backlog))
    }

    fn accept(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int {
        let before = room(len);
        let accepted = real(fd, address, len);
        with_peer(accepted, accepted, before, address, len)
    }

    fn accept4(fd: c_int, address: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int {
        let before = room(len);
        let accepted = real(fd, address, len, flags);
        with_peer(accepted, accepted, before, address, len)
    }

    fn getpeername(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int {
        let before = room(len);
        with_peer(real(fd, address, len), fd, before, address, len)
    }

    fn getsockname(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int {
        let before = room(len);
        with_own(real(fd, address, len), fd, before, address, len)
    }

    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int {
        let result = real(fd, level, name, value, len);
        if result == 0 && level == libc::SOL_SOCKET && name == libc::SO_ERROR && room(len) as usize == size_of::<c_int>() {
            correct_error(fd, value.cast());
        }
        result
    }

    fn sendto(
        fd: c_int, data: *const c_void, size: usize, flags: c_int, address: *const sockaddr, len: socklen_t
    ) -> isize {
        match connects_first(fd, address, len, flags) {
            Ok(false) => real(fd, data, size, flags, address, len),
            Ok(true) => real(fd, data, size, flags & !libc::MSG_FASTOPEN, core::ptr::null(), 0),
            Err(()) => -1,
        }
    }

    fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> isize {
        if flags & libc::MSG_FASTOPEN == 0 || message.is_null() {
            return real(fd, message, flags);
        }
        // SAFETY: the program passes a message header.
        let mut header = unsafe { *message };
        match connects_first(fd, header.msg_name.cast(), header.msg_namelen, flags) {
            Ok(false) => real(fd, message, flags),
            Ok(true) => {
                header.msg_name = core::ptr::null_mut();
                header.msg_namelen = 0;
                real(fd, &raw const header, flags & !libc::MSG_FASTOPEN)
            }
            Err(()) => -1,
        }
    }
}

/// The arguments of a raw `connect` or `bind` system call as bytes.
pub(crate) fn raw_address<'a>(address: usize, len: usize) -> &'a [u8] {
    given(address as *const sockaddr, len as socklen_t)
}

/// What the length argument of a raw system call holds.
pub(crate) fn raw_room(len: usize) -> socklen_t {
    room(len as *const socklen_t)
}

/// Fails a raw system call.
pub(crate) fn failed(result: Result<usize, Errno>) -> c_int {
    match result {
        Ok(value) => value as c_int,
        Err(errno) => errno::fail(errno),
    }
}
