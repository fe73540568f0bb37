//! Host names and DNS questions. Numeric names, `localhost` and null nodes are libc's own business.

use core::ffi::{CStr, c_char, c_int, c_uchar, c_void};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libc::{addrinfo, hostent, sockaddr, socklen_t};
use mirrord_protocol::layer::{Family, NameError, Question};

use crate::context::{self, Context};
use crate::errno::{Errno, set};
use crate::hook::hook;
use crate::hooks::hostent::Room;
use crate::hooks::link::give;
use crate::ops::resolve::{self, Found, NumericText};

unsafe extern "C" {
    safe fn __h_errno_location() -> *mut c_int;
}

/// Flags that asked something of the name, not of the numbers that it becomes.
const NAME_FLAGS: c_int =
    libc::AI_CANONNAME | libc::AI_ADDRCONFIG | libc::AI_V4MAPPED | libc::AI_ALL | AI_IDN | AI_CANONIDN;
const AI_IDN: c_int = 0x40;
const AI_CANONIDN: c_int = 0x80;

fn set_h_errno(value: c_int) {
    // SAFETY: libc returns the calling thread's cell.
    unsafe { *__h_errno_location() = value }
}

/// The session and the name, when the target resolves it.
fn remote_name<'a>(name: *const c_char) -> Option<(&'static Context, &'a [u8])> {
    let context = context::active()?;
    if !crate::sys::may_hold(name) {
        return None;
    }
    // SAFETY: the program passes a C string.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    resolve::is_remote(context, name).then_some((context, name))
}

/// The session, when the target names `address`.
fn remote_address(address: IpAddr) -> Option<&'static Context> {
    let context = context::active()?;
    let is_own = address.to_canonical().is_loopback() || address.is_unspecified();
    (!is_own && resolve::is_remote(context, b"in-addr.arpa")).then_some(context)
}

type GetAddrInfo<'f> = &'f dyn Fn(*const c_char, *const c_char, *const addrinfo, *mut *mut addrinfo) -> c_int;

/// Resolves remotely and lets libc build the list for each number, so that it is libc's to free.
fn lookup(
    context: &Context,
    name: &[u8],
    service: *const c_char,
    hints: &addrinfo,
    result: *mut *mut addrinfo,
    real: GetAddrInfo<'_>,
) -> c_int {
    let maps = hints.ai_family == libc::AF_INET6 && hints.ai_flags & libc::AI_V4MAPPED != 0;
    let family = match hints.ai_family {
        libc::AF_INET => Family::V4,
        libc::AF_INET6 if maps => Family::Any,
        libc::AF_INET6 => Family::V6,
        _ => Family::Any,
    };
    let found = match resolve::addresses(context, name, family) {
        Ok(found) => found,
        Err(error) => return resolve::eai(error),
    };
    let has_v6 = found.addresses().iter().any(IpAddr::is_ipv6);
    let wants_v4 = !maps || !has_v6 || hints.ai_flags & libc::AI_ALL != 0;
    let mut first: *mut addrinfo = core::ptr::null_mut();
    let mut last: *mut addrinfo = core::ptr::null_mut();
    for &address in found.addresses() {
        let address = match address {
            IpAddr::V4(v4) if maps && wants_v4 => IpAddr::V6(v4.to_ipv6_mapped()),
            IpAddr::V4(_) if !wants_v4 || hints.ai_family == libc::AF_INET6 => continue,
            IpAddr::V6(_) if hints.ai_family == libc::AF_INET => continue,
            other => other,
        };
        let mut one = *hints;
        one.ai_flags = hints.ai_flags & !NAME_FLAGS | libc::AI_NUMERICHOST;
        one.ai_family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let text = NumericText::of(address);
        let mut list: *mut addrinfo = core::ptr::null_mut();
        let error = real(text.as_c_str().as_ptr(), service, &raw const one, &raw mut list);
        if error != 0 {
            // SAFETY: a list that libc made, or null, which is checked.
            unsafe {
                if !first.is_null() {
                    libc::freeaddrinfo(first)
                }
            };
            return error;
        }
        if first.is_null() {
            first = list;
        } else {
            // SAFETY: `last` is the last node of the list so far.
            unsafe { (*last).ai_next = list };
        }
        last = list;
        // SAFETY: libc's lists end with a null link.
        while let Some(next) = unsafe { last.as_ref() }.map(|node| node.ai_next).filter(|next| !next.is_null()) {
            last = next;
        }
    }
    // SAFETY: null, or a list of ours.
    let Some(head) = (unsafe { first.as_mut() }) else { return libc::EAI_NODATA };
    if hints.ai_flags & libc::AI_CANONNAME != 0 {
        head.ai_canonname = give(found.canonical().to_bytes(), core::ptr::null_mut());
    }
    // SAFETY: the program passes a pointer for the result.
    unsafe { *result = first };
    0
}

