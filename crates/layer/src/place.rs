//! Where a path of the program leads: the one door between a hook that takes a path and the call that is really made.
//!
//! ```text
//!  absolute and tidy ──policy──> local: the call as it is
//!                              └ remote: the same call on `remote_root` + path
//!  anything else: made absolute on the stack (the working directory or the descriptor's folder in front); when the folder
//!  and the verdict are on the same side, the call still goes out as it is, relative
//! ```

use core::ffi::{CStr, c_char, c_int};
use core::mem::MaybeUninit;

use mirrord_policy::Route;
use mirrord_policy::files::{self, Intent};

use crate::context::{self, Context};
use crate::errno::{Errno, Failure, fail};
use crate::path::{self, PATH_MAX, PathBuffer, TooLong};
use crate::sys;

/// The arguments of the call that is really made.
#[derive(Clone, Copy)]
pub(crate) struct Spot {
    pub(crate) dirfd: c_int,
    pub(crate) path: *const c_char,
    /// The object is the target's.
    pub(crate) is_remote: bool,
    /// Bytes of `path` that the program must not see: the length of the remote root, or 0.
    pub(crate) hidden: usize,
}

/// Decides for a path relative to the working directory and makes the call.
#[inline(always)]
pub(crate) fn locate<R: Failure>(path: *const c_char, intent: Intent, call: impl FnOnce(Spot) -> R) -> R {
    locate_at(libc::AT_FDCWD, path, intent, call)
}

/// Decides for a path relative to `dirfd` and makes the call.
#[inline(always)]
pub(crate) fn locate_at<R: Failure>(
    dirfd: c_int,
    path: *const c_char,
    intent: Intent,
    call: impl FnOnce(Spot) -> R,
) -> R {
    let as_it_is = Spot { dirfd, path, is_remote: false, hidden: 0 };
    match first_look(dirfd, path, intent) {
        Look::AsItIs => call(as_it_is),
        Look::Absent => fail(Errno(libc::ENOENT)),
        Look::Closer(context, text) => look_closer(context, as_it_is, text, intent, call),
    }
}

enum Look {
    AsItIs,
    Absent,
    Closer(&'static Context, &'static [u8]),
}

fn first_look(dirfd: c_int, path: *const c_char, intent: Intent) -> Look {
    let Some(context) = context::active() else { return Look::AsItIs };
    if !sys::may_hold(path) || context.facts.remote_root.is_empty() {
        return Look::AsItIs;
    }
    // SAFETY: the program passes a C string, as its contract with libc says; it lives as long as the call.
    let text: &'static [u8] = unsafe { CStr::from_ptr(path) }.to_bytes();
    match text {
        [] => Look::AsItIs,
        [b'/', ..] if path::is_tidy(text) => match files::decide(&context.image, text, intent).route {
            Route::Local => Look::AsItIs,
            Route::NotFound => Look::Absent,
            Route::Remote => Look::Closer(context, text),
        },
        // A bad descriptor is the kernel's to refuse.
        [first, ..] if *first != b'/' && dirfd < 0 && dirfd != libc::AT_FDCWD => Look::AsItIs,
        _ => Look::Closer(context, text),
    }
}

#[inline(never)]
fn look_closer<R: Failure>(
    context: &Context,
    as_it_is: Spot,
    text: &[u8],
    intent: Intent,
    call: impl FnOnce(Spot) -> R,
) -> R {
    let mut room = MaybeUninit::uninit();
    let Ok(buffer) = PathBuffer::begin(&mut room, context.facts.remote_root) else {
        return fail(Errno(libc::ENAMETOOLONG));
    };
    match decide(context, buffer, as_it_is, text, intent) {
        Ok(spot) => call(spot),
        Err(errno) => fail(errno),
    }
}

/// Which tree a folder belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Local,
    Remote,
}

