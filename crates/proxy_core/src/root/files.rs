//! What the remote root answers, without how the kernel asks it: names, attributes, contents of the pod's files.
//!
//! Called by [`super::fuse`], which turns the answers into replies. No lock is held across a wait.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fuser::FileAttr;
use mirrord_protocol::agent::{Attributes, Statfs};

use super::attributes::{absent, is_link, is_regular, synthetic_root, to_kernel, version};
use super::cache::{Cache, Fact, Known, LIFETIME};
use super::eviction;
use super::flights::{Flights, listing_key};
use super::listing::{self, Listing};
use super::reader::{Reader, head_size};
use super::source::Source;
use super::tree::{ROOT, RemotePath, Tree, join, parent};
use crate::sync::locked;

/// The owner as the pod has it, for callers that see unmapped ids: user and group as little-endian `u32`.
pub(super) const OWNER: &[u8] = b"security.mirrord.owner";
/// Descriptors that the kernel may hold at once.
const MOST_HANDLES: usize = 1 << 20;

/// The remote root's state.
pub(super) struct Files {
    pub runtime: tokio::runtime::Handle,
    pub source: Source,
    pub tree: Mutex<Tree>,
    pub cache: Mutex<Cache>,
    flights: Flights,
    /// For telling the kernel to forget; there as soon as the kernel is served.
    pub notifier: OnceLock<fuser::Notifier>,
    handles: Mutex<HashMap<u64, Handle>>,
    next_handle: AtomicU64,
    pub opened: AtomicU64,
    pub read: AtomicU64,
}

#[derive(Clone)]
enum Handle {
    File(Arc<Reader>),
    Directory(Arc<Listing>),
}

/// An answer to `open`.
pub(super) struct OpenFile {
    pub handle: u64,
    /// Its pages in the kernel's cache are good still.
    pub keeps_pages: bool,
    /// Its size says nothing about its content.
    pub is_unsized: bool,
}

// === impl Files ===

impl Files {
    pub(super) fn new(runtime: tokio::runtime::Handle) -> Files {
        Files {
            runtime,
            source: Source::default(),
            tree: Mutex::new(Tree::new()),
            cache: Mutex::default(),
            flights: Flights::default(),
            notifier: OnceLock::new(),
            handles: Mutex::default(),
            next_handle: AtomicU64::new(1),
            opened: AtomicU64::new(0),
            read: AtomicU64::new(0),
        }
    }

    /// A name in a directory: its attributes (number 0 if there is none) and how long they hold.
    pub(super) async fn lookup(self: &Arc<Self>, parent: u64, name: &[u8]) -> Result<(FileAttr, Duration), i32> {
        let folder = locked(&self.tree).path(parent)?;
        let path = join(&folder, name)?;
        self.flights.note_step(folder, path.clone());
        match self.fact(&path, true).await? {
            (Fact::Exists(known), left) => {
                let number = locked(&self.tree).enter(&path, &known.attributes)?;
                eviction::start_if_due(self);
                Ok((to_kernel(number, &known.attributes), left))
            }
            (Fact::Absent, left) => Ok((absent(), left)),
        }
    }

    pub(super) async fn attributes(self: &Arc<Self>, number: u64) -> Result<(FileAttr, Duration), i32> {
        if number == ROOT && !self.source.is_attached() {
            return Ok((to_kernel(ROOT, &synthetic_root()), Duration::ZERO));
        }
        let (known, left) = self.known(number).await?;
        Ok((to_kernel(number, &known), left))
    }

    /// Text of a symbolic link as it is served: absolute targets are made relative.
    pub(super) async fn readlink(self: &Arc<Self>, number: u64) -> Result<Vec<u8>, i32> {
        let path = locked(&self.tree).path(number)?;
        let Fact::Exists(mut known) = self.fact(&path, false).await?.0 else { return Err(libc::ENOENT) };
        if known.link.is_none() && is_link(&known.attributes) {
            known = self.fetch(&path, 0).await?;
        }
        let text = known.link.as_ref().ok_or(libc::EINVAL)?;
        let depth = path.iter().filter(|&&byte| byte == b'/').count() - 1;
        let mut served = vec![0; text.len() + 3 * depth + 8];
        let len = mirrord_protocol::link_target::encode(text, depth, &mut served).ok_or(libc::ENAMETOOLONG)?;
        served.truncate(len);
        // The kernel's buffer for a link is one page.
        if served.len() < 4096 { Ok(served) } else { Err(libc::ENAMETOOLONG) }
    }

