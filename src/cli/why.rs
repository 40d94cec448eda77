//! `recctl why`

use std::collections::BTreeMap;

use super::format::Format;
use super::ledger::known;
use super::plan::parse_var;
use super::stdout::paint;
use super::{Ended, print};
use crate::app::{App, Opening};
use crate::pipeline::interval::LogicalDate;
use crate::plan::demand::own_partition;
use crate::plan::why::why;
use crate::report::ledger::{why_lines, why_object};
use crate::run::failure::{Failure, FailureKind};

/// Say why a step is done, missing, failed or stale for a day: what decided, down to the root
///
/// What a result is made from is kept as digests, of which all that differ are named; of files it is
/// known how many there were. `recctl plan PIPELINE --against RUN` shows what changed in the
/// project's files since the run that made it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl why interactions                          for yesterday
  recctl why interactions --date 2026-03-02
  recctl why als --date 2026-03-02 --format json   for programs: docs/ledger.md")]
pub struct Args {
    /// The step, as pipelines.yaml names it
    step: String,
    /// The day that the data is about [default: yesterday, UTC]
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<LogicalDate>,
    /// The pipeline [default: the only one]
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Set a variable of pipelines.yaml; may be given several times
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = parse_var)]
    vars: Vec<(String, String)>,
    /// How it is shown
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let given: BTreeMap<String, String> = args.vars.iter().cloned().collect();
    let name = app.pipeline_name(args.pipeline.as_deref(), &given)?;
    let date = super::day(args.date);
    let pipeline = app.pipeline(&name, &given).await?;
    let step = known(&args.step, &pipeline)?;
    let target = app.target(Opening::Existing).await?;
    let judged = crate::engine::ledger::known(&target.services, &pipeline, &[date]).await?;
    let entry = judged.ledger.get(&step, date).cloned();
    let (Some(entry), Some(found)) = (entry, pipeline.step(step.as_str())) else {
        let text = format!("nothing is known of `{step}` for {date}");
        return Err(Failure::new(FailureKind::Internal, text));
    };
    let key = (&step, own_partition(found, date));
    let explained = why(&pipeline, date, key, &judged.facts, entry)?;
    match args.format {
        Format::Human => print(&why_lines(&explained, paint(app)).join("\n")),
        Format::Json => {
            let object = why_object(&explained, &app.settings.target);
            print(&serde_json::to_string_pretty(&object).unwrap_or_default());
        }
    }
    Ok(0)
}
