//! What the CLI hands over: the resolved configuration of one session, as JSON. Read by `proxy_core`, compiled by
//! [`crate::compile`]. Unknown fields are refused, since a field that is not understood would be ignored in silence.

use serde::Deserialize;

/// The resolved settings of a session.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `feature.fs`.
    pub files: Files,
    /// `feature.network.outgoing`.
    pub outgoing: Outgoing,
    /// `feature.network.dns`.
    pub dns: Dns,
    /// `feature.network.incoming`.
    pub incoming: Incoming,
    /// The program and its surroundings.
    pub process: Process,
    /// `feature.hostname`.
    pub hostname: bool,
}

/// `feature.fs`. Patterns are regular expressions, matched case-insensitively anywhere in the path.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Files {
    /// `feature.fs.mode`.
    pub mode: FileMode,
    /// Patterns read from the target.
    pub read_only: Vec<String>,
    /// Patterns that stay local.
    pub local: Vec<String>,
    /// Patterns that do not exist.
    pub not_found: Vec<String>,
}

/// `feature.fs.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileMode {
    /// Everything local.
    #[default]
    Local,
    /// Local but for the lists.
    LocalWithOverrides,
    /// Reads go to the target, writes stay local.
    Read,
}

/// `feature.network.outgoing`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outgoing {
    /// TCP connections leave from the target.
    pub tcp: bool,
    /// Loopback stays local.
    pub ignore_localhost: bool,
}

/// `feature.network.dns`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// Names are resolved by the target.
    pub enabled: bool,
}

/// `feature.network.incoming`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Incoming {
    /// `off` or `steal`.
    pub mode: IncomingMode,
    /// Only these ports of the target; `None` = all.
    pub ports: Option<Vec<u16>>,
    /// Never these local ports.
    pub ignore_ports: Vec<u16>,
    /// Listeners on loopback stay local.
    pub ignore_localhost: bool,
    /// `[local, remote]` pairs.
    pub port_mapping: Vec<(u16, u16)>,
    /// `[requested, actual]` pairs: the port that the program really binds.
    pub listen_ports: Vec<(u16, u16)>,
}

/// `feature.network.incoming.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncomingMode {
    /// Listeners are local only.
    #[default]
    Off,
    /// The target's traffic comes here instead.
    Steal,
}

/// The program and its surroundings; paths are absolute.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Process {
    /// Folder where the session was started.
    pub cwd: String,
    /// The user's home.
    pub home: String,
    /// The temporary folder.
    pub temp: String,
    /// Folders that hold the program and its installation.
    pub program_prefixes: Vec<String>,
    /// Base names of programs that are not intercepted.
    pub skip: Vec<String>,
}
