//! Names: the program's question, the target's resolver's answer.
//!
//! Asked by the layer through [`crate::layer_conn`]; answered by the agent. Every wait is bounded by [`LIMIT`], after which
//! the program reads "try again", as it would from a resolver that does not answer.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use mirrord_link::Link;
use mirrord_protocol::agent::{NameFailure, Request, Response};
use mirrord_protocol::layer::{Family, NameError};
use serde_bytes::ByteBuf;

/// glibc's own worst case with the defaults of resolv.conf (5 s, 2 attempts) and room for the way.
const LIMIT: Duration = Duration::from_secs(12);

/// Addresses and canonical name.
pub(crate) struct Addresses {
    pub canonical: String,
    pub addresses: Vec<IpAddr>,
}

pub(crate) async fn resolve(link: &Link, name: &[u8], family: Family) -> Result<Addresses, NameError> {
    let (v4, v6) = match family {
        Family::Any => (true, true),
        Family::V4 => (true, false),
        Family::V6 => (false, true),
    };
    match ask(link, Request::Resolve { name: ByteBuf::from(name), v4, v6 }, Bytes::new()).await? {
        (Response::Addresses { canonical, addresses, .. }, _) if !addresses.is_empty() => {
            Ok(Addresses { canonical, addresses })
        }
        (Response::Addresses { .. }, _) => Err(NameError::NoData),
        _ => Err(NameError::Failed),
    }
}

pub(crate) async fn reverse(link: &Link, address: IpAddr) -> Result<String, NameError> {
    match ask(link, Request::Reverse { address }, Bytes::new()).await? {
        (Response::Name(name), _) => Ok(name),
        _ => Err(NameError::Failed),
    }
}

pub(crate) async fn query(link: &Link, name: &[u8], class: u16, kind: u16, search: bool) -> Result<Bytes, NameError> {
    packet(link, Request::Query { name: ByteBuf::from(name), class, kind, search }, Bytes::new()).await
}

pub(crate) async fn forward(link: &Link, query: &[u8]) -> Result<Bytes, NameError> {
    packet(link, Request::Forward, Bytes::copy_from_slice(query)).await
}

async fn packet(link: &Link, request: Request, payload: Bytes) -> Result<Bytes, NameError> {
    match ask(link, request, payload).await? {
        (Response::Data, packet) => Ok(packet),
        _ => Err(NameError::Failed),
    }
}

async fn ask(link: &Link, request: Request, payload: Bytes) -> Result<(Response, Bytes), NameError> {
    let answer = tokio::time::timeout(LIMIT, link.request(&request, payload)).await;
    match answer.map_err(|_| NameError::Again)?.map_err(|_| NameError::Again)? {
        (Response::NameError(failure), _) => Err(match failure {
            NameFailure::NotFound => NameError::NotFound,
            NameFailure::NoData => NameError::NoData,
            NameFailure::Again => NameError::Again,
            NameFailure::Failed => NameError::Failed,
        }),
        answer => Ok(answer),
    }
}
