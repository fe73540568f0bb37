//! System calls without libc: every call that the layer makes for itself.
//!
//! A call through libc's symbols would arrive in our own hooks, touch the program's `errno`, or be a cancellation point
//! that the program does not expect. These touch nothing but the kernel and are therefore usable in signal handlers,
//! after `fork` and between `vfork` and `exec`. Only calls that exist on every architecture are used (`openat`, never
//! `open`).

use core::arch::asm;
use core::ffi::{CStr, c_char, c_int, c_long, c_void};

use crate::errno::Errno;

/// Result of a system call.
pub(crate) type Result<T> = core::result::Result<T, Errno>;

/// Makes system call `number`.
///
/// # Safety
/// The arguments must be what the call's manual page asks for; pointers must be valid for what the kernel does with them.
#[inline]
pub(crate) unsafe fn call(number: c_long, arguments: [usize; 6]) -> Result<usize> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the kernel's calling convention; the caller answers for the arguments.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    // SAFETY: the kernel's calling convention; the caller answers for the arguments.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d, in("x4") e,
            in("x5") f, options(nostack));
    }
    if (-4095..0).contains(&result) { Err(Errno(-(result as i32))) } else { Ok(result.cast_unsigned()) }
}

/// `call` for arguments of any width; missing ones are zero.
macro_rules! kernel {
    ($number:ident $(, $argument:expr)*) => {{
        let mut arguments = [0usize; 6];
        let given = [$($argument as usize),*];
        arguments[..given.len()].copy_from_slice(&given);
        // SAFETY: every pointer comes from a reference or slice that outlives the call, or from the program, whose
        // bad pointers the kernel answers with EFAULT.
        unsafe { call(libc::$number, arguments) }
    }};
}

/// True for an address where a program can have memory. The others (null and its neighbours, -1) are what programs pass
/// by mistake, and what the kernel answers with EFAULT; looking there ourselves would end the program instead.
#[inline]
pub(crate) fn may_hold<T>(address: *const T) -> bool {
    const LOWEST: usize = 4096;
    (address as usize).wrapping_sub(LOWEST) < isize::MAX.cast_unsigned() - LOWEST
}

/// A descriptor of ours; closed when dropped.
pub(crate) struct Descriptor(pub(crate) c_int);

impl Drop for Descriptor {
    fn drop(&mut self) {
        // A close that fails has closed all the same.
        let _ = kernel!(SYS_close, self.0);
    }
}

pub(crate) fn open(path: &CStr, flags: c_int) -> Result<Descriptor> {
    open_at(libc::AT_FDCWD, path.as_ptr(), flags | libc::O_CLOEXEC)
}

/// `openat` with a path that may be the program's own pointer.
pub(crate) fn open_at(dirfd: c_int, path: *const c_char, flags: c_int) -> Result<Descriptor> {
    kernel!(SYS_openat, dirfd, path, flags).map(|fd| Descriptor(fd as c_int))
}

pub(crate) fn pread(fd: &Descriptor, buffer: &mut [u8], offset: u64) -> Result<usize> {
    kernel!(SYS_pread64, fd.0, buffer.as_mut_ptr(), buffer.len(), offset)
}

pub(crate) fn write(fd: c_int, bytes: &[u8]) -> Result<usize> {
    kernel!(SYS_write, fd, bytes.as_ptr(), bytes.len())
}

pub(crate) fn fstat(fd: c_int, into: &mut libc::stat) -> Result<()> {
    kernel!(SYS_fstat, fd, core::ptr::from_mut(into)).map(drop)
}

/// `newfstatat`, for the generations of `stat` that libc only keeps for old programs.
pub(crate) fn stat_at(dirfd: c_int, path: *const c_char, into: *mut libc::stat, flags: c_int) -> Result<()> {
    kernel!(SYS_newfstatat, dirfd, path, into, flags).map(drop)
}

pub(crate) fn readlink_at(dirfd: c_int, path: *const c_char, buffer: &mut [u8]) -> Result<usize> {
    kernel!(SYS_readlinkat, dirfd, path, buffer.as_mut_ptr(), buffer.len())
}

