//! Incoming connections: which of the target's ports come here, and the life of one connection.
//!
//! ```text
//!   Listen{local, requested} ──> first listener of that port: Subscribe ──> Done | Errno
//!   agent: Incoming{port, peer} ──> dial the program's listener from the session's own address ──> relay
//!   the kernel destroys the listening socket ──> last listener of that port: Unsubscribe
//! ```
//!
//! The subscription belongs to the listening socket and not to a process: it survives `fork`, `exec` and descriptor
//! passing, and ends when the kernel says that the socket is gone (`sock_diag`).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use mirrord_link::{Link, PendingStream, relay};
use mirrord_protocol::agent::{Request, Response};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};

use crate::ends::{Ends, EndsTable};
use crate::error::Error;
use crate::events::{Counters, Event, Events};
use crate::sock_diag::Watch;
use crate::sync::locked;

/// The agent redirects a port in milliseconds; a minute means that it is stuck.
const SUBSCRIBE: Duration = Duration::from_secs(60);

/// Loopback answers at once, unless the program's accept queue is full.
const DIAL: Duration = Duration::from_secs(10);

const ENETDOWN: i32 = 100;
const ETIMEDOUT: i32 = 110;
const ECONNREFUSED: i32 = 111;
const EIO: i32 = 5;

/// What incoming connections need of the session.
pub(crate) struct Incoming {
    own: Ipv4Addr,
    ends: Arc<EndsTable>,
    events: Arc<Events>,
    counters: Arc<Counters>,
    /// port of the target -> where programs of ours listen for it
    ports: Mutex<HashMap<u16, Vec<SocketAddr>>>,
    /// listen() --listener--> the watching task
    watch: mpsc::Sender<Listening>,
}

/// A listener to be watched and entered. Only the watching task enters and removes listeners, so the end of an old one
/// and the beginning of the next on the same port cannot overtake one another.
struct Listening {
    local: SocketAddr,
    port: u16,
    entered: oneshot::Sender<Entered>,
}

enum Entered {
    /// The first of its port: it is to be subscribed.
    First,
    /// The port comes here already.
    Further,
    /// Closed again before we looked.
    Gone,
}

/// The watching task's end of the channel; given to [`Incoming::watch_listeners`].
pub(crate) struct Watched(mpsc::Receiver<Listening>);

// === impl Incoming ===

impl Incoming {
    pub(crate) fn new(
        own: Ipv4Addr,
        ends: Arc<EndsTable>,
        events: Arc<Events>,
        counters: Arc<Counters>,
    ) -> (Incoming, Watched) {
        let (watch, watched) = mpsc::channel(64);
        (Incoming { own, ends, events, counters, ports: Mutex::default(), watch }, Watched(watched))
    }

    /// A program listens at `local`; it gets the traffic of the target's `port`.
    ///
    /// # Errors
    /// The errno for the program's `listen`; the reason is an event.
    pub(crate) async fn listen(&self, link: &Link, local: SocketAddr, port: u16) -> Result<(), i32> {
        let (entered_tx, entered_rx) = oneshot::channel();
        self.watch.send(Listening { local, port, entered: entered_tx }).await.map_err(|_| EIO)?;
        match entered_rx.await.map_err(|_| EIO)? {
            Entered::First => {}
            Entered::Further | Entered::Gone => return Ok(()),
        }
        let refused =
            match tokio::time::timeout(SUBSCRIBE, link.request(&Request::Subscribe { port }, Bytes::new())).await {
                Ok(Ok((Response::Done, _))) => {
                    self.events.send(Event::Listening { port });
                    // A listener that ended meanwhile may have been released before it was subscribed.
                    if !locked(&self.ports).contains_key(&port) {
                        self.release(link, port).await;
                    }
                    return Ok(());
                }
                Ok(Ok((Response::Refused { errno, reason }, _))) => (errno, reason),
                Ok(Ok((Response::Errno(errno), _))) => (errno, std::io::Error::from_raw_os_error(errno).to_string()),
                Ok(Ok(_)) => (EIO, "the agent's answer makes no sense".to_owned()),
                Ok(Err(error)) => (ENETDOWN, error.to_string()),
                Err(_) => (ETIMEDOUT, "the agent does not answer".to_owned()),
            };
        locked(&self.ports).remove(&port);
        let (errno, reason) = refused;
        self.events.send(Event::Notice(format!("port `{port}` of the target does not come here: {reason}")));
        Err(errno)
    }