#[inline(never)]
fn decide(
    context: &Context,
    buffer: &mut PathBuffer,
    as_it_is: Spot,
    text: &[u8],
    intent: Intent,
) -> Result<Spot, Errno> {
    let too_long = |_| Errno(libc::ENAMETOOLONG);
    if text.len() >= PATH_MAX {
        // Too long as it is written, whatever it would be when tidied up: the kernel's to refuse.
        return Ok(as_it_is);
    }
    let base = if text.starts_with(b"/") {
        None
    } else {
        let begun = match context.known_cwd() {
            Some(folder) if as_it_is.dirfd == libc::AT_FDCWD => buffer.push(folder).map(|()| Side::Local),
            _ => match begin_in_folder(context, buffer, as_it_is.dirfd) {
                Some(begun) => begun,
                None => return Ok(as_it_is),
            },
        };
        Some(begun.map_err(too_long)?)
    };
    buffer.push(text).map_err(too_long)?;
    buffer.finish(path::names_folder(text)).map_err(too_long)?;
    // A relative name that climbs could leave the remote tree through its root, where the pod's own kernel would stop.
    let stays = |side| base == Some(side) && !(side == Side::Remote && path::climbs(text));
    match files::decide(&context.image, buffer.absolute(), intent).route {
        Route::NotFound => Err(Errno(libc::ENOENT)),
        Route::Local if (base.is_none() && !comes_back(context, text)) || stays(Side::Local) => Ok(as_it_is),
        Route::Local => Ok(Spot { dirfd: libc::AT_FDCWD, path: buffer.local(), is_remote: false, hidden: 0 }),
        // The remote file system's own limit is higher than that of the pod's.
        Route::Remote if path::has_long_name(buffer.absolute()) => Err(Errno(libc::ENAMETOOLONG)),
        Route::Remote if stays(Side::Remote) => Ok(Spot { is_remote: true, ..as_it_is }),
        Route::Remote => Ok(Spot {
            dirfd: libc::AT_FDCWD,
            path: buffer.remote(),
            is_remote: true,
            hidden: context.facts.remote_root.len(),
        }),
    }
}

/// True for a local path that climbs out of a folder of the target (`/data/..`): on this machine the kernel would not find
/// the folder that it leads through.
#[inline(never)]
fn comes_back(context: &Context, text: &[u8]) -> bool {
    path::before_climb(text).is_some_and(|folder| files::decide(&context.image, folder, Intent::Read).is_remote())
}

/// Begins the path with the folder that a relative name starts from; `None` when that is no folder with a name.
/// Its own function, so that its four kilobytes are gone before the call is made.
#[inline(never)]
fn begin_in_folder(context: &Context, buffer: &mut PathBuffer, dirfd: c_int) -> Option<Result<Side, TooLong>> {
    let mut room = [0; PATH_MAX];
    let (folder, side) = folder_of(context, dirfd, &mut room)?;
    Some(buffer.push(folder).map(|()| side))
}

fn folder_of<'b>(context: &Context, dirfd: c_int, room: &'b mut [u8; PATH_MAX]) -> Option<(&'b [u8], Side)> {
    if dirfd == libc::AT_FDCWD {
        return cwd(context, room);
    }
    let mut link = [0u8; 32];
    descriptor_link(dirfd, &mut link);
    let len = sys::readlink_at(libc::AT_FDCWD, link.as_ptr().cast(), room).ok()?;
    let text = room.get(..len).filter(|text| text.starts_with(b"/"))?;
    Some(split(context, text, is_remote_device(context, dirfd)))
}

/// The working directory as the program must see it.
pub(crate) fn cwd<'b>(context: &Context, room: &'b mut [u8; PATH_MAX]) -> Option<(&'b [u8], Side)> {
    let len = sys::getcwd(room).ok()?;
    let text = room.get(..len)?;
    let Some(rest) = text.strip_prefix(b"(unreachable)") else { return Some(split(context, text, false)) };
    let here = sys::open(c".", libc::O_PATH).ok()?;
    is_remote_device(context, here.0).then_some((rest, Side::Remote))
}

/// A folder of the remote tree shows itself by its device; with a root that is a folder of this machine, by its prefix.
fn split<'t>(context: &Context, text: &'t [u8], is_remote: bool) -> (&'t [u8], Side) {
    if is_remote {
        return (text, Side::Remote);
    }
    match text.strip_prefix(context.facts.remote_root) {
        Some(rest @ ([] | [b'/', ..])) => (rest, Side::Remote),
        _ => (text, Side::Local),
    }
}

/// True when the object behind `fd` lies on the remote file system.
pub(crate) fn is_remote_device(context: &Context, fd: c_int) -> bool {
    // SAFETY: an all-zero `stat` is a value.
    let mut facts: libc::stat = unsafe { core::mem::zeroed() };
    context.facts.remote_device != 0
        && sys::fstat(fd, &mut facts).is_ok()
        && facts.st_dev == context.facts.remote_device
}

/// The text that `path` of the remote tree has for the program: `text` without the remote root.
pub(crate) fn shown<'t>(context: &Context, text: &'t [u8]) -> &'t [u8] {
    let (rest, _) = split(context, text, false);
    if rest.is_empty() { b"/" } else { rest }
}

/// Writes `/proc/self/fd/N` and its zero.
pub(crate) fn descriptor_link(fd: c_int, out: &mut [u8; 32]) {
    const PREFIX: &[u8] = b"/proc/self/fd/";
    out[..PREFIX.len()].copy_from_slice(PREFIX);
    let mut digits = [0u8; 10];
    let mut count = 0;
    let mut rest = fd.unsigned_abs();
    loop {
        digits[count] = b'0' + (rest % 10) as u8;
        count += 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    for index in 0..count {
        out[PREFIX.len() + index] = digits[count - 1 - index];
    }
    out[PREFIX.len() + count] = 0;
}
