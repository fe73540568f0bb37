//! `syscall()`: some runtimes (Node's libuv) make their calls by number.
//!
//! The exported function is a stub in assembly: numbers that name nothing go straight to the kernel, from the same depth
//! of the stack as in libc, since `vfork` and `clone` would not survive a frame of ours. The others arrive in
//! [`dispatch`], which is the hook of the same name.

use core::ffi::{c_char, c_int, c_long, c_uint};

use libc::mode_t;
use mirrord_policy::files::Intent::Read;

use crate::errno::{Errno, fail};
use crate::hooks::socket::{bind_with, connect_with, failed, listen_with, raw_address, raw_room, with_own, with_peer};
use crate::hooks::{change, cwd, launch, link, open, stat};
use crate::ops::connect::Course;
use crate::place::locate_at;
use crate::sys;

/// Highest number (exclusive) that can be ours.
const NUMBERS: usize = 448;

/// For each number whether it is ours.
static OURS: [bool; NUMBERS] = {
    let mut table = [false; NUMBERS];
    let mut index = 0;
    while index < LISTED.len() {
        table[LISTED[index] as usize] = true;
        index += 1;
    }
    table
};

/// Numbers that every architecture has.
const LISTED: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_getcwd,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_execve,
    libc::SYS_execveat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
];

unsafe extern "C" fn fail_with(result: c_long) -> c_long {
    fail(Errno(-result as c_int))
}

#[cfg_attr(not(test), unsafe(no_mangle))]
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    #[cfg(target_arch = "x86_64")]
    core::arch::naked_asm!(
        "cmp rdi, {numbers}",
        "jae 2f",
        "lea rax, [rip + {ours}]",
        "cmp byte ptr [rax + rdi], 0",
        "jne {dispatch}",
        "2:",
        "mov rax, rdi",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "mov r10, r8",
        "mov r8, r9",
        "mov r9, [rsp + 8]",
        "syscall",
        "cmp rax, -4095",
        "jae 3f",
        "ret",
        "3:",
        "mov rdi, rax",
        "jmp {fail_with}",
        numbers = const NUMBERS,
        ours = sym OURS,
        dispatch = sym dispatch,
        fail_with = sym fail_with,
    );
    #[cfg(target_arch = "aarch64")]
    core::arch::naked_asm!(
        "cmp x0, #{numbers}",
        "b.hs 2f",
        "adrp x9, {ours}",
        "add x9, x9, :lo12:{ours}",
        "ldrb w9, [x9, x0]",
        "cbz w9, 2f",
        "b {dispatch}",
        "2:",
        "mov x8, x0",
        "mov x0, x1",
        "mov x1, x2",
        "mov x2, x3",
        "mov x3, x4",
        "mov x4, x5",
        "mov x5, x6",
        "svc 0",
        "cmn x0, #4095",
        "b.hs 3f",
        "ret",
        "3:",
        "b {fail_with}",
        numbers = const NUMBERS,
        ours = sym OURS,
        dispatch = sym dispatch,
        fail_with = sym fail_with,
    );
}

/// Makes the call as it is.
fn raw(number: c_long, arguments: [c_long; 6]) -> Result<usize, Errno> {
    // SAFETY: the program's own call with the program's own arguments.
    unsafe { sys::call(number, arguments.map(|argument| argument as usize)) }
}

