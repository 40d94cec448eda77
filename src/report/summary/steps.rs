//! The table of steps.

use crate::report::number::{bytes, count, duration};
use crate::report::paint::Paint;
use crate::report::table::Table;
use crate::run::event::FinishedUnit;
use crate::run::record::Status;

/// What a step did over all of its partitions.
struct Total<'a> {
    step: &'a str,
    action: &'static str,
    status: Status,
    days: u64,
    done: u64,
    rows_in: u64,
    rows_out: u64,
    /// Whether it makes a table, so that no rows are worth telling.
    makes_rows: bool,
    seconds: f64,
    peak: Option<u64>,
}

/// One line for each step: days, rows in and out, time, peak memory. Times add up, so that they
/// exceed the run's own where steps ran side by side; memory is that of the largest partition.
pub fn step_lines(units: &[FinishedUnit], paint: Paint) -> Vec<String> {
    let headers = ["", "step", "action", "days", "rows in", "rows out", "time", "memory"];
    let mut table = Table::new(headers).right(&[3, 4, 5, 6, 7]).paint(paint);
    for total in totals(units) {
        let rows = |rows: u64| match rows {
            0 if !total.makes_rows => String::new(),
            rows => count(rows),
        };
        let days = match (total.days, total.done) {
            (0, _) => String::new(),
            (days, done) if days == done => count(days),
            (days, done) => format!("{}/{}", count(done), count(days)),
        };
        table.push_painted([
            paint.mark(total.status),
            paint.bold(total.step),
            paint.dim(total.action),
            days,
            rows(total.rows_in),
            rows(total.rows_out),
            if total.seconds > 0.0 { duration(total.seconds) } else { String::new() },
            total.peak.map(bytes).unwrap_or_default(),
        ]);
    }
    if table.is_empty() { Vec::new() } else { table.lines() }
}

fn totals(units: &[FinishedUnit]) -> Vec<Total<'_>> {
    let mut totals: Vec<Total<'_>> = Vec::new();
    for FinishedUnit { unit, status, seconds, report } in units {
        let known = |it: &Total<'_>| it.step == unit.step.as_str() && it.action == unit.action;
        let at = totals.iter().position(known).unwrap_or_else(|| {
            totals.push(Total {
                step: unit.step.as_str(),
                action: unit.action,
                status: *status,
                days: 0,
                done: 0,
                rows_in: 0,
                rows_out: 0,
                makes_rows: false,
                seconds: 0.0,
                peak: None,
            });
            totals.len() - 1
        });
        let total = &mut totals[at];
        if gravity(*status) > gravity(total.status) {
            total.status = *status;
        }
        let day = u64::from(unit.partition.date().is_some());
        total.days += day;
        if matches!(status, Status::Succeeded | Status::Unchanged) {
            total.done += day;
        }
        total.rows_in += report.rows_in;
        total.rows_out += report.rows_out;
        total.makes_rows |= report.counts.is_some() || report.content_hash.is_some();
        total.seconds += seconds;
        total.peak = total.peak.max(report.peak_memory);
    }
    totals
}

/// How much a status says about a step whose partitions differ.
fn gravity(status: Status) -> u8 {
    match status {
        Status::Unchanged => 0,
        Status::Succeeded => 1,
        Status::Running => 2,
        Status::UpstreamFailed => 3,
        Status::Cancelled | Status::Interrupted => 4,
        Status::Failed => 5,
    }
}
