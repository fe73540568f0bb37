//! What is known about paths of the pod, for one second.
//!
//! One second is the stated coherence of the remote root: a change in the pod is seen at the latest that long after it
//! happened. Within it, whatever an answer brought along answers the next questions without a round trip:
//!
//! - a lookup brings a link's text and a small file's content, so that `readlink`, or `open` and `read`, cost nothing;
//! - a listing brings the attributes of all names, and the knowledge that there are no others;
//! - a missing name is remembered; the second one in a folder makes the caller fetch the folder's listing, so a search
//!   for many names (a Python import, a C compiler's include path) costs two or three round trips, not one per name.
//!
//! Called by [`super::files`], under a lock that is never held across a wait. Entries leave in the order they came,
//! which is the order they expire in, or earlier when they take too much memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mirrord_protocol::agent::Attributes;

use super::attributes::{identity, version};
use super::tree::{RemotePath, parent};

/// How long an answer of the pod is taken for the truth, by us and by the kernel.
pub(super) const LIFETIME: Duration = Duration::from_secs(1);
/// Files up to this size come along with their lookup.
const PREFETCH: u32 = 64 * 1024;
/// The same once it turned out that nobody reads them (`find`, `git status`).
const PREFETCH_RELUCTANTLY: u32 = 4 * 1024;
/// Memory for all entries.
const MOST_BYTES: usize = 64 << 20;
/// What an entry costs besides its path, link and content.
const OVERHEAD: usize = 320;
/// Bytes of prefetched content after which its use is judged.
const TRIAL: u64 = 1 << 20;
/// Folders and verdicts are remembered in tables of at most this size.
const MOST_FOLDERS: usize = 4096;

/// A path that exists.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub attributes: Attributes,
    /// Text of a symbolic link.
    pub link: Option<Bytes>,
    /// Whole content of a small file.
    pub content: Option<Bytes>,
}

/// What is known about a path.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    Exists(Arc<Known>),
    Absent,
}

struct Slot {
    fact: Fact,
    at: Instant,
    weight: usize,
}

#[derive(Clone, Copy)]
struct Folder {
    complete: Option<Instant>,
    missed: Instant,
    misses: u32,
}

#[derive(Default)]
pub(super) struct Cache {
    slots: HashMap<RemotePath, Slot>,
    order: VecDeque<(RemotePath, Instant)>,
    bytes: usize,
    folders: HashMap<RemotePath, Folder>,
    access: HashMap<(RemotePath, u32), (Instant, Result<(), i32>)>,
    offered: u64,
    used: u64,
}

// === impl Cache ===

impl Cache {
    /// What is known about `path`, and for how long that may be believed.
    pub(super) fn get(&self, path: &RemotePath, now: Instant) -> Option<(Fact, Duration)> {
        if let Some(slot) = self.slots.get(path)
            && let Some(left) = left(slot.at, now)
        {
            return Some((slot.fact.clone(), left));
        }
        let complete = self.folders.get(parent(path)?)?.complete?;
        Some((Fact::Absent, left(complete, now)?))
    }

    /// Remembers that `path` exists. Content and link that are known already stay known if they cannot have changed.
    pub(super) fn put(&mut self, path: RemotePath, mut known: Known, now: Instant) -> Arc<Known> {
        if let Some(Slot { fact: Fact::Exists(before), .. }) = self.slots.get(&path)
            && identity(&before.attributes) == identity(&known.attributes)
            && version(&before.attributes) == version(&known.attributes)
        {
            known.content = known.content.or_else(|| before.content.clone());
            known.link = known.link.or_else(|| before.link.clone());
        }
        let weight = known.content.as_ref().map_or(0, Bytes::len) + known.link.as_ref().map_or(0, Bytes::len);
        let known = Arc::new(known);
        self.insert(path, Fact::Exists(known.clone()), weight, now);
        known
    }

    /// Remembers that `path` does not exist. Returns the folder if it is worth listing: another name in it was missing
    /// a moment ago.
    pub(super) fn put_absent(&mut self, path: RemotePath, now: Instant) -> Option<RemotePath> {
        let folder: Option<RemotePath> = parent(&path).map(Arc::from);
        self.insert(path, Fact::Absent, 0, now);
        let folder = folder?;
        let known = self.folder(&folder, now);
        known.misses = if left(known.missed, now).is_some() { known.misses.saturating_add(1) } else { 1 };
        known.missed = now;
        (known.misses == 2).then_some(folder)
    }

    /// Remembers that all names of a folder have been put.
    pub(super) fn put_complete(&mut self, folder: &RemotePath, now: Instant) {
        self.folder(folder, now).complete = Some(now);
    }

    /// How large files may be to come along with their lookup.
    pub(super) fn prefetch(&self) -> u32 {
        if self.offered > TRIAL && self.used < self.offered / 4 { PREFETCH_RELUCTANTLY } else { PREFETCH }
    }

