//! A question to the proxy: a connection of its own, one datagram each way, closed. Nothing is kept between two questions,
//! so `fork`, `vfork`, threads and descriptor juggling have nothing to break.
//!
//! Waits are bounded: connecting and sending by `SO_SNDTIMEO`, the answer by `ppoll`.

use mirrord_protocol::env;
use mirrord_protocol::layer::{Answer, Question};

use crate::errno::Errno;
use crate::sys::{self, Descriptor, Result};

/// Longest question but for a DNS packet: a name or a path, cut by the caller.
const QUESTION_ROOM: usize = 1400;

/// Where our descriptors go: far from those that programs count on (0 to 2 after a `close`, the next free one).
const HIGH: [i32; 4] = [800, 200, 50, 3];

/// How long to wait for an answer, in milliseconds, and whether a signal may end the wait.
#[derive(Clone, Copy)]
pub(crate) enum Patience {
    /// As calls that never return EINTR.
    Uninterrupted(u64),
    /// As `connect`: EINTR after a handler without `SA_RESTART`.
    Interruptible(u64),
}

/// The proxy's socket, as an encoded `sockaddr_un`.
pub(crate) struct Door {
    address: [u8; 110],
    len: usize,
}

impl Door {
    /// The door of the session in `folder`; `None` when its path is longer than a socket's may be.
    pub(crate) fn new(folder: &[u8]) -> Option<Door> {
        let mut address = [0; 110];
        address[..2].copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
        let mut len = 2;
        for part in [folder, b"/", env::SOCKET_NAME.as_bytes()] {
            address.get_mut(len..len + part.len())?.copy_from_slice(part);
            len += part.len();
        }
        // The kernel's sun_path has 108 bytes, the last of them zero.
        (len < address.len()).then_some(Door { address, len: len + 1 })
    }

    /// Asks and returns the answer, which lies in `reply`. [`Answer::Errno`] comes back as that error.
    pub(crate) fn ask<'b>(
        &self,
        question: Question<'_>,
        patience: Patience,
        reply: &'b mut [u8],
    ) -> Result<Answer<'b>> {
        self.open()?.ask(question, patience, reply)
    }

    /// Opens a connection for a question that has a second message.
    pub(crate) fn open(&self) -> Result<Line> {
        let low = sys::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC)?;
        let line = Line(HIGH.iter().find_map(|&least| raise(&low, least)).unwrap_or(low));
        sys::set_send_limit(line.0.0, 30)?;
        match sys::connect(line.0.0, &self.address[..self.len]) {
            Ok(()) => Ok(line),
            Err(Errno(libc::EAGAIN | libc::EINTR)) => Err(Errno(libc::ETIMEDOUT)),
            Err(errno) => Err(errno),
        }
    }
}

fn raise(low: &Descriptor, least: i32) -> Option<Descriptor> {
    sys::fcntl(low.0, libc::F_DUPFD_CLOEXEC, least).ok().map(Descriptor)
}

/// An open question.
pub(crate) struct Line(Descriptor);

impl Line {
    /// Sends a message without waiting for an answer.
    pub(crate) fn tell(&self, question: Question<'_>) -> Result<()> {
        let mut message = [0; QUESTION_ROOM];
        let len = question.encode(&mut message).map_err(|_| Errno(libc::ENAMETOOLONG))?;
        sys::send(self.0.0, &message[..len]).map(drop)
    }

    /// Sends a message and waits for its answer.
    pub(crate) fn ask<'b>(
        &self,
        question: Question<'_>,
        patience: Patience,
        reply: &'b mut [u8],
    ) -> Result<Answer<'b>> {
        self.tell(question)?;
        self.answer(patience, reply)
    }

    /// Sends a message that was encoded at the start of `buffer`, and waits for its answer there.
    pub(crate) fn ask_in_place<'b>(&self, len: usize, patience: Patience, buffer: &'b mut [u8]) -> Result<Answer<'b>> {
        sys::send(self.0.0, buffer.get(..len).ok_or(Errno(libc::EMSGSIZE))?)?;
        self.answer(patience, buffer)
    }

    fn answer<'b>(&self, patience: Patience, reply: &'b mut [u8]) -> Result<Answer<'b>> {
        let (limit, interruptible) = match patience {
            Patience::Uninterrupted(limit) => (limit, false),
            Patience::Interruptible(limit) => (limit, true),
        };
        let end = sys::now_ms().saturating_add(limit);
        loop {
            match sys::wait_readable(self.0.0, end.saturating_sub(sys::now_ms())) {
                Ok(true) => break,
                Ok(false) => return Err(Errno(libc::ETIMEDOUT)),
                Err(Errno(libc::EINTR)) if !(interruptible && sys::has_interrupting_handler()) => {}
                Err(errno) => return Err(errno),
            }
        }
        let len = sys::receive(self.0.0, reply)?;
        if len == 0 {
            // The proxy has ended.
            return Err(Errno(libc::ECONNRESET));
        }
        match Answer::decode(&reply[..len]) {
            Ok(Answer::Errno(errno)) => Err(Errno(errno)),
            Ok(answer) => Ok(answer),
            Err(_) => Err(Errno(libc::EIO)),
        }
    }
}
