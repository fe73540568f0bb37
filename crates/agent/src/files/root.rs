//! The target's root directory: the only way to a path of the target.
//!
//! Every path is resolved by the kernel, `openat2` with `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`, relative to one
//! descriptor: absolute links, `..` and links swapped during the walk stay inside, and `/proc/*/fd` or `/proc/*/root`
//! links lead nowhere. No path is ever joined to another. What is opened first is `O_PATH`, which no FIFO, device or
//! lock can delay; contents are opened only after the type is known, through the descriptor itself, so the file that was
//! examined is the file that is read. Called by the file threads only.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Longest path that is looked at; the kernel's own limit.
const PATH_LIMIT: usize = 4096;

/// Attempts when `..` races with a rename, which the kernel answers with EAGAIN.
const ATTEMPTS: usize = 16;

/// The target's root directory.
#[derive(Debug)]
pub struct Root(OwnedFd);

/// Whether the last component is followed when it is a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLink {
    /// Yes.
    Follow,
    /// No: the link itself is meant.
    Keep,
}

impl Root {
    /// Wraps the descriptor of a root directory.
    pub fn new(directory: OwnedFd) -> Root {
        Root(directory)
    }

    /// A handle on whatever lies at `path`; opens nothing.
    pub fn find(&self, path: &[u8], last: LastLink) -> Result<Found, Errno> {
        let flags = match last {
            LastLink::Follow => OFlags::PATH,
            LastLink::Keep => OFlags::PATH | OFlags::NOFOLLOW,
        };
        let handle = self.open(path, flags)?;
        let stat = rustix::fs::fstat(&handle)?;
        Ok(Found { handle, stat })
    }

    /// A directory, to be listed.
    pub fn directory(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK)
    }

    /// The first `limit` bytes of a regular file.
    pub fn read(&self, path: &[u8], limit: usize) -> Result<Vec<u8>, Errno> {
        let found = self.find(path, LastLink::Follow)?;
        read_at(&found.open()?, 0, limit)
    }

    fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        if path.first() != Some(&b'/') {
            return Err(Errno::INVAL);
        }
        if path.len() >= PATH_LIMIT {
            return Err(Errno::NAMETOOLONG);
        }
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        let mut result = Err(Errno::AGAIN);
        for _ in 0..ATTEMPTS {
            result = rustix::fs::openat2(&self.0, path, flags, Mode::empty(), resolve);
            if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        result
    }
}

/// Something in the target's tree that has been found but not opened.
#[derive(Debug)]
pub struct Found {
    handle: OwnedFd,
    /// Its attributes.
    pub stat: Stat,
}

impl Found {
    /// Its type.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Opens a regular file for reading. ENXIO for what could wait or act when opened: FIFOs, devices, sockets.
    pub fn open(&self) -> Result<OwnedFd, Errno> {
        match self.kind() {
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                rustix::fs::openat(CWD, self.own_path(), flags, Mode::empty())
            }
            FileType::Directory => Err(Errno::ISDIR),
            FileType::Symlink => Err(Errno::LOOP),
            _ => Err(Errno::NXIO),
        }
    }

    /// Text of a symbolic link.
    pub fn link(&self) -> Result<Vec<u8>, Errno> {
        rustix::fs::readlinkat(&self.handle, "", Vec::with_capacity(256)).map(std::ffi::CString::into_bytes)
    }

    /// `access(2)` with the calling thread's file identity.
    pub fn access(&self, mode: u32) -> Result<(), Errno> {
        let mode = rustix::fs::Access::from_bits(mode).ok_or(Errno::INVAL)?;
        rustix::fs::accessat(CWD, self.own_path(), mode, AtFlags::EACCESS)
    }

    /// `statfs(2)`.
    pub fn statfs(&self) -> Result<rustix::fs::StatFs, Errno> {
        rustix::fs::fstatfs(&self.handle)
    }

    /// Value of an extended attribute; the link's own for a symbolic link.
    pub fn xattr(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        const LIMIT: usize = 64 << 10;
        let mut value = Vec::with_capacity(LIMIT);
        rustix::fs::getxattr(self.own_path(), name, rustix::buffer::spare_capacity(&mut value))?;
        Ok(value)
    }

    /// Names of the extended attributes, each ended by a NUL.
    pub fn xattr_names(&self) -> Result<Vec<u8>, Errno> {
        const LIMIT: usize = 64 << 10;
        let mut names = Vec::with_capacity(LIMIT);
        rustix::fs::listxattr(self.own_path(), rustix::buffer::spare_capacity(&mut names))?;
        Ok(names)
    }

    /// The kernel's name for the handle in the agent's own `/proc`: leads to the very object, for the calls that take
    /// no `O_PATH` descriptor.
    fn own_path(&self) -> String {
        format!("/proc/self/fd/{}", self.handle.as_raw_fd())
    }
}

/// Up to `len` bytes from `offset`; fewer only at the end of the file.
pub fn read_at(file: impl AsFd, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = offset.checked_add(bytes.len() as u64).ok_or(Errno::INVAL)?;
        match rustix::io::pread(&file, rustix::buffer::spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            // What was read before the error is true; the next read meets the error again.
            Err(_) if !bytes.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}
