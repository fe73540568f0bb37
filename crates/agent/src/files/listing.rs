//! Directory listings, page by page, each name with its attributes.
//!
//! A directory of a million entries streams: between two pages its descriptor waits here under a cookie that serves
//! once. At most [`LIMIT`] listings wait; the oldest gives way, and its reader is told ESTALE and starts again.
//! Called by the file threads.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use mirrord_protocol::agent::Entry;
use rustix::fs::{AtFlags, FileType, RawDir};
use rustix::io::Errno;
use serde_bytes::ByteBuf;

use super::attributes::attributes;
use crate::sync::locked;

/// Entries of one page.
const PAGE_ENTRIES: usize = 2_000;

/// Bytes of one page, by estimate.
const PAGE_BYTES: usize = 512 << 10;

/// Bytes of an entry beside its name and link.
const ENTRY_BYTES: usize = 112;

/// Listings that wait for their next page.
const LIMIT: usize = 64;

/// One directory being listed.
#[derive(Debug)]
struct Listing {
    directory: OwnedFd,
    /// Names that the kernel has given but no page has taken.
    names: VecDeque<Vec<u8>>,
    is_at_end: bool,
}

/// All directories being listed.
#[derive(Debug, Default)]
pub struct Listings(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    listings: VecDeque<(u64, Listing)>,
}

impl Listings {
    /// First page of a freshly opened directory, and the cookie of the next page (0 = that was all).
    pub fn start(&self, directory: OwnedFd) -> Result<(Vec<Entry>, u64), Errno> {
        self.page(Listing { directory, names: VecDeque::new(), is_at_end: false })
    }

    /// Next page.
    pub fn resume(&self, cookie: u64) -> Result<(Vec<Entry>, u64), Errno> {
        let listing = {
            let mut waiting = locked(&self.0);
            let place = waiting.listings.iter().position(|(known, _)| *known == cookie).ok_or(Errno::STALE)?;
            waiting.listings.remove(place).ok_or(Errno::STALE)?.1
        };
        self.page(listing)
    }

    fn page(&self, mut listing: Listing) -> Result<(Vec<Entry>, u64), Errno> {
        let entries = listing.take_page()?;
        if listing.is_at_end && listing.names.is_empty() {
            return Ok((entries, 0));
        }
        let mut waiting = locked(&self.0);
        waiting.last += 1;
        let cookie = waiting.last;
        if waiting.listings.len() == LIMIT {
            waiting.listings.pop_front();
        }
        waiting.listings.push_back((cookie, listing));
        Ok((entries, cookie))
    }
}

impl Listing {
    fn take_page(&mut self) -> Result<Vec<Entry>, Errno> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        while entries.len() < PAGE_ENTRIES && bytes < PAGE_BYTES {
            if self.names.is_empty() && !self.is_at_end {
                self.read_names()?;
            }
            let Some(name) = self.names.pop_front() else { break };
            let entry = self.entry(name);
            bytes += ENTRY_BYTES + entry.name.len() + entry.link.as_ref().map_or(0, |link| link.len());
            entries.push(entry);
        }
        // Whether anything follows decides about the cookie.
        if self.names.is_empty() && !self.is_at_end {
            self.read_names()?;
        }
        Ok(entries)
    }

    /// One buffer of names from the kernel.
    fn read_names(&mut self) -> Result<(), Errno> {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut directory = RawDir::new(&self.directory, &mut buffer);
        self.is_at_end = true;
        while let Some(entry) = directory.next() {
            self.is_at_end = false;
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                self.names.push_back(name.to_vec());
            }
            if directory.is_buffer_empty() && !self.names.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn entry(&self, name: Vec<u8>) -> Entry {
        let stat = rustix::fs::statat(&self.directory, &name[..], AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT);
        let link = match &stat {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                rustix::fs::readlinkat(&self.directory, &name[..], Vec::new())
                    .ok()
                    .map(|text| ByteBuf::from(text.into_bytes()))
            }
            _ => None,
        };
        Entry { name: ByteBuf::from(name), attributes: stat.ok().as_ref().map(attributes), link }
    }
}

/// Opens a directory of this machine for the tests.
#[cfg(test)]
fn open(path: &std::path::Path) -> OwnedFd {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_large_directory_comes_in_pages_and_complete() {
        let folder = std::env::temp_dir().join(format!("mirrord-listing-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let expected: BTreeSet<Vec<u8>> = (0..5_003).map(|number| format!("name-{number}").into_bytes()).collect();
        for name in &expected {
            std::fs::write(folder.join(std::str::from_utf8(name).unwrap()), name).unwrap();
        }
        std::os::unix::fs::symlink("/away", folder.join("link")).unwrap();
        let listings = Listings::default();
        let (mut entries, mut cookie) = listings.start(open(&folder)).unwrap();
        let first = cookie;
        let mut pages = 1;
        while cookie != 0 {
            let (page, next) = listings.resume(cookie).unwrap();
            assert!(!page.is_empty());
            entries.extend(page);
            cookie = next;
            pages += 1;
        }
        std::fs::remove_dir_all(&folder).unwrap();
        let link = entries.iter().find(|entry| entry.name == *b"link").unwrap();
        assert_eq!(link.link.as_ref().unwrap(), b"/away");
        let seen: BTreeSet<Vec<u8>> =
            entries.iter().filter(|entry| entry.link.is_none()).map(|entry| entry.name.to_vec()).collect();
        assert_eq!(seen, expected);
        assert_eq!((entries.len(), pages), (5_004, 3));
        assert_eq!(listings.resume(first).unwrap_err(), Errno::STALE, "a cookie serves once");
    }

    #[test]
    fn waiting_listings_are_bounded() {
        let folder = std::env::temp_dir().join(format!("mirrord-listings-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        for number in 0..PAGE_ENTRIES + 1 {
            std::fs::write(folder.join(number.to_string()), "").unwrap();
        }
        let listings = Listings::default();
        let cookies: Vec<u64> = (0..=LIMIT).map(|_| listings.start(open(&folder)).unwrap().1).collect();
        assert_eq!(listings.resume(cookies[0]).unwrap_err(), Errno::STALE);
        assert_eq!(listings.resume(cookies[LIMIT]).unwrap().0.len(), 1);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
