//! What waits to be sent, and in which order: control frames first, then one bulk frame of each stream in turn.
//!
//! Filled by anybody, emptied by the writer task. Control frames are small and few (the reader stops taking requests
//! when too many are unanswered); bulk bytes are limited by [`OUTBOX_LIMIT`] together with each stream's credits.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use bytes::BytesMut;
use mirrord_protocol::frame::Frame;
use tokio::sync::{Notify, Semaphore};

use crate::OUTBOX_LIMIT;

/// Bytes that the writer collects before it writes.
const BATCH: usize = 128 << 10;

/// Bulk queues of requests' answers and of streams must not mix, though their ids come from both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    Stream(u64),
    Answer(u64),
}

pub(crate) struct Outbox {
    queues: Mutex<Queues>,
    /// producers --something to send--> writer task
    filled: Notify,
    /// Room for bulk bytes; closed when the link is over.
    room: Semaphore,
}

#[derive(Default)]
struct Queues {
    control: VecDeque<Frame>,
    bulk: HashMap<Lane, VecDeque<Frame>>,
    turns: VecDeque<Lane>,
    closed: bool,
}

// === impl Outbox ===

impl Outbox {
    pub(crate) fn new() -> Outbox {
        Outbox { queues: Mutex::default(), filled: Notify::new(), room: Semaphore::new(OUTBOX_LIMIT) }
    }

    /// Queues a small frame ahead of all bulk. Does nothing when the link is over.
    pub(crate) fn control(&self, frame: Frame) {
        let mut queues = self.lock();
        if !queues.closed {
            queues.control.push_back(frame);
            drop(queues);
            self.filled.notify_one();
        }
    }

    /// Queues a frame behind the others of its lane, once there is room. Returns false when the link is over.
    pub(crate) async fn bulk(&self, lane: Lane, frame: Frame) -> bool {
        let bytes = u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
        let Ok(permit) = self.room.acquire_many(bytes).await else { return false };
        permit.forget();
        self.push_bulk(lane, frame)
    }

    /// Queues a frame without payload behind the others of its lane (a stream's end).
    pub(crate) fn push_bulk(&self, lane: Lane, frame: Frame) -> bool {
        let mut queues = self.lock();
        if queues.closed {
            return false;
        }
        let queue = queues.bulk.entry(lane).or_default();
        let first = queue.is_empty();
        queue.push_back(frame);
        if first {
            queues.turns.push_back(lane);
        }
        drop(queues);
        self.filled.notify_one();
        true
    }

    /// Forgets what a lane still has to send: its stream was reset.
    pub(crate) fn discard(&self, lane: Lane) {
        let mut queues = self.lock();
        if let Some(queue) = queues.bulk.remove(&lane) {
            queues.turns.retain(|turn| *turn != lane);
            drop(queues);
            self.room.add_permits(queue.iter().map(|frame| frame.payload.len()).sum());
        }
    }

    /// Waits for frames and encodes up to a batch of them into `out`. Returns false when the link is over and all
    /// control frames (a `Bye`, say) are out.
    pub(crate) async fn next_batch(&self, out: &mut BytesMut) -> bool {
        loop {
            let filled = self.filled.notified();
            if self.take(out) {
                return true;
            }
            if self.lock().closed {
                return false;
            }
            filled.await;
        }
    }

    fn take(&self, out: &mut BytesMut) -> bool {
        let mut queues = self.lock();
        let mut freed = 0;
        while out.len() < BATCH {
            if let Some(frame) = queues.control.pop_front() {
                frame.encode(out);
                continue;
            }
            let Some(lane) = queues.turns.pop_front() else { break };
            let Some(queue) = queues.bulk.get_mut(&lane) else { continue };
            if let Some(frame) = queue.pop_front() {
                freed += frame.payload.len();
                frame.encode(out);
            }
            if queue.is_empty() {
                queues.bulk.remove(&lane);
            } else {
                queues.turns.push_back(lane);
            }
        }
        drop(queues);
        self.room.add_permits(freed);
        !out.is_empty()
    }

    /// No more frames; whoever waits for room gives up.
    pub(crate) fn close(&self) {
        let mut queues = self.lock();
        queues.closed = true;
        queues.bulk.clear();
        queues.turns.clear();
        drop(queues);
        self.room.close();
        self.filled.notify_waiters();
        self.filled.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use mirrord_protocol::frame::Kind;

    use super::*;

    fn data(id: u64) -> Frame {
        Frame::data(id, Bytes::from_static(b"x"))
    }

    fn ids(mut wire: BytesMut) -> Vec<u64> {
        std::iter::from_fn(|| Frame::decode(&mut wire).unwrap()).map(|frame| frame.id).collect()
    }

    #[tokio::test]
    async fn control_goes_first_and_streams_take_turns() {
        let outbox = Outbox::new();
        for id in [1, 1, 1, 3, 3] {
            assert!(outbox.bulk(Lane::Stream(id), data(id)).await);
        }
        outbox.control(Frame::control(Kind::Ping, 9, Bytes::new()));
        let mut out = BytesMut::new();
        assert!(outbox.next_batch(&mut out).await);
        assert_eq!(ids(out), [9, 1, 3, 1, 3, 1]);
    }

    #[tokio::test]
    async fn a_discarded_lane_gives_its_room_back() {
        let outbox = Outbox::new();
        for _ in 0..3 {
            assert!(outbox.bulk(Lane::Stream(1), data(1)).await);
        }
        outbox.discard(Lane::Stream(1));
        assert_eq!(outbox.room.available_permits(), OUTBOX_LIMIT);
    }

    #[tokio::test]
    async fn a_closed_outbox_takes_nothing() {
        let outbox = Outbox::new();
        outbox.close();
        assert!(!outbox.bulk(Lane::Stream(1), data(1)).await);
        assert!(!outbox.next_batch(&mut BytesMut::new()).await);
    }
}
