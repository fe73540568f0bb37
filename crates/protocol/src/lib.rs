//! Words on the wire. Two conversations are spoken in mirrord, and both are defined here, without any I/O:
//!
//! ```text
//!  your program                    mirrord.proxy                          agent
//!  ┌────────┐  one question, one   ┌────────────┐  frames on one TLS      ┌────────────┐
//!  │ layer  │  answer per unix     │ proxy_core │  stream: requests,      │ mirrord-   │
//!  │        │──connection─────────>│            │══credited streams══════>│ agent      │
//!  └────────┘  [`layer`]           └────────────┘  [`frame`] + [`agent`]  └────────────┘
//! ```
//!
//! Rules that hold for both: every length from outside is checked before it is used, nothing is allocated from a
//! peer's number, unknown kinds and trailing fields are skipped, names and paths are bytes.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(feature = "agent")]
pub mod agent;
pub mod env;
#[cfg(feature = "agent")]
pub mod frame;
pub mod layer;
pub mod link_target;

/// The product's version, which both ends exchange in their first message.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
