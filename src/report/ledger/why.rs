//! Why a step stands as it does.

use serde_json::{Value, json};

use super::{parts, said};
use crate::pipeline::interval::Partition;
use crate::plan::ledger::LedgerState;
use crate::plan::why::{Cause, Why};
use crate::report::number::{bytes, counted};
use crate::report::paint::Paint;
use crate::run::record::Input;

/// The version of the JSON.
const VERSION: u32 = 1;
/// Days of one cause or input that are told by their ranges; more are counted.
const MOST_RANGES: usize = 60;

/// Lines for people.
pub fn lines(why: &Why, paint: Paint) -> Vec<String> {
    let entry = &why.entry;
    let subject = match why.partition {
        Partition::Whole => why.step.to_string(),
        Partition::Day(day) => format!("{} {day}", why.step),
    };
    let verdict = match (entry.state, why.would_run) {
        (LedgerState::Done, _) => "a run skips it".to_owned(),
        (LedgerState::Running, _) => entry.reason.clone(),
        (_, true) => "a run makes it".to_owned(),
        (_, false) if entry.wanted.is_none() => "no run can make it".to_owned(),
        (_, false) => "a run takes it as it is".to_owned(),
    };
    let state = entry.state.word();
    let state = match entry.state {
        LedgerState::Done => paint.green(state),
        LedgerState::Stale => paint.yellow(state),
        LedgerState::Missing => paint.bold(state),
        LedgerState::Running => paint.cyan(state),
        LedgerState::Failed | LedgerState::Quarantined => paint.red(state),
    };
    let mut lines = vec![format!("{} is {state}: {verdict}", paint.bold(subject))];
    let says_more = !matches!(entry.state, LedgerState::Done | LedgerState::Running)
        && (why.because.is_empty() || entry.state != LedgerState::Stale);
    if says_more && !entry.reason.is_empty() {
        lines.push(format!("  {}", entry.reason));
    }
    tell(&why.because, 1, &mut lines);
    let mut rows: Vec<(&str, String)> = Vec::new();
    if let Some(mark) = &entry.mark {
        rows.push(("mark", said(mark)));
    }
    if let Some(made) = &entry.made {
        let verb = if entry.mark.is_some() { "set" } else { "made" };
        let at = made.done.format("%Y-%m-%d %H:%M:%SZ");
        rows.push((verb, format!("by run {} on {at}", made.run)));
        if made.generation != made.run.as_str() {
            rows.push(("shows", format!("generation {}", made.generation)));
        }
        let is = match &entry.wanted {
            Some(wanted) if *wanted != made.fingerprint => format!(", {wanted} now"),
            _ => String::new(),
        };
        rows.push(("digest", format!("{}{is}", made.fingerprint)));
    }
    if let Some(run) = &entry.attempt {
        rows.push(("tried", format!("last by run {run}")));
    }
    rows.extend(made_from(&why.made_from).into_iter().map(|text| ("from", text)));
    if !rows.is_empty() {
        lines.push(String::new());
    }
    let mut last = "";
    for (word, text) in rows {
        let shown = if word == last { "" } else { word };
        lines.push(format!("{} {text}", paint.dim(format!("{shown:<6}"))));
        last = word;
    }
    lines
}

/// Each cause a line, what is behind it below.
fn tell(causes: &[Cause], depth: usize, lines: &mut Vec<String>) {
    for cause in causes {
        let of = match &cause.of {
            Some(name) if parts(&cause.partitions).is_empty() => format!("`{name}` "),
            Some(name) => format!("`{name}` {} ", short(&cause.partitions)),
            None => String::new(),
        };
        lines.push(format!("{}because {of}{}", "  ".repeat(depth), cause.text));
        tell(&cause.because, depth + 1, lines);
    }
}

/// Days as ranges, or how many where that is long.
fn short(partitions: &[Partition]) -> String {
    match parts(partitions) {
        text if text.chars().count() > MOST_RANGES => counted(partitions.len() as u64, "day"),
        text => text,
    }
}

/// Inputs, days of one kind together.
fn made_from(inputs: &[Input]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut done: Vec<&str> = Vec::new();
    for input in inputs {
        let name = match input {
            Input::Files { source, .. } => source,
            Input::Table { table, .. } => table,
            Input::Step { step, .. } => step,
        };
        if done.contains(&name.as_str()) {
            continue;
        }
        done.push(name.as_str());
        let mut partitions = Vec::new();
        let mut runs: Vec<&str> = Vec::new();
        let (mut count, mut size, mut is_source) = (0, 0, false);
        for other in inputs {
            match other {
                Input::Files { source, partition, files, bytes } if source == name => {
                    is_source = true;
                    partitions.push(*partition);
                    count += files;
                    size += bytes;
                }
                Input::Table { table, partition, generation, .. } if table == name => {
                    partitions.push(*partition);
                    runs.push(generation);
                }
                Input::Step { step, generation, .. } if step == name => runs.push(generation),
                Input::Files { .. } | Input::Table { .. } | Input::Step { .. } => {}
            }
        }
        runs.sort_unstable();
        runs.dedup();
        let days = match short(&partitions) {
            days if days.is_empty() => String::new(),
            days => format!(" {days}"),
        };
        let what = match (is_source, runs.as_slice()) {
            (true, _) => format!("{}, {}", counted(count, "file"), bytes(size)),
            (false, [only]) => format!("by run {only}"),
            (false, [.., last]) => format!("by {} runs, the last {last}", runs.len()),
            (false, []) => "by a run that is not known".to_owned(),
        };
        lines.push(format!("`{name}`{days}: {what}"));
    }
    lines
}

/// One JSON object, as docs/ledger.md describes it.
pub fn object(why: &Why, target: &str) -> Value {
    let mut object = json!(why);
    if let Some(members) = object.as_object_mut() {
        members.insert("version".to_owned(), json!(VERSION));
        members.insert("target".to_owned(), json!(target));
    }
    object
}
