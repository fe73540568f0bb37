//! Where the reader task puts what arrives: answers to their askers, bytes to their streams, credits to their senders.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use mirrord_protocol::agent::{Opened, Response};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::{INITIAL_WINDOW, MAX_WINDOW};

/// Something that arrived on a stream.
pub(crate) enum Item {
    Data(Bytes),
    End,
    Reset(i32),
}

/// The link's side of a stream.
struct Entry {
    /// reader task --bytes--> StreamReader; bounded by the window that was granted.
    inbox: mpsc::UnboundedSender<Item>,
    /// What the peer lets us send; closed when the stream is broken.
    credits: Arc<Semaphore>,
    /// Set until the peer has answered our `Open`.
    opened: Option<oneshot::Sender<Opened>>,
    /// Bytes that the peer may still send.
    window: u64,
    received_end: bool,
    sent_end: bool,
}

/// The half of a stream that its owner holds.
pub(crate) struct Ends {
    pub inbox: mpsc::UnboundedReceiver<Item>,
    pub credits: Arc<Semaphore>,
}

#[derive(Default)]
pub(crate) struct Inbox {
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    answers: HashMap<u64, oneshot::Sender<(Response, Bytes)>>,
    streams: HashMap<u64, Entry>,
    closed: bool,
}

// === impl Inbox ===

impl Inbox {
    /// Registers a request; `None` when the link is over.
    pub(crate) fn expect(&self, id: u64) -> Option<oneshot::Receiver<(Response, Bytes)>> {
        let (answer_tx, answer_rx) = oneshot::channel();
        let mut tables = self.lock();
        if tables.closed {
            return None;
        }
        tables.answers.insert(id, answer_tx);
        Some(answer_rx)
    }

    pub(crate) fn forget(&self, id: u64) {
        self.lock().answers.remove(&id);
    }

    pub(crate) fn answer(&self, id: u64, response: Response, payload: Bytes) {
        let waiting = self.lock().answers.remove(&id);
        if let Some(answer_tx) = waiting {
            // The asker may have given up: then nobody wants the answer.
            let _ = answer_tx.send((response, payload));
        }
    }

    /// Registers a stream; `None` when the link is over or the id is taken.
    pub(crate) fn add_stream(&self, id: u64, opened: Option<oneshot::Sender<Opened>>) -> Option<Ends> {
        let (inbox_tx, inbox_rx) = mpsc::unbounded_channel();
        let credits = Arc::new(Semaphore::new(INITIAL_WINDOW as usize));
        let entry = Entry {
            inbox: inbox_tx,
            credits: credits.clone(),
            opened,
            window: u64::from(INITIAL_WINDOW),
            received_end: false,
            sent_end: false,
        };
        let mut tables = self.lock();
        if tables.closed || tables.streams.contains_key(&id) {
            return None;
        }
        tables.streams.insert(id, entry);
        Some(Ends { inbox: inbox_rx, credits })
    }

    pub(crate) fn opened(&self, id: u64, opened: Opened) {
        if let Some(opened_tx) = self.lock().streams.get_mut(&id).and_then(|entry| entry.opened.take()) {
            // The opener may have given up: its guard resets the stream.
            let _ = opened_tx.send(opened);
        }
    }

    /// Bytes of a stream. Returns false when the peer sends more than it was allowed to.
    pub(crate) fn data(&self, id: u64, payload: Bytes) -> bool {
        let mut tables = self.lock();
        let Some(entry) = tables.streams.get_mut(&id) else { return true };
        if entry.received_end {
            return false;
        }
        let Some(left) = entry.window.checked_sub(payload.len() as u64) else { return false };
        entry.window = left;
        let _ = entry.inbox.send(Item::Data(payload));
        true
    }

    /// We let the peer send `bytes` more.
    pub(crate) fn grant(&self, id: u64, bytes: u32) {
        if let Some(entry) = self.lock().streams.get_mut(&id) {
            entry.window += u64::from(bytes);
        }
    }

    /// The peer lets us send `bytes` more. Returns false when the window grows beyond all reason.
    pub(crate) fn credit(&self, id: u64, bytes: u32) -> bool {
        let tables = self.lock();
        let Some(entry) = tables.streams.get(&id) else { return true };
        if entry.credits.available_permits() + bytes as usize > 2 * MAX_WINDOW as usize {
            return false;
        }
        entry.credits.add_permits(bytes as usize);
        true
    }

    pub(crate) fn received_end(&self, id: u64) {
        let mut tables = self.lock();
        if let Some(entry) = tables.streams.get_mut(&id) {
            entry.received_end = true;
            let _ = entry.inbox.send(Item::End);
            if entry.sent_end {
                tables.streams.remove(&id);
            }
        }
    }

    pub(crate) fn sent_end(&self, id: u64) {
        let mut tables = self.lock();
        if let Some(entry) = tables.streams.get_mut(&id) {
            entry.sent_end = true;
            if entry.received_end {
                tables.streams.remove(&id);
            }
        }
    }

    /// Breaks a stream; true when it was still there.
    pub(crate) fn reset(&self, id: u64, errno: i32) -> bool {
        let removed = self.lock().streams.remove(&id);
        removed.is_some_and(|entry| {
            entry.credits.close();
            let _ = entry.inbox.send(Item::Reset(errno));
            true
        })
    }

    /// The link is over: whoever waits learns so.
    pub(crate) fn close(&self, errno: i32) {
        let mut tables = self.lock();
        tables.closed = true;
        tables.answers.clear();
        let streams = std::mem::take(&mut tables.streams);
        drop(tables);
        for entry in streams.into_values() {
            entry.credits.close();
            let _ = entry.inbox.send(Item::Reset(errno));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
