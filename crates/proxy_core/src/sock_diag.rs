//! Who listens where on this machine, asked of the kernel over netlink `sock_diag`; needs no privilege.
//!
//! Called by the incoming feature: a port of the target comes here only while the local program listens, and goes back when
//! its listening socket is gone, however the program ended and whoever inherited the descriptor.
//!
//! # Theory of operation
//!
//! The kernel gives each socket a 64-bit cookie, never used again. [`listening`] asks for the one socket that a connection
//! to an address would reach, wildcard and dual-stack listeners included. [`Watch`] belongs to the multicast groups in
//! which the kernel announces each destroyed TCP socket, with its cookie; ordinary users may join. Observed on Linux 6.18,
//! as root and as an ordinary user: a destroyed listener is announced in state CLOSE, never LISTEN, with its local
//! address and no peer, once the last descriptor of it is closed. State and addresses therefore tell nothing reliable,
//! and a watched socket is recognised by its cookie alone. A program that ends a listener by `shutdown` and keeps the
//! descriptor is not announced; nobody known does that.
//!
//! When announcements were lost (the queue was full: ENOBUFS), each watched address is looked up again and its cookie
//! compared.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use tokio::io::unix::AsyncFd;

use crate::async_fd;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const HEADER_LENGTH: usize = 16;
/// Header and `inet_diag_req_v2`.
const REQUEST_LENGTH: usize = HEADER_LENGTH + 56;
/// `inet_diag_msg` without attributes.
const ANSWER_LENGTH: usize = 72;
const TCP_LISTEN: u8 = 10;
/// Groups 1 and 3 as bits: SKNLGRP_INET_TCP_DESTROY and SKNLGRP_INET6_TCP_DESTROY.
const DESTROY_GROUPS: u32 = 0b101;
/// One announcement is below 400 bytes; the kernel never joins several.
const RECEIVE_BUFFER: usize = 8192;
/// As much as an ordinary user gets by default (`rmem_max`), some hundred announcements.
const QUEUE_BYTES: usize = 208 * 1024;
/// After so many announcements for others, the task lets others run.
const BATCH: usize = 64;

/// A TCP socket in state LISTEN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Listener {
    /// The socket's number, as in `/proc/PID/fd/N -> socket:[INODE]`.
    pub inode: u32,
    /// Names this socket for as long as the machine runs; no later socket has it.
    pub cookie: u64,
}

/// Tells which of the watched listening sockets are gone.
///
/// Descriptors, processes and namespaces do not matter to it, except that it sees only its own network namespace.
pub struct Watch {
    groups: AsyncFd<OwnedFd>,
    watched: HashMap<u64, SocketAddr>,
    /// Found gone by a look-up, not told yet.
    gone: VecDeque<SocketAddr>,
}

/// The socket that accepts a connection to `address`, or None.
///
/// Listeners on the wildcard address of the same family and dual-stack ones on `[::]` are found too; of several that share
/// the port by SO_REUSEPORT, one. Takes some microseconds and never waits for anybody but the kernel.
pub fn listening(address: SocketAddr) -> io::Result<Option<Listener>> {
    let socket = open(0)?;
    rustix::net::send(&socket, &request(address), SendFlags::empty())?;
    let mut buffer = [0; RECEIVE_BUFFER];
    let length = receive(&socket, &mut buffer)?;
    parse_answer(buffer.get(..length).unwrap_or_default())
}

// === impl Watch ===

