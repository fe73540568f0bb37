//! One session: what it owns, and the order in which it comes and goes.
//!
//! ```text
//!   new()      folder, doors on loopback, remote root (mounted, not yet answering)     no agent needed: runs beside
//!   connect()  carrier ─> link ─> the remote root answers                              its creation
//!   start()    policy image, question socket, watchers: programs may begin
//!   close()    bye to the agent, remote root gone, folder gone, tasks gone
//! ```
//!
//! Called by the Python side through `mirrord.proxy`; every method may block and none needs the interpreter. When this
//! process is killed instead, the kernel closes the link (the agent gives everything back) and the remote root's holder
//! removes the folder.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use mirrord_link::keys::SessionKeys;
use mirrord_link::{End, Link};
use mirrord_policy::Facts;
use mirrord_policy::settings::{FileMode, Settings};
use mirrord_protocol::agent::{Hello, Open, Welcome};
use mirrord_protocol::env;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{mpsc, watch};

use crate::arrivals::{self, Arrivals, Doors};
use crate::bound::Bound;
use crate::ends::{Ends, EndsTable};
use crate::error::Error;
use crate::events::{Counters, Event, Events};
use crate::files::LinkRemote;
use crate::folder::Folder;
use crate::incoming::Incoming;
use crate::layer_conn;
use crate::outgoing::Outgoing;
use crate::port_forward::{self, Endpoint};
use crate::root::{Keeper, Root};
use crate::sync::locked;

/// Data is moved by these; the interpreter's threads only wait.
const WORKERS: usize = 2;

/// How long `close` waits for tasks.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// What the agent told of the target.
#[derive(Clone, Debug)]
pub struct Target {
    /// The agent's first message.
    pub welcome: Welcome,
    /// The target's environment, as in `/proc/PID/environ`.
    pub environment: Bytes,
}

/// A session.
pub struct Session {
    runtime: Mutex<Option<Runtime>>,
    handle: Handle,
    folder: Mutex<Option<Folder>>,
    path: PathBuf,
    settings: Settings,
    keys: SessionKeys,
    holder: String,
    doors: Doors,
    closed_doors: Mutex<Option<(Vec<TcpListener>, OwnedFd)>>,
    root: Mutex<Option<Root>>,
    keeper: Mutex<Option<Keeper>>,
    root_problem: Option<String>,
    events: Arc<Events>,
    counters: Arc<Counters>,
    connected: OnceLock<Connected>,
    /// Held while a connection is made: `close` waits for it.
    connecting: Mutex<()>,
    /// close() --give up--> connect()
    closing: watch::Sender<bool>,
}

struct Connected {
    link: Link,
    target: Target,
    agent_events: Mutex<Option<mpsc::Receiver<mirrord_link::Event>>>,
}

/// What a question of the layer may need.
pub(crate) struct Services {
    pub link: Link,
    pub outgoing: Arc<Outgoing>,
    pub incoming: Arc<Incoming>,
    pub ends: Arc<EndsTable>,
    pub bound: Bound,
    pub events: Arc<Events>,
    pub counters: Arc<Counters>,
    port_mapping: Vec<(u16, u16)>,
}

/// How long a question about a connection waits for the connection's own announcement, which was sent before it.
const ANNOUNCED: Duration = Duration::from_secs(1);

impl Services {
    /// Who is at the other end of the connection between these addresses.
    pub(crate) async fn ends_of(&self, local: SocketAddr, peer: SocketAddr) -> Option<Result<Ends, i32>> {
        if peer.ip().to_canonical() == *self.outgoing.doors.v4.ip() {
            return self.ends.get_soon(local, peer, ANNOUNCED).await;
        }
        match self.outgoing.doors.v6 {
            Some(v6) if peer == SocketAddr::V6(v6) => self.ends.get_soon(local, peer, ANNOUNCED).await,
            _ => self.ends.get(local, peer),
        }
    }

    /// The target's port for a port that a program listens on.
    pub(crate) fn remote_port(&self, port: u16) -> u16 {
        mirrord_policy::incoming::mapped(self.port_mapping.iter().copied(), port)
    }
}

// === impl Session ===

