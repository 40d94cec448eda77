//! What tells who somebody is is not served, unless the project says that it is meant.

use super::Subject;
use crate::lineage::{DatasetKind, Exposure, Graph, exposures, graph};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::nearest::nearest;
use crate::pipeline::schema::{Column, PII};
use crate::pipeline::step::{PROJECT_FILE, Step, StepKind};
use crate::run::failure::{Problem, Rule};

/// Columns tagged `pii` that reach served tables, and tags that are taken off columns that are not
/// there.
pub(super) fn check(subject: &Subject<'_>) -> Vec<Problem> {
    let mut problems = untagged_columns(subject);
    let tagged = |column: &Column| column.tags.iter().any(|tag| tag == PII);
    // Most of the work is for nothing where there is no tag.
    if subject.project.sources.values().any(|source| source.columns.iter().any(tagged)) {
        let graph = graph(subject.project, subject.analyses);
        for exposure in exposures(&graph, PII, DatasetKind::Served) {
            if let Some((pipeline, step)) = load_of(subject, &graph, &exposure) {
                problems.push(served(&graph, &exposure, pipeline, step));
            }
        }
    }
    problems
}

/// The step that loads the served table in which values can be read, if it does not say that this is
/// meant.
fn load_of<'a>(
    subject: &Subject<'a>,
    graph: &Graph,
    exposure: &Exposure,
) -> Option<(&'a Pipeline, &'a Step)> {
    let dataset = graph.datasets.get(exposure.column.dataset)?;
    let pipelines = subject.project.pipelines.values();
    let mut steps = pipelines.flat_map(|it| it.steps.iter().map(move |step| (it, step)));
    steps.find(|(_, step)| match &step.kind {
        StepKind::Load(load) => {
            let allowed = load.allow.iter().any(|(tag, _)| tag == PII);
            !allowed && dataset.name == format!("served.{}", load.table)
        }
        StepKind::Sql(_)
        | StepKind::Train(_)
        | StepKind::Tune(_)
        | StepKind::Select(_)
        | StepKind::Score(_) => false,
    })
}

fn served(graph: &Graph, exposure: &Exposure, pipeline: &Pipeline, step: &Step) -> Problem {
    let source = graph.name(exposure.source);
    let served = graph.name(exposure.column);
    // Where it enters is where it can be left out.
    let entry = exposure.path.iter().find_map(|edge| edge.place.as_ref());
    let name = graph.column(exposure.source).map_or("", |column| column.name.as_str());
    let (file, line, column, length) = match entry {
        Some(place) => (place.file.clone(), place.line, place.column, name.chars().count()),
        None => {
            let own = step.mentions.iter().rev().find(|it| it.name == step.name.as_str());
            let (line, column) = own.map_or((1, 1), |own| (own.line, own.column));
            (PROJECT_FILE.to_owned(), line, column, step.name.as_str().len())
        }
    };
    let mut path = source.clone();
    for edge in &exposure.path {
        path.push_str(&format!(" → {}", graph.name(edge.to)));
    }
    let message = format!("`{source}` is tagged `{PII}` and can be read in `{served}`");
    let hint = format!(
        "it goes {path}; leave it out, say `untag` where it is made unreadable, or \
         `allow: {{{PII}: why}}` in step `{}` of `{}`",
        step.name, pipeline.name
    );
    Problem::new(Rule::PiiServed, file, line, column, length, message).with_hint(hint)
}

/// Columns whose tags are taken off and that their table does not have.
fn untagged_columns(subject: &Subject<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, pipeline) in &subject.project.pipelines {
        let Some(analysis) = subject.analyses.get(name) else { continue };
        for step in &pipeline.steps {
            let StepKind::Sql(sql) = &step.kind else { continue };
            let Some(table) = analysis.tables.get(&step.name) else { continue };
            for untag in &sql.untag {
                if table.schema.column_with_name(&untag.column).is_some() {
                    continue;
                }
                let mention = step.mentions.iter().find(|it| it.name == untag.column);
                let (line, column) = mention.map_or((1, 1), |it| (it.line, it.column));
                let length = untag.column.chars().count();
                let message = format!(
                    "`untag` names column `{}`, which `{}` does not make",
                    untag.column, sql.file
                );
                let rule = Rule::MissingColumn;
                let names: Vec<&str> =
                    table.schema.fields().iter().map(|field| field.name().as_str()).collect();
                let hint = match nearest(&untag.column, names.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("it makes `{}`", names.join("`, `")),
                };
                let problem = Problem::new(rule, PROJECT_FILE, line, column, length, message);
                problems.push(problem.with_hint(hint));
            }
        }
    }
    problems
}
