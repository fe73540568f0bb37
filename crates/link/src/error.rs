//! How a link fails to start, and how it ends.

use mirrord_protocol::agent::HeadError;
use mirrord_protocol::frame::FrameError;

/// A link that could not be made, or is over.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The carrier broke.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// The peer is not the other end of this session.
    #[error("the other side did not prove that it belongs to this session: {0}")]
    Tls(#[from] rustls::Error),
    /// Certificates or keys cannot be used.
    #[error("failed to use the session's keys: {0}")]
    Keys(String),
    /// No answer within the handshake's limit.
    #[error("no answer within {0:?}")]
    Timeout(std::time::Duration),
    /// A frame that no honest peer sends.
    #[error("the other side broke the protocol: {0}")]
    Protocol(String),
    /// The link is over.
    #[error("{0}")]
    Ended(End),
}

/// Why a link is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The other side said so.
    Bye(String),
    /// This side said so.
    Closed,
    /// The carrier ended or broke, or the peer fell silent or broke the protocol.
    Lost(String),
}

impl std::fmt::Display for End {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Bye(reason) => write!(formatter, "the other side ended the session: {reason}"),
            End::Closed => formatter.write_str("the session was ended"),
            End::Lost(reason) => write!(formatter, "the connection was lost: {reason}"),
        }
    }
}

impl From<FrameError> for LinkError {
    fn from(error: FrameError) -> Self {
        LinkError::Protocol(error.to_string())
    }
}

impl From<HeadError> for LinkError {
    fn from(error: HeadError) -> Self {
        LinkError::Protocol(error.to_string())
    }
}
