//! How loud a line of a log is.

use crate::run::record::Status;

/// Levels as log collectors know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For those who follow every move.
    Debug,
    /// What happened.
    Info,
    /// What did not happen, or not as asked.
    Warn,
    /// What failed.
    Error,
}

impl Level {
    /// The level of something that ended so.
    pub fn of(status: Status) -> Self {
        match status {
            Status::Failed => Self::Error,
            Status::UpstreamFailed | Status::Cancelled | Status::Interrupted => Self::Warn,
            Status::Running | Status::Succeeded | Status::Unchanged => Self::Info,
        }
    }

    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// The word at the start of a line, all of one width.
    pub fn label(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO ",
            Self::Warn => "WARN ",
            Self::Error => "ERROR",
        }
    }
}
