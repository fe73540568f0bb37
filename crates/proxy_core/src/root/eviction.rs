//! Keeps the inode table small: asks the kernel to let go of names that nobody has open.
//!
//! The kernel forgets nodes under memory pressure only, so a `find` over millions of files would make the table grow
//! with them. Above a limit a good part of the closed files is taken out of the kernel's cache; its `forget`s then shrink
//! the table. Directories stay: a program may stand in one, and its `getcwd` would call it deleted.
//!
//! Called by [`super::files`] after a name was entered. The kernel takes a lock for each name that a lookup in the same
//! folder may hold until we have answered it, so this runs on a thread of its own.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use fuser::{INodeNo, Notifier};

use super::files::Files;
use crate::sync::locked;

/// Starts an eviction if the table asks for one.
pub(super) fn start_if_due(files: &Arc<Files>) {
    if !locked(&files.tree).begin_eviction() {
        return;
    }
    let files = files.clone();
    files.runtime.clone().spawn_blocking(move || {
        if let Some(notifier) = files.notifier.get() {
            evict(&files, notifier);
        }
        locked(&files.tree).end_eviction();
    });
}

fn evict(files: &Files, notifier: &Notifier) {
    let victims = locked(&files.tree).closed_files();
    tracing::debug!(count = victims.len(), "asking the kernel to forget files of the remote root");
    for (parent, name) in victims {
        if let Err(cause) = notifier.inval_entry(INodeNo(parent), OsStr::from_bytes(&name)) {
            tracing::debug!("the kernel does not forget files of the remote root: {cause}");
            return;
        }
    }
}
