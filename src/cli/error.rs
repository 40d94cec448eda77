//! From a kind of failure to what a person sees and an exit code (docs/exit-codes.md).

use std::process::ExitCode;

use crate::app::App;
use crate::report::problems::{Look, graphical, lines};
use crate::report::{OutputMode, log};
use crate::run::failure::{Failure, FailureKind};

/// A step failed, or recctl itself.
pub const FAILED: u8 = 1;
/// The command line or the project's files are not valid, or name what does not exist.
pub const USAGE: u8 = 2;
/// Data does not hold what was promised of it.
pub const QUALITY: u8 = 3;
/// Somebody else holds the lease.
pub const HELD: u8 = 4;
/// It may go through later.
pub const TRANSIENT: u8 = 5;
/// A deadline or a budget is exceeded.
pub const EXCEEDED: u8 = 6;
/// Somebody else changed the thing in between, or took the lease over.
pub const CONFLICT: u8 = 7;
/// Interrupted; running again goes on.
pub const INTERRUPTED: u8 = 130;
/// Asked to end by SIGTERM, as ECS and SageMaker do; running again goes on.
pub const TERMINATED: u8 = 143;

/// The exit code of a kind of failure.
pub fn code_of(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::Usage | FailureKind::NotFound | FailureKind::Denied => USAGE,
        FailureKind::Quality => QUALITY,
        FailureKind::Held => HELD,
        FailureKind::Conflict => CONFLICT,
        FailureKind::Transient => TRANSIENT,
        FailureKind::Cancelled => INTERRUPTED,
        FailureKind::Exceeded => EXCEEDED,
        FailureKind::Input | FailureKind::Step | FailureKind::Exhausted | FailureKind::Internal => {
            FAILED
        }
    }
}

/// Tells on standard error why a command fails that ends with `code`.
pub fn tell(failure: &Failure, code: u8, app: &App) {
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
            eprint_line(&json_line(failure, code, lines(failure)));
        }
    }
}

fn json_line(failure: &Failure, code: u8, lines: Vec<String>) -> String {
    let members = [
        ("kind", failure.kind.word().into()),
        ("message", failure.message.clone().into()),
        ("hint", failure.hint.clone().into()),
        ("problems", serde_json::json!(failure.problems)),
        ("lines", lines.into()),
        ("exit_code", code.into()),
    ];
    let members = members.map(|(name, value)| (name.to_owned(), value));
    log::line(App::now(), "error", "failed", members.into_iter().collect())
}

/// Tells what is wrong with the command line, or the help that it asks for, and returns the exit
/// code. The settings are not known yet: what was asked of the log is looked for by hand.
pub fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A closed pipe is no reason to fail for help.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    if wants_json(&arguments, std::env::var("RECCTL_LOG_FORMAT").ok().as_deref()) {
        let text = error.render().to_string();
        let failure = Failure::new(FailureKind::Usage, first_words(&text))
            .with_hint("`recctl --help` lists commands and options");
        let lines = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        eprint_line(&json_line(&failure, USAGE, lines));
    } else {
        let _ = error.print();
    }
    ExitCode::from(USAGE)
}

fn wants_json(arguments: &[String], environment: Option<&str>) -> bool {
    let flag = "--log-format";
    let mut asked = environment;
    for (at, word) in arguments.iter().enumerate() {
        if word == flag {
            asked = arguments.get(at + 1).map(String::as_str);
        } else if let Some(value) = word.strip_prefix(flag).and_then(|it| it.strip_prefix('=')) {
            asked = Some(value);
        }
    }
    asked == Some(OutputMode::Json.word())
}

/// The first paragraph of what clap says, on one line; of a whole help text only that it was one.
fn first_words(text: &str) -> String {
    let Some(words) = text.strip_prefix("error: ") else {
        return "a command is missing".to_owned();
    };
    let paragraph = words.split("\n\n").next().unwrap_or(words);
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Asks on standard error, without ending the line.
pub(super) fn eprint(text: &str) {
    use std::io::Write;
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Nobody may be listening, which is no reason to fail in another way.
pub(super) fn eprint_line(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::{first_words, wants_json};

    #[test]
    fn the_wish_for_json_is_found_without_clap() {
        let wants = |line: &str, environment| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            wants_json(&words, environment)
        };
        assert!(wants("recctl run --log-format json", None));
        assert!(wants("recctl run --log-format=json --nonsense", Some("plain")));
        assert!(wants("recctl run", Some("json")));
        assert!(!wants("recctl run --log-format plain", Some("json")));
        assert!(!wants("recctl run --log-format", Some("json")));
        assert!(!wants("recctl query json", None));
    }

    #[test]
    fn what_clap_says_is_cut_to_a_line() {
        let text = "error: the following arguments\n  <PIPELINE>\n\nUsage: recctl run";
        assert_eq!(first_words(text), "the following arguments <PIPELINE>");
        assert_eq!(first_words("Runs pipelines\n\nUsage: recctl"), "a command is missing");
    }
}
