//! What can go wrong in a session, with a stable kind for the Python side.

/// A failed operation of a session. `kind()` is part of the Python interface.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Folder, sockets or threads of the session itself.
    #[error("failed to {what}: {cause}")]
    Session {
        /// The step, as a verb phrase.
        what: String,
        /// What the kernel said.
        cause: std::io::Error,
    },
    /// The settings are not what this version understands.
    #[error("the session's settings cannot be used: {0}")]
    Settings(String),
    /// The agent could not be reached, or the link to it failed.
    #[error("{0}")]
    Link(#[from] mirrord_link::LinkError),
    /// The API server refused the port-forward or broke it.
    #[error("{0}")]
    PortForward(#[from] crate::port_forward::PortForwardError),
    /// An operation took longer than the caller allows.
    #[error("no answer from the agent within {0:.1} s")]
    Timeout(f64),
    /// An executable cannot be read.
    #[error("failed to read program `{path}`: {cause}")]
    Program {
        /// Its path.
        path: String,
        /// What the kernel said.
        cause: std::io::Error,
    },
    /// Used in the wrong order.
    #[error("{0}")]
    Order(&'static str),
}

impl Error {
    /// Stable name of the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Error::Session { .. } | Error::Order(_) => "session",
            Error::Settings(_) => "settings",
            Error::Link(mirrord_link::LinkError::Tls(_)) => "tls",
            Error::Link(_) => "link",
            Error::PortForward(_) => "refused",
            Error::Timeout(_) => "timeout",
            Error::Program { .. } => "program",
        }
    }

    /// For `map_err`: an I/O error of the session's own step.
    pub(crate) fn step<E: Into<std::io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Error {
        let what = what.into();
        move |cause| Error::Session { what, cause: cause.into() }
    }
}
