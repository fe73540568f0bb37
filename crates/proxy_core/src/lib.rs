//! The internal proxy: everything on this machine between the program and the agent.
//!
//! # Layout
//!
//! ```text
//!   program ──questions (names)──> layer_conn ──┬─> outgoing ── arrivals, pending, ownership ─┐
//!      │                                        ├─> incoming ── sock_diag                     ├─> mirrord_link ──> agent
//!      │                                        ├─> dns                                       │     over a unix socket
//!      │                                        └─> ends: who is at the other end             │     or port_forward
//!      ├──bytes of connections (loopback TCP)──────> relayed by outgoing and incoming ────────┤
//!      └──bytes of files (FUSE)────────────────────> root ── files ───────────────────────────┘
//! ```
//!
//! [`session::Session`] owns all of it; `crates/pymod` shows it to Python. `program` and `explain` need no session.
#![deny(missing_docs)]

mod arrivals;
mod async_fd;
mod bound;
mod dns;
mod ends;
pub mod error;
pub mod events;
pub mod explain;
mod files;
mod folder;
mod incoming;
mod layer_conn;
mod outgoing;
mod ownership;
mod pending;
pub mod port_forward;
pub mod program;
pub mod root;
pub mod session;
pub mod sock_diag;
mod sync;

pub use mirrord_link::keys::SessionKeys;
