//! How an exported function is declared, and how it finds the function that it stands in front of.
//!
//! `hook! { fn chdir(path: *const c_char) -> c_int { … real(path) … } }` exports `chdir`; `real` inside the body is the next
//! definition in the program's search order (libc's, or another preloaded library's). All are looked up by the
//! constructor, so that no look-up happens in a signal handler or a forked child; a hook that is called earlier
//! looks its own up. A function that the libc of this machine does not have fails with ENOSYS.

use core::ffi::{CStr, c_void};
use core::sync::atomic::{AtomicPtr, Ordering};

/// One exported function: its name and the next definition of it.
pub(crate) struct Slot {
    name: &'static CStr,
    own: *const c_void,
    next: AtomicPtr<c_void>,
}

// SAFETY: `own` is the address of a function, which every thread may read.
unsafe impl Sync for Slot {}

impl Slot {
    pub(crate) const fn new(name: &'static CStr, own: *const c_void) -> Slot {
        Slot { name, own, next: AtomicPtr::new(core::ptr::null_mut()) }
    }

    /// The next definition; null when there is none but our own.
    #[inline]
    pub(crate) fn next(&self) -> *const c_void {
        let known = self.next.load(Ordering::Relaxed);
        if known.is_null() { self.look_up() } else { known }
    }

    #[cold]
    pub(crate) fn look_up(&self) -> *const c_void {
        // SAFETY: the name is a C string; RTLD_NEXT searches behind this library.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        if core::ptr::eq(found, self.own) {
            return core::ptr::null();
        }
        self.next.store(found, Ordering::Relaxed);
        found
    }
}

unsafe extern "C" {
    // The linker brackets the section of all slots with these two.
    #[link_name = "__start_mirrord_slots"]
    static FIRST_SLOT: u8;
    #[link_name = "__stop_mirrord_slots"]
    static LAST_SLOT: u8;
}

/// Looks up every function now.
pub(crate) fn look_up_all() {
    let mut slot = (&raw const FIRST_SLOT).cast::<Slot>();
    let end = (&raw const LAST_SLOT).cast::<Slot>();
    while slot < end {
        // SAFETY: the section holds nothing but slots, one after another, between the two addresses.
        unsafe {
            (*slot).look_up();
            slot = slot.add(1);
        }
    }
}

/// Declares exported functions.
macro_rules! hook {
    ($($(#[$meta:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block)*) => { $(
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "the signatures are libc's")]
        #[cfg_attr(not(test), unsafe(no_mangle))]
        pub(crate) unsafe extern "C" fn $name($($argument: $type),*) $(-> $result)? {
            #[unsafe(link_section = "mirrord_slots")]
            #[used]
            static SLOT: $crate::hook::Slot = $crate::hook::Slot::new(
                match core::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => panic!("a function's name has no zero byte"),
                },
                $name as *const core::ffi::c_void,
            );
            #[allow(
                dead_code,
                clippy::too_many_arguments,
                reason = "the signatures are libc's, and a hook that replaces its function does not call it"
            )]
            #[inline(always)]
            fn real($($argument: $type),*) $(-> $result)? {
                let next = SLOT.next();
                if next.is_null() {
                    return $crate::errno::fail($crate::errno::Errno(libc::ENOSYS));
                }
                // SAFETY: libc documents this signature for this name; the arguments are the program's own, or as valid.
                unsafe {
                    let next: unsafe extern "C" fn($($type),*) $(-> $result)? = core::mem::transmute(next);
                    next($($argument),*)
                }
            }
            $body
        }
    )* };
}
pub(crate) use hook;
