//! Whether this process is in a session, and what the session says. Set once, never changed, never locked.
//!
//! Started by the constructor, or by the first hook if another library's constructor is earlier. Until it is started, and
//! for good when it cannot be, every hook is libc's function.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use mirrord_policy::{Facts, Image, process};
use mirrord_protocol::env;
use mirrord_protocol::layer::{Answer, Question};

use crate::proxy_link::{Door, Patience};
use crate::{log, sys};

const NEW: u8 = 0;
const STARTING: u8 = 1;
const ACTIVE: u8 = 2;
const INERT: u8 = 3;

static STATE: AtomicU8 = AtomicU8::new(NEW);
static CONTEXT: Cell = Cell(UnsafeCell::new(MaybeUninit::uninit()));

/// True while the working directory is the one of the start. Cleared for good by the first `chdir`: a directory that is
/// changed back is not worth a lock.
static CWD_IS_KNOWN: AtomicBool = AtomicBool::new(false);

struct Cell(UnsafeCell<MaybeUninit<Context>>);

// SAFETY: written once by the thread that took the state from NEW to STARTING; read only after ACTIVE was stored with
// release ordering.
unsafe impl Sync for Cell {}

/// The session, as this process knows it.
pub(crate) struct Context {
    pub(crate) image: Image<'static>,
    pub(crate) facts: Facts<'static>,
    pub(crate) door: Door,
    /// `MIRRORD_SESSION=…` and its zero, for the environment of children.
    session: [u8; 160],
    session_len: usize,
    cwd: [u8; 512],
    cwd_len: usize,
}

impl Context {
    /// The value of `MIRRORD_SESSION`.
    pub(crate) fn session(&self) -> &[u8] {
        &self.session[..self.session_len]
    }

    /// The working directory, when it is known without a system call; it is then one of this machine.
    #[inline]
    pub(crate) fn known_cwd(&self) -> Option<&[u8]> {
        CWD_IS_KNOWN.load(Ordering::Relaxed).then(|| &self.cwd[..self.cwd_len])
    }
}

/// The session, or `None` when hooks are to do nothing.
#[inline]
pub(crate) fn active() -> Option<&'static Context> {
    match STATE.load(Ordering::Acquire) {
        // SAFETY: ACTIVE is stored after the context was written.
        ACTIVE => Some(unsafe { (*CONTEXT.0.get()).assume_init_ref() }),
        NEW => start(),
        _ => None,
    }
}

/// The program changes its working directory.
pub(crate) fn forget_cwd() {
    CWD_IS_KNOWN.store(false, Ordering::Relaxed);
}

#[cold]
fn start() -> Option<&'static Context> {
    STATE.compare_exchange(NEW, STARTING, Ordering::Acquire, Ordering::Relaxed).ok()?;
    match join() {
        Ok(context) => {
            // SAFETY: the exchange above let only this thread through, and nobody reads before ACTIVE.
            unsafe { (*CONTEXT.0.get()).write(context) };
            STATE.store(ACTIVE, Ordering::Release);
            active()
        }
        Err(Outside::Skipped) => {
            STATE.store(INERT, Ordering::Release);
            None
        }
        Err(Outside::Because(reason)) => {
            STATE.store(INERT, Ordering::Release);
            log::complain(&[b"this process runs outside the session: ", reason.as_bytes()]);
            None
        }
    }
}

/// Why a process is not in the session.
enum Outside {
    /// The configuration leaves this program alone.
    Skipped,
    /// Something failed.
    Because(&'static str),
}

fn join() -> Result<Context, Outside> {
    let folder = variable(env::SESSION).ok_or(Outside::Because("`MIRRORD_SESSION` is not set"))?;
    let image = read_policy(folder)?;
    let facts = image.facts();
    let mut program = [0; 1024];
    let len = sys::readlink_at(libc::AT_FDCWD, c"/proc/self/exe".as_ptr(), &mut program).unwrap_or(0);
    let program = &program[..len];
    if process::skipped(&image, program) {
        return Err(Outside::Skipped);
    }
    let door = Door::new(folder).ok_or(Outside::Because("the session folder's path is too long"))?;
    let mut reply = [0; 64];
    let hello = Question::Hello { pid: sys::getpid(), program };
    match door.ask(hello, Patience::Uninterrupted(30_000), &mut reply) {
        Ok(Answer::Done) => {}
        Ok(_) => return Err(Outside::Because("the session's proxy is of another version")),
        Err(_) => return Err(Outside::Because("the session's proxy does not answer (has the session ended?)")),
    }
    let mut context =
        Context { image, facts, door, session: [0; 160], session_len: folder.len(), cwd: [0; 512], cwd_len: 0 };
    // The door has checked the folder's length.
    context.session[..folder.len()].copy_from_slice(folder);
    // A folder of the remote tree is looked at anew each time.
    if let Ok(len) = sys::getcwd(&mut context.cwd)
        && context.cwd.first() == Some(&b'/')
        && (facts.remote_root.is_empty() || !context.cwd.starts_with(facts.remote_root))
    {
        context.cwd_len = len;
        CWD_IS_KNOWN.store(true, Ordering::Relaxed);
    }
    Ok(context)
}

fn read_policy(folder: &[u8]) -> Result<Image<'static>, Outside> {
    let unreadable = Outside::Because("the session's policy cannot be read");
    let mut path = [0u8; 256];
    let parts = [folder, b"/", env::POLICY_NAME.as_bytes()];
    if parts.iter().map(|part| part.len()).sum::<usize>() >= path.len() {
        return Err(unreadable);
    }
    let mut len = 0;
    for part in parts {
        path[len..len + part.len()].copy_from_slice(part);
        len += part.len();
    }
    let Ok(path) = CStr::from_bytes_until_nul(&path) else { return Err(unreadable) };
    let Ok(file) = sys::open(path, libc::O_RDONLY) else { return Err(unreadable) };
    // SAFETY: an all-zero `stat` is a value.
    let mut facts: libc::stat = unsafe { core::mem::zeroed() };
    let size = sys::fstat(file.0, &mut facts).map_or(0, |()| usize::try_from(facts.st_size).unwrap_or(0));
    let Ok(bytes) = sys::map_file(&file, size) else { return Err(unreadable) };
    Image::open(bytes).map_err(|_| Outside::Because("the session's policy is of another version"))
}

unsafe extern "C" {
    /// The program's environment.
    pub(crate) static mut environ: *const *const c_char;
}

/// Value of an environment variable of this process.
pub(crate) fn variable(name: &str) -> Option<&'static [u8]> {
    // SAFETY: libc keeps `environ` null or a null-terminated array of C strings; it is read before the program's
    // threads start, or by a call that races with `setenv` no more than `getenv` does.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            let text = CStr::from_ptr(*entry).to_bytes();
            if let Some(value) = text.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) {
                return Some(value);
            }
            entry = entry.add(1);
        }
        None
    }
}
