//! The link: one authenticated stream between proxy and agent, carrying requests and credited byte streams. The same
//! code runs at both ends; who dialled is the *client* (odd ids), the other the *agent* (even ids).
//!
//! ```text
//!   request(), open(), Stream ──> outbox ──> writer task ──┐                 ┌──> reader task ──> answers, inboxes,
//!                                 control first,           TLS 1.3 on any    │                    credits, events
//!                                 bulk round-robin         byte carrier ─────┘
//! ```
//!
//! * One reader and one writer task per link; neither ever waits for the other, so full duplex cannot lock up.
//! * Every stream has its own window of credits, so a peer that stops reading stops its own stream only.
//! * Every request has an id and may be answered out of order.
//! * A link that hears nothing for [`SILENCE`] is over. When it is over, everything that waits learns so at once.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod error;
mod inbox;
pub mod keys;
mod link;
mod outbox;
mod relay;
mod stream;

use std::time::Duration;

pub use error::{End, LinkError};
pub use link::{Event, Link, PendingStream, Responder};
pub use relay::{Relayed, relay};
pub use stream::{Stream, StreamReader, StreamWriter};

/// A peer that has not finished the handshake after this time is a stranger.
pub const HANDSHAKE: Duration = Duration::from_secs(3);

/// How often an idle link asks whether the peer is there.
pub const PING: Duration = Duration::from_secs(5);

/// A link that hears nothing for this long is over.
pub const SILENCE: Duration = Duration::from_secs(15);

/// Bytes that a fresh stream may send before the first credit arrives.
pub const INITIAL_WINDOW: u32 = 256 << 10;

/// Largest window that a busy stream grows to, in bytes.
pub const MAX_WINDOW: u32 = 4 << 20;

/// Bytes of bulk data that may wait in the outbox of a link.
pub const OUTBOX_LIMIT: usize = 4 << 20;

/// Bytes that the peer's unanswered requests may ask for together, and so hold of our memory while the link is slow;
/// further requests wait in the carrier. Each counts as at least 16 KiB.
pub const ANSWERS_LIMIT: usize = 32 << 20;
