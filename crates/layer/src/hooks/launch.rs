//! Programs that start programs. libc's own callers of `execve` (`execvp`, `system`, `posix_spawn`, …) do not go through the
//! exported symbol, so each stands here.

use core::ffi::{c_char, c_int, c_void};

use libc::{FILE, mode_t, pid_t};
use mirrord_policy::files::Intent;

use crate::context::environ;
use crate::errno::{self, Failure, fail};
use crate::hook::hook;
use crate::hooks::open::intent;
use crate::ops::launch::{check, check_at, check_descriptor, check_search, with_environment};
use crate::place::locate;

type Strings = *const *const c_char;
/// File actions and attributes of `posix_spawn`, passed on as they are.
type Opaque = *const c_void;

fn own_environment() -> Strings {
    // SAFETY: read as `execv` itself reads it.
    unsafe { environ }
}

/// Runs `start`, which takes the environment from `environ`, with one that keeps the session. Only a program that has
/// cleaned its own environment notices: another thread's `setenv` during the call would be lost.
fn with_own_environment<R: Failure>(start: impl FnOnce() -> R) -> R {
    let before = own_environment();
    with_environment(before, |complete| {
        if core::ptr::eq(before, complete) {
            return start();
        }
        // SAFETY: the array lives until the call below has returned; it is put back right after.
        unsafe { environ = complete };
        let result = start();
        // SAFETY: as above.
        unsafe {
            if core::ptr::eq(environ, complete) {
                environ = before;
            }
        }
        result
    })
}

hook! {
    fn execve(path: *const c_char, arguments: Strings, environment: Strings) -> c_int {
        match check(path) {
            Ok(()) => with_environment(environment, |environment| real(path, arguments, environment)),
            Err(errno) => fail(errno),
        }
    }

    fn execv(path: *const c_char, arguments: Strings) -> c_int {
        // SAFETY: the same call with the environment that it implies.
        unsafe { execve(path, arguments, own_environment()) }
    }

    fn execvpe(file: *const c_char, arguments: Strings, environment: Strings) -> c_int {
        match check_search(file) {
            Ok(()) => with_environment(environment, |environment| real(file, arguments, environment)),
            Err(errno) => fail(errno),
        }
    }

    fn execvp(file: *const c_char, arguments: Strings) -> c_int {
        // SAFETY: the same call with the environment that it implies.
        unsafe { execvpe(file, arguments, own_environment()) }
    }

    fn fexecve(fd: c_int, arguments: Strings, environment: Strings) -> c_int {
        match check_descriptor(fd) {
            Ok(()) => with_environment(environment, |environment| real(fd, arguments, environment)),
            Err(errno) => fail(errno),
        }
    }

    fn execveat(
        dirfd: c_int, path: *const c_char, arguments: Strings, environment: Strings, flags: c_int
    ) -> c_int {
        match check_at(dirfd, path) {
            Ok(()) => with_environment(environment, |environment| real(dirfd, path, arguments, environment, flags)),
            Err(errno) => fail(errno),
        }
    }

    fn posix_spawn(
        pid: *mut pid_t, path: *const c_char, actions: Opaque, attributes: Opaque, arguments: Strings,
        environment: Strings
    ) -> c_int {
        match check(path) {
            Ok(()) => with_environment(environment, |environment| {
                real(pid, path, actions, attributes, arguments, environment)
            }),
            Err(errno) => errno.0,
        }
    }

    fn posix_spawnp(
        pid: *mut pid_t, file: *const c_char, actions: Opaque, attributes: Opaque, arguments: Strings,
        environment: Strings
    ) -> c_int {
        match check_search(file) {
            Ok(()) => with_environment(environment, |environment| {
                real(pid, file, actions, attributes, arguments, environment)
            }),
            Err(errno) => errno.0,
        }
    }

    fn posix_spawn_file_actions_addopen(
        actions: *mut c_void, fd: c_int, path: *const c_char, flags: c_int, mode: mode_t
    ) -> c_int {
        // The child opens it inside libc, so it gets its name now; libc keeps a copy.
        numbered(locate(path, intent(flags), |spot| real(actions, fd, spot.path, flags, mode)))
    }

    fn posix_spawn_file_actions_addchdir_np(actions: *mut c_void, path: *const c_char) -> c_int {
        numbered(locate(path, Intent::Read, |spot| real(actions, spot.path)))
    }

    fn system(command: *const c_char) -> c_int {
        with_own_environment(|| real(command))
    }

    fn popen(command: *const c_char, mode: *const c_char) -> *mut FILE {
        with_own_environment(|| real(command, mode))
    }
}

/// `posix_spawn` and its kin return their error number.
fn numbered(result: c_int) -> c_int {
    if result < 0 { errno::get().0 } else { result }
}

/// `execl`, its arguments gathered by the stub.
unsafe extern "C" fn list_path(path: *const c_char, arguments: Strings) -> c_int {
    // SAFETY: the program's arguments, which end with null.
    unsafe { execv(path, arguments) }
}

/// `execlp`, likewise.
unsafe extern "C" fn list_file(file: *const c_char, arguments: Strings) -> c_int {
    // SAFETY: the program's arguments, which end with null.
    unsafe { execvp(file, arguments) }
}

/// `execle`, likewise: the environment stands behind the null.
unsafe extern "C" fn list_environment(path: *const c_char, arguments: Strings) -> c_int {
    let mut end = arguments;
    // SAFETY: the arguments end with null and are followed by the environment, as `execle` asks for.
    unsafe {
        while !(*end).is_null() {
            end = end.add(1);
        }
        execve(path, arguments, (*end.add(1)).cast::<*const c_char>())
    }
}

/// A C-variadic function cannot be written in stable Rust. What these need of it is little: the register arguments are
/// stored right below those on the stack, which makes them one array.
macro_rules! variadic {
    ($($name:ident => $body:ident;)*) => { $(
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[unsafe(naked)]
        pub(crate) unsafe extern "C" fn $name(path: *const c_char, first: *const c_char) -> c_int {
            #[cfg(target_arch = "x86_64")]
            core::arch::naked_asm!(
                "pop rax",
                "push r9",
                "push r8",
                "push rcx",
                "push rdx",
                "push rsi",
                "mov rsi, rsp",
                "push rax",
                "call {body}",
                "pop rcx",
                "add rsp, 40",
                "push rcx",
                "ret",
                body = sym $body,
            );
            #[cfg(target_arch = "aarch64")]
            core::arch::naked_asm!(
                "sub sp, sp, #80",
                "stp x29, x30, [sp]",
                "mov x29, sp",
                "str x1, [sp, #24]",
                "stp x2, x3, [sp, #32]",
                "stp x4, x5, [sp, #48]",
                "stp x6, x7, [sp, #64]",
                "add x1, sp, #24",
                "bl {body}",
                "ldp x29, x30, [sp]",
                "add sp, sp, #80",
                "ret",
                body = sym $body,
            );
        }
    )* };
}

variadic! {
    execl => list_path;
    execlp => list_file;
    execle => list_environment;
}
