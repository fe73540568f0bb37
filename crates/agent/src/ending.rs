//! The end of another process, as an event. A pidfd means that very process, whatever its number is used for later.
//!
//! Called by `target` (the session ends with it) and by `life` (a child process ends with its parent; `PR_SET_PDEATHSIG`
//! would be about the parent's *thread*, which may end much earlier).

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;

use crate::namespace::kernel;

/// The end of a process.
#[derive(Debug)]
pub struct Ending(AsyncFd<OwnedFd>);

impl Ending {
    /// Of the process that now has this id. Needs a tokio context.
    pub fn of(pid: Pid) -> io::Result<Ending> {
        kernel::watch(pidfd_open(pid, PidfdFlags::empty())?).map(Ending)
    }

    /// Whether it has come.
    pub fn has_come(&self) -> io::Result<bool> {
        let mut watched = [PollFd::new(self.0.get_ref(), PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        Ok(poll(&mut watched, Some(&now))? > 0)
    }

    /// Waits for it.
    pub async fn wait(&self) {
        // An error means that the descriptor cannot be watched any more: then nothing is known about the process, which
        // is no ground to go on.
        if let Err(error) = self.0.readable().await {
            tracing::error!("failed to watch a process: {error}");
        }
    }
}
