//! A pipeline: steps in an order in which every step comes after what it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::definition::Definition;
use super::interval::Partition;
use super::name::Name;
use super::retries::RetryPolicy;
use super::schedule::{Deadline, Schedule};
use super::source::Source;
use super::step::{Step, StepKind};
use super::variable::Variables;

/// A valid pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// Its name.
    pub name: Name,
    /// Its steps; each comes after all that it needs.
    pub steps: Vec<Step>,
    /// Steps that a selection left out: they are not carried out, and what they have published is
    /// read as it is. In the order of `steps`.
    pub unselected: Vec<Step>,
    /// Partitions of tables that a run makes besides what its own steps need: another run will read
    /// them, and the tables of a partition become visible together.
    pub foreseen: BTreeSet<(Name, Partition)>,
    /// The sources that its steps read, by name.
    pub sources: BTreeMap<Name, Source>,
    /// Values of the declared variables.
    pub variables: Variables,
    /// What training reads, and how it is split by time.
    pub split: Split,
    /// What it was compiled from.
    pub definition: Arc<Definition>,
    /// When failed steps are tried again.
    pub retries: RetryPolicy,
    /// Days before the logical date whose tables a run looks at again, for files that came late.
    pub lookback: u32,
    /// When it runs, if that is said.
    pub schedule: Option<Schedule>,
    /// By when a run has to be done.
    pub deadline: Option<Deadline>,
}

/// The days that training reads, split by time, oldest first: training, validation, test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Days in all, ending with the logical date.
    pub window: u32,
    /// Days before the test on which tuning compares trials.
    pub validation: u32,
    /// Last days, on which models are compared.
    pub test: u32,
}

impl Pipeline {
    /// The step of that name, selected or not.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.all_steps().find(|step| step.name.as_str() == name)
    }

    /// The steps that are selected, then those that are not.
    pub fn all_steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().chain(&self.unselected)
    }

    /// Whether a step is left out: what it has published is read as it is.
    pub fn is_unselected(&self, name: &Name) -> bool {
        self.unselected.iter().any(|step| step.name == *name)
    }

    /// The same pipeline with all of its steps selected.
    #[must_use]
    pub fn whole(mut self) -> Self {
        let steps: Vec<Step> = self.steps.drain(..).chain(self.unselected.drain(..)).collect();
        // Steps of a pipeline stand in no circle, selected or not.
        self.steps = in_order(steps.clone()).unwrap_or(steps);
        self
    }

    /// The same pipeline, of which only these steps are carried out.
    #[must_use]
    pub fn restricted_to(mut self, names: &BTreeSet<Name>) -> Self {
        let (steps, unselected) =
            self.steps.into_iter().partition(|step| names.contains(&step.name));
        self.steps = steps;
        self.unselected.extend::<Vec<Step>>(unselected);
        self
    }
}

impl Step {
    /// Names of the steps that this one needs done.
    pub fn needs(&self) -> Vec<&Name> {
        self.after.iter().chain(self.reads_from()).collect()
    }

    /// Names of the steps whose results this one uses.
    pub fn reads_from(&self) -> Vec<&Name> {
        let mut needs: Vec<&Name> = Vec::new();
        match &self.kind {
            StepKind::Sql(sql) => {
                needs.extend(sql.table_reads().map(|read| &read.name));
            }
            StepKind::Train(train) | StepKind::Tune(train) => {
                needs.extend(train.inputs.iter().map(|input| &input.table));
            }
            StepKind::Select(select) => {
                needs.extend(select.candidates.iter().chain(&select.baselines));
            }
            StepKind::Score(score) => {
                needs.push(&score.model);
                needs.extend(&score.fallback);
            }
            StepKind::Load(load) => {
                needs.push(&load.from);
                needs.extend(load.names.iter().map(|names| &names.table));
            }
        }
        needs
    }
}

/// A circle of steps, each of which needs the next; the first comes again at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle(pub Vec<Name>);

/// Puts steps into an order in which each comes after what it needs, keeping the written order
/// where it may. Names that are not among the steps are passed over.
pub fn in_order(steps: Vec<Step>) -> Result<Vec<Step>, Cycle> {
    let needs: BTreeMap<Name, Vec<Name>> = steps
        .iter()
        .map(|step| (step.name.clone(), step.needs().into_iter().cloned().collect()))
        .collect();
    let mut done: BTreeSet<Name> = BTreeSet::new();
    let mut waiting = steps;
    let mut ordered = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|step| {
            needs[&step.name].iter().all(|need| done.contains(need) || !needs.contains_key(need))
        });
        match ready {
            Some(index) => {
                let step = waiting.remove(index);
                done.insert(step.name.clone());
                ordered.push(step);
            }
            None => return Err(find_cycle(&waiting[0].name, &needs, &done)),
        }
    }
    Ok(ordered)
}

/// Follows unfinished needs from `start` until a name comes again; one must, since every step that
/// is left has an unfinished need.
fn find_cycle(start: &Name, needs: &BTreeMap<Name, Vec<Name>>, done: &BTreeSet<Name>) -> Cycle {
    let mut path = vec![start.clone()];
    loop {
        let last = &path[path.len() - 1];
        let next = needs[last]
            .iter()
            .find(|need| needs.contains_key(*need) && !done.contains(*need))
            .unwrap_or(start)
            .clone();
        if let Some(first) = path.iter().position(|name| *name == next) {
            path.drain(..first);
            path.push(next);
            return Cycle(path);
        }
        path.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::super::step::LoadStep;
    use super::*;

    fn step(name: &str, after: &[&str]) -> Step {
        Step {
            name: Name::new(name).unwrap(),
            kind: StepKind::Load(LoadStep {
                from: Name::new("outside").unwrap(),
                table: Name::new("t").unwrap(),
                keep: 1,
                names: None,
                allow: Vec::new(),
            }),
            mentions: Vec::new(),
            after: after.iter().map(|name| Name::new(*name).unwrap()).collect(),
            tags: Vec::new(),
        }
    }

    #[test]
    fn orders_and_keeps_the_written_order() {
        let steps = vec![step("c", &["a"]), step("b", &[]), step("a", &[])];
        let names: Vec<String> =
            in_order(steps).unwrap().iter().map(|step| step.name.to_string()).collect();
        assert_eq!(names, ["b", "a", "c"]);
    }

    #[test]
    fn prints_the_circle_alone() {
        let steps =
            vec![step("x", &["a"]), step("a", &["b"]), step("b", &["c"]), step("c", &["a"])];
        let Cycle(path) = in_order(steps).unwrap_err();
        let path: Vec<&str> = path.iter().map(Name::as_str).collect();
        assert_eq!(path, ["a", "b", "c", "a"]);
    }
}
