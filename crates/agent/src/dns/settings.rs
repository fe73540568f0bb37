//! The target's resolver settings: `/etc/resolv.conf` as hickory reads it, and the names to try for a name.
//!
//! Called by `dns`; pure.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy};
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::system_conf::parse_resolv_conf;

/// Longest file that is looked at.
pub const LIMIT: usize = 64 << 10;

/// Longest wait for one name server, whatever the file asks: the next one should still have a chance.
const SERVER_LIMIT: Duration = Duration::from_secs(2);

/// Answers remembered by the agent; the proxy remembers, too.
const CACHE: u64 = 256;

/// What the target's resolver would do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name servers and search list.
    pub config: ResolverConfig,
    /// Everything else.
    pub options: ResolverOpts,
}

impl Settings {
    /// Reads the file. Without a name server in it, the one on the target's loopback is meant, as in `resolv.conf(5)`.
    pub fn parse(text: &[u8]) -> Result<Settings, NetError> {
        let (config, mut options) =
            parse_resolv_conf(text).or_else(|_| parse_resolv_conf([text, b"\nnameserver 127.0.0.1\n"].concat()))?;
        options.timeout = options.timeout.min(SERVER_LIMIT);
        options.attempts = options.attempts.clamp(1, 2);
        options.cache_size = CACHE;
        // A service that a developer has just created should not stay absent.
        options.negative_max_ttl = Some(Duration::ZERO);
        // The file is read through the target's root and answered from there, not from the agent's own.
        options.use_hosts_file = ResolveHosts::Never;
        // One server after the other, as the C libraries do it.
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        options.num_concurrent_reqs = 1;
        options.try_tcp_on_error = true;
        Ok(Settings { config, options })
    }

    /// The name servers, in order.
    pub fn servers(&self) -> Vec<SocketAddr> {
        let port = |server: &hickory_resolver::config::NameServerConfig| {
            server.connections.first().map_or(53, |connection| connection.port)
        };
        self.config.name_servers().iter().map(|server| SocketAddr::new(server.ip, port(server))).collect()
    }

    /// Absolute names to try for `name`, in order: the search list first for a name with fewer dots than `ndots`.
    pub fn candidates(&self, name: &Name) -> Vec<Name> {
        let mut absolute = name.clone();
        absolute.set_fqdn(true);
        if name.is_fqdn() {
            return vec![absolute];
        }
        let dots = usize::from(name.num_labels()).saturating_sub(1);
        let searched = self.config.search().iter().filter_map(|domain| {
            let mut candidate = name.clone().append_domain(domain).ok()?;
            candidate.set_fqdn(true);
            Some(candidate)
        });
        if dots >= self.options.ndots {
            std::iter::once(absolute).chain(searched).collect()
        } else {
            searched.chain(std::iter::once(absolute.clone())).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &[u8] =
        b"search shop.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5 timeout:9\n";

    fn candidates(text: &[u8], name: &str) -> Vec<String> {
        let settings = Settings::parse(text).unwrap();
        settings.candidates(&Name::from_str_relaxed(name).unwrap()).iter().map(Name::to_ascii).collect()
    }

    #[test]
    fn search_and_ndots_are_the_pods() {
        let service = ["db.shop.svc.cluster.local.", "db.svc.cluster.local.", "db."];
        assert_eq!(candidates(POD, "db"), service);
        assert_eq!(candidates(POD, "db."), ["db."]);
        let outside = candidates(b"search x\nnameserver 1.1.1.1\n", "a_b.example");
        assert_eq!(outside, ["a_b.example.", "a_b.example.x."]);
    }

    #[test]
    fn waits_are_bounded_and_loopback_is_the_default_server() {
        let settings = Settings::parse(POD).unwrap();
        assert_eq!(settings.options.timeout, SERVER_LIMIT);
        assert_eq!(settings.servers(), ["10.96.0.10:53".parse().unwrap()]);
        assert_eq!(Settings::parse(b"").unwrap().servers(), ["127.0.0.1:53".parse().unwrap()]);
    }
}
