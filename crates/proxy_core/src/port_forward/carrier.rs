//! The byte stream over one port-forward WebSocket.
//!
//! Polled by the link, whose reader and writer are two tasks on one [`Carrier`]; it starts no task of its own.
//!
//! What is written is kept until 64 KiB are together or a flush asks, so **a writer must flush**. While the socket is
//! busy, up to 256 KiB gather for the next message. Pongs and pings are sent from the reading side; a socket remembers
//! only one waiting writer, so both sides wait for it with one waker that wakes both.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::Stream;
use super::frames::{Event, Incoming, MESSAGE_TARGET, Outgoing};

/// Load balancers drop connections that are idle for 30 s and more.
const PING_EVERY: Duration = Duration::from_secs(20);

/// A port-forwarded connection to a pod: `AsyncRead + AsyncWrite`.
///
/// It has no half-close: `shutdown` ends both directions. An error of the far end (for example that nothing listens on
/// the port) is the error of each later read and write.
pub struct Carrier {
    stream: Box<dyn Stream>,
    incoming: Incoming,
    outgoing: Outgoing,
    pings: Interval,
    /// The peer said that it is done, or its connection ended between messages.
    is_ended: bool,
    is_close_queued: bool,
    /// Kind and text of what ended the reading. A failed write is not kept: the reason for it is often still to be read.
    failure: Option<(io::ErrorKind, String)>,
    writers: Arc<Writers>,
}

/// The reading and the writing task, as far as they wait until the socket takes more.
#[derive(Default)]
struct Writers {
    reader: Mutex<Option<Waker>>,
    writer: Mutex<Option<Waker>>,
}

enum Side {
    Reader,
    Writer,
}

// === impl Writers ===

impl Writers {
    fn register(&self, side: &Side, waker: &Waker) {
        let slot = match side {
            Side::Reader => &self.reader,
            Side::Writer => &self.writer,
        };
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }
}

impl Wake for Writers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        for slot in [&self.reader, &self.writer] {
            let waker = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

// === impl Carrier ===

impl Carrier {
    /// `received` are bytes that came right behind the answer to the upgrade.
    pub(super) fn new(stream: Box<dyn Stream>, received: Vec<u8>, port: u16) -> Self {
        let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            stream,
            incoming: Incoming::new(&received, port),
            outgoing: Outgoing::new(),
            pings,
            is_ended: false,
            is_close_queued: false,
            failure: None,
            writers: Arc::default(),
        }
    }

    fn check(&self) -> io::Result<()> {
        match &self.failure {
            Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
            None => Ok(()),
        }
    }

    /// Sends what is ready: whole frames, and the message being filled if it is large enough or `all` is asked for.
    fn poll_send(&mut self, context: &mut Context<'_>, side: &Side, all: bool) -> Poll<io::Result<()>> {
        self.writers.register(side, context.waker());
        let waker = Waker::from(self.writers.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            if self.outgoing.unsent().is_empty() {
                let least = if all { 1 } else { MESSAGE_TARGET };
                if self.outgoing.filled() < least {
                    break;
                }
                self.outgoing.seal()?;
            }
            match ready!(Pin::new(&mut self.stream).poll_write(&mut context, self.outgoing.unsent()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.outgoing.advance(length),
            }
        }
        Pin::new(&mut self.stream).poll_flush(&mut context)
    }

    /// Sends control frames from the reading side. That they wait or fail is nothing to the reader: what the peer still
    /// sent, often the reason, is to be read first.
    fn send_control(&mut self, context: &mut Context<'_>) {
        let _is_done = self.poll_send(context, &Side::Reader, false).is_ready();
    }

    fn poll_receive(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.pings.poll_tick(context).is_ready() && self.outgoing.unsent().is_empty() && !self.is_close_queued {
            self.outgoing.ping()?;
            // Registers the next tick with this task.
            let _is_due = self.pings.poll_tick(context).is_ready();
        }
        if !self.outgoing.unsent().is_empty() {
            self.send_control(context);
        }
        while !self.is_ended {
            match self.incoming.next()? {
                Event::Data => {
                    let data = self.incoming.data();
                    let length = data.len().min(into.remaining());
                    into.put_slice(&data[..length]);
                    self.incoming.consume(length);
                    return Poll::Ready(Ok(()));
                }
                Event::Ping(payload) => {
                    self.outgoing.pong(&payload)?;
                    self.send_control(context);
                }
                Event::Close(reason) => {
                    self.is_ended = true;
                    if !self.is_close_queued {
                        self.is_close_queued = true;
                        self.outgoing.close()?;
                        self.send_control(context);
                    }
                    if let Some(reason) = reason {
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason)));
                    }
                }
                Event::Starved => ready!(self.poll_fill(context))?,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = ReadBuf::new(self.incoming.space());
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut space))?;
        let length = space.filled().len();
        self.incoming.add(length);
        if length == 0 {
            if !self.incoming.is_between_messages() {
                let text = "the port-forward ended in the middle of a message";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
            }
            self.is_ended = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_append(&mut self, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_close_queued || self.is_ended {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the port-forward is closed")));
        }
        if self.outgoing.is_full() {
            let sending = self.poll_send(context, &Side::Writer, false)?;
            if sending.is_pending() && self.outgoing.is_full() {
                return Poll::Pending;
            }
        }
        let taken = self.outgoing.append(data);
        if self.outgoing.filled() >= MESSAGE_TARGET {
            // Pending only means that more can gather meanwhile.
            let _is_sent = self.poll_send(context, &Side::Writer, false)?.is_ready();
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_close_queued {
            ready!(self.poll_send(context, &Side::Writer, true))?;
            self.is_close_queued = true;
            self.outgoing.close()?;
        }
        ready!(self.poll_send(context, &Side::Writer, true))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncRead for Carrier {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        match ready!(self.poll_receive(context, into)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => {
                self.failure = Some((error.kind(), error.to_string()));
                Poll::Ready(Err(error))
            }
        }
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        self.poll_append(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        self.poll_send(context, &Side::Writer, true)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        self.poll_end(context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// TLS inside the carrier writes several 16 KiB records at once; taking them together makes one message of them.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            match self.as_mut().poll_write(context, part) {
                Poll::Ready(Ok(length)) => {
                    taken += length;
                    if length < part.len() {
                        break;
                    }
                }
                // Bytes already taken must be reported; a broken socket fails again in the next call.
                Poll::Ready(Err(_)) | Poll::Pending if taken > 0 => break,
                other => return other,
            }
        }
        Poll::Ready(Ok(taken))
    }
}
