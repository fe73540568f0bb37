//! Owners of remote files as the pod shows them.
//!
//! An unprivileged mount can show only one user: the kernel gives its id for the pod's root and the overflow id for all
//! others. The true ids then come from an attribute that the remote root serves.

use core::ffi::{c_char, c_int};

use crate::context::{self, Context};
use crate::place::Spot;
use crate::sys;

/// Corrects the ids of a remote object that `spot` names.
pub(crate) fn correct(spot: Spot, follow: bool, uid: &mut u32, gid: &mut u32) {
    if let Some(context) = context::active()
        && spot.is_remote
    {
        restore(context, uid, gid, |value| read_at(spot, value, follow));
    }
}

/// Corrects the ids of an open object, if it is remote.
pub(crate) fn correct_open(fd: c_int, device: u64, uid: &mut u32, gid: &mut u32) {
    if let Some(context) = context::active()
        && context.facts.shown_uid.is_some()
        && device == context.facts.remote_device
    {
        restore(context, uid, gid, |value| sys::get_attribute_of(fd, c"security.mirrord.owner", value).ok());
    }
}

fn restore(context: &Context, uid: &mut u32, gid: &mut u32, read: impl FnOnce(&mut [u8; 8]) -> Option<usize>) {
    let (Some(shown_uid), Some(shown_gid)) = (context.facts.shown_uid, context.facts.shown_gid) else { return };
    if *uid == shown_uid && *gid == shown_gid {
        (*uid, *gid) = (0, 0);
        return;
    }
    let mut value = [0; 8];
    if read(&mut value) == Some(8) {
        let [a, b, c, d, e, f, g, h] = value;
        (*uid, *gid) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        return;
    }
    let plain = |id: u32, shown| if id == shown { 0 } else { id };
    (*uid, *gid) = (plain(*uid, shown_uid), plain(*gid, shown_gid));
}

/// The attribute calls have no form with a folder's descriptor, so such a name is opened first.
fn read_at(spot: Spot, value: &mut [u8; 8], follow: bool) -> Option<usize> {
    const OWNER: &core::ffi::CStr = c"security.mirrord.owner";
    if spot.dirfd == libc::AT_FDCWD {
        return sys::get_attribute(spot.path, OWNER, value, follow).ok();
    }
    let nofollow = if follow { 0 } else { libc::O_NOFOLLOW };
    let file = sys::open_at(spot.dirfd, spot.path, libc::O_PATH | libc::O_CLOEXEC | nofollow).ok()?;
    let mut link = [0u8; 32];
    crate::place::descriptor_link(file.0, &mut link);
    sys::get_attribute(link.as_ptr().cast::<c_char>(), OWNER, value, true).ok()
}
