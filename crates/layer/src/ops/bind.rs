//! `bind` and `listen`: the program listens here, the proxy brings it the target's connections.
//!
//! What `bind` was asked for must reach `listen`, perhaps in another process, and the layer remembers nothing. So it is
//! left where the socket is:
//!
//! ```text
//!  bind(port 0)             the socket gets IP_BIND_ADDRESS_NO_PORT, which has no effect once it is bound: `listen` sees that
//!                           the program wanted any port and leaves it alone
//!  address not available    another address is bound, the proxy is told (Question::Bound), and the socket gets
//!                           IP_FREEBIND, without effect once it is bound: `getsockname` knows that it must ask
//! ```
//!
//! A program that sets these options itself costs a question, or (NO_PORT on a listener, which is meant for clients)
//! listens locally.

use core::ffi::c_int;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mirrord_policy::{Image, Reason, incoming};
use mirrord_protocol::layer::Question;

use crate::context::Context;
use crate::errno::{self, Errno, fail};
use crate::ops::socket::{TcpSocket, own_address, proxy_fault};
use crate::proxy_link::Patience;
use crate::{sockaddr, sys};

const LIMIT_MS: u64 = 30_000;
const ANY_PORT: c_int = libc::IP_BIND_ADDRESS_NO_PORT;
const MOVED: c_int = libc::IP_FREEBIND;

/// True for a socket whose `bind` got another address than it asked for.
pub(crate) fn is_moved(fd: c_int) -> bool {
    has(fd, MOVED) && TcpSocket::of(fd).is_some()
}

/// Binds `fd`. `real` is libc's `bind`; `None` = not ours.
pub(crate) fn bind(context: &Context, fd: c_int, address: &[u8], real: impl Fn(&[u8]) -> c_int) -> Option<c_int> {
    let requested = sockaddr::decode(address).map(sockaddr::canonical)?;
    let verdict = incoming::decide(&context.image, requested);
    if verdict.reason == Reason::EphemeralPort {
        let socket = TcpSocket::of(fd)?;
        let result = real(address);
        if result == 0 {
            mark(socket.fd, ANY_PORT);
        }
        return Some(result);
    }
    if !verdict.is_remote() {
        return None;
    }
    let socket = TcpSocket::of(fd)?;
    if let Some(port) = incoming::listen_port(&context.image, requested.port()) {
        let actual = sockaddr::encode(SocketAddr::new(requested.ip(), port), socket.family)?;
        return Some(match real(actual.bytes()) {
            0 => moved(context, socket, requested),
            failed => failed,
        });
    }
    let result = real(address);
    let refused = errno::get();
    if result == 0 || !matches!(refused, Errno(libc::EADDRINUSE | libc::EACCES | libc::EADDRNOTAVAIL)) {
        return Some(result);
    }
    for other in others(requested) {
        let is_bound = sockaddr::encode(other, socket.family).is_some_and(|other| sys::bind(fd, other.bytes()).is_ok());
        if is_bound {
            return Some(moved(context, socket, requested));
        }
    }
    Some(fail(refused))
}

/// Where to listen when the requested address cannot be had.
fn others(requested: SocketAddr) -> [SocketAddr; 3] {
    let ip = requested.ip();
    let loopback = match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let own = !ip.is_loopback() && !ip.is_unspecified();
    let with_port = if own { SocketAddr::new(loopback, requested.port()) } else { SocketAddr::new(ip, 0) };
    [with_port, SocketAddr::new(ip, 0), SocketAddr::new(loopback, 0)]
}

/// Tells the proxy what the program asked for. The proxy may refuse: the address is taken within the session.
fn moved(context: &Context, socket: TcpSocket, requested: SocketAddr) -> c_int {
    let Some(local) = own_address(socket.fd).map(sockaddr::canonical) else { return fail(Errno(libc::EADDRINUSE)) };
    let mut reply = [0; 64];
    let question = Question::Bound { local, requested };
    match context.door.ask(question, Patience::Uninterrupted(LIMIT_MS), &mut reply) {
        Ok(_) => {
            mark(socket.fd, MOVED);
            0
        }
        Err(errno) => fail(if errno == Errno(libc::EADDRINUSE) { errno } else { proxy_fault(errno) }),
    }
}

/// Listens on `fd` and has the port subscribed. `real` is libc's `listen`.
pub(crate) fn listen(context: &Context, fd: c_int, real: impl Fn() -> c_int) -> c_int {
    let before = own_address(fd).map(sockaddr::canonical);
    let result = real();
    let (0, Some(local)) = (result, before) else { return result };
    if local.port() == 0 || TcpSocket::of(fd).is_none() || !is_wanted(&context.image, fd, local) {
        return result;
    }
    let mut reply = [0; 64];
    let question = Question::Listen { local, requested: local };
    match context.door.ask(question, Patience::Uninterrupted(LIMIT_MS), &mut reply) {
        Ok(_) => 0,
        Err(errno) => {
            sys::shutdown(fd);
            fail(errno)
        }
    }
}

fn is_wanted(image: &Image<'_>, fd: c_int, local: SocketAddr) -> bool {
    has(fd, MOVED) || (!has(fd, ANY_PORT) && incoming::decide(image, local).is_remote())
}

fn has(fd: c_int, option: c_int) -> bool {
    sys::socket_option(fd, libc::IPPROTO_IP, option).is_ok_and(|value| value != 0)
}

fn mark(fd: c_int, option: c_int) {
    // Without the mark a port that nobody asked for is subscribed, or the real address shown: no reason to fail.
    let _ = sys::set_socket_option(fd, libc::IPPROTO_IP, option, 1);
}
