//! Makes a plan happen: each action once all that it needs is done, a few at a time.

pub mod backfill;
mod deadline;
pub mod definition;
mod dispatch;
mod facts;
mod fence;
pub mod gc;
mod lease;
pub mod ledger;
pub mod mark;
pub mod orphans;
mod perform;
pub mod resume;
pub mod rollback;
pub mod settle;
mod states;

pub use facts::{gather, history, standing};
pub use states::{states, unfinished};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::deadline::Watched;
use self::dispatch::{Dispatched, Dispatcher};
use self::lease::Held;
use self::perform::{Identity, Performer};
use crate::models::peak_bytes;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::name::Name;
use crate::pipeline::step::StepKind;
use crate::plan::{Action, Plan, Verdict};
use crate::ports::Lease;
use crate::run::event::{EventSink, FinishedUnit, PlannedUnit, RunEvent, RunSummary, Served, Unit};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{Decision, RunId, RunKind, RunRecord, Status};
use crate::steps::context::Services;

/// How a run is carried out.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Queries that run at once; each uses all query threads.
    pub parallel: usize,
    /// Places for queries and other work of several runs, of which each action takes one while it
    /// is under way; `None` where the run is alone.
    pub places: Option<Arc<Semaphore>>,
    /// Name of the target, for people.
    pub target: String,
    /// Who holds the lease.
    pub holder: String,
    /// Whether the logical date's work is done again.
    pub forced: bool,
    /// Whether lists may take the place of a newer day's.
    pub serve: bool,
    /// Whether the pipeline's deadline holds.
    pub deadline: bool,
    /// How long what is under way may take to end once the run was asked to stop; then it is given
    /// up.
    pub stop_timeout: Duration,
}

/// How long removing what nobody needs may take once the run was asked to stop: who asked will not
/// wait, and the lease is still to be given back.
const LAST_REMOVALS: Duration = Duration::from_secs(2);

/// Carries out a plan and returns how it ended, with the first failure of a step, of which an event
/// told. The lease is given back in any case. Errors: what keeps the run from starting (`Held` if
/// somebody else holds the lease), from going on, or its end from being written; nobody was told.
pub async fn run(
    services: Arc<Services>,
    pipeline: Arc<Pipeline>,
    plan: Plan,
    id: RunId,
    options: RunOptions,
    events: Arc<dyn EventSink>,
    cancel: CancellationToken,
) -> Outcome<(Status, Option<Failure>)> {
    if !plan.actions.iter().any(Action::runs) {
        return nothing_to_do(&services, &pipeline, &plan, id, &options, events.as_ref()).await;
    }
    // What stops this run alone: its deadline, or that somebody took its lease over.
    let cancel = cancel.child_token();
    let lease_name = orphans::lease_name(&pipeline.name, plan.date);
    let mut held = Held::acquire(&services, &lease_name, &options.holder, cancel.clone()).await?;
    let lease = held.lease().clone();
    let ready = async {
        fence::fence(&services, &pipeline, &lease).await?;
        held.is_fenced();
        settle::of_lease(&services, &lease, events.as_ref()).await
    };
    if let Err(failure) = ready.await {
        held.release().await;
        return Err(failure);
    }
    let run =
        Run { services, pipeline, plan, id, lease, options, events: Arc::clone(&events), cancel };
    let ended = run.carry_out().await;
    held.release().await;
    let Finished { id, status, seconds, summary, failure, broken } = ended?;
    events.emit(RunEvent::RunFinished { run: id, status, seconds, summary: Box::new(summary) });
    match broken {
        // Who asked it to stop knows why it did.
        Some(failure) if status != Status::Cancelled => Err(failure),
        Some(_) | None => Ok((status, failure)),
    }
}

/// A run that has nothing to do changes nothing: it takes no lease and leaves no record.
async fn nothing_to_do(
    services: &Services,
    pipeline: &Pipeline,
    plan: &Plan,
    id: RunId,
    options: &RunOptions,
    events: &dyn EventSink,
) -> Outcome<(Status, Option<Failure>)> {
    let clock = std::time::Instant::now();
    announce(plan, &id, options, events);
    let summary =
        RunSummary { served: served(services, pipeline).await, ..unchanged(services, plan) };
    events.emit(RunEvent::RunFinished {
        run: id,
        status: Status::Unchanged,
        seconds: clock.elapsed().as_secs_f64(),
        summary: Box::new(summary),
    });
    Ok((Status::Unchanged, None))
}

/// A run that has its lease.
struct Run {
    services: Arc<Services>,
    pipeline: Arc<Pipeline>,
    plan: Plan,
    id: RunId,
    lease: Lease,
    options: RunOptions,
    events: Arc<dyn EventSink>,
    cancel: CancellationToken,
}

/// A run at its end.
struct Finished {
    id: RunId,
    status: Status,
    seconds: f64,
    summary: RunSummary,
    /// Its first failure.
    failure: Option<Failure>,
    /// The one of which no step told.
    broken: Option<Failure>,
}

