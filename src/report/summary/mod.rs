//! The words at the start and at the end of a run.

mod models;
mod plan;
mod rows;
mod steps;

#[cfg(test)]
mod tests;

pub use models::model_lines;
pub use plan::{nothing_to_do, plan_lines};
pub use rows::row_lines;
pub use steps::step_lines;

use super::number::{bytes, counted, duration};
use super::paint::Paint;
use super::table::Table;
use super::words::subject;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::run::event::{RunSummary, Served, Unit};
use crate::run::failure::Failure;
use crate::run::record::{RunId, Status};

/// Failures that the closing lines tell again; the rest was told when it happened.
const FAILURES_TOLD: usize = 3;

/// A run at its end.
#[derive(Debug)]
pub struct Closing<'a> {
    /// Run.
    pub run: &'a RunId,
    /// Pipeline and logical date, where the run got as far as to say them.
    pub about: Option<(&'a Name, LogicalDate)>,
    /// How it ended.
    pub status: Status,
    /// Seconds.
    pub seconds: f64,
    /// All that was done.
    pub summary: &'a RunSummary,
    /// Units that failed, with why, to be told once more. Empty where that would be noise.
    pub failures: &'a [(Unit, Failure)],
}

/// All closing lines but the last: steps, rows, models, what serves now, failures. A blank line
/// between two sections, none at the ends; empty if nothing was done.
pub fn closing_lines(closing: &Closing<'_>, paint: Paint) -> Vec<String> {
    let summary = closing.summary;
    let date = closing.about.map(|(_, date)| date);
    let mut sections = Vec::new();
    if summary.units.is_empty() {
        sections.push(nothing_to_do(&summary.unchanged, paint));
    } else {
        sections.push(step_lines(&summary.units, paint));
        sections.push(row_lines(&summary.units, date, paint));
        let decision = summary.decision.as_ref();
        sections.push(decision.map(|it| model_lines(it, paint)).unwrap_or_default());
    }
    sections.push(served_lines(&summary.served, paint));
    sections.push(failure_lines(closing, paint));
    sections.retain(|section| !section.is_empty());
    sections.join(&String::new())
}

/// The last line: `✓ daily 2026-03-01 succeeded in 31.2 s (peak memory 412 MB)  run daily-2026…`.
pub fn status_line(closing: &Closing<'_>, paint: Paint) -> String {
    let summary = closing.summary;
    let about = closing.about.map_or("run".to_owned(), |(name, date)| format!("{name} {date}"));
    let ended = closing.status.word();
    let took = duration(closing.seconds);
    let memory = summary.peak_memory.map(|it| format!(" (peak memory {})", bytes(it)));
    format!(
        "{} {} {ended} in {took}{}  {}",
        paint.mark(closing.status),
        paint.bold(about),
        memory.unwrap_or_default(),
        paint.dim(format_args!("run {}", closing.run)),
    )
}

/// What serves now and the command to look at it.
fn served_lines(served: &[Served], paint: Paint) -> Vec<String> {
    if served.is_empty() {
        return Vec::new();
    }
    let none: [&str; 0] = [];
    let mut table = Table::new(none).right(&[2]).indent(2);
    for Served { table: name, generation, items } in served {
        table.push([name, &format!("generation {generation}"), &counted(*items, "item")]);
    }
    let mut lines = vec![paint.bold("serving now")];
    lines.extend(table.lines());
    lines.push(command("recctl recommend --user …", paint));
    lines
}

/// The failures once more, at the place where people look first: the end.
fn failure_lines(closing: &Closing<'_>, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    for (unit, failure) in closing.failures.iter().take(FAILURES_TOLD) {
        let mark = paint.mark(Status::Failed);
        lines.push(format!("{mark} {}: {}", paint.bold(subject(unit)), failure.message));
        let places = failure.problems.iter().take(FAILURES_TOLD).map(super::problems::line);
        lines.extend(places.map(|place| format!("  {place}")));
        lines.extend(failure.hint.as_ref().map(|hint| super::problems::hinted(hint, paint)));
    }
    let more = closing.failures.len().saturating_sub(FAILURES_TOLD);
    if more > 0 {
        lines.push(format!("  and {} more, told above", counted(more as u64, "failure")));
    }
    let mut left: Vec<&str> = Vec::new();
    for unit in closing.summary.units.iter().filter(|it| it.status == Status::UpstreamFailed) {
        let name = unit.unit.step.as_str();
        if !left.contains(&name) {
            left.push(name);
        }
    }
    if !left.is_empty() {
        lines.push(format!("{} not run: {}", paint.mark(Status::UpstreamFailed), left.join(", ")));
    }
    lines
}

/// A command to type, under what it shows more of.
fn command(text: &str, paint: Paint) -> String {
    format!("  {}", paint.cyan(text))
}
