//! `recctl diff`

use std::path::PathBuf;
use std::sync::Arc;

use super::format::Format;
use super::{Ended, error, stdout};
use crate::app::{App, Opening};
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::step::{PARTITION_COLUMN, StepKind};
use crate::ports::{PartitionEntry, TableEntry};
use crate::query::diff::{Difference, Options, SIDES, compare};
use crate::query::lake::{LAKE_URL, OTHER_LAKE_URL};
use crate::query::published::PublishedTable;
use crate::query::session::failure_of;
use crate::query::{catalog_schema, scan};
use crate::report::diff::{Subject, lines, object};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::steps::context::Services;

/// Compare a table of two days, of two generations, or of two targets
///
/// Rows are matched by the step's unique key, or counted whole where there is none. Shows how the
/// columns differ, the rows on one side only, and of each column how many rows differ, with the share
/// of NULL, distinct values (approximately), least, greatest and mean of both sides.
///
/// The exit code is 0 however much differs; with --fail it is 3 if anything does.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl diff interactions --date 2026-03-07 --date 2026-03-08
  recctl diff products --generation daily-20260308-20260309T031500-9f3a
  recctl diff interactions --date 2026-03-08 --target local --against-target aws --fail")]
pub struct Args {
    /// The table
    table: String,
    /// A day; two to compare them
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Vec<LogicalDate>,
    /// A generation that a run wrote, by the run's id; one to compare it with what is visible, or two
    #[arg(long, visible_alias = "run", value_name = "RUN")]
    generation: Vec<String>,
    /// Another target, to compare with what is visible there
    #[arg(long, value_name = "NAME", conflicts_with = "generation")]
    against_target: Option<String>,
    /// The folder of another embedded target, to compare with what is visible there
    #[arg(long, value_name = "DIR", conflicts_with_all = ["generation", "against_target"])]
    against_home: Option<PathBuf>,
    /// Columns by which rows are matched, with commas [default: the step's unique key]
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    key: Vec<String>,
    /// Keys of one side to show at most
    #[arg(long, value_name = "N", default_value_t = 5)]
    examples: usize,
    /// How to print
    #[arg(long, default_value = "human")]
    format: Format,
    /// End with 3 if anything differs
    #[arg(long)]
    fail: bool,
}

/// Which partitions of a table make a side.
#[derive(Debug, Clone)]
struct Wanted {
    /// Whether they are those of the other target.
    elsewhere: bool,
    date: Option<LogicalDate>,
    /// The generation; the visible one if none is named.
    generation: Option<String>,
}

/// A side as it was found.
struct Side {
    services: Arc<Services>,
    entry: TableEntry,
    partitions: Vec<PartitionEntry>,
    shown: String,
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let wanted = wanted(&args)?;
    let own = app.target(Opening::Existing).await?.services;
    let other = match (&args.against_target, &args.against_home) {
        (None, None) => None,
        (target, home) => {
            let other = app.elsewhere(target.as_deref(), home.as_deref());
            Some(other.target(Opening::Existing).await?.services)
        }
    };
    let mut sides = Vec::new();
    for one in &wanted {
        let services = if one.elsewhere { other.as_ref().unwrap_or(&own) } else { &own };
        sides.push(found(&args, app, services, one).await?);
    }
    let two_days = args.date.len() == 2;
    let mut key = if args.key.is_empty() { unique_key(app, &args.table) } else { args.key.clone() };
    let several = sides.iter().any(|side| side.partitions.len() > 1);
    if several && !key.is_empty() && sides.iter().all(|side| side.entry.by_day) {
        key.push(PARTITION_COLUMN.to_owned());
    }
    let without = if two_days { vec![PARTITION_COLUMN.to_owned()] } else { Vec::new() };
    let shown: Vec<String> = sides.iter().map(|side| side.shown.clone()).collect();
    let options = Options { key, without, examples: args.examples };
    let difference = difference(sides, options).await?;
    let subject = Subject { table: &args.table, sides: &shown };
    match args.format {
        Format::Json => {
            let object = object(&subject, &difference);
            super::print(&serde_json::to_string_pretty(&object).unwrap_or_default());
        }
        Format::Human => {
            super::print(&lines(&subject, &difference, stdout::paint(app)).join("\n"));
        }
    }
    let failed = args.fail && !difference.is_none();
    Ok(if failed { error::QUALITY } else { 0 })
}

/// What the options mean.
fn wanted(args: &Args) -> Outcome<[Wanted; 2]> {
    let side = |elsewhere, date: Option<&LogicalDate>, generation: Option<&String>| Wanted {
        elsewhere,
        date: date.copied(),
        generation: generation.cloned(),
    };
    let another = args.against_target.is_some() || args.against_home.is_some();
    match (another, args.date.as_slice(), args.generation.as_slice()) {
        (true, [], []) => Ok([side(false, None, None), side(true, None, None)]),
        (true, [date], []) => Ok([side(false, Some(date), None), side(true, Some(date), None)]),
        (false, [one, other], []) => {
            Ok([side(false, Some(one), None), side(false, Some(other), None)])
        }
        (false, [] | [_], [one]) => {
            let date = args.date.first();
            Ok([side(false, date, Some(one)), side(false, date, None)])
        }
        (false, [] | [_], [one, other]) => {
            let date = args.date.first();
            Ok([side(false, date, Some(one)), side(false, date, Some(other))])
        }
        _ => Err(Failure::new(FailureKind::Usage, "it is not clear what to compare").with_hint(
            "give --date twice, or --generation once or twice, or --against-target with at most one --date",
        )),
    }
}

