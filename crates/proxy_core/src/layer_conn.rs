//! The layer's questions: one `SOCK_SEQPACKET` connection each, one task each.
//!
//! The socket lies in the session's folder (mode 0700) and takes questions from processes of the session's user, or from
//! anybody whom root's own session let in. A question is read, answered, and forgotten; only `Connect` stays until its
//! connection ends.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mirrord_protocol::layer::{AddressList, Answer, MAX_MESSAGE, Notice, Question};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;

use crate::async_fd;
use crate::dns;
use crate::error::Error;
use crate::events::{Counters, Event};
use crate::outgoing::Connect;
use crate::session::Services;

/// Questions at a time; more wait in the kernel's queue.
const ASKERS: usize = 4096;

/// A layer asks as soon as it has connected.
const SILENT: Duration = Duration::from_secs(5);

const ENOTCONN: i32 = 107;
const ENOSYS: i32 = 38;

/// One question's connection.
pub(crate) struct Asker {
    socket: AsyncFd<OwnedFd>,
}

/// Binds the question socket in the session's folder.
pub(crate) fn bind(path: &Path) -> Result<OwnedFd, Error> {
    let bind = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, 1024)?;
        Ok(socket)
    };
    bind().map_err(|errno: rustix::io::Errno| Error::Session {
        what: format!("listen at `{}`", path.display()),
        cause: errno.into(),
    })
}