fn default_hints() -> addrinfo {
    // SAFETY: an all-zero `addrinfo` is a value.
    let mut hints: addrinfo = unsafe { core::mem::zeroed() };
    // What glibc takes for a null pointer.
    hints.ai_flags = libc::AI_V4MAPPED | libc::AI_ADDRCONFIG;
    hints
}

/// Resolves for the `gethostby*` family.
fn host(context: &Context, name: &[u8], family: c_int) -> Result<Found, NameError> {
    let wanted = if family == libc::AF_INET6 { Family::V6 } else { Family::V4 };
    resolve::addresses(context, name, wanted)
}

/// Ends a `gethostby*_r`: 0 with a null result for a name without an answer.
fn end_r(outcome: Result<*mut hostent, NameError>, result: *mut *mut hostent, h_errno: *mut c_int) -> c_int {
    let (entry, code) = match outcome {
        // A null entry is a buffer that is too small: the caller comes again with a larger one.
        Ok(entry) if entry.is_null() => (entry, libc::ERANGE),
        Ok(entry) => (entry, 0),
        Err(NameError::NotFound | NameError::NoData) => (core::ptr::null_mut(), 0),
        Err(NameError::Again) => (core::ptr::null_mut(), libc::EAGAIN),
        Err(NameError::Failed) => (core::ptr::null_mut(), libc::EIO),
    };
    let said = match outcome {
        Ok(entry) if entry.is_null() => -1,
        Ok(_) => 0,
        Err(error) => resolve::h_errno(error),
    };
    if code != 0 {
        set(Errno(code));
    }
    // SAFETY: the program passes pointers for both results.
    unsafe {
        *result = entry;
        *h_errno = said;
    }
    code
}

fn by_name(context: &Context, name: &[u8], family: c_int) -> *mut hostent {
    let outcome = host(context, name, family)
        .map(|found| Room::shared().fill(found.canonical().to_bytes(), found.addresses(), family));
    match outcome {
        Ok(entry) => entry,
        Err(error) => {
            set_h_errno(resolve::h_errno(error));
            core::ptr::null_mut()
        }
    }
}

fn address_of(address: *const c_void, len: socklen_t, family: c_int) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    match (family, len) {
        // SAFETY: the program passes four bytes.
        (libc::AF_INET, 4) => Some(IpAddr::V4(Ipv4Addr::from(unsafe { *address.cast::<[u8; 4]>() }))),
        // SAFETY: the program passes sixteen bytes.
        (libc::AF_INET6, 16) => Some(IpAddr::V6(Ipv6Addr::from(unsafe { *address.cast::<[u8; 16]>() }))),
        _ => None,
    }
}

fn by_address(context: &Context, address: IpAddr, family: c_int, room: &Room) -> Result<*mut hostent, NameError> {
    let mut name = [0; 256];
    let len = resolve::reverse(context, address, &mut name)?;
    Ok(room.fill(name.get(..len).unwrap_or_default(), &[address], family))
}

