//! The kernel's side: each FUSE request becomes a question to [`Files`], and its answer the reply.
//!
//! Two threads take requests from `/dev/fuse` and never wait. A request's future is polled once where it arrived: what is
//! known already is answered at once, and a question for the pod is on its way without a change of threads. What is not
//! finished then goes on as a task of the runtime, so that one slow request never stands before another:
//!
//! ```text
//!  /dev/fuse ─> fuser thread ─ poll once ─┬─ ready ───────────────────────> reply
//!                                         └─ pending ─> runtime ─> answer ─> reply
//! ```
//!
//! Modifications never arrive: the mount is read-only, the kernel answers EROFS itself.

use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fuser::{
    AccessFlags, Config, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyXattr, Request, Session, SessionACL,
};
use mirrord_protocol::agent::Entry;

use super::attributes::{kind, to_kernel};
use super::eviction;
use super::files::Files;
use super::listing::Listing;
use super::tree::{ROOT, RemotePath, join, parent};
use crate::sync::locked;

/// Numbers are never used twice, so a generation tells nothing.
const GENERATION: Generation = Generation(0);
const THREADS: usize = 2;
/// Requests that the kernel may have in flight on its own account (read-ahead).
const IN_BACKGROUND: u16 = 64;

/// Serves the mount behind `device` until it is gone, on threads of its own. Returns when the kernel has been greeted.
pub(super) fn serve(files: Arc<Files>, device: OwnedFd) -> io::Result<()> {
    let mut config = Config::default();
    config.n_threads = Some(THREADS);
    // Who may come in is the kernel's decision, made in the ids of the mount's own namespace.
    config.acl = SessionACL::All;
    let session = Session::from_fd(Adapter { files: files.clone() }, device, SessionACL::All, config)?;
    files.notifier.get_or_init(|| session.notifier());
    let run = move || {
        if let Err(cause) = session.run() {
            tracing::error!("failed to serve the remote root: {cause}");
        }
    };
    std::thread::Builder::new().name("mirrord-root".to_owned()).spawn(run)?;
    Ok(())
}

struct Adapter {
    files: Arc<Files>,
}

// === impl Adapter ===

