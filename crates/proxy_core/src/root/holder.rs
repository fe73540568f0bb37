//! The holder: a small child process whose mount namespace is the remote root. Called by [`super::Root::mount`].
//!
//! ```text
//!  proxy                              holder
//!  clone ───────────────────────────> own session, own namespaces, mount
//!        <── MOUNTED + /dev/fuse ──── chdir, pivot_root          (each asks the file system
//!  serves it from now on ───────────> …                           that the proxy now serves)
//!        <── READY ────────────────── waits for our end
//! ```
//!
//! A bare `clone` and not `fork`: the handlers registered for fork belong to libraries that the holder never uses. It has
//! no exit signal, so `wait` in the parent process, which reaps the program and its descendants, never meets it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg, socketpair,
};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::error::{RootError, Step};
use super::holder_child::{self, FAILED, MOST_REGIONS, MOUNTED, Plan, READY};

/// Setting up takes milliseconds; this is for a machine that is all but dead.
const SET_UP_LIMIT: Duration = Duration::from_secs(10);
/// After our end of the socket is closed, before it is killed.
const END_LIMIT: Duration = Duration::from_secs(1);
/// Smaller ones may be the variables of libc, which its system call wrappers look at.
const SMALLEST_REGION: usize = 128 * 1024;
/// Above the numbers that the holder moves its descriptors to.
const FIRST_FREE: RawFd = 10;

/// The running holder. Dropping it ends it; one that got ready then removes the session folder, while after a failure the
/// session goes on without a remote root and keeps its folder.
pub(super) struct Holder {
    pid: i32,
    pidfd: OwnedFd,
    socket: Option<OwnedFd>,
    is_ready: bool,
}

enum Message {
    Mounted(OwnedFd),
    Ready { shows_ids: bool },
}

/// Starts a holder with its file system on the session folder `folder`; returns it and the descriptor of `/dev/fuse`
/// that the file system must be served on before [`Holder::wait_ready`].
pub(super) fn start(folder: &Path) -> Result<(Holder, OwnedFd), RootError> {
    let holder = launch(folder, true)?;
    match holder.receive(Instant::now() + SET_UP_LIMIT)? {
        Message::Mounted(device) => Ok((holder, device)),
        Message::Ready { .. } => Err(RootError { step: Step::Lost, errno: libc::EPROTO }),
    }
}

/// Starts a holder without a file system: it removes the session folder when this process ends.
pub(super) fn keep(folder: &Path) -> Result<Holder, RootError> {
    let mut holder = launch(folder, false)?;
    holder.wait_ready()?;
    Ok(holder)
}

fn launch(folder: &Path, mounts: bool) -> Result<Holder, RootError> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(at(Step::Process))?;
    let (plan, descriptors) = prepare(folder, theirs, mounts)?;
    let (pid, pidfd) = clone_into(&plan).map_err(|cause| RootError::new(Step::Process, &cause))?;
    drop(descriptors);
    Ok(Holder { pid, pidfd, socket: Some(ours), is_ready: false })
}

// === impl Holder ===

