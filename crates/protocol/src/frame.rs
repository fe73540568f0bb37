//! The frame: the only thing that crosses the link.
//!
//! ```text
//!   0        4      5       6          8                 16
//!   ┌────────┬──────┬───────┬──────────┬─────────────────┬───────────────┬──────────────────┐
//!   │ length │ kind │ flags │ head len │ id              │ head          │ payload          │
//!   │ u32 LE │ u8   │ u8    │ u16 LE   │ u64 LE          │ MessagePack   │ raw bytes        │
//!   └────────┴──────┴───────┴──────────┴─────────────────┴───────────────┴──────────────────┘
//!                                                          └──────── length bytes ─────────┘
//! ```
//!
//! The payload is sliced from the read buffer and never copied into MessagePack. A frame that is not complete yet is
//! no error; one that is longer than [`MAX_LENGTH`] is, before anything is allocated.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before the head.
pub const HEADER_LEN: usize = 16;

/// Largest `length` (head plus payload) of a frame, in bytes.
pub const MAX_LENGTH: usize = 1 << 20;

/// Largest payload of one data frame, in bytes: small enough that a control frame never waits long behind it.
pub const MAX_DATA: usize = 64 << 10;

/// What a frame is. Unknown kinds are skipped by the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// First frame of the client: [`crate::agent::Hello`].
    Hello = 1,
    /// First frame of the agent: [`crate::agent::Welcome`]; the target's environment is its payload.
    Welcome = 2,
    /// [`crate::agent::Request`] with a fresh id.
    Request = 3,
    /// [`crate::agent::Response`] to the request of that id; in any order.
    Response = 4,
    /// [`crate::agent::Open`]: a new stream of that id.
    Open = 5,
    /// [`crate::agent::Opened`]: the stream is open, or why not.
    Opened = 6,
    /// Bytes of a stream.
    Data = 7,
    /// No more bytes from the sender (half-close).
    End = 8,
    /// The stream is broken: [`crate::agent::Reset`].
    Reset = 9,
    /// The receiver of a stream takes that many more bytes: [`crate::agent::Credit`].
    Credit = 10,
    /// Are you there? Answered with [`Kind::Pong`] of the same id.
    Ping = 11,
    /// Answer to [`Kind::Ping`].
    Pong = 12,
    /// The sender ends the session: [`crate::agent::Bye`].
    Bye = 13,
    /// Something the other side should tell its user: [`crate::agent::Notice`].
    Notice = 14,
}

impl Kind {
    /// The kind of a header byte, or `None` for one that this version does not know.
    pub fn from_byte(byte: u8) -> Option<Kind> {
        use Kind::*;
        [Hello, Welcome, Request, Response, Open, Opened, Data, End, Reset, Credit, Ping, Pong, Bye, Notice]
            .into_iter()
            .find(|&kind| kind as u8 == byte)
    }
}

/// One frame, its parts sliced from the buffer it was read into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The kind byte; see [`Kind::from_byte`].
    pub kind: u8,
    /// Reserved, 0.
    pub flags: u8,
    /// Stream or request id.
    pub id: u64,
    /// MessagePack control body, at most 65,535 bytes.
    pub head: Bytes,
    /// Raw tail.
    pub payload: Bytes,
}

/// A header that no honest peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MAX_LENGTH`].
    #[error("frame of {0} bytes is over the limit of {MAX_LENGTH}")]
    TooLong(u32),
    /// The head is said to be longer than the frame.
    #[error("frame head of {head} bytes in a frame of {length}")]
    HeadTooLong {
        /// Length of the head.
        head: u16,
        /// Length of the frame.
        length: u32,
    },
}

impl Frame {
    /// A frame without payload.
    pub fn control(kind: Kind, id: u64, head: Bytes) -> Frame {
        Frame { kind: kind as u8, flags: 0, id, head, payload: Bytes::new() }
    }

    /// A frame of stream bytes.
    pub fn data(id: u64, payload: Bytes) -> Frame {
        Frame { kind: Kind::Data as u8, flags: 0, id, head: Bytes::new(), payload }
    }

    /// Bytes on the wire.
    pub fn wire_len(&self) -> usize {
        HEADER_LEN + self.head.len() + self.payload.len()
    }

    /// Appends the frame to `out`.
    ///
    /// # Panics
    /// When the head is longer than 65,535 bytes or the frame longer than [`MAX_LENGTH`]: the sender's own mistake.
    pub fn encode(&self, out: &mut BytesMut) {
        let length = self.head.len() + self.payload.len();
        assert!(length <= MAX_LENGTH, "frame of {length} bytes");
        let head = u16::try_from(self.head.len()).expect("frame head fits 16 bits");
        out.reserve(self.wire_len());
        out.put_u32_le(u32::try_from(length).expect("frame length fits 32 bits"));
        out.put_u8(self.kind);
        out.put_u8(self.flags);
        out.put_u16_le(head);
        out.put_u64_le(self.id);
        out.put_slice(&self.head);
        out.put_slice(&self.payload);
    }

    /// Takes the next complete frame off `buffer`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`] when the header breaks a limit: the connection cannot be trusted any further.
    pub fn decode(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if buffer.len() < HEADER_LEN {
            return Ok(None);
        }
        let mut header = &buffer[..HEADER_LEN];
        let length = header.get_u32_le();
        let kind = header.get_u8();
        let flags = header.get_u8();
        let head = header.get_u16_le();
        let id = header.get_u64_le();
        if length as usize > MAX_LENGTH {
            return Err(FrameError::TooLong(length));
        }
        if u32::from(head) > length {
            return Err(FrameError::HeadTooLong { head, length });
        }
        if buffer.len() < HEADER_LEN + length as usize {
            return Ok(None);
        }
        buffer.advance(HEADER_LEN);
        let mut body = buffer.split_to(length as usize).freeze();
        let head = body.split_to(usize::from(head));
        Ok(Some(Frame { kind, flags, id, head, payload: body }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame() -> impl Strategy<Value = Frame> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        (any::<u8>(), any::<u64>(), bytes(), bytes()).prop_map(|(kind, id, head, payload)| Frame {
            kind,
            flags: 0,
            id,
            head,
            payload,
        })
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_frames(frames in proptest::collection::vec(frame(), 1..8), chunk in 1usize..64) {
            let mut wire = BytesMut::new();
            frames.iter().for_each(|frame| frame.encode(&mut wire));
            let mut buffer = BytesMut::new();
            let mut seen = Vec::new();
            for piece in wire.chunks(chunk) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = Frame::decode(&mut buffer).unwrap() {
                    seen.push(frame);
                }
            }
            prop_assert_eq!(seen, frames);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = Frame::decode(&mut buffer) {}
        }
    }

    #[test]
    fn hostile_lengths_are_refused_before_allocation() {
        for length in [MAX_LENGTH as u32 + 1, 1 << 31, u32::MAX] {
            let mut buffer = BytesMut::new();
            buffer.put_u32_le(length);
            buffer.put_slice(&[0; 12]);
            assert_eq!(Frame::decode(&mut buffer), Err(FrameError::TooLong(length)));
        }
    }
}
