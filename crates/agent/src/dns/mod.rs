//! Names of the target: answers the protocol's name requests as the target's own C library would.
//!
//! ```text
//!  session ──Request──> Dns::answer ──> /etc/hosts and /etc/resolv.conf through the root descriptor
//!                                   └─> hosts file, else hickory on the network thread
//! ```
//!
//! Both files are read again for every request, because Kubernetes and people change them; the resolver is made anew
//! only when their contents changed. Never `getaddrinfo`: in a static glibc binary it would load modules of another
//! glibc. Every request ends within [`LIMIT`]. Called by `session`, each request in its own task on the network thread.

mod exchange;
mod hosts;
mod settings;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hickory_resolver::TokioResolver;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, RecordType};
use mirrord_protocol::agent::{NameFailure, Request, Response};
use rustix::io::Errno;

use self::hosts::Hosts;
use self::settings::Settings;
use crate::files::pool::Pool;
use crate::files::root::Root;
use crate::sync::locked;

/// Longest time from a request to its answer.
const LIMIT: Duration = Duration::from_secs(5);

/// How long an answer from the hosts file may be remembered, in seconds.
const HOSTS_TTL: u32 = 5;

/// Longest name that is looked at: 253 characters, a dot, and what escapes may need.
const NAME_LIMIT: usize = 1_024;

/// The name side of the agent; shared by its sessions.
#[derive(Clone)]
pub struct Dns {
    pool: Pool,
    root: Arc<Root>,
    current: Arc<Mutex<Option<Arc<Source>>>>,
}

/// One state of the two files, and the resolver for it.
struct Source {
    hosts_text: Vec<u8>,
    settings_text: Vec<u8>,
    hosts: Hosts,
    settings: Settings,
    resolver: TokioResolver,
}

impl Dns {
    /// Reads the target's files through `root` on `pool`.
    pub fn new(pool: Pool, root: Arc<Root>) -> Dns {
        Dns { pool, root, current: Arc::default() }
    }

    /// Answers a name request. Runs on the network thread.
    pub async fn answer(&self, request: Request, packet: Bytes) -> (Response, Bytes) {
        let work = async {
            let source = self.source().await?;
            match request {
                Request::Resolve { name, v4, v6 } => source.resolve(&text(&name)?, v4, v6).await.map(without_payload),
                Request::Reverse { address } => source.reverse(address).await.map(without_payload),
                Request::Query { name, class, kind, search } => source.query(&text(&name)?, class, kind, search).await,
                Request::Forward => source.forward(&packet).await,
                other => {
                    tracing::error!(?other, "not a name request");
                    Err(NameFailure::Failed)
                }
            }
        };
        let answer = tokio::time::timeout(LIMIT, work).await.unwrap_or(Err(NameFailure::Again));
        answer.unwrap_or_else(|failure| (Response::NameError(failure), Bytes::new()))
    }

    async fn source(&self) -> Result<Arc<Source>, NameFailure> {
        let root = Arc::clone(&self.root);
        let read = move || {
            let read = |path: &[u8], limit| match root.read(path, limit) {
                // A container without such a file is a container with an empty one.
                Err(Errno::NOENT | Errno::NOTDIR) => Ok(Vec::new()),
                other => other,
            };
            Ok((read(b"/etc/hosts", hosts::LIMIT)?, read(b"/etc/resolv.conf", settings::LIMIT)?))
        };
        let (hosts_text, settings_text) = self.pool.run(read).await.map_err(|errno| {
            tracing::warn!("failed to read the target's resolver files: {errno}");
            NameFailure::Failed
        })?;
        let mut current = locked(&self.current);
        if let Some(source) = current.as_ref()
            && (&source.hosts_text, &source.settings_text) == (&hosts_text, &settings_text)
        {
            return Ok(Arc::clone(source));
        }
        let source = Source::new(hosts_text, settings_text).map_err(|error| {
            tracing::warn!("failed to use the target's resolv.conf: {error}");
            NameFailure::Failed
        })?;
        Ok(Arc::clone(current.insert(Arc::new(source))))
    }
}

impl Source {
    fn new(hosts_text: Vec<u8>, settings_text: Vec<u8>) -> Result<Source, NetError> {
        let settings = Settings::parse(&settings_text)?;
        let mut builder = TokioResolver::builder_with_config(settings.config.clone(), TokioRuntimeProvider::default());
        *builder.options_mut() = settings.options.clone();
        let resolver = builder.build()?;
        Ok(Source { hosts: Hosts::parse(&hosts_text), hosts_text, settings_text, settings, resolver })
    }

    async fn resolve(&self, name: &str, v4: bool, v6: bool) -> Result<Response, NameFailure> {
        if let Ok(address) = name.parse::<IpAddr>() {
            let addresses = vec![address];
            return Ok(Response::Addresses { canonical: name.to_owned(), addresses, ttl: HOSTS_TTL });
        }
        if let Some((canonical, addresses)) = self.hosts.addresses(name, v4, v6) {
            return Ok(Response::Addresses { canonical, addresses, ttl: HOSTS_TTL });
        }
        let name = Name::from_str_relaxed(name).map_err(|_| NameFailure::NotFound)?;
        let mut failure = NameFailure::NotFound;
        for candidate in self.settings.candidates(&name) {
            match self.both(&candidate, v4, v6).await {
                Ok(response) => return Ok(response),
                // What is known to exist, or could not be asked, tells more than a later "not found".
                Err(NameFailure::NotFound) => {}
                Err(NameFailure::NoData) if failure == NameFailure::Again => {}
                Err(other) => failure = other,
            }
        }
        Err(failure)
    }

