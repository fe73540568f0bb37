//! The network thread: one OS thread inside the target's network namespace, with its own runtime.
//!
//! `setns(CLONE_NEWNET)` acts on the calling thread, and a socket belongs for ever to the namespace of the thread that
//! made it. So everything that makes sockets for the target (`dns`, `outgoing`, `incoming`, `netlink`) runs as a task of
//! this thread, while the link stays on the main thread in the agent's own namespace.
//!
//! ```text
//!  main thread                             network thread (target's namespace)
//!  link, sessions ──Network::spawn(task)──> connects, resolves, listens, relays
//! ```
//!
//! The thread lives as long as the process.

pub mod kernel;
pub mod privileges;

use std::future::Future;
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::thread::LinkNameSpaceType;
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::error::{AgentError, Doing};
use crate::target::Target;

/// Marks the agent's own connections for the redirect rules. Marks do not leave a network namespace; the low bits are
/// clear of those that meshes and kube-proxy use.
pub const MARK: u32 = 0x6d69_7200;

/// Stack of a thread: none of ours recurses.
pub const STACK: usize = 256 << 10;

/// Longest wait for tasks at the agent's end.
const SETTLE: Duration = Duration::from_millis(500);

/// Runs tasks inside the target's network namespace.
#[derive(Clone, Debug)]
pub struct Network {
    handle: Handle,
    tasks: TaskTracker,
    marks: bool,
}

/// What the thread tells about the namespaces it entered.
struct Entered {
    network: Network,
    hostname: Vec<u8>,
}

impl Network {
    /// Starts the thread; returns it with the target's host name.
    pub fn start(target: &Target) -> Result<(Network, Vec<u8>), AgentError> {
        let clone = |namespace: &Option<std::os::fd::OwnedFd>| {
            namespace
                .as_ref()
                .map(|fd| fd.try_clone().doing(|| "keep a namespace of the target".to_owned()))
                .transpose()
        };
        let (network, names) = (clone(&target.network)?, clone(&target.names)?);
        let (entered_tx, entered_rx) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("network".to_owned())
            .stack_size(STACK)
            .spawn(move || match enter(network, names) {
                Ok((entered, runtime)) => {
                    // The starter waits for this message, so it cannot be gone.
                    let _ = entered_tx.send(Ok(entered));
                    runtime.block_on(std::future::pending::<()>());
                }
                Err(error) => drop(entered_tx.send(Err(error))),
            })
            .doing(|| "start the network thread".to_owned())?;
        let entered = entered_rx
            .recv()
            .map_err(|_| AgentError::NoTarget("the network thread ended while it entered the target".to_owned()))??;
        Ok((entered.network, entered.hostname))
    }

    /// Runs a task on the network thread.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.tasks.spawn_on(task, &self.handle)
    }

    /// Gives the tasks time to end when the links are over: their sockets then are reset instead of closed, which would
    /// look like a proper end to whoever is at the other side.
    pub async fn settle(&self) {
        self.tasks.close();
        if tokio::time::timeout(SETTLE, self.tasks.wait()).await.is_err() {
            tracing::debug!("{} tasks are cut off", self.tasks.len());
        }
    }

    /// Lets a socket's packets pass the redirect rules; nothing where the agent may not redirect anyway.
    pub fn mark(&self, socket: impl AsFd) -> std::io::Result<()> {
        if self.marks { kernel::set_mark(socket, MARK) } else { Ok(()) }
    }
}

fn enter(
    network: Option<std::os::fd::OwnedFd>,
    names: Option<std::os::fd::OwnedFd>,
) -> Result<(Entered, tokio::runtime::Runtime), AgentError> {
    if let Some(network) = network {
        rustix::thread::move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
            .doing(|| "enter the target's network namespace".to_owned())?;
    }
    if let Some(names) = names {
        rustix::thread::move_into_link_name_space(names.as_fd(), Some(LinkNameSpaceType::HostNameAndNISDomainName))
            .doing(|| "enter the target's host name namespace".to_owned())?;
    }
    privileges::restrict(privileges::NETWORK)?;
    // This file shows the name of the namespace that the reading thread is in.
    let mut hostname = std::fs::read("/proc/sys/kernel/hostname").doing(|| "read the target's host name".to_owned())?;
    hostname.truncate(hostname.trim_ascii_end().len());
    let probe = std::net::UdpSocket::bind("[::]:0")
        .or_else(|_| std::net::UdpSocket::bind("0.0.0.0:0"))
        .doing(|| "make a socket in the target's network namespace".to_owned())?;
    let marks = kernel::set_mark(&probe, MARK).is_ok();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .thread_stack_size(STACK)
        .build()
        .doing(|| "start the network thread's event loop".to_owned())?;
    let network = Network { handle: runtime.handle().clone(), tasks: TaskTracker::new(), marks };
    Ok((Entered { network, hostname }, runtime))
}
