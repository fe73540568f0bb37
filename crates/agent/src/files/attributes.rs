//! The kernel's structures as the protocol's.

use mirrord_protocol::agent::{Attributes, Statfs};
use rustix::fs::{Stat, StatFs};

/// Attributes of a file. The kernel's types differ between architectures, hence the conversions without effect.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
pub fn attributes(stat: &Stat) -> Attributes {
    Attributes {
        dev: stat.st_dev as u64,
        ino: stat.st_ino as u64,
        mode: stat.st_mode as u32,
        nlink: stat.st_nlink as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: stat.st_rdev as u64,
        size: stat.st_size as u64,
        blocks: stat.st_blocks as u64,
        blksize: stat.st_blksize as u32,
        atime: (stat.st_atime as i64, stat.st_atime_nsec as u32),
        mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
        ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as u32),
    }
}

/// State of a file system.
#[allow(clippy::unnecessary_cast)]
pub fn statfs(stat: &StatFs) -> Statfs {
    Statfs {
        blocks: stat.f_blocks as u64,
        bfree: stat.f_bfree as u64,
        bavail: stat.f_bavail as u64,
        files: stat.f_files as u64,
        ffree: stat.f_ffree as u64,
        bsize: stat.f_bsize as u32,
        namelen: stat.f_namelen as u32,
        frsize: stat.f_frsize as u32,
    }
}
