//! The remote root as a program meets it, with a folder of this machine as the pod.
//!
//! Every test runs as whoever runs the tests; the last one runs them all again as an ordinary user when that is root.
//! Where `/dev/fuse` is closed to the user they say so and pass.

#![cfg(target_os = "linux")]

mod root_support;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mirrord_protocol::agent::Request;
use root_support::World;
use rustix::event::{PollFd, PollFlags, poll};

/// An id that no machine uses.
const ORDINARY_USER: u32 = 54_321;

#[test]
fn small_file_costs_one_question() {
    let Some(world) = World::new("small") else { return };
    fs::write(world.there("hosts"), "10.0.0.1 db\n").unwrap();
    world.asked();
    assert_eq!(fs::read_to_string(world.here("hosts")).unwrap(), "10.0.0.1 db\n");
    let asked = world.asked();
    assert!(matches!(&asked[..], [Request::Lookup { .. }]), "{asked:?}");
    let counters = world.root.as_ref().unwrap().counters();
    assert_eq!((counters.opened, counters.bytes), (1, 12));
}

#[test]
fn attributes_are_those_of_the_pod() {
    let Some(world) = World::new("attributes") else { return };
    fs::write(world.there("a"), "x").unwrap();
    fs::set_permissions(world.there("a"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(world.there("a"), world.there("b")).unwrap();
    let (there, here) = (fs::metadata(world.there("a")).unwrap(), fs::metadata(world.here("a")).unwrap());
    assert_eq!(here.mode(), there.mode());
    assert_eq!((here.mtime(), here.mtime_nsec()), (there.mtime(), there.mtime_nsec()));
    assert_eq!((here.size(), here.nlink(), here.blocks()), (1, 2, there.blocks()));
    assert_eq!(here.dev(), world.root.as_ref().unwrap().device());
    assert_eq!(here.ino(), fs::metadata(world.here("b")).unwrap().ino());
}

#[test]
fn large_file_is_read_whole_and_at_random() {
    let Some(world) = World::new("large") else { return };
    let content: Vec<u8> = (0..3_000_017u32).flat_map(u32::to_le_bytes).collect();
    fs::write(world.there("large"), &content).unwrap();
    assert!(fs::read(world.here("large")).unwrap() == content);
    let file = File::open(world.here("large")).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let mut part = [0; 1000];
    for offset in [11_000_000usize, 5, 7_654_321, 131_000, 393_000] {
        file.read_exact_at(&mut part, offset as u64).unwrap();
        assert_eq!(part[..], content[offset..offset + 1000]);
    }
    assert_eq!(file.read_at(&mut part, content.len() as u64).unwrap(), 0);
}

#[test]
fn program_of_the_pod_can_be_mapped_and_run() {
    let Some(world) = World::new("exec") else { return };
    fs::copy("/bin/true", world.there("true")).unwrap();
    assert!(Command::new(world.here("true")).status().unwrap().success());
}

#[test]
fn directory_shows_every_name_once_and_answers_for_its_files() {
    let Some(world) = World::new("directory") else { return };
    fs::create_dir(world.there("d")).unwrap();
    for number in 0..1200 {
        File::create(world.there(&format!("d/{number}"))).unwrap();
    }
    fs::write(world.there("d").join(OsStr::from_bytes(b"\xff\xfe")), "bytes").unwrap();
    world.asked();
    let mut names: Vec<_> = fs::read_dir(world.here("d")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    for name in &names {
        fs::symlink_metadata(world.here("d").join(name)).unwrap();
    }
    let asked = world.asked().len();
    assert!(asked <= 10, "{asked} questions");
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 1201);
    assert_eq!(fs::read(world.here("d").join(OsStr::from_bytes(b"\xff\xfe"))).unwrap(), b"bytes");
}

#[test]
fn many_missing_names_cost_few_questions() {
    let Some(world) = World::new("missing") else { return };
    fs::create_dir(world.there("d")).unwrap();
    fs::metadata(world.here("d")).unwrap();
    world.asked();
    for number in 0..1000 {
        let error = fs::metadata(world.here(&format!("d/{number}"))).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }
    let asked = world.asked().len();
    assert!(asked <= 10, "{asked} questions");
}

#[test]
fn change_in_the_pod_is_seen_after_a_second() {
    let Some(world) = World::new("change") else { return };
    fs::write(world.there("a"), "before").unwrap();
    assert_eq!(fs::read(world.here("a")).unwrap(), b"before");
    assert!(fs::metadata(world.here("new")).is_err());
    let mut open = File::open(world.here("a")).unwrap();
    fs::write(world.there("a"), "after, and longer").unwrap();
    fs::write(world.there("new"), "").unwrap();
    let deadline = Instant::now() + Duration::from_secs(2);
    while fs::read(world.here("a")).unwrap() != b"after, and longer" || fs::metadata(world.here("new")).is_err() {
        assert!(Instant::now() < deadline, "still stale");
        std::thread::yield_now();
    }
    open.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "after, and longer");
}

#[test]
fn file_replaced_after_a_look_is_opened_as_the_new_one() {
    let Some(world) = World::new("replaced") else { return };
    fs::write(world.there("a"), vec![1; 200_000]).unwrap();
    fs::write(world.there("next"), vec![2; 200_000]).unwrap();
    fs::metadata(world.here("a")).unwrap();
    fs::rename(world.there("next"), world.there("a")).unwrap();
    assert!(fs::read(world.here("a")).unwrap() == vec![2; 200_000]);
}

#[test]
fn removed_file_stays_readable_while_open() {
    let Some(world) = World::new("removed") else { return };
    fs::write(world.there("a"), vec![7; 1 << 20]).unwrap();
    let mut open = File::open(world.here("a")).unwrap();
    fs::remove_file(world.there("a")).unwrap();
    let mut content = Vec::new();
    open.read_to_end(&mut content).unwrap();
    assert_eq!(content.len(), 1 << 20);
    assert!(open.metadata().is_ok());
}

#[test]
fn empty_file_is_seen_to_grow() {
    let Some(world) = World::new("unsized") else { return };
    fs::write(world.there("empty"), "").unwrap();
    assert_eq!(fs::read(world.here("empty")).unwrap(), b"");
    let mut open = File::open(world.here("empty")).unwrap();
    fs::write(world.there("empty"), "grown").unwrap();
    let mut text = String::new();
    open.read_to_string(&mut text).unwrap();
    assert_eq!(text, "grown");
}

#[test]
fn files_that_lie_about_their_size_are_read() {
    let Some(world) = World::over_this_machine("lying") else { return };
    assert_eq!(fs::read(world.here("proc/version")).unwrap(), fs::read("/proc/version").unwrap());
    let number = fs::read_to_string(world.here("sys/kernel/uevent_seqnum")).unwrap();
    assert!(number.trim().parse::<u64>().is_ok(), "{number:?}");
}

#[test]
fn links_stay_in_the_remote_root() {
    let Some(world) = World::new("links") else { return };
    fs::create_dir_all(world.there("etc/deep")).unwrap();
    fs::write(world.there("etc/passwd"), "pod").unwrap();
    symlink("/etc/passwd", world.there("etc/deep/absolute")).unwrap();
    symlink("../passwd", world.there("etc/deep/relative")).unwrap();
    symlink("../../../../../../etc/passwd", world.there("etc/deep/climbing")).unwrap();
    for name in ["absolute", "relative", "climbing"] {
        assert_eq!(fs::read_to_string(world.here("etc/deep").join(name)).unwrap(), "pod", "{name}");
    }
    let link = world.here("etc/deep/absolute");
    assert_eq!(fs::symlink_metadata(&link).unwrap().len(), "/etc/passwd".len() as u64);
    let mut text = fs::read_link(&link).unwrap().as_os_str().as_bytes().to_vec();
    let len = mirrord_protocol::link_target::decode(&mut text);
    assert_eq!(&text[..len], b"/etc/passwd");
    assert_eq!(fs::read_to_string(world.here("../../../etc/passwd")).unwrap(), "pod");
}

#[test]
fn working_directory_is_named_by_its_remote_path() {
    let Some(world) = World::new("cwd") else { return };
    fs::create_dir_all(world.there("srv/app")).unwrap();
    let output = helper("helper_shows_its_working_directory", &world.here("srv/app")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("cwd=(unreachable)/srv/app"), "{text}");
}

#[test]
fn locks_exclude_each_other() {
    use rustix::fs::{FlockOperation, flock};
    let Some(world) = World::new("locks") else { return };
    fs::write(world.there("a"), "x").unwrap();
    let (first, second) = (File::open(world.here("a")).unwrap(), File::open(world.here("a")).unwrap());
    flock(&first, FlockOperation::NonBlockingLockExclusive).unwrap();
    let refused = flock(&second, FlockOperation::NonBlockingLockExclusive).unwrap_err();
    assert_eq!(refused, rustix::io::Errno::WOULDBLOCK);
    drop(first);
    flock(&second, FlockOperation::NonBlockingLockExclusive).unwrap();
}

#[test]
fn modification_is_refused() {
    let Some(world) = World::new("read-only") else { return };
    fs::write(world.there("a"), "x").unwrap();
    let outcomes = [
        fs::write(world.here("a"), "y"),
        fs::write(world.here("new"), "y"),
        fs::remove_file(world.here("a")),
        fs::create_dir(world.here("d")),
        fs::rename(world.here("a"), world.here("b")),
        fs::set_permissions(world.here("a"), fs::Permissions::from_mode(0o600)),
        rustix::fs::access(world.here("a"), rustix::fs::Access::WRITE_OK).map_err(Into::into),
    ];
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().raw_os_error(), Some(libc::EROFS));
    }
}

