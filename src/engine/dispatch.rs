//! Starts each action once all that it needs is done, a few at a time, and tries again what failed
//! for a reason that may pass.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::perform::Performer;
use super::{RunOptions, unit_of};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::retries::RetryPolicy;
use crate::plan::Plan;
use crate::run::event::{EventSink, FinishedUnit, RunEvent};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{Attempt, RunId, Status, StepRecord, StepReport};
use crate::steps::context::Services;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// It failed and is tried again then.
    Pausing(Instant),
    Running,
    Done,
    Failed,
}

/// What came of a plan's actions.
pub(super) struct Dispatched {
    /// Whether all of them are done.
    pub(super) done: bool,
    /// Those that ended in this run.
    pub(super) units: Vec<FinishedUnit>,
    /// The first failure.
    pub(super) failure: Option<Failure>,
    /// What kept the run itself from going on, of which no step tells: a state store that is gone, a
    /// panic.
    pub(super) broken: Option<Failure>,
    /// Whether actions were left to themselves.
    pub(super) given_up: bool,
}

pub(super) struct Dispatcher<'a> {
    plan: &'a Plan,
    retries: &'a RetryPolicy,
    run: &'a RunId,
    performer: Arc<Performer>,
    services: &'a Services,
    events: Arc<dyn EventSink>,
    states: Vec<State>,
    /// Failed attempts by action.
    earlier: BTreeMap<usize, Vec<Attempt>>,
    /// Retries that the run may still make.
    budget: u32,
    units: Vec<FinishedUnit>,
    failure: Option<Failure>,
    given_up: bool,
}

impl<'a> Dispatcher<'a> {
    pub(super) fn new(
        pipeline: &'a Pipeline,
        plan: &'a Plan,
        run: &'a RunId,
        performer: Arc<Performer>,
        services: &'a Services,
        events: Arc<dyn EventSink>,
    ) -> Self {
        let state = |runs: bool| if runs { State::Waiting } else { State::Done };
        Self {
            plan,
            retries: &pipeline.retries,
            run,
            performer,
            services,
            events,
            states: plan.actions.iter().map(|action| state(action.runs())).collect(),
            earlier: BTreeMap::new(),
            budget: pipeline.retries.budget,
            units: Vec::new(),
            failure: None,
            given_up: false,
        }
    }

    /// Does what there is to do.
    pub(super) async fn dispatch(
        mut self,
        options: &RunOptions,
        cancel: &CancellationToken,
    ) -> Dispatched {
        let broken = self.all(options, cancel).await.err();
        if let Some(failure) = &broken {
            self.failure.get_or_insert_with(|| failure.clone());
            self.given_up = true;
        }
        Dispatched {
            done: self.states.iter().all(|state| *state == State::Done),
            units: self.units,
            failure: self.failure,
            broken,
            given_up: self.given_up,
        }
    }