impl Watch {
    /// Joins the groups. Must be called inside a tokio runtime.
    ///
    /// Fails with `Unsupported` where the kernel lacks `inet_diag`, because it then answers every look-up with "none".
    pub fn new() -> io::Result<Self> {
        let socket = open(DESTROY_GROUPS)?;
        // A smaller queue only makes complete look-ups more frequent.
        let _is_granted = sockopt::set_socket_recv_buffer_size(&socket, QUEUE_BYTES).is_ok();
        let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        if listening(probe.local_addr()?)?.is_none() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel has no `inet_diag` for TCP sockets"));
        }
        let groups = async_fd::register(socket)?;
        Ok(Self { groups, watched: HashMap::new(), gone: VecDeque::new() })
    }

    /// Begins to watch the socket that listens at `address`; None if there is none (any more).
    ///
    /// No end is missed: the groups were joined before this look-up. Watching an address again (another socket listens
    /// there now) adds the new socket and keeps the old one.
    pub fn watch(&mut self, address: SocketAddr) -> io::Result<Option<Listener>> {
        let found = listening(address)?;
        if let Some(listener) = found {
            self.watched.insert(listener.cookie, address);
        }
        Ok(found)
    }

    /// Forgets each socket that was watched at `address`.
    pub fn forget(&mut self, address: SocketAddr) {
        self.watched.retain(|_, watched| *watched != address);
        self.gone.retain(|gone| *gone != address);
    }

    /// Waits until a watched socket is destroyed; gives the address that was passed to [`Self::watch`].
    ///
    /// Another socket may listen there (a server that restarts, SO_REUSEPORT): the caller decides with [`Self::watch`].
    /// Safe to cancel.
    pub async fn destroyed(&mut self) -> io::Result<SocketAddr> {
        loop {
            if let Some(address) = self.gone.pop_front() {
                return Ok(address);
            }
            self.receive_batch().await?;
            tokio::task::yield_now().await;
        }
    }

    async fn receive_batch(&mut self) -> io::Result<()> {
        let mut guard = self.groups.readable().await?;
        let mut buffer = [0; RECEIVE_BUFFER];
        for _ in 0..BATCH {
            match guard.try_io(|groups| receive(groups.get_ref(), &mut buffer)) {
                Ok(Ok(length)) => {
                    let cookie = announced_cookie(buffer.get(..length).unwrap_or_default());
                    if let Some(address) = cookie.and_then(|cookie| self.watched.remove(&cookie)) {
                        self.gone.push_back(address);
                    }
                }
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                    return self.look_up_all();
                }
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => break,
            }
        }
        Ok(())
    }

    /// Announcements were lost: compares each watched socket with what listens now.
    fn look_up_all(&mut self) -> io::Result<()> {
        for (cookie, address) in self.watched.clone() {
            if listening(address)?.is_none_or(|listener| listener.cookie != cookie) {
                self.watched.remove(&cookie);
                self.gone.push_back(address);
            }
        }
        Ok(())
    }
}

fn open(groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::SOCK_DIAG))?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}

/// One message of the kernel; the answer to a request is there as soon as the request was sent.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    let (length, _, sender) = rustix::net::recvfrom(socket, buffer, RecvFlags::empty())?;
    let from_kernel =
        sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok()).is_some_and(|it| it.pid() == 0);
    // Other processes cannot send to this protocol; a length of 0 parses as no message.
    Ok(if from_kernel { length } else { 0 })
}

fn request(address: SocketAddr) -> [u8; REQUEST_LENGTH] {
    let mut message = [0; REQUEST_LENGTH];
    let (family, ip, interface) = match address {
        SocketAddr::V4(v4) => (libc::AF_INET as u8, octets_v4(v4), 0),
        SocketAddr::V6(v6) => (libc::AF_INET6 as u8, v6.ip().octets(), v6.scope_id()),
    };
    let mut put = |at: usize, bytes: &[u8]| message[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(REQUEST_LENGTH as u32).to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &NLM_F_REQUEST.to_ne_bytes());
    put(16, &[family, libc::IPPROTO_TCP as u8]);
    put(20, &u32::MAX.to_ne_bytes());
    put(24, &address.port().to_be_bytes());
    put(28, &ip);
    put(60, &interface.to_ne_bytes());
    // INET_DIAG_NOCOOKIE: whichever socket it is.
    put(64, &[0xff; 8]);
    message
}

fn octets_v4(address: SocketAddrV4) -> [u8; 16] {
    let mut octets = [0; 16];
    octets[..4].copy_from_slice(&address.ip().octets());
    octets
}

fn parse_answer(message: &[u8]) -> io::Result<Option<Listener>> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed answer of sock_diag");
    match kind(message).ok_or_else(malformed)? {
        NLMSG_ERROR => match -i32::from_ne_bytes(field(message, HEADER_LENGTH).ok_or_else(malformed)?) {
            libc::ENOENT => Ok(None),
            errno => Err(io::Error::from_raw_os_error(errno)),
        },
        SOCK_DIAG_BY_FAMILY => {
            let body = message.get(HEADER_LENGTH..HEADER_LENGTH + ANSWER_LENGTH).ok_or_else(malformed)?;
            let inode = u32::from_ne_bytes(field(body, 68).ok_or_else(malformed)?);
            let cookie = cookie(body).ok_or_else(malformed)?;
            Ok((body[1] == TCP_LISTEN).then_some(Listener { inode, cookie }))
        }
        _ => Err(malformed()),
    }
}

fn announced_cookie(message: &[u8]) -> Option<u64> {
    match kind(message)? {
        SOCK_DIAG_BY_FAMILY => cookie(message.get(HEADER_LENGTH..HEADER_LENGTH + ANSWER_LENGTH)?),
        _ => None,
    }
}

fn kind(message: &[u8]) -> Option<u16> {
    let length = u32::from_ne_bytes(field(message, 0)?);
    (length as usize <= message.len()).then_some(())?;
    Some(u16::from_ne_bytes(field(message, 4)?))
}

