//! Does a listening socket belong to a program of this session?
//!
//! "Loopback means the target's loopback, except our own listeners": a test server that the program itself started on
//! 127.0.0.1 must stay reachable for it, while another local process's listener must not hide the target's. Nothing is
//! remembered: the kernel is asked which sockets listen and who holds them. Our programs are the descendants of this
//! process (orphans come back to it, since the CLI is a subreaper).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;

use crate::sock_diag;

/// Most processes looked at: a session with more is no reason to stall a `connect`.
const PROCESSES: usize = 4096;

/// True when one of our descendants listens where a `connect` to `remote` would arrive on this machine. Blocking: reads
/// /proc, but only when some local listener exists there at all.
pub(crate) fn listens_here(remote: SocketAddr) -> bool {
    let at = match remote.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from(([127, 0, 0, 1], remote.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, remote.port())),
        _ => remote,
    };
    match sock_diag::listening(at) {
        Ok(Some(listener)) => held_by_descendant(listener.inode),
        Ok(None) => false,
        Err(error) => {
            tracing::warn!(%error, "failed to ask the kernel for listeners");
            false
        }
    }
}

fn held_by_descendant(inode: u32) -> bool {
    let wanted = format!("socket:[{inode}]");
    let mut queue: VecDeque<u32> = children(std::process::id()).into();
    let mut seen = 0;
    while let Some(pid) = queue.pop_front() {
        seen += 1;
        if seen > PROCESSES {
            return false;
        }
        if holds(pid, wanted.as_bytes()) {
            return true;
        }
        queue.extend(children(pid));
    }
    false
}

fn holds(pid: u32, wanted: &[u8]) -> bool {
    // The process may end at any time: then it holds nothing.
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors
        .flatten()
        .any(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str().as_bytes() == wanted))
}

/// Children of every thread of a process; `proc_pid_children(5)`.
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u32>>())
        .collect()
}
