//! Why the remote root could not be made, as a sentence for the user and one next action.
//!
//! The holder process reports a [`Step`] and an errno; everything a person reads is written here.

use std::fmt;
use std::io;

/// Where making the remote root stopped. Travels as a number from the holder to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Step {
    Folder = 1,
    Process,
    Session,
    Namespace,
    UserMap,
    Propagation,
    Device,
    Mount,
    Handover,
    Enter,
    Pivot,
    Detach,
    Serve,
    Lost,
}

impl Step {
    const ALL: [Step; 14] = [
        Step::Folder,
        Step::Process,
        Step::Session,
        Step::Namespace,
        Step::UserMap,
        Step::Propagation,
        Step::Device,
        Step::Mount,
        Step::Handover,
        Step::Enter,
        Step::Pivot,
        Step::Detach,
        Step::Serve,
        Step::Lost,
    ];

    /// The step with this number; an unknown one means that the holder is not what we started.
    pub(super) fn from_number(number: u32) -> Step {
        Step::ALL.into_iter().find(|&step| step as u32 == number).unwrap_or(Step::Lost)
    }

    fn what(self) -> &'static str {
        match self {
            Step::Folder => "open the session folder",
            Step::Process => "start the process that holds the remote root",
            Step::Session => "detach the process that holds the remote root from the terminal",
            Step::Namespace => "create a private namespace for the remote root",
            Step::UserMap => "map your user into the namespace of the remote root",
            Step::Propagation => "keep the mounts of the remote root private",
            Step::Device => "open `/dev/fuse`",
            Step::Mount => "mount the remote root",
            Step::Handover => "hand the remote root over to the proxy",
            Step::Enter => "enter the remote root",
            Step::Pivot => "make the remote files the root of their namespace",
            Step::Detach => "detach the local files from the namespace of the remote root",
            Step::Serve => "serve the remote root",
            Step::Lost => "hear from the process that holds the remote root",
        }
    }
}

/// The remote root could not be made. `Display` is one sentence without full stop; [`RootError::hint`] is the one next
/// action, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootError {
    pub(super) step: Step,
    pub(super) errno: i32,
}

impl RootError {
    pub(super) fn new(step: Step, cause: &io::Error) -> RootError {
        RootError { step, errno: cause.raw_os_error().unwrap_or(libc::EIO) }
    }

    /// The errno of the step that failed.
    pub fn errno(&self) -> i32 {
        self.errno
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match (self.step, self.errno) {
            // AppArmor lets the namespace be made, and then denies the first thing done in it.
            (Step::Namespace | Step::UserMap | Step::Propagation, libc::EPERM | libc::EACCES) => Some(
                "Allow unprivileged user namespaces: `sudo sysctl kernel.unprivileged_userns_clone=1` on Debian, \
                 `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0` on Ubuntu 24.04 or newer, a seccomp profile \
                 that admits `unshare` and `mount` in a container; or run as root",
            ),
            (Step::Namespace, libc::ENOSPC | libc::EUSERS) => Some(
                "Raise the limit, for example `sudo sysctl user.max_user_namespaces=10000 user.max_mnt_namespaces=10000`",
            ),
            (Step::Namespace, libc::EINVAL | libc::ENOSYS) => {
                Some("Use a kernel with user namespaces (CONFIG_USER_NS), or run as root")
            }
            (Step::Device, libc::EACCES | libc::EPERM) => Some(
                "Open the device to users, as distributions do: `sudo chmod 0666 /dev/fuse`; in a container also pass it \
                 with `--device /dev/fuse`",
            ),
            (Step::Device, libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
                Some("Load the kernel module with `sudo modprobe fuse`; in a container pass `--device /dev/fuse`")
            }
            (Step::Mount, libc::EPERM | libc::EACCES) => Some(
                "Mounting FUSE in a user namespace is denied here: check AppArmor (`sudo aa-status`) or SELinux, in a \
                 container its security profile; or run as root",
            ),
            (Step::Mount, libc::ENODEV) => Some("Load the kernel module with `sudo modprobe fuse`"),
            (Step::Folder, _) => Some("Check that the session folder exists and belongs to you"),
            (Step::Process, libc::EAGAIN) => Some("Raise the limit of processes (`ulimit -u`)"),
            _ => None,
        }
    }
}

impl fmt::Display for RootError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = io::Error::from_raw_os_error(self.errno);
        write!(out, "failed to {}: {cause}", self.step.what())
    }
}

impl std::error::Error for RootError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_survives_its_number() {
        for step in Step::ALL {
            assert_eq!(Step::from_number(step as u32), step);
        }
        assert_eq!(Step::from_number(99), Step::Lost);
    }

    #[test]
    fn closed_device_is_explained() {
        let error = RootError { step: Step::Device, errno: libc::EACCES };
        assert_eq!(error.to_string(), "failed to open `/dev/fuse`: Permission denied (os error 13)");
        assert!(error.hint().is_some_and(|hint| hint.contains("chmod 0666 /dev/fuse")));
    }
}
