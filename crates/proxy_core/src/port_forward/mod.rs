//! The API server's port-forward of a pod, as one byte stream.
//!
//! Called by the session when the target is a pod; the link speaks its own TLS and frames inside the [`Carrier`].
//! Knows nothing of kubeconfig: URL, certificates and fresh headers come from Python.
//!
//! # Theory of operation
//!
//! `dial` makes the TCP connection (through an HTTP CONNECT proxy if asked), `tls` wraps it, `upgrade` asks for a
//! WebSocket of subprotocol `v4.channel.k8s.io`, and `Carrier` turns its messages into a stream. In this dialect each
//! message begins with one channel byte (0 data, 1 error) and each channel's first two bytes repeat the port. There is no
//! half-close: the link ends its streams with own frames. The API server, the kubelet and the container runtime have
//! faults that show with many short streams, so a session opens one connection and keeps it.
//!
//! A refused dial inside the pod is no HTTP error: it arrives later as text on the error channel, and so as an
//! [`std::io::Error`] of the first read.

mod carrier;
mod dial;
mod frames;
mod refusal;
#[cfg(test)]
mod tests;
mod tls;
mod upgrade;

pub use carrier::Carrier;

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

/// Where the port-forward is, and what proves both ends to each other.
#[derive(Clone, Default)]
pub struct Endpoint {
    /// `https://HOST[:PORT][/PREFIX]/api/v1/namespaces/NS/pods/POD/portforward`, or `http://` behind `kubectl proxy`.
    pub url: String,
    /// The port inside the pod's network namespace; the runtime dials its loopback.
    pub port: u16,
    /// PEM certificates to trust; without them the system's bundle is read.
    pub ca: Option<Vec<u8>>,
    /// The client's certificate chain in PEM.
    pub certificate: Option<Vec<u8>>,
    /// The client's private key in PEM.
    pub key: Option<Vec<u8>>,
    /// Accept any server certificate (`insecure-skip-tls-verify`).
    pub insecure: bool,
    /// The name to check the server's certificate against, when it is not the URL's host (`tls-server-name`).
    pub server_name: Option<String>,
    /// `http://[USER:PASSWORD@]HOST:PORT` of an HTTP CONNECT proxy (`proxy-url`).
    pub proxy: Option<String>,
}

impl fmt::Debug for Endpoint {
    /// Leaves out the key and the proxy, whose URL may hold a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Endpoint")
            .field("url", &self.url)
            .field("port", &self.port)
            .field("insecure", &self.insecure)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// Why there is no carrier.
#[derive(Debug, thiserror::Error)]
pub enum PortForwardError {
    /// The URL, the proxy's URL or a header cannot be used.
    #[error("invalid {what} `{value}`: {reason}")]
    Invalid {
        /// What was given.
        what: &'static str,
        /// The value, without secrets.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The PEM text of a certificate or key cannot be used.
    #[error("failed to read the {what}: {reason}")]
    Credentials {
        /// Which of them.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// No TCP connection, or it broke before the upgrade was answered.
    #[error("failed to {action} `{address}`: {source}")]
    Connection {
        /// What was tried: `connect to`, `ask`, …
        action: &'static str,
        /// HOST:PORT.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The TLS handshake with the API server failed; the reason names the certificate problem.
    #[error("failed to make a TLS connection to `{address}`: {source}")]
    Tls {
        /// HOST:PORT.
        address: String,
        /// What rustls said.
        source: io::Error,
    },
    /// The HTTP proxy would not connect us.
    #[error("proxy `{proxy}` refused to connect: {status} {message}")]
    Proxy {
        /// HOST:PORT of the proxy.
        proxy: String,
        /// The HTTP status.
        status: u16,
        /// The first line of its answer.
        message: String,
    },
    /// The API server answered the upgrade with an HTTP error.
    #[error("the API server refused the port-forward: {status} {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The `message` of the Kubernetes `Status`, else the body's text in short.
        message: String,
    },
    /// The answer is no WebSocket of our dialect.
    #[error("the answer to the port-forward request is not usable: {0}")]
    Answer(String),
    /// The limit passed.
    #[error("no port-forward within {limit:?} (while: {step})")]
    TimedOut {
        /// The limit given to [`connect`].
        limit: Duration,
        /// What was being waited for.
        step: &'static str,
    },
}

/// What a carrier runs over: TCP, TLS, or a pipe in tests.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens the port-forward at `endpoint`, sending `headers` (bearer token, impersonation) with the request.
///
/// `limit` covers everything up to the API server's answer to the upgrade.
pub async fn connect(
    endpoint: &Endpoint,
    headers: &[(String, String)],
    limit: Duration,
) -> Result<Carrier, PortForwardError> {
    let address = dial::Address::parse(&endpoint.url)?;
    let request = upgrade::Request::new(&address, endpoint.port, headers)?;
    let client = match address.tls {
        true => Some(tls::Client::new(endpoint, &address).await?),
        false => None,
    };
    let mut step = "TCP connection";
    let opening = async {
        let socket = dial::open(&address, endpoint.proxy.as_deref()).await?;
        let mut stream: Box<dyn Stream> = match client {
            Some(client) => {
                step = "TLS handshake";
                Box::new(client.handshake(&address, socket).await?)
            }
            None => Box::new(socket),
        };
        step = "answer of the API server";
        let rest = request.perform(&address, &mut stream).await?;
        Ok(Carrier::new(stream, rest, endpoint.port))
    };
    match tokio::time::timeout(limit, opening).await {
        Ok(result) => result,
        Err(_) => Err(PortForwardError::TimedOut { limit, step }),
    }
}
