//! Who is at the ends of a connection: when the kernel's answer is the proxy, the proxy knows the true one.

use core::ffi::c_int;
use core::net::{Ipv4Addr, SocketAddr};

use mirrord_protocol::layer::{Answer, Question};

use crate::context::Context;
use crate::errno::Errno;
use crate::ops::bind;
use crate::ops::socket::{is_proxy, own_address, peer_address};
use crate::proxy_link::Patience;
use crate::sockaddr;

const LIMIT_MS: u64 = 10_000;

/// The ends of a connection or listener as the program must see them.
pub(crate) struct Ends {
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
}

/// The true ends of a connection with the proxy; `None` for every other socket, and for one that the proxy disowns.
pub(crate) fn of_connection(context: &Context, fd: c_int) -> Option<Ends> {
    let peer = peer_address(fd)?;
    if !is_proxy(context, peer) {
        return None;
    }
    ask(context, own_address(fd)?, peer)
}

/// The address that the program asked for in `bind`, when the layer had to take another one.
pub(crate) fn of_moved(context: &Context, fd: c_int) -> Option<Ends> {
    if !bind::is_moved(fd) {
        return None;
    }
    let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    ask(context, own_address(fd)?, nobody)
}

/// Why the connection in progress of socket `fd` was refused by the proxy's pending listener: the remote errno, which
/// the kernel could not show. The kernel has forgotten the peer by then, so it is asked for by the own address alone.
pub(crate) fn true_error(context: &Context, fd: c_int) -> Option<Errno> {
    let local = own_address(fd).map(sockaddr::canonical).filter(|local| local.ip().is_loopback())?;
    let line = context.door.open().ok()?;
    let mut reply = [0; 128];
    let peer = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    match line.ask(Question::Ends { local, peer }, Patience::Uninterrupted(LIMIT_MS), &mut reply) {
        Err(Errno(libc::ENOTCONN)) | Ok(_) => None,
        Err(errno) => Some(errno),
    }
}

fn ask(context: &Context, local: SocketAddr, peer: SocketAddr) -> Option<Ends> {
    let mut reply = [0; 128];
    let question = Question::Ends { local: sockaddr::canonical(local), peer: sockaddr::canonical(peer) };
    match context.door.ask(question, Patience::Uninterrupted(LIMIT_MS), &mut reply) {
        Ok(Answer::Ends { peer, local }) => Some(Ends { local, peer }),
        _ => None,
    }
}
