//! The link's handle and its two tasks.
//!
//! ```text
//!   handshake (TLS, Hello, Welcome) ──> running ──Bye / end of carrier / silence / broken frame──> over
//! ```
//!
//! [`Link`] is a cheap handle; the link lives until [`Link::bye`] or until it is lost, whoever holds handles to it.
//! `over` is entered once: the outbox and the inbox are closed, so every waiting request, open and stream
//! returns at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use mirrord_protocol::agent::{
    Bye, Credit, Hello, Notice, Open, Opened, Request, Reset, Response, Welcome, decode, encode,
};
use mirrord_protocol::frame::{Frame, Kind, MAX_DATA, MAX_LENGTH};
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::inbox::Inbox;
use crate::keys::{AgentKeys, SessionKeys};
use crate::outbox::{Lane, Outbox};
use crate::stream::{ECONNRESET, Stream};
use crate::{ANSWERS_LIMIT, End, HANDSHAKE, LinkError, PING, SILENCE};

/// Answers above this size are bulk: they wait their turn behind other streams.
const SMALL_ANSWER: usize = 16 << 10;

/// What the smallest answer counts as, so that many small questions are bounded too.
const SMALLEST_ANSWER: u32 = 16 << 10;

/// What an answer without a length of its own counts as: a page of a directory, a DNS packet.
const USUAL_ANSWER: u32 = 512 << 10;

/// Bytes that the reader asks the carrier for at a time.
const READ: usize = 128 << 10;

/// Events that may wait for the owner; then the carrier waits.
const EVENTS: usize = 256;

/// `ENOSYS`: a request of a newer peer.
const ENOSYS: i32 = 38;

/// A handle of the link.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub outbox: Outbox,
    pub inbox: Inbox,
    next_id: AtomicU64,
    /// Bytes that unanswered requests of the peer may still ask for.
    answers: Arc<Semaphore>,
    started: Instant,
    /// Milliseconds since `started` at which the peer was last heard.
    heard: AtomicU64,
    /// whoever ends the link --reason--> everybody
    end: watch::Sender<Option<End>>,
}

/// What the peer wants.
pub enum Event {
    /// A question to answer.
    Request {
        /// The question.
        request: Request,
        /// Its payload.
        payload: Bytes,
        /// Takes the answer.
        responder: Responder,
    },
    /// A new stream.
    Open {
        /// What it is for.
        open: Open,
        /// Takes the decision.
        pending: PendingStream,
    },
    /// Something for the user to read.
    Notice(String),
}

/// Takes the answer to a request; dropped without one, it answers `EIO`.
pub struct Responder {
    shared: Arc<Shared>,
    id: u64,
    /// Returned when the answer is queued: bounds what a peer may ask at a time.
    permit: Option<OwnedSemaphorePermit>,
}

/// Takes the decision on a stream that the peer opened; dropped without one, it refuses with `ECONNRESET`.
pub struct PendingStream {
    shared: Arc<Shared>,
    id: u64,
    stream: Option<Stream>,
}

// === impl Link ===

