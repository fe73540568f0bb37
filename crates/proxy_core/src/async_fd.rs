//! Descriptors that tokio has no type for, on its event loop. The one place that promises tokio their life.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Registers a non-blocking descriptor; must be called inside a runtime.
///
/// # Errors
/// What `epoll_ctl(2)` says.
pub(crate) fn register(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one open descriptor from its making to its drop, always the same, and the `AsyncFd` that
    // owns it gives it to nobody.
    Ok(unsafe { AsyncFd::register(descriptor)? })
}