/// Two words, the low one first.
fn cookie(body: &[u8]) -> Option<u64> {
    let word = |at| Some(u64::from(u32::from_ne_bytes(field(body, at)?)));
    Some(word(44)? | word(48)? << 32)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpStream};
    use std::time::Duration;

    use super::*;

    async fn next(watch: &mut Watch) -> Option<SocketAddr> {
        let event = tokio::time::timeout(Duration::from_secs(2), watch.destroyed()).await;
        event.ok().map(|address| address.expect("no error"))
    }

    fn at(ip: impl Into<std::net::IpAddr>, like: &TcpListener) -> SocketAddr {
        SocketAddr::new(ip.into(), like.local_addr().expect("bound").port())
    }

    #[test]
    fn exact_wildcard_and_dual_stack_listeners_are_found() {
        let exact = TcpListener::bind("127.0.0.1:0").expect("bind");
        let found = listening(at(Ipv4Addr::LOCALHOST, &exact)).expect("look-up").expect("listens");
        assert_eq!(listening(at(Ipv4Addr::LOCALHOST, &exact)).expect("look-up"), Some(found));
        assert_eq!(listening(at(Ipv4Addr::new(127, 0, 0, 2), &exact)).expect("look-up"), None);

        let any = TcpListener::bind("0.0.0.0:0").expect("bind");
        assert!(listening(at(Ipv4Addr::new(127, 0, 0, 2), &any)).expect("look-up").is_some());
        assert!(listening(at(Ipv4Addr::UNSPECIFIED, &any)).expect("look-up").is_some());
        assert!(listening(at(Ipv6Addr::LOCALHOST, &any)).expect("look-up").is_none());

        let dual = TcpListener::bind("[::]:0").expect("bind");
        assert!(listening(at(Ipv6Addr::LOCALHOST, &dual)).expect("look-up").is_some());
        assert!(listening(at(Ipv4Addr::LOCALHOST, &dual)).expect("look-up").is_some());
    }

    #[test]
    fn inode_is_that_of_the_descriptor() {
        use std::os::fd::AsRawFd;
        let listener = TcpListener::bind("[::1]:0").expect("bind");
        let found = listening(listener.local_addr().expect("bound")).expect("look-up").expect("listens");
        let link = std::fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).expect("own descriptor");
        assert_eq!(link.to_str(), Some(format!("socket:[{}]", found.inode).as_str()));
    }

    #[test]
    fn connections_are_not_listeners() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connect");
        assert_eq!(listening(client.local_addr().expect("bound")).expect("look-up"), None);
    }

    #[tokio::test]
    async fn only_the_watched_listener_is_reported_when_its_last_descriptor_closes() {
        let mut watch = Watch::new().expect("netlink");
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(address).expect("bind");
            let other = TcpListener::bind(address).expect("bind");
            let address = listener.local_addr().expect("bound");
            assert!(watch.watch(address).expect("look-up").is_some());
            let copy = listener.try_clone().expect("dup");
            drop(TcpStream::connect(address).expect("connect"));
            drop((listener, other));
            let silent = tokio::time::timeout(Duration::from_millis(50), watch.destroyed()).await;
            assert!(silent.is_err(), "a copy of the descriptor is open");
            drop(copy);
            assert_eq!(next(&mut watch).await, Some(address));
        }
    }

    #[tokio::test]
    async fn a_forgotten_listener_is_not_reported() {
        let mut watch = Watch::new().expect("netlink");
        let (first, second) =
            (TcpListener::bind("127.0.0.1:0").expect("bind"), TcpListener::bind("127.0.0.1:0").expect("bind"));
        let (first_at, second_at) = (first.local_addr().expect("bound"), second.local_addr().expect("bound"));
        watch.watch(first_at).expect("look-up");
        watch.watch(second_at).expect("look-up");
        watch.forget(first_at);
        drop(first);
        drop(second);
        assert_eq!(next(&mut watch).await, Some(second_at));
    }

    #[tokio::test]
    async fn a_full_queue_loses_no_listener() {
        let mut watch = Watch::new().expect("netlink");
        let kept = TcpListener::bind("127.0.0.1:0").expect("bind");
        watch.watch(kept.local_addr().expect("bound")).expect("look-up");
        // Unconnected TCP sockets are announced too; far more than the queue holds.
        for _ in 0..4000 {
            drop(TcpListener::bind("127.0.0.1:0").expect("bind"));
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("bound");
        watch.watch(address).expect("look-up");
        drop(listener);
        assert_eq!(next(&mut watch).await, Some(address));
        assert!(watch.watched.len() == 1 && watch.gone.is_empty());
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(parse_answer(&[]).is_err());
        assert!(parse_answer(&[0xff; 100]).is_err());
        let mut truncated = request(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))).to_vec();
        truncated.truncate(40);
        assert!(parse_answer(&truncated).is_err());
        assert_eq!(announced_cookie(&[]), None);
    }
}