impl Session {
    /// Prepares a session. `settings` is JSON, `folder` does not exist yet, `holder` names the user to others.
    ///
    /// # Errors
    /// [`Error::Settings`] for settings that this version does not understand, [`Error::Session`] when the machine
    /// refuses something that every session needs. A remote root that cannot be made is not an error: see
    /// [`Session::files_problem`].
    pub fn new(settings: &str, keys: SessionKeys, folder: &Path, holder: String) -> Result<Session, Error> {
        let settings: Settings = serde_json::from_str(settings).map_err(|error| Error::Settings(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("mirrord-proxy")
            .enable_all()
            .build()
            .map_err(Error::step("start threads"))?;
        let folder = Folder::create(folder)?;
        let questions = {
            let _inside = runtime.enter();
            layer_conn::bind(&folder.path().join(env::SOCKET_NAME))?
        };
        let (doors, listeners) = runtime.block_on(arrivals::bind())?;
        let wants_files = settings.files.mode != FileMode::Local;
        let (root, root_problem) = match wants_files.then(|| Root::mount(runtime.handle().clone(), folder.path())) {
            Some(Ok(root)) => (Some(root), None),
            Some(Err(error)) => (None, Some(with_hint(&error))),
            None => (None, None),
        };
        let keeper = match &root {
            Some(_) => None,
            None => Some(Keeper::start(folder.path()).map_err(|error| Error::Session {
                what: "start the process that tidies up after us".to_owned(),
                cause: std::io::Error::from_raw_os_error(error.errno()),
            })?),
        };
        Ok(Session {
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            path: folder.path().to_owned(),
            folder: Mutex::new(Some(folder)),
            settings,
            keys,
            holder,
            doors,
            closed_doors: Mutex::new(Some((listeners, questions))),
            root: Mutex::new(root),
            keeper: Mutex::new(keeper),
            connecting: Mutex::new(()),
            closing: watch::Sender::new(false),
            root_problem,
            events: Arc::new(Events::new()),
            counters: Arc::new(Counters::default()),
            connected: OnceLock::new(),
        })
    }

    /// `fuse` when remote files are served, else `none`.
    pub fn files_provider(&self) -> &'static str {
        if locked(&self.root).is_some() { "fuse" } else { "none" }
    }

    /// Why remote files are wanted and not served, and what to do.
    pub fn files_problem(&self) -> Option<&str> {
        self.root_problem.as_deref()
    }

    /// Speaks over a connected unix stream socket: a local target's agent.
    ///
    /// # Errors
    /// [`Error::Link`] or [`Error::Timeout`] when the agent does not answer as it must.
    pub fn connect_fd(&self, socket: OwnedFd, timeout: Duration) -> Result<Target, Error> {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true).map_err(Error::step("use the agent's socket"))?;
        self.connect(timeout, async {
            tokio::net::UnixStream::from_std(socket).map_err(Error::step("use the agent's socket"))
        })
    }

    /// Speaks through the API server's port-forward.
    ///
    /// # Errors
    /// [`Error::PortForward`] with the server's words, [`Error::Link`] or [`Error::Timeout`].
    pub fn connect_port_forward(
        &self,
        endpoint: &Endpoint,
        headers: &[(String, String)],
        timeout: Duration,
    ) -> Result<Target, Error> {
        self.connect(timeout, async { Ok(port_forward::connect(endpoint, headers, timeout).await?) })
    }

