//! Every environment variable that passes between mirrord's own processes: name, meaning, reader.

/// Folder of the session (mode 0700): `proxy.sock` and `policy` are in it. Set by the CLI, read by the layer, kept
/// across every `exec`. One short value on purpose: a program may copy its environment a thousand times.
pub const SESSION: &str = "MIRRORD_SESSION";

/// Name of the layer's question socket inside the session folder (`SOCK_SEQPACKET`).
pub const SOCKET_NAME: &str = "proxy.sock";

/// Name of the policy image inside the session folder.
pub const POLICY_NAME: &str = "policy";

/// Read by the agent in a pod: the session's certificates and key, as written by `mirrord_link::keys`.
pub const AGENT_KEYS: &str = "MIRRORD_AGENT_KEYS";
