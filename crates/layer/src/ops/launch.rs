//! Starting programs: the child gets the session's environment back, and a program that the layer cannot reach is refused
//! with a notice to the user rather than run outside the session in silence.
//!
//! May run between `vfork` and `exec`, in the parent's memory: nothing is allocated but for an unusually long
//! environment, nothing static is written.

use core::ffi::{CStr, c_char, c_int};

use mirrord_policy::process::{self, Kind};
use mirrord_protocol::env;
use mirrord_protocol::layer::{Notice, Question};

use crate::context::{self, Context};
use crate::errno::Errno;
use crate::memory::Pages;
use crate::path::PATH_MAX;
use crate::proxy_link::Patience;
use crate::sys::{self, Descriptor};

/// Interpreters of interpreters that the kernel follows.
const MAX_SCRIPTS: u32 = 5;
/// The kernel reads this much of a script's first line.
const SCRIPT_LINE: usize = 256;
const PRELOAD: &[u8] = b"LD_PRELOAD=";
const NOTICE_MS: u64 = 10_000;

/// Whether a program may be started.
pub(crate) fn check(path: *const c_char) -> Result<(), Errno> {
    check_at(libc::AT_FDCWD, path)
}

/// `check` for `execveat`.
pub(crate) fn check_at(dirfd: c_int, path: *const c_char) -> Result<(), Errno> {
    let Some(context) = context::active() else { return Ok(()) };
    if !sys::may_hold(path) {
        return Ok(());
    }
    // SAFETY: the program passes a C string.
    let name = unsafe { CStr::from_ptr(path) };
    if name.is_empty() {
        return check_open(context, dirfd, name, 0);
    }
    // What cannot be read or does not exist is the kernel's to judge.
    match sys::open_at(dirfd, path, libc::O_RDONLY | libc::O_CLOEXEC) {
        Ok(file) => check_open(context, file.0, name, 0),
        Err(_) => Ok(()),
    }
}

/// `check` for `fexecve`.
pub(crate) fn check_descriptor(fd: c_int) -> Result<(), Errno> {
    match context::active() {
        Some(context) => check_open(context, fd, c"descriptor", 0),
        None => Ok(()),
    }
}

fn check_open(context: &Context, fd: c_int, name: &CStr, depth: u32) -> Result<(), Errno> {
    if depth > MAX_SCRIPTS || process::skipped(&context.image, name.to_bytes()) {
        return Ok(());
    }
    // Borrowed: the descriptor is the caller's to close.
    let file = core::mem::ManuallyDrop::new(Descriptor(fd));
    let notice = match process::inspect(&mut |offset, buffer: &mut [u8]| sys::pread(&file, buffer, offset).unwrap_or(0))
    {
        Kind::Script => return check_interpreter(context, &file, depth),
        Kind::Static => Notice::StaticProgram,
        Kind::Go => Notice::GoProgram,
        Kind::Foreign => Notice::ForeignProgram,
        Kind::Dynamic if is_privileged(fd) => Notice::PrivilegedProgram,
        Kind::Dynamic | Kind::Unknown => return Ok(()),
    };
    let mut subject = name.to_bytes();
    subject = subject.get(..1024).unwrap_or(subject);
    let mut reply = [0; 16];
    let question = Question::Notice { notice, pid: sys::getpid(), subject };
    // A proxy that does not hear it cannot change that the program must not run.
    let _ = context.door.ask(question, Patience::Uninterrupted(NOTICE_MS), &mut reply);
    if notice == Notice::PrivilegedProgram { Ok(()) } else { Err(Errno(libc::EACCES)) }
}

