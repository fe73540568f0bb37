//! The target: which process it is, what of it the session shows, and when it ends.
//!
//! Everything that needs `CAP_SYS_PTRACE` is opened here, once, before capabilities are dropped: afterwards the session
//! works on descriptors only, so a reused process id cannot lead it astray. Called by `life` at start.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use crate::cgroup;
use crate::command::TargetChoice;
use crate::ending::Ending;
use crate::error::{AgentError, Doing};
use crate::namespace::privileges::Identity;

/// Largest environment that fits into the first frame beside its head.
pub const ENVIRONMENT_LIMIT: usize = 960 << 10;

/// Longest `/proc` text file that is read.
const PROC_LIMIT: u64 = 1 << 20;

/// The process whose place the session takes, or the agent itself when there is none.
pub struct Target {
    /// Process id as the agent sees it; 0 = targetless.
    pub pid: u32,
    /// Its root directory.
    pub root: OwnedFd,
    /// Its network namespace, when that is not the agent's own.
    pub network: Option<OwnedFd>,
    /// Its host name namespace, when that is not the agent's own.
    pub names: Option<OwnedFd>,
    /// Who it runs as.
    pub identity: Identity,
    /// Working directory, as a path in its root.
    pub cwd: Vec<u8>,
    /// `/proc/PID/environ`, at most [`ENVIRONMENT_LIMIT`] bytes.
    pub environment: Vec<u8>,
    /// What the user should know about it.
    pub notices: Vec<String>,
    ending: Option<Ending>,
}

impl Target {
    /// Finds and opens the target.
    ///
    /// Needs a tokio context for [`Target::ended`].
    pub fn open(choice: &TargetChoice) -> Result<Target, AgentError> {
        let pid = match choice {
            TargetChoice::Container(id) => find_container(id)?,
            TargetChoice::Pid(pid) => *pid,
            TargetChoice::Targetless => return open_own(),
        };
        let handle =
            Pid::from_raw(pid).ok_or_else(|| AgentError::NoTarget(format!("no process has the id `{pid}`")))?;
        // Watched first: what is opened through the number afterwards is checked against it below.
        let watch = || format!("watch the target process: {pid}");
        let ending = Ending::of(handle).doing(watch)?;
        let mut target = open_process(pid, &pid.to_string())?;
        if ending.has_come().doing(watch)? {
            return Err(AgentError::NoTarget(format!("the target process `{pid}` has just ended")));
        }
        target.ending = Some(ending);
        Ok(target)
    }

    /// Waits until the target process has ended; for ever when there is none.
    pub async fn ended(&self) {
        match &self.ending {
            Some(ending) => ending.wait().await,
            None => std::future::pending().await,
        }
    }
}

fn open_process(pid: i32, name: &str) -> Result<Target, AgentError> {
    let root = open_path(&format!("/proc/{name}/root"), OFlags::PATH | OFlags::DIRECTORY)
        .doing(|| format!("open the target's root directory: process {pid}"))?;
    let status = read_text(&format!("/proc/{name}/status"))?;
    let identity = Identity::from_status(&status)
        .ok_or_else(|| AgentError::NoTarget(format!("failed to read the identity of process `{pid}`")))?;
    let cwd = fs::read_link(format!("/proc/{name}/cwd"))
        .doing(|| format!("read the target's working directory: process {pid}"))?;
    let (environment, cut) = read_environment(&format!("/proc/{name}/environ"))
        .doing(|| format!("read the target's environment: process {pid}"))?;
    let notices = cut
        .then(|| {
            format!("the target's environment is longer than {ENVIRONMENT_LIMIT} bytes; the rest of it is missing")
        })
        .into_iter()
        .collect();
    Ok(Target {
        pid: pid.unsigned_abs(),
        root,
        network: foreign_namespace(name, "net")?,
        names: foreign_namespace(name, "uts")?,
        identity,
        cwd: path_in_root(cwd),
        environment,
        notices,
        ending: None,
    })
}

/// The agent's own pod: its root, its network, and its environment without mirrord's own variables.
fn open_own() -> Result<Target, AgentError> {
    let mut target = open_process(0, "self")?;
    target.environment = target
        .environment
        .split_inclusive(|&byte| byte == 0)
        .filter(|variable| !variable.starts_with(b"MIRRORD_") && variable[0] != 0)
        .flatten()
        .copied()
        .collect();
    Ok(target)
}