impl Holder {
    /// Waits until the mount is the holder's root. Returns whether the pod's user and group ids can be shown.
    pub(super) fn wait_ready(&mut self) -> Result<bool, RootError> {
        match self.receive(Instant::now() + SET_UP_LIMIT)? {
            Message::Ready { shows_ids } => {
                self.is_ready = true;
                Ok(shows_ids)
            }
            Message::Mounted(_) => Err(RootError { step: Step::Lost, errno: libc::EPROTO }),
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    fn receive(&self, deadline: Instant) -> Result<Message, RootError> {
        let Some(socket) = &self.socket else {
            return Err(RootError { step: Step::Lost, errno: libc::EBADF });
        };
        if !is_ready_before(socket, deadline) {
            return Err(RootError { step: Step::Lost, errno: libc::ETIMEDOUT });
        }
        let mut bytes = [0u8; 12];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [io::IoSliceMut::new(&mut bytes)];
        let received =
            recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).map_err(at(Step::Lost))?.bytes;
        if received != bytes.len() {
            // The holder is gone without a word: it was killed.
            return Err(RootError { step: Step::Lost, errno: libc::ECONNRESET });
        }
        let device = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        match (word(0), device) {
            (MOUNTED, Some(device)) => Ok(Message::Mounted(device)),
            (READY, _) => Ok(Message::Ready { shows_ids: word(4) != 0 }),
            (FAILED, _) => Err(RootError { step: Step::from_number(word(4)), errno: word(8).cast_signed() }),
            _ => Err(RootError { step: Step::Lost, errno: libc::EPROTO }),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if self.is_ready {
            self.socket = None;
        }
        let patience = if self.is_ready { END_LIMIT } else { Duration::ZERO };
        if !is_ready_before(&self.pidfd, Instant::now() + patience) {
            // Already gone is as good as killed.
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
        // `__WALL`: a child without exit signal is not waited for otherwise.
        let mut status = 0;
        // SAFETY: `status` is local; the pid is ours until this very call reaps it.
        while unsafe { libc::waitpid(self.pid, &raw mut status, libc::__WALL) } < 0
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }
}

/// Opens and moves everything the holder needs. The descriptors live until it has been made.
fn prepare(folder: &Path, socket: OwnedFd, mounts: bool) -> Result<(Plan, [OwnedFd; 4]), RootError> {
    let folder = folder.canonicalize().map_err(|cause| RootError::new(Step::Folder, &cause))?;
    let no_name = || RootError { step: Step::Folder, errno: libc::EINVAL };
    let name = folder.file_name().ok_or_else(no_name)?;
    let parent = folder.parent().ok_or_else(no_name)?;
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent_fd = openat(rustix::fs::CWD, parent, directory, Mode::empty()).map_err(at(Step::Folder))?;
    let flags = directory | OFlags::NOFOLLOW;
    let folder_fd = openat(&parent_fd, name, flags, Mode::empty()).map_err(at(Step::Folder))?;
    let proxy = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).map_err(at(Step::Process))?;
    let mut descriptors = [socket, proxy, parent_fd, folder_fd];
    for descriptor in &mut descriptors {
        *descriptor = fcntl_dupfd_cloexec(&*descriptor, FIRST_FREE).map_err(at(Step::Process))?;
    }
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let c_string = |text: &std::ffi::OsStr| CString::new(text.as_bytes()).map_err(|_| no_name());
    let plan = Plan {
        socket: descriptors[0].as_raw_fd(),
        proxy: descriptors[1].as_raw_fd(),
        parent: descriptors[2].as_raw_fd(),
        folder: descriptors[3].as_raw_fd(),
        mount_point: c_string(folder.as_os_str())?,
        name: c_string(name)?,
        mounts,
        privileged: user.is_root(),
        user_map: format!("0 {} 1", user.as_raw()).into_bytes(),
        group_map: format!("0 {} 1", group.as_raw()).into_bytes(),
        unneeded: unneeded_memory(),
    };
    Ok((plan, descriptors))
}

/// The largest regions of private memory, without those that hold the calling thread's stack and its errno.
fn unneeded_memory() -> [(usize, usize); MOST_REGIONS] {
    let here = 0u8;
    // SAFETY: only the address is taken.
    let needed = [(&raw const here).addr(), unsafe { libc::__errno_location() }.addr()];
    // Without the list the holder is larger than it needs to be, no more.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let region = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        let is_ours = fields.next() == Some("rw-p") && matches!(fields.nth(3), None | Some("[heap]"));
        let is_needed = needed.iter().any(|address| (start..end).contains(address));
        (is_ours && !is_needed).then_some((start, end.checked_sub(start)?))
    };
    let mut regions: Vec<_> = maps.lines().filter_map(region).filter(|&(_, len)| len >= SMALLEST_REGION).collect();
    regions.sort_by_key(|&(_, len)| std::cmp::Reverse(len));
    let mut largest = [(0, 0); MOST_REGIONS];
    for (slot, region) in largest.iter_mut().zip(regions) {
        *slot = region;
    }
    largest
}

/// Makes the holder, with all signals blocked in it from its first instruction on.
fn clone_into(plan: &Plan) -> io::Result<(i32, OwnedFd)> {
    let mut pidfd: RawFd = -1;
    // SAFETY: a zeroed signal set is a valid argument to be filled. The child shares nothing with us but gets a copy of
    // this stack (null stack pointer), runs `holder_child::run` in it and never returns from there; that function's
    // contract (one thread, signals blocked, descriptors open) holds at this point. CLONE_PIDFD writes to our `pidfd`.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, &raw mut before);
        let pid = libc::syscall(libc::SYS_clone, libc::CLONE_PIDFD, 0usize, &raw mut pidfd, 0usize, 0usize);
        if pid == 0 {
            holder_child::run(plan);
        }
        let cause = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        if pid < 0 { Err(cause) } else { Ok((pid as i32, OwnedFd::from_raw_fd(pidfd))) }
    }
}

fn is_ready_before(descriptor: &impl AsFd, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(limit) = rustix::event::Timespec::try_from(left) else { return false };
        let mut polled = [PollFd::new(descriptor, PollFlags::IN)];
        match poll(&mut polled, Some(&limit)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

fn at(step: Step) -> impl Fn(rustix::io::Errno) -> RootError {
    move |errno| RootError { step, errno: errno.raw_os_error() }
}