#[test]
fn owner_is_told_where_it_cannot_be_shown() {
    let Some(world) = World::new("owner") else { return };
    fs::write(world.there("a"), "x").unwrap();
    let there = fs::metadata(world.there("a")).unwrap();
    let mut owner = [0u8; 8];
    rustix::fs::getxattr(world.here("a"), "security.mirrord.owner", &mut owner).unwrap();
    assert_eq!(owner[..4], there.uid().to_le_bytes());
    assert_eq!(owner[4..], there.gid().to_le_bytes());
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(world.root.as_ref().unwrap().shows_ids(), is_root);
}

#[test]
fn slow_question_stops_nobody() {
    let Some(world) = World::with_delay("slow", Duration::from_millis(200)) else { return };
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..16 {
            let path = world.here(&format!("{number}"));
            scope.spawn(move || fs::metadata(path).unwrap_err());
        }
    });
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

#[test]
fn large_file_fills_a_slow_link() {
    let Some(world) = World::with_delay("window", Duration::from_millis(50)) else { return };
    fs::write(world.there("large"), vec![3; 8 << 20]).unwrap();
    let begun = Instant::now();
    assert_eq!(fs::read(world.here("large")).unwrap().len(), 8 << 20);
    // One request after the other it would be more than 3 seconds.
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

#[test]
fn walk_along_a_known_path_costs_one_round_trip() {
    const DELAY: Duration = Duration::from_millis(100);
    let Some(world) = World::with_delay("walk", DELAY) else { return };
    fs::create_dir_all(world.there("a/b/c/d")).unwrap();
    fs::write(world.there("a/b/c/d/e"), "x").unwrap();
    fs::metadata(world.here("a/b/c/d/e")).unwrap();
    // Nothing tells when a second is over but time.
    std::thread::sleep(Duration::from_millis(1050));
    let begun = Instant::now();
    fs::metadata(world.here("a/b/c/d/e")).unwrap();
    // One after the other it would be five.
    assert!(begun.elapsed() < DELAY * 3, "{:?}", begun.elapsed());
}

#[test]
fn nothing_but_the_root_itself_is_there_before_the_agent() {
    let Some(world) = World::new("early") else { return };
    drop(world);
    let folder = std::env::temp_dir().join(format!("mirrord-root-early-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let root = proxy_core::root::Root::mount(runtime.handle().clone(), &folder).unwrap();
    let path = Path::new(OsStr::from_bytes(root.path()));
    assert!(fs::metadata(path.join(".")).unwrap().is_dir());
    assert_eq!(fs::metadata(path.join("etc")).unwrap_err().raw_os_error(), Some(libc::EIO));
}

#[test]
fn end_of_the_root_ends_the_holder_and_its_folder() {
    let Some(mut world) = World::new("end") else { return };
    let holder = world.root.as_ref().unwrap().holder();
    fs::write(world.scratch.join("session/policy"), "x").unwrap();
    world.root = None;
    assert!(!Path::new(&format!("/proc/{holder}")).exists());
    assert!(!world.scratch.join("session").exists());
}

#[test]
fn holder_keeps_little_memory_of_the_proxy() {
    let ballast = vec![1u8; 64 << 20];
    let Some(world) = World::new("memory") else { return };
    let holder = world.root.as_ref().unwrap().holder();
    let status = || fs::read_to_string(format!("/proc/{holder}/status")).unwrap();
    let resident = |status: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    while resident(&status()) > 4096 {
        assert!(Instant::now() < deadline, "{}", status());
        std::thread::yield_now();
    }
    assert_eq!(status().lines().next(), Some("Name:\tmirrord-root"));
    assert_eq!(ballast[ballast.len() - 1], 1);
}

#[test]
fn killed_proxy_leaves_neither_holder_nor_folder() {
    let Some(world) = World::new("killed") else { return };
    let folder = world.scratch.join("other-session");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("proxy.sock"), "").unwrap();
    let mut proxy = helper("helper_holds_a_root", &folder).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(proxy.stdout.take().unwrap()).lines();
    let holder = lines.find_map(|line| line.unwrap().strip_prefix("holder=").map(str::to_owned)).unwrap();
    let holder = rustix::process::Pid::from_raw(holder.parse().unwrap()).unwrap();
    let pidfd = rustix::process::pidfd_open(holder, rustix::process::PidfdFlags::empty()).unwrap();
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM, rustix::process::Signal::HUP] {
        rustix::process::kill_process(holder, signal).unwrap();
    }
    let limit = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).unwrap(), 0, "a signal ended the holder");
    let path = format!("/proc/{}/root/", holder.as_raw_nonzero());
    let flags = rustix::fs::OFlags::PATH;
    let open = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).unwrap();
    proxy.kill().unwrap();
    let limit = rustix::event::Timespec { tv_sec: 5, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).unwrap(), 1, "the holder lives on");
    assert!(!folder.exists());
    let error = rustix::fs::statat(&open, "etc", rustix::fs::AtFlags::empty()).unwrap_err();
    assert_eq!(error, rustix::io::Errno::NOTCONN, "a program that outlives its session");
    proxy.wait().unwrap();
}

