//! Failures: a kind that drives retries and exit codes, and words for a person.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use super::rule::{Rule, Severity};

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The command line, the project's files or a setting ask for what cannot be.
    Usage,
    /// The input data is missing or cannot be read.
    Input,
    /// The data does not hold what a check promises.
    Quality,
    /// A query or a job failed for a reason of its own.
    Step,
    /// Something that was named does not exist.
    NotFound,
    /// There are no credentials, they have expired, or they do not allow it.
    Denied,
    /// Somebody else holds the lease: nothing was begun.
    Held,
    /// Somebody else changed the thing in between, or took the lease over.
    Conflict,
    /// A service or the machine cannot do it now; the same call may go through later.
    Transient,
    /// Memory, disk or a quota is used up.
    Exhausted,
    /// A person or the system asked to stop.
    Cancelled,
    /// A deadline or a budget that was given is exceeded.
    Exceeded,
    /// A defect of recctl's own.
    Internal,
}

impl FailureKind {
    /// The word for the kind, as in logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Input => "input",
            Self::Quality => "quality",
            Self::Step => "step",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::Held => "held",
            Self::Conflict => "conflict",
            Self::Transient => "transient",
            Self::Exhausted => "exhausted",
            Self::Cancelled => "cancelled",
            Self::Exceeded => "exceeded",
            Self::Internal => "internal",
        }
    }

    /// Whether the same may go well when it is tried again a little later.
    pub fn may_pass(self) -> bool {
        match self {
            Self::Transient => true,
            Self::Usage
            | Self::Input
            | Self::Quality
            | Self::Step
            | Self::NotFound
            | Self::Denied
            | Self::Held
            | Self::Conflict
            | Self::Exhausted
            | Self::Cancelled
            | Self::Exceeded
            | Self::Internal => false,
        }
    }
}

/// A failure: its kind, what happened, what to do, and the places in files that show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Kind.
    pub kind: FailureKind,
    /// What happened: a lower-case fragment.
    pub message: String,
    /// What to do about it, if anything is known.
    pub hint: Option<String>,
    /// Places in the project's files, each with its own message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// Something wrong at a place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The file, relative to the project.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Length in characters of the piece that is meant; at least 1.
    pub length: usize,
    /// Whether it stops a run.
    #[serde(default)]
    pub severity: Severity,
    /// What it is an offence against.
    #[serde(default)]
    pub rule: Rule,
    /// What is wrong: a lower-case fragment.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a hint, as severe as its rule.
    pub fn new(
        rule: Rule,
        file: impl Into<String>,
        line: usize,
        column: usize,
        length: usize,
        message: impl Into<String>,
    ) -> Self {
        Self {
            file: file.into(),
            line: line.max(1),
            column: column.max(1),
            length: length.max(1),
            severity: rule.severity(),
            rule,
            message: message.into(),
            hint: None,
        }
    }

    /// The same with a hint, if there is one.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Whether it stops a run.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Puts problems in the order of files and places, each once.
    pub fn sort(problems: &mut Vec<Self>) {
        let key = |it: &Self| {
            (it.file.clone(), it.line, it.column, it.rule, it.message.clone(), it.hint.clone())
        };
        problems.sort_by_cached_key(key);
        problems.dedup();
    }
}

/// What ports and steps return.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A failure without a hint.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, problems: Vec::new() }
    }

    /// A failure of the project's files at one or more places.
    pub fn problems(message: impl Into<String>, problems: Vec<Problem>) -> Self {
        Self { kind: FailureKind::Usage, message: message.into(), hint: None, problems }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with words put before the message that say what was being done.
    #[must_use]
    pub fn while_doing(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Makes a [`Failure`] of an input or output error, naming the path.
pub fn io_failure(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind;
    let kind = match error.kind() {
        ErrorKind::NotFound => FailureKind::NotFound,
        ErrorKind::StorageFull | ErrorKind::OutOfMemory | ErrorKind::QuotaExceeded => {
            FailureKind::Exhausted
        }
        ErrorKind::Interrupted | ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            FailureKind::Transient
        }
        _ => FailureKind::Input,
    };
    Failure::new(kind, format!("cannot {doing} `{}`: {error}", path.display()))
}
