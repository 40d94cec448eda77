//! `recctl preview`

use std::collections::BTreeMap;

use super::query::{Format, print_rows};
use super::{Ended, error, stdout};
use crate::app::{App, Opening};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::pipeline::nearest::nearest;
use crate::pipeline::step::{Read, ReadFrom, StepKind, fallback_table};
use crate::report::number::{count, counted};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::steps::preview::{RealInputs, Seen};

/// Look at rows of a table or a source: what the query, as it is now, makes of a day's real input
///
/// Nothing is published. A table that a query makes is computed anew from what its inputs hold for
/// the day, so that an edit can be looked at before a run; rows that are not kept are shown with
/// their `_fate`. `--published` shows what the last run published instead. A source is shown as its
/// reader parses it, with the rows counted that it cannot.
///
/// What is shown is said on standard error, the rows go to standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl preview clean_events                         the edited query on yesterday's input
  recctl preview session_events --cte gaps -n 5       one of its CTEs
  recctl preview clickstream --date 2026-03-01        raw rows, and how many are malformed
  recctl preview recs --published --format csv        what was published")]
pub struct Args {
    /// The table or source
    name: String,
    /// The day that the data is about [default: yesterday, UTC]
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<LogicalDate>,
    /// Rows at most
    #[arg(long, short = 'n', default_value_t = 20)]
    limit: usize,
    /// The rows of this CTE of the table's query
    #[arg(long, value_name = "NAME", conflicts_with = "published")]
    cte: Option<String>,
    /// What the last run published, instead of what the query makes now
    #[arg(long)]
    published: bool,
    /// The pipeline, where several have a table of that name
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// How to print
    #[arg(long, default_value = "human")]
    format: Format,
    /// Set a variable of pipelines.yaml; may be given several times
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = super::plan::parse_var)]
    vars: Vec<(String, String)>,
}

