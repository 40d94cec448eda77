//! What changed between two states of a pipeline: which steps mean something else, what is made
//! from these, and what would have to be made again. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Facts;
use super::demand::Demand;
use super::fingerprints::{definition, is_definition};
use crate::pipeline::fingerprint::SQL;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::step::{ReadFrom, Step, StepKind};
use crate::query::analysis::Schemas;

/// A pipeline at a time.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The pipeline, with the meanings of its queries.
    pub pipeline: &'a Pipeline,
    /// The columns of its tables, as far as they are known.
    pub schemas: &'a Schemas,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// What it is compared with, as people call it.
    pub against: String,
    /// Steps of the pipeline now.
    pub steps: usize,
    /// Steps with a change, in the order of the pipeline; removed ones last.
    pub changes: Vec<StepChange>,
    /// Steps that mean the same and would lose nothing by staying, but are made again by a run,
    /// because a table that they read is.
    pub remade: Vec<Name>,
    /// What a person should know.
    pub notices: Vec<String>,
}

/// A step with a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepChange {
    /// Step.
    pub step: Name,
    /// The word for its kind.
    pub kind: &'static str,
    /// What kind of change it is.
    pub change: Change,
    /// What differs, by the components of fingerprints and fields of the step.
    pub reasons: Vec<String>,
    /// The steps by which the change comes, for one that is affected.
    pub through: Vec<Name>,
    /// How its columns differ.
    pub columns: Vec<ColumnChange>,
    /// What would have to be made again, once it is known.
    pub again: Vec<Partition>,
}

/// What a change is for those who read what the step makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The step is new.
    Added,
    /// The step is gone.
    Removed,
    /// What it makes may be other rows or values: all that is made from it has to be made again.
    Breaking,
    /// What it made stays as it is; there may be more columns. Only the step is made again.
    NonBreaking,
    /// It means the same, but something that it is made from does not.
    Affected,
    /// Nothing has to be made again.
    Metadata,
}

impl Change {
    /// The words for it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Breaking => "breaking",
            Self::NonBreaking => "non-breaking",
            Self::Affected => "affected",
            Self::Metadata => "metadata only",
        }
    }

    /// Whether readers have to be made again.
    fn spreads(self) -> bool {
        match self {
            Self::Added | Self::Removed | Self::Breaking | Self::Affected => true,
            Self::NonBreaking | Self::Metadata => false,
        }
    }
}

/// How a column differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnChange {
    /// Name.
    pub column: String,
    /// What happened to it.
    pub change: ColumnDifference,
    /// Its type then; `None` if there was none.
    pub was: Option<String>,
    /// Its type now.
    pub is: Option<String>,
}

/// What happened to a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnDifference {
    /// It is new.
    Added,
    /// It is gone, which breaks those who read it.
    Removed,
    /// It has another type, which may break those who read it.
    Retyped,
    /// It stands in another place, which matters to those who read by place.
    Moved,
}

impl Comparison {
    /// The steps that mean something else than then, and those that are new.
    pub fn changed(&self) -> BTreeSet<Name> {
        let own = |change: Change| match change {
            Change::Added | Change::Breaking | Change::NonBreaking => true,
            Change::Removed | Change::Affected | Change::Metadata => false,
        };
        self.changes.iter().filter(|one| own(one.change)).map(|one| one.step.clone()).collect()
    }