fn check_interpreter(context: &Context, script: &Descriptor, depth: u32) -> Result<(), Errno> {
    let mut line = [0; SCRIPT_LINE];
    let len = sys::pread(script, &mut line[..SCRIPT_LINE - 1], 0).unwrap_or(0);
    let rest = line.get(2..len).unwrap_or_default();
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = 2 + rest.iter().take_while(|byte| blank(byte)).count();
    let end = start
        + line.get(start..len).unwrap_or_default().iter().take_while(|byte| !blank(byte) && **byte != b'\n').count();
    if let Some(stop) = line.get_mut(end) {
        *stop = 0;
    }
    let Ok(name) = CStr::from_bytes_until_nul(line.get(start..).unwrap_or_default()) else { return Ok(()) };
    match sys::open(name, libc::O_RDONLY) {
        Ok(file) => check_open(context, file.0, name, depth + 1),
        Err(_) => Ok(()),
    }
}

/// True when the loader will ignore `LD_PRELOAD`: the program gains another identity or capabilities.
fn is_privileged(fd: c_int) -> bool {
    // SAFETY: an all-zero `stat` is a value.
    let mut facts: libc::stat = unsafe { core::mem::zeroed() };
    if sys::fstat(fd, &mut facts).is_err() {
        return false;
    }
    let (uid, gid) = sys::effective_ids();
    let gains_user = facts.st_mode & libc::S_ISUID != 0 && facts.st_uid != uid;
    let gains_group =
        facts.st_mode & (libc::S_ISGID | libc::S_IXGRP) == libc::S_ISGID | libc::S_IXGRP && facts.st_gid != gid;
    let mut capabilities = [0; 64];
    gains_user
        || gains_group
        || uid != 0 && sys::get_attribute_of(fd, c"security.capability", &mut capabilities).is_ok()
}

/// Checks the program that `execvp` would find for `file`.
#[inline(never)]
pub(crate) fn check_search(file: *const c_char) -> Result<(), Errno> {
    if context::active().is_none() || !sys::may_hold(file) {
        return Ok(());
    }
    // SAFETY: the program passes a C string.
    let name = unsafe { CStr::from_ptr(file) }.to_bytes();
    if name.contains(&b'/') {
        return check(file);
    }
    let mut room = [0u8; PATH_MAX];
    for folder in context::variable("PATH").unwrap_or(b"/bin:/usr/bin").split(|&byte| byte == b':') {
        let folder = if folder.is_empty() { b"." } else { folder };
        let (slash, end) = (folder.len(), folder.len() + 1 + name.len());
        if end >= room.len() {
            continue;
        }
        room[..slash].copy_from_slice(folder);
        room[slash] = b'/';
        room[slash + 1..end].copy_from_slice(name);
        room[end] = 0;
        if sys::is_executable_file(room.as_ptr().cast()) {
            return check(room.as_ptr().cast());
        }
    }
    Ok(())
}

type Environment = *const *const c_char;

/// Most variables for which the new environment stands on the stack.
const STACK_SLOTS: usize = 320;
const STACK_TEXT: usize = 768;

/// Calls `start` with an environment that keeps the program in the session: `given` as it is when it does already.
pub(crate) fn with_environment<R>(given: Environment, start: impl FnOnce(Environment) -> R) -> R {
    let Some(context) = context::active() else { return start(given) };
    let old = survey(context, given);
    if old.has_session && old.has_library {
        return start(given);
    }
    let slots = old.count + 3;
    let text = PRELOAD.len()
        + context.facts.library.len()
        + old.preload.len()
        + env::SESSION.len()
        + context.session().len()
        + 8;
    if slots <= STACK_SLOTS && text <= STACK_TEXT {
        on_stack(context, given, &old, start)
    } else {
        on_pages(context, given, &old, (slots, text), start)
    }
}

#[inline(never)]
fn on_stack<R>(context: &Context, given: Environment, old: &Survey, start: impl FnOnce(Environment) -> R) -> R {
    let mut slots = [core::ptr::null(); STACK_SLOTS];
    let mut text = [0; STACK_TEXT];
    rebuild(context, given, old, &mut slots, &mut text);
    start(slots.as_ptr())
}