/// True for a regular file that this process may execute.
pub(crate) fn is_executable_file(path: *const c_char) -> bool {
    // SAFETY: an all-zero `stat` is a value.
    let mut facts: libc::stat = unsafe { core::mem::zeroed() };
    stat_at(libc::AT_FDCWD, path, &raw mut facts, 0).is_ok()
        && facts.st_mode & libc::S_IFMT == libc::S_IFREG
        && kernel!(SYS_faccessat, libc::AT_FDCWD, path, libc::X_OK).is_ok()
}

/// The working directory's text as the kernel gives it, without the terminating zero.
pub(crate) fn getcwd(buffer: &mut [u8]) -> Result<usize> {
    kernel!(SYS_getcwd, buffer.as_mut_ptr(), buffer.len()).map(|len| len.saturating_sub(1))
}

/// Length of the attribute's value.
pub(crate) fn get_attribute(path: *const c_char, name: &CStr, value: &mut [u8], follow: bool) -> Result<usize> {
    if follow {
        kernel!(SYS_getxattr, path, name.as_ptr(), value.as_mut_ptr(), value.len())
    } else {
        kernel!(SYS_lgetxattr, path, name.as_ptr(), value.as_mut_ptr(), value.len())
    }
}

pub(crate) fn get_attribute_of(fd: c_int, name: &CStr, value: &mut [u8]) -> Result<usize> {
    kernel!(SYS_fgetxattr, fd, name.as_ptr(), value.as_mut_ptr(), value.len())
}

pub(crate) fn getpid() -> u32 {
    kernel!(SYS_getpid).unwrap_or_default() as u32
}

/// Effective user and group.
pub(crate) fn effective_ids() -> (u32, u32) {
    (kernel!(SYS_geteuid).unwrap_or_default() as u32, kernel!(SYS_getegid).unwrap_or_default() as u32)
}

/// A private, zeroed, writable mapping.
pub(crate) fn map_memory(len: usize) -> Result<*mut u8> {
    kernel!(
        SYS_mmap,
        0,
        len,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        usize::MAX,
        0
    )
    .map(|address| address as *mut u8)
}

pub(crate) fn map_file(fd: &Descriptor, len: usize) -> Result<&'static [u8]> {
    let address = kernel!(SYS_mmap, 0, len, libc::PROT_READ, libc::MAP_PRIVATE, fd.0, 0)?;
    // SAFETY: the kernel has just mapped `len` bytes there; the mapping is never undone and its file never rewritten in
    // place (the session writes the image before the program starts).
    Ok(unsafe { core::slice::from_raw_parts(address as *const u8, len) })
}

/// Undoes [`map_memory`].
///
/// # Safety
/// Nothing may use the mapping any more.
pub(crate) unsafe fn unmap(address: *mut u8, len: usize) {
    let _ = kernel!(SYS_munmap, address, len);
}

pub(crate) fn socket(domain: c_int, kind: c_int) -> Result<Descriptor> {
    kernel!(SYS_socket, domain, kind, 0).map(|fd| Descriptor(fd as c_int))
}

/// `connect`/`bind` take the encoded address as bytes.
pub(crate) fn connect(fd: c_int, address: &[u8]) -> Result<()> {
    kernel!(SYS_connect, fd, address.as_ptr(), address.len()).map(drop)
}

pub(crate) fn bind(fd: c_int, address: &[u8]) -> Result<()> {
    kernel!(SYS_bind, fd, address.as_ptr(), address.len()).map(drop)
}

pub(crate) fn shutdown(fd: c_int) {
    // Used to undo a `listen`; the error of the `listen` is the one to report.
    let _ = kernel!(SYS_shutdown, fd, libc::SHUT_RDWR);
}

pub(crate) fn send(fd: c_int, bytes: &[u8]) -> Result<usize> {
    kernel!(SYS_sendto, fd, bytes.as_ptr(), bytes.len(), libc::MSG_NOSIGNAL)
}

pub(crate) fn receive(fd: c_int, buffer: &mut [u8]) -> Result<usize> {
    kernel!(SYS_recvfrom, fd, buffer.as_mut_ptr(), buffer.len(), libc::MSG_DONTWAIT)
}

