//! Where redirected connections arrive: one port number, on both IP families, in the target's network namespace.
//!
//! Two sockets instead of a dual-stack one: an accepted socket then is of the family that its client used, which decides
//! where the kernel keeps the original destination. Called by `incoming` on the network thread.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::{TcpListener, TcpStream};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;

/// Attempts to find a number that is free in both families.
const ATTEMPTS: usize = 8;

/// Listens on a free port; returns the listeners, one per family that the target has, and the port.
pub fn listen() -> io::Result<(Vec<TcpListener>, u16)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..ATTEMPTS {
        let v4 = listen_on((Ipv4Addr::UNSPECIFIED, 0).into());
        let port = match &v4 {
            Ok(listener) => listener.local_addr()?.port(),
            Err(_) => 0,
        };
        match (v4, listen_on((Ipv6Addr::UNSPECIFIED, port).into())) {
            (Ok(v4), Ok(v6)) => return Ok((vec![v4, v6], port)),
            (Ok(v4), Err(error)) if is_family_missing(&error) => return Ok((vec![v4], port)),
            (Err(error), Ok(v6)) if is_family_missing(&error) => {
                let port = v6.local_addr()?.port();
                return Ok((vec![v6], port));
            }
            (Err(error), _) | (_, Err(error)) => last = error,
        }
    }
    Err(last)
}

fn is_family_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Where the client of an accepted connection wanted to go.
pub fn original_destination(socket: &TcpStream) -> io::Result<SocketAddr> {
    Ok(match socket.local_addr()? {
        SocketAddr::V4(_) => sockopt::ip_original_dst(socket)?.into(),
        SocketAddr::V6(_) => sockopt::ipv6_original_dst(socket)?.into(),
    })
}
