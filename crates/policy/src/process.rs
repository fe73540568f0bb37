//! What an executable file is, and whether it is to be left alone.
//!
//! The preloaded layer reaches only programs whose dynamic loader is the one it was built for. [`inspect`] reads the ELF
//! headers (gABI, chapter "Program Header") through a caller's `pread`, so it works inside `exec` without allocating.

use crate::Image;
use crate::image::Section;

/// What an executable file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Dynamically linked against glibc: the layer works.
    Dynamic,
    /// No interpreter: nothing can be preloaded.
    Static,
    /// A Go program: it makes system calls of its own, whether linked dynamically or not.
    Go,
    /// Begins with `#!`: its interpreter counts.
    Script,
    /// Another architecture or C library.
    Foreign,
    /// Not recognised.
    Unknown,
}

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
/// Most program headers that are looked at; real programs have about a dozen.
const MAX_HEADERS: u16 = 64;
/// Most bytes of a note segment that are looked at.
const MAX_NOTES: u64 = 4096;

/// Recognises an executable. `read(offset, buffer)` fills as much of `buffer` as the file has and returns the length.
pub fn inspect(read: &mut impl FnMut(u64, &mut [u8]) -> usize) -> Kind {
    let mut header = [0u8; 64];
    let len = read(0, &mut header);
    if len >= 2 && header.starts_with(b"#!") {
        return Kind::Script;
    }
    if len < header.len() || !header.starts_with(b"\x7fELF") {
        return Kind::Unknown;
    }
    let little_64 = header[4] == 2 && header[5] == 1;
    if !little_64 || u16_at(&header, 18) != MACHINE {
        return Kind::Foreign;
    }
    let table = u64_at(&header, 32);
    let (size, count) = (u16_at(&header, 54), u16_at(&header, 56).min(MAX_HEADERS));
    let mut kind = Kind::Static;
    for index in 0..count {
        let mut program = [0u8; 56];
        let at = table.saturating_add(u64::from(index) * u64::from(size));
        if read(at, &mut program) < program.len() {
            return Kind::Unknown;
        }
        let (offset, length) = (u64_at(&program, 8), u64_at(&program, 32));
        match u32_at(&program, 0) {
            PT_INTERP => kind = interpreter(read, offset, length),
            PT_NOTE if has_go_note(read, offset, length.min(MAX_NOTES)) => return Kind::Go,
            _ => {}
        }
    }
    kind
}

/// glibc's loaders are called `ld-linux*.so.*` or `ld64.so.*` on every architecture; musl's `ld-musl-*`.
fn interpreter(read: &mut impl FnMut(u64, &mut [u8]) -> usize, offset: u64, length: u64) -> Kind {
    let mut path = [0u8; 128];
    let wanted = usize::try_from(length).unwrap_or(usize::MAX).min(path.len());
    let len = read(offset, &mut path[..wanted]);
    let text = &path[..len];
    let has = |name: &[u8]| text.windows(name.len()).any(|window| window == name);
    if has(b"ld-linux") || has(b"ld64.so") { Kind::Dynamic } else { Kind::Foreign }
}

/// Go's linker writes its build id into a note whose owner is `Go`, with and without cgo, also when stripped.
fn has_go_note(read: &mut impl FnMut(u64, &mut [u8]) -> usize, offset: u64, length: u64) -> bool {
    let mut at = 0;
    while at + 12 <= length {
        let mut note = [0u8; 16];
        if read(offset.saturating_add(at), &mut note) < note.len() {
            return false;
        }
        let (name, data) = (u64::from(u32_at(&note, 0)), u64::from(u32_at(&note, 4)));
        if name == 4 && note[12..16] == *b"Go\0\0" {
            return true;
        }
        at = at.saturating_add(12 + name.next_multiple_of(4) + data.next_multiple_of(4));
    }
    false
}

/// True when the configuration lists this program (by base name) as not to be intercepted.
pub fn skipped(image: &Image<'_>, program: &[u8]) -> bool {
    let base = program.rsplit(|&byte| byte == b'/').next().unwrap_or(program);
    image.strings(Section::Skip).any(|name| name == base)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
