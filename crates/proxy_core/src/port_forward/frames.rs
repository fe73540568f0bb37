//! The two directions of the WebSocket as buffers, without I/O: [`Incoming`] takes messages apart, [`Outgoing`] makes them.
//!
//! tungstenite gives whole messages only, with one more copy in each direction and an allocation of the announced length.
//! Here data is handed out as it arrives, whatever the message's length, and what is written while the socket is busy
//! grows into one large message. The header's codec is tungstenite's.

use std::io::{self, Cursor};

use rustls::crypto::{CryptoProvider, ring};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// From here on a message is worth sending without waiting for a flush.
pub(super) const MESSAGE_TARGET: usize = 64 * 1024;
/// A message never holds more; when the one being filled is full, writers wait.
pub(super) const MESSAGE_LIMIT: usize = 256 * 1024;
const RECEIVE_BUFFER: usize = 128 * 1024;
/// The runtime's error is one sentence with some addresses in it.
const ERROR_TEXT_LIMIT: usize = 4096;
/// WebSocket's own bound for ping, pong and close.
const CONTROL_LIMIT: u64 = 125;
/// Unanswered pings are remembered up to here while the socket is blocked; a peer that sends more gets no more pongs.
const CONTROL_BACKLOG: usize = 4096;
/// The longest header with a mask, and the channel byte.
const HEADROOM: usize = 14 + 1;
const DATA_CHANNEL: u8 = 0;
const ERROR_CHANNEL: u8 = 1;

/// What the next bytes of the peer are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Nothing complete: give more bytes.
    Starved,
    /// Stream data is at the front: see [`Incoming::data`].
    Data,
    /// To be answered with the same payload.
    Ping(Vec<u8>),
    /// The peer closes; the code and its words, if it is not a normal end.
    Close(Option<String>),
}

enum Part {
    Header,
    Payload { left: u64, is_final: bool },
}

/// Bytes of the peer, and where in its messages they are.
pub(super) struct Incoming {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    part: Part,
    in_message: bool,
    /// Of the current message; None before its first byte.
    channel: Option<u8>,
    port: [u8; 2],
    /// How many bytes of the port each channel has sent; data begins after both.
    prefaces: [usize; 2],
    error_text: Vec<u8>,
}

// === impl Incoming ===

impl Incoming {
    /// `received` are bytes that came together with the answer to the upgrade.
    pub(super) fn new(received: &[u8], port: u16) -> Self {
        let mut buffer = vec![0; RECEIVE_BUFFER.max(received.len())].into_boxed_slice();
        buffer[..received.len()].copy_from_slice(received);
        Self {
            buffer,
            start: 0,
            end: received.len(),
            part: Part::Header,
            in_message: false,
            channel: None,
            port: port.to_le_bytes(),
            prefaces: [0; 2],
            error_text: Vec::new(),
        }
    }

