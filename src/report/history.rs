//! Folds the units of days before the run's own into one line: a first run fills weeks of them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::number::{count, counted};
use super::words::took;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::run::event::{PlannedUnit, Unit};
use crate::run::record::{Status, StepReport};

/// What is known of the days before the run's own.
#[derive(Debug, Default)]
pub struct History {
    date: Option<LogicalDate>,
    days: BTreeMap<LogicalDate, Day>,
    steps: BTreeSet<Name>,
    began: Option<DateTime<Utc>>,
    ended: Option<DateTime<Utc>>,
}

/// One day of history.
#[derive(Debug, Default)]
struct Day {
    planned: u64,
    ended: u64,
    failed: u64,
    not_run: u64,
    quarantined: u64,
    seconds: f64,
}

impl History {
    /// The history that a plan has.
    pub fn new(date: LogicalDate, to_do: &[PlannedUnit]) -> Self {
        let mut history = Self { date: Some(date), ..Self::default() };
        for PlannedUnit { unit, .. } in to_do {
            if let Some(day) = history.day_of(unit) {
                history.days.entry(day).or_default().planned += 1;
                // A publication joins the steps of a day; it is not one of them.
                if unit.action != "publish" {
                    history.steps.insert(unit.step.clone());
                }
            }
        }
        history
    }

    /// The day of a unit, if it is history.
    fn day_of(&self, unit: &Unit) -> Option<LogicalDate> {
        let date = self.date?;
        unit.partition.date().filter(|day| *day < date)
    }

    /// Whether the unit is folded.
    pub fn owns(&self, unit: &Unit) -> bool {
        self.day_of(unit).is_some()
    }

    /// Notes that a unit of history began.
    pub fn begin(&mut self, now: DateTime<Utc>) {
        self.began.get_or_insert(now);
    }

    /// Notes that a unit ended. The line about its day, if it was the day's last.
    pub fn end(
        &mut self,
        unit: &Unit,
        status: Status,
        seconds: f64,
        report: &StepReport,
        now: DateTime<Utc>,
    ) -> Option<(Status, String)> {
        let date = self.day_of(unit)?;
        self.ended = Some(now);
        let day = self.days.entry(date).or_default();
        day.ended += 1;
        day.seconds += seconds;
        day.quarantined += report.counts.map_or(0, |counts| counts.quarantined);
        match status {
            Status::Failed => day.failed += 1,
            Status::UpstreamFailed | Status::Cancelled | Status::Interrupted => day.not_run += 1,
            Status::Succeeded | Status::Unchanged | Status::Running => {}
        }
        (day.ended == day.planned).then(|| {
            let quarantined = match day.quarantined {
                0 => String::new(),
                rows => format!(", {} quarantined", counted(rows, "row")),
            };
            let units = counted(day.ended, "unit");
            let losses = day.losses();
            let took = took(day.seconds);
            (day.status(), format!("history {date}: {units}{losses}{quarantined} {took}"))
        })
    }

    /// Units that ended.
    pub fn done(&self) -> u64 {
        self.days.values().map(|day| day.ended).sum()
    }

    /// Units in all. A plan that grew under way does not lead to 8 of 7.
    pub fn total(&self) -> u64 {
        self.days.values().map(|day| day.planned.max(day.ended)).sum()
    }

    /// Whether there is history and all of it ended.
    pub fn is_complete(&self) -> bool {
        self.total() > 0 && self.done() == self.total()
    }

    /// Whether anything of it failed or was left out.
    pub fn status(&self) -> Status {
        if self.days.values().any(|day| day.failed > 0) {
            Status::Failed
        } else if self.is_complete() && self.days.values().all(|day| day.not_run == 0) {
            Status::Succeeded
        } else {
            Status::Cancelled
        }
    }

    /// The line about all of it: `history: 12 days × 6 steps, 84 units in 12.3 s`. None if there
    /// is none.
    pub fn closing(&self) -> Option<String> {
        if self.done() == 0 {
            return None;
        }
        let total = self.total();
        let units = match self.done() {
            done if done == total => counted(total, "unit"),
            done => format!("{} of {}", count(done), counted(total, "unit")),
        };
        let mut all = Day::default();
        for day in self.days.values() {
            all.failed += day.failed;
            all.not_run += day.not_run;
        }
        let seconds = match (self.began, self.ended) {
            (Some(began), Some(ended)) => (ended - began).as_seconds_f64(),
            _ => self.days.values().map(|day| day.seconds).sum(),
        };
        let days = counted(self.days.len() as u64, "day");
        let steps = counted(self.steps.len() as u64, "step");
        Some(format!("history: {days} × {steps}, {units}{} {}", all.losses(), took(seconds)))
    }
}

impl Day {
    fn status(&self) -> Status {
        match (self.failed, self.not_run) {
            (0, 0) => Status::Succeeded,
            (0, _) => Status::Cancelled,
            (_, _) => Status::Failed,
        }
    }

    /// `, 1 failed, 2 not run`, or nothing.
    fn losses(&self) -> String {
        let mut text = String::new();
        for (number, word) in [(self.failed, "failed"), (self.not_run, "not run")] {
            if number > 0 {
                text += &format!(", {} {word}", count(number));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::interval::Partition;
    use crate::report::sample::{date, planned, unit};

    #[test]
    fn what_a_cancelled_run_did_of_its_history_is_told() {
        let units: Vec<Unit> = date()
            .window(3)
            .flat_map(|day| ["a", "b"].map(|step| unit(step, "sql", Partition::Day(day))))
            .collect();
        let plan: Vec<PlannedUnit> =
            units.iter().map(|unit| planned(unit.clone(), "missing")).collect();
        let mut history = History::new(date(), &plan);
        assert_eq!((history.total(), history.closing()), (4, None));
        let (now, report) = (DateTime::UNIX_EPOCH, StepReport::default());
        let mut end = |unit, status| history.end(unit, status, 0.5, &report, now);
        assert_eq!(end(&units[0], Status::Succeeded), None);
        let (status, day) = end(&units[1], Status::UpstreamFailed).unwrap();
        assert_eq!(status, Status::Cancelled);
        insta::assert_snapshot!(day, @"history 2026-02-27: 2 units, 1 not run in 1.0 s");
        assert_eq!(end(&units[4], Status::Succeeded), None, "the run's own day is not history");
        assert_eq!(history.status(), Status::Cancelled);
        insta::assert_snapshot!(history.closing().unwrap(), @"history: 2 days × 2 steps, 2 of 4 units, 1 not run in 1.0 s");
    }
}