impl Run {
    async fn carry_out(self) -> Outcome<Finished> {
        let Self { services, pipeline, plan, id, lease, options, events, cancel } = self;
        let clock = std::time::Instant::now();
        let dead = orphans::bury(&services, &pipeline.name).await?;
        for message in orphans::left_by(&services, &pipeline, plan.date, &dead).await {
            events.emit(RunEvent::Noticed { message });
        }
        let definition = definition::keep(&services, &pipeline.definition).await?;
        let mut record = RunRecord {
            id: id.clone(),
            pipeline: pipeline.name.clone(),
            date: plan.date,
            status: Status::Running,
            started: services.clock.now(),
            finished: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            failure: None,
            definition: Some(definition),
            planned: planned(&plan),
            kind: RunKind::Pipeline,
            holder: Some(lease.holder.clone()),
            note: None,
        };
        services.state.put_run(&record).await?;
        announce(&plan, &id, &options, events.as_ref());
        let watched = match options.deadline {
            true => {
                let of = Watched::begin(&services, &pipeline, &plan, &record, &events, &cancel);
                Some(of.await?)
            }
            false => None,
        };
        let ours = lease.clone();
        let performer = Performer::new(
            Arc::clone(&services),
            Arc::clone(&pipeline),
            &plan,
            Identity { run: id.clone(), lease, forced: options.forced, serve: options.serve },
            Arc::clone(&events),
            cancel.clone(),
        );
        performer.recall(&plan).await?;
        let made = Arc::new(performer);
        let dispatcher =
            Dispatcher::new(&pipeline, &plan, &id, Arc::clone(&made), &services, events);
        let Dispatched { done, units, failure, broken, given_up } =
            dispatcher.dispatch(&options, &cancel).await;
        let overdue = watched.as_ref().and_then(Watched::failure);
        drop(watched);
        let is_cancelled = |failure: &Option<Failure>| {
            failure.as_ref().is_none_or(|it| it.kind == FailureKind::Cancelled)
        };
        let failure = if done || !is_cancelled(&failure) { failure } else { overdue.or(failure) };
        let status = match &failure {
            Some(failure) if failure.kind == FailureKind::Cancelled => Status::Cancelled,
            Some(_) => Status::Failed,
            None if !done => Status::Cancelled,
            None if units.is_empty() => Status::Unchanged,
            None => Status::Succeeded,
        };
        record.status = status;
        record.finished = Some(services.clock.now());
        record.failure.clone_from(&failure);
        services.state.put_run(&record).await?;
        // A publication that was given up may yet come to pass: its files are not ours to remove. Nor
        // are training sets, which have no owner, once another process goes on.
        if !given_up && Held::is_ours(&services, &ours).await {
            let removed = made.clean_up();
            if !cancel.is_cancelled() {
                removed.await;
            } else if tokio::time::timeout(LAST_REMOVALS, removed).await.is_err() {
                tracing::warn!("no time was left to remove all files that nobody will see");
            }
        }
        let summary = summarize(&services, &pipeline, &plan, &made, units).await;
        let seconds = clock.elapsed().as_secs_f64();
        Ok(Finished { id, status, seconds, summary, failure, broken })
    }
}

/// How many units of each step a plan does.
fn planned(plan: &Plan) -> BTreeMap<Name, u64> {
    let mut planned: BTreeMap<Name, u64> = BTreeMap::new();
    for action in plan.actions.iter().filter(|action| action.runs()) {
        *planned.entry(action.step.clone()).or_default() += 1;
    }
    planned
}

/// The unit of an action, for events.
pub fn unit_of(action: &Action) -> Unit {
    Unit { step: action.step.clone(), action: action.kind.word(), partition: action.partition }
}

fn announce(plan: &Plan, id: &RunId, options: &RunOptions, events: &dyn EventSink) {
    for notice in &plan.notices {
        events.emit(RunEvent::Noticed { message: notice.clone() });
    }
    let to_do: Vec<PlannedUnit> = plan
        .actions
        .iter()
        .filter_map(|action| match &action.verdict {
            Verdict::Run(reason) => {
                Some(PlannedUnit { unit: unit_of(action), reason: reason.clone() })
            }
            Verdict::Skip(_) | Verdict::Adopt(_) => None,
        })
        .collect();
    events.emit(RunEvent::RunStarted {
        run: id.clone(),
        pipeline: plan.pipeline.clone(),
        date: plan.date,
        target: options.target.clone(),
        unchanged: plan.actions.len() - to_do.len(),
        to_do,
    });
}

async fn summarize(
    services: &Services,
    pipeline: &Pipeline,
    plan: &Plan,
    performer: &Performer,
    units: Vec<FinishedUnit>,
) -> RunSummary {
    let mut summary = RunSummary { units, ..unchanged(services, plan) };
    for step in &pipeline.steps {
        // An old decision would read as if it had been made now.
        if matches!(step.kind, StepKind::Select(_))
            && summary
                .units
                .iter()
                .any(|unit| unit.unit.step == step.name && unit.status == Status::Succeeded)
        {
            summary.decision = performer.made().output::<Decision>(&step.name).ok();
        }
    }
    summary.served = served(services, pipeline).await;
    summary
}

/// What was left as it is.
fn unchanged(services: &Services, plan: &Plan) -> RunSummary {
    let mut summary = RunSummary {
        peak_memory: peak_bytes(),
        at: Some(services.clock.now()),
        ..RunSummary::default()
    };
    for action in &plan.actions {
        let reason = match &action.verdict {
            Verdict::Skip(run) => format!("unchanged since run {run}"),
            Verdict::Adopt(run) => format!("made by run {run}, which died"),
            Verdict::Run(_) => continue,
        };
        summary.unchanged.push(PlannedUnit { unit: unit_of(action), reason });
    }
    summary
}

/// What the pipeline's served tables show now.
async fn served(services: &Services, pipeline: &Pipeline) -> Vec<Served> {
    let mut served: BTreeMap<String, Served> = BTreeMap::new();
    for step in &pipeline.steps {
        let StepKind::Load(load) = &step.kind else { continue };
        let table = load.table.as_str();
        let generations = services.serving.generations(table).await.unwrap_or_default();
        if let Some(visible) = generations.into_iter().find(|g| g.visible) {
            served.insert(
                table.to_owned(),
                Served {
                    table: table.to_owned(),
                    generation: visible.generation,
                    items: visible.items,
                },
            );
        }
    }
    served.into_values().collect()
}
