//! Pipelines as meant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::problems::Problems;
use super::super::project::{PipelineSpec, StepSpec};
use super::super::yaml::Spanned;
use super::checks::{columns_of, written};
use super::retries::compile_retries;
use super::schedule::{compile_deadline, compile_schedule};
use super::{Inputs, valid_name};
use crate::pipeline::graph::{Cycle, Pipeline, Split, in_order};
use crate::pipeline::interval::parse_days;
use crate::pipeline::name::Name;
use crate::pipeline::query::Mention;
use crate::pipeline::source::Source;
use crate::pipeline::step::{PROJECT_FILE, QUARANTINE_TABLE, ReadFrom, Step, StepKind};
use crate::pipeline::variable::Variables;
use crate::run::failure::Rule;

/// Days that a run may look back at: each is listed by every run.
const MOST_LOOKBACK: u32 = 92;
/// What `split` is where a pipeline does not say.
const DEFAULT_SPLIT: Split = Split { window: 28, validation: 4, test: 4 };

/// Compiles the steps of one pipeline.
pub(super) struct Compiler<'a> {
    pub inputs: &'a Inputs<'a>,
    pub problems: &'a mut Problems,
    /// Sources without errors.
    pub sources: &'a BTreeMap<Name, Source>,
    /// The names of all sources that are written.
    pub declared: &'a BTreeSet<String>,
    /// Whether those are all: not if the mapping of sources could not be read.
    pub all_declared: bool,
    pub variables: &'a Variables,
    /// All steps that are written, by name.
    pub steps: BTreeMap<&'a str, Known<'a>>,
}

/// A step that is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    /// What it says, if it could be read.
    pub spec: Option<&'a StepSpec>,
    /// Whether all of it could be read.
    pub whole: bool,
}

