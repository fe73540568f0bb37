//! The only place that reads and writes raw socket addresses. Lengths as in Linux: `sockaddr_in` 16, `sockaddr_in6` 28.

use core::ffi::c_int;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Room for any internet address.
pub(crate) const ROOM: usize = 28;

/// An encoded address.
pub(crate) struct Encoded {
    bytes: [u8; ROOM],
    len: usize,
}

impl Encoded {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Reads an internet address; `None` for other families and for too short ones, which are the kernel's to refuse.
pub(crate) fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(bytes.first_chunk::<2>().copied()?);
    let port = u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]);
    match c_int::from(family) {
        libc::AF_INET => {
            let octets: [u8; 4] = bytes.get(..16)?.get(4..8)?.try_into().ok()?;
            Some(SocketAddr::from((Ipv4Addr::from(octets), port)))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            let flow = u32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?);
            // The scope came later than the rest of the structure; the kernel accepts addresses without it.
            let scope = bytes.get(24..28).and_then(|scope| scope.try_into().ok()).map_or(0, u32::from_ne_bytes);
            Some(SocketAddrV6::new(Ipv6Addr::from(octets), port, flow, scope).into())
        }
        _ => None,
    }
}

/// Writes `address` for a socket of `family`: an IPv4 address for an `AF_INET6` socket in its mapped form. `None` when
/// an IPv6 address is to be shown on an `AF_INET` socket.
pub(crate) fn encode(address: SocketAddr, family: c_int) -> Option<Encoded> {
    let mut bytes = [0; ROOM];
    bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    match (family, address) {
        (libc::AF_INET, _) => {
            let IpAddr::V4(v4) = address.ip().to_canonical() else { return None };
            bytes[4..8].copy_from_slice(&v4.octets());
            Some(Encoded { bytes, len: 16 })
        }
        (_, SocketAddr::V4(v4)) => {
            bytes[8..24].copy_from_slice(&v4.ip().to_ipv6_mapped().octets());
            Some(Encoded { bytes, len: 28 })
        }
        (_, SocketAddr::V6(v6)) => {
            bytes[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
            bytes[8..24].copy_from_slice(&v6.ip().octets());
            bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            Some(Encoded { bytes, len: 28 })
        }
    }
}

/// The address with an IPv4-mapped IPv6 address in its IPv4 form, which is how policy and proxy know it.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::from((v4, address.port())),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str, family: c_int, len: usize) -> SocketAddr {
        let encoded = encode(text.parse().unwrap(), family).unwrap();
        assert_eq!(encoded.bytes().len(), len);
        decode(encoded.bytes()).unwrap()
    }

    #[test]
    fn addresses_round_trip_with_the_kernels_lengths() {
        assert_eq!(round_trip("10.1.2.3:80", libc::AF_INET, 16).to_string(), "10.1.2.3:80");
        assert_eq!(round_trip("[fe80::1%3]:443", libc::AF_INET6, 28).to_string(), "[fe80::1%3]:443");
    }

    #[test]
    fn ipv4_is_mapped_on_an_ipv6_socket_and_back() {
        let mapped = round_trip("10.1.2.3:80", libc::AF_INET6, 28);
        assert_eq!(mapped.to_string(), "[::ffff:10.1.2.3]:80");
        assert_eq!(canonical(mapped).to_string(), "10.1.2.3:80");
        assert!(encode("[fd00::1]:1".parse().unwrap(), libc::AF_INET).is_none());
    }

    #[test]
    fn short_and_foreign_addresses_are_left_to_the_kernel() {
        let encoded = encode("10.1.2.3:80".parse().unwrap(), libc::AF_INET).unwrap();
        for cut in 0..16 {
            assert_eq!(decode(&encoded.bytes()[..cut]), None);
        }
        assert_eq!(decode(b"\x01\0/run/x.sock-and-more-text"), None);
    }
}
