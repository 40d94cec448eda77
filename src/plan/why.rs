//! Why a step stands as it does for a day: what decided, what that is made from, down to the root.
//! Pure.

use std::collections::BTreeSet;

use serde::Serialize;

use super::ledger::{Entry, LedgerState};
use super::{Action, Facts, Plan, Verdict, demand, draft};
use crate::pipeline::fingerprint::SQL;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::step::{ReadFrom, StepKind};
use crate::run::failure::Outcome;
use crate::run::record::{Input, LedgerRow};

/// Why a step stands as it does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Why {
    /// The step.
    pub step: Name,
    /// The part of its table.
    pub partition: Partition,
    /// How it stands.
    pub entry: Entry,
    /// Whether a run would carry it out.
    pub would_run: bool,
    /// What decided: all that differs, each followed to its root.
    pub because: Vec<Cause>,
    /// What the result that is there was made from.
    pub made_from: Vec<Input>,
}

/// Something that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// What it is about: a step or a source.
    pub of: Option<Name>,
    /// Its parts that stand in the same way.
    pub partitions: Vec<Partition>,
    /// What is the matter with it, as a fragment.
    pub text: String,
    /// Why.
    pub because: Vec<Cause>,
}

impl Cause {
    fn leaf(text: impl Into<String>) -> Self {
        Self { of: None, partitions: Vec::new(), text: text.into(), because: Vec::new() }
    }

    fn about(of: &Name, partition: Partition, text: impl Into<String>) -> Self {
        Self { of: Some(of.clone()), partitions: vec![partition], ..Self::leaf(text) }
    }
}

/// Explains how a step stands for a date, by the facts that `entry` was judged by.
pub fn why(
    pipeline: &Pipeline,
    date: LogicalDate,
    (step, partition): (&Name, Partition),
    facts: &Facts,
    entry: Entry,
) -> Outcome<Why> {
    let plan = draft(pipeline, date, facts)?;
    let mut teller = Teller { pipeline, facts, plan: &plan, told: BTreeSet::new() };
    let key = (step.clone(), partition);
    teller.told.insert(key.clone());
    let would_run = plan.actions.iter().any(|action| is(action, &key) && action.runs());
    let because = match entry.state {
        LedgerState::Done => Vec::new(),
        _ => teller.causes(&key),
    };
    let row = facts.ledger.get(&key);
    Ok(Why {
        step: key.0,
        partition,
        entry,
        would_run,
        because,
        made_from: row.map(|row| row.inputs.clone()).unwrap_or_default(),
    })
}

fn is(action: &Action, (step, partition): &(Name, Partition)) -> bool {
    action.step == *step && action.partition == *partition
}

struct Teller<'a> {
    pipeline: &'a Pipeline,
    facts: &'a Facts,
    plan: &'a Plan,
    /// What was explained already.
    told: BTreeSet<(Name, Partition)>,
}

