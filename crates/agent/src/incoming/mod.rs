//! Incoming connections: redirects ports of the target to the session and hands every connection over.
//!
//! ```text
//!  Subscribe(port) ──> claim (is it free?) ──> listener, once ──> redirect (nf_tables): port added
//!  a client's SYN  ──kernel──> listener ──> original destination ──> Link::open(Incoming) ──> relay
//! ```
//!
//! One listener and one table per session, made with the first port. All of it runs on the network thread; netlink work
//! on that thread's blocking pool, which shares its namespace and capabilities. Whatever ends the session closes the
//! netlink socket, and with it the kernel gives every port back. Called by `session`.

mod claim;
mod listener;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mirrord_link::{Link, relay};
use mirrord_protocol::agent::{Open, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::claim::{Claim, ClaimError};
use crate::namespace::Network;
use crate::netlink::{Redirect, RedirectError};
use crate::sync::locked;

/// Connections that may wait for the session's decision; further ones wait in the kernel.
const UNDECIDED: usize = 1_024;

/// How long the session may take to decide.
const DECISION: Duration = Duration::from_secs(10);

/// Pause when the process has no descriptor left, which no event announces the end of.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// The incoming side of one session.
#[derive(Clone)]
pub struct Incoming(Arc<State>);

struct State {
    network: Network,
    link: Link,
    holder: String,
    /// Port of the listener; held locked while a subscription changes, so that they change one at a time.
    listener: tokio::sync::Mutex<Option<u16>>,
    ports: Mutex<HashMap<u16, Claim>>,
    redirect: Arc<Mutex<Option<Redirect>>>,
    undecided: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Incoming {
    /// A fresh session's ports: none. `holder` is shown to others who want the same port.
    pub fn new(network: Network, link: Link, holder: String) -> Incoming {
        Incoming(Arc::new(State {
            network,
            link,
            holder,
            listener: tokio::sync::Mutex::new(None),
            ports: Mutex::default(),
            redirect: Arc::default(),
            undecided: Arc::new(Semaphore::new(UNDECIDED)),
            stop: CancellationToken::new(),
        }))
    }

    /// Answers [`mirrord_protocol::agent::Request::Subscribe`]. Runs on the network thread.
    pub async fn subscribe(&self, port: u16) -> Response {
        let state = &self.0;
        let mut listener = state.listener.lock().await;
        if port == 0 {
            return refused(libc::EINVAL, "port 0 cannot be redirected");
        }
        if locked(&state.ports).contains_key(&port) {
            return Response::Done;
        }
        let claim = match Claim::take(port, &state.holder).await {
            Ok(claim) => claim,
            Err(error @ ClaimError::Held { .. }) => return refused(libc::EADDRINUSE, error),
            Err(ClaimError::Kernel { port, cause }) => {
                return refused(
                    cause.raw_os_error().unwrap_or(libc::EIO),
                    format!("failed to claim port {port}: {cause}"),
                );
            }
        };
        let listening = match *listener {
            Some(listening) => listening,
            None => match self.listen() {
                Ok(listening) => *listener.insert(listening),
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(libc::EIO);
                    return refused(errno, format!("failed to listen in the target's network namespace: {error}"));
                }
            },
        };
        // Known before the rule exists: the first connection may come at once.
        locked(&state.ports).insert(port, claim);
        let added = self.change(move |redirect| {
            let redirect = match redirect {
                Some(redirect) => redirect,
                none => none.insert(Redirect::create(listening)?),
            };
            redirect.add(port)
        });
        match added.await {
            Ok(()) => {
                tracing::info!(port, "port is redirected");
                Response::Done
            }
            Err(response) => {
                locked(&state.ports).remove(&port);
                response
            }
        }
    }

    /// Answers [`mirrord_protocol::agent::Request::Unsubscribe`]. Runs on the network thread.
    pub async fn unsubscribe(&self, port: u16) -> Response {
        let state = &self.0;
        let _changes = state.listener.lock().await;
        if !locked(&state.ports).contains_key(&port) {
            return Response::Done;
        }
        let removed = self.change(move |redirect| redirect.as_mut().map_or(Ok(()), |redirect| redirect.remove(port)));
        match removed.await {
            Ok(()) => {
                locked(&state.ports).remove(&port);
                tracing::info!(port, "port is given back");
                Response::Done
            }
            Err(response) => response,
        }
    }

    /// Gives every port back and stops listening. What is relayed ends with the link.
    pub fn stop(&self) {
        self.0.stop.cancel();
        // Rules first: a connection must not be led to a listener that is gone.
        locked(&self.0.redirect).take();
        locked(&self.0.ports).clear();
    }

    async fn change(
        &self,
        work: impl FnOnce(&mut Option<Redirect>) -> Result<(), RedirectError> + Send + 'static,
    ) -> Result<(), Response> {
        let (redirect, stop) = (Arc::clone(&self.0.redirect), self.0.stop.clone());
        let work = move || {
            let mut redirect = locked(&redirect);
            // Checked under the lock that `stop` takes: nothing is redirected for a session that is over.
            if stop.is_cancelled() { Ok(()) } else { work(&mut redirect) }
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(refused(error.errno(), error)),
            Err(panic) => Err(refused(libc::EIO, format!("the agent failed to change its redirect: {panic}"))),
        }
    }

    fn listen(&self) -> std::io::Result<u16> {
        let (listeners, port) = listener::listen()?;
        for listener in listeners {
            tokio::spawn(Arc::clone(&self.0).accept(listener));
        }
        Ok(port)
    }
}

impl State {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let serve = async {
            loop {
                // The semaphore is never closed.
                let Ok(room) = Arc::clone(&self.undecided).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((socket, peer)) => {
                        let state = Arc::clone(&self);
                        self.network.spawn(async move { state.hand_over(socket, peer, room).await });
                    }
                    Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) => {
                        tracing::warn!("failed to accept a redirected connection: {error}");
                        tokio::time::sleep(EXHAUSTED).await;
                    }
                    // The client has gone already.
                    Err(error) => tracing::debug!("failed to accept a redirected connection: {error}"),
                }
            }
        };
        tokio::select! {
            () = serve => {}
            () = self.stop.cancelled() => {}
        }
    }

    async fn hand_over(&self, socket: TcpStream, peer: SocketAddr, room: tokio::sync::OwnedSemaphorePermit) {
        let destination = match listener::original_destination(&socket) {
            Ok(destination) if locked(&self.ports).contains_key(&destination.port()) => destination,
            // Somebody found the listener itself, or the port has just been given back.
            Ok(_) | Err(_) => return reset(&socket),
        };
        let open = Open::Incoming { port: destination.port(), peer, local: destination };
        let decision = tokio::time::timeout(DECISION, self.link.open(&open)).await;
        drop(room);
        match decision {
            Ok(Ok(Ok((_, stream)))) => {
                let relayed = relay(stream, socket).await;
                tracing::debug!(%peer, %destination, ?relayed, "incoming connection ended");
            }
            Ok(Ok(Err(errno))) => {
                tracing::debug!(%peer, %destination, errno, "incoming connection was refused by the session");
                reset(&socket);
            }
            Ok(Err(_)) | Err(_) => {
                tracing::debug!(%peer, %destination, "incoming connection got no decision from the session");
                reset(&socket);
            }
        }
    }
}

/// Ends with RST what was never served: a FIN would look like an empty answer.
fn reset(socket: &TcpStream) {
    if let Err(error) = socket.set_zero_linger() {
        tracing::debug!("failed to reset a connection: {error}");
    }
}

fn refused(errno: i32, reason: impl std::fmt::Display) -> Response {
    Response::Refused { errno, reason: reason.to_string() }
}