#[test]
fn everything_holds_for_an_ordinary_user() {
    let mode = fs::metadata("/dev/fuse").map_or(0, |found| found.mode());
    if !rustix::process::geteuid().is_root() || mode & 0o006 != 0o006 {
        eprintln!("skipped: needs root, and /dev/fuse open to users");
        return;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--skip", "everything_holds_for_an_ordinary_user"])
        .uid(ORDINARY_USER)
        .gid(ORDINARY_USER)
        .current_dir("/")
        .status()
        .unwrap();
    assert!(status.success());
}

/// Figures, not a test: `cargo test -p proxy_core --test root -- --ignored --nocapture figures`.
#[test]
#[ignore = "a benchmark"]
fn figures() {
    const ROUNDS: u32 = 20_000;
    let Some(world) = World::new("figures") else { return };
    fs::write(world.there("large"), vec![1; 512 << 20]).unwrap();
    fs::create_dir(world.there("d")).unwrap();
    for number in 0..2000 {
        File::create(world.there(&format!("d/{number}"))).unwrap();
    }
    let measure = |what: &str, rounds: u32, mut run: Box<dyn FnMut(u32) + '_>| {
        let begun = Instant::now();
        (0..rounds).for_each(&mut run);
        println!("{what}: {:.2} us", begun.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
    };
    let path = world.here("large");
    measure("stat, known to the kernel", ROUNDS, Box::new(|_| assert!(fs::metadata(&path).is_ok())));
    let names: Vec<_> = (0..2000).map(|number| world.here(&format!("missing-{number}"))).collect();
    measure(
        "stat of a missing name, known to the proxy",
        2000,
        Box::new(|at| assert!(fs::metadata(&names[at as usize]).is_err())),
    );
    let names: Vec<_> = (0..2000).map(|number| world.here(&format!("d/{number}"))).collect();
    measure("stat that asks the pod", 2000, Box::new(|at| assert!(fs::metadata(&names[at as usize]).is_ok())));
    let there: Vec<_> = (0..2000).map(|number| world.there(&format!("d/{number}"))).collect();
    measure("the same without us", 2000, Box::new(|at| assert!(fs::metadata(&there[at as usize]).is_ok())));
    let (begun, mut total, mut buffer) = (Instant::now(), 0, vec![0; 1 << 20]);
    let mut file = File::open(&path).unwrap();
    while let Ok(more @ 1..) = file.read(&mut buffer) {
        total += more;
    }
    println!("sequential read: {:.0} MB/s", total as f64 / 1e6 / begun.elapsed().as_secs_f64());
}

/// This test program again, as another process that runs one of the helpers below.
fn helper(name: &str, argument: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--ignored", "--nocapture"]).env("ROOT_TEST_ARGUMENT", argument);
    command
}

#[test]
#[ignore = "run by another test"]
fn helper_shows_its_working_directory() {
    rustix::process::chdir(&*std::env::var_os("ROOT_TEST_ARGUMENT").unwrap()).unwrap();
    let directory = rustix::process::getcwd(Vec::new()).unwrap();
    println!("\ncwd={}", directory.to_string_lossy());
}

#[test]
#[ignore = "run by another test"]
fn helper_holds_a_root() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = std::env::var_os("ROOT_TEST_ARGUMENT").unwrap();
    let root = proxy_core::root::Root::mount(runtime.handle().clone(), Path::new(&folder)).unwrap();
    println!("\nholder={}", root.holder());
    // Until it is killed.
    std::thread::park();
}
