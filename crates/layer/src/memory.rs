//! Memory of our own: whole mappings. The process's allocator is never used, since a hook may run inside it.
//!
//! Nothing on the pass-through path allocates. What does is rare and short-lived (a DNS answer, a long environment), so
//! a mapping each is cheap enough and needs no lock.

use core::alloc::{GlobalAlloc, Layout};

use crate::sys;

/// The crate's allocator; in the tests' binaries the system's stays.
pub(crate) struct Mappings;

#[cfg_attr(not(test), global_allocator)]
#[allow(dead_code, reason = "unused in test builds")]
static ALLOCATOR: Mappings = Mappings;

// SAFETY: every mapping is page-aligned, zeroed, of at least the asked size and owned by its caller alone. A larger
// alignment than a page is refused with null.
unsafe impl GlobalAlloc for Mappings {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > 4096 {
            return core::ptr::null_mut();
        }
        sys::map_memory(layout.size()).unwrap_or(core::ptr::null_mut())
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back what `alloc` gave out.
        unsafe { sys::unmap(address, layout.size()) }
    }
}

/// A mapping, undone when dropped.
pub(crate) struct Pages {
    address: *mut u8,
    len: usize,
}

impl Pages {
    pub(crate) fn new(len: usize) -> sys::Result<Pages> {
        sys::map_memory(len).map(|address| Pages { address, len })
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping has `len` bytes and belongs to this value, which is borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.address, self.len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the borrow rules let no slice of it outlive this value.
        unsafe { sys::unmap(self.address, self.len) }
    }
}
