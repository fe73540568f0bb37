//! The redirect: TCP ports of the target that lead to the agent's listener, as an nf_tables table of our own.
//!
//! The table belongs to the netlink socket that made it (`NFT_TABLE_F_OWNER`): nobody else can change it, and however
//! the agent ends, the kernel removes it together with the socket. There is nothing to clean up and nothing to find
//! again. The kernel works a batch off inside `sendmsg` and has its answers ready when that returns, so the socket is
//! used blockingly, with a limit, on a thread for such work.
//!
//! Called by `incoming`, on the network thread's blocking pool, so that the socket belongs to the target's namespace.

mod message;
mod ruleset;

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use self::message::Batch;
use self::ruleset::Step;

/// Longest wait for the kernel; its answers are there already.
const LIMIT: Duration = Duration::from_secs(2);

/// Receive buffer: each answer repeats the message it belongs to.
const ANSWER: usize = 32 << 10;

/// Why a port cannot be redirected.
#[derive(Debug, thiserror::Error)]
pub enum RedirectError {
    /// No tables that die with their owner: a redirect could outlive the agent.
    #[error("the node's kernel has no nf_tables owner tables (needs Linux 5.12)")]
    NoOwnerTables(Errno),
    /// The agent may not.
    #[error("the agent lacks CAP_NET_ADMIN in the target's network namespace")]
    NotAllowed(Errno),
    /// Anything else that the kernel said.
    #[error("failed to {action} in nf_tables: {errno}")]
    Kernel {
        /// Which step of the transaction.
        action: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

impl RedirectError {
    /// The closest errno.
    pub fn errno(&self) -> i32 {
        match self {
            RedirectError::NoOwnerTables(errno)
            | RedirectError::NotAllowed(errno)
            | RedirectError::Kernel { errno, .. } => errno.raw_os_error(),
        }
    }

    fn new(action: &'static str, errno: Errno) -> RedirectError {
        match errno {
            Errno::PERM | Errno::ACCESS => RedirectError::NotAllowed(errno),
            errno => RedirectError::Kernel { action, errno },
        }
    }
}

/// The table, as long as this lives.
#[derive(Debug)]
pub struct Redirect {
    socket: OwnedFd,
    table: String,
    sequence: u32,
}

impl Redirect {
    /// Creates the table, without ports, in the calling thread's network namespace. `listener` is where ports will lead.
    pub fn create(listener: u16) -> Result<Redirect, RedirectError> {
        let failed = |errno| RedirectError::new("open a netlink socket", errno);
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::NETFILTER),
        )
        .map_err(failed)?;
        rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 0)).map_err(failed)?;
        rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, Some(LIMIT))
            .map_err(failed)?;
        // Several agents may work in one namespace, and each process makes one table at a time.
        let table = format!("mirrord-{}-{listener}", std::process::id());
        let mut redirect = Redirect { socket, table, sequence: 0 };
        redirect.apply(|batch, table| ruleset::create(batch, table, listener)).map_err(|error| match error {
            RedirectError::Kernel {
                action: "create the owner table",
                errno: errno @ (Errno::OPNOTSUPP | Errno::INVAL),
            } => RedirectError::NoOwnerTables(errno),
            other => other,
        })?;
        Ok(redirect)
    }

    /// New connections to `port` lead to the listener.
    pub fn add(&mut self, port: u16) -> Result<(), RedirectError> {
        self.apply(|batch, table| ruleset::add_port(batch, table, port))
    }

    /// New connections to `port` reach the target again; existing ones stay as they are.
    pub fn remove(&mut self, port: u16) -> Result<(), RedirectError> {
        self.apply(|batch, table| ruleset::remove_port(batch, table, port))
    }

    fn apply(&mut self, fill: impl FnOnce(&mut Batch, &str) -> Vec<Step>) -> Result<(), RedirectError> {
        let before = self.sequence;
        let mut batch = Batch::after(before);
        let mut waiting = fill(&mut batch, &self.table);
        self.sequence = batch.sequence();
        rustix::net::send(&self.socket, batch.bytes(), SendFlags::empty())
            .map_err(|errno| RedirectError::new("send a transaction", errno))?;
        let mut buffer = vec![0; ANSWER];
        while !waiting.is_empty() {
            let (len, _) = retry(|| rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty()))
                .map_err(|errno| RedirectError::new("read the kernel's answer", errno))?;
            // A transaction that failed before may have left answers behind.
            for answer in message::answers(&buffer[..len]).into_iter().filter(|answer| answer.sequence > before) {
                let step = waiting.iter().position(|(sequence, _)| *sequence == answer.sequence);
                let action = step.map(|place| waiting.remove(place).1);
                // An answer to the batch's own marks concerns the whole transaction.
                if answer.errno != 0 {
                    let errno = Errno::from_raw_os_error(answer.errno);
                    return Err(RedirectError::new(action.unwrap_or("apply the transaction"), errno));
                }
            }
        }
        Ok(())
    }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests;
