//! What would happen: the actions of a run with the reason why each is done or not. Pure data.
//!
//! `recctl plan` shows a plan and `recctl run` carries it out; both see the same value.

mod assume;
pub mod backfill;
pub mod changes;
pub mod demand;
pub mod effects;
mod facts;
mod fingerprints;
pub mod forecast;
mod late;
pub mod ledger;
pub mod permissions;
pub mod policy;
pub mod preview;
pub mod prices;
mod rolled_back;
mod unselected;
pub mod why;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

pub use self::assume::assumed;
use self::demand::Demand;
pub use self::facts::{Facts, ListingFact, OpenFact, SampleFact, ServedBack, VisibleFact};
use self::fingerprints::Fingerprints;
use crate::pipeline::check::CheckRule;
use crate::pipeline::fingerprint::Fingerprint;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::step::{Step, StepKind};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{LedgerRow, RunId};
use crate::steps::TableRead;

/// The step name under which the joint publication of a partition is kept.
pub const PUBLISH: &str = "publish";

/// Everything that a run would do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Pipeline.
    pub pipeline: Name,
    /// The day that the data is about.
    pub date: LogicalDate,
    /// Actions; each comes after all that it needs.
    pub actions: Vec<Action>,
    /// What a person should know.
    pub notices: Vec<String>,
}

/// One thing to do.
#[derive(Debug, Clone)]
pub struct Action {
    /// Step.
    pub step: Name,
    /// What is done.
    pub kind: ActionKind,
    /// Part of the table.
    pub partition: Partition,
    /// Positions of the actions that must be done before.
    pub needs: Vec<usize>,
    /// Partitions that are read of each table.
    pub reads: Vec<TableRead>,
    /// Files that are read of each partition of a source.
    pub files: Vec<FilesRead>,
    /// What the result is made from.
    pub fingerprint: Fingerprint,
    /// Whether it is done, and why.
    pub verdict: Verdict,
}

/// Files that are read of a partition of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesRead {
    /// Source.
    pub source: Name,
    /// Its partition.
    pub partition: Partition,
    /// How many.
    pub files: u64,
    /// Their bytes, as stored.
    pub bytes: u64,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// A query is run and its result staged.
    Sql,
    /// The staged tables of a partition become visible together.
    Publish,
    /// A model is fitted.
    Train,
    /// Hyperparameters are searched.
    Tune,
    /// Models are compared.
    Select,
    /// Recommendations are made.
    Score,
    /// Recommendations are loaded.
    Load,
}

impl ActionKind {
    /// The word for what is done.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::Publish => "publish",
            Self::Train => "train",
            Self::Tune => "tune",
            Self::Select => "select",
            Self::Score => "score",
            Self::Load => "load",
        }
    }
}

/// Whether an action is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is, for this reason.
    Run(String),
    /// It is not: this run did it before, from the same inputs.
    Skip(RunId),
    /// It is not: this run made it from the same inputs and died before it wrote that down. The
    /// publication of its partition does the rest.
    Adopt(RunId),
}

impl Action {
    /// Whether it is done.
    pub fn runs(&self) -> bool {
        matches!(self.verdict, Verdict::Run(_))
    }

    /// Whether what a dead run made is taken as it is.
    pub fn adopts(&self) -> bool {
        matches!(self.verdict, Verdict::Adopt(_))
    }
}

impl Plan {
    /// The steps that have something to do.
    pub fn stale(&self) -> BTreeSet<Name> {
        let to_do = self.actions.iter().filter(|a| a.runs() && a.kind != ActionKind::Publish);
        to_do.map(|action| action.step.clone()).collect()
    }

    /// The steps whose definition is another than when they were carried out last, or that never
    /// were.
    pub fn changed(&self, pipeline: &Pipeline, facts: &Facts) -> BTreeSet<Name> {
        let is_changed =
            |action: &Action| match facts.ledger.get(&(action.step.clone(), action.partition)) {
                Some(row) => {
                    let differences = action.fingerprint.differences(&row.fingerprint);
                    differences.into_iter().any(|it| fingerprints::is_definition(pipeline, it))
                }
                None => facts.ledger.keys().all(|(step, _)| *step != action.step),
            };
        self.actions
            .iter()
            .filter(|action| action.kind != ActionKind::Publish && is_changed(action))
            .map(|action| action.step.clone())
            .collect()
    }
}

/// Plans a run. Errors: `Input` if a source has no files for the logical date.
pub fn plan(pipeline: &Pipeline, date: LogicalDate, facts: &Facts) -> Outcome<Plan> {
    refuse_empty(pipeline, date, &Demand::of(pipeline, date), facts)?;
    unselected::refuse_absent(pipeline, date, facts)?;
    draft(pipeline, date, facts)
}