unsafe extern "C" fn dispatch(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    let (fd, all) = (a as c_int, [a, b, c, d, e, f]);
    let kernel = || failed(raw(number, all));
    let (path, path_at) = (a as *const c_char, b as *const c_char);
    // SAFETY: the hooks have the contracts of the system calls, whose arguments these are.
    let result = unsafe {
        match number {
            libc::SYS_openat => open::openat(fd, path_at, c as c_int, d as mode_t),
            libc::SYS_newfstatat => stat::fstatat(fd, path_at, c as *mut libc::stat, d as c_int),
            libc::SYS_fstat => stat::fstat(fd, b as *mut libc::stat),
            libc::SYS_statx => stat::statx(fd, path_at, c as c_int, d as c_uint, e as *mut libc::statx),
            libc::SYS_faccessat => stat::faccessat(fd, path_at, c as c_int, 0),
            libc::SYS_faccessat2 => stat::faccessat(fd, path_at, c as c_int, d as c_int),
            libc::SYS_readlinkat => return link::readlinkat(fd, path_at, c as *mut c_char, d as usize) as c_long,
            libc::SYS_mkdirat => change::mkdirat(fd, path_at, c as mode_t),
            libc::SYS_unlinkat => change::unlinkat(fd, path_at, c as c_int),
            libc::SYS_renameat2 => change::renameat2(fd, path_at, c as c_int, d as *const c_char, e as u32),
            libc::SYS_chdir => cwd::chdir(path),
            libc::SYS_fchdir => cwd::fchdir(fd),
            libc::SYS_getcwd => return getcwd(a as *mut c_char, b as usize),
            libc::SYS_listen => listen_with(fd, kernel),
            libc::SYS_execve => launch::execve(path, b as Strings, c as Strings),
            libc::SYS_execveat => launch::execveat(fd, path_at, c as Strings, d as Strings, e as c_int),
            libc::SYS_openat2 => openat2(fd, path_at, all),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => open::open(path, b as c_int, c as mode_t),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_stat => stat::stat(path, b as *mut libc::stat),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_lstat => stat::lstat(path, b as *mut libc::stat),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_access => stat::access(path, b as c_int),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_readlink => return link::readlink(path, b as *mut c_char, c as usize) as c_long,
            _ => sockets(number, all),
        }
    };
    c_long::from(result)
}

type Strings = *const *const c_char;

fn sockets(number: c_long, all: [c_long; 6]) -> c_int {
    let [a, b, c, ..] = all;
    let fd = a as c_int;
    let kernel = || failed(raw(number, all));
    let moved = |address: &[u8]| failed(raw(number, [a, address.as_ptr() as c_long, address.len() as c_long, 0, 0, 0]));
    let (address, len) = (b as *mut libc::sockaddr, c as *mut libc::socklen_t);
    match number {
        libc::SYS_connect => match connect_with(fd, raw_address(b as usize, c as usize), moved) {
            Course::Native => kernel(),
            Course::Done(result) => result,
        },
        libc::SYS_bind => bind_with(fd, raw_address(b as usize, c as usize), moved).unwrap_or_else(kernel),
        libc::SYS_accept | libc::SYS_accept4 => {
            let before = raw_room(c as usize);
            let accepted = kernel();
            with_peer(accepted, accepted, before, address, len)
        }
        libc::SYS_getpeername => {
            let before = raw_room(c as usize);
            with_peer(kernel(), fd, before, address, len)
        }
        libc::SYS_getsockname => {
            let before = raw_room(c as usize);
            with_own(kernel(), fd, before, address, len)
        }
        _ => kernel(),
    }
}

/// The system call returns a length, libc's function a pointer.
fn getcwd(buffer: *mut c_char, size: usize) -> c_long {
    if buffer.is_null() {
        return c_long::from(failed(raw(libc::SYS_getcwd, [0, size as c_long, 0, 0, 0, 0])));
    }
    // SAFETY: the program's buffer of `size` bytes; on success it holds a C string.
    unsafe {
        if cwd::getcwd(buffer, size).is_null() {
            return -1;
        }
        core::ffi::CStr::from_ptr(buffer).count_bytes() as c_long + 1
    }
}

/// `openat2` has its flags in a structure; a restriction such as `RESOLVE_BENEATH` goes along unchanged.
fn openat2(dirfd: c_int, path: *const c_char, all: [c_long; 6]) -> c_int {
    let how = all[2] as *const u64;
    // SAFETY: the structure begins with the flags; a null pointer is the kernel's to refuse.
    let flags = if how.is_null() { 0 } else { unsafe { *how } };
    let intent = if how.is_null() { Read } else { open::intent(flags as c_int) };
    locate_at(dirfd, path, intent, |spot| {
        failed(raw(libc::SYS_openat2, [c_long::from(spot.dirfd), spot.path as c_long, all[2], all[3], 0, 0]))
    })
}
