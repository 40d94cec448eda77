//! Facts that nobody looked up: of a target that is not asked, and of days that are yet to be run.

use chrono::{DateTime, Utc};

use super::demand::Demand;
use super::effects::{Effects, Standing};
use super::{Facts, ListingFact, Plan};
use crate::pipeline::fingerprint::Fingerprint;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::step::{Step, StepKind};
use crate::run::record::{LedgerRow, RunId};

/// The facts of a target on which nothing was done yet and every day has input.
pub fn assumed(pipeline: &Pipeline, dates: &[LogicalDate], force: bool) -> Facts {
    let mut facts = Facts { force, assumed: true, ..Facts::default() };
    for date in dates {
        let demand = Demand::of(pipeline, *date);
        for (source, partition) in demand.sources {
            facts.assume_input(pipeline, source, partition);
        }
        // What a selection leaves out has to be there already.
        let of_day = |step: &Step| (step.name.clone(), Partition::Day(*date));
        let tables = demand.tables.into_iter().filter(|(table, _)| pipeline.is_unselected(table));
        for (step, partition) in pipeline.unselected.iter().map(of_day).chain(tables) {
            facts.note(pipeline, step, partition, Fingerprint::default(), *date);
        }
    }
    facts
}

impl Facts {
    /// Takes it that a source has files for a partition.
    pub(super) fn assume_input(&mut self, pipeline: &Pipeline, source: Name, partition: Partition) {
        let path = pipeline.sources.get(&source).map(|source| source.path.of(partition));
        let shown = path.unwrap_or_default();
        let listing = ListingFact { version: String::new(), files: 1, bytes: 0, shown };
        self.listings.insert((source, partition), listing);
    }

    /// Takes it that as many generations are there as are kept, so that each load removes one.
    pub(super) fn fill_serving(&mut self, pipeline: &Pipeline) {
        let there = self.there.get_or_insert_with(Standing::default);
        for step in &pipeline.steps {
            if let StepKind::Load(load) = &step.kind
                && let Some(generations) = there.served.get_mut(load.table.as_str())
            {
                generations.resize(load.keep.max(1), None);
            }
        }
    }

    /// Takes it that a step was carried out by the run for a day.
    fn note(
        &mut self,
        pipeline: &Pipeline,
        step: Name,
        partition: Partition,
        fingerprint: Fingerprint,
        date: LogicalDate,
    ) {
        let key = (step.clone(), partition);
        self.lost.remove(&key);
        self.unmade.remove(&key);
        self.visible.remove(&key);
        let row = LedgerRow {
            pipeline: pipeline.name.clone(),
            step,
            partition,
            fingerprint,
            run: RunId::from_text(format!("for {date}")),
            done: DateTime::<Utc>::UNIX_EPOCH,
            output: serde_json::Value::Null,
            inputs: Vec::new(),
            mark: None,
            rollback: None,
        };
        self.ledger.insert(key, row);
    }

    /// The sample's days have input, once it is made.
    pub fn with_sample(&mut self, pipeline: &Pipeline, date: LogicalDate) {
        let Some(sample) = self.sample.clone() else { return };
        let (first, last) = sample.days;
        for (source, partition) in Demand::of(pipeline, date).sources {
            let path = pipeline.sources.get(&source).map(|source| source.path.as_str());
            let is_sampled = path.is_some_and(|path| path.starts_with(&sample.folder));
            let is_within = partition.date().is_none_or(|day| (first..=last).contains(&day));
            if is_sampled && is_within {
                self.assume_input(pipeline, source, partition);
            }
        }
        self.assumed = true;
    }

    /// The facts after a plan was carried out, for the plan of a later day.
    pub fn carry_out(&mut self, pipeline: &Pipeline, plan: &Plan, effects: &Effects) {
        for action in plan.actions.iter().filter(|action| action.runs() || action.adopts()) {
            let (step, fingerprint) = (action.step.clone(), action.fingerprint.clone());
            self.note(pipeline, step, action.partition, fingerprint, plan.date);
        }
        for step in &pipeline.steps {
            if let StepKind::Load(load) = &step.kind
                && plan.actions.iter().any(|action| action.step == step.name && action.runs())
            {
                self.served_days.insert(load.table.to_string(), plan.date);
            }
            if matches!(step.kind, StepKind::Select(_)) {
                // Which model it will be is not known, only that there will be one.
                let next = (step.name.clone(), plan.date.plus(1));
                let decided = || format!("decided for {}", plan.date);
                self.champions.entry(next).or_insert_with(decided);
            }
        }
        self.sample = None;
        self.there = Some(effects.after.clone());
    }
}
