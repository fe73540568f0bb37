//! `connect`: the program's own socket is connected to the proxy's listener, after the proxy has reached the remote address.
//!
//! The question comes first, so a refused, unreachable or timed-out address is that error, on a socket that was not
//! touched. A non-blocking socket is answered within tens of milliseconds: at worst with a listener that accepts only
//! once the remote connection stands, so that the socket is truly in progress.

use core::ffi::c_int;
use core::net::SocketAddr;

use mirrord_policy::{Route, outgoing};
use mirrord_protocol::layer::{Answer, Question};

use crate::context::Context;
use crate::errno::{self, Errno, fail};
use crate::ops::socket::{TcpSocket, own_address, proxy_fault};
use crate::proxy_link::Patience;
use crate::{sockaddr, sys};

/// Longer than the kernel retries a SYN by default (127 s), so that the pod's kernel is the one that gives up.
const LIMIT_MS: u64 = 150_000;
/// A non-blocking answer takes tens of milliseconds; what takes this long is a fault.
const QUICK_MS: u64 = 10_000;

/// What `connect` does.
pub(crate) enum Course {
    /// Not ours: libc's `connect` with the program's arguments.
    Native,
    /// The result of the call.
    Done(c_int),
}

/// Connects `fd` to `address` if that is remote. `real` is libc's `connect`.
pub(crate) fn connect(context: &Context, fd: c_int, address: &[u8], real: impl Fn(&[u8]) -> c_int) -> Course {
    let Some(remote) = sockaddr::decode(address).map(sockaddr::canonical) else { return Course::Native };
    match outgoing::decide(&context.image, remote).route {
        Route::Local => return Course::Native,
        Route::NotFound => return Course::Done(fail(Errno(libc::EACCES))),
        Route::Remote => {}
    }
    let Some(socket) = TcpSocket::of(fd) else { return Course::Native };
    // A mismatched family, a second connect, a connect on a listener: the kernel knows the right error.
    if address.first_chunk() != Some(&(socket.family as u16).to_ne_bytes()) || !socket.is_closed() {
        return Course::Native;
    }
    let nonblocking = socket.is_nonblocking();
    Course::Done(match attempt(context, socket, (remote, address), nonblocking, &real) {
        Err(Errno(libc::EINTR)) if !nonblocking => interrupted(context, socket, (remote, address), &real),
        Err(errno) => fail(errno),
        Ok(result) => result,
    })
}

/// One question and what follows from it.
fn attempt(
    context: &Context,
    socket: TcpSocket,
    (remote, given): (SocketAddr, &[u8]),
    nonblocking: bool,
    real: impl Fn(&[u8]) -> c_int,
) -> Result<c_int, Errno> {
    let timeout_ms = sys::send_limit(socket.fd);
    let question = Question::Connect { remote, nonblocking, v6: socket.is_v6_alone(), timeout_ms };
    let patience = match (nonblocking, timeout_ms) {
        (true, _) => Patience::Uninterrupted(QUICK_MS),
        (false, 0) => Patience::Interruptible(LIMIT_MS),
        (false, limit) => Patience::Interruptible(u64::from(limit)),
    };
    let line = context.door.open().map_err(proxy_fault)?;
    let mut reply = [0; 64];
    let listener = match line.ask(question, patience, &mut reply) {
        Ok(Answer::Via { listener }) => listener,
        // A listener of the session's own programs, on this machine's loopback.
        Ok(Answer::Native) => return Ok(real(given)),
        Ok(_) => return Err(Errno(libc::ECONNRESET)),
        // A socket whose SO_SNDTIMEO has run out says so with this errno.
        Err(Errno(libc::ETIMEDOUT)) if timeout_ms != 0 && !nonblocking => return Err(Errno(libc::EINPROGRESS)),
        Err(errno) => return Err(errno),
    };
    let address = sockaddr::encode(listener, socket.family).ok_or(Errno(libc::EADDRNOTAVAIL))?;
    let result = real(address.bytes());
    if result == 0 || matches!(errno::get(), Errno(libc::EINPROGRESS | libc::EINTR)) {
        let kept = errno::get();
        let local = own_address(socket.fd).map(sockaddr::canonical).ok_or(Errno(libc::ECONNRESET))?;
        line.tell(Question::Established { local }).map_err(proxy_fault)?;
        errno::set(kept);
    }
    Ok(result)
}

/// A signal ended the wait of a blocking `connect`. As with the kernel, the socket must now be connecting by itself: the
/// question is asked again without waiting, and the socket left in progress.
fn interrupted(
    context: &Context,
    socket: TcpSocket,
    remote: (SocketAddr, &[u8]),
    real: impl Fn(&[u8]) -> c_int,
) -> c_int {
    let in_progress = attempt(context, socket, remote, true, |address| {
        let Ok(flags) = sys::fcntl(socket.fd, libc::F_GETFL, 0) else { return real(address) };
        // Both succeed on a descriptor whose flags could be read.
        let _ = sys::fcntl(socket.fd, libc::F_SETFL, flags | libc::O_NONBLOCK);
        let result = real(address);
        let _ = sys::fcntl(socket.fd, libc::F_SETFL, flags);
        result
    });
    match in_progress {
        Ok(0) => fail(Errno(libc::EINTR)),
        Ok(_) if errno::get() == Errno(libc::EINPROGRESS) => fail(Errno(libc::EINTR)),
        Ok(result) => result,
        Err(errno) => fail(errno),
    }
}
