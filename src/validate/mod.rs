//! Judges a whole project: its files, its queries, and what its parts mean together. Pure: no
//! target is opened, no data is read, no clock asked.
//!
//! A group of rules is a file here, with one function from [`Subject`] to problems.

mod at;
mod coverage;
mod items;
mod jobs;
mod leakage;
mod metrics;
mod privacy;
mod tables;
mod targets;

use std::collections::BTreeMap;

use crate::pipeline::graph::Pipeline;
use crate::pipeline::name::Name;
use crate::pipeline::step::StepKind;
use crate::query::analysis::{Analysis, Unchecked, analyse};
use crate::run::failure::Problem;
use crate::spec::compile::{Compiled, Project};
use crate::spec::places::Places;

/// What rules judge.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What could be made of the files.
    pub project: &'a Project,
    /// What is known of each pipeline's queries.
    pub analyses: &'a BTreeMap<Name, Analysis>,
    /// Where values stand in the YAML files, by file.
    pub places: &'a BTreeMap<String, Places>,
}

/// Rules by group; each returns its problems in any order.
const GROUPS: &[fn(&Subject<'_>) -> Vec<Problem>] = &[
    targets::check,
    jobs::check,
    metrics::check,
    tables::check,
    items::check,
    leakage::check,
    privacy::check,
];

/// What the rules of a group could not judge.
const BLIND: &[fn(&Subject<'_>) -> Vec<Unchecked>] = &[metrics::unchecked, leakage::unchecked];

/// A project that was judged.
#[derive(Debug, Clone)]
pub struct Report {
    /// What could be made of the files; valid only without errors.
    pub project: Project,
    /// What is known of each pipeline's queries.
    pub analyses: BTreeMap<Name, Analysis>,
    /// All that is wrong, by file and place.
    pub problems: Vec<Problem>,
    /// What was judged and what was not.
    pub coverage: Coverage,
}

/// What was judged and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Queries in all.
    pub statements: usize,
    /// Queries of which all columns and types are known.
    pub typed: usize,
    /// What was not judged, and why.
    pub unchecked: Vec<Unchecked>,
}

impl Report {
    /// Problems that stop a run.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.is_error())
    }
}

/// Judges a project.
pub async fn validate(compiled: Compiled) -> Report {
    let Compiled { mut project, mut problems, queries, places, .. } = compiled;
    let mut analyses = BTreeMap::new();
    for (name, pipeline) in &project.pipelines {
        analyses.insert(name.clone(), analyse(pipeline).await);
    }
    for analysis in analyses.values() {
        problems.extend(analysis.problems.iter().cloned());
    }
    for (name, pipeline) in &mut project.pipelines {
        if let Some(analysis) = analyses.get(name) {
            keep_meanings(pipeline, analysis);
        }
    }
    let subject = Subject { project: &project, analyses: &analyses, places: &places };
    for check in GROUPS {
        problems.extend(check(&subject));
    }
    Problem::sort(&mut problems);
    let blind = BLIND.iter().flat_map(|unchecked| unchecked(&subject));
    let coverage = coverage::of(&subject, &queries, blind);
    Report { project, analyses, problems, coverage }
}

/// Tells each step what its query means, now that it could be typed.
fn keep_meanings(pipeline: &mut Pipeline, analysis: &Analysis) {
    for step in &mut pipeline.steps {
        if let StepKind::Sql(sql) = &mut step.kind {
            sql.meaning = analysis.tables.get(&step.name).and_then(|table| table.meaning.clone());
        }
    }
}
