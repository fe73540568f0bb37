//! Paths as text: absolute and tidy, in a buffer of fixed size. No I/O.

use core::mem::MaybeUninit;

/// Longest path that the kernel accepts, with its terminating zero.
pub(crate) const PATH_MAX: usize = 4096;

/// Most bytes of the remote root's prefix (`/proc/PID/root`, or a folder of the session).
pub(crate) const ROOT_MAX: usize = 256;

/// A path that is built on the stack: `[root][absolute path]`, zero-terminated, so that both the remote form (from the
/// start) and the local form (from the end of the root) are C strings.
pub(crate) struct PathBuffer {
    bytes: [MaybeUninit<u8>; ROOT_MAX + PATH_MAX],
    root: usize,
    len: usize,
}

/// The path is longer than the kernel accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl PathBuffer {
    /// A buffer that holds `root` and no path yet. The rest of the memory is left as it is found: zeroing four
    /// kilobytes for each call would cost more than the decision.
    #[inline]
    pub(crate) fn begin<'r>(room: &'r mut MaybeUninit<PathBuffer>, root: &[u8]) -> Result<&'r mut PathBuffer, TooLong> {
        if root.len() > ROOT_MAX {
            return Err(TooLong);
        }
        let buffer = room.as_mut_ptr();
        // SAFETY: both lengths are written here, and `bytes` may be uninitialised by its type.
        let buffer = unsafe {
            (&raw mut (*buffer).root).write(root.len());
            (&raw mut (*buffer).len).write(0);
            &mut *buffer
        };
        copy(&mut buffer.bytes[..root.len()], root);
        Ok(buffer)
    }

    /// Appends `text` (absolute or relative) component by component; `..` takes one back and stops at the root.
    pub(crate) fn push(&mut self, text: &[u8]) -> Result<(), TooLong> {
        let names = text.strip_prefix(b"/").unwrap_or(text);
        if are_plain(names) {
            self.put(b"/")?;
            return self.put(names);
        }
        for component in text.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => self.pop(),
                name => {
                    self.put(b"/")?;
                    self.put(name)?;
                }
            }
        }
        Ok(())
    }

    /// Ends the path; a path without components is `/`. `as_folder` keeps what a trailing slash says.
    pub(crate) fn finish(&mut self, as_folder: bool) -> Result<(), TooLong> {
        if self.len == 0 {
            self.put(b"/")?;
        }
        let end = self.root + self.len;
        if as_folder && self.len > 1 {
            self.bytes.get_mut(end).ok_or(TooLong)?.write(b'/');
            self.bytes.get_mut(end + 1).ok_or(TooLong)?.write(0);
        } else {
            self.bytes.get_mut(end).ok_or(TooLong)?.write(0);
        }
        Ok(())
    }

    /// The absolute path, tidy, without a trailing slash.
    pub(crate) fn absolute(&self) -> &[u8] {
        let path = &self.bytes[self.root..self.root + self.len];
        // SAFETY: `begin` and `put` have written every byte up to `root + len`; the layout is that of `u8`.
        unsafe { core::slice::from_raw_parts(path.as_ptr().cast(), path.len()) }
    }

    /// C string of the path under the remote root; valid after [`finish`](Self::finish).
    pub(crate) fn remote(&self) -> *const libc::c_char {
        self.bytes.as_ptr().cast()
    }

    /// C string of the path itself; valid after [`finish`](Self::finish).
    pub(crate) fn local(&self) -> *const libc::c_char {
        self.bytes[self.root..].as_ptr().cast()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        let len = self.len + bytes.len();
        // Two bytes stay for the trailing slash and the zero.
        if len + 2 > PATH_MAX {
            return Err(TooLong);
        }
        copy(&mut self.bytes[self.root + self.len..self.root + len], bytes);
        self.len = len;
        Ok(())
    }

    fn pop(&mut self) {
        self.len = self.absolute().iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    }
}

fn copy(to: &mut [MaybeUninit<u8>], from: &[u8]) {
    // SAFETY: the callers make both equally long; uninitialised bytes may be written.
    unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to.as_mut_ptr().cast(), from.len().min(to.len())) }
}

/// True for an absolute path without `.`, `..`, `//` or trailing slash.
#[inline]
pub(crate) fn is_tidy(path: &[u8]) -> bool {
    match path {
        [b'/'] => true,
        [b'/', names @ ..] => are_plain(names),
        _ => false,
    }
}