/// Plans a day whether or not it has input: what cannot be made is left out.
fn draft(pipeline: &Pipeline, date: LogicalDate, facts: &Facts) -> Outcome<Plan> {
    let demand = Demand::of(pipeline, date);
    let has_files = |source: &Name, partition: Partition| facts.has_files(source, partition);
    let is_given = |table: &Name, partition: Partition| {
        pipeline.is_unselected(table) && facts.is_there(table, partition)
            || facts.marked_done(table, partition).is_some()
    };
    let with_input = demand.with_input(pipeline, &has_files, &is_given);
    let mut planner = Planner {
        pipeline,
        date,
        facts,
        with_input: &with_input,
        fingerprints: Fingerprints::new(pipeline, date, facts),
        actions: Vec::new(),
        positions: BTreeMap::new(),
        late: BTreeSet::new(),
    };
    planner.tables()?;
    let mut notices: Vec<String> = facts.open.iter().map(|open| open.told.clone()).collect();
    notices.extend(gaps(pipeline, date, &with_input));
    notices.extend(unselected::notices(pipeline, &demand, facts));
    notices.extend(late::notice(&planner.late));
    notices.extend(planner.others()?);
    notices.extend(rolled_back::notices(&planner.actions, facts));
    Ok(Plan { pipeline: pipeline.name.clone(), date, actions: planner.actions, notices })
}

/// An empty day is an error where it is the day that was asked for.
fn refuse_empty(
    pipeline: &Pipeline,
    date: LogicalDate,
    demand: &Demand,
    facts: &Facts,
) -> Outcome<()> {
    for (name, source) in &pipeline.sources {
        let partition =
            if source.path.is_dated() { Partition::Day(date) } else { Partition::Whole };
        if !demand.sources.contains(&(name.clone(), partition)) {
            continue;
        }
        let listing = facts.listings.get(&(name.clone(), partition));
        if listing.is_some_and(|listing| listing.files > 0) {
            continue;
        }
        let wanted = listing.map_or_else(|| source.path.of(partition), |l| l.shown.clone());
        let day = partition.date().map_or_else(String::new, |date| format!(" for {date}"));
        let failure = Failure::new(
            FailureKind::Input,
            format!("source `{name}` has no files{day}: looked for `{wanted}`"),
        );
        let days = facts.listings.iter().filter(|((source, _), l)| source == name && l.files > 0);
        let last = days.filter_map(|((_, partition), _)| partition.date()).max();
        return Err(failure.with_hint(match (partition, last) {
            (Partition::Day(_), Some(last)) => {
                format!("the last day that has files is {last}: choose it with `--date {last}`")
            }
            (Partition::Day(_), None) => {
                "choose a day that has files with --date; `recctl sample` makes some to try"
                    .to_owned()
            }
            (Partition::Whole, _) => {
                "put the file there, or set the variable that its path is made of with --var"
                    .to_owned()
            }
        }));
    }
    Ok(())
}

/// Days without input that lie between days with input.
fn gaps(
    pipeline: &Pipeline,
    date: LogicalDate,
    with_input: &BTreeSet<(Name, Partition)>,
) -> Vec<String> {
    // A day that is only looked back at need not be there.
    let demand = Demand::looking_back(pipeline, date, 0);
    let days = |of: &BTreeSet<(Name, Partition)>| -> BTreeSet<LogicalDate> {
        let made = of.iter().filter(|(table, _)| !pipeline.is_unselected(table));
        made.filter_map(|(_, partition)| partition.date()).filter(|day| *day <= date).collect()
    };
    let wanted = days(&demand.tables);
    let found: BTreeSet<LogicalDate> = days(with_input).intersection(&wanted).copied().collect();
    let Some(first) = found.first().copied() else { return Vec::new() };
    let mut notices = Vec::new();
    let missing: Vec<String> = wanted
        .iter()
        .filter(|day| **day > first && !found.contains(day))
        .map(ToString::to_string)
        .collect();
    if !missing.is_empty() {
        notices.push(format!(
            "no raw input for {}: training goes on without these days",
            missing.join(", ")
        ));
    }
    let before = wanted.iter().filter(|day| **day < first).count();
    if before > 0 {
        notices.push(format!(
            "raw input begins on {first}: the window of {} days is {before} short",
            pipeline.split.window
        ));
    }
    notices
}

