//! One byte stream inside the link: a connection of the program, or one that came in at the target.
//!
//! The window starts at [`INITIAL_WINDOW`] and doubles, up to [`MAX_WINDOW`], whenever the owner empties it faster than
//! [`BUSY`]: then it was the window that held the stream back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mirrord_protocol::agent::{Credit, Reset, encode};
use mirrord_protocol::frame::{Frame, Kind, MAX_DATA};
use tokio::sync::{Semaphore, mpsc};

use crate::inbox::{Ends, Item};
use crate::link::Shared;
use crate::outbox::Lane;
use crate::{INITIAL_WINDOW, MAX_WINDOW};

/// `ECONNRESET`: what a stream without a better reason ends with.
pub(crate) const ECONNRESET: i32 = 104;

/// A half-window that is used up within this time is too small.
const BUSY: Duration = Duration::from_millis(50);

/// Both directions of a stream. Dropping a half that has not ended resets the stream.
pub struct Stream {
    reader: StreamReader,
    writer: StreamWriter,
}

/// The direction towards us.
pub struct StreamReader {
    shared: Arc<Shared>,
    id: u64,
    /// reader task --bytes--> owner
    inbox: mpsc::UnboundedReceiver<Item>,
    window: u32,
    consumed: u32,
    since: Instant,
    over: Option<Option<i32>>,
}

/// The direction away from us.
pub struct StreamWriter {
    shared: Arc<Shared>,
    id: u64,
    credits: Arc<Semaphore>,
    over: bool,
}

// === impl Stream ===

impl Stream {
    pub(crate) fn new(shared: Arc<Shared>, id: u64, ends: Ends) -> Stream {
        let writer = StreamWriter { shared: shared.clone(), id, credits: ends.credits, over: false };
        let reader = StreamReader {
            shared,
            id,
            inbox: ends.inbox,
            window: INITIAL_WINDOW,
            consumed: 0,
            since: Instant::now(),
            over: None,
        };
        Stream { reader, writer }
    }

    /// The two directions, for two tasks.
    pub fn split(self) -> (StreamReader, StreamWriter) {
        (self.reader, self.writer)
    }

    /// Breaks the stream; the other end sees `errno`.
    pub fn reset(mut self, errno: i32) {
        self.writer.reset(errno);
        self.reader.over = Some(Some(errno));
    }
}

// === impl StreamReader ===

impl StreamReader {
    /// The next bytes, in order; `None` after the peer's end of this direction.
    ///
    /// # Errors
    /// The errno with which the stream was broken; `ECONNRESET` when the link is over.
    pub async fn next(&mut self) -> Result<Option<Bytes>, i32> {
        match self.over {
            Some(Some(errno)) => return Err(errno),
            Some(None) => return Ok(None),
            None => {}
        }
        match self.inbox.recv().await {
            Some(Item::Data(bytes)) => {
                self.grant(bytes.len());
                Ok(Some(bytes))
            }
            Some(Item::End) => {
                self.over = Some(None);
                Ok(None)
            }
            Some(Item::Reset(errno)) => {
                self.over = Some(Some(errno));
                Err(errno)
            }
            None => {
                self.over = Some(Some(ECONNRESET));
                Err(ECONNRESET)
            }
        }
    }

    fn grant(&mut self, bytes: usize) {
        self.consumed += u32::try_from(bytes).unwrap_or(u32::MAX);
        if self.consumed < self.window / 2 {
            return;
        }
        let mut credit = self.consumed;
        if self.window < MAX_WINDOW && self.since.elapsed() < BUSY {
            credit += self.window;
            self.window *= 2;
        }
        self.consumed = 0;
        self.since = Instant::now();
        self.shared.inbox.grant(self.id, credit);
        let head = encode(&Credit { bytes: credit });
        self.shared.outbox.control(Frame::control(Kind::Credit, self.id, head));
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        if self.over.is_none() {
            self.shared.reset_stream(self.id, ECONNRESET);
        }
    }
}

// === impl StreamWriter ===

impl StreamWriter {
    /// Sends bytes, waiting for credits and room.
    ///
    /// # Errors
    /// `ECONNRESET` when the stream is broken or the link is over.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), i32> {
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(MAX_DATA));
            let wanted = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            self.credits.acquire_many(wanted).await.map_err(|_| ECONNRESET)?.forget();
            if !self.shared.outbox.bulk(Lane::Stream(self.id), Frame::data(self.id, chunk)).await {
                return Err(ECONNRESET);
            }
        }
        Ok(())
    }

    /// No more bytes in this direction (half-close).
    pub fn finish(&mut self) {
        if !std::mem::replace(&mut self.over, true) {
            let end = Frame::control(Kind::End, self.id, Bytes::new());
            self.shared.outbox.push_bulk(Lane::Stream(self.id), end);
            self.shared.inbox.sent_end(self.id);
        }
    }

    /// Breaks the stream; the other end sees `errno`.
    pub fn reset(&mut self, errno: i32) {
        if !std::mem::replace(&mut self.over, true) {
            self.shared.reset_stream(self.id, errno);
        }
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        self.reset(ECONNRESET);
    }
}

impl Shared {
    /// Breaks a stream from this side, once.
    pub(crate) fn reset_stream(&self, id: u64, errno: i32) {
        if self.inbox.reset(id, errno) {
            self.outbox.discard(Lane::Stream(id));
            self.outbox.control(Frame::control(Kind::Reset, id, encode(&Reset { errno })));
        }
    }
}
