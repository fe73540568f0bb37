//! Attributes as the pod has them, turned into what the kernel takes from a FUSE server.
//!
//! Called wherever attributes leave for the kernel. `st_ino` is the node's number: `fuser` has one field for both.

use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, INodeNo};
use mirrord_protocol::agent::Attributes;

/// What makes an inode the same one as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    dev: u64,
    ino: u64,
    kind: u32,
}

/// What changes when a file's content does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    mtime: (i64, u32),
    ctime: (i64, u32),
    size: u64,
}

pub(super) fn identity(attributes: &Attributes) -> Identity {
    Identity { dev: attributes.dev, ino: attributes.ino, kind: attributes.mode & libc::S_IFMT }
}

pub(super) fn version(attributes: &Attributes) -> Version {
    Version { mtime: attributes.mtime, ctime: attributes.ctime, size: attributes.size }
}

pub(super) fn is_directory(attributes: &Attributes) -> bool {
    attributes.mode & libc::S_IFMT == libc::S_IFDIR
}

pub(super) fn is_link(attributes: &Attributes) -> bool {
    attributes.mode & libc::S_IFMT == libc::S_IFLNK
}

pub(super) fn is_regular(attributes: &Attributes) -> bool {
    attributes.mode & libc::S_IFMT == libc::S_IFREG
}

/// The directory that the root is until somebody answers for the pod.
pub(super) fn synthetic_root() -> Attributes {
    Attributes { mode: libc::S_IFDIR | 0o755, nlink: 2, blksize: 4096, ..Attributes::default() }
}

/// A number for an inode, from what the pod's kernel calls it: the same in every session. 2 and above, below 2^62.
pub(super) fn stable_number(attributes: &Attributes) -> u64 {
    // Folding the device in spreads equal inode numbers of different file systems over the whole range.
    let device = attributes.dev.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (attributes.ino ^ (device >> 2)) & ((1 << 62) - 1);
    mixed.max(2)
}

pub(super) fn to_kernel(number: u64, attributes: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(number),
        size: attributes.size,
        blocks: attributes.blocks,
        atime: time(attributes.atime),
        mtime: time(attributes.mtime),
        ctime: time(attributes.ctime),
        crtime: SystemTime::UNIX_EPOCH,
        kind: kind(attributes.mode),
        perm: (attributes.mode & 0o7777) as u16,
        nlink: attributes.nlink,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: device_number(attributes.rdev),
        blksize: attributes.blksize.clamp(512, 1 << 30),
        flags: 0,
    }
}

/// What a negative answer carries: node 0 means "there is none, and you may remember that".
pub(super) fn absent() -> FileAttr {
    to_kernel(0, &Attributes::default())
}

pub(super) fn kind(mode: u32) -> FileType {
    match mode & libc::S_IFMT {
        libc::S_IFDIR => FileType::Directory,
        libc::S_IFLNK => FileType::Symlink,
        libc::S_IFIFO => FileType::NamedPipe,
        libc::S_IFSOCK => FileType::Socket,
        libc::S_IFCHR => FileType::CharDevice,
        libc::S_IFBLK => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

fn time((seconds, nanoseconds): (i64, u32)) -> SystemTime {
    let fraction = Duration::from_nanos(u64::from(nanoseconds.min(999_999_999)));
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base =
        if seconds < 0 { SystemTime::UNIX_EPOCH.checked_sub(whole) } else { SystemTime::UNIX_EPOCH.checked_add(whole) };
    base.and_then(|base| base.checked_add(fraction)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// `st_rdev` in the 32-bit form of the FUSE protocol (the kernel's `new_encode_dev`).
fn device_number(device: u64) -> u32 {
    let (major, minor) = (libc::major(device), libc::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_keep_their_fraction() {
        let expected = SystemTime::UNIX_EPOCH - Duration::from_millis(500);
        assert_eq!(time((-1, 500_000_000)), expected);
        assert_eq!(time((i64::MIN, 0)), time((i64::MIN, 0)));
    }

    #[test]
    fn number_is_stable_and_never_the_root() {
        let file = Attributes { dev: 7, ino: 42, ..Attributes::default() };
        assert_eq!(stable_number(&file), stable_number(&file));
        assert_ne!(stable_number(&file), stable_number(&Attributes { dev: 8, ..file }));
        assert!(stable_number(&Attributes::default()) > 1);
    }

    #[test]
    fn device_numbers_keep_both_halves() {
        assert_eq!(device_number(libc::makedev(10, 229)), (10 << 8) | 229);
        assert_eq!(device_number(libc::makedev(259, 0x123)), (259 << 8) | 0x23 | (0x100 << 12));
    }
}
