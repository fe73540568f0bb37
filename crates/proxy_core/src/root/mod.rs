//! The remote root: the pod's files as one file system that only this session can see.
//!
//! ```text
//!   program ── layer: /etc/x is remote ──> open("/proc/<holder>/root/etc/x")
//!                                                  │  the holder's mount namespace, whose root is
//!   kernel: page cache, mmap, locks, directories <─┘  a FUSE mount
//!      │ /dev/fuse
//!   fuse ──> files ──┬─ tree      which number of the kernel's is which path
//!                    ├─ cache     what is known, for one second
//!                    ├─ flights   what is being asked, and what will be
//!                    ├─ reader    an open file: head, window of read-ahead
//!                    ├─ listing   an open directory
//!                    └─ source ──> Remote (the agent, over the link)
//! ```
//!
//! The session makes one [`Root`] at its start, before there is an agent ([`Root::mount`]), and gives it the agent when
//! it is there ([`Root::attach`]); until then the root is an empty directory in which everything else answers EIO.
//! Names reach it as [`Root::path`] followed by the absolute remote path. `..` at the remote root stays there, because
//! the mount is the root of its namespace. Absolute links are served relative
//! ([`mirrord_protocol::link_target`]), because the kernel would resolve them against the program's own root.
//!
//! Coherence: a change in the pod is seen at the latest one second after it happened (attributes, names, and the content
//! with them). Every question to the agent has an answer or EIO within 30 seconds. The file system is read-only.
//!
//! The end: the holder waits for the end of this process and then removes the session folder; with the holder ends its
//! namespace, and with that the mount. What the program still has open then fails with EIO or ENOTCONN.

mod attributes;
mod cache;
mod error;
mod eviction;
mod files;
mod flights;
mod fuse;
mod holder;
mod holder_child;
mod listing;
mod reader;
mod source;
mod tree;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use error::RootError;
use error::Step;
use files::Files;
use holder::Holder;
pub use source::{Answer, Remote};

/// A mounted remote root. Dropping it ends the holder, which removes the session folder and the mount.
pub struct Root {
    files: Arc<Files>,
    path: Vec<u8>,
    device: u64,
    shows_ids: bool,
    holder: Holder,
}

/// What has been read through a root so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Files opened.
    pub opened: u64,
    /// Bytes that the kernel took.
    pub bytes: u64,
}

/// Removes the session folder when this process is killed, where there is no remote root whose holder would do it.
/// Dropping it removes the folder, too.
pub struct Keeper {
    _holder: Holder,
}

impl Keeper {
    /// Makes the process that waits for our end.
    ///
    /// # Errors
    /// [`RootError`] when this machine does not let us start one.
    pub fn start(folder: &Path) -> Result<Keeper, RootError> {
        Ok(Keeper { _holder: holder::keep(folder)? })
    }
}

// === impl Root ===

impl Root {
    /// Makes the holder and mounts. `folder` is the session folder: the holder removes it, with its `proxy.sock` and
    /// `policy`, when this process or the root ends. Blocks for some milliseconds.
    ///
    /// # Errors
    /// [`RootError`] when this machine does not let us, saying what to change.
    pub fn mount(runtime: tokio::runtime::Handle, folder: &Path) -> Result<Root, RootError> {
        let (mut holder, device) = holder::start(folder)?;
        let files = Arc::new(Files::new(runtime));
        fuse::serve(files.clone(), device).map_err(|cause| RootError::new(Step::Serve, &cause))?;
        let shows_ids = holder.wait_ready()? && has_all_ids();
        let path = format!("/proc/{}/root", holder.pid());
        let device = std::fs::metadata(format!("{path}/")).map_err(|cause| RootError::new(Step::Serve, &cause))?.dev();
        Ok(Root { files, path: path.into_bytes(), device, shows_ids, holder })
    }

    /// From now on `remote` answers.
    pub fn attach(&self, remote: Arc<dyn Remote>) {
        self.files.source.set(Some(remote));
    }

    /// What an absolute remote path is put behind: `/proc/<holder>/root`.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// `st_dev` of everything in the remote root, as programs see it.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// Process id of the holder.
    pub fn holder(&self) -> i32 {
        self.holder.pid()
    }

    /// Whether `stat` shows the pod's user and group ids. Unprivileged it cannot: the pod's root is shown as the calling
    /// user and all others as the overflow id; the attribute `security.mirrord.owner` has the true ones.
    pub fn shows_ids(&self) -> bool {
        self.shows_ids
    }

    /// What has been read so far.
    pub fn counters(&self) -> Counters {
        Counters { opened: self.files.opened.load(Ordering::Relaxed), bytes: self.files.read.load(Ordering::Relaxed) }
    }
}

/// Whether this process is in the initial user namespace, or one that maps all ids: root of a container may be neither.
fn has_all_ids() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

impl Drop for Root {
    fn drop(&mut self) {
        // Programs that still hold files get EIO at once instead of answers from a session that is over.
        self.files.source.set(None);
    }
}