hook! {
    fn getaddrinfo(
        node: *const c_char, service: *const c_char, hints: *const addrinfo, result: *mut *mut addrinfo
    ) -> c_int {
        // SAFETY: the program passes null or its hints.
        let wanted = unsafe { hints.as_ref() }.copied().unwrap_or_else(default_hints);
        match remote_name(node) {
            Some((context, name)) if wanted.ai_flags & libc::AI_NUMERICHOST == 0 => {
                lookup(context, name, service, &wanted, result, &real)
            }
            _ => real(node, service, hints, result),
        }
    }

    fn gethostbyname(name: *const c_char) -> *mut hostent {
        match remote_name(name) {
            Some((context, name)) => by_name(context, name, libc::AF_INET),
            None => real(name),
        }
    }

    fn gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent {
        match remote_name(name) {
            Some((context, name)) => by_name(context, name, family),
            None => real(name, family),
        }
    }

    fn gethostbyname_r(
        name: *const c_char, entry: *mut hostent, buffer: *mut c_char, size: usize, result: *mut *mut hostent,
        h_errno: *mut c_int
    ) -> c_int {
        let Some((context, text)) = remote_name(name) else { return real(name, entry, buffer, size, result, h_errno) };
        let outcome = host(context, text, libc::AF_INET).map(|found| {
            Room::of(entry, buffer, size).fill(found.canonical().to_bytes(), found.addresses(), libc::AF_INET)
        });
        end_r(outcome, result, h_errno)
    }

    fn gethostbyname2_r(
        name: *const c_char, family: c_int, entry: *mut hostent, buffer: *mut c_char, size: usize,
        result: *mut *mut hostent, h_errno: *mut c_int
    ) -> c_int {
        let Some((context, text)) = remote_name(name) else {
            return real(name, family, entry, buffer, size, result, h_errno);
        };
        let outcome = host(context, text, family).map(|found| {
            Room::of(entry, buffer, size).fill(found.canonical().to_bytes(), found.addresses(), family)
        });
        end_r(outcome, result, h_errno)
    }

    fn gethostbyaddr(address: *const c_void, len: socklen_t, family: c_int) -> *mut hostent {
        let known = address_of(address, len, family);
        match known.and_then(|ip| remote_address(ip).map(|context| by_address(context, ip, family, &Room::shared()))) {
            None => real(address, len, family),
            Some(Ok(entry)) => entry,
            Some(Err(error)) => {
                set_h_errno(resolve::h_errno(error));
                core::ptr::null_mut()
            }
        }
    }

    fn gethostbyaddr_r(
        address: *const c_void, len: socklen_t, family: c_int, entry: *mut hostent, buffer: *mut c_char, size: usize,
        result: *mut *mut hostent, h_errno: *mut c_int
    ) -> c_int {
        let known = address_of(address, len, family);
        match known.and_then(|ip| remote_address(ip).map(|context| (context, ip))) {
            None => real(address, len, family, entry, buffer, size, result, h_errno),
            Some((context, ip)) => {
                let room = Room::of(entry, buffer, size);
                end_r(by_address(context, ip, family, &room), result, h_errno)
            }
        }
    }

    fn getnameinfo(
        address: *const sockaddr, len: socklen_t, host: *mut c_char, host_len: socklen_t, service: *mut c_char,
        service_len: socklen_t, flags: c_int
    ) -> c_int {
        let is_wanted = !host.is_null() && host_len > 0 && flags & libc::NI_NUMERICHOST == 0 && !address.is_null();
        let known = if is_wanted {
            // SAFETY: the program says that its address has `len` bytes.
            crate::sockaddr::decode(unsafe { core::slice::from_raw_parts(address.cast(), len.min(128) as usize) })
        } else {
            None
        };
        let Some((ip, context)) = known.and_then(|known| remote_address(known.ip()).map(|context| (known.ip(), context)))
        else {
            return real(address, len, host, host_len, service, service_len, flags);
        };
        let mut name = [0; 256];
        let found = match resolve::reverse(context, ip, &mut name) {
            Ok(found) => found,
            Err(error) if flags & libc::NI_NAMEREQD != 0 => return resolve::eai(error),
            Err(_) => return real(address, len, host, host_len, service, service_len, flags | libc::NI_NUMERICHOST),
        };
        if found >= host_len as usize {
            return libc::EAI_OVERFLOW;
        }
        if !service.is_null() && service_len > 0 {
            let error = real(address, len, core::ptr::null_mut(), 0, service, service_len, flags);
            if error != 0 {
                return error;
            }
        }
        give(name.get(..found).unwrap_or_default(), host);
        0
    }
}

