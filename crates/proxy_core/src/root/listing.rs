//! One open directory: its entries, fetched page by page as the program asks, kept so that it can seek back.
//!
//! Offsets are positions in this list, `.` and `..` being 0 and 1, so `telldir` and `seekdir` hold while the directory is
//! open, whatever happens in the pod. `rewinddir` after the coherence time reads the directory anew.

use std::time::{Duration, Instant};

use bytes::Bytes;
use mirrord_protocol::agent::{Entry, decode};
use tokio::sync::Mutex;

use super::cache::{Known, LIFETIME};
use super::files::Files;
use super::tree::{RemotePath, join};
use crate::sync::locked;

/// A directory with more names is not listed to the end.
const MOST_ENTRIES: usize = 4 << 20;

/// An open directory.
pub(super) struct Listing {
    pub path: RemotePath,
    pub number: u64,
    state: Mutex<State>,
}

struct State {
    entries: Vec<Entry>,
    next: u64,
    at: Instant,
}

// === impl Listing ===

impl Listing {
    /// Opens a directory by fetching its first page, which also tells whether the target may read it.
    pub(super) async fn open(files: &Files, path: RemotePath, number: u64) -> Result<Listing, i32> {
        let (entries, next) = page(files, &path, 0).await?;
        let state = Mutex::new(State { entries, next, at: Instant::now() });
        Ok(Listing { path, number, state })
    }

    /// Hands the entries from `offset` on to `take`, with their own offset and the time they may be believed, until it
    /// says that it is full.
    pub(super) async fn read(
        &self,
        files: &Files,
        offset: u64,
        mut take: impl FnMut(u64, &Entry, Duration) -> bool,
    ) -> Result<(), i32> {
        let mut state = self.state.lock().await;
        if offset == 0 && state.at.elapsed() > LIFETIME {
            let (entries, next) = page(files, &self.path, 0).await?;
            *state = State { entries, next, at: Instant::now() };
        }
        let mut position = usize::try_from(offset).map_err(|_| libc::EINVAL)?;
        let start = position;
        loop {
            let left = LIFETIME.saturating_sub(state.at.elapsed());
            while let Some(entry) = state.entries.get(position) {
                if take(position as u64, entry, left) {
                    return Ok(());
                }
                position += 1;
            }
            // What is there goes out at once; the kernel comes back for the rest.
            if state.next == 0 || position > start {
                return Ok(());
            }
            if state.entries.len() >= MOST_ENTRIES {
                return Err(libc::EOVERFLOW);
            }
            let (entries, next) = page(files, &self.path, state.next).await?;
            if entries.is_empty() && next == state.next {
                tracing::warn!("the agent's listing of a directory does not advance");
                return Err(libc::EIO);
            }
            state.entries.extend(entries);
            state.next = next;
            state.at = Instant::now();
        }
    }
}

/// Fetches one page of a directory and remembers what it says about each name.
pub(super) async fn page(files: &Files, path: &RemotePath, cookie: u64) -> Result<(Vec<Entry>, u64), i32> {
    let (next, payload) = files.source.list(path, cookie).await?;
    let mut entries: Vec<Entry> = decode(&payload).map_err(|error| {
        tracing::warn!("unreadable directory listing from the agent: {error}");
        libc::EIO
    })?;
    // A name with a slash would leave the directory; one that is gone already is not shown.
    entries.retain(|entry| {
        let name = entry.name.as_slice();
        entry.attributes.is_some() && !matches!(name, b"" | b"." | b"..") && name.len() <= 255 && !name.contains(&b'/')
    });
    let now = Instant::now();
    let mut cache = locked(&files.cache);
    for entry in &entries {
        if let (Some(attributes), Ok(path)) = (entry.attributes, join(path, &entry.name)) {
            let link = entry.link.as_ref().map(|text| Bytes::copy_from_slice(text));
            cache.put(path, Known { attributes, link, content: None }, now);
        }
    }
    if cookie == 0 && next == 0 {
        cache.put_complete(path, now);
    }
    Ok((entries, next))
}