    /// Content came along.
    pub(super) fn note_offered(&mut self, bytes: usize) {
        self.offered += bytes as u64;
        if self.offered > 8 * TRIAL {
            // Old habits count half.
            self.offered /= 2;
            self.used /= 2;
        }
    }

    /// Content that came along was read.
    pub(super) fn note_used(&mut self, bytes: usize) {
        self.used += bytes as u64;
    }

    /// A remembered answer of `access`.
    pub(super) fn access(&self, path: &RemotePath, mode: u32, now: Instant) -> Option<Result<(), i32>> {
        let (at, verdict) = self.access.get(&(path.clone(), mode))?;
        left(*at, now).map(|_| *verdict)
    }

    /// Remembers an answer of `access`.
    pub(super) fn put_access(&mut self, path: RemotePath, mode: u32, verdict: Result<(), i32>, now: Instant) {
        if self.access.len() >= MOST_FOLDERS {
            self.access.retain(|_, (at, _)| left(*at, now).is_some());
        }
        if self.access.len() < MOST_FOLDERS {
            self.access.insert((path, mode), (now, verdict));
        }
    }

    fn insert(&mut self, path: RemotePath, fact: Fact, weight: usize, now: Instant) {
        let weight = weight + 2 * path.len() + OVERHEAD;
        if let Some(before) = self.slots.insert(path.clone(), Slot { fact, at: now, weight }) {
            self.bytes -= before.weight;
        }
        self.bytes += weight;
        self.order.push_back((path, now));
        while let Some((path, at)) = self.order.front()
            && (self.bytes > MOST_BYTES || left(*at, now).is_none())
        {
            // A slot that was filled anew stands further back in the queue as well.
            if self.slots.get(path).is_some_and(|slot| slot.at == *at)
                && let Some(slot) = self.slots.remove(path)
            {
                self.bytes -= slot.weight;
            }
            self.order.pop_front();
        }
    }

    fn folder(&mut self, path: &RemotePath, now: Instant) -> &mut Folder {
        if self.folders.len() >= MOST_FOLDERS && !self.folders.contains_key(path) {
            self.folders.retain(|_, folder| left(folder.missed, now).is_some());
            if self.folders.len() >= MOST_FOLDERS {
                self.folders.clear();
            }
        }
        self.folders.entry(path.clone()).or_insert(Folder { complete: None, missed: now, misses: 0 })
    }
}

fn left(at: Instant, now: Instant) -> Option<Duration> {
    LIFETIME.checked_sub(now.saturating_duration_since(at)).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RemotePath {
        Arc::from(text.as_bytes())
    }

    fn known(size: u64, content: Option<&'static [u8]>) -> Known {
        let attributes = Attributes { size, ..Attributes::default() };
        Known { attributes, link: None, content: content.map(Bytes::from_static) }
    }

    #[test]
    fn facts_end_after_their_lifetime() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.put(path("/a"), known(1, None), now);
        assert!(cache.get(&path("/a"), now + LIFETIME / 2).is_some());
        assert!(cache.get(&path("/a"), now + LIFETIME).is_none());
    }

    #[test]
    fn complete_listing_answers_for_missing_names() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.put(path("/d/a"), known(1, None), now);
        cache.put_complete(&path("/d"), now);
        assert!(matches!(cache.get(&path("/d/a"), now), Some((Fact::Exists(_), _))));
        assert!(matches!(cache.get(&path("/d/b"), now), Some((Fact::Absent, _))));
        assert!(cache.get(&path("/d/a/x"), now).is_none());
        assert!(cache.get(&path("/d/b"), now + LIFETIME).is_none());
    }

    #[test]
    fn second_missing_name_asks_for_the_listing_once() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        assert_eq!(cache.put_absent(path("/a"), now), None);
        assert_eq!(cache.put_absent(path("/b"), now), Some(path("/")));
        assert_eq!(cache.put_absent(path("/c"), now), None);
    }

    #[test]
    fn content_survives_a_lookup_without_it_while_unchanged() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.put(path("/a"), known(1, Some(b"x")), now);
        assert!(cache.put(path("/a"), known(1, None), now).content.is_some());
        assert!(cache.put(path("/a"), known(2, None), now).content.is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let content = Bytes::from(vec![0; 60_000]);
        for number in 0..3000 {
            let known = Known { content: Some(content.clone()), ..known(60_000, None) };
            cache.put(path(&format!("/{number}")), known, now);
        }
        assert!(cache.bytes <= MOST_BYTES && cache.slots.len() < 1200);
    }

    #[test]
    fn unread_content_makes_prefetch_reluctant() {
        let mut cache = Cache::default();
        cache.note_offered(2 << 20);
        assert_eq!(cache.prefetch(), PREFETCH_RELUCTANTLY);
        cache.note_used(1 << 20);
        assert_eq!(cache.prefetch(), PREFETCH);
    }
}
