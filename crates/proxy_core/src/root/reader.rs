//! One open file: where the bytes of `read` come from.
//!
//! ```text
//!  file   |<── head ──>|<─ chunk 0 ─>|<─ chunk 1 ─>|<─ chunk 2 ─>| …
//!                            ^ read here    └────── window ─────────> fetched at the same time
//! ```
//!
//! The head came along with `open` (or is the whole small file, from the lookup). Behind it, sequential reads open a
//! window of chunks that doubles up to 4 MiB, all in flight at once, so a slow link is filled whatever its delay.
//! Reads elsewhere fetch exactly what was asked. Everything read ahead belongs to one version of the file: when the
//! kernel has refreshed the attributes and they differ, it is dropped.
//!
//! Files that say they are empty (`/proc`) bypass the page cache; their head counts for one second.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::sync::OnceCell;

use super::attributes::Version;
use super::cache::LIFETIME;
use super::files::Files;
use super::tree::RemotePath;
use crate::sync::locked;

/// Comes along with `open`. A multiple of the kernel's read-ahead, so that its requests do not straddle chunks.
const HEAD: u32 = 128 * 1024;
const CHUNK: u64 = 256 * 1024;
/// Chunks in flight ahead of the reader: 4 MiB.
const WIDEST: u64 = 16;
/// The kernel sends neighbouring reads at the same time, so they arrive slightly out of order.
const KEPT_BEHIND: u64 = 4;
/// Largest single question; the frame's limit leaves room for this.
const LARGEST_READ: u64 = 512 * 1024;
/// Memory for what is read ahead, heads included, over all open files. Beyond it reads are exact.
const MOST_AHEAD: usize = 64 << 20;

static AHEAD: AtomicUsize = AtomicUsize::new(0);

/// How much of a file is to come along with its opening.
pub(super) fn head_size() -> u32 {
    if AHEAD.load(Ordering::Relaxed) < MOST_AHEAD { HEAD } else { 0 }
}

/// An open regular file.
pub(super) struct Reader {
    pub path: RemotePath,
    pub number: u64,
    head: Bytes,
    is_whole: bool,
    version: Version,
    size: u64,
    at: Instant,
    handle: OnceCell<u64>,
    window: Mutex<Window>,
}

#[derive(Default)]
struct Window {
    version: Version,
    chunks: BTreeMap<u64, Arc<Chunk>>,
    expected: u64,
    width: u64,
}

/// A part of the file that is on its way or there.
struct Chunk {
    index: u64,
    data: OnceCell<Result<Bytes, i32>>,
}

// === impl Reader ===

impl Reader {
    /// `head` is the file's beginning at that version, `is_whole` if there is no more; `handle` is the agent's, unless the
    /// head did not come from an opening.
    pub(super) fn new(
        path: RemotePath,
        number: u64,
        (head, is_whole): (Bytes, bool),
        (version, size): (Version, u64),
        handle: Option<u64>,
    ) -> Reader {
        let window = Mutex::new(Window { version, ..Window::default() });
        let handle = OnceCell::new_with(handle);
        AHEAD.fetch_add(head.len(), Ordering::Relaxed);
        Reader { path, number, head, is_whole, version, size, at: Instant::now(), handle, window }
    }

    /// The agent's handle, if one was opened.
    pub(super) fn handle(&self) -> Option<u64> {
        self.handle.get().copied()
    }

    /// Reads at most `len` bytes; fewer mean the end of the file.
    pub(super) async fn read(self: &Arc<Self>, files: &Arc<Files>, offset: u64, len: u64) -> Result<Bytes, i32> {
        if self.size == 0 {
            let is_fresh = self.at.elapsed() < LIFETIME && offset < self.head.len() as u64;
            return if is_fresh { Ok(slice(&self.head, offset, len)) } else { self.exact(files, offset, len).await };
        }
        let current = locked(&files.tree).known_version(self.number).unwrap_or(self.version);
        let is_current = current == self.version;
        let head = if is_current { self.head.clone() } else { Bytes::new() };
        let is_whole = is_current && self.is_whole;
        if is_whole || offset + len <= head.len() as u64 {
            if !is_whole && offset >= head.len() as u64 / 2 {
                self.plan(files, current, offset, len);
            }
            return Ok(slice(&head, offset, len));
        }
        let is_before_chunks = offset < HEAD.into() && head.len() < HEAD as usize;
        let chunks = if is_before_chunks { None } else { self.plan(files, current, offset, len) };
        let Some(chunks) = chunks else {
            return self.exact(files, offset, len).await;
        };
        self.assemble(files, &head, chunks, offset, len).await
    }

