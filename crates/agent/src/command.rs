//! The command line, parsed by hand: four options do not pay for a parser in a binary of a few megabytes.
//!
//! Called once by `main`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use crate::error::AgentError;

/// How long the agent waits for a client when nothing else is asked.
const GRACE: Duration = Duration::from_secs(30);

/// How the agent is called; shown with every usage error.
pub const USAGE: &str = "usage: mirrord-agent serve --listen ADDRESS:PORT (--container-id ID | --pid PID | --targetless) \
[--grace SECONDS] [--log FILTER]\n       mirrord-agent serve --fd N --pid PID [--enter-user-namespace] [--log FILTER]\n       \
mirrord-agent --version";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Print the version.
    Version,
    /// Serve a session.
    Serve(Serve),
}

/// How to serve.
#[derive(Debug, PartialEq, Eq)]
pub struct Serve {
    /// Where clients come from.
    pub door: Door,
    /// Whose place the session takes.
    pub target: TargetChoice,
    /// How long to live without a client.
    pub grace: Duration,
    /// Enter the target's user namespace first.
    pub enter_user_namespace: bool,
    /// `tracing` filter.
    pub log: String,
}

/// Where clients come from.
#[derive(Debug, PartialEq, Eq)]
pub enum Door {
    /// A TCP listener.
    Listen(SocketAddr),
    /// One inherited, connected socket.
    Inherited(i32),
}

/// Whose place the session takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetChoice {
    /// First process of the container with this id.
    Container(String),
    /// This process.
    Pid(i32),
    /// Nobody's: the agent's own pod.
    Targetless,
}

/// Parses the arguments after the program's name.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, AgentError> {
    let mut arguments = arguments.map(|argument| {
        argument.into_string().map_err(|bad| usage(format!("argument `{}` is not UTF-8", bad.to_string_lossy())))
    });
    match arguments.next().transpose()?.as_deref() {
        Some("--version") => Ok(Command::Version),
        Some("serve") => parse_serve(arguments).map(Command::Serve),
        Some(other) => Err(usage(format!("unknown command `{other}`"))),
        None => Err(usage("no command".to_owned())),
    }
}

fn usage(problem: String) -> AgentError {
    AgentError::Usage(format!("{problem}\n{USAGE}"))
}

fn parse_serve(mut arguments: impl Iterator<Item = Result<String, AgentError>>) -> Result<Serve, AgentError> {
    let (mut door, mut target) = (None, None);
    let (mut grace, mut enter_user_namespace, mut log) = (GRACE, false, "info".to_owned());
    while let Some(option) = arguments.next().transpose()? {
        let mut value = || arguments.next().unwrap_or_else(|| Err(usage(format!("`{option}` needs a value"))));
        match option.as_str() {
            "--listen" => once(&mut door, Door::Listen(number(&option, &value()?)?), "`--listen` or `--fd`")?,
            "--fd" => once(&mut door, Door::Inherited(number(&option, &value()?)?), "`--listen` or `--fd`")?,
            "--container-id" => once(&mut target, TargetChoice::Container(container_id(&value()?)?), "target")?,
            "--pid" => once(&mut target, TargetChoice::Pid(pid(&value()?)?), "target")?,
            "--targetless" => once(&mut target, TargetChoice::Targetless, "target")?,
            "--grace" => grace = Duration::from_secs(u64::from(number::<u32>(&option, &value()?)?)),
            "--enter-user-namespace" => enter_user_namespace = true,
            "--log" => log = value()?,
            other => return Err(usage(format!("unknown option `{other}`"))),
        }
    }
    let door = door.ok_or_else(|| usage("`--listen` or `--fd` is missing".to_owned()))?;
    let target = target.ok_or_else(|| usage("`--container-id`, `--pid` or `--targetless` is missing".to_owned()))?;
    if enter_user_namespace && !matches!((&door, &target), (Door::Inherited(_), TargetChoice::Pid(_))) {
        return Err(usage("`--enter-user-namespace` needs `--fd` and `--pid`".to_owned()));
    }
    Ok(Serve { door, target, grace, enter_user_namespace, log })
}

fn once<T>(slot: &mut Option<T>, value: T, what: &str) -> Result<(), AgentError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(usage(format!("more than one {what}"))),
    }
}

fn number<T: std::str::FromStr>(option: &str, text: &str) -> Result<T, AgentError> {
    text.parse().map_err(|_| usage(format!("`{text}` is no value for `{option}`")))
}

fn pid(text: &str) -> Result<i32, AgentError> {
    match number("--pid", text)? {
        pid if pid > 0 => Ok(pid),
        _ => Err(usage(format!("`{text}` is no process id"))),
    }
}

/// Accepts `containerd://ID` as the pod status has it, and the bare id.
fn container_id(text: &str) -> Result<String, AgentError> {
    let id = text.rsplit_once("://").map_or(text, |(_, id)| id);
    // Shorter prefixes could match another container's path.
    if id.len() < 12 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(usage(format!("`{text}` is no container id")));
    }
    Ok(id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, AgentError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn pod_and_sandbox_forms_are_understood() {
        let id = "0123456789abcdef";
        let Command::Serve(serve) =
            parsed(&format!("serve --listen 127.0.0.1:7 --container-id containerd://{id} --grace 5")).unwrap()
        else {
            panic!("not serve")
        };
        assert_eq!(serve.target, TargetChoice::Container(id.to_owned()));
        assert_eq!(serve.grace, Duration::from_secs(5));
        let Command::Serve(serve) = parsed("serve --fd 3 --pid 12 --enter-user-namespace").unwrap() else {
            panic!("not serve")
        };
        assert_eq!((serve.door, serve.target), (Door::Inherited(3), TargetChoice::Pid(12)));
    }

    #[test]
    fn mistakes_are_usage_errors() {
        for line in [
            "",
            "fly",
            "serve",
            "serve --listen x --pid 1",
            "serve --fd 3 --pid 0",
            "serve --fd 3",
            "serve --fd 3 --pid 1 --targetless",
            "serve --fd 3 --container-id ../../x",
            "serve --listen 127.0.0.1:7 --pid 1 --enter-user-namespace",
            "serve --fd",
        ] {
            assert_eq!(parsed(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
