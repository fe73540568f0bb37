//! The agent's life: prepares while it is privileged, then serves clients until there is a reason to end.
//!
//! ```text
//!  target, namespaces, threads ──drop privileges──> door open ──client──> session ──lost──> door open (grace) ─┐
//!                                                                 │                                           │
//!        Bye, SIGTERM, target gone <──────────────────────────────┴──────────────────── nobody came <─────────┘
//! ```
//!
//! Keys belong to one session, so a second client that has them is the same session after a broken connection: it takes
//! over at once, without waiting until the old connection's silence is noticed. Called by `main`.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mirrord_link::keys::AgentKeys;
use mirrord_link::{End, Link};
use mirrord_protocol::agent::Welcome;
use rustix::thread::CapabilitySet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};

use crate::command::{Door, Serve};
use crate::dns::Dns;
use crate::ending::Ending;
use crate::error::{AgentError, Doing};
use crate::files::pool::Pool;
use crate::files::root::Root;
use crate::namespace::{Network, privileges};
use crate::session::{Client, Means, Session};
use crate::target::Target;

/// Connections that may be proving themselves at a time; each takes three seconds at most.
const STRANGERS: usize = 32;

/// Pause when the process has no descriptor left, which no event announces the end of.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// What a client is greeted with.
struct Greeting {
    keys: AgentKeys,
    welcome: Welcome,
    environment: Bytes,
}

/// Why serving ended.
enum Reason {
    Bye(String),
    Signal(&'static str),
    TargetEnded,
    ParentEnded,
    NobodyCame(Duration),
    CarrierClosed,
}

/// Serves until there is a reason to end; `carrier` is the inherited socket of [`Door::Inherited`].
pub async fn serve(options: Serve, keys: AgentKeys, carrier: Option<OwnedFd>) -> Result<(), AgentError> {
    // First of all: as pid 1 of a container, a signal without a handler would be ignored.
    let signals = Signals::install()?;
    raise_descriptor_limit();
    let listener = match options.door {
        Door::Listen(address) => {
            Some(TcpListener::bind(address).await.doing(|| format!("listen for the client: {address}"))?)
        }
        Door::Inherited(_) => None,
    };
    let (mut target, means, welcome) = prepare(&options)?;
    let environment = Bytes::from(std::mem::take(&mut target.environment));
    let greeting = Arc::new(Greeting { keys, welcome, environment });
    tracing::info!(pid = target.pid, "the agent is ready");
    let mut life = Life { target, means, signals };
    let reason = match (listener, carrier) {
        (Some(listener), _) => life.serve_listener(listener, greeting, options.grace).await,
        (None, Some(carrier)) => life.serve_carrier(carrier, &greeting).await?,
        (None, None) => return Err(AgentError::Usage("no socket was inherited".to_owned())),
    };
    life.means.network.settle().await;
    match reason {
        Reason::Bye(text) => tracing::info!("the client ended the session: {text}"),
        Reason::Signal(name) => tracing::info!("ended by {name}"),
        Reason::TargetEnded => tracing::info!("the target process has ended"),
        Reason::ParentEnded => tracing::info!("the parent process has ended"),
        Reason::NobodyCame(grace) => tracing::info!("no client for {} s", grace.as_secs()),
        Reason::CarrierClosed => tracing::info!("the client's socket was closed"),
    }
    Ok(())
}

/// Everything that needs privileges, and then their end.
fn prepare(options: &Serve) -> Result<(Target, Means, Welcome), AgentError> {
    let mut target = Target::open(&options.target)?;
    rustix::thread::set_no_new_privs(true).doing(|| "forbid new privileges".to_owned())?;
    let (network, hostname) = Network::start(&target)?;
    let (pool, notice) = Pool::start(&target.identity)?;
    privileges::restrict(CapabilitySet::empty())?;
    target.notices.extend(notice);
    let root = target.root.try_clone().doing(|| "keep the target's root directory".to_owned())?;
    let root = Arc::new(Root::new(root));
    let welcome = Welcome {
        version: mirrord_protocol::VERSION.to_owned(),
        features: Vec::new(),
        pid: target.pid,
        hostname: hostname.into(),
        uid: target.identity.uid,
        gid: target.identity.gid,
        cwd: target.cwd.clone().into(),
    };
    let dns = Dns::new(pool.clone(), Arc::clone(&root));
    let has_target = target.pid != 0;
    Ok((target, Means { network, pool, root, dns, has_target }, welcome))
}

/// Every connection is a descriptor, and containers often start with 1,024.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!("failed to raise the limit of open descriptors: {error}");
    }
}

struct Life {
    target: Target,
    means: Means,
    signals: Signals,
}