impl Link {
    /// Dials: TLS, then `hello`, then the agent's welcome and the target's environment.
    ///
    /// # Errors
    /// [`LinkError`] when the peer does not prove itself, or does not answer within [`HANDSHAKE`].
    pub async fn client<S>(
        carrier: S,
        keys: &SessionKeys,
        hello: &Hello,
    ) -> Result<(Link, Welcome, Bytes, mpsc::Receiver<Event>), LinkError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (connector, name) = keys.connector();
        let handshake = async {
            let mut stream = connector.connect(name, carrier).await.map_err(tls_error)?;
            send_frame(&mut stream, &Frame::control(Kind::Hello, 0, encode(hello))).await?;
            let mut buffer = BytesMut::new();
            let frame = read_frame(&mut stream, &mut buffer, Kind::Welcome).await?;
            Ok::<_, LinkError>((stream, decode::<Welcome>(&frame.head)?, frame.payload, buffer))
        };
        let (stream, welcome, payload, buffer) = bounded(handshake).await?;
        let (link, events) = Link::start(stream, buffer, 1);
        Ok((link, welcome, payload, events))
    }

    /// Accepts: TLS, the client's hello, then `welcome` with the target's environment.
    ///
    /// # Errors
    /// [`LinkError`] when the peer does not prove itself within [`HANDSHAKE`]; it has then not seen a byte of protocol.
    pub async fn agent<S>(
        carrier: S,
        keys: &AgentKeys,
        welcome: &Welcome,
        environment: Bytes,
    ) -> Result<(Link, Hello, mpsc::Receiver<Event>), LinkError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let handshake = async {
            let mut stream = keys.acceptor().accept(carrier).await.map_err(tls_error)?;
            let mut buffer = BytesMut::new();
            let frame = read_frame(&mut stream, &mut buffer, Kind::Hello).await?;
            let hello: Hello = decode(&frame.head)?;
            let mut frame = Frame::control(Kind::Welcome, 0, encode(welcome));
            frame.payload = environment;
            send_frame(&mut stream, &frame).await?;
            Ok::<_, LinkError>((stream, hello, buffer))
        };
        let (stream, hello, buffer) = bounded(handshake).await?;
        let (link, events) = Link::start(stream, buffer, 2);
        Ok((link, hello, events))
    }

    fn start<S>(stream: S, buffer: BytesMut, first_id: u64) -> (Link, mpsc::Receiver<Event>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let shared = Arc::new(Shared {
            outbox: Outbox::new(),
            inbox: Inbox::default(),
            next_id: AtomicU64::new(first_id),
            answers: Arc::new(Semaphore::new(ANSWERS_LIMIT)),
            started: Instant::now(),
            heard: AtomicU64::new(0),
            end: watch::Sender::new(None),
        });
        let (events_tx, events_rx) = mpsc::channel(EVENTS);
        let (source, sink) = tokio::io::split(stream);
        tokio::spawn(write_frames(shared.clone(), sink));
        tokio::spawn(read_frames(shared.clone(), source, buffer, events_tx));
        tokio::spawn(watch_silence(shared.clone()));
        (Link { shared }, events_rx)
    }

    /// Asks the peer and waits for its answer.
    ///
    /// # Errors
    /// [`LinkError::Ended`] when the link is over before the answer came.
    pub async fn request(&self, request: &Request, payload: Bytes) -> Result<(Response, Bytes), LinkError> {
        let id = self.shared.fresh_id();
        let answer = self.shared.inbox.expect(id).ok_or_else(|| self.over())?;
        let forget = Forget { shared: &self.shared, id };
        let mut frame = Frame::control(Kind::Request, id, encode(request));
        frame.payload = payload;
        self.shared.outbox.control(frame);
        let answer = answer.await.map_err(|_| self.over());
        drop(forget);
        answer
    }

    /// Opens a stream and waits for the peer's decision: the socket's own address there, and the stream; or an errno.
    ///
    /// # Errors
    /// [`LinkError::Ended`] when the link is over before the decision came.
    pub async fn open(&self, open: &Open) -> Result<Result<(SocketAddr, Stream), i32>, LinkError> {
        let id = self.shared.fresh_id();
        let (opened_tx, opened_rx) = oneshot::channel();
        let ends = self.shared.inbox.add_stream(id, Some(opened_tx)).ok_or_else(|| self.over())?;
        // From here on dropping the stream (or this future) resets it at the peer.
        let stream = Stream::new(self.shared.clone(), id, ends);
        self.shared.outbox.control(Frame::control(Kind::Open, id, encode(open)));
        match opened_rx.await {
            Ok(Opened::Ready { local }) => Ok(Ok((local, stream))),
            Ok(Opened::Failed { errno }) => {
                self.shared.inbox.reset(id, errno);
                Ok(Err(errno))
            }
            Err(_) if self.shared.end.borrow().is_some() => Err(self.over()),
            Err(_) => Ok(Err(ECONNRESET)),
        }
    }

    /// Tells the peer's user something.
    pub fn notice(&self, text: String) {
        self.shared.outbox.control(Frame::control(Kind::Notice, 0, encode(&Notice { text })));
    }

    /// Ends the link, telling the peer why. Returns when the message is on its way or cannot be sent.
    pub async fn bye(&self, reason: &str) {
        let head = encode(&Bye { reason: reason.to_owned() });
        self.shared.outbox.control(Frame::control(Kind::Bye, 0, head));
        self.shared.finish(End::Closed);
        // The writer task holds a clone of `shared` until the last control frame is out.
        let _ = tokio::time::timeout(HANDSHAKE, self.shared.end.closed()).await;
    }

    /// Waits until the link is over.
    pub async fn ended(&self) -> End {
        let mut end = self.shared.end.subscribe();
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(End::Closed),
            Err(_) => End::Closed,
        }
    }

    /// Why the link is over, if it is.
    pub fn end(&self) -> Option<End> {
        self.shared.end.borrow().clone()
    }

    fn over(&self) -> LinkError {
        LinkError::Ended(self.end().unwrap_or(End::Closed))
    }
}

/// Removes a request's entry when its asker gives up.
struct Forget<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.inbox.forget(self.id);
    }
}

// === impl Shared ===

impl Shared {
    fn fresh_id(&self) -> u64 {
        self.next_id.fetch_add(2, Ordering::Relaxed)
    }

    /// Enters `over`, once.
    fn finish(&self, reason: End) {
        let first = self.end.send_if_modified(|end| {
            let first = end.is_none();
            if first {
                *end = Some(reason);
            }
            first
        });
        if first {
            self.outbox.close();
            self.inbox.close(ECONNRESET);
        }
    }

