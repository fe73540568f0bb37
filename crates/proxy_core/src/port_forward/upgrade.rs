//! The HTTP request that becomes the WebSocket, and the check of its answer.
//!
//! Made by hand, not by tungstenite's client, because the body of a refusal is the user's error message and tungstenite
//! keeps only the part that happened to arrive with the head.

use std::fmt::Write as _;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::client::{Response, generate_key};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, StatusCode, header};

use super::dial::Address;
use super::{PortForwardError, Stream, refusal};

/// One connection per port pair, one channel-prefix byte per message; spoken by every supported API server.
const SUBPROTOCOL: &str = "v4.channel.k8s.io";
const HEAD_LIMIT: usize = 64 * 1024;
/// Headers that make the request an upgrade; a caller's copy would contradict ours.
const OWN_HEADERS: [&str; 8] = [
    "host",
    "connection",
    "upgrade",
    "content-length",
    "transfer-encoding",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
];

pub(super) struct Request {
    text: String,
    key: String,
}

impl Request {
    pub(super) fn new(address: &Address, port: u16, headers: &[(String, String)]) -> Result<Self, PortForwardError> {
        let key = generate_key();
        let separator = if address.path.contains('?') { '&' } else { '?' };
        let mut text = format!(
            "GET {}{separator}ports={port} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\
             User-Agent: mirrord-python/{}\r\n",
            address.path,
            address.authority,
            env!("CARGO_PKG_VERSION"),
        );
        for (name, value) in headers {
            append_header(&mut text, name, value)?;
        }
        text.push_str("\r\n");
        Ok(Self { text, key })
    }

    /// Sends the request over `stream`; gives the bytes that came after the answer's head.
    pub(super) async fn perform(
        &self,
        address: &Address,
        stream: &mut Box<dyn Stream>,
    ) -> Result<Vec<u8>, PortForwardError> {
        let broken = |source| PortForwardError::Connection { action: "ask", address: address.shown(), source };
        stream.write_all(self.text.as_bytes()).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;

        let mut received = Vec::with_capacity(4096);
        let (length, response) = loop {
            if stream.read_buf(&mut received).await.map_err(broken)? == 0 {
                return Err(broken(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")));
            }
            let parsed = Response::try_parse(&received)
                .map_err(|error| PortForwardError::Answer(format!("it is not HTTP: {error}")))?;
            match parsed {
                Some(parsed) => break parsed,
                None if received.len() >= HEAD_LIMIT => {
                    return Err(PortForwardError::Answer(format!("its head is longer than {HEAD_LIMIT} bytes")));
                }
                None => {}
            }
        };
        let rest = received.split_off(length);
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal::read(&response, rest, stream).await);
        }
        self.check(&response)?;
        Ok(rest)
    }

    fn check(&self, response: &Response) -> Result<(), PortForwardError> {
        let value = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
        let expect = |is_right: bool, complaint: &str| match is_right {
            true => Ok(()),
            false => Err(PortForwardError::Answer(complaint.to_string())),
        };
        let upgrade = value(header::UPGRADE);
        expect(upgrade.is_some_and(|name| name.eq_ignore_ascii_case("websocket")), "it is no WebSocket upgrade")?;
        expect(
            value(header::SEC_WEBSOCKET_ACCEPT) == Some(derive_accept_key(self.key.as_bytes()).as_str()),
            "its WebSocket key is wrong; something on the way answers for the API server",
        )?;
        expect(
            value(header::SEC_WEBSOCKET_PROTOCOL) == Some(SUBPROTOCOL),
            &format!("the API server does not speak `{SUBPROTOCOL}`"),
        )?;
        expect(
            value(header::SEC_WEBSOCKET_EXTENSIONS).is_none_or(|value| value.trim().is_empty()),
            "it uses a WebSocket extension that was not asked for",
        )
    }
}

fn append_header(text: &mut String, name: &str, value: &str) -> Result<(), PortForwardError> {
    // The value may be a token: it is never part of the message.
    let invalid = |reason: &str| PortForwardError::Invalid {
        what: "request header",
        value: name.to_string(),
        reason: reason.to_string(),
    };
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("not a header name"))?;
    HeaderValue::from_str(value).map_err(|_| invalid("its value has characters that a header cannot hold"))?;
    if OWN_HEADERS.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return Err(invalid("the connection sets it itself"));
    }
    write!(text, "{name}: {value}\r\n").map_err(|_| invalid("no memory"))
}
