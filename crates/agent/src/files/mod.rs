//! Files of the target: answers the file requests of the protocol.
//!
//! ```text
//!  session ──Request──> Files::answer ──job──> pool ──> root (openat2) ──> attributes, listing, contents
//! ```
//!
//! Called by `session` for every file request, each in its own task, so answers may overtake one another. Open files
//! belong to the session and are closed with it.

mod attributes;
mod listing;
pub mod pool;
pub mod root;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use mirrord_protocol::agent::{self, Attributes, Request, Response};
use rustix::fs::FileType;
use rustix::io::Errno;

use self::attributes::attributes;
use self::listing::Listings;
use self::pool::Pool;
use self::root::{Found, LastLink, Root, read_at};
use crate::sync::locked;

/// Largest contents in one answer: a frame, less room for its head.
const DATA_LIMIT: usize = (1 << 20) - (64 << 10);

/// Files that one session may hold open.
const OPEN_LIMIT: usize = 65_536;

/// The file side of one session.
#[derive(Clone)]
pub struct Files {
    pool: Pool,
    state: Arc<State>,
}

struct State {
    root: Arc<Root>,
    listings: Listings,
    open: Mutex<OpenFiles>,
}

#[derive(Default)]
struct OpenFiles {
    last: u64,
    files: HashMap<u64, Arc<OwnedFd>>,
}

/// What a request is answered with, or the kernel's errno.
type Answer = Result<(Response, Bytes), Errno>;

impl Files {
    /// A fresh session's files.
    pub fn new(pool: Pool, root: Arc<Root>) -> Files {
        let state = State { root, listings: Listings::default(), open: Mutex::default() };
        Files { pool, state: Arc::new(state) }
    }

    /// Answers a file request; `None` for a request that is not about files.
    pub async fn answer(&self, request: Request) -> Option<(Response, Bytes)> {
        let answer = match request {
            Request::Lookup { path, prefetch } => self.run(move |state| state.lookup(&path, prefetch)).await,
            Request::Open { path, prefetch } => self.open(path.into_vec(), prefetch).await,
            Request::Read { handle, offset, len } => self.run(move |state| state.read(handle, offset, len)).await,
            // Closing may wait for a network file system, so that happens on a file thread, too.
            Request::Close { handle } => self.run(move |state| state.close(handle)).await,
            Request::List { path, cookie } => self.run(move |state| state.list(&path, cookie)).await,
            Request::Access { path, mode } => self.run(move |state| state.access(&path, mode)).await,
            Request::Statfs { path } => self.run(move |state| state.statfs(&path)).await,
            Request::GetXattr { path, name } => self.run(move |state| state.xattr(&path, &name)).await,
            Request::ListXattr { path } => self.run(move |state| state.xattr_names(&path)).await,
            _ => return None,
        };
        Some(answer.unwrap_or_else(|errno| (Response::Errno(errno.raw_os_error()), Bytes::new())))
    }

    async fn run(&self, job: impl FnOnce(&State) -> Answer + Send + 'static) -> Answer {
        let state = Arc::clone(&self.state);
        self.pool.run(move || job(&state)).await
    }

    /// The handle is given out here and not on the file thread: an answer that comes too late then closes its file.
    async fn open(&self, path: Vec<u8>, prefetch: u32) -> Answer {
        let state = Arc::clone(&self.state);
        let (file, attributes, first) = self.pool.run(move || state.open(&path, prefetch)).await?;
        let mut open = locked(&self.state.open);
        if open.files.len() >= OPEN_LIMIT {
            return Err(Errno::MFILE);
        }
        open.last += 1;
        let handle = open.last;
        open.files.insert(handle, Arc::new(file));
        Ok((Response::Opened { handle, attributes }, Bytes::from(first)))
    }
}

impl State {
    fn lookup(&self, path: &[u8], prefetch: u32) -> Answer {
        let found = self.root.find(path, LastLink::Keep)?;
        let payload = match found.kind() {
            FileType::Symlink => found.link()?,
            FileType::RegularFile => whole_content(&found, prefetch),
            _ => Vec::new(),
        };
        Ok((Response::Entry(attributes(&found.stat)), Bytes::from(payload)))
    }

    fn open(&self, path: &[u8], prefetch: u32) -> Result<(OwnedFd, Attributes, Vec<u8>), Errno> {
        let file = self.root.find(path, LastLink::Follow)?.open()?;
        // Again, because a prefetched beginning must not be newer than the size that is told with it.
        let stat = rustix::fs::fstat(&file)?;
        let first = match prefetch {
            0 => Vec::new(),
            // The reader meets the error itself when it reads.
            wanted => read_at(&file, 0, clamp(wanted)).unwrap_or_default(),
        };
        Ok((file, attributes(&stat), first))
    }

    fn read(&self, handle: u64, offset: u64, len: u32) -> Answer {
        let file = locked(&self.open).files.get(&handle).cloned().ok_or(Errno::BADF)?;
        Ok((Response::Data, Bytes::from(read_at(&file, offset, clamp(len))?)))
    }

    fn close(&self, handle: u64) -> Answer {
        let file = locked(&self.open).files.remove(&handle).ok_or(Errno::BADF)?;
        drop(file);
        done()
    }

    fn list(&self, path: &[u8], cookie: u64) -> Answer {
        let (entries, next) = match cookie {
            0 => self.listings.start(self.root.directory(path)?)?,
            cookie => self.listings.resume(cookie)?,
        };
        Ok((Response::Entries { next }, agent::encode_entries(&entries)))
    }

    fn access(&self, path: &[u8], mode: u32) -> Answer {
        self.root.find(path, LastLink::Follow)?.access(mode)?;
        done()
    }

    fn statfs(&self, path: &[u8]) -> Answer {
        let stat = self.root.find(path, LastLink::Follow)?.statfs()?;
        Ok((Response::Statfs(attributes::statfs(&stat)), Bytes::new()))
    }

    fn xattr(&self, path: &[u8], name: &[u8]) -> Answer {
        Ok((Response::Data, Bytes::from(self.root.find(path, LastLink::Keep)?.xattr(name)?)))
    }

    fn xattr_names(&self, path: &[u8]) -> Answer {
        Ok((Response::Data, Bytes::from(self.root.find(path, LastLink::Keep)?.xattr_names()?)))
    }
}

fn done() -> Answer {
    Ok((Response::Done, Bytes::new()))
}

fn clamp(len: u32) -> usize {
    usize::try_from(len).unwrap_or(DATA_LIMIT).min(DATA_LIMIT)
}

/// All of a small file, or nothing: a file that may not be read can still be looked up.
fn whole_content(found: &Found, prefetch: u32) -> Vec<u8> {
    let size = u64::try_from(found.stat.st_size).unwrap_or(u64::MAX);
    if size == 0 || size > clamp(prefetch) as u64 {
        return Vec::new();
    }
    let content = found.open().and_then(|file| read_at(file, 0, clamp(prefetch))).unwrap_or_default();
    // Changed in between: contents and attributes would not belong together.
    if content.len() as u64 == size { content } else { Vec::new() }
}

#[cfg(test)]
mod tests;
