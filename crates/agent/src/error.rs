//! Why the agent stops before or while serving. Made everywhere, printed and turned into an exit code by `main`.

use std::io;

/// What went wrong, told to whoever reads the agent's log.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The command line or the environment asks for something impossible.
    #[error("{0}")]
    Usage(String),
    /// No process fits the asked target.
    #[error("{0}")]
    NoTarget(String),
    /// The kernel refused.
    #[error("failed to {action}: {cause}")]
    Kernel {
        /// `<verb> <object>: <value>`
        action: String,
        /// What the kernel said.
        cause: io::Error,
    },
}

impl AgentError {
    /// 2 for a mistake of the caller, 1 for a failed operation.
    pub fn exit_code(&self) -> u8 {
        match self {
            AgentError::Usage(_) => 2,
            AgentError::NoTarget(_) | AgentError::Kernel { .. } => 1,
        }
    }
}

/// Names the action that a kernel error belongs to.
pub trait Doing<T> {
    /// Turns the error into [`AgentError::Kernel`]; `action` is built only then.
    fn doing(self, action: impl FnOnce() -> String) -> Result<T, AgentError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, action: impl FnOnce() -> String) -> Result<T, AgentError> {
        self.map_err(|cause| AgentError::Kernel { action: action(), cause: cause.into() })
    }
}
