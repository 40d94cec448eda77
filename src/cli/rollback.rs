//! `recctl rollback`

use std::collections::BTreeMap;

use serde_json::json;

use super::Ended;
use super::format::Format;
use crate::app::{App, Opening, Target};
use crate::engine::rollback::{
    Generation, ServedRollback, TableRollback, TablesBack, flip_served, generations_of, roll_back,
};
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::ports::GenerationEntry;
use crate::report::Table;
use crate::report::number::{count, counted};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::RunId;

/// Make an earlier state of a table, or of what is served, visible again, at once
///
/// A table's partitions are flipped to how they were when that run was the newest, the warehouse is
/// loaded from the same files, and the ledger and `recctl runs` say so. Partitions that came later
/// stay. The next run leaves them if the project makes the same again, and says so; if it would make
/// something else, it makes them again, and says that too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl rollback interactions --list              runs that a table can go back to
  recctl rollback interactions --to daily-20260301-20260302T031500-9f3a
  recctl rollback interactions --to daily-20260301-20260302T031500-9f3a --date 2026-03-01
  recctl rollback recommendations                  what is served, to the generation before
  recctl rollback recommendations --to 20260301T031502-9f3a1c20")]
pub struct Args {
    /// The table, or the served table
    table: String,
    /// The run to go back to; what is served also takes a generation
    #[arg(long, value_name = "RUN")]
    to: Option<String>,
    /// Only this day of the table
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<LogicalDate>,
    /// All tables of the run's pipeline together
    #[arg(long)]
    with_run: bool,
    /// What is served under the name, where a table is called so too
    #[arg(long)]
    served: bool,
    /// List what there is to go back to and stop
    #[arg(long)]
    list: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

/// The version of the JSON.
const VERSION: u32 = 1;

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let target = app.target(Opening::Existing).await?;
    // A table is looked for first: the policy of a run lets nobody ask for served tables by chance.
    if !args.served && target.services.catalog.table(&args.table).await?.is_some() {
        return table(&args, app, &target).await;
    }
    let generations = match target.services.serving.generations(&args.table).await {
        Ok(generations) => generations,
        // A target that serves nothing.
        Err(failure) if failure.kind == FailureKind::Usage => Vec::new(),
        Err(failure) => return Err(failure),
    };
    match generations.is_empty() {
        true => Err(unknown(&args, &target).await),
        false => served(&args, &target, &generations).await,
    }
}

async fn unknown(args: &Args, target: &Target) -> Failure {
    let services = &target.services;
    let tables = services.catalog.tables().await.unwrap_or_default();
    let mut names: Vec<String> = tables.into_iter().map(|table| table.name).collect();
    names.extend(services.serving.tables().await.unwrap_or_default());
    let text = format!("no table or served table `{}`", args.table);
    Failure::new(FailureKind::NotFound, text).with_hint(format!("there is: {}", names.join(", ")))
}

async fn table(args: &Args, app: &App, target: &Target) -> Ended {
    let services = &target.services;
    if args.list {
        let all = generations_of(services, &args.table, args.date).await?;
        super::print(&match args.format {
            Format::Human => list(&all),
            Format::Json => list_json(&args.table, &all),
        });
        return Ok(0);
    }
    let Some(to) = &args.to else {
        let text = format!("which run is `{}` to go back to", args.table);
        return Err(Failure::new(FailureKind::Usage, text).with_hint(format!(
            "name it with --to; `recctl rollback {} --list` shows them",
            args.table
        )));
    };
    let wanted = TableRollback {
        table: args.table.clone(),
        run: RunId::from_text(to),
        date: args.date,
        with_run: args.with_run,
        holder: App::holder(),
    };
    let find = async |name: &Name| app.pipeline(name.as_str(), &BTreeMap::new()).await;
    let done = roll_back(services, &wanted, find, app.reporter().as_ref()).await?;
    super::print(&match args.format {
        Format::Human => told(&wanted, &done),
        Format::Json => done_json(&wanted, &done),
    });
    Ok(0)
}

fn list(all: &[Generation]) -> String {
    let mut table =
        Table::new(["run", "partitions", "visible", "from", "to", "rows", "visible since"])
            .right(&[1, 2, 5]);
    let day = |day: Option<LogicalDate>| day.map_or_else(String::new, |day| day.to_string());
    for one in all {
        table.push([
            one.generation.clone(),
            one.partitions.to_string(),
            one.visible.to_string(),
            day(one.days.map(|days| days.0)),
            day(one.days.map(|days| days.1)),
            count(one.rows),
            one.published.format("%Y-%m-%d %H:%M:%SZ").to_string(),
        ]);
    }
    table.lines().join("\n")
}