/// Takes questions until the session's runtime ends.
pub(crate) async fn serve(listener: OwnedFd, services: Arc<Services>) {
    let Ok(listener) = async_fd::register(listener) else { return };
    let places = Arc::new(Semaphore::new(ASKERS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok(mut ready) = listener.readable().await else { return };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accepted = ready.try_io(|listener| Ok(rustix::net::accept_with(listener.get_ref(), flags)?));
        let socket = match accepted {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => {
                tracing::warn!(%error, "failed to accept a question");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            Err(_would_block) => continue,
        };
        if !is_ours(&socket) {
            continue;
        }
        let services = services.clone();
        tokio::spawn(async move {
            if let Ok(socket) = async_fd::register(socket) {
                answer(Asker { socket }, &services).await;
            }
            drop(place);
        });
    }
}

/// The folder keeps others out already; this holds when its mode was changed.
fn is_ours(socket: &OwnedFd) -> bool {
    let own = rustix::process::geteuid();
    own.is_root() || sockopt::socket_peercred(socket).is_ok_and(|peer| peer.uid == own)
}

async fn answer(mut asker: Asker, services: &Arc<Services>) {
    let Ok(Ok(Some(message))) = tokio::time::timeout(SILENT, asker.receive()).await else { return };
    let question = match Question::decode(&message) {
        Ok(question) => question,
        Err(error) => {
            tracing::debug!(%error, "question that this version does not know");
            asker.answer(&Answer::Errno(ENOSYS)).await;
            return;
        }
    };
    match question {
        Question::Hello { pid, program } => {
            let program = String::from_utf8_lossy(program).into_owned();
            services.events.send(Event::Hello { pid, program });
            asker.answer(&Answer::Done).await;
        }
        Question::Notice { notice, subject, .. } => {
            services.events.send(Event::Notice(sentence(notice, subject)));
            asker.answer(&Answer::Done).await;
        }
        Question::Connect { remote, nonblocking, v6, timeout_ms } => {
            let connect = Connect { remote, nonblocking, v6, timeout_ms };
            services.outgoing.clone().connect(services.link.clone(), &mut asker, connect).await;
        }
        Question::Ends { local, peer } => {
            let answer = match services.ends_of(local, peer).await {
                Some(Ok(ends)) => Answer::Ends { peer: ends.peer, local: ends.local },
                Some(Err(errno)) => Answer::Errno(errno),
                None => match services.bound.requested(local) {
                    Some(requested) => Answer::Ends { peer, local: requested },
                    None => Answer::Errno(ENOTCONN),
                },
            };
            asker.answer(&answer).await;
        }
        Question::Bound { local, requested } => {
            services.ends.forget_failure(local);
            let answer = match services.bound.insert(local, requested) {
                Ok(()) => Answer::Done,
                Err(errno) => Answer::Errno(errno),
            };
            asker.answer(&answer).await;
        }
        Question::Listen { local, requested } => {
            let requested = services.bound.requested(local).unwrap_or(requested);
            let port = services.remote_port(requested.port());
            let answer = match services.incoming.listen(&services.link, local, port).await {
                Ok(()) => Answer::Done,
                Err(errno) => Answer::Errno(errno),
            };
            asker.answer(&answer).await;
        }
        Question::Established { .. } => {}
        name => answer_name(asker, services, name).await,
    }
}

async fn answer_name(mut asker: Asker, services: &Services, question: Question<'_>) {
    let link = &services.link;
    Counters::add(&services.counters.names, 1);
    let unknown = |error| Answer::NameError(error);
    match question {
        Question::Resolve { name, family } => match dns::resolve(link, name, family).await {
            Ok(found) => {
                let mut list = vec![0; 4096];
                let list = AddressList::fill(&found.addresses, &mut list);
                asker.answer(&Answer::Addresses { canonical: found.canonical.as_bytes(), list }).await;
            }
            Err(error) => asker.answer(&unknown(error)).await,
        },
        Question::Reverse { address } => match dns::reverse(link, address).await {
            Ok(name) => asker.answer(&Answer::Name(name.as_bytes())).await,
            Err(error) => asker.answer(&unknown(error)).await,
        },
        Question::Query { name, class, kind, search } => match dns::query(link, name, class, kind, search).await {
            Ok(packet) => asker.answer(&Answer::Packet(&packet)).await,
            Err(error) => asker.answer(&unknown(error)).await,
        },
        Question::Forward { packet } => match dns::forward(link, packet).await {
            Ok(packet) => asker.answer(&Answer::Packet(&packet)).await,
            Err(error) => asker.answer(&unknown(error)).await,
        },
        _ => asker.answer(&Answer::Errno(ENOSYS)).await,
    }
}

fn sentence(notice: Notice, subject: &[u8]) -> String {
    let program = String::from_utf8_lossy(subject);
    match notice {
        Notice::StaticProgram => format!(
            "`{program}` was not started: it is linked statically, so nothing can be loaded into it, and it would run \
             outside the target's context"
        ),
        Notice::GoProgram => format!(
            "`{program}` was not started: Go programs make system calls of their own, and it would run outside the \
             target's context"
        ),
        Notice::PrivilegedProgram => format!(
            "`{program}` runs outside the target's context: the system does not let set-user-id programs and programs \
             with capabilities be intercepted"
        ),
        Notice::ForeignProgram => format!(
            "`{program}` was not started: it is for another architecture or C library, and it would run outside the \
             target's context"
        ),
    }
}

// === impl Asker ===

impl Asker {
    /// The next message, or `None` when the program closed the connection.
    pub(crate) async fn receive(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; MAX_MESSAGE];
        loop {
            let mut ready = self.socket.readable().await?;
            let received = ready.try_io(|socket| {
                let (length, _) = rustix::net::recv(socket.get_ref(), &mut buffer[..], RecvFlags::empty())?;
                Ok(length)
            });
            if let Ok(length) = received {
                let length = length?;
                buffer.truncate(length);
                return Ok((length > 0).then_some(buffer));
            }
        }
    }

    /// Sends an answer. A program that is gone needs none.
    pub(crate) async fn answer(&mut self, answer: &Answer<'_>) {
        let mut buffer = vec![0; MAX_MESSAGE];
        let Ok(length) = answer.encode(&mut buffer) else {
            tracing::warn!("an answer is longer than a message");
            return;
        };
        let message = &buffer[..length];
        loop {
            let Ok(mut ready) = self.socket.writable().await else { return };
            let sent = ready.try_io(|socket| Ok(rustix::net::send(socket.get_ref(), message, SendFlags::NOSIGNAL)?));
            if sent.is_ok() {
                return;
            }
        }
    }

    /// Returns when the program has closed the connection (it gave up, or is gone).
    pub(crate) async fn gone(&mut self) {
        loop {
            let Ok(mut ready) = self.socket.readable().await else { return };
            let peeked =
                ready.try_io(|socket| Ok(rustix::net::recv(socket.get_ref(), &mut [0u8; 1][..], RecvFlags::PEEK)?.0));
            // A message before our answer breaks the protocol: as good as gone.
            if peeked.is_ok() {
                return;
            }
        }
    }
}
