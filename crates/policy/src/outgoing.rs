//! Address of a TCP `connect` to verdict.

use core::net::{IpAddr, SocketAddr};

use crate::image::flag;
use crate::{Image, Reason, Verdict};

/// Decides for the address of a TCP `connect`. The proxy may still answer that a loopback address is a listener of the
/// session's own programs; that is a fact of the kernel, not of the configuration.
pub fn decide(image: &Image<'_>, remote: SocketAddr) -> Verdict {
    let ip = remote.ip().to_canonical();
    if !image.has(flag::OUTGOING_TCP) {
        return Verdict::local(Reason::FeatureOff);
    }
    if ip == IpAddr::V4(*image.facts().listener_v4.ip()) {
        return Verdict::local(Reason::SessionAddress);
    }
    if is_loopback(ip) {
        return if image.has(flag::OUTGOING_IGNORE_LOCALHOST) {
            Verdict::local(Reason::LoopbackIgnored)
        } else {
            Verdict::remote(Reason::TargetLoopback)
        };
    }
    if !is_routable(ip) || remote.port() == 0 {
        return Verdict::local(Reason::NotRoutable);
    }
    Verdict::remote(Reason::TargetNetwork)
}

/// Loopback, or the unspecified address, which the kernel connects to loopback.
pub fn is_loopback(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || ip.is_unspecified()
}

fn is_routable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_multicast() && !v4.is_broadcast(),
        IpAddr::V6(v6) => !v6.is_multicast() && !v6.is_unicast_link_local(),
    }
}
