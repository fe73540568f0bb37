//! The session's folder: question socket and policy image, mode 0700, named `mirrord-PID-RANDOM` after its owner.
//!
//! Removed by its owner; when that is killed, by the remote root's holder. Without a holder (no FUSE on this machine)
//! nobody is left to do it, so each session also removes what dead ones of the same user left beside it.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use mirrord_protocol::env;
use rustix::process::Pid;

use crate::error::Error;

const PREFIX: &str = "mirrord-";

/// A folder of ours; removed when dropped.
pub(crate) struct Folder(PathBuf);

// === impl Folder ===

impl Folder {
    /// Creates the folder, which must not exist yet.
    pub(crate) fn create(path: &Path) -> Result<Folder, Error> {
        if let Some(parent) = path.parent() {
            sweep(parent);
        }
        let what = format!("create the session's folder `{}`", path.display());
        std::fs::DirBuilder::new().mode(0o700).create(path).map_err(Error::step(what))?;
        Ok(Folder(path.to_owned()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Only our own two names: anything else in there is not ours to delete, and then the folder stays.
fn remove(folder: &Path) {
    for name in [env::SOCKET_NAME, env::POLICY_NAME] {
        let _ = std::fs::remove_file(folder.join(name));
    }
    let _ = std::fs::remove_dir(folder);
}

/// Removes folders of dead sessions of this user. What cannot be read or removed is left alone.
fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    let own = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let is_dead = owner(&entry.file_name().to_string_lossy()).is_some_and(is_dead);
        // Not followed: a link with such a name is somebody's trick.
        let is_ours = entry.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == own);
        if is_dead && is_ours {
            remove(&entry.path());
        }
    }
}

fn owner(name: &str) -> Option<Pid> {
    let (pid, random) = name.strip_prefix(PREFIX)?.split_once('-')?;
    let is_random = !random.is_empty() && random.bytes().all(|byte| byte.is_ascii_hexdigit());
    Pid::from_raw(pid.parse().ok().filter(|_| is_random)?)
}

fn is_dead(pid: Pid) -> bool {
    rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_session_is_swept_and_a_living_one_stays() {
        let parent = std::env::temp_dir().join(format!("folder-test-{}", std::process::id()));
        std::fs::create_dir(&parent).unwrap();
        let child = std::process::Command::new("true").spawn().unwrap();
        let dead = parent.join(format!("mirrord-{}-00ff", child.id()));
        { child }.wait().unwrap();
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join(env::POLICY_NAME), "").unwrap();
        let living = parent.join(format!("mirrord-{}-00ff", std::process::id()));
        let folder = Folder::create(&living).unwrap();
        assert!(!dead.exists());
        drop(Folder::create(&parent.join("mirrord-1-aa")).unwrap());
        assert!(living.exists());
        drop(folder);
        assert!(!living.exists());
        std::fs::remove_dir(&parent).unwrap();
    }

    #[test]
    fn only_names_of_sessions_count() {
        assert!(owner("mirrord-12-ab").is_some());
        for name in ["mirrord-12", "mirrord-x-ab", "mirrord-12-", "mirrord-12-xyz", "other-12-ab", "mirrord-0-ab"] {
            assert!(owner(name).is_none(), "{name}");
        }
    }
}