    async fn all(&mut self, options: &RunOptions, cancel: &CancellationToken) -> Outcome<()> {
        let parallel = options.parallel.max(1);
        let overdue = async {
            cancel.cancelled().await;
            tokio::time::sleep(options.stop_timeout).await;
        };
        let mut overdue = std::pin::pin!(overdue);
        let mut tasks: JoinSet<(usize, f64, Outcome<StepReport>)> = JoinSet::new();
        let mut spare = None;
        loop {
            self.fail_downstream().await?;
            let mut no_place = false;
            while tasks.len() < parallel && !cancel.is_cancelled() {
                let Some(index) = self.next_ready() else { break };
                let place = match spare.take() {
                    Some(place) => Some(place),
                    None => match options.places.clone().map(Semaphore::try_acquire_owned) {
                        None => None,
                        Some(Ok(place)) => Some(place),
                        Some(Err(_)) => {
                            no_place = true;
                            break;
                        }
                    },
                };
                self.states[index] = State::Running;
                let action = self.plan.actions[index].clone();
                self.events.emit(RunEvent::StepStarted { unit: unit_of(&action) });
                let performer = Arc::clone(&self.performer);
                tasks.spawn(async move {
                    let clock = std::time::Instant::now();
                    let outcome = performer.perform(&action).await;
                    drop(place);
                    (index, clock.elapsed().as_secs_f64(), outcome)
                });
            }
            // What nothing here can use is another run's.
            spare = None;
            let pause = self.shortest_pause();
            if tasks.is_empty() && ((pause.is_none() && !no_place) || cancel.is_cancelled()) {
                return self.end_pauses().await;
            }
            tokio::select! {
                biased;
                joined = tasks.join_next(), if !tasks.is_empty() => match joined {
                    Some(Ok((index, seconds, outcome))) => {
                        self.finish(index, seconds, outcome).await?;
                    }
                    Some(Err(error)) => {
                        let text = format!("a step panicked: {error}");
                        return Err(Failure::new(FailureKind::Internal, text));
                    }
                    None => {}
                },
                () = &mut overdue => return self.give_up(options.stop_timeout).await,
                () = cancel.cancelled(), if tasks.is_empty() => {}
                place = place_of(options.places.as_ref()), if no_place => spare = place,
                () = sleep_until(pause), if tasks.len() < parallel && !cancel.is_cancelled() => {}
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
        self.end_pauses().await
    }

    /// A run that is asked to stop tries nothing again: what was to be tried has failed.
    async fn end_pauses(&mut self) -> Outcome<()> {
        for index in 0..self.states.len() {
            if let State::Pausing(_) = self.states[index]
                && let Some(last) = self.earlier.get_mut(&index).and_then(Vec::pop)
            {
                self.fail(index, last.seconds, last.failure).await?;
            }
        }
        self.fail_downstream().await
    }

    /// The first action that may start: actions stand in the order of the plan, oldest day first.
    fn next_ready(&self) -> Option<usize> {
        let now = Instant::now();
        (0..self.states.len()).find(|index| match self.states[*index] {
            State::Waiting => {
                let needs = &self.plan.actions[*index].needs;
                needs.iter().all(|need| self.states[*need] == State::Done)
            }
            State::Pausing(until) => until <= now,
            State::Running | State::Done | State::Failed => false,
        })
    }

    /// When the first of those that pause is tried again.
    fn shortest_pause(&self) -> Option<Instant> {
        let pauses = self.states.iter().filter_map(|state| match state {
            State::Pausing(until) => Some(*until),
            State::Waiting | State::Running | State::Done | State::Failed => None,
        });
        pauses.min()
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
            Err(failure) => match self.again(index, &failure) {
                Some(wait) => {
                    self.pause(index, seconds, failure, wait);
                    Ok(())
                }
                None => self.fail(index, seconds, failure).await,
            },
        }
    }

    async fn fail(&mut self, index: usize, seconds: f64, failure: Failure) -> Outcome<()> {
        self.states[index] = State::Failed;
        let status = match failure.kind {
            FailureKind::Cancelled => Status::Cancelled,
            _ => Status::Failed,
        };
        self.failure.get_or_insert_with(|| failure.clone());
        self.end(index, status, seconds, StepReport::default(), Some(failure)).await
    }

    /// How long to wait before an action is tried again; `None` if it is not.
    fn again(&self, index: usize, failure: &Failure) -> Option<Duration> {
        let action = &self.plan.actions[index];
        let retries = self.retries.of(&action.step);
        let failed = self.earlier.get(&index).map_or(0, Vec::len) + 1;
        let failed = u32::try_from(failed).unwrap_or(u32::MAX);
        let may = failure.kind.may_pass() && failed < retries.attempts && self.budget > 0;
        // The run is no part of the name, so that a wait can be foretold from the plan.
        let unit = format!("{} {} {}", action.step, action.kind.word(), action.partition);
        (may && !self.given_up).then(|| retries.wait(&unit, failed))
    }

    fn pause(&mut self, index: usize, seconds: f64, failure: Failure, wait: Duration) {
        let action = &self.plan.actions[index];
        self.budget -= 1;
        self.states[index] = State::Pausing(Instant::now() + wait);
        let earlier = self.earlier.entry(index).or_default();
        earlier.push(Attempt {
            ended: self.services.clock.now(),
            seconds,
            failure: failure.clone(),
        });
        self.events.emit(RunEvent::StepRetried {
            unit: unit_of(action),
            attempt: earlier.len(),
            of: self.retries.of(&action.step).attempts,
            wait: wait.as_secs_f64(),
            failure,
        });
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
            earlier: self.earlier.remove(&index).unwrap_or_default(),
        };
        let written = self.services.state.put_step(&record).await;
        // What is not written down is not done for good; why something failed is told in any case.
        if written.is_err() && failure.is_none() {
            return written;
        }
        let unit = unit_of(action);
        self.events.emit(RunEvent::StepFinished {
            unit: unit.clone(),
            status,
            seconds,
            report: Box::new(report.clone()),
            failure,
        });
        self.units.push(FinishedUnit { unit, status, seconds, report });
        written
    }
}

/// Waits for a place among those of several runs; for ever where there are none to wait for.
async fn place_of(places: Option<&Arc<Semaphore>>) -> Option<OwnedSemaphorePermit> {
    match places {
        Some(places) => Arc::clone(places).acquire_owned().await.ok(),
        None => std::future::pending().await,
    }
}

async fn sleep_until(pause: Option<Instant>) {
    match pause {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
