//! From a kind of failure to what a person sees and an exit code (docs/exit-codes.md).

use std::process::ExitCode;

use crate::app::App;
use crate::report::OutputMode;
use crate::report::problems::{Look, graphical, lines};
use crate::run::failure::{Failure, FailureKind};

/// A step failed, or recctl itself.
pub const FAILED: u8 = 1;
/// The command line or the project's files are not valid, or name what does not exist.
pub const USAGE: u8 = 2;
/// Data does not hold what was promised of it.
pub const QUALITY: u8 = 3;
/// Somebody else holds the lease.
pub const CONFLICT: u8 = 4;
/// It may go through later.
pub const TRANSIENT: u8 = 5;
/// Interrupted; running again goes on.
pub const INTERRUPTED: u8 = 130;

/// The exit code of a kind of failure.
pub fn code_of(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::Usage | FailureKind::NotFound | FailureKind::Denied => USAGE,
        FailureKind::Quality => QUALITY,
        FailureKind::Conflict => CONFLICT,
        FailureKind::Transient => TRANSIENT,
        FailureKind::Cancelled => INTERRUPTED,
        FailureKind::Input | FailureKind::Step | FailureKind::Exhausted | FailureKind::Internal => {
            FAILED
        }
    }
}

/// Tells a failure on standard error and returns its exit code.
pub fn report(failure: &Failure, app: &App) -> ExitCode {
    match app.mode {
        OutputMode::Terminal | OutputMode::Plain => {
            let look = match app.mode {
                OutputMode::Terminal => Look::terminal(app.colour),
                _ => Look::plain(),
            };
            let read = |path: &str| app.read_project_file(path).ok();
            eprint_line(graphical(failure, &read, look).trim_end());
        }
        OutputMode::Json => {
            let line = serde_json::json!({
                "level": "error",
                "event": "failed",
                "kind": failure.kind.word(),
                "message": failure.message,
                "hint": failure.hint,
                "problems": failure.problems,
                "lines": lines(failure),
            });
            eprint_line(&line.to_string());
        }
    }
    ExitCode::from(code_of(failure.kind))
}

/// Nobody may be listening, which is no reason to fail in another way.
fn eprint_line(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Lets warnings of the libraries and of recctl itself through to standard error; `RUST_LOG` asks
/// for more.
pub fn start_log(app: &App) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(app.colour);
    let started = match app.mode {
        OutputMode::Json => builder.json().try_init(),
        OutputMode::Terminal | OutputMode::Plain => builder.with_target(false).try_init(),
    };
    // A second start in one process (tests) changes nothing.
    let _ = started;
}
