//! Who has a port: one agent at a time may redirect a port of a network namespace.
//!
//! The claim is an abstract unix socket, `@mirrord/tcp/PORT`, in the target's network namespace. The kernel lets one
//! process bind it and frees it when that process ends, however it ends. It tells everybody who connects the holder's
//! name, so that the second one learns whom to ask. Called by `incoming` on the network thread.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener, UnixStream as StdStream};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// Longest name of a holder that is told or believed.
const NAME_LIMIT: usize = 200;

/// How long a holder may take to say its name.
const LIMIT: Duration = Duration::from_millis(500);

/// Attempts when a claim vanishes while we ask for its holder.
const ATTEMPTS: usize = 3;

/// A port that is ours, as long as this lives.
#[derive(Debug)]
pub struct Claim(JoinHandle<()>);

/// Why a port is not ours.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Somebody has it.
    #[error("port {port} is already taken from this target by {holder}")]
    Held {
        /// The port.
        port: u16,
        /// Who has it.
        holder: String,
    },
    /// The kernel refused.
    #[error("failed to claim port {port}: {cause}")]
    Kernel {
        /// The port.
        port: u16,
        /// What the kernel said.
        cause: io::Error,
    },
}

impl Claim {
    /// Takes the port for `holder`.
    pub async fn take(port: u16, holder: &str) -> Result<Claim, ClaimError> {
        let failed = |cause| ClaimError::Kernel { port, cause };
        let address = SocketAddr::from_abstract_name(format!("mirrord/tcp/{port}")).map_err(failed)?;
        for _ in 0..ATTEMPTS {
            match StdListener::bind_addr(&address) {
                Ok(listener) => {
                    listener.set_nonblocking(true).map_err(failed)?;
                    let listener = UnixListener::from_std(listener).map_err(failed)?;
                    return Ok(Claim(tokio::spawn(tell(listener, named(holder)))));
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(failed(error)),
            }
            match tokio::time::timeout(LIMIT, ask(&address)).await {
                Ok(Ok(holder)) if !holder.is_empty() => return Err(ClaimError::Held { port, holder }),
                // Closed without a word: it is just being given up.
                Ok(_) => tokio::task::yield_now().await,
                Err(_) => break,
            }
        }
        Err(ClaimError::Held { port, holder: "another mirrord session, which does not say its name".to_owned() })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn tell(listener: UnixListener, holder: String) {
    // An error means that no descriptor is left for the caller: it then does not learn the name, the claim holds.
    while let Ok((caller, _)) = listener.accept().await {
        // A fresh socket takes a short text at once; nobody is waited for.
        if let Err(error) = caller.try_write(holder.as_bytes()) {
            tracing::debug!("failed to tell a port's holder: {error}");
        }
    }
    std::future::pending().await
}

async fn ask(address: &SocketAddr) -> io::Result<String> {
    // A full backlog answers EAGAIN instead of waiting.
    let stream = StdStream::connect_addr(address)?;
    stream.set_nonblocking(true)?;
    let mut name = Vec::new();
    UnixStream::from_std(stream)?.take(NAME_LIMIT as u64).read_to_end(&mut name).await?;
    Ok(printable(&name))
}

/// Silence would look like a claim that is being given up.
fn named(holder: &str) -> String {
    match printable(holder.as_bytes()) {
        name if name.is_empty() => "somebody without a name".to_owned(),
        name => name,
    }
}

/// A name for a person to read, whoever sent it.
fn printable(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().filter(|char| !char.is_control()).take(NAME_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn second_claim_learns_the_holder_until_the_first_ends() {
        // A port number that the machine's own sessions will hardly have claimed.
        let port = 1;
        let first = Claim::take(port, "ann@desk\n").await.unwrap();
        let error = Claim::take(port, "bob@desk").await.unwrap_err();
        assert_eq!(error.to_string(), "port 1 is already taken from this target by ann@desk");
        drop(first);
        Claim::take(port, "bob@desk").await.unwrap();
    }
}