/// What a name stands for.
enum Subject<'a> {
    Source(&'a Pipeline, Name),
    Query(&'a Pipeline, &'a crate::pipeline::step::SqlStep),
    Published(&'a Pipeline, Name),
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let given: BTreeMap<String, String> = args.vars.iter().cloned().collect();
    let report = app.project_checked(&given).await?;
    let subject = find(&args, &report.project.pipelines)?;
    let target = app.target(Opening::Existing).await?;
    let services = &target.services;
    let date = super::day(args.date);
    let seen = match subject {
        Subject::Source(pipeline, name) => {
            let read = Read { name, from: ReadFrom::Source, days: 1 };
            let inputs =
                RealInputs::open(services, pipeline, std::slice::from_ref(&read), date).await?;
            let text = format!("SELECT * FROM {} ORDER BY _row", read.name);
            let mut seen = inputs.sql(services, &text, args.limit).await?;
            seen.malformed = Some(inputs.count_malformed(services).await?);
            tell(
                &format!("raw rows of source `{}` for {date}, as they are parsed", read.name),
                &seen,
            );
            seen
        }
        Subject::Query(pipeline, sql) => {
            let inputs = RealInputs::open(services, pipeline, &sql.reads, date).await?;
            let cte = args.cte.as_deref();
            let seen = inputs.query(services, pipeline, sql, date, cte, args.limit).await?;
            let of = cte.map(|cte| format!("CTE `{cte}` of ")).unwrap_or_default();
            let what = format!(
                "{of}`{}` as it is now, over the input of {date}; nothing is published",
                sql.file
            );
            tell(&what, &seen);
            seen
        }
        Subject::Published(pipeline, name) => {
            let read = Read { name, from: ReadFrom::Table, days: 1 };
            let inputs =
                RealInputs::open(services, pipeline, std::slice::from_ref(&read), date).await?;
            let text = format!("SELECT * FROM {}", read.name);
            let seen = inputs.sql(services, &text, args.limit).await?;
            tell(&format!("published rows of `{}` for {date}", read.name), &seen);
            seen
        }
    };
    print_rows(&seen.schema, &seen.batches, args.format, stdout::width())?;
    Ok(0)
}

fn find<'a>(args: &Args, pipelines: &'a BTreeMap<Name, Pipeline>) -> Outcome<Subject<'a>> {
    let name = args.name.as_str();
    let usage = |message: String| Failure::new(FailureKind::Usage, message);
    let wanted =
        |pipeline: &&Pipeline| args.pipeline.as_ref().is_none_or(|it| it == pipeline.name.as_str());
    let chosen: Vec<&Pipeline> = pipelines.values().filter(wanted).collect();
    if chosen.is_empty() {
        let given = args.pipeline.clone().unwrap_or_default();
        return Err(usage(format!("unknown pipeline `{given}`")));
    }
    let makes = |pipeline: &&&Pipeline| pipeline.steps.iter().any(|step| makes(step, name));
    let with: Vec<&&Pipeline> = chosen.iter().filter(makes).collect();
    let source = chosen.iter().find_map(|it| it.sources.get_key_value(name).map(|s| (*it, s.0)));
    match (with.as_slice(), source) {
        ([_, second, ..], _) => {
            let message = format!("several pipelines have a table `{name}`");
            Err(usage(message).with_hint(format!("say which, with --pipeline {}", second.name)))
        }
        ([pipeline], _) => match pipeline.step(name).map(|step| &step.kind) {
            Some(StepKind::Sql(sql)) if !args.published => Ok(Subject::Query(pipeline, sql)),
            _ if args.cte.is_some() => {
                Err(usage(format!("`{name}` is not made by a query, so it has no CTE")))
            }
            _ => Name::new(name)
                .map(|name| Subject::Published(pipeline, name))
                .map_err(|error| usage(error.to_string())),
        },
        ([], Some((pipeline, source))) if args.cte.is_none() && !args.published => {
            Ok(Subject::Source(pipeline, source.clone()))
        }
        ([], Some(_)) => {
            Err(usage(format!("`{name}` is a source: it has no CTE and is not published")))
        }
        ([], None) => Err(unknown(name, &chosen)),
    }
}

/// Whether a step makes the table.
fn makes(step: &crate::pipeline::step::Step, name: &str) -> bool {
    match &step.kind {
        StepKind::Sql(_) => step.name.as_str() == name,
        StepKind::Score(score) => {
            step.name.as_str() == name
                || (score.fallback.is_some() && fallback_table(step.name.as_str()) == name)
        }
        StepKind::Train(_) | StepKind::Tune(_) | StepKind::Select(_) | StepKind::Load(_) => false,
    }
}

fn unknown(name: &str, pipelines: &[&Pipeline]) -> Failure {
    let tables =
        pipelines.iter().flat_map(|it| &it.steps).filter(|step| makes(step, step.name.as_str()));
    let known: Vec<&str> = tables
        .map(|step| step.name.as_str())
        .chain(pipelines.iter().flat_map(|it| it.sources.keys().map(Name::as_str)))
        .collect();
    let failure = Failure::new(FailureKind::Usage, format!("unknown table or source `{name}`"));
    failure.with_hint(match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the project has `{}`", known.join("`, `")),
    })
}

/// Says what is shown.
fn tell(what: &str, seen: &Seen) {
    let rows: u64 = seen.batches.iter().map(|batch| batch.num_rows() as u64).sum();
    error::eprint_line(&format!("{what}: {}", counted(rows, "row")));
    let Some(malformed) = &seen.malformed else { return };
    if malformed.rows == 0 {
        error::eprint_line(&format!(
            "of {} read, none is malformed",
            counted(malformed.read, "row")
        ));
        return;
    }
    let rows = count(malformed.rows);
    error::eprint_line(&format!("of {} read, {rows} malformed:", counted(malformed.read, "row")));
    for example in &malformed.examples {
        error::eprint_line(&format!("  {}", crate::report::table::clean(example)));
    }
}
