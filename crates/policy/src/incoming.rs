//! Listening address to verdict, and the configuration's port maps.

use core::net::SocketAddr;

use crate::image::{Section, flag};
use crate::{Image, Reason, Verdict};

/// Decides for the address on which a program listens, as it asked for it in `bind`.
pub fn decide(image: &Image<'_>, requested: SocketAddr) -> Verdict {
    let port = requested.port();
    if !image.has(flag::STEAL) {
        return Verdict::local(Reason::FeatureOff);
    }
    if port == 0 {
        return Verdict::local(Reason::EphemeralPort);
    }
    if image.has(flag::INCOMING_IGNORE_LOCALHOST) && requested.ip().to_canonical().is_loopback() {
        return Verdict::local(Reason::LoopbackIgnored);
    }
    if image.ports(Section::IgnorePorts).any(|ignored| ignored == port) {
        return Verdict::local(Reason::IgnoredPort);
    }
    let remote = remote_port(image, port);
    if image.has(flag::PORTS_LISTED) && !image.ports(Section::Ports).any(|listed| listed == remote) {
        return Verdict::local(Reason::UnlistedPort);
    }
    Verdict::remote(Reason::StolenPort)
}

/// The target's port for a port that the program asked for (`port_mapping`).
pub fn remote_port(image: &Image<'_>, port: u16) -> u16 {
    mapped(image.pairs(Section::PortMapping), port)
}

/// The second of the pair whose first is `port`, or `port` itself.
pub fn mapped(pairs: impl IntoIterator<Item = (u16, u16)>, port: u16) -> u16 {
    pairs.into_iter().find(|(from, _)| *from == port).map_or(port, |(_, to)| to)
}

/// The port that the program must really bind instead of `port`, if the configuration names one (`listen_ports`).
pub fn listen_port(image: &Image<'_>, port: u16) -> Option<u16> {
    image.pairs(Section::ListenPorts).find(|(asked, _)| *asked == port).map(|(_, actual)| actual)
}