    pub(super) async fn open(self: &Arc<Self>, number: u64) -> Result<OpenFile, i32> {
        let path = locked(&self.tree).path(number)?;
        let cached = locked(&self.cache).get(&path, Instant::now());
        if let Some((Fact::Exists(known), _)) = cached
            && let Some(content) = &known.content
            && locked(&self.tree).refresh(number, &known.attributes)
        {
            locked(&self.cache).note_used(content.len());
            return self.opened(path, number, &known.attributes, (content.clone(), true), None);
        }
        let wanted = head_size();
        let (handle, attributes, head) = self.source.open(&path, wanted).await?;
        if !locked(&self.tree).refresh(number, &attributes) {
            // The name has got another file; on ESTALE the kernel looks it up again, and then finds that one.
            self.close_soon(handle);
            locked(&self.cache).put(path, Known { attributes, ..Known::default() }, Instant::now());
            return Err(libc::ESTALE);
        }
        // Short of what was wanted is the end of the file, also where the size says otherwise (`/sys`).
        let is_whole = !head.is_empty() && (head.len() < wanted as usize || head.len() as u64 == attributes.size);
        self.opened(path, number, &attributes, (head, is_whole), Some(handle))
    }

    fn opened(
        self: &Arc<Self>,
        path: RemotePath,
        number: u64,
        attributes: &Attributes,
        head: (Bytes, bool),
        handle: Option<u64>,
    ) -> Result<OpenFile, i32> {
        let reader = Reader::new(path, number, head, (version(attributes), attributes.size), handle);
        let added = self.add(Handle::File(Arc::new(reader)));
        if let (Err(_), Some(handle)) = (added, handle) {
            self.close_soon(handle);
        }
        let name = added?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        let keeps_pages = locked(&self.tree).opened(number, version(attributes));
        Ok(OpenFile { handle: name, keeps_pages, is_unsized: attributes.size == 0 })
    }

    pub(super) async fn read(self: &Arc<Self>, handle: u64, offset: u64, len: u64) -> Result<Bytes, i32> {
        let Some(Handle::File(reader)) = locked(&self.handles).get(&handle).cloned() else {
            return Err(libc::EBADF);
        };
        let data = reader.read(self, offset, len).await?;
        self.read.fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(data)
    }

    /// Closes a handle of `open` or `open_directory`.
    pub(super) fn release(self: &Arc<Self>, handle: u64) {
        let removed = locked(&self.handles).remove(&handle);
        if let Some(Handle::File(reader)) = removed {
            locked(&self.tree).closed(reader.number);
            if let Some(handle) = reader.handle() {
                self.close_soon(handle);
            }
        }
    }

    pub(super) async fn open_directory(self: &Arc<Self>, number: u64) -> Result<u64, i32> {
        let path = locked(&self.tree).path(number)?;
        let listing = Listing::open(self, path, number).await?;
        self.add(Handle::Directory(Arc::new(listing)))
    }

    pub(super) fn listing(&self, handle: u64) -> Result<Arc<Listing>, i32> {
        match locked(&self.handles).get(&handle) {
            Some(Handle::Directory(listing)) => Ok(listing.clone()),
            _ => Err(libc::EBADF),
        }
    }

    pub(super) async fn access(self: &Arc<Self>, number: u64, mode: u32) -> Result<(), i32> {
        // That it exists is known from the lookup.
        if mode == 0 || (number == ROOT && !self.source.is_attached()) {
            return Ok(());
        }
        let path = locked(&self.tree).path(number)?;
        if let Some(verdict) = locked(&self.cache).access(&path, mode, Instant::now()) {
            return verdict;
        }
        let verdict = self.source.access(&path, mode).await;
        if matches!(verdict, Ok(()) | Err(libc::EACCES)) {
            locked(&self.cache).put_access(path, mode, verdict, Instant::now());
        }
        verdict
    }

    pub(super) async fn statfs(self: &Arc<Self>, number: u64) -> Result<Statfs, i32> {
        let path = locked(&self.tree).path(number)?;
        self.source.statfs(&path).await
    }

    pub(super) async fn xattr(self: &Arc<Self>, number: u64, name: &[u8]) -> Result<Bytes, i32> {
        if name == OWNER {
            let (known, _) = self.known(number).await?;
            return Ok([known.uid.to_le_bytes(), known.gid.to_le_bytes()].concat().into());
        }
        if is_local_matter(name) {
            return Err(libc::ENODATA);
        }
        let path = locked(&self.tree).path(number)?;
        self.source.get_xattr(&path, name).await
    }

    pub(super) async fn xattrs(self: &Arc<Self>, number: u64) -> Result<Bytes, i32> {
        let path = locked(&self.tree).path(number)?;
        let names = self.source.list_xattr(&path).await?;
        let shown = names.split_inclusive(|&byte| byte == 0).filter(|name| !is_local_matter(name));
        Ok(shown.flatten().copied().collect())
    }