impl Teller<'_> {
    /// What decided about a part.
    fn causes(&mut self, key: &(Name, Partition)) -> Vec<Cause> {
        let Some(action) = self.plan.actions.iter().find(|action| is(action, key)) else {
            return self.no_input(key);
        };
        let Verdict::Run(_) = action.verdict else { return Vec::new() };
        let Some(row) = self.facts.ledger.get(key) else { return Vec::new() };
        if self.facts.lost.contains(key) {
            return vec![Cause::leaf("its output is gone")];
        }
        let changed = action.fingerprint.differences(&row.fingerprint);
        let changed: Vec<String> = changed.into_iter().map(str::to_owned).collect();
        changed.iter().flat_map(|component| self.component(component, action, row)).collect()
    }

    /// Why nothing can make a part.
    fn no_input(&mut self, (step, partition): &(Name, Partition)) -> Vec<Cause> {
        let Some(StepKind::Sql(sql)) = self.pipeline.step(step.as_str()).map(|it| &it.kind) else {
            return Vec::new();
        };
        let Some(step) = self.pipeline.step(step.as_str()) else { return Vec::new() };
        let mut causes = Vec::new();
        for read in &sql.reads {
            match read.from {
                ReadFrom::Source => {
                    let parts = demand::source_reads(self.pipeline, step, *partition);
                    // The last of a window is the own day, which has to be there.
                    let own = parts.into_iter().rfind(|(source, _)| *source == read.name);
                    if let Some((source, part)) = own
                        && !self.facts.has_files(&source, part)
                    {
                        let listing = self.facts.listings.get(&(source.clone(), part));
                        let looked = listing
                            .map_or_else(String::new, |it| format!(": looked for `{}`", it.shown));
                        causes.push(Cause::about(&source, part, format!("has no files{looked}")));
                    }
                }
                ReadFrom::Table => {
                    let part = demand::table_partition(self.pipeline, &read.name, *partition);
                    let key = (read.name.clone(), part);
                    if !self.facts.is_there(&key.0, part) && self.told.insert(key.clone()) {
                        let because = self.causes(&key);
                        let cause = Cause::about(&key.0, part, "is missing");
                        causes.push(Cause { because, ..cause });
                    }
                }
            }
        }
        causes
    }

    /// What is behind a component that differs.
    fn component(&mut self, component: &str, action: &Action, row: &LedgerRow) -> Vec<Cause> {
        let named = |prefix: &str| {
            let rest = component.strip_prefix(prefix)?;
            rest.split('`').next().and_then(|name| Name::new(name).ok())
        };
        if let Some(source) = named("files of `") {
            let part = component.rsplit(' ').next().unwrap_or_default().to_owned();
            let part = Partition::try_from(part).unwrap_or(Partition::Whole);
            return vec![self.files(&source, part, row)];
        }
        if let Some(table) = named("table `") {
            return self.table(&table, action, row);
        }
        if let Some(step) = named("step `") {
            return self.step(&step, row).into_iter().collect();
        }
        if let Some(parameter) = named("parameter `$") {
            let value = self.pipeline.variables.get(&parameter.to_string());
            let is = value.map_or_else(String::new, |value| format!(": it is {value} now"));
            return vec![Cause::leaf(format!("parameter `${parameter}` has another value{is}"))];
        }
        vec![Cause::leaf(match component {
            SQL => "its query means something else than then".to_owned(),
            "champion" => "the champion that it is compared with is another".to_owned(),
            "recctl's method" => "this recctl makes it in another way".to_owned(),
            "checks" => "its checks are others".to_owned(),
            "publish" => "it is published to another place, or lies there otherwise".to_owned(),
            "job" => "its job is another".to_owned(),
            "split" => "the split of the training window is another".to_owned(),
            _ => match named("declaration of `") {
                Some(source) => format!("source `{source}` is declared otherwise"),
                None => format!("{component} changed"),
            },
        })]
    }

    fn files(&self, source: &Name, part: Partition, row: &LedgerRow) -> Cause {
        let is =
            self.facts.listings.get(&(source.clone(), part)).map(|it| (it.files as u64, it.bytes));
        let was = row.inputs.iter().find_map(|input| match input {
            Input::Files { source: of, partition, files, bytes }
                if of == source && *partition == part =>
            {
                Some((*files, *bytes))
            }
            Input::Files { .. } | Input::Table { .. } | Input::Step { .. } => None,
        });
        let files =
            |count: u64| if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
        let text = match (was, is.unwrap_or_default()) {
            (None, (is, _)) => format!("changed: {} now", files(is)),
            (Some((0, _)), (is, _)) => format!("has {} now, and had none", files(is)),
            (Some(was), is) if was == is => {
                format!("changed: {} of the same size in all, but not the same", files(is.0))
            }
            (Some((was, before)), (is, now)) if was == is => {
                format!("changed: {} of {now} bytes, were {before} bytes", files(is))
            }
            (Some((was, _)), (is, _)) => format!("changed: {}, were {was}", files(is)),
        };
        Cause::about(source, part, text)
    }

    /// The parts of a table that are others than those which a result was made from.
    fn table(&mut self, table: &Name, action: &Action, row: &LedgerRow) -> Vec<Cause> {
        let was = |part: Partition| {
            row.inputs.iter().find_map(|input| match input {
                Input::Table { table: of, partition, fingerprint, .. }
                    if of == table && *partition == part =>
                {
                    Some(fingerprint.as_str())
                }
                Input::Files { .. } | Input::Table { .. } | Input::Step { .. } => None,
            })
        };
        let knows =
            row.inputs.iter().any(|it| matches!(it, Input::Table { table: of, .. } if of == table));
        let reads = action.reads.iter().find(|read| read.table == *table);
        let parts = reads.map(|read| read.partitions.clone()).unwrap_or_default();
        let mut causes: Vec<Cause> = Vec::new();
        for part in &parts {
            let key = (table.clone(), *part);
            let now = self.plan.actions.iter().find(|action| is(action, &key));
            let wanted = now.map(|action| action.fingerprint.digest());
            let cause = match (was(*part), wanted) {
                (Some(was), Some(wanted)) if was == wanted => continue,
                (None, _) if knows => Cause::about(table, *part, "is read now, and was not then"),
                (_, None) => continue,
                (_, Some(_)) => match now.map(|action| &action.verdict) {
                    // Of a row that does not say what it was made from, only what is due is known.
                    Some(Verdict::Skip(_)) if !knows => continue,
                    Some(Verdict::Skip(run) | Verdict::Adopt(run)) => {
                        Cause::about(table, *part, format!("was made again by run {run}"))
                    }
                    Some(Verdict::Run(_)) | None => {
                        let because = if self.told.insert(key.clone()) {
                            self.causes(&key)
                        } else {
                            Vec::new()
                        };
                        let stale = self.facts.is_there(table, *part);
                        let text = if stale { "is stale" } else { "is missing" };
                        Cause { because, ..Cause::about(table, *part, text) }
                    }
                },
            };
            // Days that stand alike are told once.
            let same = |known: &&mut Cause| {
                known.text == cause.text && alike(&known.because, &cause.because)
            };
            match causes.iter_mut().find(same) {
                Some(known) => known.partitions.extend(cause.partitions),
                None => causes.push(cause),
            }
        }
        for input in &row.inputs {
            if let Input::Table { table: of, partition, .. } = input
                && of == table
                && !parts.contains(partition)
            {
                causes.push(Cause::about(table, *partition, "was read then, and is not now"));
            }
        }
        if causes.is_empty() {
            causes.push(Cause::leaf(format!("table `{table}` is another than then")));
        }
        causes
    }

    fn step(&mut self, step: &Name, row: &LedgerRow) -> Option<Cause> {
        let key = (step.clone(), Partition::Day(self.plan.date));
        let action = self.plan.actions.iter().find(|action| is(action, &key));
        let text = match action.map(|action| &action.verdict) {
            Some(Verdict::Run(_)) if self.facts.is_there(step, key.1) => "is stale".to_owned(),
            Some(Verdict::Run(_)) => "is missing".to_owned(),
            Some(Verdict::Skip(run) | Verdict::Adopt(run)) if *run != row.run => {
                format!("was made again by run {run}")
            }
            Some(Verdict::Skip(_) | Verdict::Adopt(_)) | None => "is another than then".to_owned(),
        };
        if !self.told.insert(key.clone()) {
            return Some(Cause::about(step, key.1, text));
        }
        let because = self.causes(&key);
        Some(Cause { because, ..Cause::about(step, key.1, text) })
    }
}

/// Whether two explanations say the same of different days.
fn alike(one: &[Cause], other: &[Cause]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| {
            one.of == other.of && one.text == other.text && alike(&one.because, &other.because)
        })
}
