//! Sockets that the layer had to bind elsewhere: port 80 without the right to it, a port that is taken on this machine.
//!
//! The program believes in the address that it asked for; `getsockname` shows it and `listen` subscribes it. The key is
//! the socket's real address. Entries whose socket is gone are overwritten when the kernel gives the address again, or go
//! when the table is full.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Mutex;

use crate::ends::canonical;
use crate::sock_diag;
use crate::sync::locked;

/// Most entries; the oldest goes first.
const LIMIT: usize = 4096;

const EADDRINUSE: i32 = 98;

/// The table.
#[derive(Default)]
pub(crate) struct Bound {
    inner: Mutex<(HashMap<SocketAddr, SocketAddr>, VecDeque<SocketAddr>)>,
}

impl Bound {
    /// A socket asked for `requested` and got `local`.
    ///
    /// # Errors
    /// `EADDRINUSE` when another socket of the session listens in the name of `requested`.
    pub(crate) fn insert(&self, local: SocketAddr, requested: SocketAddr) -> Result<(), i32> {
        let (local, requested) = (canonical(local), canonical(requested));
        let mut inner = locked(&self.inner);
        let (entries, order) = &mut *inner;
        let is_held = |(real, asked): (&SocketAddr, &SocketAddr)| {
            *asked == requested && *real != local && matches!(sock_diag::listening(*real), Ok(Some(_)))
        };
        if entries.iter().any(is_held) {
            return Err(EADDRINUSE);
        }
        if entries.insert(local, requested).is_none() {
            order.push_back(local);
        }
        while order.len() > LIMIT {
            if let Some(oldest) = order.pop_front() {
                entries.remove(&oldest);
            }
        }
        Ok(())
    }

    /// What the socket at `local` asked for, if it got something else.
    pub(crate) fn requested(&self, local: SocketAddr) -> Option<SocketAddr> {
        locked(&self.inner).0.get(&canonical(local)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_name_is_in_use_until_its_socket_is_gone() {
        let bound = Bound::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let requested = "0.0.0.0:80".parse().unwrap();
        assert_eq!(bound.insert(local, requested), Ok(()));
        assert_eq!(bound.requested(local), Some(requested));
        let other = "127.0.0.1:9".parse().unwrap();
        assert_eq!(bound.insert(other, requested), Err(EADDRINUSE));
        drop(listener);
        assert_eq!(bound.insert(other, requested), Ok(()));
    }
}