/// The days before a partition with whose figures a check compares its own.
fn earlier_days(step: &Step, partition: Partition) -> Vec<Partition> {
    let (StepKind::Sql(sql), Some(date)) = (&step.kind, partition.date()) else {
        return Vec::new();
    };
    let runs = sql.checks.iter().filter_map(|check| match &check.rule {
        CheckRule::Distribution(distribution) => Some(distribution.runs),
        _ => None,
    });
    let days = runs.max().unwrap_or(0);
    date.minus(1).window(days).map(Partition::Day).collect()
}

struct Planner<'a> {
    pipeline: &'a Pipeline,
    date: LogicalDate,
    facts: &'a Facts,
    with_input: &'a BTreeSet<(Name, Partition)>,
    fingerprints: Fingerprints<'a>,
    actions: Vec<Action>,
    positions: BTreeMap<(Name, Partition), usize>,
    /// Sources whose files of an earlier day changed after a table was made from them.
    late: BTreeSet<(String, LogicalDate)>,
}

impl Planner<'_> {
    /// Queries and publications, whole tables first, then day by day.
    fn tables(&mut self) -> Outcome<()> {
        let partitions: BTreeSet<Partition> =
            self.with_input.iter().map(|(_, partition)| *partition).collect();
        for partition in partitions {
            let mut published = Vec::new();
            for step in &self.pipeline.steps {
                let StepKind::Sql(sql) = &step.kind else { continue };
                if !self.with_input.contains(&(step.name.clone(), partition)) {
                    continue;
                }
                // What a person said is done and nobody could make is read as it is.
                let has_files = |source: &Name, part: Partition| self.facts.has_files(source, part);
                let can_be_made =
                    demand::has_inputs(self.pipeline, sql, partition, &has_files, self.with_input);
                if !can_be_made && self.facts.marked_done(&step.name, partition).is_some() {
                    continue;
                }
                published.push(self.add(step, ActionKind::Sql, partition)?);
            }
            if !published.is_empty() {
                self.publish(partition, &published)?;
            }
        }
        Ok(())
    }

    fn publish(&mut self, partition: Partition, tables: &[usize]) -> Outcome<()> {
        let runs = tables.iter().any(|index| self.actions[*index].runs());
        let adopts = tables.iter().any(|index| self.actions[*index].adopts());
        let mut fingerprint = Fingerprint::default();
        for index in tables {
            let action = &self.actions[*index];
            fingerprint = fingerprint.with(action.step.as_str(), action.fingerprint.digest());
        }
        let step = Name::new(PUBLISH)
            .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))?;
        let key = (step.clone(), partition);
        let verdict = match self.facts.ledger.get(&key) {
            Some(row) if !runs && !adopts => Verdict::Skip(row.run.clone()),
            _ if runs => Verdict::Run("tables were made".to_owned()),
            _ if adopts => Verdict::Run("made by a run that died".to_owned()),
            _ => Verdict::Run("missing".to_owned()),
        };
        let mut needs = tables.to_vec();
        // A day must not be visible before the unpartitioned tables that it was made from.
        needs.extend(self.positions.get(&(step.clone(), Partition::Whole)));
        self.positions.insert(key, self.actions.len());
        self.actions.push(Action {
            step,
            kind: ActionKind::Publish,
            partition,
            needs,
            reads: Vec::new(),
            files: Vec::new(),
            fingerprint,
            verdict,
        });
        Ok(())
    }

    /// What comes after the tables, for the logical date. Returns what a person should know.
    fn others(&mut self) -> Outcome<Vec<String>> {
        let mut notices = Vec::new();
        for step in &self.pipeline.steps {
            let kind = match &step.kind {
                StepKind::Sql(_) => continue,
                StepKind::Train(_) => ActionKind::Train,
                StepKind::Tune(_) => ActionKind::Tune,
                StepKind::Select(_) => ActionKind::Select,
                StepKind::Score(_) => ActionKind::Score,
                StepKind::Load(_) => ActionKind::Load,
            };
            let index = self.add(step, kind, Partition::Day(self.date))?;
            if let StepKind::Load(load) = &step.kind
                && let Some(shown) = self.newer_day_shown_by(load.table.as_str())
                && self.actions[index].runs()
            {
                self.positions.remove(&(step.name.clone(), Partition::Day(self.date)));
                self.actions.truncate(index);
                let (name, table, date) = (&step.name, &load.table, self.date);
                notices.push(format!(
                    "`{name}` is left out: `{table}` shows the lists of {shown}, and those of {date} are older; `--serve` loads them all the same"
                ));
            }
        }
        Ok(notices)
    }

    /// The day whose lists a served table shows, if it is after the logical date and must not be
    /// replaced by it.
    fn newer_day_shown_by(&self, table: &str) -> Option<LogicalDate> {
        let shown = self.facts.served_days.get(table).copied();
        shown.filter(|shown| !self.facts.serve && *shown > self.date)
    }

    fn add(&mut self, step: &Step, kind: ActionKind, partition: Partition) -> Outcome<usize> {
        let reads = demand::reads_of(self.pipeline, step, partition, self.date)
            .into_iter()
            .map(|(table, partitions)| TableRead {
                partitions: partitions
                    .into_iter()
                    .filter(|part| self.with_input.contains(&(table.clone(), *part)))
                    .collect(),
                table,
            })
            .collect::<Vec<_>>();
        let mut needs = BTreeSet::new();
        let publish = Name::new(PUBLISH).ok();
        for read in &reads {
            for part in &read.partitions {
                // A query reads what is staged for its own day; all else waits until it is visible.
                let own =
                    kind == ActionKind::Sql && (*part == partition || *part == Partition::Whole);
                let key = match (&publish, own) {
                    (Some(publish), false) => (publish.clone(), *part),
                    _ => (read.table.clone(), *part),
                };
                needs.extend(self.positions.get(&key).copied());
            }
        }
        for need in step.needs() {
            let Some(other) = self.pipeline.step(need.as_str()) else { continue };
            let (name, part) = match (&other.kind, &publish) {
                // What a query needs of tables is among its reads.
                (StepKind::Sql(_), _) if kind == ActionKind::Sql => continue,
                (StepKind::Sql(sql), Some(publish)) if sql.partitioned => {
                    (publish, Partition::Day(self.date))
                }
                (StepKind::Sql(_), Some(publish)) => (publish, Partition::Whole),
                (_, _) => (need, Partition::Day(self.date)),
            };
            needs.extend(self.positions.get(&(name.clone(), part)).copied());
        }
        // Its figures are compared with those of the days before.
        for day in earlier_days(step, partition) {
            needs.extend(self.positions.get(&(step.name.clone(), day)).copied());
        }
        for after in &step.after {
            for part in [partition, Partition::Whole] {
                needs.extend(self.positions.get(&(after.clone(), part)).copied());
            }
        }
        let fingerprint = self.fingerprints.of(step, partition, &reads)?;
        let key = (step.name.clone(), partition);
        let is_of_today = partition == Partition::Day(self.date) || partition == Partition::Whole;
        let visible = self.facts.visible.get(&key);
        let visible = visible.filter(|it| it.fingerprint == fingerprint.digest());
        let verdict = match (self.facts.ledger.get(&key), visible) {
            _ if self.facts.force && is_of_today => Verdict::Run("forced".to_owned()),
            _ if self.facts.unmade.contains_key(&key) => {
                Verdict::Run("marked as missing".to_owned())
            }
            (_, Some(it)) => Verdict::Adopt(RunId::from_text(it.generation.clone())),
            (None, None) => Verdict::Run("missing".to_owned()),
            (Some(_), None) if self.facts.lost.contains(&key) => {
                Verdict::Run("its output is gone".to_owned())
            }
            (Some(row), None) if row.fingerprint == Fingerprint::default() => {
                Verdict::Run("its input came after it was marked as done".to_owned())
            }
            (Some(row @ LedgerRow { rollback: Some(back), .. }), None) => {
                rolled_back::verdict(row, back, &fingerprint)
            }
            (Some(row), None) => match fingerprint.first_difference(&row.fingerprint) {
                None => Verdict::Skip(row.run.clone()),
                Some(component) => {
                    self.late.extend(late::of(component, partition, self.date));
                    Verdict::Run(format!("changed: {component}"))
                }
            },
        };
        let index = self.actions.len();
        self.positions.insert(key, index);
        self.actions.push(Action {
            step: step.name.clone(),
            kind,
            partition,
            needs: needs.into_iter().collect(),
            files: self.files(step, partition),
            reads,
            fingerprint,
            verdict,
        });
        Ok(index)
    }

    fn files(&self, step: &Step, partition: Partition) -> Vec<FilesRead> {
        let read = |(source, partition): (Name, Partition)| {
            let listing = self.facts.listings.get(&(source.clone(), partition));
            let (files, bytes) = listing.map_or((0, 0), |it| (it.files as u64, it.bytes));
            FilesRead { source, partition, files, bytes }
        };
        demand::source_reads(self.pipeline, step, partition).into_iter().map(read).collect()
    }
}
