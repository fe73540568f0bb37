//! A connection that is truly in progress: the pending listener.
//!
//! A non-blocking `connect` must answer soon and be finished later, with the remote result. The kernel does that for us
//! when the program's socket connects to a listener whose accept queue is full: the SYN is dropped and sent again after
//! 1, 3, 7 … s, and the socket is in progress like any other.
//!
//! ```text
//!   new():     listen(0), one dummy connection fills the queue
//!   admit():   the dummy is accepted, the next SYN gets through        → writable
//!   (drop):    the listener closes, the next SYN is refused            → ECONNREFUSED, the true errno by `Ends`
//!   (nothing): the program's own kernel gives up                       → ETIMEDOUT
//! ```

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A listener that takes nobody yet.
pub(crate) struct PendingListener {
    listener: TcpListener,
    address: SocketAddr,
    dummy: TcpStream,
}

impl PendingListener {
    /// Makes one on the session's address, or on `::1` for sockets that only speak IPv6.
    pub(crate) async fn new(own: Ipv4Addr, v6: bool) -> std::io::Result<PendingListener> {
        let socket = if v6 { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
        socket.bind(if v6 { (Ipv6Addr::LOCALHOST, 0).into() } else { (own, 0).into() })?;
        let listener = socket.listen(0)?;
        let address = listener.local_addr()?;
        let dummy = TcpStream::connect(address).await?;
        Ok(PendingListener { listener, address, dummy })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets the program's connection in and waits for it; the caller bounds the wait.
    pub(crate) async fn admit(self, local: SocketAddr) -> std::io::Result<TcpStream> {
        let dummy = self.dummy.local_addr()?;
        let local = crate::ends::canonical(local);
        loop {
            let (socket, peer) = self.listener.accept().await?;
            if peer == dummy {
                continue;
            }
            if crate::ends::canonical(peer) == local {
                return Ok(socket);
            }
            // A stranger: closed without a byte.
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_connection_is_in_progress_until_it_is_admitted() {
        let pending = PendingListener::new(Ipv4Addr::LOCALHOST, false).await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let local = socket.local_addr().unwrap();
        let connecting = tokio::spawn(socket.connect(pending.address()));
        assert!(tokio::time::timeout(Duration::from_millis(200), pending.listener.accept()).await.is_ok());
        assert!(!connecting.is_finished());
        pending.admit(local).await.unwrap();
        connecting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_dropped_listener_refuses() {
        let pending = PendingListener::new(Ipv4Addr::LOCALHOST, false).await.unwrap();
        let connecting = tokio::spawn(TcpStream::connect(pending.address()));
        tokio::task::yield_now().await;
        drop(pending);
        let error = connecting.await.unwrap().unwrap_err();
        assert!(matches!(error.raw_os_error(), Some(104 | 111)), "{error}");
    }
}
