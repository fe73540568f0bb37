//! The TCP connection to the API server, directly or through an HTTP CONNECT proxy.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::http::Uri;

use super::{PortForwardError, refusal};

/// One of several addresses of a name may be dead (a black-holed IPv6 route): it must not use up the whole limit.
const PER_ADDRESS: Duration = Duration::from_secs(5);
/// A proxy's answer to CONNECT has a head only; more is an attack or a mistake.
const PROXY_HEAD_LIMIT: usize = 16 * 1024;

/// The parts of the port-forward URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub tls: bool,
    /// Without brackets, also for IPv6.
    pub host: String,
    pub port: u16,
    /// As in the URL, for the `Host` header.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, PortForwardError> {
        let invalid = |reason: &str| PortForwardError::Invalid {
            what: "API server URL",
            value: url.to_string(),
            reason: reason.to_string(),
        };
        let uri: Uri = url.parse().map_err(|_| invalid("not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(invalid("it must begin with `https://` or `http://`")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("credentials belong into headers"));
        }
        let host = unbracketed(authority.host());
        if host.is_empty() {
            return Err(invalid("it has no host"));
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_string();
        Ok(Self { tls, host: host.to_string(), port, authority: authority.to_string(), path })
    }

    /// HOST:PORT, with brackets around an IPv6 address.
    pub(super) fn shown(&self) -> String {
        host_and_port(&self.host, self.port)
    }
}

/// Connects to `address`, through `proxy` if one is named. Nagle's delay is off: a frame must leave at once.
pub(super) async fn open(address: &Address, proxy: Option<&str>) -> Result<TcpStream, PortForwardError> {
    let socket = match proxy {
        None => dial(&address.host, address.port).await?,
        Some(url) => {
            let proxy = Proxy::parse(url)?;
            let socket = dial(&proxy.host, proxy.port).await?;
            proxy.tunnel(socket, &address.shown()).await?
        }
    };
    Ok(socket)
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, PortForwardError> {
    let failed =
        |source| PortForwardError::Connection { action: "connect to", address: host_and_port(host, port), source };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((host, port)).await.map_err(failed)? {
        match tokio::time::timeout(PER_ADDRESS, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => {
                socket.set_nodelay(true).map_err(failed)?;
                return Ok(socket);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {PER_ADDRESS:?}")),
        }
    }
    Err(failed(last))
}

struct Proxy {
    host: String,
    port: u16,
    /// `user:password`, decoded.
    credentials: Option<Vec<u8>>,
}

impl Proxy {
    fn parse(url: &str) -> Result<Self, PortForwardError> {
        let (_, shown) = url.rsplit_once('@').unwrap_or(("", url));
        let invalid = |reason: &str| PortForwardError::Invalid {
            what: "proxy URL",
            value: shown.to_string(),
            reason: reason.to_string(),
        };
        let uri: Uri = url.parse().map_err(|_| invalid("not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some(scheme @ ("socks4" | "socks4a" | "socks5" | "socks5h" | "https")) => {
                return Err(invalid(&format!("`{scheme}` proxies are not supported, only `http`")));
            }
            _ => return Err(invalid("it must begin with `http://`")),
        }
        let authority = uri.authority().ok_or_else(|| invalid("it has no host"))?;
        let credentials = authority.as_str().rsplit_once('@').map(|(credentials, _)| percent_decoded(credentials));
        let host = unbracketed(authority.host()).to_string();
        Ok(Self { host, port: authority.port_u16().unwrap_or(80), credentials })
    }

    async fn tunnel(&self, mut socket: TcpStream, destination: &str) -> Result<TcpStream, PortForwardError> {
        let shown = host_and_port(&self.host, self.port);
        let failed = |source| PortForwardError::Connection { action: "ask proxy", address: shown.clone(), source };
        let mut request = format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n");
        if let Some(credentials) = &self.credentials {
            request.push_str(&format!("Proxy-Authorization: Basic {}\r\n", base64(credentials)));
        }
        request.push_str("\r\n");
        socket.write_all(request.as_bytes()).await.map_err(failed)?;

        // Byte by byte: what follows the head is already the API server's, and the head is short and read once.
        let mut head = Vec::with_capacity(256);
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() == PROXY_HEAD_LIMIT {
                return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "its answer is too long")));
            }
            head.push(socket.read_u8().await.map_err(failed)?);
        }
        match Response::try_parse(&head) {
            Ok(Some((_, response))) if response.status().is_success() => Ok(socket),
            Ok(Some((_, response))) => Err(PortForwardError::Proxy {
                proxy: shown,
                status: response.status().as_u16(),
                message: refusal::reason_phrase(&response),
            }),
            _ => Err(failed(io::Error::new(io::ErrorKind::InvalidData, "its answer is not HTTP"))),
        }
    }
}

fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().enumerate().fold(0u32, |word, (at, byte)| word | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            let symbol = ALPHABET[(word >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= group.len() { char::from(symbol) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_keeps_prefix_and_unbrackets_ipv6() {
        let address = Address::parse("https://[fd00::1]:6443/k8s/clusters/c/api/v1/x").expect("valid");
        assert_eq!(
            (address.tls, address.host.as_str(), address.port, address.path.as_str()),
            (true, "fd00::1", 6443, "/k8s/clusters/c/api/v1/x")
        );
        assert_eq!((address.shown().as_str(), address.authority.as_str()), ("[fd00::1]:6443", "[fd00::1]:6443"));
        assert_eq!(Address::parse("https://api.example/x").expect("valid").port, 443);
    }

    #[test]
    fn unusable_urls_are_named() {
        for url in ["", "api.example", "ftp://x/", "https://user:word@x/", "https:///x"] {
            assert!(matches!(Address::parse(url), Err(PortForwardError::Invalid { .. })), "{url}");
        }
    }

    #[test]
    fn socks_is_refused_by_name_without_the_password() {
        let error = Proxy::parse("socks5://user:secret@proxy:1080").err().expect("refused").to_string();
        assert!(error.contains("`socks5` proxies are not supported") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn base64_matches_known_values() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(percent_decoded("a%3Ab%4"), b"a:b%4");
    }
}
