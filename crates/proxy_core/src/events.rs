//! What the CLI's user should know, as it happens; and the session's counters.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use crate::sync::locked;

/// Events that may wait for the CLI; later ones are dropped and counted (a terminal cannot show them anyway).
const WAITING: usize = 1024;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The layer is active in a process.
    Hello {
        /// Process id.
        pid: u32,
        /// Its image.
        program: String,
    },
    /// A port of the target comes here.
    Listening {
        /// Port of the target.
        port: u16,
    },
    /// It went back.
    Released {
        /// Port of the target.
        port: u16,
    },
    /// A warning to show.
    Notice(String),
    /// The agent is gone.
    Lost(String),
}

/// Producer and consumer side of the session's events.
pub struct Events {
    /// `None` only wakes the reader.
    sender: SyncSender<Option<Event>>,
    receiver: Mutex<Receiver<Option<Event>>>,
    dropped: AtomicU64,
}

/// Counts since the session began.
#[derive(Debug, Default)]
pub struct Counters {
    /// Outgoing connections that the target made for us.
    pub connections: AtomicU64,
    /// Incoming connections that the program got.
    pub accepted: AtomicU64,
    /// Names that the target resolved for us.
    pub names: AtomicU64,
    /// Bytes towards the program.
    pub bytes_in: AtomicU64,
    /// Bytes from the program.
    pub bytes_out: AtomicU64,
}

// === impl Events ===

impl Events {
    /// An empty queue.
    pub fn new() -> Events {
        let (sender, receiver) = sync_channel(WAITING);
        Events { sender, receiver: Mutex::new(receiver), dropped: AtomicU64::new(0) }
    }

    /// Adds an event; never waits.
    pub fn send(&self, event: Event) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(Some(event)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Makes [`Events::next`] return `None` at once. A full queue needs no waking: its reader is busy.
    pub fn wake(&self) {
        let _ = self.sender.try_send(None);
    }

    /// The next event, or `None` after `timeout` or when woken.
    pub fn next(&self, timeout: Duration) -> Option<Event> {
        locked(&self.receiver).recv_timeout(timeout).ok().flatten()
    }
}

impl Default for Events {
    fn default() -> Self {
        Events::new()
    }
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}
