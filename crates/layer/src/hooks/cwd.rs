//! The working directory: it may lie in the remote tree, and is then shown as the pod's.

use core::ffi::{c_char, c_int};

use mirrord_policy::files::Intent::Read;

use crate::context::{self, Context};
use crate::errno::{Errno, Failure, fail};
use crate::hook::hook;
use crate::hooks::link::give;
use crate::path::PATH_MAX;
use crate::place::{self, Side, locate};

/// Calls `remote` with the working directory's text when it lies in the remote tree, else `local`.
fn with_cwd<R: Failure>(remote: impl FnOnce(&[u8]) -> R, local: impl FnOnce() -> R) -> R {
    match context::active() {
        // Known means unchanged since the start, which was with a path of this machine.
        Some(context) if context.known_cwd().is_none() => look(context, remote, local),
        _ => local(),
    }
}

#[inline(never)]
fn look<R: Failure>(context: &Context, remote: impl FnOnce(&[u8]) -> R, local: impl FnOnce() -> R) -> R {
    let mut room = [0; PATH_MAX];
    match place::cwd(context, &mut room) {
        Some((text, Side::Remote)) => remote(if text.is_empty() { b"/" } else { text }),
        _ => local(),
    }
}

/// `getcwd` of a remote text: into the buffer of `size` bytes, or into memory that the program frees.
fn copy(text: &[u8], buffer: *mut c_char, size: usize) -> *mut c_char {
    if buffer.is_null() {
        return if size == 0 || size > text.len() { give(text, buffer) } else { fail(Errno(libc::ERANGE)) };
    }
    match size {
        0 => fail(Errno(libc::EINVAL)),
        size if size <= text.len() => fail(Errno(libc::ERANGE)),
        _ => give(text, buffer),
    }
}

hook! {
    fn chdir(path: *const c_char) -> c_int {
        context::forget_cwd();
        locate(path, Read, |spot| real(spot.path))
    }

    fn fchdir(fd: c_int) -> c_int {
        context::forget_cwd();
        real(fd)
    }

    fn chroot(path: *const c_char) -> c_int {
        context::forget_cwd();
        real(path)
    }

    fn getcwd(buffer: *mut c_char, size: usize) -> *mut c_char {
        with_cwd(|text| copy(text, buffer, size), || real(buffer, size))
    }

    fn __getcwd_chk(buffer: *mut c_char, size: usize, room: usize) -> *mut c_char {
        with_cwd(
            |text| if size <= room { copy(text, buffer, size) } else { real(buffer, size, room) },
            || real(buffer, size, room),
        )
    }

    fn getwd(buffer: *mut c_char) -> *mut c_char {
        with_cwd(|text| copy(text, buffer, PATH_MAX), || real(buffer))
    }

    fn __getwd_chk(buffer: *mut c_char, room: usize) -> *mut c_char {
        with_cwd(|text| copy(text, buffer, room.min(PATH_MAX)), || real(buffer, room))
    }

    fn get_current_dir_name() -> *mut c_char {
        with_cwd(|text| give(text, core::ptr::null_mut()), real)
    }
}
