//! Symbolic links and canonical names: what a program reads of the remote tree is the pod's text.

use core::ffi::{c_char, c_int};

use mirrord_policy::files::Intent::Read;
use mirrord_protocol::link_target;

use crate::context;
use crate::errno::{Errno, fail};
use crate::hook::hook;
use crate::path::PATH_MAX;
use crate::place::{self, Spot, locate, locate_at};
use crate::sys;

/// `readlink` of a remote link: the served text in the program's buffer, in the pod's form.
///
/// The served text is longer than the pod's, so it is read into a buffer of ours and cut after decoding.
#[inline(never)]
pub(crate) fn read_remote(spot: Spot, buffer: *mut c_char, size: usize) -> isize {
    let mut room = [0; PATH_MAX];
    if size == 0 {
        return fail(Errno(libc::EINVAL));
    }
    match sys::readlink_at(spot.dirfd, spot.path, &mut room) {
        Ok(len) => {
            let len = link_target::decode(room.get_mut(..len).unwrap_or_default()).min(size);
            // SAFETY: the program says that its buffer has `size` bytes.
            unsafe { core::ptr::copy_nonoverlapping(room.as_ptr(), buffer.cast(), len) };
            len.cast_signed()
        }
        Err(errno) => fail(errno),
    }
}

/// `realpath` of a remote name: the kernel resolves it, and the descriptor's link is the canonical name.
#[inline(never)]
fn resolve_remote(spot: Spot, into: *mut c_char) -> *mut c_char {
    let Some(context) = context::active() else { return fail(Errno(libc::ENOENT)) };
    let file = match sys::open_at(spot.dirfd, spot.path, libc::O_PATH | libc::O_CLOEXEC) {
        Ok(file) => file,
        Err(errno) => return fail(errno),
    };
    let mut link = [0; 32];
    place::descriptor_link(file.0, &mut link);
    let mut room = [0; PATH_MAX];
    let len = match sys::readlink_at(libc::AT_FDCWD, link.as_ptr().cast(), &mut room) {
        Ok(len) => len,
        Err(errno) => return fail(errno),
    };
    let name = place::shown(context, room.get(..len).unwrap_or_default());
    if name.len() >= PATH_MAX {
        return fail(Errno(libc::ENAMETOOLONG));
    }
    give(name, into)
}

/// Copies `name` into the program's buffer, or into memory that the program frees.
pub(crate) fn give(name: &[u8], into: *mut c_char) -> *mut c_char {
    let target = if into.is_null() {
        // SAFETY: plain allocation by the allocator that the program frees with.
        unsafe { libc::malloc(name.len() + 1).cast::<c_char>() }
    } else {
        into
    };
    if target.is_null() {
        return fail(Errno(libc::ENOMEM));
    }
    // SAFETY: the memory was allocated for it, or the program promises PATH_MAX bytes, which the callers check against.
    unsafe {
        core::ptr::copy_nonoverlapping(name.as_ptr(), target.cast(), name.len());
        *target.add(name.len()) = 0;
    }
    target
}

hook! {
    fn readlink(path: *const c_char, buffer: *mut c_char, size: usize) -> isize {
        locate(path, Read, |spot| {
            if spot.is_remote { read_remote(spot, buffer, size) } else { real(spot.path, buffer, size) }
        })
    }

    fn readlinkat(dirfd: c_int, path: *const c_char, buffer: *mut c_char, size: usize) -> isize {
        locate_at(dirfd, path, Read, |spot| {
            if spot.is_remote { read_remote(spot, buffer, size) } else { real(spot.dirfd, spot.path, buffer, size) }
        })
    }

    fn __readlink_chk(path: *const c_char, buffer: *mut c_char, size: usize, room: usize) -> isize {
        locate(path, Read, |spot| {
            if spot.is_remote && size <= room {
                read_remote(spot, buffer, size)
            } else {
                real(spot.path, buffer, size, room)
            }
        })
    }

    fn __readlinkat_chk(dirfd: c_int, path: *const c_char, buffer: *mut c_char, size: usize, room: usize) -> isize {
        locate_at(dirfd, path, Read, |spot| {
            if spot.is_remote && size <= room {
                read_remote(spot, buffer, size)
            } else {
                real(spot.dirfd, spot.path, buffer, size, room)
            }
        })
    }

    fn realpath(path: *const c_char, into: *mut c_char) -> *mut c_char {
        locate(path, Read, |spot| if spot.is_remote { resolve_remote(spot, into) } else { real(spot.path, into) })
    }

    fn __realpath_chk(path: *const c_char, into: *mut c_char, room: usize) -> *mut c_char {
        locate(path, Read, |spot| {
            if spot.is_remote && room >= PATH_MAX { resolve_remote(spot, into) } else { real(spot.path, into, room) }
        })
    }

    fn canonicalize_file_name(path: *const c_char) -> *mut c_char {
        locate(path, Read, |spot| {
            if spot.is_remote { resolve_remote(spot, core::ptr::null_mut()) } else { real(spot.path) }
        })
    }
}
