//! The internal proxy: session, agent link, remote root, outgoing, incoming, dns.

pub mod port_forward;
pub mod sock_diag;