    /// Says what would have to be made again: what the ledger has of a step, or with nothing known
    /// what a run for the date wants of it.
    pub fn find_again(&mut self, pipeline: &Pipeline, date: LogicalDate, facts: Option<&Facts>) {
        let wanted = Demand::of(pipeline, date).tables;
        for change in &mut self.changes {
            let is_table = pipeline
                .step(change.step.as_str())
                .is_some_and(|step| matches!(step.kind, StepKind::Sql(_)));
            let known: Vec<Partition> = match facts {
                Some(facts) => facts
                    .ledger
                    .keys()
                    .filter(|(step, _)| *step == change.step)
                    .map(|(_, partition)| *partition)
                    .collect(),
                None => Vec::new(),
            };
            let demanded = || match is_table {
                true => {
                    wanted.iter().filter(|(name, _)| *name == change.step).map(|w| w.1).collect()
                }
                false => vec![Partition::Day(date)],
            };
            change.again = match change.change {
                Change::Removed | Change::Metadata => Vec::new(),
                Change::Added => demanded(),
                // Models, lists and loads of earlier days have served; only the day's own counts.
                Change::Breaking | Change::NonBreaking | Change::Affected if !is_table => {
                    vec![Partition::Day(date)]
                }
                Change::Breaking | Change::NonBreaking | Change::Affected => match facts {
                    Some(_) => known,
                    None => demanded(),
                },
            };
        }
    }
}

/// Compares two states. `kept` are the queries that are proven to make what they made, and at most
/// more columns.
pub fn compare(
    against: String,
    old: Option<Side<'_>>,
    new: Side<'_>,
    kept: &BTreeSet<Name>,
) -> Comparison {
    let mut changes: Vec<StepChange> = Vec::new();
    let mut spreading: BTreeSet<Name> = BTreeSet::new();
    let mut touched: BTreeSet<Name> = BTreeSet::new();
    let mut remade = Vec::new();
    for step in &new.pipeline.steps {
        let was = old.and_then(|old| old.pipeline.step(step.name.as_str()).map(|step| (old, step)));
        let mut change = match was {
            None => StepChange::new(step, Change::Added),
            Some((old, was)) => own_change(old, was, new, step, kept),
        };
        let reads = match &step.kind {
            // The names of items are looked up when a person asks for a list.
            StepKind::Load(load) => vec![&load.from],
            StepKind::Sql(_)
            | StepKind::Train(_)
            | StepKind::Tune(_)
            | StepKind::Select(_)
            | StepKind::Score(_) => step.reads_from(),
        };
        change.through =
            reads.iter().filter(|read| spreading.contains(**read)).map(|r| (*r).clone()).collect();
        change.through.sort();
        change.through.dedup();
        if !change.through.is_empty() && !change.change.spreads() {
            change.change = Change::Affected;
        }
        let is_changed = change.change != Change::Metadata || !change.reasons.is_empty();
        if change.change.spreads() {
            spreading.insert(step.name.clone());
        }
        if change.change == Change::Metadata && reads.iter().any(|read| touched.contains(*read)) {
            remade.push(step.name.clone());
            touched.insert(step.name.clone());
        } else if change.change == Change::NonBreaking {
            touched.insert(step.name.clone());
        }
        if is_changed {
            changes.push(change);
        }
    }
    for step in old.iter().flat_map(|old| &old.pipeline.steps) {
        if new.pipeline.step(step.name.as_str()).is_none() {
            changes.push(StepChange::new(step, Change::Removed));
        }
    }
    let mut notices = Vec::new();
    if old.is_none() {
        notices.push(format!("there was no pipeline `{}` then", new.pipeline.name));
    }
    Comparison { against, steps: new.pipeline.steps.len(), changes, remade, notices }
}

impl StepChange {
    fn new(step: &Step, change: Change) -> Self {
        Self {
            step: step.name.clone(),
            kind: step.kind.word(),
            change,
            reasons: Vec::new(),
            through: Vec::new(),
            columns: Vec::new(),
            again: Vec::new(),
        }
    }
}

