//! What the holder process does, from its first instruction to its end. Called by [`super::holder`] only.
//!
//! The holder is a copy of a process with many threads, made by the bare system call: any lock may be held by a thread
//! that does not exist here. So this file allocates nothing, takes no lock, cannot panic, and calls nothing but thin
//! system call wrappers; every buffer comes ready in [`Plan`]. It never returns into the code that it was copied from.
//!
//! All signals stay blocked for its whole life: a Ctrl-C, a hang-up or a stop from the terminal must not end the remote
//! root before the program ends. Only SIGKILL does, and the end of the proxy:
//!
//! ```text
//!   descriptor 0  socket to the proxy       EOF  ┐
//!   descriptor 1  pidfd of the proxy     readable┴─> remove the session folder, exit
//!   descriptor 2  folder that holds the session folder
//!   descriptor 3  session folder
//!   descriptor 4  /dev/fuse, until it is handed over
//! ```
//!
//! The pidfd is there because a forked sibling of the proxy may still have a copy of its end of the socket.

use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

use super::error::Step;

/// Everything the holder needs, prepared before it exists.
pub(super) struct Plan {
    /// The holder's end of the socket pair; at least 10, as the three below.
    pub socket: RawFd,
    /// pidfd of the proxy.
    pub proxy: RawFd,
    /// Folder that holds the session folder.
    pub parent: RawFd,
    /// The session folder.
    pub folder: RawFd,
    /// Absolute path of the session folder: where the file system is mounted, seen by nobody else.
    pub mount_point: CString,
    /// Last component of that path.
    pub name: CString,
    /// Whether there is a file system to hold; else this process only removes the session folder in the end.
    pub mounts: bool,
    /// Whether to try without a user namespace first.
    pub privileged: bool,
    /// `0 UID 1` and `0 GID 1`.
    pub user_map: Vec<u8>,
    pub group_map: Vec<u8>,
    /// Start and length of memory that the holder has no use for.
    pub unneeded: [(usize, usize); MOST_REGIONS],
}

/// The largest regions make up nearly all of it.
pub(super) const MOST_REGIONS: usize = 64;

/// Kinds of messages to the proxy; each message is three native `u32`: kind, then step and errno of a failure, or
/// whether the ids of the pod can be shown.
pub(super) const MOUNTED: u32 = 1;
pub(super) const READY: u32 = 2;
pub(super) const FAILED: u32 = 3;

const SOCKET: RawFd = 0;
const PROXY: RawFd = 1;
const PARENT: RawFd = 2;
const FOLDER: RawFd = 3;
const DEVICE: RawFd = 4;

/// Without `default_permissions`: the pod's kernel decides who may do what, not ours.
const OPTIONS: &CStr = c"fd=4,rootmode=40000,user_id=0,group_id=0";
/// As root other users' programs may be run; in a user namespace the kernel admits its owner only.
const OPTIONS_PRIVILEGED: &CStr = c"fd=4,rootmode=40000,user_id=0,group_id=0,allow_other";

struct Failure(Step, i32);

/// Runs the holder. Never returns.
///
/// # Safety
/// To be called in a fresh copy of the process with one thread and all signals blocked, with `plan`'s descriptors open.
pub(super) unsafe fn run(plan: &Plan) -> ! {
    // SAFETY: the caller's contract is that of `set_up`; `clean_up` and `_exit` only touch what `set_up` arranged.
    unsafe {
        match set_up(plan) {
            Ok(()) => {}
            Err(Failure(step, errno)) => {
                if send(FAILED, step as u32, errno.unsigned_abs(), -1).is_ok() {
                    libc::_exit(1);
                }
            }
        }
        let mut name = [0; MOST_NAME];
        copy_name(&plan.name, &mut name);
        // After this, `plan` and what it points to is gone; `name` is on our stack.
        give_memory_back(plan.unneeded);
        wait_for_end();
        clean_up(&name);
        libc::_exit(0)
    }
}