    /// Where to read to; never empty, because at most a header and a control payload are ever left unconsumed.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buffer[self.end..]
    }

    /// `length` bytes were put into [`Self::space`].
    pub(super) fn add(&mut self, length: usize) {
        self.end = (self.end + length).min(self.buffer.len());
    }

    /// True where a clean end of the connection may be.
    pub(super) fn is_between_messages(&self) -> bool {
        matches!(self.part, Part::Header) && !self.in_message && self.start == self.end
    }

    /// The data at the front; empty unless the last event was [`Event::Data`].
    pub(super) fn data(&self) -> &[u8] {
        match (&self.part, self.channel) {
            (Part::Payload { left, .. }, Some(DATA_CHANNEL)) => &self.buffer[self.start..self.end_within(*left)],
            _ => &[],
        }
    }

    /// `length` bytes of the payload were used.
    pub(super) fn consume(&mut self, length: usize) {
        self.start += length;
        if let Part::Payload { left, .. } = &mut self.part {
            *left -= length as u64;
        }
    }

    pub(super) fn next(&mut self) -> io::Result<Event> {
        loop {
            match self.part {
                Part::Header => {
                    if let Some(event) = self.take_header()? {
                        return Ok(event);
                    }
                }
                Part::Payload { left: 0, is_final } => {
                    self.part = Part::Header;
                    if is_final {
                        self.in_message = false;
                        if !self.error_text.is_empty() {
                            let text = String::from_utf8_lossy(&self.error_text);
                            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, text.trim().to_string()));
                        }
                    }
                }
                Part::Payload { left, .. } => {
                    let available = self.end_within(left) - self.start;
                    if available == 0 {
                        return Ok(Event::Starved);
                    }
                    if self.take_payload(available)? {
                        return Ok(Event::Data);
                    }
                }
            }
        }
    }

    fn end_within(&self, left: u64) -> usize {
        let available = self.end - self.start;
        self.start + usize::try_from(left).map_or(available, |left| left.min(available))
    }

    fn take_header(&mut self) -> io::Result<Option<Event>> {
        let unread = &self.buffer[self.start..self.end];
        let mut cursor = Cursor::new(unread);
        let Some((header, length)) = FrameHeader::parse(&mut cursor).map_err(|error| broken(&error.to_string()))?
        else {
            return Ok(Some(Event::Starved));
        };
        if header.rsv1 || header.rsv2 || header.rsv3 || header.mask.is_some() {
            return Err(broken("a frame uses an extension or a mask"));
        }
        let payload = cursor.position() as usize;
        match header.opcode {
            OpCode::Control(control) => {
                if length > CONTROL_LIMIT || !header.is_final {
                    return Err(broken("a control frame is too long"));
                }
                let end = payload + length as usize;
                if unread.len() < end {
                    return Ok(Some(Event::Starved));
                }
                let event = control_event(control, &unread[payload..end]);
                self.start += end;
                Ok(event)
            }
            OpCode::Data(kind) => {
                let is_first = match kind {
                    Data::Binary => true,
                    Data::Continue => false,
                    _ => return Err(broken("a text message came on a binary channel")),
                };
                if is_first == self.in_message {
                    return Err(broken("a message is not continued, or continued without a beginning"));
                }
                if is_first {
                    self.channel = None;
                    self.in_message = true;
                }
                self.start += payload;
                self.part = Part::Payload { left: length, is_final: header.is_final };
                Ok(None)
            }
        }
    }

    /// Takes the payload's channel byte, the channel's port, or error text; true if data is at the front.
    fn take_payload(&mut self, available: usize) -> io::Result<bool> {
        let first = self.buffer[self.start];
        let Some(channel) = self.channel else {
            if first > ERROR_CHANNEL {
                return Err(broken(&format!("a message came for channel {first}, which was not opened")));
            }
            self.channel = Some(first);
            self.consume(1);
            return Ok(false);
        };
        let preface = &mut self.prefaces[usize::from(channel)];
        if *preface < self.port.len() {
            if self.port[*preface] != first {
                return Err(broken("a channel is for another port than the one asked for"));
            }
            *preface += 1;
            self.consume(1);
            return Ok(false);
        }
        if channel == DATA_CHANNEL {
            return Ok(true);
        }
        let kept = available.min(ERROR_TEXT_LIMIT.saturating_sub(self.error_text.len()));
        self.error_text.extend_from_slice(&self.buffer[self.start..self.start + kept]);
        self.consume(available);
        Ok(false)
    }
}

fn control_event(control: Control, payload: &[u8]) -> Option<Event> {
    match control {
        Control::Ping => Some(Event::Ping(payload.to_vec())),
        Control::Close => {
            let code = payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
            let words = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).trim().to_string();
            Some(Event::Close(match code {
                None | Some(1000 | 1001) => None,
                Some(code) => Some(format!("{words} (WebSocket close code {code})").trim().to_string()),
            }))
        }
        _ => None,
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the port-forward broke the WebSocket protocol: {what}"))
}

