//! What a run changes outside of its own process: every side effect of every action, as pure data.
//!
//! [`effects`] is the one place that knows which changes an action makes. [`calls`] says by which
//! calls of the target's services an effect comes about, from the one list of such calls
//! ([`operation`]) that the policy of the task is made from too. A test holds the calls of a real
//! run against those of its plan.

pub mod amount;
mod calls;
mod effect;
mod jobs;
pub mod operation;
mod serving;
mod state;
mod tables;

use std::collections::{BTreeMap, BTreeSet};

pub use self::amount::Amount;
pub use self::calls::{Call, calls, totals};
pub use self::effect::{
    Content, Effect, Files, Generation, Jobs, LoadMode, Machine, PartitionChange, Record,
    TableChange, WarehouseTable, Work, Writer,
};
use super::forecast::{Forecast, Guess};
use super::{Action, ActionKind, Facts, Plan};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::step::{QUARANTINE_TABLE, StepKind};
use crate::pipeline::target::{AwsTarget, Target};

/// All that a run changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// By action, in the order of the plan; empty for those that are skipped.
    pub actions: Vec<Vec<Effect>>,
    /// Of the run as a whole.
    pub run: Vec<Effect>,
    /// What there is at the target once all of it came about.
    pub after: Standing,
}

impl Effects {
    /// All of them, in the order in which they come about as far as that is fixed.
    pub fn all(&self) -> impl Iterator<Item = &Effect> {
        self.run.iter().chain(self.actions.iter().flatten())
    }
}

/// What there is at a target before a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether the state is there.
    pub state: bool,
    /// Whether the catalog's database is surely there.
    pub database: bool,
    /// Tables of the catalog with the keys of their visible partitions.
    pub tables: BTreeMap<String, BTreeSet<String>>,
    /// Served tables with their generations, oldest first: how many items each holds, if that is
    /// known.
    pub served: BTreeMap<String, Vec<Option<u64>>>,
    /// Groups of the model registry that hold a model, as pipelines name them.
    pub groups: BTreeSet<String>,
}

/// What effects are made from, beside the plan.
pub struct Grounds<'a> {
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// The target.
    pub target: &'a Target,
    /// What was known when the plan was made.
    pub facts: &'a Facts,
    /// What earlier runs tell.
    pub forecast: &'a Forecast,
    /// Query threads, which is how many files a query writes at most.
    pub threads: usize,
}

/// Everything that carrying out a plan changes. A plan with nothing to do changes nothing, but settles
/// what was left open.
pub fn effects(plan: &Plan, grounds: &Grounds<'_>) -> Effects {
    let mut effects = Effects {
        actions: vec![Vec::new(); plan.actions.len()],
        run: Vec::new(),
        after: grounds.facts.there.clone().unwrap_or_default(),
    };
    let runs = plan.actions.iter().any(Action::runs);
    if !runs && grounds.facts.open.is_empty() {
        return effects;
    }
    let mut listing = Listing {
        plan,
        grounds,
        guess: grounds.forecast.of(grounds.pipeline, plan, grounds.facts),
        there: grounds.facts.there.clone().unwrap_or_default(),
        there_is_known: grounds.facts.there.is_some(),
        training_sets: BTreeSet::new(),
        possible_sets: BTreeSet::new(),
    };
    // What was left open is settled even if there is nothing else to do.
    for open in &grounds.facts.open {
        let settled = listing.settlement(open);
        effects.run.extend(settled);
    }
    if !runs {
        effects.after = listing.there;
        return effects;
    }
    if let Some(sample) = &grounds.facts.sample {
        effects.run.push(Effect::Sample {
            folder: sample.folder.clone(),
            events: sample.events,
            days: sample.days,
        });
    }
    effects.run.extend(listing.state_of_the_run());
    for (index, action) in plan.actions.iter().enumerate() {
        if action.runs() {
            effects.actions[index] = listing.of(index, action);
        }
    }
    effects.run.extend(listing.clean_up());
    effects.after = listing.there;
    effects.after.state = true;
    effects
}

/// Effects being listed, with what the earlier ones have made.
struct Listing<'a> {
    plan: &'a Plan,
    grounds: &'a Grounds<'a>,
    guess: Vec<Guess>,
    there: Standing,
    /// Whether somebody looked what there is.
    there_is_known: bool,
    /// Training sets that are cut: channel, table, first and last day.
    training_sets: BTreeSet<TrainingSet>,
    /// Those that are cut if one model wins and not another.
    possible_sets: BTreeSet<TrainingSet>,
}

/// What a training set is: channel, table, first and last day.
type TrainingSet = (String, String, LogicalDate, LogicalDate);

impl<'a> Listing<'a> {
    fn of(&mut self, index: usize, action: &Action) -> Vec<Effect> {
        let mut effects = match action.kind {
            ActionKind::Sql => self.query(index, action),
            ActionKind::Publish => self.publication(action),
            ActionKind::Train
            | ActionKind::Tune
            | ActionKind::Select
            | ActionKind::Score
            | ActionKind::Load => match self.kind_of(action) {
                Some(StepKind::Train(train)) => self.training(index, action, train),
                Some(StepKind::Tune(train)) => self.search(index, action, train),
                Some(StepKind::Select(select)) => self.selection(index, action, select),
                Some(StepKind::Score(score)) => self.scoring(index, action, score),
                Some(StepKind::Load(load)) => self.load(index, action, load),
                Some(StepKind::Sql(_)) | None => Vec::new(),
            },
        };
        effects.extend(state::of_action(action.kind));
        effects
    }

    fn kind_of(&self, action: &Action) -> Option<&'a StepKind> {
        self.grounds.pipeline.step(action.step.as_str()).map(|step| &step.kind)
    }

    fn aws(&self) -> Option<&AwsTarget> {
        match self.grounds.target {
            Target::Local => None,
            Target::Aws(target) => Some(target),
        }
    }

    /// Whether the step stages a part of the quarantine: where it reads raw input or may refuse rows,
    /// and where one that did not is to be seen no more.
    fn has_quarantine(&self, action: &Action) -> bool {
        let step = self.grounds.pipeline.step(action.step.as_str());
        let may_refuse = step.is_some_and(|step| {
            let pipeline = self.grounds.pipeline;
            !super::demand::source_reads(pipeline, step, action.partition).is_empty()
                || matches!(&step.kind, StepKind::Sql(sql) if sql.refuses_rows())
        });
        let key = format!("{}/{}", action.step, action.partition);
        may_refuse
            || self.there.tables.get(QUARANTINE_TABLE).is_some_and(|visible| visible.contains(&key))
    }
}
