//! Errors to exit codes: one exhaustive match.

use crate::store::StoreError;
use crate::types::Faults;

/// Why a command could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The input is wrong; nothing was sent.
    #[error("{0}")]
    Faults(#[from] Faults),
    /// The command line asks for something that cannot be; nothing was sent.
    #[error("error: {message}{}", .help.as_ref().map(|help| format!("\n   = help: {help}")).unwrap_or_default())]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        help: Option<String>,
    },
    /// Services could not be reached before anything was sent.
    #[error("error: {message}\n   = help: {help}")]
    Unreachable {
        /// Which, at what address, and why.
        message: String,
        /// What to do.
        help: String,
    },
    /// A run folder could not be read or written.
    #[error("error: {source}{}", .help.as_ref().map(|help| format!("\n   = help: {help}")).unwrap_or_default())]
    Store {
        /// What could not be done.
        source: StoreError,
        /// What to do.
        help: Option<String>,
    },
    /// Something that should not happen.
    #[error("error: {0}\n   = help: this is a fault of evalctl; please report it with the suite and the run folder")]
    Internal(String),
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> CommandError {
        let help = match &error {
            StoreError::NoRun { .. } => Some("name the folder of a run, such as reports/SUITE/latest".to_owned()),
            StoreError::Io { .. } | StoreError::Format { .. } | StoreError::InUse { .. } => None,
        };
        CommandError::Store { source: error, help }
    }
}

impl CommandError {
    /// A fault of the command line.
    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> CommandError {
        CommandError::Usage { message: message.into(), help: Some(help.into()) }
    }

    /// The exit code that goes with it.
    pub fn exit_code(&self) -> u8 {
        match self {
            CommandError::Faults(_) | CommandError::Usage { .. } => 2,
            // The command is right: it stopped early, and goes on when the service does.
            CommandError::Unreachable { .. } => 3,
            CommandError::Store { source, .. } => match source {
                StoreError::NoRun { .. } => 2,
                StoreError::Io { .. } | StoreError::Format { .. } | StoreError::InUse { .. } => 5,
            },
            CommandError::Internal(_) => 6,
        }
    }
}