    /// Decides what to fetch, and starts what is not needed yet. Returns the chunks that this read is made of, or
    /// nothing for a read that follows no pattern.
    fn plan(self: &Arc<Self>, files: &Arc<Files>, current: Version, offset: u64, len: u64) -> Option<Vec<Arc<Chunk>>> {
        let mut window = locked(&self.window);
        if window.version != current {
            *window = Window { version: current, expected: window.expected, ..Window::default() };
        }
        let reach = window.expected + window.width.max(1) * CHUNK;
        let is_sequential = offset <= reach && offset + KEPT_BEHIND * CHUNK >= window.expected;
        if !is_sequential {
            *window = Window { version: current, expected: offset + len, ..Window::default() };
            return None;
        }
        window.expected = window.expected.max(offset + len);
        window.width = (window.width * 2).clamp(1, WIDEST);
        let (first, last) = (chunk_at(offset), chunk_at((offset + len).saturating_sub(1)));
        window.chunks = window.chunks.split_off(&first.saturating_sub(KEPT_BEHIND));
        let end_of_file = if self.size > HEAD.into() { chunk_at(self.size - 1) } else { 0 };
        for index in first..=(last + window.width).min(end_of_file.max(last)) {
            let is_ahead = index > last;
            if window.chunks.contains_key(&index) || (is_ahead && AHEAD.load(Ordering::Relaxed) > MOST_AHEAD) {
                continue;
            }
            let chunk = Arc::new(Chunk::new(index));
            window.chunks.insert(index, chunk.clone());
            if is_ahead {
                let (reader, files) = (self.clone(), files.clone());
                files.runtime.clone().spawn(async move { chunk.get(&reader, &files).await });
            }
        }
        Some((first..=last).filter_map(|index| window.chunks.get(&index).cloned()).collect())
    }

    async fn assemble(
        &self,
        files: &Files,
        head: &Bytes,
        chunks: Vec<Arc<Chunk>>,
        offset: u64,
        len: u64,
    ) -> Result<Bytes, i32> {
        let mut parts = BytesMut::new();
        let mut position = offset;
        if offset < head.len() as u64 {
            parts.extend_from_slice(&slice(head, offset, len));
            position = head.len() as u64;
        }
        for chunk in chunks {
            let Ok(data) = chunk.get(self, files).await else {
                // What failed ahead of time may work now, and if not, this is the errno to tell.
                return self.exact(files, offset, len).await;
            };
            let start = position - (u64::from(HEAD) + chunk.index * CHUNK).min(position);
            let part = slice(&data, start, offset + len - position);
            if parts.is_empty() && part.len() as u64 == len {
                return Ok(part);
            }
            position += part.len() as u64;
            parts.extend_from_slice(&part);
            if (data.len() as u64) < CHUNK {
                break;
            }
        }
        Ok(parts.freeze())
    }

    /// Reads exactly this range, in questions that fit into a frame.
    async fn exact(&self, files: &Files, offset: u64, len: u64) -> Result<Bytes, i32> {
        let handle = self.open(files).await?;
        let mut parts = BytesMut::new();
        while (parts.len() as u64) < len {
            let wanted = (len - parts.len() as u64).min(LARGEST_READ);
            let part = files.source.read(handle, offset + parts.len() as u64, wanted as u32).await?;
            let is_end = (part.len() as u64) < wanted;
            if parts.is_empty() && (is_end || wanted == len) {
                return Ok(part);
            }
            parts.extend_from_slice(&part);
            if is_end {
                break;
            }
        }
        Ok(parts.freeze())
    }

    /// The agent's handle; opened now when the file was served from its prefetched content so far.
    async fn open(&self, files: &Files) -> Result<u64, i32> {
        let open = async || {
            let (handle, attributes, _) = files.source.open(&self.path, 0).await?;
            if !locked(&files.tree).refresh(self.number, &attributes) {
                // Another file has this name by now.
                files.source.close(handle).await;
                return Err(libc::ESTALE);
            }
            Ok(handle)
        };
        self.handle.get_or_try_init(open).await.copied()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        AHEAD.fetch_sub(self.head.len(), Ordering::Relaxed);
    }
}

// === impl Chunk ===

impl Chunk {
    fn new(index: u64) -> Chunk {
        AHEAD.fetch_add(CHUNK as usize, Ordering::Relaxed);
        Chunk { index, data: OnceCell::new() }
    }

    /// The data; whoever comes first fetches it, the others wait for that.
    async fn get(&self, reader: &Reader, files: &Files) -> Result<Bytes, i32> {
        let fetch = || reader.exact(files, u64::from(HEAD) + self.index * CHUNK, CHUNK);
        self.data.get_or_init(fetch).await.clone()
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        AHEAD.fetch_sub(CHUNK as usize, Ordering::Relaxed);
    }
}

/// The chunk that holds a byte; bytes of the head count as the first one's.
fn chunk_at(offset: u64) -> u64 {
    offset.saturating_sub(HEAD.into()) / CHUNK
}

fn slice(data: &Bytes, offset: u64, len: u64) -> Bytes {
    let start = offset.min(data.len() as u64) as usize;
    let end = (offset.saturating_add(len)).min(data.len() as u64) as usize;
    data.slice(start..end)
}
