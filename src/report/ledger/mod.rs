//! The ledger as a calendar, and why a step stands as it does, for people and for programs.

mod calendar;
mod json;
mod why;

#[cfg(test)]
mod tests;

pub use calendar::lines;
pub use json::object;
pub use why::{lines as why_lines, object as why_object};

use crate::pipeline::interval::{LogicalDate, Partition};
use crate::plan::preview::ranges;
use crate::run::record::{Mark, MarkedAs};

/// Parts as people read them: `2026-03-01`, `3 days 2026-03-01 … 2026-03-03`; nothing of a table
/// without days.
fn parts(partitions: &[Partition]) -> String {
    let days: Vec<LogicalDate> = partitions.iter().filter_map(|part| part.date()).collect();
    let each: Vec<String> = ranges(days).into_iter().map(range).collect();
    each.join(", ")
}

/// `2026-03-01`, or `2026-03-01 … 2026-03-03`.
fn range((first, last): (LogicalDate, LogicalDate)) -> String {
    if first == last { first.to_string() } else { format!("{first} … {last}") }
}

/// `set as done by kim@here on 2026-03-09: made elsewhere`.
fn said(mark: &Mark) -> String {
    let how = match mark.set {
        MarkedAs::Done => "as done",
        MarkedAs::Missing => "as missing",
    };
    let day = mark.at.format("%Y-%m-%d");
    format!("set {how} by {} on {day}: {}", mark.by, mark.reason)
}