/// `NAME_MAX` and its NUL.
const MOST_NAME: usize = 256;

fn copy_name(from: &CStr, to: &mut [libc::c_char; MOST_NAME]) {
    // The last byte stays NUL, whatever the length.
    for (to, from) in to[..MOST_NAME - 1].iter_mut().zip(from.to_bytes()) {
        *to = *from as libc::c_char;
    }
}

/// What this copy of the proxy holds would otherwise stay in memory twice as soon as the proxy changes it.
unsafe fn give_memory_back(regions: [(usize, usize); MOST_REGIONS]) {
    for (start, len) in regions {
        if len > 0 {
            // SAFETY: private memory of this process; nothing that runs from here on refers to it (the list leaves out
            // this stack and the thread-local errno). Failure leaves it as it is.
            unsafe { libc::madvise(start as *mut libc::c_void, len, libc::MADV_DONTNEED) };
        }
    }
}

unsafe fn set_up(plan: &Plan) -> Result<(), Failure> {
    // SAFETY: system calls on descriptors of this process and on strings that live in `plan`.
    unsafe {
        arrange_descriptors(plan)?;
        check(Step::Session, libc::setsid())?;
        libc::prctl(libc::PR_SET_NAME, c"mirrord-root".as_ptr());
        if !plan.mounts {
            return send(READY, 0, 0, -1).map_err(|errno| Failure(Step::Handover, errno));
        }
        let privileged = enter_namespaces(plan)?;
        // `/proc/<holder>/root` is open to the same user only while the process counts as dumpable.
        libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
        let none = c"none".as_ptr();
        let private = libc::MS_REC | libc::MS_PRIVATE;
        check(Step::Propagation, libc::mount(none, c"/".as_ptr(), none, private, std::ptr::null()))?;
        mount(plan, privileged)?;
        send(MOUNTED, 0, 0, DEVICE).map_err(|errno| Failure(Step::Handover, errno))?;
        // From here on the proxy alone keeps the file system alive: its death aborts every request in it.
        libc::close(DEVICE);
        become_root(plan)?;
        send(READY, u32::from(privileged), 0, -1).map_err(|errno| Failure(Step::Handover, errno))
    }
}

unsafe fn arrange_descriptors(plan: &Plan) -> Result<(), Failure> {
    let wanted = [(plan.socket, SOCKET), (plan.proxy, PROXY), (plan.parent, PARENT), (plan.folder, FOLDER)];
    // SAFETY: the sources are at least 10, so no `dup2` closes one that is still to come.
    unsafe {
        for (from, to) in wanted {
            check(Step::Process, libc::dup2(from, to))?;
        }
        if libc::syscall(libc::SYS_close_range, DEVICE, u32::MAX, 0) < 0 {
            // Before Linux 5.9. The limit bounds the numbers that can be in use.
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
            for descriptor in DEVICE..limit.rlim_cur.min(1 << 20) as RawFd {
                libc::close(descriptor);
            }
        }
    }
    Ok(())
}

/// Returns whether this is the initial user namespace still, so that all ids can be shown.
unsafe fn enter_namespaces(plan: &Plan) -> Result<bool, Failure> {
    // SAFETY: plain system calls.
    unsafe {
        if plan.privileged && libc::unshare(libc::CLONE_NEWNS) == 0 {
            return Ok(true);
        }
        check(Step::Namespace, libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS))?;
        write_file(c"/proc/self/setgroups", b"deny")?;
        write_file(c"/proc/self/uid_map", &plan.user_map)?;
        write_file(c"/proc/self/gid_map", &plan.group_map)?;
        Ok(false)
    }
}

unsafe fn mount(plan: &Plan, privileged: bool) -> Result<(), Failure> {
    // SAFETY: the strings live longer than the calls. `open` takes the lowest free number, which is DEVICE since
    // everything above FOLDER is closed.
    unsafe {
        check(Step::Device, libc::open(c"/dev/fuse".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC))?;
        // Read-only: the kernel itself answers EROFS to every modification.
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_RDONLY;
        let options = if privileged { OPTIONS_PRIVILEGED } else { OPTIONS };
        let target = plan.mount_point.as_ptr();
        check(
            Step::Mount,
            libc::mount(c"mirrord".as_ptr(), target, c"fuse.mirrord".as_ptr(), flags, options.as_ptr().cast()),
        )
    }
}

