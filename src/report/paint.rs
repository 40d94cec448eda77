//! Colours, all in one place so that they can be switched off in one place.

use std::fmt::Display;

use crate::run::record::Status;

/// Colours text, or leaves it alone.
///
/// The codes are written here rather than through a colouring crate because those look at the
/// environment again by themselves, and at standard output where this speaks on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    colour: bool,
}

impl Paint {
    /// Paints if `colour`.
    pub fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// Paints nothing.
    pub fn off() -> Self {
        Self::new(false)
    }

    /// Whether this paints.
    pub fn is_on(self) -> bool {
        self.colour
    }

    fn wrap(self, code: &str, text: impl Display) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
    }

    /// For what a line is about.
    pub fn bold(self, text: impl Display) -> String {
        self.wrap("1", text)
    }

    /// For what may be skipped while reading.
    pub fn dim(self, text: impl Display) -> String {
        self.wrap("2", text)
    }

    /// For what went well.
    pub fn green(self, text: impl Display) -> String {
        self.wrap("32", text)
    }

    /// For what failed.
    pub fn red(self, text: impl Display) -> String {
        self.wrap("31", text)
    }

    /// For what did not happen.
    pub fn yellow(self, text: impl Display) -> String {
        self.wrap("33", text)
    }

    /// For what moves, and for commands to type.
    pub fn cyan(self, text: impl Display) -> String {
        self.wrap("36", text)
    }

    /// The sign of a status.
    pub fn mark(self, status: Status) -> String {
        match status {
            Status::Succeeded => self.green("✓"),
            Status::Failed => self.red("✗"),
            Status::Unchanged => self.dim("↷"),
            Status::UpstreamFailed | Status::Cancelled | Status::Interrupted => self.yellow("↷"),
            Status::Running => self.cyan("…"),
        }
    }
}
