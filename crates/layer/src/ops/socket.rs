//! What the kernel knows of a socket, asked each time because the layer remembers nothing.

use core::ffi::c_int;
use core::net::SocketAddr;

use crate::context::Context;
use crate::errno::Errno;
use crate::{sockaddr, sys};

/// Multipath TCP is TCP for everything that matters here.
const IPPROTO_MPTCP: c_int = 262;
/// `TCP_CLOSE`: neither connected, connecting nor listening.
const CLOSED: u8 = 7;

/// A TCP socket of the program.
#[derive(Clone, Copy)]
pub(crate) struct TcpSocket {
    pub(crate) fd: c_int,
    /// `AF_INET` or `AF_INET6`.
    pub(crate) family: c_int,
}

impl TcpSocket {
    /// `None` for everything that is no TCP socket.
    pub(crate) fn of(fd: c_int) -> Option<TcpSocket> {
        let family = sys::socket_option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN).ok()?;
        let protocol = sys::socket_option(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL).ok()?;
        let is_tcp = matches!(protocol, libc::IPPROTO_TCP | IPPROTO_MPTCP);
        (is_tcp && matches!(family, libc::AF_INET | libc::AF_INET6)).then_some(TcpSocket { fd, family })
    }

    /// True before `connect` and `listen`.
    pub(crate) fn is_closed(self) -> bool {
        // The state is the first byte of `struct tcp_info`.
        sys::socket_option(self.fd, libc::IPPROTO_TCP, libc::TCP_INFO)
            .is_ok_and(|word| word.to_ne_bytes().first() == Some(&CLOSED))
    }

    pub(crate) fn is_nonblocking(self) -> bool {
        sys::fcntl(self.fd, libc::F_GETFL, 0).is_ok_and(|flags| flags & libc::O_NONBLOCK != 0)
    }

    /// True when the socket cannot reach an IPv4 listener through a mapped address.
    pub(crate) fn is_v6_alone(self) -> bool {
        self.family == libc::AF_INET6
            && (sys::socket_option(self.fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY).is_ok_and(|value| value != 0)
                || own_address(self.fd).is_some_and(|own| {
                    let ip = sockaddr::canonical(own).ip();
                    ip.is_ipv6() && !ip.is_unspecified()
                }))
    }
}

/// The socket's own internet address.
pub(crate) fn own_address(fd: c_int) -> Option<SocketAddr> {
    let mut bytes = [0; sockaddr::ROOM];
    let len = sys::own_address(fd, &mut bytes).ok()?;
    sockaddr::decode(bytes.get(..len)?)
}

/// The peer's internet address as the kernel sees it.
pub(crate) fn peer_address(fd: c_int) -> Option<SocketAddr> {
    let mut bytes = [0; sockaddr::ROOM];
    let len = sys::peer_address(fd, &mut bytes).ok()?;
    sockaddr::decode(bytes.get(..len)?)
}

/// True for an address of the proxy: every connection between program and proxy has one at the proxy's end.
pub(crate) fn is_proxy(context: &Context, address: SocketAddr) -> bool {
    match sockaddr::canonical(address) {
        SocketAddr::V4(v4) => v4.ip() == context.facts.listener_v4.ip(),
        SocketAddr::V6(v6) => context.facts.listener_v6.is_some_and(|listener| listener.ip() == v6.ip()),
    }
}

/// What a program sees when the proxy itself cannot be asked: a connection that broke. Scarcity stays what it is.
pub(crate) fn proxy_fault(errno: Errno) -> Errno {
    match errno {
        Errno(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS) => errno,
        _ => Errno(libc::ECONNRESET),
    }
}
