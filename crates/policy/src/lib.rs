//! Local or remote, and why: a pure function of configuration and name.
//!
//! One crate decides for the layer (inside the program), the proxy, `mirrord explain` and the tests. The CLI's
//! [`Settings`](settings::Settings) are compiled once per session into an [`Image`]: a flat byte string that the layer
//! maps read-only and decides with, without allocating or taking a lock.
//!
//! ```text
//!   Settings ──compile──> image bytes ──mmap──> Image ──┬── files::decide(path, intent)
//!   (JSON, once)          (session folder)              ├── outgoing::decide(address)
//!                                                       ├── dns::decide(name)
//!                                                       ├── incoming::decide(address)
//!                                                       └── process::skipped(program)
//! ```
//!
//! Every decision is a [`Verdict`]: a route and its [`Reason`]. `process::inspect` tells what an executable file is.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(feature = "compile")]
pub mod compile;
pub mod dns;
pub mod files;
pub mod image;
pub mod incoming;
pub mod outgoing;
pub mod process;
pub mod reason;
#[cfg(feature = "compile")]
pub mod settings;

pub use image::{Facts, Image, ImageError};
pub use reason::Reason;

/// Where a name leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The name of this machine.
    Local,
    /// The name of the target.
    Remote,
    /// A name that must not exist in the session.
    NotFound,
}

/// A decision and why it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Where the name leads.
    pub route: Route,
    /// Why.
    pub reason: Reason,
}

impl Verdict {
    pub(crate) const fn local(reason: Reason) -> Verdict {
        Verdict { route: Route::Local, reason }
    }

    pub(crate) const fn remote(reason: Reason) -> Verdict {
        Verdict { route: Route::Remote, reason }
    }

    /// True for [`Route::Remote`].
    pub const fn is_remote(&self) -> bool {
        matches!(self.route, Route::Remote)
    }
}