    fn heard_now(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(elapsed, Ordering::Relaxed);
    }

    async fn dispatch(self: &Arc<Self>, frame: Frame, events: &mpsc::Sender<Event>) -> Result<(), LinkError> {
        let id = frame.id;
        match Kind::from_byte(frame.kind) {
            Some(Kind::Response) => self.inbox.answer(id, decode(&frame.head)?, frame.payload),
            Some(Kind::Data) => {
                if !self.inbox.data(id, frame.payload) {
                    return Err(LinkError::Protocol(format!("stream {id} sent more than it was allowed to")));
                }
            }
            Some(Kind::Credit) => {
                if !self.inbox.credit(id, decode::<Credit>(&frame.head)?.bytes) {
                    return Err(LinkError::Protocol(format!("stream {id} was given too much credit")));
                }
            }
            Some(Kind::End) => self.inbox.received_end(id),
            Some(Kind::Reset) => {
                let Reset { errno } = decode(&frame.head)?;
                if self.inbox.reset(id, errno) {
                    self.outbox.discard(Lane::Stream(id));
                }
            }
            Some(Kind::Opened) => self.inbox.opened(id, decode(&frame.head)?),
            Some(Kind::Request) => self.requested(id, frame, events).await,
            Some(Kind::Open) => {
                let open: Open = decode(&frame.head)?;
                let ends = self.inbox.add_stream(id, None);
                let ends = ends.ok_or_else(|| LinkError::Protocol(format!("stream {id} is open already")))?;
                let stream = Some(Stream::new(self.clone(), id, ends));
                let pending = PendingStream { shared: self.clone(), id, stream };
                // The owner has gone: dropping the event refuses the stream.
                let _ = events.send(Event::Open { open, pending }).await;
            }
            Some(Kind::Notice) => {
                let Notice { text } = decode(&frame.head)?;
                let _ = events.send(Event::Notice(text)).await;
            }
            Some(Kind::Ping) => self.outbox.control(Frame::control(Kind::Pong, id, Bytes::new())),
            Some(Kind::Bye) => {
                let Bye { reason } = decode(&frame.head)?;
                self.finish(End::Bye(reason));
            }
            Some(Kind::Pong | Kind::Hello | Kind::Welcome) | None => {}
        }
        Ok(())
    }

    async fn requested(self: &Arc<Self>, id: u64, frame: Frame, events: &mpsc::Sender<Event>) {
        let request = decode::<Request>(&frame.head);
        let cost = request.as_ref().map_or(SMALLEST_ANSWER, answer_limit);
        let permit = self.answers.clone().acquire_many_owned(cost).await.ok();
        let responder = Responder { shared: self.clone(), id, permit };
        match request {
            Ok(request) => {
                let _ = events.send(Event::Request { request, payload: frame.payload, responder }).await;
            }
            Err(error) => {
                tracing::debug!(%error, "request that this version does not know");
                responder.send(Response::Errno(ENOSYS), Bytes::new());
            }
        }
    }
}

// === impl Responder ===

impl Responder {
    /// Sends the answer.
    pub fn send(mut self, response: Response, payload: Bytes) {
        self.answer(response, payload);
    }

    fn answer(&mut self, response: Response, payload: Bytes) {
        let Some(permit) = self.permit.take() else { return };
        let mut frame = Frame::control(Kind::Response, self.id, encode(&response));
        frame.payload = payload;
        if frame.payload.len() <= SMALL_ANSWER {
            self.shared.outbox.control(frame);
            return;
        }
        let (shared, id) = (self.shared.clone(), self.id);
        tokio::spawn(async move {
            shared.outbox.bulk(Lane::Answer(id), frame).await;
            drop(permit);
        });
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        const EIO: i32 = 5;
        self.answer(Response::Errno(EIO), Bytes::new());
    }
}

// === impl PendingStream ===

impl PendingStream {
    /// Takes the stream; `local` is the socket's own address at this end.
    pub fn accept(mut self, local: SocketAddr) -> Stream {
        let head = encode(&Opened::Ready { local });
        self.shared.outbox.control(Frame::control(Kind::Opened, self.id, head));
        self.stream.take().expect("a pending stream is decided once")
    }

    /// Refuses it.
    pub fn refuse(mut self, errno: i32) {
        self.decline(errno);
    }

    fn decline(&mut self, errno: i32) {
        if let Some(stream) = self.stream.take() {
            self.shared.inbox.reset(self.id, errno);
            let head = encode(&Opened::Failed { errno });
            self.shared.outbox.control(Frame::control(Kind::Opened, self.id, head));
            drop(stream);
        }
    }
}

