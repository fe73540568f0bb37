//! A pod for the tests of the remote root: a folder of this machine, answered for as the agent would.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use mirrord_protocol::agent::{Attributes, Entry, Request, Response, Statfs, encode_entries};
use proxy_core::root::{Answer, Remote, Root};

const PAGE: usize = 500;

/// The pod's files.
pub struct Pod {
    base: PathBuf,
    delay: Duration,
    files: Mutex<Vec<Option<Arc<File>>>>,
    asked: Mutex<Vec<Request>>,
}

impl Pod {
    fn path(&self, path: &[u8]) -> PathBuf {
        let mut full = self.base.as_os_str().as_bytes().to_vec();
        full.extend_from_slice(path);
        PathBuf::from(std::ffi::OsStr::from_bytes(&full))
    }

    fn answer(&self, request: &Request) -> io::Result<(Response, Bytes)> {
        Ok(match request {
            Request::Lookup { path, prefetch } => {
                let path = self.path(path);
                let found = fs::symlink_metadata(&path)?;
                let payload = if found.is_symlink() {
                    fs::read_link(&path)?.as_os_str().as_bytes().to_vec().into()
                } else if found.is_file() && found.len() <= u64::from(*prefetch) {
                    fs::read(&path).unwrap_or_default().into()
                } else {
                    Bytes::new()
                };
                (Response::Entry(attributes(&found)), payload)
            }
            Request::Open { path, prefetch } => {
                let file = File::open(self.path(path))?;
                let attributes = attributes(&file.metadata()?);
                let head = read(&file, 0, *prefetch)?;
                let mut files = self.files.lock().unwrap();
                files.push(Some(Arc::new(file)));
                (Response::Opened { handle: files.len() as u64 - 1, attributes }, head)
            }
            Request::Read { handle, offset, len } => {
                let file = self.files.lock().unwrap()[*handle as usize].clone();
                let file = file.ok_or(io::Error::from_raw_os_error(libc::EBADF))?;
                (Response::Data, read(&file, *offset, *len)?)
            }
            Request::Close { handle } => {
                self.files.lock().unwrap()[*handle as usize] = None;
                (Response::Done, Bytes::new())
            }
            Request::List { path, cookie } => self.list(&self.path(path), *cookie as usize)?,
            Request::Access { path, mode } => {
                let how = rustix::fs::Access::from_bits_truncate(*mode);
                rustix::fs::access(self.path(path), how)?;
                (Response::Done, Bytes::new())
            }
            Request::Statfs { path } => {
                let of = rustix::fs::statfs(self.path(path))?;
                let answer =
                    Statfs { blocks: of.f_blocks, bsize: of.f_bsize as u32, namelen: 255, ..Statfs::default() };
                (Response::Statfs(answer), Bytes::new())
            }
            Request::GetXattr { path, name } => {
                let mut value = vec![0u8; 1024];
                let len = rustix::fs::lgetxattr(self.path(path), name.as_slice(), value.as_mut_slice())?;
                value.truncate(len);
                (Response::Data, value.into())
            }
            Request::ListXattr { path } => {
                let mut names = vec![0u8; 1024];
                let len = rustix::fs::llistxattr(self.path(path), names.as_mut_slice())?;
                names.truncate(len);
                (Response::Data, names.into())
            }
            other => panic!("a file system asks no {other:?}"),
        })
    }

    fn list(&self, path: &Path, cookie: usize) -> io::Result<(Response, Bytes)> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let found = entry.metadata()?;
            let link = found.is_symlink().then(|| fs::read_link(entry.path())).transpose()?;
            entries.push(Entry {
                name: entry.file_name().as_bytes().to_vec().into(),
                attributes: Some(attributes(&found)),
                link: link.map(|text| text.as_os_str().as_bytes().to_vec().into()),
            });
        }
        let end = (cookie + PAGE).min(entries.len());
        let next = if end < entries.len() { end as u64 } else { 0 };
        Ok((Response::Entries { next }, encode_entries(&entries[cookie..end])))
    }
}

impl Remote for Pod {
    fn request(&self, request: Request, _payload: Bytes) -> Answer<'_> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(request.clone());
            if !self.delay.is_zero() {
                tokio::time::sleep(self.delay).await;
            }
            self.answer(&request).map_err(|cause| cause.raw_os_error().unwrap_or(libc::EIO))
        })
    }
}

/// A mounted root over a folder that stands for the pod's file system.
pub struct World {
    pub root: Option<Root>,
    pub pod: Arc<Pod>,
    pub scratch: PathBuf,
    _runtime: tokio::runtime::Runtime,
}

impl World {
    /// `None`, with the reason on stderr, where this user may not open `/dev/fuse`.
    pub fn new(name: &str) -> Option<World> {
        World::with_delay(name, Duration::ZERO)
    }

    pub fn with_delay(name: &str, delay: Duration) -> Option<World> {
        World::over(name, |scratch| scratch.join("pod"), delay)
    }

    /// The whole machine is the pod.
    pub fn over_this_machine(name: &str) -> Option<World> {
        World::over(name, |_| PathBuf::new(), Duration::ZERO)
    }

    fn over(name: &str, base: impl Fn(&Path) -> PathBuf, delay: Duration) -> Option<World> {
        if let Err(cause) = File::options().read(true).write(true).open("/dev/fuse") {
            eprintln!("skipped: /dev/fuse: {cause}");
            return None;
        }
        let scratch = std::env::temp_dir().join(format!("mirrord-root-{name}-{}", std::process::id()));
        fs::create_dir_all(scratch.join("pod")).unwrap();
        fs::create_dir_all(scratch.join("session")).unwrap();
        let pod = Arc::new(Pod { base: base(&scratch), delay, files: Mutex::default(), asked: Mutex::default() });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let root = match Root::mount(runtime.handle().clone(), &scratch.join("session")) {
            Ok(root) => root,
            Err(error) => panic!("{error}; {}", error.hint().unwrap_or("no hint")),
        };
        root.attach(pod.clone());
        Some(World { root: Some(root), pod, scratch, _runtime: runtime })
    }

    /// A path of the pod, as the test makes it.
    pub fn there(&self, path: &str) -> PathBuf {
        self.scratch.join("pod").join(path)
    }

    /// The same path, as a program reaches it.
    pub fn here(&self, path: &str) -> PathBuf {
        let root = self.root.as_ref().unwrap().path();
        Path::new(std::ffi::OsStr::from_bytes(root)).join(path)
    }

    /// What the pod has been asked since the last call.
    pub fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut *self.pod.asked.lock().unwrap())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.root = None;
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

fn read(file: &File, offset: u64, len: u32) -> io::Result<Bytes> {
    let mut data = vec![0; len as usize];
    let mut filled = 0;
    while filled < data.len() {
        match file.read_at(&mut data[filled..], offset + filled as u64)? {
            0 => break,
            more => filled += more,
        }
    }
    data.truncate(filled);
    Ok(data.into())
}

pub fn attributes(found: &fs::Metadata) -> Attributes {
    Attributes {
        dev: found.dev(),
        ino: found.ino(),
        mode: found.mode(),
        nlink: found.nlink() as u32,
        uid: found.uid(),
        gid: found.gid(),
        rdev: found.rdev(),
        size: found.size(),
        blocks: found.blocks(),
        blksize: found.blksize() as u32,
        atime: (found.atime(), found.atime_nsec() as u32),
        mtime: (found.mtime(), found.mtime_nsec() as u32),
        ctime: (found.ctime(), found.ctime_nsec() as u32),
    }
}
