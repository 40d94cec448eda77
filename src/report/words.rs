//! Sentences about units, shared by the modes.

use chrono::{DateTime, SecondsFormat, Utc};

use super::number::{bytes, count, counted, duration, metric, rate};
use super::table::clean;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::run::event::{Progress, Unit};
use crate::run::failure::Failure;
use crate::run::record::{CheckOutcome, CheckResult, RowsOf, Status, StepReport};

/// What a unit is called in a sentence: `clean_events 2026-03-01`, or `als` for a whole table.
pub fn subject(unit: &Unit) -> String {
    match unit.partition {
        Partition::Whole => unit.step.to_string(),
        Partition::Day(date) => format!("{} {date}", unit.step),
    }
}

/// The day of a unit, or nothing for a whole table.
pub fn day(unit: &Unit) -> String {
    unit.partition.date().map(|date| date.to_string()).unwrap_or_default()
}

/// What a unit did: `40,112 rows kept of 41,240, 41 quarantined`. Empty if there is nothing to
/// tell.
pub fn deed(report: &StepReport) -> String {
    let mut parts = Vec::new();
    let quarantined = report.counts.map_or(0, |counts| counts.quarantined);
    if let Some(counts) = report.counts.filter(|counts| counts.of == RowsOf::Raw) {
        parts.push(format!("{} rows kept of {}", count(counts.kept), count(counts.read)));
    } else if report.rows_out > 0 || report.content_hash.is_some() {
        let from = if report.rows_in > 0 && report.rows_in != report.rows_out {
            format!(" from {}", count(report.rows_in))
        } else {
            String::new()
        };
        parts.push(format!("{}{from}", counted(report.rows_out, "row")));
    } else if report.rows_in > 0 {
        parts.push(format!("{} read", counted(report.rows_in, "row")));
    }
    if quarantined > 0 {
        parts.push(format!("{} quarantined", count(quarantined)));
    }
    if let Some(note) = &report.note {
        parts.push(clean(note));
    } else {
        let figures = report.metrics.iter().take(2);
        parts.extend(figures.map(|(name, value)| format!("{name} {}", metric(*value))));
        parts.extend(report.generation.as_ref().map(|it| format!("generation {it}")));
    }
    parts.join(", ")
}

/// What is told of a check at once: `range(price) warned: 3 rows where …`. `None` where the numbers of
/// the unit tell it.
pub fn warning(check: &CheckOutcome) -> Option<String> {
    match check.result {
        CheckResult::Warned => {
            Some(format!("check {} warned: {}", check.check, clean(&check.told)))
        }
        CheckResult::NotJudged => Some(format!("check {}: {}", check.check, clean(&check.told))),
        CheckResult::Passed | CheckResult::Quarantined | CheckResult::Failed => None,
    }
}

/// What became of a unit, as a sentence's end for any status.
pub fn outcome(status: Status, report: &StepReport) -> String {
    match status {
        Status::Succeeded => deed(report),
        Status::UpstreamFailed => "not run: something it needs failed".to_owned(),
        Status::Running
        | Status::Unchanged
        | Status::Failed
        | Status::Cancelled
        | Status::Interrupted => status.word().to_owned(),
    }
}

/// How far a unit is: `1,234,567 rows  512 MB of 1.2 GB  480k rows/s`.
pub fn headway(progress: &Progress, seconds: f64) -> String {
    let mut parts = Vec::new();
    if progress.rows > 0 {
        parts.push(counted(progress.rows, "row"));
    }
    if progress.total_bytes > 0 {
        parts.push(format!("{} of {}", bytes(progress.bytes), bytes(progress.total_bytes)));
    } else if progress.bytes > 0 {
        parts.push(bytes(progress.bytes));
    }
    parts.extend(rate(progress.rows, seconds, "rows"));
    parts.join("  ")
}

/// Days as a span: `2026-03-01`, `28 days 2026-02-02 … 2026-03-01`, and with gaps
/// `3 days in 2026-02-02 … 2026-03-01`. The days are sorted and unique.
pub fn span(days: &[LogicalDate]) -> String {
    match days {
        [] => String::new(),
        [only] => only.to_string(),
        [first, .., last] => {
            let calendar = (last.day() - first.day()).num_days() + 1;
            let within = if usize::try_from(calendar) == Ok(days.len()) { "" } else { "in " };
            format!("{} days {within}{first} … {last}", count(days.len() as u64))
        }
    }
}

/// That a unit failed and is tried again: `attempt 1 of 3 failed: [transient] …; again in 12 s`.
pub fn again(attempt: usize, of: u32, wait: f64, failure: &Failure) -> String {
    let (kind, message, wait) = (failure.kind.word(), &failure.message, duration(wait));
    format!("attempt {attempt} of {of} failed: [{kind}] {message}; again in {wait}")
}

/// That a run's deadline comes nearer.
pub fn deadline_nears(due: DateTime<Utc>, left: f64, because: &str) -> String {
    let (due, left) = (due.to_rfc3339_opts(SecondsFormat::Secs, true), duration(left));
    format!("the deadline {due} is {left} away: {because}")
}

/// That a run's deadline has passed.
pub fn deadline_missed(due: DateTime<Utc>, because: &str, stops: bool) -> String {
    let due = due.to_rfc3339_opts(SecondsFormat::Secs, true);
    let then = if stops { "; stopping" } else { "" };
    format!("the deadline {due} has passed: {because}{then}")
}

/// `in 0.8 s`.
pub fn took(seconds: f64) -> String {
    format!("in {}", duration(seconds))
}
