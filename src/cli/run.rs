//! `recctl run`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::selection::SelectionArgs;
use super::signals::{Stop, end_at_once};
use super::{Ended, error, sample};
use crate::app::{App, Opening, Target};
use crate::engine::{RunOptions, gather};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::LogicalDate;
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
  recctl run daily                         for yesterday
  recctl run daily --date 2026-03-01       for a day
  recctl run daily --force                 do the day's work again
  recctl run daily --select +interactions  make a table and what it is made from
  recctl run daily --exclude kind:load     all but what is served
  recctl run daily --dry-run               only list what would be done")]
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
    #[command(flatten)]
    selection: SelectionArgs,
    /// With --dry-run: show what changed since a git revision or a run, by its id
    #[arg(long, value_name = "REVISION", requires = "dry_run")]
    against: Option<String>,
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
    if args.dry_run {
        let _listening = end_at_once()?;
        let subject = find(&args, app).await?;
        if let Some(against) = &args.against {
            let Subject { pipeline, target, date } = &subject;
            return super::against::show(against, pipeline, Some(target), *date, false, app).await;
        }
        super::print(&listing(&plan_of(&args, &subject).await?, app));
        return Ok(0);
    }
    let events = app.reporter();
    let stop = Stop::listen(Arc::clone(&events))?;
    let mut run = None;
    let ended = attempt(&args, app, &stop, &events, &mut run).await;
    let (status, kind, code) = match &ended {
        Ok((status, failure)) => {
            let kind = failure.as_ref().map(|failure| failure.kind);
            let code = match status {
                Status::Succeeded | Status::Unchanged => 0,
                Status::Cancelled => stop.code(),
                Status::Running | Status::Failed | Status::UpstreamFailed => {
                    kind.map_or(error::FAILED, error::code_of)
                }
            };
            (*status, kind, code)
        }
        Err(failure) => {
            let (status, code) = match failure.kind {
                FailureKind::Cancelled => (Status::Cancelled, stop.code()),
                kind => (Status::Failed, error::code_of(kind)),
            };
            error::tell(failure, code, app);
            (status, Some(failure.kind), code)
        }
    };
    events.emit(RunEvent::RunExited {
        run,
        pipeline: args.pipeline,
        target: app.settings.target.clone(),
        status,
        kind,
        exit_code: code,
    });
    Ok(code)
}

/// What a run is about.
struct Subject {
    pipeline: Arc<Pipeline>,
    target: Target,
    date: LogicalDate,
}

async fn find(args: &Args, app: &App) -> Outcome<Subject> {
    let given: BTreeMap<String, String> = args.vars.iter().cloned().collect();
    let pipeline = app.pipeline(&args.pipeline, &given).await?;
    let selected = args.selection.of(pipeline)?;
    let target = app.target(if args.dry_run { Opening::Plan } else { Opening::Create }).await?;
    let date = match args.date {
        Some(date) => date,
        None => LogicalDate::new(target.services.clock.now().date_naive()).minus(1),
    };
    let pipeline = selected.finish(app, &target, date).await?;
    Ok(Subject { pipeline, target, date })
}

async fn plan_of(args: &Args, subject: &Subject) -> Outcome<Plan> {
    let Subject { pipeline, target, date } = subject;
    let facts = gather(&target.services, pipeline, *date, args.force).await?;
    plan(pipeline, *date, &facts)
}

/// Begins the run, whose identity goes to `run`, and carries it out.
async fn attempt(
    args: &Args,
    app: &App,
    stop: &Stop,
    events: &Arc<dyn EventSink>,
    run: &mut Option<RunId>,
) -> Outcome<(Status, Option<Failure>)> {
    let subject = stop.unless_asked(find(args, app)).await?;
    // It ends by itself when asked to, and removes the day that it was at.
    first_sample(app, &subject, events, &stop.asked()).await?;
    let plan = stop.unless_asked(plan_of(args, &subject)).await?;
    let Subject { pipeline, target, .. } = subject;
    let services = Arc::clone(&target.services);
    let id = RunId::new(&pipeline.name, plan.date, services.clock.now(), rand::random());
    let options = RunOptions {
        parallel: usize::from(args.parallel),
        target: app.settings.target.clone(),
        holder: App::holder(),
        forced: args.force,
        stop_timeout: Duration::from_secs(u64::from(app.settings.stop_timeout)),
    };
    let events = Arc::clone(events);
    let ended =
        crate::engine::run(services, pipeline, plan, id.clone(), options, events, stop.asked())
            .await;
    if !matches!(&ended, Err(failure) if failure.kind == FailureKind::Conflict) {
        *run = Some(id);
    }
    ended
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
    subject: &Subject,
    events: &Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Outcome<()> {
    let Subject { pipeline, target, date } = subject;
    let Some(local) = &target.local else { return Ok(()) };
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
    let options = sample::options(app, local, lines, days, *date, sample::SEED);
    sample::make(options, Arc::clone(events), cancel.clone()).await.map(|_| ())
}