/// `/proc/PID/cwd` of a process in another mount namespace may lie outside what its root shows.
fn path_in_root(cwd: std::path::PathBuf) -> Vec<u8> {
    use std::os::unix::ffi::OsStringExt;
    let cwd = cwd.into_os_string().into_vec();
    if cwd.first() == Some(&b'/') { cwd } else { b"/".to_vec() }
}

fn open_path(path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
}

/// A namespace of the target, or `None` when the agent is in it already and needs no privilege to enter it.
fn foreign_namespace(name: &str, kind: &str) -> Result<Option<OwnedFd>, AgentError> {
    let path = format!("/proc/{name}/ns/{kind}");
    let theirs = open_path(&path, OFlags::RDONLY).doing(|| format!("open a namespace of the target: {path}"))?;
    let ours =
        open_path(&format!("/proc/self/ns/{kind}"), OFlags::RDONLY).doing(|| format!("open own namespace: {kind}"))?;
    let identity = |fd: &OwnedFd| {
        rustix::fs::fstat(fd.as_fd())
            .map(|stat| (stat.st_dev, stat.st_ino))
            .doing(|| format!("examine a namespace: {kind}"))
    };
    Ok((identity(&theirs)? != identity(&ours)?).then_some(theirs))
}

fn read_text(path: &str) -> Result<String, AgentError> {
    let bytes = read_limited(path, PROC_LIMIT).doing(|| format!("read {path}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn read_limited(path: &str, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_environment(path: &str) -> io::Result<(Vec<u8>, bool)> {
    let mut environment = read_limited(path, ENVIRONMENT_LIMIT as u64 + 1)?;
    let cut = environment.len() > ENVIRONMENT_LIMIT;
    if cut {
        environment.truncate(ENVIRONMENT_LIMIT);
        let whole = environment.iter().rposition(|&byte| byte == 0).map_or(0, |end| end + 1);
        environment.truncate(whole);
    }
    Ok((environment, cut))
}

/// First process of a container: the one of its cgroup that started first.
fn find_container(id: &str) -> Result<i32, AgentError> {
    let processes = fs::read_dir("/proc").doing(|| "list the processes".to_owned())?;
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| {
            // Processes come and go while we look: one that cannot be read any more is not the target.
            let cgroup = read_limited(&format!("/proc/{pid}/cgroup"), PROC_LIMIT).ok()?;
            cgroup::names_container(&String::from_utf8_lossy(&cgroup), id).then_some(pid)
        })
        .filter_map(|pid| Some((start_time(&read_limited(&format!("/proc/{pid}/stat"), PROC_LIMIT).ok()?)?, pid)))
        .min()
        .map(|(_, pid)| pid)
        .ok_or_else(|| {
            AgentError::NoTarget(format!(
                "no process of container `{id}` is visible here; the agent needs the node's process ids (hostPID)"
            ))
        })
}

/// Field 22 of `/proc/PID/stat`; the command name before it may contain anything, also parentheses.
fn start_time(stat: &[u8]) -> Option<u64> {
    let after_name = &stat[stat.iter().rposition(|&byte| byte == b')')? + 1..];
    std::str::from_utf8(after_name).ok()?.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_survives_hostile_command_names() {
        let stat = b"7 (a) S 1 (b)) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9 9";
        assert_eq!(start_time(stat), Some(4711));
        assert_eq!(start_time(b""), None);
        assert_eq!(start_time(b"1 (x) S"), None);
    }

    #[test]
    fn long_environment_is_cut_between_variables() {
        let folder = std::env::temp_dir().join(format!("mirrord-environment-{}", std::process::id()));
        let variable = [b"A=".as_slice(), &[b'x'; 1000], b"\0"].concat();
        fs::write(&folder, variable.repeat(ENVIRONMENT_LIMIT / variable.len() + 2)).unwrap();
        let (environment, cut) = read_environment(folder.to_str().unwrap()).unwrap();
        fs::remove_file(&folder).unwrap();
        assert!(cut && environment.len() <= ENVIRONMENT_LIMIT);
        assert_eq!(environment.len() % variable.len(), 0);
    }

    #[tokio::test]
    async fn a_process_that_ends_is_noticed() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let target = Target::open(&TargetChoice::Pid(pid)).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(5), target.ended()).await.unwrap();
        assert!(Target::open(&TargetChoice::Pid(pid)).is_err());
    }
}