fn list_json(table: &str, all: &[Generation]) -> String {
    let generations: Vec<_> = all
        .iter()
        .map(|one| {
            json!({
                "run": one.generation,
                "partitions": one.partitions,
                "visible": one.visible,
                "from": one.days.map(|days| days.0),
                "to": one.days.map(|days| days.1),
                "rows": one.rows,
                "published": one.published,
            })
        })
        .collect();
    pretty(&json!({"version": VERSION, "table": table, "generations": generations}))
}

/// What was done, for people.
fn told(wanted: &TableRollback, done: &TablesBack) -> String {
    let mut lines = Vec::new();
    if done.flipped.is_empty() {
        lines.push(format!("`{}` is as it was at run {}: nothing to do", wanted.table, wanted.run));
    } else {
        let mut table =
            Table::new(["table", "partition", "from run", "back to run", "rows"]).right(&[4]);
        for one in &done.flipped {
            let cells = [&one.table, &one.key, &one.from, &one.to].map(String::clone);
            let [name, key, from, to] = cells;
            table.push([name, key, from, to, count(one.rows)]);
        }
        lines.extend(table.lines());
        lines.push(String::new());
        let flipped = counted(done.flipped.len() as u64, "partition");
        let loaded = match done.loaded {
            0 => String::new(),
            rows => format!(", {} into the warehouse", counted(rows, "row")),
        };
        let run = done.run.as_ref().map_or_else(String::new, |run| format!(" (run {run})"));
        lines.push(format!("{flipped} rolled back{loaded}{run}"));
        for table in &done.merged {
            lines.push(format!(
                "`{table}` is merged into the warehouse: rows that came later stay there"
            ));
        }
        lines.push(
            "the next run makes them again if the project makes something else now, and says so"
                .to_owned(),
        );
    }
    if !done.newer.is_empty() {
        let all: Vec<String> =
            done.newer.iter().map(|(table, key)| format!("{table} {key}")).collect();
        lines.push(format!("newer than that run, and as they are: {}", all.join(", ")));
    }
    lines.join("\n")
}

fn done_json(wanted: &TableRollback, done: &TablesBack) -> String {
    let flipped: Vec<_> = done
        .flipped
        .iter()
        .map(|one| {
            json!({
                "table": one.table,
                "partition": one.key,
                "from": one.from,
                "to": one.to,
                "rows": one.rows,
            })
        })
        .collect();
    let newer: Vec<_> =
        done.newer.iter().map(|(table, key)| json!({"table": table, "partition": key})).collect();
    pretty(&json!({
        "version": VERSION,
        "table": wanted.table,
        "to": wanted.run,
        "run": done.run,
        "flipped": flipped,
        "newer": newer,
        "warehouse_rows": done.loaded,
        "merged": done.merged,
    }))
}

fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

async fn served(args: &Args, target: &Target, generations: &[GenerationEntry]) -> Ended {
    if args.date.is_some() || args.with_run {
        let text = format!("`{}` is served, and goes back as a whole", args.table);
        return Err(Failure::new(FailureKind::Usage, text)
            .with_hint("--date and --with-run are for tables"));
    }
    if args.list {
        super::print(&served_list(args, generations));
        return Ok(0);
    }
    let wanted =
        ServedRollback { table: args.table.clone(), to: args.to.clone(), holder: App::holder() };
    let chosen: Outcome<String> = flip_served(&target.services, &wanted, generations).await;
    let chosen = chosen?;
    super::print(&match args.format {
        Format::Human => format!("`{}` serves generation {chosen} now", args.table),
        Format::Json => {
            pretty(&json!({"version": VERSION, "table": args.table, "generation": chosen}))
        }
    });
    Ok(0)
}

fn served_list(args: &Args, generations: &[GenerationEntry]) -> String {
    if args.format == Format::Json {
        return pretty(&json!({
            "version": VERSION,
            "table": args.table,
            "generations": generations,
        }));
    }
    let mut table = Table::new(["generation", "visible", "items", "model"]).right(&[2]);
    for one in generations {
        table.push([
            one.generation.clone(),
            if one.visible { "yes" } else { "" }.to_owned(),
            one.items.to_string(),
            one.model.clone(),
        ]);
    }
    table.lines().join("\n")
}
