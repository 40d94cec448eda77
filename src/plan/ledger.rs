//! How each step stands for each day of a range. Pure.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Action, ActionKind, Facts, Verdict, draft};
use crate::pipeline::fingerprint::Fingerprint;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::plan::demand::Demand;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{LedgerRow, Mark, RunId, Status};

/// How a step stands for a part of its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerState {
    /// It was made from what there is now, and it is there.
    Done,
    /// It was made from something else than there is now.
    Stale,
    /// It was not made, or what was made is not there any more.
    Missing,
    /// A run is about to make it.
    Running,
    /// The last attempt failed.
    Failed,
    /// The last attempt was made, and refused by its checks or for its malformed rows: nothing of
    /// it is visible.
    Quarantined,
}

impl LedgerState {
    /// All states, as a legend lists them.
    pub const ALL: [Self; 6] =
        [Self::Done, Self::Stale, Self::Missing, Self::Running, Self::Failed, Self::Quarantined];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Stale => "stale",
            Self::Missing => "missing",
            Self::Running => "running",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
        }
    }
}

/// What a run that did not succeed did last about a step's partition.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptFact {
    /// The run.
    pub run: RunId,
    /// When it ended, or when its run began if it is under way.
    pub at: DateTime<Utc>,
    /// How it stands.
    pub status: Status,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// How a step stands for one part of its table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// The word for the step's kind.
    pub kind: &'static str,
    /// The state.
    pub state: LedgerState,
    /// Why, as a fragment; empty for what is done.
    pub reason: String,
    /// The components of the fingerprint that differ, for what is stale.
    pub changed: Vec<String>,
    /// What is there: which run made it, from what and when. Also of what is stale.
    pub made: Option<MadeBy>,
    /// The run of the last attempt, for what is running, failed or quarantined.
    pub attempt: Option<RunId>,
    /// The digest of what a run would make it from now; absent where none could.
    pub wanted: Option<String>,
    /// That a person set it.
    pub mark: Option<Mark>,
}

/// Where a result is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MadeBy {
    /// The run that the ledger names.
    pub run: RunId,
    /// The generation: the run that wrote the files.
    pub generation: String,
    /// The digest of what it was made from.
    pub fingerprint: String,
    /// When.
    pub done: DateTime<Utc>,
}

/// How a pipeline stands over a range of days.
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger {
    /// Pipeline.
    pub pipeline: Name,
    /// The days.
    pub dates: Vec<LogicalDate>,
    /// The steps, in the order of the pipeline.
    pub steps: Vec<Name>,
    /// How they stand. Tables without days have the one partition `all`.
    pub entries: BTreeMap<(Name, Partition), Entry>,
}

impl Ledger {
    /// How a step stands for a day; for a table without days, how the table stands.
    pub fn get(&self, step: &Name, date: LogicalDate) -> Option<&Entry> {
        let of = |partition| self.entries.get(&(step.clone(), partition));
        of(Partition::Day(date)).or_else(|| of(Partition::Whole))
    }

    /// The same of some steps.
    #[must_use]
    pub fn of_steps(mut self, steps: &BTreeSet<Name>) -> Self {
        self.steps.retain(|step| steps.contains(step));
        self.entries.retain(|(step, _), _| steps.contains(step));
        self
    }

    /// The same from a day on.
    #[must_use]
    pub fn since(mut self, first: LogicalDate) -> Self {
        self.dates.retain(|date| *date >= first);
        self.entries.retain(|(_, partition), _| partition.date().is_none_or(|day| day >= first));
        self
    }

    /// The first day of which something is known: that something was made, tried or marked.
    pub fn first_known(&self) -> Option<LogicalDate> {
        let known = self.entries.iter().filter(|(_, entry)| {
            entry.made.is_some() || entry.attempt.is_some() || entry.mark.is_some()
        });
        known.filter_map(|((_, partition), _)| partition.date()).min()
    }

    /// Steps and partitions in any of these states.
    pub fn in_states(&self, states: &BTreeSet<LedgerState>) -> BTreeSet<(Name, Partition)> {
        let wanted = self.entries.iter().filter(|(_, entry)| states.contains(&entry.state));
        wanted.map(|(key, _)| key.clone()).collect()
    }
}

/// Judges every step for each of these days as the run for that day would, and tables without days
/// as the run for the last of them. `attempts` are those of runs that did not succeed.
pub fn ledger(
    pipeline: &Pipeline,
    dates: &[LogicalDate],
    facts: &Facts,
    attempts: &BTreeMap<(Name, Partition), AttemptFact>,
) -> Outcome<Ledger> {
    let mut entries = BTreeMap::new();
    for (at, date) in dates.iter().enumerate() {
        let is_last = at + 1 == dates.len();
        let plan = draft(pipeline, *date, facts)?;
        let judge = Judge { facts, attempts, no_input: empty_source(pipeline, *date, facts) };
        let own = |action: &&Action| {
            action.kind != ActionKind::Publish
                && (action.partition == Partition::Day(*date)
                    || is_last && action.partition == Partition::Whole)
        };
        for action in plan.actions.iter().filter(own) {
            let key = (action.step.clone(), action.partition);
            entries.insert(key, judge.planned(action));
        }
        for step in &pipeline.steps {
            let partition = super::demand::own_partition(step, *date);
            let key = (step.name.clone(), partition);
            if (partition != Partition::Whole || is_last) && !entries.contains_key(&key) {
                let entry = judge.unplanned(&key, step.kind.word());
                entries.insert(key, entry);
            }
        }
    }
    let steps = pipeline.steps.iter().map(|step| step.name.clone()).collect();
    Ok(Ledger { pipeline: pipeline.name.clone(), dates: dates.to_vec(), steps, entries })
}

