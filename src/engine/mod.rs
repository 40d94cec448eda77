//! Makes a plan happen: each action once all that it needs is done, a few at a time.

pub mod definition;
mod facts;
mod lease;
mod perform;
mod states;

pub use facts::gather;
pub use states::states;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

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
use crate::run::record::{Decision, RunId, RunRecord, Status, StepRecord, StepReport};
use crate::steps::context::Services;

/// How a run is carried out.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Queries that run at once; each uses all query threads.
    pub parallel: usize,
    /// Name of the target, for people.
    pub target: String,
    /// Who holds the lease.
    pub holder: String,
    /// Whether the logical date's work is done again.
    pub forced: bool,
    /// How long what is under way may take to end once the run was asked to stop; then it is given
    /// up.
    pub stop_timeout: Duration,
}

/// How long removing what nobody needs may take once the run was asked to stop: who asked will not
/// wait, and the lease is still to be given back.
const LAST_REMOVALS: Duration = Duration::from_secs(2);

/// Carries out a plan and returns how it ended. The lease is given back in any case. Errors: only
/// what keeps the run from starting (`Conflict` if somebody else holds the lease) or its end from
/// being written.
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
    let lease_name = format!("{}/{}", pipeline.name, plan.date);
    let held = Held::acquire(&services, &lease_name, &options.holder, cancel.clone()).await?;
    let lease = held.lease().clone();
    let run =
        Run { services, pipeline, plan, id, lease, options, events: Arc::clone(&events), cancel };
    let ended = run.carry_out().await;
    held.release().await;
    let (finished, failure) = ended?;
    let status = finished.status;
    events.emit(RunEvent::RunFinished {
        run: finished.id,
        status,
        seconds: finished.seconds,
        summary: Box::new(finished.summary),
    });
    Ok((status, failure))
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
}

impl Run {
    async fn carry_out(self) -> Outcome<(Finished, Option<Failure>)> {
        let Self { services, pipeline, plan, id, lease, options, events, cancel } = self;
        let clock = std::time::Instant::now();
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
        };
        services.state.put_run(&record).await?;
        announce(&plan, &id, &options, events.as_ref());
        let performer = Performer::new(
            Arc::clone(&services),
            Arc::clone(&pipeline),
            &plan,
            Identity { run: id.clone(), lease, forced: options.forced },
            Arc::clone(&events),
            cancel.clone(),
        );
        performer.recall(&plan).await?;
        let mut dispatcher = Dispatcher {
            plan: &plan,
            performer: Arc::new(performer),
            services: Arc::clone(&services),
            events,
            run: id.clone(),
            states: vec![State::Waiting; plan.actions.len()],
            units: Vec::new(),
            failure: None,
            given_up: false,
        };
        let dispatched = dispatcher.dispatch(&options, &cancel).await;
        // What keeps a run from going on (a state store that is gone, a panic) is its failure too.
        if let Err(failure) = dispatched {
            dispatcher.failure.get_or_insert(failure);
            dispatcher.given_up = true;
        }
        let made = Arc::clone(&dispatcher.performer);
        let done = dispatcher.states.iter().all(|state| *state == State::Done);
        let status = match &dispatcher.failure {
            Some(failure) if failure.kind == FailureKind::Cancelled => Status::Cancelled,
            Some(_) => Status::Failed,
            None if !done => Status::Cancelled,
            None if dispatcher.units.is_empty() => Status::Unchanged,
            None => Status::Succeeded,
        };
        let failure = dispatcher.failure.take();
        let units = std::mem::take(&mut dispatcher.units);
        record.status = status;
        record.finished = Some(services.clock.now());
        record.failure.clone_from(&failure);
        services.state.put_run(&record).await?;
        // A publication that was given up may yet come to pass: its files are not ours to remove.
        if !dispatcher.given_up {
            let removed = made.clean_up();
            if !cancel.is_cancelled() {
                removed.await;
            } else if tokio::time::timeout(LAST_REMOVALS, removed).await.is_err() {
                tracing::warn!("no time was left to remove all files that nobody will see");
            }
        }
        let summary = summarize(&services, &pipeline, &plan, &made, units).await;
        let seconds = clock.elapsed().as_secs_f64();
        Ok((Finished { id, status, seconds, summary }, failure))
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
            Verdict::Skip(_) => None,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Done,
    Failed,
}

struct Dispatcher<'a> {
    plan: &'a Plan,
    performer: Arc<Performer>,
    services: Arc<Services>,
    events: Arc<dyn EventSink>,
    run: RunId,
    states: Vec<State>,
    units: Vec<FinishedUnit>,
    failure: Option<Failure>,
    /// Whether actions were left to themselves.
    given_up: bool,
}

