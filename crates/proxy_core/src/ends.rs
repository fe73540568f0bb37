//! Who is really at the other end of a connection between program and proxy.
//!
//! The key is what the kernel knows of the program's socket: its own address and the peer that the kernel shows. So the
//! answer survives `dup`, `fork`, `exec` and descriptor passing, and nothing in the program can go stale. An entry stays
//! after its connection has ended (the program may still ask) until the pair is used again or the table is full.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;

use crate::sync::locked;

/// Most entries; the oldest goes first. The loopback addresses of a session have about as many ports.
const LIMIT: usize = 1 << 16;

/// The true ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// As `getpeername` must show it.
    pub peer: SocketAddr,
    /// As `getsockname` must show it.
    pub local: SocketAddr,
}

type Pair = (SocketAddr, SocketAddr);

/// The table.
#[derive(Default)]
pub struct EndsTable {
    inner: Mutex<Inner>,
    /// insert() --something is new--> get_soon()
    inserted: Notify,
}

/// The peer of a socket that is not connected any more, or not yet.
pub(crate) const NO_PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

#[derive(Default)]
struct Inner {
    entries: HashMap<Pair, Result<Ends, i32>>,
    order: VecDeque<Pair>,
}

// === impl EndsTable ===

impl EndsTable {
    /// Remembers the ends of the connection whose program side has these two addresses.
    pub fn insert(&self, local: SocketAddr, peer: SocketAddr, ends: Ends) {
        self.put((canonical(local), canonical(peer)), Ok(ends));
    }

    /// Remembers with which errno a connection failed that the program's socket still believes to be in progress. The
    /// kernel forgets the peer of such a socket when it is refused, so its own address is the whole key.
    pub fn fail(&self, local: SocketAddr, errno: i32) {
        self.put((canonical(local), NO_PEER), Err(errno));
    }

    /// A new socket has this address: what is remembered of an earlier one does not count for it.
    pub(crate) fn forget_failure(&self, local: SocketAddr) {
        locked(&self.inner).entries.remove(&(canonical(local), NO_PEER));
    }

    /// As [`EndsTable::get`], but waits for an entry that is on its way: a program may ask for its peer before the proxy
    /// has read that the connection is established.
    pub(crate) async fn get_soon(
        &self,
        local: SocketAddr,
        peer: SocketAddr,
        limit: Duration,
    ) -> Option<Result<Ends, i32>> {
        let waiting = async {
            loop {
                let inserted = self.inserted.notified();
                if let Some(ends) = self.get(local, peer) {
                    return ends;
                }
                inserted.await;
            }
        };
        tokio::time::timeout(limit, waiting).await.ok()
    }

    /// Looks a connection up; the error is its errno, or `None` when it is not ours.
    pub fn get(&self, local: SocketAddr, peer: SocketAddr) -> Option<Result<Ends, i32>> {
        locked(&self.inner).entries.get(&(canonical(local), canonical(peer))).copied()
    }

    fn put(&self, pair: Pair, ends: Result<Ends, i32>) {
        let mut inner = locked(&self.inner);
        if inner.entries.insert(pair, ends).is_none() {
            inner.order.push_back(pair);
        }
        while inner.order.len() > LIMIT {
            if let Some(oldest) = inner.order.pop_front() {
                inner.entries.remove(&oldest);
            }
        }
        drop(inner);
        self.inserted.notify_waiters();
    }
}

/// The address without IPv4-in-IPv6 mapping and scope, as both families of sockets show it.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn mapped_and_plain_addresses_are_the_same() {
        let table = EndsTable::default();
        let ends = Ends { peer: address("10.0.0.1:80"), local: address("10.0.0.9:4000") };
        table.insert(address("[::ffff:127.0.0.1]:5"), address("[::ffff:127.1.2.3]:6"), ends);
        assert_eq!(table.get(address("127.0.0.1:5"), address("127.1.2.3:6")), Some(Ok(ends)));
        assert_eq!(table.get(address("127.0.0.1:5"), address("127.1.2.3:7")), None);
    }

    #[tokio::test]
    async fn an_entry_on_its_way_is_waited_for() {
        let table = EndsTable::default();
        let (local, peer) = (address("127.0.0.1:5"), address("127.1.2.3:6"));
        let ends = Ends { peer: address("10.0.0.1:80"), local: address("10.0.0.9:4000") };
        let (found, ()) = tokio::join!(table.get_soon(local, peer, Duration::from_secs(5)), async {
            table.insert(local, peer, ends)
        });
        assert_eq!(found, Some(Ok(ends)));
        assert_eq!(table.get_soon(peer, local, Duration::ZERO).await, None);
    }

    #[test]
    fn a_failure_is_found_without_its_peer() {
        let table = EndsTable::default();
        table.fail(address("127.0.0.1:5"), 113);
        assert_eq!(table.get(address("127.0.0.1:5"), NO_PEER), Some(Err(113)));
        table.forget_failure(address("127.0.0.1:5"));
        assert_eq!(table.get(address("127.0.0.1:5"), NO_PEER), None);
    }

    #[test]
    fn the_table_is_bounded() {
        let table = EndsTable::default();
        for number in 0..(LIMIT as u32 + 10) {
            table.fail(SocketAddr::from((number.to_be_bytes(), 1)), 111);
        }
        assert_eq!(locked(&table.inner).entries.len(), LIMIT);
        assert_eq!(locked(&table.inner).order.len(), LIMIT);
    }
}
