//! Turns run events into what people and log collectors see. The only place that prints.
//!
//! Talk goes to standard error; standard output is left to data, which metrics are. All modes are
//! made from the same events, so that no mode knows more than another.

pub mod backfill;
pub mod changes;
pub mod diff;
pub mod emf;
pub mod findings;
pub mod history;
pub mod json;
pub mod ledger;
pub mod level;
pub mod lineage;
pub mod log;
pub mod number;
pub mod paint;
pub mod plain;
pub mod plan;
pub mod problems;
pub mod summary;
pub mod table;
pub mod terminal;
pub mod testing;
pub mod validation;
pub mod words;

#[cfg(test)]
pub mod sample;

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use crate::run::event::EventSink;

pub use paint::Paint;
pub use table::Table;

/// How progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputMode {
    /// Live lines for a person at a terminal.
    Terminal,
    /// Timestamped lines for a log.
    Plain,
    /// One JSON object a line for a log collector.
    Json,
}

impl OutputMode {
    /// All modes, in the order in which help texts list them.
    pub const ALL: [Self; 3] = [Self::Terminal, Self::Plain, Self::Json];

    /// The word for the mode on the command line and in settings.
    pub fn word(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::Plain => "plain",
            Self::Json => "json",
        }
    }
}

/// Says why a text is not a mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownMode(pub String);

impl fmt::Display for UnknownMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a log format (expected terminal, plain or json)", self.0)
    }
}

impl std::error::Error for UnknownMode {}

impl FromStr for OutputMode {
    type Err = UnknownMode;
    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        let known = Self::ALL.into_iter().find(|mode| mode.word() == text);
        known.ok_or_else(|| UnknownMode(text.to_owned()))
    }
}

/// Chooses the mode and whether to colour. A mode that was asked for is taken as it is; else a
/// terminal gets live lines and everything else plain ones. `no_color` is set by a non-empty
/// `NO_COLOR` (<https://no-color.org>); treat `TERM=dumb` as no terminal.
pub fn choose(
    log_format: Option<OutputMode>,
    stderr_is_terminal: bool,
    no_color: bool,
) -> (OutputMode, bool) {
    let natural = if stderr_is_terminal { OutputMode::Terminal } else { OutputMode::Plain };
    let mode = log_format.unwrap_or(natural);
    (mode, mode == OutputMode::Terminal && stderr_is_terminal && !no_color)
}

/// Tells the time for timestamps and rates.
pub type Now = Box<dyn Fn() -> DateTime<Utc> + Send + Sync>;
/// Reads a file of the project, to show the line that a problem is about.
pub type ReadSource = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What a reporter needs to know.
pub struct Setup {
    /// How progress is told.
    pub mode: OutputMode,
    /// Whether to colour.
    pub colour: bool,
    /// Whether to tell only of failures and of the end.
    pub quiet: bool,
    /// The clock.
    pub now: Now,
    /// The project's files.
    pub read: ReadSource,
    /// Where lines go instead of standard error. Then there are no live lines.
    pub out: Option<Box<dyn Write + Send>>,
}

impl Setup {
    /// A reporter's needs with standard error, no source text and nothing held back.
    pub fn new(mode: OutputMode, colour: bool, now: Now) -> Self {
        Self { mode, colour, quiet: false, now, read: Box::new(|_| None), out: None }
    }
}

/// Makes the receiver of a run's events.
pub fn reporter(setup: Setup) -> Arc<dyn EventSink> {
    match setup.mode {
        OutputMode::Terminal => Arc::new(terminal::Terminal::new(setup)),
        OutputMode::Plain => Arc::new(plain::Plain::new(setup)),
        OutputMode::Json => Arc::new(json::JsonLines::new(setup)),
    }
}

/// Takes a lock whatever became of its last holder: a report must not fall with another thread.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes `text` and a line break in one go. A closed standard error must not end a run, so that
/// errors are dropped.
fn write_line(out: &mut dyn Write, text: &str) {
    let _closed = out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush());
}

/// The writer that was injected, or standard error.
fn writer(out: Option<Box<dyn Write + Send>>) -> Box<dyn Write + Send> {
    out.unwrap_or_else(|| Box::new(io::stderr()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_follow_the_terminal_unless_asked_for() {
        use OutputMode::{Json, Plain, Terminal};
        assert_eq!(choose(None, true, false), (Terminal, true));
        assert_eq!(choose(None, true, true), (Terminal, false));
        assert_eq!(choose(None, false, false), (Plain, false));
        assert_eq!(choose(Some(Json), true, false), (Json, false));
        assert_eq!(choose(Some(Terminal), false, false), (Terminal, false));
        assert_eq!("plain".parse(), Ok(Plain));
        insta::assert_snapshot!("xml".parse::<OutputMode>().unwrap_err(), @"`xml` is not a log format (expected terminal, plain or json)");
    }
}
