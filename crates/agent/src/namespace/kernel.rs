//! The agent's only unsafe code: kernel calls that no safe wrapper offers. Each is one fact; nothing here decides.
//!
//! Called by `main` (before any thread exists), `namespace`, `namespace::privileges` and the makers of sockets.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Takes a variable out of this process's environment, and out of `/proc/self/environ`, where every process with our
/// user id could read it. Only `main` may call it, before it starts a thread.
pub fn take_variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    let key = CString::new(name).ok()?;
    // SAFETY: no other thread exists, so nobody changes or reads the environment meanwhile; `getenv` returns null or a
    // NUL-terminated string in writable memory of this process, of which exactly its own bytes are overwritten.
    unsafe {
        let text = libc::getenv(key.as_ptr());
        if !text.is_null() {
            std::ptr::write_bytes(text, 0, libc::strlen(text));
        }
        std::env::remove_var(name);
    }
    value
}

/// Two arenas instead of eight per core: each costs memory that an idle agent should not hold. Buffers of a busy stream
/// (64 KiB) are kept for the next one instead of being given back to the kernel and faulted in again.
pub fn tune_memory() {
    const KEPT: i32 = 4 << 20;
    #[cfg(target_env = "gnu")]
    for (option, value) in [(libc::M_ARENA_MAX, 2), (libc::M_TRIM_THRESHOLD, KEPT), (libc::M_MMAP_THRESHOLD, KEPT)] {
        // SAFETY: `mallopt` only stores the number.
        let _ = unsafe { libc::mallopt(option, value) };
    }
}

/// The descriptor `fd`, inherited from the parent process.
pub fn inherited(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD only looks at the descriptor table.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and `main` calls this once, before it opens anything: nobody else in this process owns it.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC)?;
    Ok(owned)
}

/// Lets the event loop say when `fd` becomes readable. Needs a tokio context.
pub fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` keeps its descriptor open and gives the same number for as long as it lives, and the
    // `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// Lets the calling thread, and no other, reach files as `uid` and `gid`.
pub fn set_file_identity(uid: u32, gid: u32) -> io::Result<()> {
    const NOBODY: u32 = u32::MAX;
    // SAFETY: both calls change the calling thread's credentials only and report nothing but the previous id; asking
    // with an invalid id changes nothing and tells what is in force.
    let (uid_now, gid_now) = unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
        (libc::setfsuid(NOBODY), libc::setfsgid(NOBODY))
    };
    if uid_now.cast_unsigned() == uid && gid_now.cast_unsigned() == gid {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }
}

/// Marks what a socket sends, so that the redirect's rules let it pass.
pub fn set_mark(socket: impl AsFd, mark: u32) -> io::Result<()> {
    // SAFETY: the kernel reads four bytes from a live `u32`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MARK,
            (&raw const mark).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
