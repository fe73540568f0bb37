//! Paths as text: absolute and tidy, in a buffer of fixed size. No I/O.

/// Longest path that the kernel accepts, with its terminating zero.
pub(crate) const PATH_MAX: usize = 4096;

/// Most bytes of the remote root's prefix (`/proc/PID/root`, or a folder of the session).
pub(crate) const ROOT_MAX: usize = 256;

/// A path that is built on the stack: `[root][absolute path]`, zero-terminated, so that both the remote form (from the
/// start) and the local form (from the end of the root) are C strings.
pub(crate) struct PathBuffer {
    bytes: [u8; ROOT_MAX + PATH_MAX],
    root: usize,
    len: usize,
}

/// The path is longer than the kernel accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl PathBuffer {
    /// A buffer that holds `root` and no path yet. The rest of the memory is deliberately left as it is found: zeroing
    /// four kilobytes for each call would cost more than the decision.
    #[inline(always)]
    pub(crate) fn begin<'a>(
        room: &'a mut core::mem::MaybeUninit<PathBuffer>,
        root: &[u8],
    ) -> Result<&'a mut PathBuffer, TooLong> {
        if root.len() > ROOT_MAX {
            return Err(TooLong);
        }
        let buffer = room.as_mut_ptr();
        // SAFETY: `room` has the right size and alignment, the two lengths are written here, and `bytes` is an array of
        // integers that is only read below `root + len`, which this module writes before it counts it.
        unsafe {
            (&raw mut (*buffer).root).write(root.len());
            (&raw mut (*buffer).len).write(0);
            core::ptr::copy_nonoverlapping(root.as_ptr(), (&raw mut (*buffer).bytes).cast(), root.len());
            Ok(&mut *buffer)
        }
    }

    /// Appends `text` (absolute or relative) component by component; `..` takes one back and stops at the root.
    pub(crate) fn push(&mut self, text: &[u8]) -> Result<(), TooLong> {
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
            *self.bytes.get_mut(end).ok_or(TooLong)? = b'/';
            *self.bytes.get_mut(end + 1).ok_or(TooLong)? = 0;
        } else {
            *self.bytes.get_mut(end).ok_or(TooLong)? = 0;
        }
        Ok(())
    }

    /// The absolute path, tidy, without a trailing slash.
    pub(crate) fn absolute(&self) -> &[u8] {
        &self.bytes[self.root..self.root + self.len]
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
        self.bytes[self.root + self.len..self.root + len].copy_from_slice(bytes);
        self.len = len;
        Ok(())
    }

    fn pop(&mut self) {
        let path = &self.bytes[self.root..self.root + self.len];
        self.len = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    }
}

/// True for an absolute path without `.`, `..`, `//` or trailing slash.
#[inline]
pub(crate) fn is_tidy(path: &[u8]) -> bool {
    if path.first() != Some(&b'/') {
        return false;
    }
    let mut rest = path;
    while let [b'/', tail @ ..] = rest {
        match tail {
            [] => return path.len() == 1,
            [b'/', ..] | [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..] => return false,
            _ => {}
        }
        let Some(next) = tail.iter().position(|&byte| byte == b'/') else { return true };
        rest = &tail[next..];
    }
    false
}

/// True when `path` ends so that it can only name a folder.
pub(crate) fn names_folder(path: &[u8]) -> bool {
    path.ends_with(b"/") || path.ends_with(b"/.") || path.ends_with(b"/..") || path == b"." || path == b".."
}

/// True when a component is `..`.
pub(crate) fn climbs(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|component| component == b"..")
}

#[cfg(test)]
mod tests {
    use core::mem::MaybeUninit;

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
