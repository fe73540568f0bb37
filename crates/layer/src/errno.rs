//! The program's `errno`, and how a C function says that it failed.

use core::ffi::{c_char, c_int, c_long, c_void};

/// An error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) c_int);

/// Sets the program's `errno`.
pub(crate) fn set(errno: Errno) {
    // SAFETY: libc returns the calling thread's errno cell.
    unsafe { *libc::__errno_location() = errno.0 }
}

/// The program's `errno`.
pub(crate) fn get() -> Errno {
    // SAFETY: libc returns the calling thread's errno cell.
    Errno(unsafe { *libc::__errno_location() })
}

/// What a C function returns when it fails.
pub(crate) trait Failure {
    /// The failure value.
    const FAILURE: Self;
}

macro_rules! failure {
    ($($type:ty = $value:expr),* $(,)?) => { $(impl Failure for $type { const FAILURE: $type = $value; })* };
}

failure!(
    c_int = -1,
    c_long = -1,
    isize = -1,
    usize = 0,
    *mut c_void = core::ptr::null_mut(),
    *mut c_char = core::ptr::null_mut(),
    *mut libc::FILE = core::ptr::null_mut(),
    *mut libc::DIR = core::ptr::null_mut(),
    *mut libc::hostent = core::ptr::null_mut(),
    () = (),
);

/// Fails with `errno`.
pub(crate) fn fail<T: Failure>(errno: Errno) -> T {
    set(errno);
    T::FAILURE
}
