//! `stat` and its generations, access checks, file system facts and attributes.

use core::ffi::{c_char, c_int, c_long, c_uint, c_void};

use libc::{stat as Stat, statfs as StatFs, statvfs as StatVfs, statx as StatX};
use mirrord_policy::files::Intent;

use crate::errno::fail;
use crate::hook::hook;
use crate::owner;
use crate::place::{Spot, locate, locate_at};
use crate::sys;

/// The version argument of `__xstat` that means today's `struct stat`.
#[cfg(target_arch = "x86_64")]
const STAT_VERSIONS: [c_int; 2] = [0, 1];
#[cfg(target_arch = "aarch64")]
const STAT_VERSIONS: [c_int; 2] = [0, 0];

/// Corrects what a successful call wrote.
fn corrected(result: c_int, spot: Spot, into: *mut Stat, follow: bool) -> c_int {
    if result == 0 && spot.is_remote {
        // SAFETY: the call succeeded, so the program's structure is writable and filled.
        let facts = unsafe { &mut *into };
        owner::correct(spot, follow, &mut facts.st_uid, &mut facts.st_gid);
    }
    result
}

fn corrected_open(result: c_int, fd: c_int, into: *mut Stat) -> c_int {
    if result == 0 {
        // SAFETY: the call succeeded, so the program's structure is writable and filled.
        let facts = unsafe { &mut *into };
        owner::correct_open(fd, facts.st_dev, &mut facts.st_uid, &mut facts.st_gid);
    }
    result
}

/// `__xstat` and its kin, which newer libcs keep only for programs that are already linked.
fn old_stat(version: c_int, dirfd: c_int, path: *const c_char, into: *mut Stat, flags: c_int) -> c_int {
    if !STAT_VERSIONS.contains(&version) {
        return fail(crate::errno::Errno(libc::EINVAL));
    }
    locate_at(dirfd, path, Intent::Read, |spot| match sys::stat_at(spot.dirfd, spot.path, into, flags) {
        Ok(()) => corrected(0, spot, into, flags & libc::AT_SYMLINK_NOFOLLOW == 0),
        Err(errno) => fail(errno),
    })
}

fn old_fstat(version: c_int, fd: c_int, into: *mut Stat) -> c_int {
    if !STAT_VERSIONS.contains(&version) {
        return fail(crate::errno::Errno(libc::EINVAL));
    }
    match sys::stat_at(fd, c"".as_ptr(), into, libc::AT_EMPTY_PATH) {
        Ok(()) => corrected_open(0, fd, into),
        Err(errno) => fail(errno),
    }
}

/// `access`: asking for the right to write is a write.
pub(crate) fn intent(mode: c_int) -> Intent {
    if mode & libc::W_OK != 0 { Intent::Write } else { Intent::Read }
}

/// Corrects what a successful `statx` wrote.
pub(crate) fn corrected_statx(result: c_int, spot: Spot, flags: c_int, into: *mut StatX) -> c_int {
    if result != 0 {
        return result;
    }
    // SAFETY: the call succeeded, so the program's structure is writable and filled.
    let facts = unsafe { &mut *into };
    // SAFETY: a successful call had a readable path, or (newer kernels) a null one.
    let is_empty = spot.path.is_null() || unsafe { *spot.path } == 0;
    if is_empty && flags & libc::AT_EMPTY_PATH != 0 {
        let device = libc::makedev(facts.stx_dev_major, facts.stx_dev_minor);
        owner::correct_open(spot.dirfd, device, &mut facts.stx_uid, &mut facts.stx_gid);
    } else {
        owner::correct(spot, flags & libc::AT_SYMLINK_NOFOLLOW == 0, &mut facts.stx_uid, &mut facts.stx_gid);
    }
    result
}