/// Messages to the peer: one being sent, one being filled.
pub(super) struct Outgoing {
    /// Whole frames; control frames may be appended at any time.
    sending: Vec<u8>,
    sent: usize,
    /// [`HEADROOM`] bytes, then the payload of the next data message, not yet masked.
    filling: Vec<u8>,
    provider: CryptoProvider,
}

// === impl Outgoing ===

impl Outgoing {
    pub(super) fn new() -> Self {
        Self {
            sending: Vec::with_capacity(HEADROOM + MESSAGE_TARGET),
            sent: 0,
            filling: vec![0; HEADROOM],
            provider: ring::default_provider(),
        }
    }

    /// Payload in the message being filled.
    pub(super) fn filled(&self) -> usize {
        self.filling.len() - HEADROOM
    }

    pub(super) fn is_full(&self) -> bool {
        self.filled() >= MESSAGE_LIMIT
    }

    /// Takes as much of `data` as the message being filled may still hold.
    pub(super) fn append(&mut self, data: &[u8]) -> usize {
        let taken = data.len().min(MESSAGE_LIMIT.saturating_sub(self.filled()));
        self.filling.extend_from_slice(&data[..taken]);
        taken
    }

    /// What to write to the socket now.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.sending[self.sent..]
    }

    /// `length` bytes of [`Self::unsent`] were written.
    pub(super) fn advance(&mut self, length: usize) {
        self.sent += length;
        if self.sent >= self.sending.len() {
            self.sending.clear();
            self.sent = 0;
        }
    }

    /// Makes the message being filled the one being sent. Only when nothing is unsent and something is filled.
    pub(super) fn seal(&mut self) -> io::Result<()> {
        debug_assert!(self.unsent().is_empty() && self.filled() > 0);
        self.filling[HEADROOM - 1] = DATA_CHANNEL;
        let mask = self.mask()?;
        let header = header_of(OpCode::Data(Data::Binary), mask);
        let length = (self.filling.len() - (HEADROOM - 1)) as u64;
        let start = HEADROOM - 1 - header.len(length);
        apply_mask(&mut self.filling[HEADROOM - 1..], mask);
        format_header(&header, length, &mut &mut self.filling[start..HEADROOM - 1])?;
        std::mem::swap(&mut self.sending, &mut self.filling);
        self.sent = start;
        self.filling.resize(HEADROOM, 0);
        Ok(())
    }

    pub(super) fn ping(&mut self) -> io::Result<()> {
        self.control(Control::Ping, &[])
    }

    pub(super) fn pong(&mut self, payload: &[u8]) -> io::Result<()> {
        // Only the latest ping must be answered, so a flood of them may go without.
        if self.unsent().len() > MESSAGE_LIMIT + CONTROL_BACKLOG {
            return Ok(());
        }
        self.control(Control::Pong, payload)
    }

    /// A normal end. Data still being filled must be sealed before.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.control(Control::Close, &1000u16.to_be_bytes())
    }

    fn control(&mut self, control: Control, payload: &[u8]) -> io::Result<()> {
        let mask = self.mask()?;
        let header = header_of(OpCode::Control(control), mask);
        format_header(&header, payload.len() as u64, &mut self.sending)?;
        let start = self.sending.len();
        self.sending.extend_from_slice(payload);
        apply_mask(&mut self.sending[start..], mask);
        Ok(())
    }

    fn mask(&self) -> io::Result<[u8; 4]> {
        let mut mask = [0; 4];
        self.provider
            .secure_random
            .fill(&mut mask)
            .map_err(|_| io::Error::other("the system gives no random bytes"))?;
        Ok(mask)
    }
}

fn header_of(opcode: OpCode, mask: [u8; 4]) -> FrameHeader {
    FrameHeader { opcode, mask: Some(mask), ..FrameHeader::default() }
}

fn format_header(header: &FrameHeader, length: u64, output: &mut impl io::Write) -> io::Result<()> {
    header.format(length, output).map_err(io::Error::other)
}

fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}
