//! Directories: libc opens them itself, so it gets the name of the tree that the policy chose; what it hands back as
//! paths loses the remote root again.

use core::cell::Cell;
use core::ffi::{CStr, c_char, c_int, c_void};

use libc::{DIR, glob_t, stat as Stat};
use mirrord_policy::files::Intent::{Read, Write};

use crate::hook::hook;
use crate::owner;
use crate::place::{Spot, locate, locate_at};

/// `scandir`'s two callbacks and its list are passed on as they are.
type Opaque = *const c_void;

/// Takes the remote root from the names that `glob` found, in place: each is a string of its own.
fn uncover(found: *mut glob_t, first: usize, hidden: usize) {
    if found.is_null() || hidden == 0 {
        return;
    }
    // SAFETY: a successful `glob` leaves `gl_pathc` strings behind the reserved entries, each at least as long as the
    // remote root, since every pattern began with it.
    unsafe {
        let list = &*found;
        for index in first..list.gl_pathc {
            let name = *list.gl_pathv.add(list.gl_offs + index);
            let len = CStr::from_ptr(name).to_bytes().len();
            if len >= hidden {
                core::ptr::copy(name.add(hidden), name, len - hidden + 1);
            }
        }
    }
}

/// `glob` of a pattern that may be remote. `GLOB_DOOFFS` is the only way that `gl_offs` counts.
fn glob_with(
    pattern: *const c_char,
    flags: c_int,
    found: *mut glob_t,
    real: impl FnOnce(*const c_char) -> c_int,
) -> c_int {
    locate(pattern, Read, |spot| {
        // SAFETY: with GLOB_APPEND the program's structure is one that an earlier `glob` filled.
        let first = if flags & libc::GLOB_APPEND != 0 && !found.is_null() { unsafe { (*found).gl_pathc } } else { 0 };
        let result = real(spot.path);
        if result == 0 || result == libc::GLOB_NOMATCH && flags & libc::GLOB_NOCHECK != 0 {
            uncover(found, first, spot.hidden);
        }
        result
    })
}

/// `struct FTW`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Ftw {
    base: c_int,
    level: c_int,
}

type Visit = unsafe extern "C" fn(*const c_char, *const Stat, c_int) -> c_int;
type VisitDeep = unsafe extern "C" fn(*const c_char, *const Stat, c_int, *mut Ftw) -> c_int;

/// The program's callback during a remote walk, and how much of each path it must not see.
#[derive(Clone, Copy)]
struct Walk {
    visit: Option<Visit>,
    visit_deep: Option<VisitDeep>,
    spot: Spot,
}

std::thread_local! {
    // Walks have no argument of the caller's to carry this in. Without a destructor, so nothing runs at thread exit.
    static WALK: Cell<Option<Walk>> = const { Cell::new(None) };
}

/// Runs `walk` with `current` as this thread's walk; walks may nest.
fn walking(current: Walk, walk: impl FnOnce() -> c_int) -> c_int {
    let outer = WALK.replace(Some(current));
    let result = walk();
    WALK.set(outer);
    result
}

/// The program's view of what a walk shows.
fn view(walk: &Walk, path: *const c_char, facts: *const Stat) -> (*const c_char, Stat) {
    // SAFETY: libc passes a structure and a path that begins with the path that the walk began with.
    let (mut facts, shown) = unsafe { (*facts, path.add(walk.spot.hidden)) };
    let spot = Spot { dirfd: libc::AT_FDCWD, path, ..walk.spot };
    owner::correct(spot, false, &mut facts.st_uid, &mut facts.st_gid);
    // SAFETY: the byte behind the remote root is the path's first, or its end for the root itself.
    let shown = if unsafe { *shown } == 0 { c"/".as_ptr() } else { shown };
    (shown, facts)
}

unsafe extern "C" fn visit(path: *const c_char, facts: *const Stat, kind: c_int) -> c_int {
    let Some(walk) = WALK.get() else { return -1 };
    let Some(program) = walk.visit else { return -1 };
    let (shown, facts) = view(&walk, path, facts);
    // SAFETY: the program's callback with arguments as `ftw` documents them.
    unsafe { program(shown, &raw const facts, kind) }
}

unsafe extern "C" fn visit_deep(path: *const c_char, facts: *const Stat, kind: c_int, at: *mut Ftw) -> c_int {
    let Some(walk) = WALK.get() else { return -1 };
    let Some(program) = walk.visit_deep else { return -1 };
    let (shown, facts) = view(&walk, path, facts);
    // SAFETY: libc passes its structure; a copy goes to the program.
    let mut at = unsafe { *at };
    at.base = (at.base - walk.spot.hidden as c_int).max(0);
    // SAFETY: the program's callback with arguments as `nftw` documents them.
    unsafe { program(shown, &raw const facts, kind, &raw mut at) }
}

