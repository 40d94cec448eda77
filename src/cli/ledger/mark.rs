//! `recctl ledger mark`

use std::collections::BTreeMap;

use crate::app::{App, Opening};
use crate::cli::Ended;
use crate::cli::plan::parse_var;
use crate::engine::mark::{MOST_DAYS, Marking, mark};
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::pipeline::nearest::nearest;
use crate::report::number::counted;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{MarkedAs, RunId};

/// Set steps as done or missing for some days, on record
///
/// `--as done` says that what is there was made from what there is now: by another program, before
/// recctl, or before a change that is known to leave it as it is. It has to be there: a table in the
/// catalog, a model or lists of a run. `--as missing` has it made again by the next run, whatever is
/// there. Nothing is made or removed now. Who, when and why are kept, and shown by `recctl ledger`,
/// `recctl why` and `recctl runs`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl ledger mark interactions --from 2025-01-01 --to 2025-12-31 --as done --reason \"made by the old job\"
  recctl ledger mark clean_events,interactions --date 2026-03-02 --as missing --reason \"clock was wrong\"")]
pub struct Args {
    /// Steps, with commas between them
    #[arg(value_name = "STEP[,STEP…]")]
    steps: String,
    /// The pipeline, as pipelines.yaml names it [default: the only one]
    pipeline: Option<String>,
    /// The first day
    #[arg(long, value_name = "YYYY-MM-DD", requires = "to", required_unless_present = "date")]
    from: Option<LogicalDate>,
    /// The last day
    #[arg(long, value_name = "YYYY-MM-DD", requires = "from")]
    to: Option<LogicalDate>,
    /// One day, instead of --from and --to
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with_all = ["from", "to"])]
    date: Option<LogicalDate>,
    /// What they are set to
    #[arg(long = "as", value_enum, value_name = "STATE")]
    set: Set,
    /// Why, for those who look later
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Set a variable of pipelines.yaml; may be given several times
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = parse_var)]
    vars: Vec<(String, String)>,
}

/// What steps can be set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Set {
    /// What is there counts as made from what there is now
    Done,
    /// It is to be made again
    Missing,
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let usage = |text: &str, hint: &str| Failure::new(FailureKind::Usage, text).with_hint(hint);
    if args.reason.trim().is_empty() {
        return Err(usage("--reason is empty", "say why, for those who look later"));
    }
    let (Some(from), Some(to)) = (args.from.or(args.date), args.to.or(args.date)) else {
        return Err(usage("no day was given", "give --date, or --from and --to"));
    };
    let dates = super::days(from, to, MOST_DAYS)?;
    let given: BTreeMap<String, String> = args.vars.iter().cloned().collect();
    let name = app.pipeline_name(args.pipeline.as_deref(), &given)?;
    let pipeline = app.pipeline(&name, &given).await?;
    let steps = args.steps.split(',').map(|step| known(step.trim(), &pipeline));
    let steps = steps.collect::<Outcome<Vec<_>>>()?;
    let target = app.target(Opening::Existing).await?;
    let services = &target.services;
    let marking = Marking {
        run: RunId::new(&pipeline.name, to, services.clock.now(), rand::random()),
        steps,
        dates,
        set: match args.set {
            Set::Done => MarkedAs::Done,
            Set::Missing => MarkedAs::Missing,
        },
        by: App::person(),
        reason: args.reason.trim().to_owned(),
        holder: App::holder(),
    };
    let parts = mark(services, &pipeline, &marking, app.reporter().as_ref()).await?;
    let (parts, word) = (counted(parts as u64, "part"), marking.set.word());
    crate::cli::print(&format!("{parts} set as {word}; on record as run {}", marking.run));
    Ok(0)
}

/// A step of the pipeline. Errors: `Usage` for one that it does not have.
pub(in crate::cli) fn known(
    step: &str,
    pipeline: &crate::pipeline::graph::Pipeline,
) -> Outcome<Name> {
    if let Some(found) = pipeline.step(step) {
        return Ok(found.name.clone());
    }
    let names: Vec<&str> = pipeline.all_steps().map(|step| step.name.as_str()).collect();
    let text = format!("pipeline `{}` has no step `{step}`", pipeline.name);
    let hint = match nearest(step, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it has `{}`", names.join("`, `")),
    };
    Err(Failure::new(FailureKind::Usage, text).with_hint(hint))
}