/// Makes the mount the root of the namespace, so that `..` at the remote root stays there for every visitor.
unsafe fn become_root(plan: &Plan) -> Result<(), Failure> {
    // SAFETY: plain system calls with constant strings.
    unsafe {
        check(Step::Enter, libc::chdir(plan.mount_point.as_ptr()))?;
        let dot = c".".as_ptr();
        if libc::syscall(libc::SYS_pivot_root, dot, dot) == 0 {
            return check(Step::Detach, libc::umount2(dot, libc::MNT_DETACH));
        }
        // The initial ramfs cannot be pivoted away: cover it instead, as switch_root does.
        let none = std::ptr::null();
        check(Step::Pivot, libc::mount(dot, c"/".as_ptr(), none, libc::MS_MOVE, none.cast()))?;
        check(Step::Pivot, libc::chroot(dot))
    }
}

unsafe fn wait_for_end() {
    let mut ends = [SOCKET, PROXY].map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    let mut message = [0u8; 16];
    loop {
        // SAFETY: `ends` and `message` are local and their lengths are given.
        let is_over = unsafe {
            libc::poll(ends.as_mut_ptr(), 2, -1) < 0
                || ends[1].revents != 0
                || libc::recv(SOCKET, message.as_mut_ptr().cast(), message.len(), libc::MSG_DONTWAIT) == 0
        };
        if is_over {
            return;
        }
    }
}

/// Removes what a session leaves in its folder, and nothing else. The descriptors are from the namespace outside.
unsafe fn clean_up(name: &[libc::c_char; MOST_NAME]) {
    // SAFETY: plain system calls on own descriptors and living strings. What is already gone is no error.
    unsafe {
        libc::unlinkat(FOLDER, c"proxy.sock".as_ptr(), 0);
        libc::unlinkat(FOLDER, c"policy".as_ptr(), 0);
        libc::unlinkat(PARENT, name.as_ptr(), libc::AT_REMOVEDIR);
    }
}

unsafe fn write_file(path: &CStr, text: &[u8]) -> Result<(), Failure> {
    // SAFETY: `path` and `text` are alive; the descriptor is closed here.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(Step::UserMap, file)?;
        let written = libc::write(file, text.as_ptr().cast(), text.len());
        let outcome = check(Step::UserMap, if written < 0 { -1 } else { 0 });
        libc::close(file);
        outcome
    }
}

/// Sends one message, with a descriptor when `descriptor` is not negative.
unsafe fn send(kind: u32, first: u32, second: u32, descriptor: RawFd) -> Result<(), i32> {
    let words = [kind, first, second];
    // `u64` for the alignment that a control message needs.
    let mut control = [0u64; 4];
    // SAFETY: a zeroed `msghdr` is valid and empty; all pointers are to locals that outlive the call; `control` has room
    // for CMSG_SPACE(4) = 24 bytes, so CMSG_FIRSTHDR is not null.
    unsafe {
        let mut part = libc::iovec { iov_base: words.as_ptr().cast_mut().cast(), iov_len: size_of_val(&words) };
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if descriptor >= 0 {
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(4) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(4) as _;
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(descriptor);
        }
        if libc::sendmsg(SOCKET, &raw const message, libc::MSG_NOSIGNAL) < 0 { Err(errno()) } else { Ok(()) }
    }
}

fn check(step: Step, result: libc::c_int) -> Result<(), Failure> {
    if result < 0 { Err(Failure(step, errno())) } else { Ok(()) }
}

fn errno() -> i32 {
    // SAFETY: the thread-local errno of the one thread that exists here.
    unsafe { *libc::__errno_location() }
}