/// The columns that are unique in a partition of a table, if the project says so.
fn unique_key(app: &App, table: &str) -> Vec<String> {
    let compiled = app.compiled(&Default::default());
    let mut steps = compiled.project.pipelines.values().filter_map(|pipeline| pipeline.step(table));
    match steps.next().map(|step| &step.kind) {
        Some(StepKind::Sql(sql)) => sql.unique_key.clone(),
        _ => Vec::new(),
    }
}

/// Finds the partitions of a side. Errors: `NotFound`, saying what there is.
async fn found(args: &Args, app: &App, services: &Arc<Services>, wanted: &Wanted) -> Outcome<Side> {
    let catalog = &services.catalog;
    let missing =
        |text: String, hint: String| Err(Failure::new(FailureKind::NotFound, text).with_hint(hint));
    let Some(entry) = catalog.table(&args.table).await? else {
        return missing(
            format!("no table `{}`", args.table),
            "`recctl tables` lists them".to_owned(),
        );
    };
    if let (Some(date), false) = (wanted.date, entry.by_day) {
        let text = format!("`{}` is not by day, so it has no {date}", args.table);
        return missing(text, "leave --date away, and name generations".to_owned());
    }
    let visible = catalog.partitions(&args.table).await?;
    let days = visible.iter().filter(|part| wanted.date.is_none() || part.date == wanted.date);
    let mut partitions = Vec::new();
    let mut known: Vec<String> = Vec::new();
    for part in days {
        let Some(generation) = &wanted.generation else {
            partitions.push(part.clone());
            continue;
        };
        let mut history = vec![part.clone()];
        history.extend(catalog.history(&args.table, &part.key).await?);
        known.extend(history.iter().map(|part| part.generation.clone()));
        partitions.extend(history.into_iter().find(|part| part.generation == *generation));
    }
    if partitions.is_empty() {
        let days: Vec<&str> = visible.iter().map(|part| part.key.as_str()).collect();
        return match &wanted.generation {
            Some(generation) => {
                known.sort();
                known.dedup();
                let hint = format!("there is: {}", known.join(", "));
                missing(format!("`{}` has no generation `{generation}`", args.table), hint)
            }
            None => {
                let day = wanted.date.map_or_else(String::new, |date| format!(" for {date}"));
                let hint = match (days.first(), days.last()) {
                    (Some(first), Some(last)) => format!("there is: {first} to {last}"),
                    _ => "nothing of it is published yet".to_owned(),
                };
                missing(format!("`{}` has no partition{day}", args.table), hint)
            }
        };
    }
    let shown = shown(args, app, wanted);
    Ok(Side { services: Arc::clone(services), entry, partitions, shown })
}

/// How a side is called.
fn shown(args: &Args, app: &App, wanted: &Wanted) -> String {
    let mut words: Vec<String> = wanted.date.iter().map(ToString::to_string).collect();
    if let Some(target) = &args.against_target {
        let name = if wanted.elsewhere { target } else { &app.settings.target };
        words.push(format!("on {name}"));
    }
    if let Some(home) = &args.against_home {
        let own = app.settings.home();
        let folder = if wanted.elsewhere { home } else { &own };
        words.push(format!("in {}", folder.display()));
    }
    match &wanted.generation {
        Some(generation) => words.push(format!("of {generation}")),
        None if !args.generation.is_empty() => words.push("visible".to_owned()),
        None => {}
    }
    words.join(" ")
}

/// Compares two sides with the engine of the first.
async fn difference(sides: Vec<Side>, options: Options) -> Outcome<Difference> {
    let Some(engine) = sides.first().map(|side| Arc::clone(&side.services.query)) else {
        return Err(Failure::new(FailureKind::Internal, "there is no side to compare"));
    };
    let session = engine.session()?;
    for ((side, name), url) in sides.into_iter().zip(SIDES).zip([LAKE_URL, OTHER_LAKE_URL]) {
        session.add_lake(url, side.services.query.lake())?;
        // The catalog knows the columns of today; files of older generations may have had others.
        let file = side.partitions.last().and_then(|part| part.files.first());
        let schema = match file.map(|file| file.path.clone()) {
            Some(path) => {
                let reader = side.services.query.session()?;
                let read = async move { scan::file_schema(&reader, &path).await };
                side.services.query.compute(read).await?
            }
            None => catalog_schema::from_entries(&side.entry.columns)?,
        };
        let table = PublishedTable::new(schema, side.entry.by_day, side.partitions).in_store(url);
        let registered = session.context.register_table(name, Arc::new(table));
        registered.map_err(|error| failure_of(error, "compare the tables"))?;
    }
    engine.compute(async move { compare(&session.context, &options).await }).await
}