impl Drop for PendingStream {
    fn drop(&mut self) {
        self.decline(ECONNRESET);
    }
}

/// The most bytes that the answer to a request can have in memory.
fn answer_limit(request: &Request) -> u32 {
    let wanted = match request {
        Request::Lookup { prefetch, .. } | Request::Open { prefetch, .. } => *prefetch,
        Request::Read { len, .. } => *len,
        Request::List { .. } => USUAL_ANSWER,
        _ => SMALLEST_ANSWER,
    };
    wanted.clamp(SMALLEST_ANSWER, MAX_LENGTH as u32)
}

// === the tasks ===

async fn write_frames<W: AsyncWrite + Unpin>(shared: Arc<Shared>, mut sink: W) {
    let mut batch = BytesMut::with_capacity(2 * MAX_DATA);
    // Counts as a listener of `end` until everything is out: `bye` waits for that.
    let _draining = shared.end.subscribe();
    while shared.outbox.next_batch(&mut batch).await {
        let written = async {
            sink.write_all(&batch).await?;
            sink.flush().await
        };
        let broken = tokio::select! {
            written = written => written.err().map(|error| error.to_string()),
            // A peer that takes nothing would hold the last words up for ever.
            () = stuck(&shared) => Some("the other side takes no more bytes".to_owned()),
        };
        if let Some(reason) = broken {
            shared.finish(End::Lost(reason));
            return;
        }
        batch.clear();
    }
    // Best effort: the peer may be gone.
    let _ = tokio::time::timeout(HANDSHAKE, sink.shutdown()).await;
}

/// Returns some time after the link is over.
async fn stuck(shared: &Shared) {
    let mut end = shared.end.subscribe();
    let _ = end.wait_for(Option::is_some).await;
    tokio::time::sleep(HANDSHAKE).await;
}

async fn read_frames<R: AsyncRead + Unpin>(
    shared: Arc<Shared>,
    mut source: R,
    mut buffer: BytesMut,
    events: mpsc::Sender<Event>,
) {
    let mut end = shared.end.subscribe();
    let reading = async {
        loop {
            while let Some(frame) = Frame::decode(&mut buffer)? {
                shared.dispatch(frame, &events).await?;
            }
            buffer.reserve(READ);
            if source.read_buf(&mut buffer).await? == 0 {
                return Ok::<(), LinkError>(());
            }
            shared.heard_now();
        }
    };
    let outcome = tokio::select! {
        outcome = reading => outcome,
        _ = end.wait_for(Option::is_some) => return,
    };
    shared.finish(End::Lost(match outcome {
        Ok(()) => "the other side closed it".to_owned(),
        // rustls' word for a peer that died before it could say goodbye.
        Err(LinkError::Io(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the other side ended without a goodbye".to_owned()
        }
        Err(error) => error.to_string(),
    }));
}

async fn watch_silence(shared: Arc<Shared>) {
    let mut end = shared.end.subscribe();
    let mut ticks = tokio::time::interval(PING);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = end.wait_for(Option::is_some) => return,
        }
        let heard = std::time::Duration::from_millis(shared.heard.load(Ordering::Relaxed));
        if shared.started.elapsed().saturating_sub(heard) > SILENCE {
            shared.finish(End::Lost(format!("no sign of the other side for {} s", SILENCE.as_secs())));
            return;
        }
        shared.outbox.control(Frame::control(Kind::Ping, shared.fresh_id(), Bytes::new()));
    }
}

// === the handshake ===

async fn bounded<T>(handshake: impl Future<Output = Result<T, LinkError>>) -> Result<T, LinkError> {
    tokio::time::timeout(HANDSHAKE, handshake).await.map_err(|_| LinkError::Timeout(HANDSHAKE))?
}

/// tokio-rustls wraps TLS errors into I/O errors; ours say which it was.
fn tls_error(error: std::io::Error) -> LinkError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(tls) => LinkError::Tls(tls.clone()),
        None => LinkError::Io(error),
    }
}

async fn send_frame<W: AsyncWrite + Unpin>(sink: &mut W, frame: &Frame) -> Result<(), LinkError> {
    let mut wire = BytesMut::new();
    frame.encode(&mut wire);
    sink.write_all(&wire).await?;
    Ok(sink.flush().await?)
}

async fn read_frame<R: AsyncRead + Unpin>(
    source: &mut R,
    buffer: &mut BytesMut,
    kind: Kind,
) -> Result<Frame, LinkError> {
    loop {
        if let Some(frame) = Frame::decode(buffer)? {
            if frame.kind == kind as u8 {
                return Ok(frame);
            }
            return Err(LinkError::Protocol(format!("frame kind {} instead of {kind:?}", frame.kind)));
        }
        if source.read_buf(buffer).await? == 0 {
            return Err(LinkError::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
}