impl Dispatcher<'_> {
    async fn dispatch(&mut self, options: &RunOptions, cancel: &CancellationToken) -> Outcome<()> {
        let parallel = options.parallel.max(1);
        let overdue = async {
            cancel.cancelled().await;
            tokio::time::sleep(options.stop_timeout).await;
        };
        let mut overdue = std::pin::pin!(overdue);
        let mut tasks: JoinSet<(usize, f64, Outcome<StepReport>)> = JoinSet::new();
        for (index, action) in self.plan.actions.iter().enumerate() {
            if !action.runs() {
                self.states[index] = State::Done;
            }
        }
        loop {
            self.fail_downstream().await?;
            while tasks.len() < parallel && !cancel.is_cancelled() {
                let Some(index) = self.next_ready() else { break };
                self.states[index] = State::Running;
                let action = self.plan.actions[index].clone();
                self.events.emit(RunEvent::StepStarted { unit: unit_of(&action) });
                let performer = Arc::clone(&self.performer);
                tasks.spawn(async move {
                    let clock = std::time::Instant::now();
                    let outcome = performer.perform(&action).await;
                    (index, clock.elapsed().as_secs_f64(), outcome)
                });
            }
            let joined = tokio::select! {
                biased;
                joined = tasks.join_next() => joined,
                () = &mut overdue => return self.give_up(options.stop_timeout).await,
            };
            match joined {
                None => return Ok(()),
                Some(Ok((index, seconds, outcome))) => self.finish(index, seconds, outcome).await?,
                Some(Err(error)) => {
                    let text = format!("a step panicked: {error}");
                    return Err(Failure::new(FailureKind::Internal, text));
                }
            }
        }
    }

    /// Ends what would not end in time. Dropping the tasks, which the caller does, cancels them:
    /// every call of a port may be dropped.
    async fn give_up(&mut self, after: Duration) -> Outcome<()> {
        self.given_up = true;
        for index in 0..self.states.len() {
            if self.states[index] == State::Running {
                let text = format!("did not end within {} s of being asked to", after.as_secs());
                let failure = Failure::new(FailureKind::Cancelled, text);
                self.finish(index, after.as_secs_f64(), Err(failure)).await?;
            }
        }
        Ok(())
    }

    /// The first action that may start: actions stand in the order of the plan, oldest day first.
    fn next_ready(&self) -> Option<usize> {
        (0..self.states.len()).find(|index| {
            self.states[*index] == State::Waiting
                && self.plan.actions[*index]
                    .needs
                    .iter()
                    .all(|need| self.states[*need] == State::Done)
        })
    }

    /// Marks what can no longer be done because something that it needs failed.
    async fn fail_downstream(&mut self) -> Outcome<()> {
        for index in 0..self.states.len() {
            let action = &self.plan.actions[index];
            if self.states[index] == State::Waiting
                && action.needs.iter().any(|need| self.states[*need] == State::Failed)
            {
                self.states[index] = State::Failed;
                self.end(index, Status::UpstreamFailed, 0.0, StepReport::default(), None).await?;
            }
        }
        Ok(())
    }

    async fn finish(
        &mut self,
        index: usize,
        seconds: f64,
        outcome: Outcome<StepReport>,
    ) -> Outcome<()> {
        match outcome {
            Ok(report) => {
                self.states[index] = State::Done;
                self.end(index, Status::Succeeded, seconds, report, None).await
            }
            Err(failure) => {
                self.states[index] = State::Failed;
                let status = match failure.kind {
                    FailureKind::Cancelled => Status::Cancelled,
                    _ => Status::Failed,
                };
                self.failure.get_or_insert_with(|| failure.clone());
                self.end(index, status, seconds, StepReport::default(), Some(failure)).await
            }
        }
    }

    async fn end(
        &mut self,
        index: usize,
        status: Status,
        seconds: f64,
        report: StepReport,
        failure: Option<Failure>,
    ) -> Outcome<()> {
        let action = &self.plan.actions[index];
        let finished = self.services.clock.now();
        #[expect(clippy::cast_possible_truncation, reason = "seconds of a step in milliseconds")]
        let started = finished - chrono::Duration::milliseconds((seconds * 1_000.0) as i64);
        let record = StepRecord {
            run: self.run.clone(),
            step: action.step.clone(),
            action: action.kind.word().to_owned(),
            partition: action.partition,
            status,
            started,
            finished: Some(finished),
            report: report.clone(),
            failure: failure.clone(),
        };
        self.services.state.put_step(&record).await?;
        let unit = unit_of(action);
        self.events.emit(RunEvent::StepFinished {
            unit: unit.clone(),
            status,
            seconds,
            report: Box::new(report.clone()),
            failure,
        });
        self.units.push(FinishedUnit { unit, status, seconds, report });
        Ok(())
    }
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
        if let Verdict::Skip(run) = &action.verdict {
            let reason = format!("unchanged since run {run}");
            summary.unchanged.push(PlannedUnit { unit: unit_of(action), reason });
        }
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