impl Adapter {
    fn answer(&self, future: impl Future<Output = ()> + Send + 'static) {
        let mut future = Box::pin(future);
        let _inside = self.files.runtime.enter();
        let poll = || future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        match std::panic::catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Ready(())) => {}
            // Polled again there, so nothing that happened in between is lost.
            Ok(Poll::Pending) => drop(self.files.runtime.spawn(future)),
            // The reply goes down with the future and answers EIO; this thread is needed for the next request.
            Err(_) => tracing::error!("a request to the remote root failed by a fault of mirrord"),
        }
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for flag in [
            InitFlags::FUSE_AUTO_INVAL_DATA,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
        ] {
            // All optional: an older kernel does without.
            let _ = config.add_capabilities(flag);
        }
        let _ = config.set_max_background(IN_BACKGROUND);
        // Bounds a read request as well: one fits into a frame of the link.
        let _ = config.set_max_write(1 << 20);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (files, name) = (self.files.clone(), name.as_bytes().to_vec());
        self.answer(async move {
            match files.lookup(parent.0, &name).await {
                Ok((attributes, left)) => reply.entry(&left, &attributes, GENERATION),
                Err(errno) => reply.error(Errno::from_i32(errno)),
            }
        });
    }

    fn forget(&self, _request: &Request, node: INodeNo, count: u64) {
        locked(&self.files.tree).forget(node.0, count);
    }

    fn getattr(&self, _request: &Request, node: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let files = self.files.clone();
        self.answer(async move {
            match files.attributes(node.0).await {
                Ok((attributes, left)) => reply.attr(&left, &attributes),
                Err(errno) => reply.error(Errno::from_i32(errno)),
            }
        });
    }

    fn readlink(&self, _request: &Request, node: INodeNo, reply: ReplyData) {
        let files = self.files.clone();
        self.answer(async move {
            match files.readlink(node.0).await {
                Ok(text) => reply.data(&text),
                Err(errno) => reply.error(Errno::from_i32(errno)),
            }
        });
    }

    fn open(&self, _request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(Errno::EROFS);
        }
        let files = self.files.clone();
        self.answer(async move {
            match files.open(node.0).await {
                Ok(file) => {
                    let mut flags = FopenFlags::FOPEN_NOFLUSH;
                    flags.set(FopenFlags::FOPEN_DIRECT_IO, file.is_unsized);
                    flags.set(FopenFlags::FOPEN_KEEP_CACHE, file.keeps_pages && !file.is_unsized);
                    reply.opened(FileHandle(file.handle), flags);
                }
                Err(errno) => reply.error(Errno::from_i32(errno)),
            }
        });
    }

    fn read(
        &self,
        _request: &Request,
        _node: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let files = self.files.clone();
        self.answer(async move {
            match files.read(handle.0, offset, size.into()).await {
                Ok(data) => reply.data(&data),
                Err(errno) => reply.error(Errno::from_i32(errno)),
            }
        });
    }

    fn flush(&self, _request: &Request, _node: INodeNo, _handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        // Nothing is ever unwritten; the kernel does not ask again.
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        _request: &Request,
        _node: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.files.release(handle.0);
        reply.ok();
    }

    fn opendir(&self, _request: &Request, node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let files = self.files.clone();
        self.answer(async move {
            match files.open_directory(node.0).await {
                Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
                Err(errno) => reply.error(Errno::from_i32(errno)),
            }
        });
    }

    fn readdir(&self, _request: &Request, _node: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let files = self.files.clone();
        self.answer(async move {
            let outcome = async {
                let listing = files.listing(handle.0)?;
                for position in offset..2 {
                    let (name, number) = dots(&files, &listing, position);
                    if reply.add(INodeNo(number), position + 1, fuser::FileType::Directory, name) {
                        return Ok(());
                    }
                }
                let take = |position: u64, entry: &Entry, _left: Duration| match child(&listing, entry) {
                    Some((path, attributes)) => {
                        let number = locked(&files.tree).number(&path, &attributes);
                        let name = OsStr::from_bytes(&entry.name);
                        reply.add(INodeNo(number), position + 3, kind(attributes.mode), name)
                    }
                    None => false,
                };
                listing.read(&files, offset.saturating_sub(2), take).await
            };
            match outcome.await {
                Ok(()) => reply.ok(),
                Err(errno) => reply.error(Errno::from_i32(errno)),
            }
        });
    }

    fn readdirplus(
        &self,
        _request: &Request,
        _node: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let files = self.files.clone();
        self.answer(async move {
            let outcome = async {
                let listing = files.listing(handle.0)?;
                for position in offset..2 {
                    let (name, number) = dots(&files, &listing, position);
                    let attributes = to_kernel(number, &super::attributes::synthetic_root());
                    // The kernel takes no reference on these two and does not look at their attributes.
                    if reply.add(INodeNo(number), position + 1, name, &Duration::ZERO, &attributes, GENERATION) {
                        return Ok(());
                    }
                }
                let take = |position: u64, entry: &Entry, left: Duration| {
                    let Some((path, attributes)) = child(&listing, entry) else { return false };
                    // Without a node in the table the name cannot be shown; the table is full.
                    let Ok(number) = locked(&files.tree).enter(&path, &attributes) else { return true };
                    let name = OsStr::from_bytes(&entry.name);
                    let to = to_kernel(number, &attributes);
                    let is_full = reply.add(INodeNo(number), position + 3, name, &left, &to, GENERATION);
                    if is_full {
                        locked(&files.tree).forget(number, 1);
                    }
                    is_full
                };
                listing.read(&files, offset.saturating_sub(2), take).await
            };
            match outcome.await {
                Ok(()) => reply.ok(),
                Err(errno) => reply.error(Errno::from_i32(errno)),
            }
            eviction::start_if_due(&files);
        });
    }

    fn releasedir(&self, _request: &Request, _node: INodeNo, handle: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        self.files.release(handle.0);
        reply.ok();
    }

    fn access(&self, _request: &Request, node: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let files = self.files.clone();
        self.answer(async move {
            match files.access(node.0, mask.bits().unsigned_abs()).await {
                Ok(()) => reply.ok(),
                Err(errno) => reply.error(Errno::from_i32(errno)),
            }
        });
    }

    fn statfs(&self, _request: &Request, node: INodeNo, reply: ReplyStatfs) {
        let files = self.files.clone();
        self.answer(async move {
            match files.statfs(node.0).await {
                Ok(of) => {
                    reply.statfs(of.blocks, of.bfree, of.bavail, of.files, of.ffree, of.bsize, of.namelen, of.frsize)
                }
                Err(errno) => reply.error(Errno::from_i32(errno)),
            }
        });
    }

    fn getxattr(&self, _request: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let (files, name) = (self.files.clone(), name.as_bytes().to_vec());
        self.answer(async move { give_xattr(files.xattr(node.0, &name).await, size, reply) });
    }

    fn listxattr(&self, _request: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        let files = self.files.clone();
        self.answer(async move { give_xattr(files.xattrs(node.0).await, size, reply) });
    }
}

fn give_xattr(outcome: Result<bytes::Bytes, i32>, size: u32, reply: ReplyXattr) {
    match outcome {
        Ok(value) if size == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() <= size as usize => reply.data(&value),
        Ok(_) => reply.error(Errno::ERANGE),
        Err(errno) => reply.error(Errno::from_i32(errno)),
    }
}

/// `.` is position 0, `..` 1.
fn dots(files: &Files, listing: &Listing, position: u64) -> (&'static str, u64) {
    if position == 0 {
        return (".", listing.number);
    }
    let folder = parent(&listing.path).unwrap_or(b"/");
    ("..", locked(&files.tree).number_at(folder).unwrap_or(ROOT))
}

fn child(listing: &Listing, entry: &Entry) -> Option<(RemotePath, mirrord_protocol::agent::Attributes)> {
    Some((join(&listing.path, &entry.name).ok()?, entry.attributes?))
}