/// True for names between single slashes, none of them empty, `.` or `..`. This runs for every path call, so names that
/// do not even begin with a dot are told in a loop without branches, many bytes at a time.
#[inline]
fn are_plain(names: &[u8]) -> bool {
    let (Some(first), Some(last)) = (names.first(), names.last()) else { return false };
    let mut is_odd = matches!(first, b'/' | b'.') | (*last == b'/');
    for (byte, next) in names.iter().zip(names.get(1..).unwrap_or_default()) {
        is_odd |= (*byte == b'/') & ((*next == b'/') | (*next == b'.'));
    }
    !is_odd || are_plain_one_by_one(names)
}

fn are_plain_one_by_one(names: &[u8]) -> bool {
    // Length of the current name, as far as it consists of dots only; 3 = it does not, or has too many.
    let mut dots = 0u8;
    for &byte in names {
        dots = match byte {
            b'/' if dots < 3 => return false,
            b'/' => 0,
            b'.' if dots < 3 => dots + 1,
            _ => 3,
        };
    }
    dots == 3
}

/// True when `path` ends so that it can only name a folder.
pub(crate) fn names_folder(path: &[u8]) -> bool {
    path.ends_with(b"/") || path.ends_with(b"/.") || path.ends_with(b"/..") || path == b"." || path == b".."
}

/// True when a component is longer than `NAME_MAX`.
pub(crate) fn has_long_name(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|name| name.len() > 255)
}

/// True when a component is `..`.
pub(crate) fn climbs(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|component| component == b"..")
}

/// What stands before the first `..` of an absolute path, without its slash; `None` when nothing climbs.
pub(crate) fn before_climb(path: &[u8]) -> Option<&[u8]> {
    let ends_there = |at: usize| matches!(path.get(at + 3), None | Some(b'/'));
    let at = path.windows(3).enumerate().find(|(at, window)| *window == b"/.." && ends_there(*at))?.0;
    path.get(..at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tidy(parts: &[&str]) -> String {
        let mut room = MaybeUninit::uninit();
        let buffer = PathBuffer::begin(&mut room, b"/proc/7/root").unwrap();
        for part in parts {
            buffer.push(part.as_bytes()).unwrap();
        }
        buffer.finish(false).unwrap();
        String::from_utf8(buffer.absolute().to_vec()).unwrap()
    }

    proptest! {
        #[test]
        fn both_ways_to_tell_plain_names_agree(names in "[./ab]{0,12}") {
            prop_assert_eq!(are_plain(names.as_bytes()), are_plain_one_by_one(names.as_bytes()));
        }
    }

    #[test]
    fn what_stands_before_a_climb() {
        assert_eq!(before_climb(b"/data/.."), Some(&b"/data"[..]));
        assert_eq!(before_climb(b"/data/../etc/../x"), Some(&b"/data"[..]));
        assert_eq!(before_climb(b"/data/..x/..."), None);
    }

    #[test]
    fn components_are_joined_and_dots_resolved() {
        assert_eq!(tidy(&["/a/b", "../c//./d/"]), "/a/c/d");
        assert_eq!(tidy(&["/a", "../../../etc"]), "/etc");
        assert_eq!(tidy(&["/", ".."]), "/");
    }

    #[test]
    fn both_forms_are_c_strings() {
        let mut room = MaybeUninit::uninit();
        let buffer = PathBuffer::begin(&mut room, b"/r").unwrap();
        buffer.push(b"/etc/hosts").unwrap();
        buffer.finish(true).unwrap();
        // SAFETY: `finish` wrote the terminating zero.
        let (remote, local) =
            unsafe { (std::ffi::CStr::from_ptr(buffer.remote()), std::ffi::CStr::from_ptr(buffer.local())) };
        assert_eq!((remote, local), (c"/r/etc/hosts/", c"/etc/hosts/"));
    }

    #[test]
    fn too_long_paths_are_refused() {
        let mut room = MaybeUninit::uninit();
        let buffer = PathBuffer::begin(&mut room, b"").unwrap();
        assert_eq!(buffer.push(&[b'a'; PATH_MAX]), Err(TooLong));
        assert!(PathBuffer::begin(&mut MaybeUninit::uninit(), &[b'a'; ROOT_MAX + 1]).is_err());
    }

    proptest! {
        #[test]
        fn a_built_path_is_tidy_and_a_tidy_path_is_kept(text in "[./a]{0,30}") {
            let built = tidy(&[&text]);
            prop_assert!(is_tidy(built.as_bytes()), "{built}");
            if is_tidy(text.as_bytes()) {
                prop_assert_eq!(built, text);
            }
        }
    }
}