fn walk(
    path: *const c_char,
    program: Option<Visit>,
    real: impl FnOnce(*const c_char, Option<Visit>) -> c_int,
) -> c_int {
    locate(path, Read, |spot| {
        if !spot.is_remote {
            return real(spot.path, program);
        }
        walking(Walk { visit: program, visit_deep: None, spot }, || real(spot.path, program.map(|_| visit as Visit)))
    })
}

fn walk_deep(
    path: *const c_char,
    program: Option<VisitDeep>,
    real: impl FnOnce(*const c_char, Option<VisitDeep>) -> c_int,
) -> c_int {
    locate(path, Read, |spot| {
        if !spot.is_remote {
            return real(spot.path, program);
        }
        let current = Walk { visit: None, visit_deep: program, spot };
        walking(current, || real(spot.path, program.map(|_| visit_deep as VisitDeep)))
    })
}

/// Makes a file or folder from a template: libc writes the chosen letters into its copy, which the program must see.
fn make<R: crate::errno::Failure>(template: *mut c_char, real: impl FnOnce(*mut c_char) -> R) -> R {
    locate(template, Write, |spot| {
        let copy = spot.path.cast_mut();
        let result = real(copy);
        if !core::ptr::eq(copy, template) {
            // SAFETY: both are C strings with the same ending: the copy is the template's path made absolute.
            unsafe {
                let (own, len) = (CStr::from_ptr(copy).to_bytes().len(), CStr::from_ptr(template).to_bytes().len());
                let name = CStr::from_ptr(template).to_bytes().iter().rev().take_while(|&&byte| byte != b'/').count();
                core::ptr::copy_nonoverlapping(copy.add(own - name), template.add(len - name), name);
            }
        }
        result
    })
}

hook! {
    fn opendir(path: *const c_char) -> *mut DIR {
        locate(path, Read, |spot| real(spot.path))
    }

    fn scandir(path: *const c_char, list: *mut c_void, select: Opaque, compare: Opaque) -> c_int {
        locate(path, Read, |spot| real(spot.path, list, select, compare))
    }

    fn scandir64(path: *const c_char, list: *mut c_void, select: Opaque, compare: Opaque) -> c_int {
        locate(path, Read, |spot| real(spot.path, list, select, compare))
    }

    fn scandirat(dirfd: c_int, path: *const c_char, list: *mut c_void, select: Opaque, compare: Opaque) -> c_int {
        locate_at(dirfd, path, Read, |spot| real(spot.dirfd, spot.path, list, select, compare))
    }

    fn scandirat64(dirfd: c_int, path: *const c_char, list: *mut c_void, select: Opaque, compare: Opaque) -> c_int {
        locate_at(dirfd, path, Read, |spot| real(spot.dirfd, spot.path, list, select, compare))
    }

    fn glob(pattern: *const c_char, flags: c_int, error: Opaque, found: *mut glob_t) -> c_int {
        glob_with(pattern, flags, found, |pattern| real(pattern, flags, error, found))
    }

    fn glob64(pattern: *const c_char, flags: c_int, error: Opaque, found: *mut glob_t) -> c_int {
        glob_with(pattern, flags, found, |pattern| real(pattern, flags, error, found))
    }

    fn ftw(path: *const c_char, program: Option<Visit>, limit: c_int) -> c_int {
        walk(path, program, |path, program| real(path, program, limit))
    }

    fn ftw64(path: *const c_char, program: Option<Visit>, limit: c_int) -> c_int {
        walk(path, program, |path, program| real(path, program, limit))
    }

    fn nftw(path: *const c_char, program: Option<VisitDeep>, limit: c_int, flags: c_int) -> c_int {
        walk_deep(path, program, |path, program| real(path, program, limit, flags))
    }

    fn nftw64(path: *const c_char, program: Option<VisitDeep>, limit: c_int, flags: c_int) -> c_int {
        walk_deep(path, program, |path, program| real(path, program, limit, flags))
    }

    fn mkstemp(template: *mut c_char) -> c_int {
        make(template, real)
    }

    fn mkstemp64(template: *mut c_char) -> c_int {
        make(template, real)
    }

    fn mkostemp(template: *mut c_char, flags: c_int) -> c_int {
        make(template, |template| real(template, flags))
    }

    fn mkostemp64(template: *mut c_char, flags: c_int) -> c_int {
        make(template, |template| real(template, flags))
    }

    fn mkstemps(template: *mut c_char, suffix: c_int) -> c_int {
        make(template, |template| real(template, suffix))
    }

    fn mkstemps64(template: *mut c_char, suffix: c_int) -> c_int {
        make(template, |template| real(template, suffix))
    }

    fn mkostemps(template: *mut c_char, suffix: c_int, flags: c_int) -> c_int {
        make(template, |template| real(template, suffix, flags))
    }

    fn mkostemps64(template: *mut c_char, suffix: c_int, flags: c_int) -> c_int {
        make(template, |template| real(template, suffix, flags))
    }

    fn mkdtemp(template: *mut c_char) -> *mut c_char {
        let made = make(template, real);
        if made.is_null() { made } else { template }
    }
}
