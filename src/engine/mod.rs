//! Makes a plan happen: each action once all that it needs is done, a few at a time.

mod facts;
mod lease;
mod perform;

pub use facts::gather;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::lease::Held;
use self::perform::{Identity, Performer};
use crate::models::peak_bytes;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::step::StepKind;
use crate::plan::{Action, Plan, Verdict};
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
}

/// Carries out a plan and returns how it ended. Errors: only what keeps the run from starting
/// (`Conflict` if somebody else holds the lease) or its end from being written.
pub async fn run(
    services: Arc<Services>,
    pipeline: Arc<Pipeline>,
    plan: Plan,
    id: RunId,
    options: RunOptions,
    events: Arc<dyn EventSink>,
    cancel: CancellationToken,
) -> Outcome<(Status, Option<Failure>)> {
    let lease_name = format!("{}/{}", pipeline.name, plan.date);
    let held = Held::acquire(&services, &lease_name, &options.holder, cancel.clone()).await?;
    let started = services.clock.now();
    let clock = std::time::Instant::now();
    let mut record = RunRecord {
        id: id.clone(),
        pipeline: pipeline.name.clone(),
        date: plan.date,
        status: Status::Running,
        started,
        finished: None,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        failure: None,
    };
    services.state.put_run(&record).await?;
    announce(&plan, &id, &options, events.as_ref());
    let performer = Performer::new(
        Arc::clone(&services),
        Arc::clone(&pipeline),
        &plan,
        Identity { run: id.clone(), lease: held.lease().clone(), forced: options.forced },
        Arc::clone(&events),
        cancel.clone(),
    );
    performer.recall(&plan).await?;
    let mut dispatcher = Dispatcher {
        plan: &plan,
        performer: Arc::new(performer),
        services: Arc::clone(&services),
        events: Arc::clone(&events),
        run: id.clone(),
        states: vec![State::Waiting; plan.actions.len()],
        units: Vec::new(),
        failure: None,
    };
    let dispatched = dispatcher.dispatch(options.parallel.max(1), &cancel).await;
    // What keeps a run from going on (a state store that is gone, a panic) is its failure too.
    if let Err(failure) = dispatched {
        dispatcher.failure.get_or_insert(failure);
    }
    let made = Arc::clone(&dispatcher.performer);
    let status = match (&dispatcher.failure, cancel.is_cancelled()) {
        (Some(failure), _) if failure.kind == FailureKind::Cancelled => Status::Cancelled,
        (Some(_), _) => Status::Failed,
        (None, true) => Status::Cancelled,
        (None, false) if dispatcher.units.is_empty() => Status::Unchanged,
        (None, false) => Status::Succeeded,
    };
    let failure = dispatcher.failure.take();
    let units = std::mem::take(&mut dispatcher.units);
    record.status = status;
    record.finished = Some(services.clock.now());
    record.failure.clone_from(&failure);
    services.state.put_run(&record).await?;
    made.clean_up().await;
    let summary = summarize(&services, &pipeline, &plan, &made, units).await;
    held.release().await;
    events.emit(RunEvent::RunFinished {
        run: id,
        status,
        seconds: clock.elapsed().as_secs_f64(),
        summary: Box::new(summary),
    });
    Ok((status, failure))
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
}

impl Dispatcher<'_> {
    async fn dispatch(&mut self, parallel: usize, cancel: &CancellationToken) -> Outcome<()> {
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
            match tasks.join_next().await {
                None => return Ok(()),
                Some(Ok((index, seconds, outcome))) => self.finish(index, seconds, outcome).await?,
                Some(Err(error)) => {
                    let text = format!("a step panicked: {error}");
                    return Err(Failure::new(FailureKind::Internal, text));
                }
            }
        }
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
    let mut summary = RunSummary {
        units,
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
    let mut served: BTreeMap<String, Served> = BTreeMap::new();
    for step in &pipeline.steps {
        match &step.kind {
            // An old decision would read as if it had been made now.
            StepKind::Select(_)
                if summary.units.iter().any(|unit| {
                    unit.unit.step == step.name && unit.status == Status::Succeeded
                }) =>
            {
                summary.decision = performer.made().output::<Decision>(&step.name).ok();
            }
            StepKind::Load(load) => {
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
            StepKind::Sql(_)
            | StepKind::Train(_)
            | StepKind::Tune(_)
            | StepKind::Select(_)
            | StepKind::Score(_) => {}
        }
    }
    summary.served = served.into_values().collect();
    summary
}
