//! `recctl run`

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Ended, error, sample};
use crate::app::{App, LocalTarget};
use crate::engine::{RunOptions, gather};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::nearest::nearest;
use crate::plan::{Plan, Verdict, plan};
use crate::report::number::count;
use crate::run::event::{EventSink, PlannedUnit, RunEvent};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{RunId, Status};

/// Run a pipeline for a day, making the days before it that training reads
///
/// Work that was done before from the same inputs is not done again. Where the embedded lake holds
/// nothing yet and the pipeline reads the sample's click-stream, a small sample is made first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl run daily                        for yesterday
  recctl run daily --date 2026-03-01      for a day
  recctl run daily --force                do the day's work again
  recctl run daily --select interactions  make a table and what it is made from
  recctl run daily --dry-run              only list what would be done")]
pub struct Args {
    /// The pipeline, as pipelines.yaml names it
    pipeline: String,
    /// The day that the data is about [default: yesterday, UTC]
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<LogicalDate>,
    /// Do the day's work again even if nothing changed
    #[arg(long)]
    force: bool,
    /// Set a variable of pipelines.yaml; may be given several times
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = parse_var)]
    vars: Vec<(String, String)>,
    /// Only these steps and what they need; several with commas
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    select: Vec<String>,
    /// List what would be done and stop
    #[arg(long)]
    dry_run: bool,
    /// Actions that run at once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
}

/// Splits `name=value`.
pub(super) fn parse_var(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let given: BTreeMap<String, String> = args.vars.iter().cloned().collect();
    let pipeline = app.pipeline(&args.pipeline, &given).await?;
    let pipeline = selected(&pipeline, &args.select)?;
    let target = app.target(true).await?;
    let services = &target.services;
    let events = app.reporter();
    let cancel = stop_on_signals();
    let date = match args.date {
        Some(date) => date,
        None => LogicalDate::new(services.clock.now().date_naive()).minus(1),
    };
    if let (Some(local), false) = (&target.local, args.dry_run) {
        first_sample(app, &pipeline, date, local, &events, &cancel).await?;
    }
    let facts = gather(services, &pipeline, date, args.force).await?;
    let planned = plan(&pipeline, date, &facts)?;
    if args.dry_run {
        super::print(&listing(&planned, app));
        return Ok(0);
    }
    let id = RunId::new(&pipeline.name, date, services.clock.now(), rand::random());
    let options = RunOptions {
        parallel: usize::from(args.parallel),
        target: app.settings.target.clone(),
        holder: App::holder(),
        forced: args.force,
    };
    let (status, failure) =
        crate::engine::run(Arc::clone(services), pipeline, planned, id, options, events, cancel)
            .await?;
    Ok(match status {
        Status::Succeeded | Status::Unchanged => 0,
        Status::Cancelled => error::INTERRUPTED,
        Status::Running | Status::Failed | Status::UpstreamFailed => {
            failure.map_or(error::FAILED, |failure| error::code_of(failure.kind))
        }
    })
}

fn selected(pipeline: &Arc<Pipeline>, names: &[String]) -> Outcome<Arc<Pipeline>> {
    if names.is_empty() {
        return Ok(Arc::clone(pipeline));
    }
    let whole = Pipeline::clone(pipeline);
    whole.restricted_to(names).map(Arc::new).map_err(|unknown| {
        let known: Vec<&str> = pipeline.steps.iter().map(|step| step.name.as_str()).collect();
        let failure = Failure::new(FailureKind::Usage, format!("unknown step `{unknown}`"));
        failure.with_hint(match nearest(unknown, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("`{}` has {}", pipeline.name, known.join(", ")),
        })
    })
}

fn listing(plan: &Plan, app: &App) -> String {
    let to_do: Vec<PlannedUnit> = plan
        .actions
        .iter()
        .filter_map(|action| match &action.verdict {
            Verdict::Run(reason) => {
                Some(PlannedUnit { unit: crate::engine::unit_of(action), reason: reason.clone() })
            }
            Verdict::Skip(_) => None,
        })
        .collect();
    let paint = crate::report::Paint::new(app.colour);
    let mut lines = plan.notices.clone();
    if to_do.is_empty() {
        lines.push(format!("nothing to do: {} units unchanged", plan.actions.len()));
        return lines.join("\n");
    }
    lines.extend(crate::report::summary::plan_lines(
        &to_do,
        plan.actions.len() - to_do.len(),
        paint,
    ));
    lines.join("\n")
}

/// Makes a sample where the lake is empty and the pipeline reads what the sample makes.
async fn first_sample(
    app: &App,
    pipeline: &Pipeline,
    date: LogicalDate,
    local: &LocalTarget,
    events: &Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Outcome<()> {
    let reads_sample =
        pipeline.sources.values().any(|source| source.path.as_str() == sample::CLICKSTREAM_PATH);
    let raw = local.lake.join("raw");
    let holds_something = std::fs::read_dir(&raw).is_ok_and(|mut entries| entries.next().is_some());
    if !reads_sample || holds_something {
        return Ok(());
    }
    let days = pipeline.split.window;
    let lines = u64::from(days) * sample::LINES_PER_DAY;
    events.emit(RunEvent::Noticed {
        message: format!(
            "the lake holds nothing yet: making a sample of {} events over {days} days, {} to {date} (`recctl sample` makes others)",
            count(lines),
            date.minus(days.saturating_sub(1))
        ),
    });
    let options = sample::options(app, local, lines, days, date, sample::SEED);
    sample::make(options, Arc::clone(events), cancel.clone()).await.map(|_| ())
}

/// The first signal asks to stop, the second ends the process at once.
fn stop_on_signals() -> CancellationToken {
    let cancel = CancellationToken::new();
    let asked = cancel.clone();
    // Lives as long as the process: there is nobody to hand it to.
    tokio::spawn(async move {
        if next_signal().await.is_ok() {
            asked.cancel();
            if next_signal().await.is_ok() {
                std::process::exit(i32::from(error::INTERRUPTED));
            }
        }
    });
    cancel
}

#[cfg(unix)]
async fn next_signal() -> Outcome<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error: std::io::Error| {
        Failure::new(FailureKind::Internal, format!("cannot wait for signals: {error}"))
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn next_signal() -> Outcome<()> {
    tokio::signal::ctrl_c().await.map_err(|error| {
        Failure::new(FailureKind::Internal, format!("cannot wait for signals: {error}"))
    })
}
