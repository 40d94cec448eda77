//! `recctl test new`

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Ended;
use crate::app::{App, Opening, typed};
use crate::lineage::{Graph, graph};
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::pipeline::nearest::nearest;
use crate::pipeline::schema::PII;
use crate::pipeline::step::{Read, StepKind};
use crate::run::failure::{Failure, FailureKind, Outcome, io_failure};
use crate::run::testing::Verdict;
use crate::spec::compile::compile_tests;
use crate::testing::draft::{Draft, DraftInput};
use crate::testing::slice::{Cut, cut};
use crate::testing::{Case, Typed, rows, run_all};
use crate::validate::Report;

/// Write a test from a slice of real data: some rows of a table, and of its inputs the rows that
/// share their keys
///
/// What is expected is what the query makes of the slice: read it before you keep it. Columns with
/// the tag `pii`, and those whose values are made of them, are masked: the same value becomes the
/// same other value of the same form, so that joins still find each other.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl test new clean_events --date 2026-03-01 --rows 5
  recctl test new user_profiles --rows 2 --mask user_id
  recctl test new interactions --out -        print it instead of writing a file")]
pub struct Args {
    /// The table
    table: String,
    /// The day that the data is about [default: yesterday, UTC]
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<LogicalDate>,
    /// Rows of the table to begin with
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rows: u16,
    /// What the choice of rows and the masks depend on
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Mask this column too, wherever it is; may be given several times
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    mask: Vec<String>,
    /// The file to write, relative to the project; `-` prints [default: <tests>/<table>_<date>.yaml]
    #[arg(long, value_name = "FILE")]
    out: Option<String>,
    /// The pipeline, where several have a table of that name
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let report = app.project_checked(&BTreeMap::new()).await?;
    let pipelines = typed(&report);
    let (typed, several) = find(&args, &pipelines)?;
    let step = typed.pipeline.step(&args.table);
    let Some((table, sql)) = step.and_then(|step| Some((&step.name, step.sql()?))) else {
        let message = format!("`{}` is not made by a query", args.table);
        return Err(Failure::new(FailureKind::Usage, message));
    };
    let target = app.target(Opening::Existing).await?;
    let services = &target.services;
    let date = super::day(args.date);
    let path = match args.out.as_deref() {
        Some("-") => None,
        Some(path) => Some(path.to_owned()),
        None => Some(format!("{}/{table}_{date}.yaml", report.project.tests)),
    };
    if let Some(path) = &path
        && app.settings.project.join(path).exists()
    {
        let message = format!("`{path}` is already there, and is not overwritten");
        let hint = "name another file with --out, or print the test with --out -";
        return Err(Failure::new(FailureKind::Usage, message).with_hint(hint));
    }
    let seed = args.seed;
    let slices =
        cut(services, typed, sql, Cut { date, rows: usize::from(args.rows), seed }).await?;
    let lineage = graph(&report.project, &report.analyses);
    let inputs: Vec<DraftInput> = slices
        .into_iter()
        .map(|(read, rows)| DraftInput {
            masked: hidden(&lineage, &typed.pipeline.name, &read, &args.mask),
            name: read.name.to_string(),
            rows,
        })
        .collect();
    let draft = Draft {
        name: format!("a slice of {date} with seed {seed}"),
        pipeline: several.then_some(&typed.pipeline.name),
        table,
        date,
        variables: typed
            .pipeline
            .variables
            .iter()
            .filter(|(name, _)| sql.parameters.contains(name))
            .map(|(name, value)| (name.as_str(), value))
            .collect(),
        inputs: &inputs,
        seed,
    };
    let text = written(app, &report, typed, &draft, path.as_deref().unwrap_or("-")).await?;
    match path {
        None => super::print(&text),
        Some(path) => {
            let file = app.settings.project.join(&path);
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder).map_err(|e| io_failure("create", folder, &e))?;
            }
            std::fs::write(&file, &text).map_err(|error| io_failure("write", &file, &error))?;
            super::print(&format!("wrote `{path}`; read what it expects before you keep it"));
        }
    }
    Ok(0)
}

/// The text of the test with what the query makes of its inputs, which passes.
async fn written(
    app: &App,
    report: &Report,
    typed: &Arc<Typed>,
    draft: &Draft<'_>,
    path: &str,
) -> Outcome<String> {
    let engine = app.memory_engine()?;
    let failed = |what: &dyn std::fmt::Display| {
        Failure::new(FailureKind::Internal, format!("cannot write the test: {what}"))
    };
    let case = |text: &str| {
        let none = |_: &str| Err(std::io::ErrorKind::NotFound.into());
        let (mut tests, problems) = compile_tests(path, text, &report.project, &none);
        match (tests.pop(), problems.first()) {
            (Some(test), None) => Ok(Case { test, typed: Arc::clone(typed) }),
            (_, problem) => Err(failed(&problem.map_or("no test", |it| it.message.as_str()))),
        }
    };
    let begun = draft.text(None).map_err(|error| failed(&error))?;
    let made = rows(&engine, case(&begun)?).await?;
    let text = draft.text(Some(&made)).map_err(|error| failed(&error))?;
    let results = run_all(&engine, vec![case(&text)?], true).await?;
    match results.first().map(|result| &result.verdict) {
        Some(Verdict::Passed) => Ok(text),
        verdict => {
            let message = format!("a run would not take the slice's rows: {verdict:?}");
            Err(Failure::new(FailureKind::Step, message).with_hint("try another --seed"))
        }
    }
}

/// The pipeline of the table, and whether others have one of that name too.
fn find<'a>(
    args: &Args,
    pipelines: &'a BTreeMap<Name, Arc<Typed>>,
) -> Outcome<(&'a Arc<Typed>, bool)> {
    let has = |typed: &&Arc<Typed>| typed.pipeline.step(&args.table).is_some();
    let having: Vec<&Arc<Typed>> = pipelines.values().filter(has).collect();
    let wanted = |typed: &&&Arc<Typed>| {
        args.pipeline.as_ref().is_none_or(|name| *name == typed.pipeline.name.as_str())
    };
    let mut chosen = having.iter().filter(wanted);
    match (chosen.next(), chosen.next()) {
        (Some(typed), None) => Ok((typed, having.len() > 1)),
        (Some(_), Some(other)) => {
            let message = format!("several pipelines have a table `{}`", args.table);
            let hint = format!("say which, with --pipeline {}", other.pipeline.name);
            Err(Failure::new(FailureKind::Usage, message).with_hint(hint))
        }
        (None, _) => {
            let steps = pipelines.values().flat_map(|typed| &typed.pipeline.steps);
            let tables = steps.filter(|step| matches!(step.kind, StepKind::Sql(_)));
            let known: Vec<&str> = tables.map(|step| step.name.as_str()).collect();
            let failure =
                Failure::new(FailureKind::Usage, format!("unknown table `{}`", args.table));
            Err(failure.with_hint(match nearest(&args.table, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("expected one of `{}`", known.join("`, `")),
            }))
        }
    }
}

/// The columns of an input that are masked: those that are tagged, by themselves or for what they are
/// made from, and those that were asked for.
fn hidden(graph: &Graph, pipeline: &Name, read: &Read, asked: &[String]) -> BTreeSet<String> {
    let dataset = graph.of_table(pipeline.as_str(), read.name.as_str());
    let columns = dataset.iter().flat_map(|dataset| &dataset.columns);
    columns
        .filter(|column| asked.contains(&column.name) || column.tags.iter().any(|tag| tag == PII))
        .map(|column| column.name.clone())
        .collect()
}
