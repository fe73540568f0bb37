//! `open` and its spellings: the descriptor that comes back is the kernel's, of whichever tree the policy chose.
//!
//! `open` is variadic in C; with fixed arguments it is the same on x86-64 and aarch64 Linux, where a variadic integer
//! travels in the same register, and an absent mode is a register that nobody looks at.

use core::ffi::{c_char, c_int};

use libc::mode_t;
use mirrord_policy::files::Intent;

use crate::hook::hook;
use crate::place::{locate, locate_at};

/// Flags that make an open a write.
const WRITES: c_int = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND;

/// What an open with these flags is going to do.
#[inline]
pub(crate) fn intent(flags: c_int) -> Intent {
    if flags & libc::O_PATH == 0 && flags & WRITES != 0 { Intent::Write } else { Intent::Read }
}

hook! {
    fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        locate(path, intent(flags), |spot| real(spot.path, flags, mode))
    }

    fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        locate(path, intent(flags), |spot| real(spot.path, flags, mode))
    }

    fn __open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        locate(path, intent(flags), |spot| real(spot.path, flags, mode))
    }

    fn __open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        locate(path, intent(flags), |spot| real(spot.path, flags, mode))
    }

    fn __open_2(path: *const c_char, flags: c_int) -> c_int {
        locate(path, intent(flags), |spot| real(spot.path, flags))
    }

    fn __open64_2(path: *const c_char, flags: c_int) -> c_int {
        locate(path, intent(flags), |spot| real(spot.path, flags))
    }

    fn openat(dirfd: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        locate_at(dirfd, path, intent(flags), |spot| real(spot.dirfd, spot.path, flags, mode))
    }

    fn openat64(dirfd: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        locate_at(dirfd, path, intent(flags), |spot| real(spot.dirfd, spot.path, flags, mode))
    }

    fn __openat_2(dirfd: c_int, path: *const c_char, flags: c_int) -> c_int {
        locate_at(dirfd, path, intent(flags), |spot| real(spot.dirfd, spot.path, flags))
    }

    fn __openat64_2(dirfd: c_int, path: *const c_char, flags: c_int) -> c_int {
        locate_at(dirfd, path, intent(flags), |spot| real(spot.dirfd, spot.path, flags))
    }

    fn creat(path: *const c_char, mode: mode_t) -> c_int {
        locate(path, Intent::Write, |spot| real(spot.path, mode))
    }

    fn creat64(path: *const c_char, mode: mode_t) -> c_int {
        locate(path, Intent::Write, |spot| real(spot.path, mode))
    }
}
