//! Calls that change a tree. In read mode they stay local; a mode that writes to the target sends them there.
//!
//! Two names on different sides are two file systems: EXDEV, as the kernel says.

use core::ffi::{c_char, c_int, c_void};

use libc::{dev_t, gid_t, mode_t, off_t, timespec, timeval, uid_t, utimbuf};
use mirrord_policy::files::Intent::Write;

use crate::errno::{Errno, fail};
use crate::hook::hook;
use crate::place::{Spot, locate, locate_at};

/// Decides for two names of one call.
fn locate_both(
    (from_fd, from): (c_int, *const c_char),
    (to_fd, to): (c_int, *const c_char),
    call: impl FnOnce(Spot, Spot) -> c_int,
) -> c_int {
    locate_at(from_fd, from, Write, |from| {
        locate_at(to_fd, to, Write, |to| {
            if from.is_remote == to.is_remote { call(from, to) } else { fail(Errno(libc::EXDEV)) }
        })
    })
}

const HERE: c_int = libc::AT_FDCWD;

hook! {
    fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
        locate(path, Write, |spot| real(spot.path, mode))
    }

    fn mkdirat(dirfd: c_int, path: *const c_char, mode: mode_t) -> c_int {
        locate_at(dirfd, path, Write, |spot| real(spot.dirfd, spot.path, mode))
    }

    fn rmdir(path: *const c_char) -> c_int {
        locate(path, Write, |spot| real(spot.path))
    }

    fn unlink(path: *const c_char) -> c_int {
        locate(path, Write, |spot| real(spot.path))
    }

    fn unlinkat(dirfd: c_int, path: *const c_char, flags: c_int) -> c_int {
        locate_at(dirfd, path, Write, |spot| real(spot.dirfd, spot.path, flags))
    }

    fn remove(path: *const c_char) -> c_int {
        locate(path, Write, |spot| real(spot.path))
    }

    fn rename(from: *const c_char, to: *const c_char) -> c_int {
        locate_both((HERE, from), (HERE, to), |from, to| real(from.path, to.path))
    }

    fn renameat(from_fd: c_int, from: *const c_char, to_fd: c_int, to: *const c_char) -> c_int {
        locate_both((from_fd, from), (to_fd, to), |from, to| real(from.dirfd, from.path, to.dirfd, to.path))
    }

    fn renameat2(from_fd: c_int, from: *const c_char, to_fd: c_int, to: *const c_char, flags: u32) -> c_int {
        locate_both((from_fd, from), (to_fd, to), |from, to| real(from.dirfd, from.path, to.dirfd, to.path, flags))
    }

    fn link(from: *const c_char, to: *const c_char) -> c_int {
        locate_both((HERE, from), (HERE, to), |from, to| real(from.path, to.path))
    }

    fn linkat(from_fd: c_int, from: *const c_char, to_fd: c_int, to: *const c_char, flags: c_int) -> c_int {
        locate_both((from_fd, from), (to_fd, to), |from, to| real(from.dirfd, from.path, to.dirfd, to.path, flags))
    }

    fn symlink(target: *const c_char, path: *const c_char) -> c_int {
        locate(path, Write, |spot| real(target, spot.path))
    }

    fn symlinkat(target: *const c_char, dirfd: c_int, path: *const c_char) -> c_int {
        locate_at(dirfd, path, Write, |spot| real(target, spot.dirfd, spot.path))
    }

    fn truncate(path: *const c_char, len: off_t) -> c_int {
        locate(path, Write, |spot| real(spot.path, len))
    }

    fn truncate64(path: *const c_char, len: off_t) -> c_int {
        locate(path, Write, |spot| real(spot.path, len))
    }

    fn chmod(path: *const c_char, mode: mode_t) -> c_int {
        locate(path, Write, |spot| real(spot.path, mode))
    }

    fn fchmodat(dirfd: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_int {
        locate_at(dirfd, path, Write, |spot| real(spot.dirfd, spot.path, mode, flags))
    }

    fn chown(path: *const c_char, uid: uid_t, gid: gid_t) -> c_int {
        locate(path, Write, |spot| real(spot.path, uid, gid))
    }

    fn lchown(path: *const c_char, uid: uid_t, gid: gid_t) -> c_int {
        locate(path, Write, |spot| real(spot.path, uid, gid))
    }

    fn fchownat(dirfd: c_int, path: *const c_char, uid: uid_t, gid: gid_t, flags: c_int) -> c_int {
        locate_at(dirfd, path, Write, |spot| real(spot.dirfd, spot.path, uid, gid, flags))
    }

    fn utime(path: *const c_char, times: *const utimbuf) -> c_int {
        locate(path, Write, |spot| real(spot.path, times))
    }

    fn utimes(path: *const c_char, times: *const timeval) -> c_int {
        locate(path, Write, |spot| real(spot.path, times))
    }

    fn lutimes(path: *const c_char, times: *const timeval) -> c_int {
        locate(path, Write, |spot| real(spot.path, times))
    }

    fn futimesat(dirfd: c_int, path: *const c_char, times: *const timeval) -> c_int {
        locate_at(dirfd, path, Write, |spot| real(spot.dirfd, spot.path, times))
    }

    fn utimensat(dirfd: c_int, path: *const c_char, times: *const timespec, flags: c_int) -> c_int {
        locate_at(dirfd, path, Write, |spot| real(spot.dirfd, spot.path, times, flags))
    }

    fn mkfifo(path: *const c_char, mode: mode_t) -> c_int {
        locate(path, Write, |spot| real(spot.path, mode))
    }

    fn mkfifoat(dirfd: c_int, path: *const c_char, mode: mode_t) -> c_int {
        locate_at(dirfd, path, Write, |spot| real(spot.dirfd, spot.path, mode))
    }

    fn mknod(path: *const c_char, mode: mode_t, device: dev_t) -> c_int {
        locate(path, Write, |spot| real(spot.path, mode, device))
    }

    fn mknodat(dirfd: c_int, path: *const c_char, mode: mode_t, device: dev_t) -> c_int {
        locate_at(dirfd, path, Write, |spot| real(spot.dirfd, spot.path, mode, device))
    }

    fn setxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: usize, flags: c_int) -> c_int {
        locate(path, Write, |spot| real(spot.path, name, value, size, flags))
    }

    fn lsetxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: usize, flags: c_int) -> c_int {
        locate(path, Write, |spot| real(spot.path, name, value, size, flags))
    }

    fn removexattr(path: *const c_char, name: *const c_char) -> c_int {
        locate(path, Write, |spot| real(spot.path, name))
    }

    fn lremovexattr(path: *const c_char, name: *const c_char) -> c_int {
        locate(path, Write, |spot| real(spot.path, name))
    }
}
