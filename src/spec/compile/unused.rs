//! Files below `sql/` and `jobs/` that no step uses.

use std::collections::BTreeSet;

use super::super::job;
use super::super::problems::Problems;
use super::super::project::{ProjectSpec, StepSpec};
use super::sql::in_file;
use super::{Inputs, entries};
use crate::run::failure::{Problem, Rule, Severity};

/// Tells of each such file, and of what is wrong in it. None of that can harm a run, so all of it
/// are warnings.
pub(super) fn check(spec: &ProjectSpec, inputs: &Inputs<'_>, problems: &mut Problems) {
    let steps = entries(&spec.pipelines).iter().flat_map(|(_, pipeline)| &pipeline.steps.0);
    let used: BTreeSet<&str> = steps.flat_map(|(_, step)| files(&step.value)).collect();
    let is_unused = |path: &String| !used.contains(path.trim_start_matches("./"));
    for path in (inputs.list)("sql").into_iter().filter(is_unused) {
        if path.ends_with(".sql") {
            let mut found = Problems::default();
            if let Ok(text) = (inputs.read)(&path)
                && let Err(problem) = (inputs.analyze)(&text)
            {
                found.push(in_file(&path, problem));
            }
            tell(&path, found, problems);
        }
    }
    for path in (inputs.list)("jobs").into_iter().filter(is_unused) {
        if path.ends_with(".yaml") || path.ends_with(".yml") {
            let mut found = Problems::default();
            if let Ok(text) = (inputs.read)(&path) {
                let _ = job::compile(&path, &text, &mut found);
            }
            tell(&path, found, problems);
        }
    }
}

/// The files that a step names.
fn files(step: &StepSpec) -> impl Iterator<Item = &str> {
    let named = [&step.sql, &step.train, &step.tune].into_iter().flatten();
    named.map(|file| file.value.trim_start_matches("./"))
}

fn tell(path: &str, found: Problems, problems: &mut Problems) {
    let message = format!("no step uses `{path}`");
    let unused = Problem::new(Rule::UnusedFile, path, 1, 1, 1, message);
    problems.push(unused.with_hint("name it in a step, or remove it".to_owned()));
    for mut problem in found.into_sorted() {
        problem.severity = Severity::Warning;
        problems.push(problem);
    }
}
