//! `recctl runs`

use clap::Subcommand;

use super::Ended;
use crate::app::{App, Opening};
use crate::engine::orphans::judged;
use crate::report::Table;
use crate::report::number::{bytes, count, counted, duration};
use crate::run::failure::{Failure, FailureKind};
use crate::run::record::{RowsOf, RunId, RunKind, RunRecord};

/// List runs, or show one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl runs                    the last runs
  recctl runs show last          the last run, step by step
  recctl runs show daily-20260301-20260302T031500-9f3a")]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Number of runs
    #[arg(long, short = 'n', default_value_t = 20)]
    limit: usize,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show one run, step by step
    Show {
        /// The run's id, or `last`
        run: String,
    },
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let target = app.target(Opening::Existing).await?;
    let state = &target.services.state;
    match args.what {
        None => {
            let mut table =
                Table::new(["run", "pipeline", "date", "status", "started", "time"]).right(&[5]);
            for run in judged(&target.services, state.runs(args.limit).await?).await? {
                table.push([
                    run.id.to_string(),
                    run.pipeline.to_string(),
                    run.date.to_string(),
                    match run.kind {
                        RunKind::Pipeline => run.status.word().to_owned(),
                        kind => format!("{}, {}", kind.word(), run.status.word()),
                    },
                    run.started.format("%Y-%m-%d %H:%M:%SZ").to_string(),
                    time_of(&run),
                ]);
            }
            super::print(&table.lines().join("\n"));
        }
        Some(What::Show { run }) => {
            let found = match run.as_str() {
                "last" => state.runs(1).await?.into_iter().next(),
                id => state.run(&RunId::from_text(id)).await?,
            };
            let found = found.ok_or_else(|| {
                Failure::new(FailureKind::NotFound, format!("no run `{run}`"))
                    .with_hint("`recctl runs` lists them")
            })?;
            let steps = state.steps(&found.id).await?;
            for found in judged(&target.services, vec![found]).await? {
                show(&found, &steps);
            }
        }
    }
    Ok(0)
}

fn time_of(run: &RunRecord) -> String {
    let seconds =
        |millis: i64| -> f64 { f64::from(i32::try_from(millis).unwrap_or(i32::MAX)) / 1_000.0 };
    run.finished.map_or_else(String::new, |finished| {
        duration(seconds((finished - run.started).num_milliseconds()))
    })
}

fn show(run: &RunRecord, steps: &[crate::run::record::StepRecord]) {
    let mut lines = vec![
        format!("run       {}", run.id),
        format!("pipeline  {} for {}", run.pipeline, run.date),
        format!("status    {}", run.status.word()),
        format!("started   {}", run.started.format("%Y-%m-%d %H:%M:%SZ")),
        format!("time      {}", time_of(run)),
        format!("version   {}", run.version),
    ];
    lines.extend(run.note.as_ref().map(|note| format!("note      {note}")));
    if let Some(failure) = &run.failure {
        lines.push(format!("failure   {}", failure.message));
        lines.extend(failure.hint.as_ref().map(|hint| format!("hint      {hint}")));
    }
    lines.push(String::new());
    let mut table = Table::new([
        "step",
        "action",
        "partition",
        "status",
        "rows in",
        "rows out",
        "bytes out",
        "time",
        "note",
    ])
    .right(&[4, 5, 6, 7]);
    let mut left_out = Vec::new();
    let mut checks =
        Table::new(["table", "partition", "check", "result", "rows", "of", "what"]).right(&[4, 5]);
    let mut passed = 0;
    for step in steps {
        passed += step.report.checks_passed;
        for check in &step.report.checks {
            let number = |rows: u64| if check.of > 0 { count(rows) } else { String::new() };
            checks.push([
                step.step.to_string(),
                step.partition.to_string(),
                check.check.clone(),
                check.result.word().to_owned(),
                number(check.rows),
                number(check.of),
                check.told.clone(),
            ]);
        }
        left_out.extend(step.report.reasons.clone());
        let seconds = step.finished.map_or(0, |f| (f - step.started).num_milliseconds());
        let note = match (&step.failure, &step.report.note) {
            (Some(failure), _) => failure.message.clone(),
            (None, Some(note)) => note.clone(),
            (None, None) => step.report.counts.map_or_else(String::new, |c| {
                format!(
                    "{} {} = kept {} + quarantined {} + filtered {} + duplicates {}",
                    if c.of == RowsOf::Raw { "read" } else { "made" },
                    count(c.read),
                    count(c.kept),
                    count(c.quarantined),
                    count(c.filtered),
                    count(c.duplicates)
                )
            }),
        };
        table.push([
            step.step.to_string(),
            step.action.clone(),
            step.partition.to_string(),
            step.status.word().to_owned(),
            count(step.report.rows_in),
            count(step.report.rows_out),
            bytes(step.report.bytes_out),
            duration(f64::from(i32::try_from(seconds).unwrap_or(i32::MAX)) / 1_000.0),
            note,
        ]);
    }
    lines.extend(table.lines());
    let mut reasons: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
    for (reason, rows) in left_out {
        *reasons.entry(reason).or_default() += rows;
    }
    if !reasons.is_empty() {
        let mut table = Table::new(["rows left out", "rows"]).right(&[1]);
        for (reason, rows) in reasons {
            table.push([reason, count(rows)]);
        }
        lines.push(String::new());
        lines.extend(table.lines());
    }
    if !checks.is_empty() {
        lines.push(String::new());
        lines.extend(checks.lines());
    }
    if passed > 0 {
        lines.push(String::new());
        lines.push(format!("{} held in every row", counted(passed, "check")));
    }
    super::print(&lines.join("\n"));
}
