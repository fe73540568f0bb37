//! stdio: libc opens the file itself, so it gets the name of the tree that the policy chose.

use core::ffi::{CStr, c_char};

use libc::FILE;
use mirrord_policy::files::Intent;

use crate::hook::hook;
use crate::place::locate;
use crate::sys;

/// What a stream of this mode is going to do; a bad mode is libc's to refuse.
fn intent(mode: *const c_char) -> Intent {
    if !sys::may_hold(mode) {
        return Intent::Read;
    }
    // SAFETY: the program passes a C string; only the letters before `,ccs=` count.
    let mode = unsafe { CStr::from_ptr(mode) }.to_bytes();
    let letters = mode.split(|&byte| byte == b',').next().unwrap_or_default();
    if letters.iter().any(|letter| matches!(letter, b'w' | b'a' | b'+')) { Intent::Write } else { Intent::Read }
}

hook! {
    fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE {
        locate(path, intent(mode), |spot| real(spot.path, mode))
    }

    fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE {
        locate(path, intent(mode), |spot| real(spot.path, mode))
    }

    fn freopen(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE {
        locate(path, intent(mode), |spot| real(spot.path, mode, stream))
    }

    fn freopen64(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE {
        locate(path, intent(mode), |spot| real(spot.path, mode, stream))
    }

    fn setmntent(path: *const c_char, mode: *const c_char) -> *mut FILE {
        locate(path, intent(mode), |spot| real(spot.path, mode))
    }
}