impl Compiler<'_> {
    pub fn pipeline(&mut self, name: Name, spec: &PipelineSpec) -> Pipeline {
        let split = self.split(spec);
        let retries = compile_retries(spec, self.problems);
        let lookback = self.lookback(spec);
        let schedule = compile_schedule(spec, self.problems);
        let deadline = compile_deadline(spec, self.problems);
        let mut steps = Vec::new();
        for (name, step) in &spec.steps.0 {
            let told = self.problems.count();
            let whole = self.steps.get(name.value.as_str()).is_none_or(|known| known.whole);
            let valid = valid_name(name, self.problems);
            let taken = self.declared.contains(&name.value) || name.value == QUARANTINE_TABLE;
            if taken {
                let message =
                    format!("`{}` is the name of a source or of the quarantine too", name.value);
                let hint = Some("rename the step".to_owned());
                self.problems.at(Rule::NameTaken, PROJECT_FILE, name, message, hint);
            }
            let after =
                step.value.after.iter().filter_map(|after| self.step_ref(after, &[])).collect();
            let kind = self.kind(name, step);
            let tags = self.tags(&step.value);
            if !whole {
                self.problems.keep_since(told, |problem| !misses_something(problem.rule));
            } else if let (Some(valid), Some(kind), false) = (valid, kind, taken) {
                let mentions = mentions(name, &step.value);
                steps.push(Step { name: valid, kind, after, tags, mentions });
            }
        }
        let steps = self.ordered(steps, spec);
        self.check_partitions(&steps, spec);
        let (sources, variables) = (self.sources.clone(), self.variables.clone());
        Pipeline {
            name,
            steps,
            unselected: Vec::new(),
            foreseen: BTreeSet::new(),
            sources,
            variables,
            split,
            retries,
            lookback,
            schedule,
            deadline,
            definition: Arc::default(),
        }
    }

    /// Puts steps into order. Those that stand in a circle are left out, each circle told once.
    fn ordered(&mut self, mut steps: Vec<Step>, spec: &PipelineSpec) -> Vec<Step> {
        loop {
            let Cycle(path) = match in_order(steps.clone()) {
                Ok(ordered) => return ordered,
                Err(cycle) => cycle,
            };
            let told: Vec<String> = path.iter().map(|name| format!("`{name}`")).collect();
            let first = path.first().map(Name::as_str).unwrap_or_default();
            if let Some((name, _)) = spec.steps.0.iter().find(|(name, _)| name.value == first) {
                let message = format!("steps need each other in a circle: {}", told.join(" → "));
                let hint = Some("each step may only read what is made before it".to_owned());
                self.problems.at(Rule::Cycle, PROJECT_FILE, name, message, hint);
            }
            steps.retain(|step| !path.contains(&step.name));
        }
    }

    /// Words that selections can be written with.
    fn tags(&mut self, step: &StepSpec) -> Vec<String> {
        for tag in &step.tags {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c);
            if tag.value.is_empty() || !tag.value.chars().all(plain) {
                let message = format!("`{}` is not a valid tag", tag.value);
                let hint = "expected lower-case letters, digits, `_`, `-` or `.`".to_owned();
                self.problems.at(Rule::InvalidValue, PROJECT_FILE, tag, message, Some(hint));
            }
        }
        step.tags.iter().map(|tag| tag.value.clone()).collect()
    }

    fn split(&mut self, spec: &PipelineSpec) -> Split {
        let Some(split) = &spec.split else { return DEFAULT_SPLIT };
        let days = [&split.window, &split.validation, &split.test].map(|it| self.days(it));
        let [Some(window), Some(validation), Some(test)] = days else { return DEFAULT_SPLIT };
        if validation.saturating_add(test) >= window {
            self.problems.at(Rule::InvalidValue,
            PROJECT_FILE,
                &split.window,
                format!("a window of {window} days leaves none for training beside {validation} of validation and {test} of test"),
                Some("make the window longer".to_owned()),
            );
        }
        Split { window, validation, test }
    }

    fn lookback(&mut self, spec: &PipelineSpec) -> u32 {
        let Some(text) = &spec.lookback else { return 0 };
        let days = self.days(text).unwrap_or_default();
        if days > MOST_LOOKBACK {
            let message = format!("a run would look at {days} days each time");
            let hint =
                format!("expected at most {MOST_LOOKBACK}d: `recctl backfill` looks at older days");
            self.problems.at(Rule::InvalidValue, PROJECT_FILE, text, message, Some(hint));
        }
        days
    }

    pub fn days(&mut self, text: &Spanned<String>) -> Option<u32> {
        let days = parse_days(&text.value);
        if days.is_none() {
            let message = format!("`{}` is not a number of days", text.value);
            self.problems.at(
                Rule::InvalidValue,
                PROJECT_FILE,
                text,
                message,
                Some("expected `28d` or `4w`".to_owned()),
            );
        }
        days
    }

    /// A table that is replaced whole cannot be made of one that grows by the day: which of its
    /// days would it be made of?
    fn check_partitions(&mut self, steps: &[Step], spec: &PipelineSpec) {
        for step in steps {
            let StepKind::Sql(sql) = &step.kind else { continue };
            if sql.partitioned {
                continue;
            }
            for read in sql.reads.iter().chain(&sql.referenced) {
                let by_day = match read.from {
                    ReadFrom::Source => {
                        self.sources.get(&read.name).is_some_and(|s| s.path.is_dated())
                    }
                    ReadFrom::Table => steps.iter().any(|other| {
                        other.name == read.name
                            && matches!(&other.kind, StepKind::Sql(sql) if sql.partitioned)
                    }),
                };
                let written =
                    spec.steps.0.iter().find(|(name, _)| name.value == step.name.as_str());
                if let (true, Some((name, _))) = (by_day, written) {
                    self.problems.at(
                        Rule::Partitioning,
                        PROJECT_FILE,
                        name,
                        format!(
                            "`{}` is not partitioned, but reads `{}`, which is by day",
                            step.name, read.name
                        ),
                        Some("add `partition_by: [dt]`".to_owned()),
                    );
                }
            }
        }
    }
}

/// Whether an offence may follow from a field that is lost.
fn misses_something(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::StepKind
            | Rule::MisplacedField
            | Rule::MissingField
            | Rule::Partitioning
            | Rule::Channel
            | Rule::Check
    )
}

/// Where a step names columns and conditions, which only the types of its query can judge; last the
/// step's own name. In the order in which they are looked up.
fn mentions(name: &Spanned<String>, step: &StepSpec) -> Vec<Mention> {
    let mut words: Vec<&Spanned<String>> = Vec::new();
    words.extend(step.unique_key.iter().flat_map(|key| &key.value));
    if let Some(layout) = &step.warehouse {
        words.extend(&layout.value.dist_key);
        words.extend(&layout.value.sort_key);
        words.extend(layout.value.merge_on.iter().flat_map(|key| &key.value));
    }
    for check in written(step) {
        words.extend(columns_of(check));
        words.extend(&check.expression);
    }
    if let Some(names) = step.load.as_ref().and_then(|load| load.value.names.as_ref()) {
        words.extend([&names.key, &names.column]);
    }
    let untagged = step.untag.iter().flat_map(|untag| &untag.value.0);
    words.extend(untagged.map(|(column, _)| column));
    words.extend(step.load.iter().flat_map(|load| &load.value.allow.0).map(|(tag, _)| tag));
    words.push(name);
    let number = |value: u64| usize::try_from(value).unwrap_or(1).max(1);
    let mention = |word: &Spanned<String>| Mention {
        name: word.value.clone(),
        line: number(word.referenced.line()),
        column: number(word.referenced.column()),
    };
    words.into_iter().map(mention).collect()
}
