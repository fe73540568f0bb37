//! One client's session: takes what comes from the link and gives it to the module that answers it.
//!
//! Nothing here waits: every request gets its own task (files and names on the main thread's or the network thread's
//! runtime), so answers overtake one another freely. The link bounds how many requests are unanswered at a time.
//! Called by `life`.

use std::sync::Arc;

use bytes::Bytes;
use mirrord_link::{End, Event, Link, Responder};
use mirrord_protocol::agent::{Hello, Open, Request, Response};
use tokio::sync::mpsc;

use crate::dns::Dns;
use crate::files::Files;
use crate::files::pool::Pool;
use crate::files::root::Root;
use crate::incoming::Incoming;
use crate::namespace::Network;
use crate::outgoing::Outgoing;

/// What all sessions of an agent work with.
pub struct Means {
    /// Runs what belongs into the target's network namespace.
    pub network: Network,
    /// Runs what may block on files.
    pub pool: Pool,
    /// The target's root directory.
    pub root: Arc<Root>,
    /// The target's names.
    pub dns: Dns,
    /// Whether there is a target whose ports can be taken.
    pub has_target: bool,
}

/// A client that has proved itself.
pub struct Client {
    /// Its link.
    pub link: Link,
    /// What it said about itself.
    pub hello: Hello,
    /// What it wants.
    pub events: mpsc::Receiver<Event>,
}

/// The parts of a running session. Dropping it gives everything back.
pub struct Session {
    network: Network,
    files: Files,
    dns: Dns,
    outgoing: Outgoing,
    incoming: Incoming,
    has_target: bool,
}

impl Session {
    /// A session for `client`.
    pub fn new(means: &Means, client: &Client) -> Session {
        Session {
            network: means.network.clone(),
            files: Files::new(means.pool.clone(), Arc::clone(&means.root)),
            dns: means.dns.clone(),
            outgoing: Outgoing::new(means.network.clone()),
            incoming: Incoming::new(means.network.clone(), client.link.clone(), client.hello.holder.clone()),
            has_target: means.has_target,
        }
    }

    /// Serves until the link is over.
    pub async fn serve(&self, client: &mut Client) -> End {
        while let Some(event) = client.events.recv().await {
            match event {
                Event::Request { request, payload, responder } => self.answer(request, payload, responder),
                Event::Open { open: Open::Connect { remote, timeout_ms }, pending } => {
                    self.network.spawn(self.outgoing.clone().connect(remote, timeout_ms, pending));
                }
                // Only the agent reports incoming connections.
                Event::Open { open: Open::Incoming { .. }, pending } => pending.refuse(libc::EOPNOTSUPP),
                Event::Notice(text) => tracing::info!("the client says: {text}"),
            }
        }
        client.link.ended().await
    }

    fn answer(&self, request: Request, payload: Bytes, responder: Responder) {
        match request {
            Request::Subscribe { port } if self.has_target => {
                let incoming = self.incoming.clone();
                self.network.spawn(async move { responder.send(incoming.subscribe(port).await, Bytes::new()) });
            }
            Request::Subscribe { .. } => {
                let reason = "a session without a target has no ports to take".to_owned();
                responder.send(Response::Refused { errno: libc::EOPNOTSUPP, reason }, Bytes::new());
            }
            Request::Unsubscribe { port } => {
                let incoming = self.incoming.clone();
                self.network.spawn(async move { responder.send(incoming.unsubscribe(port).await, Bytes::new()) });
            }
            request
            @ (Request::Resolve { .. } | Request::Reverse { .. } | Request::Query { .. } | Request::Forward) => {
                let dns = self.dns.clone();
                self.network.spawn(async move {
                    let (response, payload) = dns.answer(request, payload).await;
                    responder.send(response, payload);
                });
            }
            request => {
                let files = self.files.clone();
                tokio::spawn(async move {
                    let answer = files.answer(request).await;
                    let (response, payload) = answer.unwrap_or_else(|| (Response::Errno(libc::ENOSYS), Bytes::new()));
                    responder.send(response, payload);
                });
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.incoming.stop();
    }
}
