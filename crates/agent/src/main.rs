//! `mirrord-agent`: the far half of mirrord, one static binary in the target's namespaces.
//!
//! Started by mirrord in a Job's pod or an ephemeral container (`--listen`), or as a child process for targets on this
//! machine (`--fd`). See [`life`] for what happens then, and `namespace::privileges` for what it may do.
//!
//! What must happen before a second thread exists happens here: the key leaves the environment, the inherited socket
//! gets its owner, and the target's user namespace is entered, which a process with threads may not do.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

mod cgroup;
mod command;
mod dns;
mod ending;
mod error;
mod files;
mod incoming;
mod life;
mod namespace;
mod netlink;
mod outgoing;
mod session;
mod sync;
mod target;

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use mirrord_link::keys::AgentKeys;
use rustix::fs::{Mode, OFlags};
use rustix::thread::LinkNameSpaceType;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::command::{Command, Door, Serve, TargetChoice};
use crate::error::{AgentError, Doing};
use crate::namespace::kernel;

fn main() -> ExitCode {
    let keys = kernel::take_variable(mirrord_protocol::env::AGENT_KEYS);
    match run(keys) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(keys: Option<String>) -> Result<(), AgentError> {
    let options = match command::parse(std::env::args_os().skip(1))? {
        Command::Version => {
            println!("mirrord-agent {}", mirrord_protocol::VERSION);
            return Ok(());
        }
        Command::Serve(options) => options,
    };
    kernel::tune_memory();
    start_log(&options.log)?;
    let carrier = take_carrier(&options)?;
    if options.enter_user_namespace {
        enter_user_namespace(&options.target)?;
    }
    let keys = keys.ok_or_else(|| AgentError::Usage(format!("`{}` is not set", mirrord_protocol::env::AGENT_KEYS)))?;
    let keys = AgentKeys::from_pem(&keys).map_err(|error| AgentError::Usage(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_stack_size(namespace::STACK)
        .build()
        .doing(|| "start the event loop".to_owned())?;
    let result = runtime.block_on(life::serve(options, keys, carrier));
    // Other threads may be held by a file system; the process's end frees what they have.
    runtime.shutdown_background();
    result
}

fn start_log(filter: &str) -> Result<(), AgentError> {
    // Levels by module only: the richer filter would bring a regex engine into somebody's pod.
    let filter: Targets =
        filter.parse().map_err(|error| AgentError::Usage(format!("`{filter}` is no log filter: {error}")))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(lines).with(filter).init();
    Ok(())
}

fn take_carrier(options: &Serve) -> Result<Option<OwnedFd>, AgentError> {
    match options.door {
        Door::Inherited(fd) => kernel::inherited(fd)
            .map(Some)
            .map_err(|error| AgentError::Usage(format!("`--fd {fd}` cannot be used: {error}"))),
        Door::Listen(_) => Ok(None),
    }
}

fn enter_user_namespace(target: &TargetChoice) -> Result<(), AgentError> {
    let TargetChoice::Pid(pid) = target else {
        return Err(AgentError::Usage("`--enter-user-namespace` needs `--pid`".to_owned()));
    };
    let action = || format!("enter the target's user namespace: process {pid}");
    let open = |path: String| rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).doing(action);
    let theirs = open(format!("/proc/{pid}/ns/user"))?;
    let ours = open("/proc/self/ns/user".to_owned())?;
    let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| stat.st_ino).doing(action);
    // The kernel refuses to enter the namespace that one is in.
    if inode(&theirs)? == inode(&ours)? {
        return Ok(());
    }
    rustix::thread::move_into_link_name_space(theirs.as_fd(), Some(LinkNameSpaceType::User)).doing(action)
}
