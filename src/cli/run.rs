//! `recctl run`

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::selection::Selected;
use super::signals::Stop;
use super::{Ended, error, plan, sample};
use crate::app::{App, Opening, Target};
use crate::engine::definition::of_run;
use crate::engine::resume::{unfinished, was_interrupted};
use crate::engine::settle::settle;
use crate::engine::{RunOptions, gather};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::LogicalDate;
use crate::plan::Plan;
use crate::report::number::count;
use crate::run::event::{EventSink, RunEvent};
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
  recctl run daily --date 2026-02-01 --serve     show an older day's lists again
  recctl run daily --select +interactions  make a table and what it is made from
  recctl run daily --exclude kind:load     all but what is served
  recctl run daily --definition current    not as the run that was interrupted had it
  recctl run daily --dry-run               only list what would be done")]
pub struct Args {
    #[command(flatten)]
    subject: plan::Subject,
    /// List what would be done and stop, as `recctl plan` does
    #[arg(long)]
    dry_run: bool,
    /// Actions that run at once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    parallel: u16,
    /// Which definition is carried out: the project's files as they are now, or those that the last
    /// run for the day kept and did not bring to its end [default: kept if that run was stopped or
    /// its process died, unless --force or --var say that something else is meant; else current]
    #[arg(long, value_enum, value_name = "WHICH")]
    definition: Option<Definition>,
    #[command(flatten)]
    options: plan::Options,
}

/// A state of the project's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Definition {
    /// The project's files as they are now
    Current,
    /// Those of the last run for the day
    Kept,
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    if args.dry_run {
        return plan::run(&plan::Args { subject: args.subject, options: args.options }, app).await;
    }
    if !args.options.are_default() {
        let text = "the options of planning are for --dry-run";
        return Err(
            Failure::new(FailureKind::Usage, text).with_hint("add --dry-run, or use `recctl plan`")
        );
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
                Status::Running | Status::Failed | Status::UpstreamFailed | Status::Interrupted => {
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
        pipeline: args.subject.pipeline,
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

async fn find(args: &Args, app: &App, events: &dyn EventSink) -> Outcome<Subject> {
    let subject = &args.subject;
    let current = plan::selected(subject, app).await?;
    let date = plan::date_of(subject, &current);
    let target = app.target(Opening::Create).await?;
    let selected = match kept(args, app, &target, &current, date, events).await? {
        Some(kept) => subject.selection.of(kept)?,
        None => current,
    };
    let pipeline = selected.finish(app, &target, date).await?;
    Ok(Subject { pipeline, target, date })
}

/// The pipeline as the last run for the day had it, if that one is to be gone on with and had another
/// one. Errors: `NotFound` if it is asked for and there is no such run.
async fn kept(
    args: &Args,
    app: &App,
    target: &Target,
    current: &Selected,
    date: LogicalDate,
    events: &dyn EventSink,
) -> Outcome<Option<Arc<Pipeline>>> {
    let subject = &args.subject;
    let something_else = subject.force || !subject.vars.is_empty();
    if args.definition == Some(Definition::Current) || args.definition.is_none() && something_else {
        return Ok(None);
    }
    let now = current.pipeline();
    let last = unfinished(&target.services, &now.name, date).await?;
    let last = match (last, args.definition) {
        (Some(last), Some(Definition::Kept)) => last,
        (Some(last), _) if was_interrupted(&last) => last,
        (None, Some(Definition::Kept)) => {
            let text = format!("no run of `{}` for {date} was left unfinished", now.name);
            return Err(Failure::new(FailureKind::NotFound, text).with_hint(
                "`recctl runs` lists them; without --definition the project's files count",
            ));
        }
        _ => return Ok(None),
    };
    if last.definition.is_none() || last.definition == Some(now.definition.digest()) {
        return Ok(None);
    }
    let definition = of_run(&target.services, &last.id).await?;
    let pipeline = app.kept_pipeline(definition, &subject.pipeline).await?;
    let (id, how) = (&last.id, last.status.word());
    events.emit(RunEvent::Noticed {
        message: format!(
            "run {id} was {how}: this one goes on with its definition, which is not the project's now (`--definition current` takes that)"
        ),
    });
    Ok(Some(pipeline))
}

/// What runs left half done is settled before anything is planned: it is not to be made again.
async fn plan_of(args: &Args, subject: &Subject, events: &dyn EventSink) -> Outcome<Plan> {
    let Subject { pipeline, target, date } = subject;
    settle(&target.services, Some(&pipeline.name), &App::holder(), events).await?;
    let mut facts = gather(&target.services, pipeline, &[*date], args.subject.force).await?;
    facts.serve = args.subject.serve;
    crate::plan::plan(pipeline, *date, &facts)
}

/// Begins the run, whose identity goes to `run`, and carries it out.
async fn attempt(
    args: &Args,
    app: &App,
    stop: &Stop,
    events: &Arc<dyn EventSink>,
    run: &mut Option<RunId>,
) -> Outcome<(Status, Option<Failure>)> {
    let subject = stop.unless_asked(find(args, app, events.as_ref())).await?;
    // It ends by itself when asked to, and removes the day that it was at.
    first_sample(app, &subject, events, &stop.asked()).await?;
    let plan = stop.unless_asked(plan_of(args, &subject, events.as_ref())).await?;
    let Subject { pipeline, target, .. } = subject;
    let services = Arc::clone(&target.services);
    let id = RunId::new(&pipeline.name, plan.date, services.clock.now(), rand::random());
    let options = RunOptions {
        parallel: usize::from(args.parallel),
        places: None,
        target: app.settings.target.clone(),
        holder: App::holder(),
        forced: args.subject.force,
        serve: args.subject.serve,
        deadline: true,
        stop_timeout: Duration::from_secs(u64::from(app.settings.stop_timeout)),
    };
    let events = Arc::clone(events);
    let ended =
        crate::engine::run(services, pipeline, plan, id.clone(), options, events, stop.asked())
            .await;
    if !matches!(&ended, Err(failure) if failure.kind == FailureKind::Held) {
        *run = Some(id);
    }
    ended
}

/// Makes a sample where the lake is empty and the pipeline reads what the sample makes.
async fn first_sample(
    app: &App,
    subject: &Subject,
    events: &Arc<dyn EventSink>,
    cancel: &CancellationToken,
) -> Outcome<()> {
    let Subject { pipeline, target, date } = subject;
    let (Some(local), Some(wanted)) = (&target.local, plan::first_sample(pipeline, target, *date))
    else {
        return Ok(());
    };
    let days = pipeline.split.window;
    events.emit(RunEvent::Noticed {
        message: format!(
            "the lake holds nothing yet: making a sample of {} events over {days} days, {} to {date} (`recctl sample` makes others)",
            count(wanted.events),
            wanted.days.0
        ),
    });
    let options = sample::options(app, local, wanted.events, days, *date, sample::SEED);
    sample::make(options, Arc::clone(events), cancel.clone()).await.map(|_| ())
}