hook! {
    fn stat(path: *const c_char, into: *mut Stat) -> c_int {
        locate(path, Intent::Read, |spot| corrected(real(spot.path, into), spot, into, true))
    }

    fn stat64(path: *const c_char, into: *mut Stat) -> c_int {
        locate(path, Intent::Read, |spot| corrected(real(spot.path, into), spot, into, true))
    }

    fn lstat(path: *const c_char, into: *mut Stat) -> c_int {
        locate(path, Intent::Read, |spot| corrected(real(spot.path, into), spot, into, false))
    }

    fn lstat64(path: *const c_char, into: *mut Stat) -> c_int {
        locate(path, Intent::Read, |spot| corrected(real(spot.path, into), spot, into, false))
    }

    fn fstat(fd: c_int, into: *mut Stat) -> c_int {
        corrected_open(real(fd, into), fd, into)
    }

    fn fstat64(fd: c_int, into: *mut Stat) -> c_int {
        corrected_open(real(fd, into), fd, into)
    }

    fn fstatat(dirfd: c_int, path: *const c_char, into: *mut Stat, flags: c_int) -> c_int {
        locate_at(dirfd, path, Intent::Read, |spot| {
            corrected_at(real(spot.dirfd, spot.path, into, flags), spot, into, flags)
        })
    }

    fn fstatat64(dirfd: c_int, path: *const c_char, into: *mut Stat, flags: c_int) -> c_int {
        locate_at(dirfd, path, Intent::Read, |spot| {
            corrected_at(real(spot.dirfd, spot.path, into, flags), spot, into, flags)
        })
    }

    fn __xstat(version: c_int, path: *const c_char, into: *mut Stat) -> c_int {
        old_stat(version, libc::AT_FDCWD, path, into, 0)
    }

    fn __xstat64(version: c_int, path: *const c_char, into: *mut Stat) -> c_int {
        old_stat(version, libc::AT_FDCWD, path, into, 0)
    }

    fn __lxstat(version: c_int, path: *const c_char, into: *mut Stat) -> c_int {
        old_stat(version, libc::AT_FDCWD, path, into, libc::AT_SYMLINK_NOFOLLOW)
    }

    fn __lxstat64(version: c_int, path: *const c_char, into: *mut Stat) -> c_int {
        old_stat(version, libc::AT_FDCWD, path, into, libc::AT_SYMLINK_NOFOLLOW)
    }

    fn __fxstat(version: c_int, fd: c_int, into: *mut Stat) -> c_int {
        old_fstat(version, fd, into)
    }

    fn __fxstat64(version: c_int, fd: c_int, into: *mut Stat) -> c_int {
        old_fstat(version, fd, into)
    }

    fn __fxstatat(version: c_int, dirfd: c_int, path: *const c_char, into: *mut Stat, flags: c_int) -> c_int {
        old_stat(version, dirfd, path, into, flags)
    }

    fn __fxstatat64(version: c_int, dirfd: c_int, path: *const c_char, into: *mut Stat, flags: c_int) -> c_int {
        old_stat(version, dirfd, path, into, flags)
    }

    fn statx(dirfd: c_int, path: *const c_char, flags: c_int, mask: c_uint, into: *mut StatX) -> c_int {
        locate_at(dirfd, path, Intent::Read, |spot| {
            corrected_statx(real(spot.dirfd, spot.path, flags, mask, into), spot, flags, into)
        })
    }

    fn access(path: *const c_char, mode: c_int) -> c_int {
        locate(path, intent(mode), |spot| real(spot.path, mode))
    }

    fn faccessat(dirfd: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int {
        locate_at(dirfd, path, intent(mode), |spot| real(spot.dirfd, spot.path, mode, flags))
    }

    fn euidaccess(path: *const c_char, mode: c_int) -> c_int {
        locate(path, intent(mode), |spot| real(spot.path, mode))
    }

    fn eaccess(path: *const c_char, mode: c_int) -> c_int {
        locate(path, intent(mode), |spot| real(spot.path, mode))
    }

    fn statfs(path: *const c_char, into: *mut StatFs) -> c_int {
        locate(path, Intent::Read, |spot| real(spot.path, into))
    }

    fn statfs64(path: *const c_char, into: *mut StatFs) -> c_int {
        locate(path, Intent::Read, |spot| real(spot.path, into))
    }

    fn statvfs(path: *const c_char, into: *mut StatVfs) -> c_int {
        locate(path, Intent::Read, |spot| real(spot.path, into))
    }

    fn statvfs64(path: *const c_char, into: *mut StatVfs) -> c_int {
        locate(path, Intent::Read, |spot| real(spot.path, into))
    }

    fn pathconf(path: *const c_char, name: c_int) -> c_long {
        locate(path, Intent::Read, |spot| real(spot.path, name))
    }

    fn getxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: usize) -> isize {
        locate(path, Intent::Read, |spot| real(spot.path, name, value, size))
    }

    fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: usize) -> isize {
        locate(path, Intent::Read, |spot| real(spot.path, name, value, size))
    }

    fn listxattr(path: *const c_char, list: *mut c_char, size: usize) -> isize {
        locate(path, Intent::Read, |spot| real(spot.path, list, size))
    }

    fn llistxattr(path: *const c_char, list: *mut c_char, size: usize) -> isize {
        locate(path, Intent::Read, |spot| real(spot.path, list, size))
    }

    fn inotify_add_watch(fd: c_int, path: *const c_char, mask: u32) -> c_int {
        // The target's changes do not arrive here: an error makes programs poll, silence would make them wait.
        locate(path, Intent::Read, |spot| {
            if spot.is_remote { fail(crate::errno::Errno(libc::ENOSPC)) } else { real(fd, spot.path, mask) }
        })
    }
}

fn corrected_at(result: c_int, spot: Spot, into: *mut Stat, flags: c_int) -> c_int {
    // SAFETY: a successful call had a readable path, or (newer kernels) a null one.
    if result == 0 && flags & libc::AT_EMPTY_PATH != 0 && (spot.path.is_null() || unsafe { *spot.path } == 0) {
        return corrected_open(result, spot.dirfd, into);
    }
    corrected(result, spot, into, flags & libc::AT_SYMLINK_NOFOLLOW == 0)
}