fn on_pages<R>(
    context: &Context,
    given: Environment,
    old: &Survey,
    (slots, text): (usize, usize),
    start: impl FnOnce(Environment) -> R,
) -> R {
    let width = size_of::<*const c_char>();
    // After a successful `exec` in a `vfork` child this mapping stays in the parent: rare, and a few pages.
    let Ok(mut pages) = Pages::new(slots * width + text) else { return start(given) };
    let (list, text) = pages.bytes().split_at_mut(slots * width);
    // SAFETY: the mapping is page-aligned and zeroed, and null is a pointer.
    let list = unsafe { core::slice::from_raw_parts_mut(list.as_mut_ptr().cast::<*const c_char>(), slots) };
    rebuild(context, given, old, list, text);
    start(list.as_ptr())
}

/// What an environment has of ours.
struct Survey {
    count: usize,
    preload: &'static [u8],
    has_session: bool,
    has_library: bool,
}

fn survey(context: &Context, given: Environment) -> Survey {
    let mut found = Survey { count: 0, preload: b"", has_session: false, has_library: false };
    for entry in entries(given) {
        found.count += 1;
        // SAFETY: environments hold C strings, which live as long as the call.
        let text: &'static [u8] = unsafe { CStr::from_ptr(entry) }.to_bytes();
        if let Some(value) = text.strip_prefix(PRELOAD) {
            found.preload = value;
        } else if is_session(text) {
            // Another session's counts as well: a program may start one inside this.
            found.has_session = true;
        }
    }
    found.has_library = lists(found.preload, context.facts.library);
    found
}

/// True when a value of `LD_PRELOAD` has `library` in it.
fn lists(preload: &[u8], library: &[u8]) -> bool {
    preload.split(|&byte| byte == b':' || byte == b' ').any(|item| item == library)
}

/// Writes the new environment: what was there, with our two variables where they are missing.
fn rebuild(context: &Context, given: Environment, old: &Survey, slots: &mut [*const c_char], text: &mut [u8]) {
    let mut slots = slots.iter_mut();
    for entry in entries(given) {
        // SAFETY: environments hold C strings.
        let is_preload = unsafe { CStr::from_ptr(entry) }.to_bytes().starts_with(PRELOAD);
        if is_preload && !old.has_library {
            continue;
        }
        if let Some(slot) = slots.next() {
            *slot = entry;
        }
    }
    let colon: &[u8] = if old.preload.is_empty() { b"" } else { b":" };
    let preload = (!old.has_library).then_some([PRELOAD, context.facts.library, colon, old.preload]);
    let session = (!old.has_session).then_some([env::SESSION.as_bytes(), b"=", context.session(), b""]);
    let mut rest = text;
    for parts in [preload, session].into_iter().flatten() {
        let len = parts.iter().map(|part| part.len()).sum::<usize>() + 1;
        let Some((here, tail)) = rest.split_at_mut_checked(len) else { return };
        rest = tail;
        for (to, from) in here.iter_mut().zip(parts.iter().copied().flatten().chain(&[0])) {
            *to = *from;
        }
        if let Some(slot) = slots.next() {
            *slot = here.as_ptr().cast();
        }
    }
}

fn is_session(text: &[u8]) -> bool {
    text.strip_prefix(env::SESSION.as_bytes()).is_some_and(|rest| rest.starts_with(b"=") && rest.len() > 1)
}

fn entries(given: Environment) -> impl Iterator<Item = *const c_char> {
    let mut at = given;
    core::iter::from_fn(move || {
        // SAFETY: null (Linux takes it for empty), or an array that ends with null.
        let entry = unsafe { if at.is_null() { core::ptr::null() } else { *at } };
        if entry.is_null() {
            return None;
        }
        // SAFETY: the entry was not the last.
        at = unsafe { at.add(1) };
        Some(entry)
    })
}
