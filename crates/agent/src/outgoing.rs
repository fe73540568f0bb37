//! Outgoing connections: dials from inside the target's network namespace and joins the socket to the stream.
//!
//! Called by `session` for every [`Open::Connect`], each in its own task on the network thread, so a peer that does not
//! answer delays nobody. What the kernel says goes back as it is.
//!
//! [`Open::Connect`]: mirrord_protocol::agent::Open::Connect

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mirrord_link::{PendingStream, relay};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;

use crate::namespace::Network;

/// Connections of one session at a time.
const LIMIT: usize = 16_384;

/// The outgoing side of one session.
#[derive(Clone)]
pub struct Outgoing {
    network: Network,
    room: Arc<Semaphore>,
}

impl Outgoing {
    /// A fresh session's connections, made on `network`.
    pub fn new(network: Network) -> Outgoing {
        Outgoing { network, room: Arc::new(Semaphore::new(LIMIT)) }
    }

    /// Dials `remote` and serves the connection until it ends. Runs on the network thread.
    pub async fn connect(self, remote: SocketAddr, timeout_ms: u32, pending: PendingStream) {
        let Ok(_room) = self.room.try_acquire() else {
            pending.refuse(libc::EMFILE);
            return;
        };
        match self.dial(remote, timeout_ms).await.and_then(|socket| Ok((socket.local_addr()?, socket))) {
            Ok((own, socket)) => {
                let relayed = relay(pending.accept(own), socket).await;
                tracing::debug!(%remote, ?relayed, "outgoing connection ended");
            }
            Err(error) => {
                tracing::debug!(%remote, %error, "outgoing connection failed");
                pending.refuse(errno(&error));
            }
        }
    }

    async fn dial(&self, remote: SocketAddr, timeout_ms: u32) -> io::Result<TcpStream> {
        let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // The pod's own ports, redirected to the session, stay reachable for the session itself.
        self.network.mark(&socket)?;
        socket.set_nodelay(true)?;
        let connecting = socket.connect(remote);
        match timeout_ms {
            // The kernel gives up after its own retries (tcp_syn_retries, about two minutes).
            0 => connecting.await,
            limit => tokio::time::timeout(Duration::from_millis(u64::from(limit)), connecting)
                .await
                .unwrap_or_else(|_| Err(io::Error::from_raw_os_error(libc::ETIMEDOUT))),
        }
    }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