    /// What a node is now. One that its path does not lead to any more is as it was, while it is open.
    async fn known(self: &Arc<Self>, number: u64) -> Result<(Attributes, Duration), i32> {
        let path = locked(&self.tree).path(number)?;
        let found = match self.fact(&path, false).await {
            Ok((Fact::Exists(known), left)) => Some((known.attributes, left)),
            Ok((Fact::Absent, _)) | Err(libc::ENOTDIR) => None,
            Err(errno) => return Err(errno),
        };
        let mut tree = locked(&self.tree);
        match found {
            Some((attributes, left)) if tree.refresh(number, &attributes) => Ok((attributes, left)),
            _ => tree.unlinked(number).map(|attributes| (attributes, LIFETIME)).ok_or(libc::ESTALE),
        }
    }

    /// What is known about a path, asking the pod if nothing is.
    async fn fact(self: &Arc<Self>, path: &RemotePath, wants_content: bool) -> Result<(Fact, Duration), i32> {
        if let Some(fact) = locked(&self.cache).get(path, Instant::now()) {
            return Ok(fact);
        }
        self.wait_for_listing(path).await;
        if let Some(fact) = locked(&self.cache).get(path, Instant::now()) {
            return Ok(fact);
        }
        self.walk_ahead(path);
        let fact = self.flights.join(path, self.ask(path, wants_content)).await?;
        Ok((fact, LIFETIME))
    }

    async fn ask(self: &Arc<Self>, path: &RemotePath, wants_content: bool) -> Result<Fact, i32> {
        // A node that the kernel has met before is in its page cache if anybody reads it.
        let is_new = wants_content && locked(&self.tree).number_at(path).is_none();
        let prefetch = if is_new { locked(&self.cache).prefetch() } else { 0 };
        match self.fetch(path, prefetch).await {
            Ok(known) => Ok(Fact::Exists(known)),
            Err(libc::ENOENT) => {
                let folder = locked(&self.cache).put_absent(path.clone(), Instant::now());
                if let Some(folder) = folder {
                    self.list_soon(folder);
                }
                Ok(Fact::Absent)
            }
            Err(errno) => Err(errno),
        }
    }

    async fn fetch(&self, path: &RemotePath, prefetch: u32) -> Result<Arc<Known>, i32> {
        let (attributes, payload) = self.source.lookup(path, prefetch).await?;
        let mut known = Known { attributes, ..Known::default() };
        if is_link(&attributes) {
            known.link = Some(payload);
        } else if is_regular(&attributes) && attributes.size > 0 && attributes.size == payload.len() as u64 {
            known.content = Some(payload);
        }
        let mut cache = locked(&self.cache);
        cache.note_offered(known.content.as_ref().map_or(0, Bytes::len));
        Ok(cache.put(path.clone(), known, Instant::now()))
    }

    /// Asks for the names behind `path` that the last walk took, if they have to be asked for too.
    fn walk_ahead(self: &Arc<Self>, path: &RemotePath) {
        for next in self.flights.walk_from(path) {
            let is_met = locked(&self.tree).number_at(&next).is_some();
            if !is_met || locked(&self.cache).get(&next, Instant::now()).is_some() || self.flights.has(&next) {
                continue;
            }
            self.flights.announce(&next);
            let files = self.clone();
            self.runtime.spawn(async move {
                // Whoever asks for it gets the errno; here it tells nobody anything.
                let _ = files.flights.join(&next, files.ask(&next, false)).await;
            });
        }
    }

    /// Fetches the listing of a folder in which several names were missing.
    fn list_soon(self: &Arc<Self>, folder: RemotePath) {
        self.flights.announce(&listing_key(&folder));
        let files = self.clone();
        self.runtime.spawn(async move { files.list(folder).await });
    }

    async fn list(self: &Arc<Self>, folder: RemotePath) {
        let ask = async { listing::page(self, &folder, 0).await.map(|_| Fact::Absent) };
        if let Err(errno) = self.flights.join(&listing_key(&folder), ask).await {
            tracing::debug!(errno, "a folder in which names are missing could not be listed");
        }
    }

    async fn wait_for_listing(self: &Arc<Self>, path: &RemotePath) {
        if let Some(folder) = parent(path) {
            let folder = RemotePath::from(folder);
            if self.flights.has(&listing_key(&folder)) {
                self.list(folder).await;
            }
        }
    }

    fn add(&self, handle: Handle) -> Result<u64, i32> {
        let mut handles = locked(&self.handles);
        if handles.len() >= MOST_HANDLES {
            return Err(libc::ENFILE);
        }
        let number = self.next_handle.fetch_add(1, Ordering::Relaxed);
        handles.insert(number, handle);
        Ok(number)
    }

    fn close_soon(self: &Arc<Self>, handle: u64) {
        let files = self.clone();
        self.runtime.spawn(async move { files.source.close(handle).await });
    }
}

/// Labels, capabilities and ACLs mean something to the kernel that has them. `ls -l` asks for them file by file, and the
/// pod's would be wrong here.
fn is_local_matter(name: &[u8]) -> bool {
    name.starts_with(b"security.") || name.starts_with(b"system.")
}
