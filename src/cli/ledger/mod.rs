//! `recctl ledger`

mod mark;

pub(super) use self::mark::known;

use std::collections::{BTreeMap, BTreeSet};

use clap::Subcommand;

use super::Ended;
use super::format::Format;
use super::plan::parse_var;
use super::selection::SelectionArgs;
use super::stdout::{paint, width};
use crate::app::{App, Opening};
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::plan::Facts;
use crate::plan::ledger::Ledger;
use crate::report::ledger::{lines, object};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Show what is done, missing, failed and stale: a row per step, a column per day
///
/// Each step is judged for each day as the run for that day would judge it: by what it would be made
/// from now, and by whether what was made is still there. Nothing is changed. Ranges that are too
/// wide for the terminal are folded into weeks or months, which show their worst day.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  recctl ledger                                            the last five weeks
  recctl ledger daily --from 2026-01-01 --to 2026-03-31    a quarter
  recctl ledger daily --select +interactions               some steps
  recctl ledger daily --format json                        for programs: docs/ledger.md
  recctl ledger mark interactions --from 2025-01-01 --to 2025-12-31 --as done --reason \"made by the old job\""
)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// The pipeline, as pipelines.yaml names it [default: the only one]
    pipeline: Option<String>,
    /// The first day [default: the first of the five weeks before --to of which something is known]
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<LogicalDate>,
    /// The last day [default: yesterday, UTC]
    #[arg(long, value_name = "YYYY-MM-DD")]
    to: Option<LogicalDate>,
    /// Set a variable of pipelines.yaml; may be given several times
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = parse_var)]
    vars: Vec<(String, String)>,
    #[command(flatten)]
    selection: SelectionArgs,
    /// How it is shown
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum What {
    Mark(mark::Args),
}

/// Days that are shown where nobody says since when.
const DAYS: u32 = 35;
/// Days that are judged at most.
const MOST_DAYS: usize = 1_100;

pub(super) async fn run(args: Args, app: &App) -> Ended {
    if let Some(What::Mark(args)) = args.what {
        return mark::run(args, app).await;
    }
    let given: BTreeMap<String, String> = args.vars.iter().cloned().collect();
    let name = app.pipeline_name(args.pipeline.as_deref(), &given)?;
    let to = super::day(args.to);
    let dates = days(args.from.unwrap_or(to.minus(DAYS - 1)), to, MOST_DAYS)?;
    let pipeline = app.pipeline(&name, &given).await?;
    let target = app.target(Opening::Existing).await?;
    let selected = args.selection.of(pipeline)?.finish(app, &target, to).await?;
    let known = crate::engine::ledger::known(&target.services, &selected, &dates).await?;
    let steps: BTreeSet<Name> = selected.steps.iter().map(|step| step.name.clone()).collect();
    let mut ledger = known.ledger.of_steps(&steps);
    if args.from.is_none()
        && let Some(first) = first_known(&ledger, &known.facts)
    {
        ledger = ledger.since(first);
    }
    let open: Vec<String> = known.facts.open.into_iter().map(|open| open.told).collect();
    let target = &app.settings.target;
    match args.format {
        Format::Human => {
            let mut lines = lines(&ledger, target, width(), paint(app));
            if !open.is_empty() {
                lines.push(String::new());
                lines.extend(open);
            }
            super::print(&lines.join("\n"));
        }
        Format::Json => {
            let object = object(&ledger, target, &open);
            super::print(&serde_json::to_string_pretty(&object).unwrap_or_default());
        }
    }
    Ok(0)
}

/// The first day that the ledger or the sources know.
fn first_known(ledger: &Ledger, facts: &Facts) -> Option<LogicalDate> {
    let with_files = facts.listings.iter().filter(|(_, listing)| listing.files > 0);
    let with_files = with_files.filter_map(|((_, partition), _)| partition.date());
    let first = with_files.min().into_iter().chain(ledger.first_known()).min()?;
    // What lies before the range was looked at for the windows of its days.
    ledger.dates.iter().copied().find(|date| *date >= first)
}

/// The days of an interval, if they are at most so many.
pub(super) fn days(from: LogicalDate, to: LogicalDate, most: usize) -> Outcome<Vec<LogicalDate>> {
    let range = super::range(from, to)?;
    if range.len() as usize > most {
        let text = format!("{} days are too many at once", range.len());
        let hint = format!("at most {most} days; choose them with --from and --to");
        return Err(Failure::new(FailureKind::Usage, text).with_hint(hint));
    }
    Ok(range.days().collect())
}