/// How a step differs by itself; `Metadata` without reasons if it does not.
fn own_change(
    old: Side<'_>,
    was: &Step,
    new: Side<'_>,
    step: &Step,
    kept: &BTreeSet<Name>,
) -> StepChange {
    // Any date does: only what does not depend on it is compared.
    let date = LogicalDate::new(chrono::NaiveDate::default());
    let (before, after) =
        (definition(old.pipeline, was, date), definition(new.pipeline, step, date));
    let mut reasons: BTreeSet<String> = after
        .differences(&before)
        .into_iter()
        .filter(|it| is_definition(new.pipeline, it) || is_definition(old.pipeline, it))
        .map(str::to_owned)
        .collect();
    let mut light: BTreeSet<&str> = BTreeSet::from(["checks", "publish"]);
    if was.kind.word() != step.kind.word() {
        reasons = BTreeSet::from([format!("it is of kind `{}` now", step.kind.word())]);
    }
    let mut notes = BTreeSet::new();
    if let (StepKind::Sql(was), StepKind::Sql(is)) = (&was.kind, &step.kind) {
        let windows = |sql: &crate::pipeline::step::SqlStep| -> BTreeMap<Name, (bool, u32)> {
            let read = |read: &crate::pipeline::step::Read| {
                (read.name.clone(), (read.from == ReadFrom::Table, read.days))
            };
            sql.reads.iter().map(read).filter(|(_, (_, days))| *days > 1).collect()
        };
        if windows(was) != windows(is) {
            reasons.insert("days that it reads".to_owned());
        }
        if was.partitioned != is.partitioned {
            reasons.insert("partition_by".to_owned());
        }
        let is_known = was.meaning.is_some() && is.meaning.is_some();
        if was.normalized == is.normalized && is_known && was.meaning != is.meaning {
            // The text is the same: what it names has other columns.
            reasons.insert("columns of what it reads".to_owned());
        }
        if was.text != is.text && !reasons.contains(SQL) {
            notes.insert("written otherwise, means the same".to_owned());
        }
        if was.schema_change != is.schema_change {
            notes.insert("schema_change".to_owned());
        }
        if kept.contains(&step.name) {
            light.extend([SQL, "columns of what it reads"]);
        }
    }
    if was.tags != step.tags {
        notes.insert("tags".to_owned());
    }
    if was.after != step.after {
        notes.insert("after".to_owned());
    }
    let change = if reasons.is_empty() {
        Change::Metadata
    } else if reasons.iter().all(|reason| light.contains(reason.as_str())) {
        Change::NonBreaking
    } else {
        Change::Breaking
    };
    reasons.extend(notes);
    let mut found = StepChange::new(step, change);
    found.reasons = reasons.into_iter().collect();
    found.columns = columns(old.schemas, new.schemas, &step.name);
    found
}

fn columns(old: &Schemas, new: &Schemas, step: &Name) -> Vec<ColumnChange> {
    let (Some(was), Some(is)) = (old.get(step), new.get(step)) else { return Vec::new() };
    let kind = |schema: &crate::query::analysis::SchemaRef, name: &str| {
        schema.column_with_name(name).map(|(_, field)| field.data_type().to_string())
    };
    let mut found = Vec::new();
    let mut push = |column: &str, change, was: Option<String>, is: Option<String>| {
        found.push(ColumnChange { column: column.to_owned(), change, was, is });
    };
    for field in was.fields() {
        let (name, before) = (field.name(), field.data_type().to_string());
        match kind(is, name) {
            None => push(name, ColumnDifference::Removed, Some(before), None),
            Some(after) if after != before => {
                push(name, ColumnDifference::Retyped, Some(before), Some(after));
            }
            Some(_) => {}
        }
    }
    for field in is.fields() {
        if kind(was, field.name()).is_none() {
            let after = field.data_type().to_string();
            push(field.name(), ColumnDifference::Added, None, Some(after));
        }
    }
    let common = |one: &crate::query::analysis::SchemaRef,
                  other: &crate::query::analysis::SchemaRef|
     -> Vec<String> {
        let names = one.fields().iter().map(|field| field.name().clone());
        names.filter(|name| other.column_with_name(name).is_some()).collect()
    };
    for (before, after) in common(was, is).into_iter().zip(common(is, was)) {
        if before != after {
            let kind = kind(is, &after);
            push(&after, ColumnDifference::Moved, kind.clone(), kind);
        }
    }
    found
}
