//! The host's name: the target's.

use core::ffi::{c_char, c_int};

use libc::utsname;

use crate::context;
use crate::errno::{Errno, fail};
use crate::hook::hook;

fn remote_name() -> Option<&'static [u8]> {
    context::active().map(|context| context.facts.hostname).filter(|name| !name.is_empty())
}

/// As glibc: a name that does not fit is cut, without its zero, and reported.
fn copy(name: &[u8], buffer: *mut c_char, size: usize) -> c_int {
    let count = name.len().min(size);
    // SAFETY: the program says that its buffer has `size` bytes.
    unsafe {
        core::ptr::copy_nonoverlapping(name.as_ptr(), buffer.cast(), count);
        if count == size {
            return fail(Errno(libc::ENAMETOOLONG));
        }
        *buffer.add(count) = 0;
    }
    0
}

hook! {
    fn gethostname(buffer: *mut c_char, size: usize) -> c_int {
        match remote_name() {
            Some(name) if !buffer.is_null() => copy(name, buffer, size),
            _ => real(buffer, size),
        }
    }

    fn __gethostname_chk(buffer: *mut c_char, size: usize, room: usize) -> c_int {
        match remote_name() {
            Some(name) if !buffer.is_null() && size <= room => copy(name, buffer, size),
            _ => real(buffer, size, room),
        }
    }

    fn uname(into: *mut utsname) -> c_int {
        let result = real(into);
        if let (0, Some(name)) = (result, remote_name()) {
            // SAFETY: the call succeeded, so the program's structure is writable.
            let field = unsafe { &mut (*into).nodename };
            let count = name.len().min(field.len() - 1);
            for (to, from) in field.iter_mut().zip(name.iter().take(count).chain(core::iter::repeat(&0))) {
                *to = *from as c_char;
            }
        }
        result
    }
}
