//! `struct hostent` in memory that the program gave, or that all callers of the older functions share.

use core::cell::UnsafeCell;
use core::ffi::{c_char, c_int};
use core::net::IpAddr;

use libc::hostent;

const SHARED_ROOM: usize = 8192;

/// Where an entry and its strings go.
pub(crate) struct Room {
    entry: *mut hostent,
    buffer: *mut u8,
    size: usize,
}

struct Shared(UnsafeCell<hostent>, UnsafeCell<[u64; SHARED_ROOM / 8]>);

// SAFETY: `gethostbyname` is documented as not thread-safe: its callers serialise, as they must with libc's own.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared(
    UnsafeCell::new(hostent {
        h_name: core::ptr::null_mut(),
        h_aliases: core::ptr::null_mut(),
        h_addrtype: 0,
        h_length: 0,
        h_addr_list: core::ptr::null_mut(),
    }),
    UnsafeCell::new([0; SHARED_ROOM / 8]),
);

impl Room {
    /// The memory of the functions without `_r`.
    pub(crate) fn shared() -> Room {
        Room { entry: SHARED.0.get(), buffer: SHARED.1.get().cast(), size: SHARED_ROOM }
    }

    /// The caller's memory.
    pub(crate) fn of(entry: *mut hostent, buffer: *mut c_char, size: usize) -> Room {
        Room { entry, buffer: buffer.cast(), size }
    }

    /// Fills the entry with the addresses of `family`; null when the buffer is too small.
    ///
    /// Layout: address pointers and null · null (no aliases) · addresses · name.
    pub(crate) fn fill(&self, name: &[u8], addresses: &[IpAddr], family: c_int) -> *mut hostent {
        let fits = |address: &&IpAddr| address.is_ipv6() == (family == libc::AF_INET6);
        let width = if family == libc::AF_INET6 { 16 } else { 4 };
        let count = addresses.iter().filter(fits).count();
        let pad = self.buffer.align_offset(align_of::<*mut c_char>());
        let pointers = pad + (count + 2) * size_of::<*mut c_char>();
        let text = pointers + count * width;
        if text + name.len() + 1 > self.size {
            return core::ptr::null_mut();
        }
        // SAFETY: all offsets lie below `size`, which is the buffer's by the caller's word; `pad` aligns the pointers.
        unsafe {
            let list = self.buffer.add(pad).cast::<*mut c_char>();
            for (index, address) in addresses.iter().filter(fits).enumerate() {
                let place = self.buffer.add(pointers + index * width);
                match address {
                    IpAddr::V4(v4) => place.cast::<[u8; 4]>().write_unaligned(v4.octets()),
                    IpAddr::V6(v6) => place.cast::<[u8; 16]>().write_unaligned(v6.octets()),
                }
                list.add(index).write(place.cast());
            }
            list.add(count).write(core::ptr::null_mut());
            list.add(count + 1).write(core::ptr::null_mut());
            let shown = self.buffer.add(text);
            core::ptr::copy_nonoverlapping(name.as_ptr(), shown, name.len());
            shown.add(name.len()).write(0);
            self.entry.write(hostent {
                h_name: shown.cast(),
                h_aliases: list.add(count + 1),
                h_addrtype: family,
                h_length: width as c_int,
                h_addr_list: list,
            });
        }
        self.entry
    }
}