    fn connect<S>(&self, timeout: Duration, carrier: impl Future<Output = Result<S, Error>>) -> Result<Target, Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let hello =
            Hello { version: mirrord_protocol::VERSION.to_owned(), features: Vec::new(), holder: self.holder.clone() };
        let dialling = async { Ok::<_, Error>(Link::client(carrier.await?, &self.keys, &hello).await?) };
        let _connecting = locked(&self.connecting);
        let mut closing = self.closing.subscribe();
        let dialled = self.handle.block_on(async {
            tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => Ok(Err(Error::Order("the session is closed"))),
                dialled = tokio::time::timeout(timeout, dialling) => dialled,
            }
        });
        let (link, welcome, environment, agent_events) =
            dialled.map_err(|_| Error::Timeout(timeout.as_secs_f64()))??;
        if let Some(root) = &*locked(&self.root) {
            root.attach(Arc::new(LinkRemote(link.clone())));
        }
        let target = Target { welcome, environment };
        let connected = Connected { link, target: target.clone(), agent_events: Mutex::new(Some(agent_events)) };
        self.connected.set(connected).map_err(|_| Error::Order("the session is connected already"))?;
        Ok(target)
    }

    /// Opens the doors for programs; returns the environment that brings them into context. `layer` is the path of the
    /// layer's library.
    ///
    /// # Errors
    /// [`Error::Order`] before `connect`, [`Error::Settings`] for a pattern that cannot be compiled.
    pub fn start(&self, layer: &str) -> Result<Vec<(&'static str, String)>, Error> {
        let connected = self.connected.get().ok_or(Error::Order("the session is not connected yet"))?;
        let doors = locked(&self.closed_doors).take();
        let (listeners, questions) = doors.ok_or(Error::Order("the session has started already"))?;
        self.write_policy(connected, layer)?;
        let _inside = self.handle.enter();
        let ends = Arc::new(EndsTable::default());
        let own = *self.doors.v4.ip();
        let arrivals = Arc::new(Arrivals::default());
        let (incoming, watched) = Incoming::new(own, ends.clone(), self.events.clone(), self.counters.clone());
        let incoming = Arc::new(incoming);
        let services = Arc::new(Services {
            link: connected.link.clone(),
            outgoing: Arc::new(Outgoing {
                arrivals: arrivals.clone(),
                doors: self.doors,
                ends: ends.clone(),
                counters: self.counters.clone(),
            }),
            incoming: incoming.clone(),
            ends,
            bound: Bound::default(),
            events: self.events.clone(),
            counters: self.counters.clone(),
            port_mapping: self.settings.incoming.port_mapping.clone(),
        });
        for listener in listeners {
            tokio::spawn(arrivals.clone().accept(listener));
        }
        tokio::spawn(incoming.clone().watch_listeners(connected.link.clone(), Incoming::watcher()?, watched));
        tokio::spawn(layer_conn::serve(questions, services));
        if let Some(agent_events) = locked(&connected.agent_events).take() {
            tokio::spawn(serve_agent(agent_events, incoming, self.events.clone()));
        }
        tokio::spawn(tell_end(connected.link.clone(), self.events.clone()));
        Ok(vec![(env::SESSION, self.path.to_string_lossy().into_owned()), ("LD_PRELOAD", layer.to_owned())])
    }

    fn write_policy(&self, connected: &Connected, layer: &str) -> Result<(), Error> {
        let root = locked(&self.root);
        let ids = root.as_ref().filter(|root| !root.shows_ids());
        let facts = Facts {
            remote_root: root.as_ref().map_or(b"", |root| root.path()),
            remote_device: root.as_ref().map_or(0, Root::device),
            shown_uid: ids.map(|_| rustix::process::geteuid().as_raw()),
            shown_gid: ids.map(|_| rustix::process::getegid().as_raw()),
            hostname: &connected.target.welcome.hostname,
            library: layer.as_bytes(),
            listener_v4: self.doors.v4,
            listener_v6: self.doors.v6,
        };
        let image = mirrord_policy::compile::compile(&self.settings, &facts)
            .map_err(|error| Error::Settings(error.to_string()))?;
        std::fs::write(self.path.join(env::POLICY_NAME), image).map_err(Error::step("write the policy image"))
    }

    /// The next event, or `None` after `timeout`.
    pub fn next_event(&self, timeout: Duration) -> Option<Event> {
        self.events.next(timeout)
    }

    /// Makes a waiting [`Session::next_event`] return `None`.
    pub fn wake(&self) {
        self.events.wake();
    }

    /// Names and values of the session's counters.
    pub fn summary(&self) -> Vec<(&'static str, u64)> {
        let files = locked(&self.root).as_ref().map(Root::counters).unwrap_or_default();
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            ("connections", read(&self.counters.connections)),
            ("accepted", read(&self.counters.accepted)),
            ("names", read(&self.counters.names)),
            ("files", files.opened),
            ("bytes_in", read(&self.counters.bytes_in) + files.bytes),
            ("bytes_out", read(&self.counters.bytes_out)),
        ]
    }

    /// Ends the session and removes everything local. Idempotent; every other method fails or is empty afterwards.
    pub fn close(&self) {
        self.closing.send_replace(true);
        let _connecting = locked(&self.connecting);
        let Some(runtime) = locked(&self.runtime).take() else { return };
        if let Some(connected) = self.connected.get() {
            runtime.block_on(connected.link.bye("the local program has ended"));
        }
        drop(locked(&self.root).take());
        drop(locked(&self.keeper).take());
        drop(locked(&self.folder).take());
        runtime.shutdown_timeout(SHUTDOWN);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}

async fn serve_agent(
    mut agent_events: mpsc::Receiver<mirrord_link::Event>,
    incoming: Arc<Incoming>,
    events: Arc<Events>,
) {
    while let Some(event) = agent_events.recv().await {
        match event {
            mirrord_link::Event::Open { open: Open::Incoming { port, peer, local }, pending } => {
                let incoming = incoming.clone();
                tokio::spawn(async move { incoming.serve(port, peer, local, pending).await });
            }
            mirrord_link::Event::Notice(text) => events.send(Event::Notice(text)),
            // Dropped: answered with an error. An agent has nothing to ask us.
            mirrord_link::Event::Request { .. } | mirrord_link::Event::Open { .. } => {}
        }
    }
}

async fn tell_end(link: Link, events: Arc<Events>) {
    match link.ended().await {
        End::Closed => {}
        end => events.send(Event::Lost(end.to_string())),
    }
}

fn with_hint(error: &crate::root::RootError) -> String {
    match error.hint() {
        Some(hint) => format!("{error}\n{hint}"),
        None => error.to_string(),
    }
}