/// Asks a DNS question; `reads` tells that an answer without records is an error (`res_query`, not `res_send`).
fn ask_dns(context: &Context, question: Question<'_>, out: *mut c_uchar, size: c_int, reads: bool) -> c_int {
    let size = usize::try_from(size).unwrap_or(0);
    if out.is_null() || size < 12 {
        set(Errno(libc::EMSGSIZE));
        return -1;
    }
    // SAFETY: the program says that its buffer has `size` bytes.
    let out = unsafe { core::slice::from_raw_parts_mut(out, size) };
    let outcome = resolve::query(context, question, out).and_then(|len| {
        // RFC 1035 section 4.1.1: the code is in the fourth byte, the answer count in the seventh and eighth.
        match (out[3] & 15, out[6] | out[7]) {
            _ if !reads => Ok(len),
            (0, 0) => Err(NameError::NoData),
            (0, _) => Ok(len),
            (2, _) => Err(NameError::Again),
            (3, _) => Err(NameError::NotFound),
            _ => Err(NameError::Failed),
        }
    });
    match outcome {
        Ok(len) => c_int::try_from(len).unwrap_or(c_int::MAX),
        Err(error) => {
            set_h_errno(resolve::h_errno(error));
            if !reads {
                set(Errno(libc::ETIMEDOUT));
            }
            -1
        }
    }
}

/// The session and the packet, when DNS is the target's.
fn remote_packet<'a>(packet: *const c_uchar, len: c_int) -> Option<(&'static Context, Question<'a>)> {
    let context = context::active()?;
    let len = usize::try_from(len).ok().filter(|_| !packet.is_null())?;
    // SAFETY: the program says that its packet has `len` bytes.
    let packet = unsafe { core::slice::from_raw_parts(packet, len) };
    resolve::is_remote(context, b"dns").then_some((context, Question::Forward { packet }))
}

/// Both spellings of a resolver function, and both with and without an explicit state.
macro_rules! questions {
    ($($name:ident, $with_state:ident, $search:literal;)*) => { hook! { $(
        fn $name(name: *const c_char, class: c_int, kind: c_int, out: *mut c_uchar, size: c_int) -> c_int {
            match remote_name(name) {
                Some((context, name)) => {
                    let question = Question::Query { name, class: class as u16, kind: kind as u16, search: $search };
                    ask_dns(context, question, out, size, true)
                }
                None => real(name, class, kind, out, size),
            }
        }

        fn $with_state(
            state: *mut c_void, name: *const c_char, class: c_int, kind: c_int, out: *mut c_uchar, size: c_int
        ) -> c_int {
            match remote_name(name) {
                Some((context, name)) => {
                    let question = Question::Query { name, class: class as u16, kind: kind as u16, search: $search };
                    ask_dns(context, question, out, size, true)
                }
                None => real(state, name, class, kind, out, size),
            }
        }
    )* } };
}

questions! {
    res_query, res_nquery, false;
    __res_query, __res_nquery, false;
    res_search, res_nsearch, true;
    __res_search, __res_nsearch, true;
}

macro_rules! packets {
    ($($name:ident, $with_state:ident;)*) => { hook! { $(
        fn $name(packet: *const c_uchar, len: c_int, out: *mut c_uchar, size: c_int) -> c_int {
            match remote_packet(packet, len) {
                Some((context, question)) => ask_dns(context, question, out, size, false),
                None => real(packet, len, out, size),
            }
        }

        fn $with_state(state: *mut c_void, packet: *const c_uchar, len: c_int, out: *mut c_uchar, size: c_int) -> c_int {
            match remote_packet(packet, len) {
                Some((context, question)) => ask_dns(context, question, out, size, false),
                None => real(state, packet, len, out, size),
            }
        }
    )* } };
}

packets! {
    res_send, res_nsend;
    __res_send, __res_nsend;
}
