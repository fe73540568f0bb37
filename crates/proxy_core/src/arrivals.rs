//! The proxy's own loopback listeners, and which arriving connection belongs to which `connect`.
//!
//! ```text
//!   layer:  Connect? ─────────> Via{listener} ──> connect(same socket) ──> Established{own address}
//!   here:                                            │ accept(): peer address      │ claim(own address)
//!                                                    └──────────── the pair ───────┘
//! ```
//!
//! Both halves may come first. A connection that nobody claims within [`PATIENCE`] is closed without a byte, so another
//! user of the machine who finds the port gains nothing.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::ends::canonical;
use crate::error::Error;
use crate::sync::locked;

/// How long either half waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections that may wait for their claim; more are closed at once.
const WAITING: usize = 1024;

/// The listeners' addresses.
#[derive(Clone, Copy, Debug)]
pub struct Doors {
    /// On the session's own address in 127.0.0.0/8.
    pub v4: SocketAddrV4,
    /// On `::1`, for sockets that only speak IPv6; absent where the machine has no IPv6.
    pub v6: Option<SocketAddrV6>,
}

enum Half {
    Claimed(oneshot::Sender<TcpStream>),
    Arrived(TcpStream),
}

/// Connections and claims that still miss their other half.
#[derive(Default)]
pub(crate) struct Arrivals {
    halves: Mutex<HashMap<SocketAddr, Half>>,
}

// === impl Doors ===

/// Binds the listeners on an address of this session's own.
pub(crate) async fn bind() -> Result<(Doors, Vec<TcpListener>), Error> {
    let v4 = TcpListener::bind((own_address(), 0)).await.map_err(Error::step("listen on loopback"))?;
    let SocketAddr::V4(address) = v4.local_addr().map_err(Error::step("listen on loopback"))? else {
        return Err(Error::Order("an IPv4 listener has an IPv4 address"));
    };
    let mut doors = Doors { v4: address, v6: None };
    let mut listeners = vec![v4];
    // A machine without IPv6 has no IPv6-only sockets either.
    if let Ok(v6) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await
        && let Ok(SocketAddr::V6(address)) = v6.local_addr()
    {
        doors.v6 = Some(address);
        listeners.push(v6);
    }
    Ok((doors, listeners))
}

/// A random address in 127.64.0.0/10: away from 127.0.0.x, which programs use, and unlikely to be another session's.
fn own_address() -> Ipv4Addr {
    use std::hash::{BuildHasher, Hasher};
    let random = std::hash::RandomState::new().build_hasher().finish().to_le_bytes();
    Ipv4Addr::new(127, 64 | (random[0] & 63), random[1], 1 + random[2] % 254)
}

// === impl Arrivals ===

impl Arrivals {
    /// Takes connections of one listener until the session's runtime ends.
    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => self.arrived(socket, peer),
                Err(error) => {
                    // Out of descriptors: the connection stays in the kernel's queue until some are free.
                    tracing::warn!(%error, "failed to accept a connection of the program");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// A connection from `peer` was accepted.
    pub(crate) fn arrived(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        let peer = canonical(peer);
        let mut halves = locked(&self.halves);
        match halves.remove(&peer) {
            Some(Half::Claimed(socket_tx)) => {
                drop(halves);
                // The claimant gave up: the socket closes.
                let _ = socket_tx.send(socket);
            }
            Some(Half::Arrived(_)) | None if halves.len() < WAITING => {
                halves.insert(peer, Half::Arrived(socket));
                drop(halves);
                self.expire(peer);
            }
            _ => {}
        }
    }

    /// Waits for the connection whose program side is `local`.
    pub(crate) async fn claim(self: &Arc<Self>, local: SocketAddr) -> Option<TcpStream> {
        self.claim_within(local, PATIENCE).await
    }

    /// The same with another limit, for a connection whose handshake is held back on purpose.
    pub(crate) async fn claim_within(self: &Arc<Self>, local: SocketAddr, limit: Duration) -> Option<TcpStream> {
        let local = canonical(local);
        let (socket_tx, socket_rx) = oneshot::channel();
        {
            let mut halves = locked(&self.halves);
            if let Some(Half::Arrived(socket)) = halves.remove(&local) {
                return Some(socket);
            }
            halves.insert(local, Half::Claimed(socket_tx));
        }
        let socket = tokio::time::timeout(limit, socket_rx).await;
        if socket.is_err() {
            locked(&self.halves).remove(&local);
        }
        socket.ok()?.ok()
    }

    fn expire(self: &Arc<Self>, peer: SocketAddr) {
        let arrivals = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            if let Some(arrivals) = arrivals.upgrade() {
                let mut halves = locked(&arrivals.halves);
                if matches!(halves.get(&peer), Some(Half::Arrived(_))) {
                    halves.remove(&peer);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn either_half_may_come_first() {
        let arrivals = Arc::new(Arrivals::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = listener.local_addr().unwrap();
        let early = TcpStream::connect(door).await.unwrap();
        let (socket, peer) = listener.accept().await.unwrap();
        arrivals.arrived(socket, peer);
        assert!(arrivals.claim(early.local_addr().unwrap()).await.is_some());

        let late = TcpStream::connect(door).await.unwrap();
        let (claimed, ()) = tokio::join!(arrivals.claim(late.local_addr().unwrap()), async {
            let (socket, peer) = listener.accept().await.unwrap();
            arrivals.arrived(socket, peer);
        });
        assert_eq!(claimed.unwrap().peer_addr().unwrap(), late.local_addr().unwrap());
        assert!(locked(&arrivals.halves).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_unclaimed_connection_is_closed() {
        use tokio::io::AsyncReadExt;
        let arrivals = Arc::new(Arrivals::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stranger = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, peer) = listener.accept().await.unwrap();
        arrivals.arrived(socket, peer);
        assert_eq!(stranger.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(locked(&arrivals.halves).is_empty());
    }
}