impl Life {
    async fn serve_carrier(&mut self, carrier: OwnedFd, greeting: &Greeting) -> Result<Reason, AgentError> {
        let carrier = std::os::unix::net::UnixStream::from(carrier);
        let carrier = carrier
            .set_nonblocking(true)
            .and_then(|()| UnixStream::from_std(carrier))
            .doing(|| "use the inherited socket".to_owned())?;
        let parent = rustix::process::getppid().ok_or_else(|| AgentError::Usage("the parent has ended".to_owned()))?;
        let parent = Ending::of(parent).doing(|| "watch the parent process".to_owned())?;
        let Some(client) = greet(carrier, greeting).await else { return Ok(Reason::CarrierClosed) };
        // Nobody else can come through a socket that is connected already.
        let (_clients_tx, mut clients_rx) = mpsc::channel(1);
        let session = self.session(client, &mut clients_rx);
        Ok(tokio::select! {
            next = session => match next {
                Next::End(reason) => reason,
                Next::Lost | Next::Client(_) => Reason::CarrierClosed,
            },
            // Somebody may have inherited the socket's other end, so its closing alone is not enough.
            () = parent.wait() => Reason::ParentEnded,
        })
    }

    async fn serve_listener(&mut self, listener: TcpListener, greeting: Arc<Greeting>, grace: Duration) -> Reason {
        // welcome_all --client that has proved itself--> here
        let (clients_tx, mut clients_rx) = mpsc::channel(1);
        tokio::spawn(welcome_all(listener, greeting, clients_tx));
        let mut next = Next::Lost;
        loop {
            next = match next {
                Next::End(reason) => return reason,
                Next::Client(client) => self.session(*client, &mut clients_rx).await,
                Next::Lost => tokio::select! {
                    Some(client) = clients_rx.recv() => Next::Client(Box::new(client)),
                    () = tokio::time::sleep(grace) => Next::End(Reason::NobodyCame(grace)),
                    () = self.target.ended() => Next::End(Reason::TargetEnded),
                    name = self.signals.next() => Next::End(Reason::Signal(name)),
                },
            };
        }
    }

    async fn session(&mut self, mut client: Client, newer: &mut mpsc::Receiver<Client>) -> Next {
        let link = client.link.clone();
        tracing::info!(holder = %client.hello.holder, version = %client.hello.version, "session begins");
        self.target.notices.iter().for_each(|text| link.notice(text.clone()));
        let session = Session::new(&self.means, &client);
        let (next, farewell) = tokio::select! {
            end = session.serve(&mut client) => match end {
                End::Bye(reason) => (Next::End(Reason::Bye(reason)), None),
                End::Closed | End::Lost(_) => {
                    tracing::warn!("{end}");
                    (Next::Lost, None)
                }
            },
            Some(newer) = newer.recv() => {
                (Next::Client(Box::new(newer)), Some("a newer connection of this session took over"))
            }
            () = self.target.ended() => {
                link.notice(format!("the target process {} has ended", self.target.pid));
                (Next::End(Reason::TargetEnded), Some("the target process has ended"))
            }
            name = self.signals.next() => (Next::End(Reason::Signal(name)), Some("the agent was told to end")),
        };
        // Ports go back before the other side hears that it is over.
        drop(session);
        if let Some(farewell) = farewell {
            link.bye(farewell).await;
        }
        next
    }
}

/// What follows a session.
enum Next {
    End(Reason),
    Lost,
    Client(Box<Client>),
}

/// Lets everybody try to prove that they belong to the session; strangers learn nothing and delay nobody.
async fn welcome_all(listener: TcpListener, greeting: Arc<Greeting>, clients: mpsc::Sender<Client>) {
    let room = Arc::new(Semaphore::new(STRANGERS));
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("failed to accept a connection: {error}");
                tokio::time::sleep(EXHAUSTED).await;
                continue;
            }
        };
        let Ok(room) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!(%peer, "too many strangers at the door; one is turned away");
            continue;
        };
        let (greeting, clients) = (Arc::clone(&greeting), clients.clone());
        tokio::spawn(async move {
            let _room = room;
            if let Err(error) = socket.set_nodelay(true) {
                tracing::debug!(%peer, "failed to set TCP_NODELAY: {error}");
            }
            if let Some(client) = greet(socket, &greeting).await {
                // The receiver is gone only when the agent ends.
                drop(clients.send(client).await);
            }
        });
    }
}

async fn greet<S>(carrier: S, greeting: &Greeting) -> Option<Client>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    match Link::agent(carrier, &greeting.keys, &greeting.welcome, greeting.environment.clone()).await {
        Ok((link, hello, events)) => Some(Client { link, hello, events }),
        Err(error) => {
            tracing::debug!("somebody did not become a client: {error}");
            None
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> Result<Signals, AgentError> {
        let install = |kind| signal(kind).doing(|| "install a signal handler".to_owned());
        Ok(Signals { terminate: install(SignalKind::terminate())?, interrupt: install(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