/// Waits until `fd` has something to read (or is closed at the other end); false after `limit_ms`.
pub(crate) fn wait_readable(fd: c_int, limit_ms: u64) -> Result<bool> {
    poll(fd, libc::POLLIN, limit_ms).map(|ready| ready != 0)
}

/// Which of `events` hold for `fd` within `limit_ms`.
pub(crate) fn poll(fd: c_int, events: i16, limit_ms: u64) -> Result<i16> {
    let mut entry = libc::pollfd { fd, events, revents: 0 };
    let limit = libc::timespec {
        tv_sec: i64::try_from(limit_ms / 1000).unwrap_or(i64::MAX),
        tv_nsec: (limit_ms % 1000 * 1_000_000) as c_long,
    };
    kernel!(SYS_ppoll, &raw mut entry, 1, &raw const limit, 0, 0)?;
    Ok(entry.revents)
}

/// Reads a socket address with `getsockname` (or `getpeername`) into `buffer`; returns its full length.
pub(crate) fn own_address(fd: c_int, buffer: &mut [u8]) -> Result<usize> {
    let mut len = buffer.len() as u32;
    kernel!(SYS_getsockname, fd, buffer.as_mut_ptr(), &raw mut len).map(|_| len as usize)
}

pub(crate) fn peer_address(fd: c_int, buffer: &mut [u8]) -> Result<usize> {
    let mut len = buffer.len() as u32;
    kernel!(SYS_getpeername, fd, buffer.as_mut_ptr(), &raw mut len).map(|_| len as usize)
}

pub(crate) fn socket_option(fd: c_int, level: c_int, name: c_int) -> Result<c_int> {
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as u32;
    kernel!(SYS_getsockopt, fd, level, name, &raw mut value, &raw mut len)?;
    Ok(value)
}

pub(crate) fn set_socket_option(fd: c_int, level: c_int, name: c_int, value: c_int) -> Result<()> {
    kernel!(SYS_setsockopt, fd, level, name, &raw const value, size_of::<c_int>()).map(drop)
}

/// `SO_SNDTIMEO` in milliseconds; 0 = none.
pub(crate) fn send_limit(fd: c_int) -> u32 {
    let mut value = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let mut len = size_of::<libc::timeval>() as u32;
    let known = kernel!(SYS_getsockopt, fd, libc::SOL_SOCKET, libc::SO_SNDTIMEO, &raw mut value, &raw mut len);
    let ms = value.tv_sec.saturating_mul(1000).saturating_add(value.tv_usec.div_euclid(1000));
    if known.is_err() { 0 } else { u32::try_from(ms).unwrap_or(u32::MAX) }
}

pub(crate) fn set_send_limit(fd: c_int, seconds: i64) -> Result<()> {
    let value = libc::timeval { tv_sec: seconds, tv_usec: 0 };
    kernel!(SYS_setsockopt, fd, libc::SOL_SOCKET, libc::SO_SNDTIMEO, &raw const value, size_of::<libc::timeval>())
        .map(drop)
}

pub(crate) fn fcntl(fd: c_int, command: c_int, argument: c_int) -> Result<c_int> {
    kernel!(SYS_fcntl, fd, command, argument).map(|value| value as c_int)
}

/// Milliseconds of the monotonic clock.
pub(crate) fn now_ms() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    if kernel!(SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut now).is_err() {
        return 0;
    }
    now.tv_sec.cast_unsigned() * 1000 + now.tv_nsec.cast_unsigned() / 1_000_000
}

/// The kernel's `struct sigaction`; only what is looked at has a name.
#[repr(C)]
struct KernelAction {
    handler: usize,
    flags: usize,
    rest: [usize; 2],
}

/// True when a handler without `SA_RESTART` is installed for any signal.
pub(crate) fn has_interrupting_handler() -> bool {
    (1..=64).any(|signal: c_int| {
        let mut action = KernelAction { handler: 0, flags: 0, rest: [0; 2] };
        kernel!(SYS_rt_sigaction, signal, core::ptr::null::<c_void>(), &raw mut action, 8).is_ok()
            && action.handler > libc::SIG_IGN
            && action.flags & libc::SA_RESTART as usize == 0
    })
}