/// The first source without files for a date that a run for that date asks for.
fn empty_source(pipeline: &Pipeline, date: LogicalDate, facts: &Facts) -> Option<Name> {
    let demand = Demand::of(pipeline, date);
    let is_own = |partition: Partition| partition.date().is_none_or(|day| day == date);
    let empty = |(source, partition): &&(Name, Partition)| {
        is_own(*partition) && !facts.has_files(source, *partition)
    };
    demand.sources.iter().find(empty).map(|(source, _)| source.clone())
}

struct Judge<'a> {
    facts: &'a Facts,
    attempts: &'a BTreeMap<(Name, Partition), AttemptFact>,
    /// The source for want of whose files the day cannot be run at all.
    no_input: Option<Name>,
}

impl Judge<'_> {
    fn planned(&self, action: &Action) -> Entry {
        let key = (action.step.clone(), action.partition);
        let row = self.facts.ledger.get(&key);
        let mut entry = self.blank(&key, action.kind.word());
        entry.wanted = Some(action.fingerprint.digest());
        match &action.verdict {
            Verdict::Skip(_) => entry.state = LedgerState::Done,
            Verdict::Adopt(run) => {
                entry.reason =
                    format!("visible, but run {run} died before it could write that down");
            }
            Verdict::Run(reason) => {
                entry.reason.clone_from(reason);
                if let Some(row) = row
                    && !self.facts.lost.contains(&key)
                {
                    entry.state = LedgerState::Stale;
                    let changed = action.fingerprint.differences(&row.fingerprint);
                    entry.changed = changed.into_iter().map(str::to_owned).collect();
                    if entry.changed.len() > 1 && reason.starts_with("changed: ") {
                        entry.reason = format!("changed: {}", entry.changed.join(", "));
                    }
                } else if row.is_none() {
                    entry.reason = self.why_missing(&key);
                }
                self.attempted(&key, row, &mut entry);
            }
        }
        entry
    }

    /// What no run can make, because something of its own day is missing.
    fn unplanned(&self, key: &(Name, Partition), kind: &'static str) -> Entry {
        let mut entry = self.blank(key, kind);
        match self.facts.ledger.get(key) {
            Some(_) if !self.facts.lost.contains(key) => entry.state = LedgerState::Done,
            Some(_) => entry.reason = "its output is gone, and so is its input".to_owned(),
            None => entry.reason = self.why_missing(key),
        }
        entry
    }

    fn blank(&self, key: &(Name, Partition), kind: &'static str) -> Entry {
        let row = self.facts.ledger.get(key);
        let unmade = self.facts.unmade.get(key);
        Entry {
            kind,
            state: LedgerState::Missing,
            reason: String::new(),
            changed: Vec::new(),
            made: row.map(made_by),
            attempt: None,
            wanted: None,
            mark: row.or(unmade).and_then(|row| row.mark.clone()),
        }
    }

    fn why_missing(&self, key: &(Name, Partition)) -> String {
        if let Some(mark) = self.facts.unmade.get(key).and_then(|row| row.mark.as_ref()) {
            return format!("marked as missing by {}: {}", mark.by, mark.reason);
        }
        match &self.no_input {
            Some(source) => format!("`{source}` has no files"),
            None => "never made".to_owned(),
        }
    }

    /// The last attempt tells more, unless something was made after it.
    fn attempted(&self, key: &(Name, Partition), row: Option<&LedgerRow>, entry: &mut Entry) {
        let marked = self.facts.unmade.get(key);
        let last = row.or(marked).map(|row| row.done);
        let attempt = self.attempts.get(key).filter(|it| last.is_none_or(|done| done < it.at));
        let Some(attempt) = attempt else { return };
        let run = &attempt.run;
        match (attempt.status, &attempt.failure) {
            (Status::Running, _) => {
                entry.state = LedgerState::Running;
                entry.reason = format!("run {run} is under way");
            }
            (Status::Failed, failure) => {
                let quality = failure.as_ref().is_some_and(|it| it.kind == FailureKind::Quality);
                entry.state = if quality { LedgerState::Quarantined } else { LedgerState::Failed };
                entry.reason =
                    failure.as_ref().map_or_else(|| "failed".to_owned(), |it| it.message.clone());
            }
            (Status::UpstreamFailed, _) => {
                entry.reason =
                    format!("{}: in run {run} something that it needs failed", entry.reason);
            }
            (Status::Cancelled, _) => {
                entry.reason = format!("{}: run {run} was stopped", entry.reason);
            }
            (Status::Interrupted, _) => {
                entry.reason = format!("{}: run {run} died", entry.reason);
            }
            (Status::Succeeded | Status::Unchanged, _) => {}
        }
        entry.attempt = Some(run.clone());
    }
}

/// Where a row of the ledger says that a result is from.
fn made_by(row: &LedgerRow) -> MadeBy {
    let generation = row.mark.as_ref().and_then(|mark| mark.generation.clone());
    MadeBy {
        run: row.run.clone(),
        generation: generation.unwrap_or_else(|| row.run.to_string()),
        fingerprint: row.visible_digest(),
        done: row.done,
    }
}

/// What each step would be made from by the run for a date, as the facts are.
pub fn fingerprints_now(
    pipeline: &Pipeline,
    date: LogicalDate,
    facts: &Facts,
) -> Outcome<BTreeMap<(Name, Partition), Fingerprint>> {
    let actions = draft(pipeline, date, facts)?.actions.into_iter();
    Ok(actions.map(|action| ((action.step, action.partition), action.fingerprint)).collect())
}