    /// Watches listening sockets until the session's runtime ends; gives ports back when their last socket is gone.
    pub(crate) async fn watch_listeners(self: Arc<Self>, link: Link, mut watch: Watch, mut watched: Watched) {
        loop {
            tokio::select! {
                Some(Listening { local, port, entered }) = watched.0.recv() => {
                    let there = watch.watch(local).unwrap_or_else(|error| {
                        tracing::warn!(%error, %local, "failed to watch a listening socket");
                        None
                    });
                    // The asker waits for nothing else; if it is gone, the answer is not wanted.
                    let _ = entered.send(if there.is_some() { self.enter(local, port) } else { Entered::Gone });
                }
                gone = watch.destroyed() => match gone {
                    Ok(address) if matches!(watch.watch(address), Ok(Some(_))) => {}
                    Ok(address) => self.closed(&link, address).await,
                    Err(error) => {
                        self.events.send(Event::Notice(format!(
                            "ports stay with this session until it ends, the kernel no longer tells of sockets: {error}"
                        )));
                        return;
                    }
                }
            }
        }
    }

    fn enter(&self, local: SocketAddr, port: u16) -> Entered {
        let mut ports = locked(&self.ports);
        let locals = ports.entry(port).or_default();
        let is_first = locals.is_empty();
        if !locals.contains(&local) {
            locals.push(local);
        }
        if is_first { Entered::First } else { Entered::Further }
    }

    async fn closed(&self, link: &Link, address: SocketAddr) {
        let mut released = Vec::new();
        locked(&self.ports).retain(|port, locals| {
            locals.retain(|local| *local != address);
            if locals.is_empty() {
                released.push(*port);
            }
            !locals.is_empty()
        });
        for port in released {
            self.release(link, port).await;
        }
    }

    async fn release(&self, link: &Link, port: u16) {
        let answer = tokio::time::timeout(SUBSCRIBE, link.request(&Request::Unsubscribe { port }, Bytes::new())).await;
        match answer {
            Ok(Ok((Response::Done, _))) => self.events.send(Event::Released { port }),
            // When the link is over, the agent has given every port back.
            Ok(Err(_)) => {}
            other => self.events.send(Event::Notice(format!("port `{port}` may not be back: {other:?}"))),
        }
    }

    /// Somebody connected to a port of the target.
    pub(crate) async fn serve(&self, port: u16, peer: SocketAddr, there: SocketAddr, pending: PendingStream) {
        let locals = locked(&self.ports).get(&port).cloned().unwrap_or_default();
        let mut refused = ECONNREFUSED;
        for local in locals {
            match self.dial(local, Ends { peer, local: there }).await {
                Ok(socket) => {
                    Counters::add(&self.counters.accepted, 1);
                    let relayed = relay(pending.accept(there), socket).await;
                    Counters::add(&self.counters.bytes_in, relayed.received);
                    Counters::add(&self.counters.bytes_out, relayed.sent);
                    return;
                }
                Err(errno) => refused = errno,
            }
        }
        pending.refuse(refused);
    }

    async fn dial(&self, local: SocketAddr, ends: Ends) -> Result<TcpStream, i32> {
        let mut errno = ECONNREFUSED;
        for to in reachable(local) {
            match tokio::time::timeout(DIAL, self.dial_one(to, ends)).await {
                Ok(Ok(socket)) => return Ok(socket),
                Ok(Err(error)) => errno = error.raw_os_error().unwrap_or(EIO),
                Err(_) => errno = ETIMEDOUT,
            }
        }
        Err(errno)
    }

    async fn dial_one(&self, to: SocketAddr, ends: Ends) -> std::io::Result<TcpStream> {
        let socket = match to {
            SocketAddr::V4(_) => {
                let socket = TcpSocket::new_v4()?;
                // The session's address marks the connection as ours for the layer.
                socket.bind((self.own, 0).into())?;
                socket
            }
            SocketAddr::V6(_) => {
                let socket = TcpSocket::new_v6()?;
                socket.bind((Ipv6Addr::LOCALHOST, 0).into())?;
                socket
            }
        };
        // Before the program can accept it, it must be known.
        self.ends.insert(to, socket.local_addr()?, ends);
        socket.connect(to).await
    }
}

/// Addresses at which a listener can be reached from this machine, best first.
fn reachable(local: SocketAddr) -> Vec<SocketAddr> {
    let port = local.port();
    match local.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![(Ipv4Addr::LOCALHOST, port).into()],
        // Dual-stack, or IPv6 only: the first one refuses then.
        IpAddr::V6(ip) if ip.is_unspecified() => {
            vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
        }
        ip => vec![SocketAddr::new(ip, port)],
    }
}

impl Incoming {
    /// A watcher of listening sockets.
    ///
    /// # Errors
    /// [`Error::Session`] when the kernel does not offer it.
    pub(crate) fn watcher() -> Result<Watch, Error> {
        Watch::new().map_err(Error::step("ask the kernel for the end of listening sockets"))
    }
}
