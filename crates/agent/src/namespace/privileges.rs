//! Who the agent's threads are: what each kind of thread gives up, and when.
//!
//! ```text
//!  thread        user and group for files     capabilities that stay
//!  main, link    the agent's own              none
//!  network       the agent's own              NET_ADMIN (redirect rules, socket marks)
//!  files         the target's                 DAC_OVERRIDE, DAC_READ_SEARCH, as far as the target has them
//! ```
//!
//! Linux keeps credentials per thread, so the thread that parses what comes from the link holds nothing, while the file
//! threads are refused exactly what the target would be refused. This bounds mistakes, not an attacker who runs code in
//! the process: threads share memory. `no_new_privs` is set for all.

use rustix::process::Gid;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::{AgentError, Doing};
use crate::namespace::kernel;

/// What the network thread keeps.
pub const NETWORK: CapabilitySet = CapabilitySet::NET_ADMIN;

/// What a file thread may keep.
const FILES: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::DAC_READ_SEARCH);

/// Who a process is to the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    file_uid: u32,
    file_gid: u32,
    groups: Vec<u32>,
    capabilities: CapabilitySet,
}

impl Identity {
    /// From the text of `/proc/PID/status`.
    pub fn from_status(status: &str) -> Option<Identity> {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let ids = |name| -> Option<Vec<u32>> {
            field(name)?.split_whitespace().map(|id| id.parse().ok()).collect::<Option<Vec<u32>>>()
        };
        let (uids, gids) = (ids("Uid")?, ids("Gid")?);
        Some(Identity {
            uid: *uids.get(1)?,
            gid: *gids.get(1)?,
            file_uid: *uids.get(3)?,
            file_gid: *gids.get(3)?,
            groups: ids("Groups")?,
            capabilities: CapabilitySet::from_bits_retain(u64::from_str_radix(field("CapEff")?.trim(), 16).ok()?),
        })
    }

    /// Makes the calling thread reach files as this identity does, and gives up every other privilege.
    ///
    /// Returns what could not be taken over, for the user to read: an agent without `CAP_SETUID`, or one in a user
    /// namespace that maps one id only, stays itself and then sees more or less than the target does.
    pub fn assume(&self) -> Result<Option<String>, AgentError> {
        let taken = self.take_ids(&Identity::own()?);
        restrict(FILES & self.capabilities)?;
        Ok(taken.err().map(|cause| {
            format!("files are not reached as the target's user {}:{}: {cause}", self.file_uid, self.file_gid)
        }))
    }

    /// Asks for what differs only: a user's own namespace often forbids to set even what is in force.
    fn take_ids(&self, own: &Identity) -> std::io::Result<()> {
        if self.groups != own.groups {
            let groups: Vec<Gid> = self.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
            rustix::thread::set_thread_groups(&groups)?;
        }
        if (self.file_uid, self.file_gid) != (own.file_uid, own.file_gid) {
            kernel::set_file_identity(self.file_uid, self.file_gid)?;
        }
        Ok(())
    }

    fn own() -> Result<Identity, AgentError> {
        let status = std::fs::read_to_string("/proc/thread-self/status").doing(|| "read own identity".to_owned())?;
        Identity::from_status(&status).ok_or_else(|| AgentError::NoTarget("failed to read own identity".to_owned()))
    }
}

/// Gives up every capability of the calling thread except those in `keep`.
pub fn restrict(keep: CapabilitySet) -> Result<(), AgentError> {
    let current = rustix::thread::capabilities(None).doing(|| "read own capabilities".to_owned())?;
    let kept = CapabilitySets {
        effective: current.permitted & keep,
        permitted: current.permitted & keep,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, kept).doing(|| "drop capabilities".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nUid:\t0\t33\t0\t34\nGid:\t0\t43\t0\t44\nGroups:\t1 2 \nCapEff:\t0000000000000002\n";

    #[test]
    fn status_is_read() {
        let identity = Identity::from_status(STATUS).unwrap();
        assert_eq!((identity.uid, identity.gid, identity.file_uid, identity.file_gid), (33, 43, 34, 44));
        assert_eq!(identity.groups, [1, 2]);
        assert_eq!(identity.capabilities, CapabilitySet::DAC_OVERRIDE);
        assert_eq!(Identity::from_status("Uid:\t1"), None);
    }

    #[test]
    fn a_file_thread_is_refused_what_the_target_is_refused() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let secret = std::env::temp_dir().join(format!("mirrord-secret-{}", std::process::id()));
        std::fs::write(&secret, "x").unwrap();
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let status = STATUS.replace("0000000000000002", "0000000000000000");
        let identity = Identity::from_status(&status).unwrap();
        let path = secret.clone();
        let seen = std::thread::spawn(move || {
            assert_eq!(identity.assume().unwrap(), None);
            std::fs::read(path).map_err(|error| error.kind())
        });
        assert_eq!(seen.join().unwrap(), Err(std::io::ErrorKind::PermissionDenied));
        assert_eq!(std::fs::read(&secret).unwrap(), b"x", "other threads keep their identity");
        std::fs::remove_file(secret).unwrap();
    }
}