    /// A and AAAA of one absolute name, at once; IPv4 first, because a pod without IPv6 is the usual one.
    async fn both(&self, name: &Name, v4: bool, v6: bool) -> Result<Response, NameFailure> {
        let ask = |wanted: bool, kind| async move {
            if wanted { Some(self.resolver.lookup(name.clone(), kind).await) } else { None }
        };
        let (a, aaaa) = tokio::join!(ask(v4, RecordType::A), ask(v6, RecordType::AAAA));
        let (mut addresses, mut failures) = (Vec::new(), Vec::new());
        let (mut canonical, mut ttl) = (None, u32::MAX);
        for result in [a, aaaa].into_iter().flatten() {
            match result {
                Ok(lookup) => {
                    collect(&lookup, &mut addresses, &mut canonical);
                    ttl = ttl.min(remaining(&lookup));
                }
                Err(error) => failures.push(failure(&error)),
            }
        }
        if addresses.is_empty() {
            return Err(worst(&failures));
        }
        let canonical = canonical.unwrap_or_else(|| name.to_utf8()).trim_end_matches('.').to_owned();
        Ok(Response::Addresses { canonical, addresses, ttl })
    }

    async fn reverse(&self, address: IpAddr) -> Result<Response, NameFailure> {
        if let Some(name) = self.hosts.name(address) {
            return Ok(Response::Name(name.to_owned()));
        }
        let lookup =
            self.resolver.lookup(Name::from(address), RecordType::PTR).await.map_err(|error| failure(&error))?;
        let name = lookup.answers().iter().find_map(|record| match &record.data {
            RData::PTR(name) => Some(name.0.to_utf8().trim_end_matches('.').to_owned()),
            _ => None,
        });
        name.map(Response::Name).ok_or(NameFailure::NoData)
    }

    async fn query(&self, name: &str, class: u16, kind: u16, search: bool) -> Result<(Response, Bytes), NameFailure> {
        let name = Name::from_str_relaxed(name).map_err(|_| NameFailure::NotFound)?;
        let candidates = if search {
            self.settings.candidates(&name)
        } else {
            let mut absolute = name;
            absolute.set_fqdn(true);
            vec![absolute]
        };
        let mut failure = NameFailure::NotFound;
        for candidate in candidates {
            match self.query_one(candidate, class, kind).await {
                Ok(packet) => return Ok((Response::Data, Bytes::from(packet))),
                Err(NameFailure::NotFound) => {}
                Err(other) => failure = other,
            }
        }
        Err(failure)
    }

    async fn query_one(&self, name: Name, class: u16, kind: u16) -> Result<Vec<u8>, NameFailure> {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        let mut question = Query::query(name, RecordType::from(kind));
        question.set_query_class(DNSClass::from(class));
        message.add_query(question);
        let packet = message.to_vec().map_err(|_| NameFailure::Failed)?;
        let answer = self.exchange(&packet).await?;
        match exchange::code(&answer) {
            0 if exchange::answer_count(&answer) > 0 => Ok(answer),
            0 => Err(NameFailure::NoData),
            3 => Err(NameFailure::NotFound),
            2 => Err(NameFailure::Again),
            _ => Err(NameFailure::Failed),
        }
    }

    async fn forward(&self, packet: &[u8]) -> Result<(Response, Bytes), NameFailure> {
        if packet.len() < exchange::HEADER {
            return Err(NameFailure::Failed);
        }
        Ok((Response::Data, Bytes::from(self.exchange(packet).await?)))
    }

    async fn exchange(&self, packet: &[u8]) -> Result<Vec<u8>, NameFailure> {
        exchange::exchange(&self.settings.servers(), packet).await.map_err(|error| {
            tracing::debug!("no name server of the target answered: {error}");
            NameFailure::Again
        })
    }
}

fn collect(lookup: &Lookup, addresses: &mut Vec<IpAddr>, canonical: &mut Option<String>) {
    for record in lookup.answers() {
        let address = match record.data {
            RData::A(address) => IpAddr::V4(address.0),
            RData::AAAA(address) => IpAddr::V6(address.0),
            _ => continue,
        };
        canonical.get_or_insert_with(|| record.name.to_utf8());
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
}

fn remaining(lookup: &Lookup) -> u32 {
    let left = lookup.valid_until().saturating_duration_since(Instant::now()).as_secs();
    u32::try_from(left).unwrap_or(u32::MAX)
}

fn failure(error: &NetError) -> NameFailure {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => by_code(none.response_code),
        NetError::Dns(DnsError::ResponseCode(code)) => by_code(*code),
        NetError::Timeout | NetError::Busy | NetError::NoConnections | NetError::Io(_) => NameFailure::Again,
        _ => NameFailure::Failed,
    }
}

fn by_code(code: ResponseCode) -> NameFailure {
    match code {
        ResponseCode::NXDomain => NameFailure::NotFound,
        ResponseCode::NoError => NameFailure::NoData,
        ResponseCode::ServFail => NameFailure::Again,
        _ => NameFailure::Failed,
    }
}

/// What two failed questions about one name say together.
fn worst(failures: &[NameFailure]) -> NameFailure {
    use NameFailure::{Again, Failed, NoData, NotFound};
    // NXDOMAIN is about the name, so one such answer settles it.
    [NotFound, Again, Failed].into_iter().find(|kind| failures.contains(kind)).unwrap_or(NoData)
}

fn text(name: &[u8]) -> Result<String, NameFailure> {
    if name.is_empty() || name.len() > NAME_LIMIT {
        return Err(NameFailure::NotFound);
    }
    String::from_utf8(name.to_vec()).map_err(|_| NameFailure::NotFound)
}

fn without_payload(response: Response) -> (Response, Bytes) {
    (response, Bytes::new())
}
