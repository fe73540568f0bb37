//! Hostile trees: whatever the target's files look like, nothing outside its root is reached and nothing waits.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use serde_bytes::ByteBuf;

use super::*;
use crate::namespace::privileges::Identity;

/// A folder with a root `inside` and a secret beside it.
struct Tree {
    folder: PathBuf,
    files: Files,
}

impl Tree {
    fn new(name: &str) -> Tree {
        let folder = std::env::temp_dir().join(format!("mirrord-files-{name}-{}", std::process::id()));
        let inside = folder.join("inside");
        fs::create_dir_all(inside.join("etc/alternatives")).unwrap();
        fs::write(folder.join("secret"), "outside").unwrap();
        fs::write(inside.join("secret"), "inside").unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&inside, flags, Mode::empty()).unwrap();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let (pool, _) = Pool::start(&Identity::from_status(&status).unwrap()).unwrap();
        Tree { folder, files: Files::new(pool, Arc::new(Root::new(root))) }
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.folder.join("inside").join(path)
    }

    async fn ask(&self, request: Request) -> (Response, Vec<u8>) {
        let (response, payload) = self.files.answer(request).await.expect("a file request");
        (response, payload.to_vec())
    }

    async fn open(&self, path: &str) -> (Response, Vec<u8>) {
        self.ask(Request::Open { path: ByteBuf::from(path), prefetch: 100 }).await
    }

    async fn lookup(&self, path: &str) -> (Response, Vec<u8>) {
        self.ask(Request::Lookup { path: ByteBuf::from(path), prefetch: 100 }).await
    }

    async fn content(&self, path: &str) -> Vec<u8> {
        let (response, first) = self.open(path).await;
        assert!(matches!(response, Response::Opened { .. }), "{path}: {response:?}");
        first
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn errno(answer: (Response, Vec<u8>)) -> i32 {
    match answer.0 {
        Response::Errno(errno) => errno,
        other => panic!("not an errno: {other:?}"),
    }
}

fn make_fifo(path: &Path) {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

#[tokio::test]
async fn absolute_link_stays_inside() {
    let tree = Tree::new("absolute");
    symlink("/secret", tree.inside("link")).unwrap();
    assert_eq!(tree.content("/link").await, b"inside");
}

#[tokio::test]
async fn dot_dot_stops_at_the_root() {
    let tree = Tree::new("dotdot");
    symlink("../../../secret", tree.inside("etc/link")).unwrap();
    assert_eq!(tree.content("/../../secret").await, b"inside");
    assert_eq!(tree.content("/etc/link").await, b"inside");
}

#[tokio::test]
async fn two_step_absolute_links_work() {
    let tree = Tree::new("alternatives");
    symlink("/etc/alternatives/java", tree.inside("java")).unwrap();
    symlink("/secret", tree.inside("etc/alternatives/java")).unwrap();
    assert_eq!(tree.content("/java").await, b"inside");
    let (response, text) = tree.lookup("/java").await;
    assert!(matches!(response, Response::Entry(entry) if FileType::from_raw_mode(entry.mode) == FileType::Symlink));
    assert_eq!(text, b"/etc/alternatives/java");
}

#[tokio::test]
async fn magic_links_lead_nowhere() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let (pool, _) = Pool::start(&Identity::from_status(&status).unwrap()).unwrap();
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let files = Files::new(pool, Arc::new(Root::new(root)));
    for path in [format!("/proc/{}/root/etc/passwd", std::process::id()), format!("/proc/{}/fd/0", std::process::id())]
    {
        let answer = files.answer(Request::Open { path: ByteBuf::from(path.clone()), prefetch: 0 }).await.unwrap();
        assert_eq!(answer.0, Response::Errno(Errno::LOOP.raw_os_error()), "{path}");
    }
}

#[tokio::test]
async fn link_loops_end() {
    let tree = Tree::new("loop");
    symlink("b", tree.inside("a")).unwrap();
    symlink("a", tree.inside("b")).unwrap();
    assert_eq!(errno(tree.open("/a").await), Errno::LOOP.raw_os_error());
}

#[tokio::test]
async fn fifos_and_sockets_are_refused_at_once() {
    let tree = Tree::new("fifo");
    make_fifo(&tree.inside("fifo"));
    let _socket = std::os::unix::net::UnixListener::bind(tree.inside("socket")).unwrap();
    let start = Instant::now();
    for path in ["/fifo", "/socket"] {
        assert_eq!(errno(tree.open(path).await), Errno::NXIO.raw_os_error());
        assert!(matches!(tree.lookup(path).await.0, Response::Entry(_)));
    }
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_link_swapped_all_the_time_never_leads_outside() {
    let tree = Tree::new("race");
    let (link, spare) = (tree.inside("swap"), tree.inside("spare"));
    fs::create_dir(tree.inside("folder")).unwrap();
    fs::write(tree.inside("folder/secret"), "inside").unwrap();
    symlink(tree.folder.to_str().unwrap(), &spare).unwrap();
    symlink("folder", &link).unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    &link,
                    rustix::fs::CWD,
                    &spare,
                    rustix::fs::RenameFlags::EXCHANGE,
                )
                .unwrap();
            }
        }
    });
    for _ in 0..2_000 {
        if let (Response::Opened { handle, .. }, first) = tree.open("/swap/secret").await {
            assert_eq!(first, b"inside");
            assert_eq!(tree.ask(Request::Close { handle }).await.0, Response::Done);
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapper.join().unwrap();
}

#[tokio::test]
async fn relative_and_overlong_paths_are_refused() {
    let tree = Tree::new("paths");
    assert_eq!(errno(tree.open("secret").await), Errno::INVAL.raw_os_error());
    assert_eq!(errno(tree.open(&"/a".repeat(4_000)).await), Errno::NAMETOOLONG.raw_os_error());
    assert_eq!(errno(tree.open("/sec\0ret").await), Errno::INVAL.raw_os_error());
    assert_eq!(errno(tree.open("/secret/x").await), Errno::NOTDIR.raw_os_error());
}

#[tokio::test]
async fn open_read_close() {
    let tree = Tree::new("read");
    let data: Vec<u8> = (0..3_000_000u32).flat_map(|number| [(number % 251) as u8]).collect();
    fs::write(tree.inside("data"), &data).unwrap();
    let (response, first) = tree.open("/data").await;
    let Response::Opened { handle, attributes } = response else { panic!("{response:?}") };
    assert_eq!((attributes.size, &first[..]), (3_000_000, &data[..100]));
    let mut seen = Vec::new();
    loop {
        let request = Request::Read { handle, offset: seen.len() as u64, len: u32::MAX };
        let (response, part) = tree.ask(request).await;
        assert_eq!(response, Response::Data);
        assert!(part.len() <= DATA_LIMIT);
        if part.is_empty() {
            break;
        }
        seen.extend(part);
    }
    assert!(seen == data);
    assert_eq!(tree.ask(Request::Close { handle }).await.0, Response::Done);
    let again = tree.ask(Request::Read { handle, offset: 0, len: 1 }).await;
    assert_eq!(errno(again), Errno::BADF.raw_os_error());
    assert_eq!(tree.lookup("/secret").await.1, b"inside");
}

#[tokio::test]
async fn the_rest_of_the_questions_is_answered() {
    let tree = Tree::new("rest");
    let path = || ByteBuf::from("/secret");
    fs::set_permissions(tree.inside("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(tree.ask(Request::Access { path: path(), mode: 4 }).await.0, Response::Done);
    assert_eq!(errno(tree.ask(Request::Access { path: path(), mode: 1 }).await), Errno::ACCESS.raw_os_error());
    assert!(matches!(tree.ask(Request::Statfs { path: path() }).await.0, Response::Statfs(stat) if stat.bsize > 0));
    let (response, payload) = tree.ask(Request::List { path: ByteBuf::from("/"), cookie: 0 }).await;
    assert_eq!(response, Response::Entries { next: 0 });
    assert_eq!(agent::decode::<Vec<agent::Entry>>(&payload).unwrap().len(), 2);
    // Not every file system has attributes; what it says comes back unchanged.
    let name = ByteBuf::from("user.absent");
    let missing = errno(tree.ask(Request::GetXattr { path: path(), name }).await);
    assert!([Errno::NODATA.raw_os_error(), Errno::OPNOTSUPP.raw_os_error()].contains(&missing));
    if rustix::fs::setxattr(tree.inside("secret"), "user.kind", b"gold", rustix::fs::XattrFlags::empty()).is_ok() {
        let name = ByteBuf::from("user.kind");
        assert_eq!(tree.ask(Request::GetXattr { path: path(), name }).await, (Response::Data, b"gold".to_vec()));
        let names = tree.ask(Request::ListXattr { path: path() }).await.1;
        assert!(names.split(|&byte| byte == 0).any(|name| name == b"user.kind"));
    }
}
