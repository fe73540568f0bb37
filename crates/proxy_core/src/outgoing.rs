//! Outgoing connections: the life of one `connect`.
//!
//! ```text
//!   Connect{remote} ── a descendant of ours listens there? ──> Native
//!        │ open at the agent
//!        ├── answer in time: refused ─────────────────────────> Errno(true errno)
//!        ├── answer in time: ready ──> Via{door}              ─┐
//!        └── non-blocking and late ──> Via{pending listener}  ─┤ Established{local} ──> pair ──> relay
//!                 later refused: close it, remember the errno ─┘
//!   the question's connection ends before Established: the program gave up; the stream is reset
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mirrord_link::{Link, Stream, relay};
use mirrord_protocol::agent::Open;
use mirrord_protocol::layer::{Answer, Question};
use tokio::net::TcpStream;

use crate::arrivals::{Arrivals, Doors};
use crate::ends::{Ends, EndsTable};
use crate::events::Counters;
use crate::layer_conn::Asker;
use crate::ownership;
use crate::pending::PendingListener;

/// A non-blocking `connect` waits this long for the remote result before it is answered "in progress". Longer, and an
/// event loop stalls; shorter, and connections over slow links wait for the kernel's next SYN (1 s).
const BUDGET: Duration = Duration::from_millis(100);

/// The kernel's own limit with the default of 6 SYN retries (`tcp_syn_retries`, tcp(7)) is 127 s.
const LIMIT: Duration = Duration::from_secs(130);

/// How long the program may take between our answer and its `connect`.
const ESTABLISH: Duration = Duration::from_secs(10);

const ENETUNREACH: i32 = 101;
const ETIMEDOUT: i32 = 110;
const ECONNABORTED: i32 = 103;

/// What outgoing connections need of the session.
pub(crate) struct Outgoing {
    pub arrivals: Arc<Arrivals>,
    pub doors: Doors,
    pub ends: Arc<EndsTable>,
    pub counters: Arc<Counters>,
}

/// A program's `connect`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connect {
    pub remote: SocketAddr,
    pub nonblocking: bool,
    pub v6: bool,
    pub timeout_ms: u32,
}

type Outcome = Result<(SocketAddr, Stream), i32>;

// === impl Outgoing ===

impl Outgoing {
    /// Serves one `connect`, from the question to the end of the connection.
    pub(crate) async fn connect(self: Arc<Self>, link: Link, asker: &mut Asker, connect: Connect) {
        let remote = crate::ends::canonical(connect.remote);
        if mirrord_policy::outgoing::is_loopback(remote.ip()) {
            let ours = tokio::task::spawn_blocking(move || ownership::listens_here(remote)).await;
            if ours.unwrap_or(false) {
                asker.answer(&Answer::Native).await;
                return;
            }
        }
        let timeout = match connect.timeout_ms {
            0 => LIMIT,
            limit => Duration::from_millis(u64::from(limit)),
        };
        let open = Open::Connect { remote: with_loopback(remote), timeout_ms: connect.timeout_ms };
        // A task of its own: the answer may come after the question was answered "in progress".
        let mut opening = tokio::spawn(async move { dial(&link, open, timeout).await });
        let budget = if connect.nonblocking { BUDGET } else { timeout + ESTABLISH };
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(budget, &mut opening) => outcome,
            () = asker.gone() => {
                opening.abort();
                return;
            }
        };
        match outcome {
            Ok(Ok(Ok(ready))) => self.hand_over(asker, connect, ready).await,
            Ok(Ok(Err(errno))) => asker.answer(&Answer::Errno(errno)).await,
            Ok(Err(_)) => asker.answer(&Answer::Errno(ECONNABORTED)).await,
            Err(_) => self.in_progress(asker, connect, opening).await,
        }
    }

    async fn hand_over(&self, asker: &mut Asker, connect: Connect, (there, stream): (SocketAddr, Stream)) {
        let listener = self.door(connect);
        asker.answer(&Answer::Via { listener }).await;
        let Some(local) = asker.established(ESTABLISH).await else {
            // The program gave up, or its own connect failed: the stream is reset.
            return;
        };
        self.ends.insert(local, listener, Ends { peer: connect.remote, local: there });
        if let Some(socket) = self.arrivals.claim(local).await {
            self.run(stream, socket).await;
        }
    }

    async fn in_progress(&self, asker: &mut Asker, connect: Connect, opening: tokio::task::JoinHandle<Outcome>) {
        let abort = opening.abort_handle();
        let pending = match PendingListener::new(*self.doors.v4.ip(), connect.v6).await {
            Ok(pending) => pending,
            Err(error) => {
                abort.abort();
                asker.answer(&Answer::Errno(error.raw_os_error().unwrap_or(ECONNABORTED))).await;
                return;
            }
        };
        let listener = pending.address();
        asker.answer(&Answer::Via { listener }).await;
        let Some(local) = asker.established(ESTABLISH).await else {
            abort.abort();
            return;
        };
        match opening.await {
            Ok(Ok((there, stream))) => {
                self.ends.insert(local, listener, Ends { peer: connect.remote, local: there });
                // The program's kernel tries again after 1, 3, 7, 15, 31 s; or the program closed its socket long ago.
                if let Ok(Ok(socket)) = tokio::time::timeout(LIMIT, pending.admit(local)).await {
                    self.run(stream, socket).await;
                }
            }
            Ok(Err(errno)) => self.ends.fail(local, errno),
            Err(_) => self.ends.fail(local, ECONNABORTED),
        }
    }

    async fn run(&self, stream: Stream, socket: TcpStream) {
        Counters::add(&self.counters.connections, 1);
        let relayed = relay(stream, socket).await;
        Counters::add(&self.counters.bytes_out, relayed.sent);
        Counters::add(&self.counters.bytes_in, relayed.received);
    }

    fn door(&self, connect: Connect) -> SocketAddr {
        match self.doors.v6 {
            Some(v6) if connect.v6 => v6.into(),
            _ => self.doors.v4.into(),
        }
    }
}

async fn dial(link: &Link, open: Open, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, link.open(&open)).await {
        Ok(Ok(outcome)) => outcome,
        // The link is over: for the program the network is gone.
        Ok(Err(_)) => Err(ENETUNREACH),
        Err(_) => Err(ETIMEDOUT),
    }
}

/// The unspecified address means the caller's own host: for the agent that is the target's loopback.
fn with_loopback(remote: SocketAddr) -> SocketAddr {
    let ip = match remote.ip() {
        std::net::IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, remote.port())
}

/// Waits for [`Question::Established`] on the question's connection.
impl Asker {
    pub(crate) async fn established(&mut self, limit: Duration) -> Option<SocketAddr> {
        let message = tokio::time::timeout(limit, self.receive()).await.ok()?.ok()??;
        match Question::decode(&message) {
            Ok(Question::Established { local }) => Some(local),
            _ => None,
        }
    }
}
