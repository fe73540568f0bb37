//! The target's `/etc/hosts`: names that need no name server. Order of the file is kept, as the C libraries do.
//!
//! Called by `dns`; pure.

use std::net::IpAddr;

/// Longest file that is looked at.
pub const LIMIT: usize = 256 << 10;

/// The file's lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hosts(Vec<(IpAddr, Vec<String>)>);

impl Hosts {
    /// Reads the file; what is no line of it is passed over.
    pub fn parse(text: &[u8]) -> Hosts {
        let lines = String::from_utf8_lossy(text);
        let entry = |line: &str| {
            let mut words = line.split('#').next()?.split_whitespace();
            // `fe80::1%eth0` has a scope that an `IpAddr` cannot carry.
            let address = words.next()?.split('%').next()?.parse().ok()?;
            let names: Vec<String> = words.map(str::to_owned).collect();
            (!names.is_empty()).then_some((address, names))
        };
        Hosts(lines.lines().filter_map(entry).collect())
    }

    /// Canonical name and addresses of `name`; `None` when the file says nothing of the wanted families about it.
    pub fn addresses(&self, name: &str, v4: bool, v6: bool) -> Option<(String, Vec<IpAddr>)> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let mut found: Option<(String, Vec<IpAddr>)> = None;
        for (address, names) in &self.0 {
            let is_wanted = if address.is_ipv4() { v4 } else { v6 };
            if is_wanted && names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                let (_, addresses) = found.get_or_insert_with(|| (names[0].clone(), Vec::new()));
                if !addresses.contains(address) {
                    addresses.push(*address);
                }
            }
        }
        found
    }

    /// First name of an address.
    pub fn name(&self, address: IpAddr) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == address).map(|(_, names)| names[0].as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n\
fd00::5 shop.example shop\n10.0.0.5 shop.example shop # both\nnonsense here\n10.0.0.6\n";

    #[test]
    fn order_and_canonical_name_are_the_files() {
        let hosts = Hosts::parse(FILE);
        let (canonical, addresses) = hosts.addresses("SHOP.", true, true).unwrap();
        assert_eq!(canonical, "shop.example");
        assert_eq!(addresses, ["fd00::5".parse::<IpAddr>().unwrap(), "10.0.0.5".parse().unwrap()]);
        assert_eq!(hosts.addresses("shop", true, false).unwrap().1.len(), 1);
        assert_eq!(hosts.addresses("ip6-localhost", true, false), None);
        assert_eq!(hosts.addresses("here", true, true), None);
        assert_eq!(hosts.name("10.0.0.5".parse().unwrap()), Some("shop.example"));
    }
}
