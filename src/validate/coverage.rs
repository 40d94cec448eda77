//! What was judged, and what cannot be without a target.

use std::collections::BTreeMap;

use super::{Coverage, Subject};
use crate::pipeline::job::Job;
use crate::pipeline::name::Name;
use crate::pipeline::step::StepKind;
use crate::pipeline::target::Target;
use crate::query::analysis::Unchecked;

/// Counts queries, of which `written` are written by pipeline, and lists what was not judged, with
/// what groups of rules say of that.
pub(super) fn of(
    subject: &Subject<'_>,
    written: &BTreeMap<Name, usize>,
    blind: impl Iterator<Item = Unchecked>,
) -> Coverage {
    let project = subject.project;
    let mut coverage = Coverage::default();
    for name in project.pipelines.keys() {
        coverage.statements += written.get(name).copied().unwrap_or_default();
    }
    let mut unchecked = Vec::new();
    for analysis in subject.analyses.values() {
        coverage.typed += analysis.tables.len();
        unchecked.extend(analysis.unchecked.iter().cloned());
    }
    unchecked.sort();
    unchecked.dedup();
    let mut add = |it: Unchecked| {
        if !unchecked.contains(&it) {
            unchecked.push(it);
        }
    };
    let mut say = |what: String, why: &str| add(Unchecked { what, why: why.to_owned() });
    for job in jobs(subject) {
        if let Some(image) = &job.resources.image {
            let what = format!("job `{}`", job.name);
            say(
                what,
                &format!("what the image `{image}` makes of its channels is known to it only"),
            );
        }
    }
    if !project.sources.is_empty() {
        let why = "whether its files have the declared columns is seen when they are read";
        say("raw input".to_owned(), why);
    }
    if coverage.statements > 0 {
        let why = "whether a query still fits its published table is seen by a run, which has the catalog";
        say("published tables".to_owned(), why);
    }
    for target in project.targets.values() {
        if let Target::Aws(target) = target {
            let why =
                format!("nothing is asked of it; `recctl doctor --target {}` looks", target.name);
            say(format!("target `{}`", target.name), &why);
        }
    }
    blind.for_each(add);
    coverage.unchecked = unchecked;
    coverage
}

/// All jobs of the pipelines.
fn jobs<'a>(subject: &Subject<'a>) -> impl Iterator<Item = &'a Job> {
    let steps = subject.project.pipelines.values().flat_map(|pipeline| &pipeline.steps);
    steps.filter_map(|step| match &step.kind {
        StepKind::Train(train) | StepKind::Tune(train) => Some(&train.job),
        StepKind::Sql(_) | StepKind::Select(_) | StepKind::Score(_) | StepKind::Load(_) => None,
    })
}
