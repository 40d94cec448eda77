//! Carries out a backfill: a run for each of its parts, a few at a time. The ledger is what it goes
//! by, so that one that was interrupted goes on when it is started again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{RunOptions, gather};
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::target::Target;
use crate::plan::backfill::{Backfill, Claims, Part, at_most};
use crate::plan::forecast::Forecast;
use crate::plan::preview::{Day, Known};
use crate::plan::prices::PriceList;
use crate::plan::{Facts, Plan, Verdict};
use crate::run::event::{BackfillEvent, BackfillSink};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{RunId, Status, StepRecord};
use crate::steps::context::Services;

/// How a backfill is carried out.
pub struct BackfillOptions {
    /// Actions that run at once, of all days together; also the number of runs at once.
    pub parallel: usize,
    /// Name of the target, for people.
    pub target: String,
    /// Makes a name for who holds the lease of a run.
    pub holder: fn() -> String,
    /// How long what is under way may take to end once it was asked to stop.
    pub stop_timeout: Duration,
    /// Whether no further run begins once one has failed.
    pub fail_fast: bool,
    /// What may be spent, in the currency of the prices.
    pub max_cost: Option<f64>,
    /// What costs and times are told from.
    pub pricing: Pricing,
}

/// What costs and times are told from.
pub struct Pricing {
    /// The target.
    pub target: Target,
    /// What earlier runs tell.
    pub forecast: Forecast,
    /// Prices.
    pub prices: PriceList,
    /// Query threads of a run.
    pub threads: usize,
}

impl Pricing {
    /// For planning.
    pub fn known(&self) -> Known<'_> {
        let Self { target, forecast, prices, threads } = self;
        Known { target, forecast, prices, threads: *threads }
    }
}

/// How a backfill ended.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    /// Days of which all is done, those that were done before among them.
    pub done: BTreeSet<LogicalDate>,
    /// Days of which a run failed, and those that could not be planned.
    pub failed: BTreeMap<LogicalDate, Failure>,
    /// Days that were not begun, or not brought to an end.
    pub left: BTreeSet<LogicalDate>,
    /// The first failure; that the budget is used up goes before others.
    pub failure: Option<Failure>,
    /// What was probably spent, where something is paid for.
    pub spent: Option<f64>,
}

/// How a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Done,
    Failed,
    /// It was stopped, or needs one that is not done.
    Left,
}

/// A run that has ended.
struct Came {
    index: usize,
    run: RunId,
    outcome: Outcome<(Status, Option<Failure>)>,
    seconds: f64,
    plan: Plan,
    facts: Facts,
    records: Vec<StepRecord>,
}

/// Carries out a backfill. A run that fails takes those along that wait for it; the others go on.
pub async fn carry_out(
    services: Arc<Services>,
    backfill: &Backfill,
    options: &BackfillOptions,
    sink: Arc<dyn BackfillSink>,
    cancel: CancellationToken,
) -> Ended {
    let parts = &backfill.parts;
    let mut running = Running {
        services,
        backfill,
        options,
        sink,
        cancel,
        places: Arc::new(Semaphore::new(options.parallel.max(1))),
        states: vec![State::Waiting; parts.len()],
        claims: BTreeMap::new(),
        limits: BTreeMap::new(),
        spent: 0.0,
        is_paid: false,
        failed: BTreeMap::new(),
        failure: None,
        stopped: false,
        tasks: JoinSet::new(),
    };
    running.all().await;
    running.ended()
}

struct Running<'a> {
    services: Arc<Services>,
    backfill: &'a Backfill,
    options: &'a BackfillOptions,
    sink: Arc<dyn BackfillSink>,
    cancel: CancellationToken,
    places: Arc<Semaphore>,
    states: Vec<State>,
    /// What the runs under way make and read.
    claims: BTreeMap<usize, Claims>,
    /// The most that the runs under way cost.
    limits: BTreeMap<usize, f64>,
    spent: f64,
    is_paid: bool,
    failed: BTreeMap<LogicalDate, Failure>,
    failure: Option<Failure>,
    /// Whether no further run begins.
    stopped: bool,
    tasks: JoinSet<Came>,
}

/// What became of the wish to begin a run.
enum Begun {
    /// It is under way, or had nothing to do.
    Yes,
    /// One that is under way makes or reads the same: it has to wait.
    Later,
}

impl Running<'_> {
    async fn all(&mut self) {
        loop {
            self.leave_downstream();
            self.begin().await;
            let Some(joined) = self.tasks.join_next().await else { return };
            match joined {
                Ok(came) => self.take(came),
                Err(error) => {
                    let text = format!("a run panicked: {error}");
                    let failure = Failure::new(FailureKind::Internal, text);
                    self.failure.get_or_insert(failure);
                    self.stopped = true;
                }
            }
        }
    }

    fn stops(&self) -> bool {
        self.stopped || self.cancel.is_cancelled()
    }

    /// Begins runs as long as there is room.
    async fn begin(&mut self) {
        let mut later = BTreeSet::new();
        while self.tasks.len() < self.options.parallel.max(1) && !self.stops() {
            let Some(index) = self.next_ready(&later) else { return };
            let cancel = self.cancel.clone();
            let begun = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                begun = self.start(index) => begun,
            };
            match begun {
                Ok(Begun::Yes) => {}
                Ok(Begun::Later) => {
                    later.insert(index);
                }
                Err(failure) => {
                    self.states[index] = State::Failed;
                    self.tell(index, None, Status::Failed, (0.0, 0), Some(failure.clone()));
                    self.fail(index, failure);
                }
            }
        }
    }

    /// The first run that waits for none.
    fn next_ready(&self, later: &BTreeSet<usize>) -> Option<usize> {
        let is_done = |index: &usize| self.states[*index] == State::Done;
        let parts = self.backfill.parts.iter().enumerate();
        let mut ready = parts.filter(|(index, part)| {
            self.states[*index] == State::Waiting
                && !later.contains(index)
                && part.waits.iter().all(is_done)
        });
        ready.next().map(|(index, _)| index)
    }

    /// Plans a run again, from what is there now, and begins it.
    async fn start(&mut self, index: usize) -> Outcome<Begun> {
        let part = &self.backfill.parts[index];
        let serve = self.backfill.asked.serve;
        let facts = gather(&self.services, &part.pipeline, &[part.date], false).await?;
        let facts = Facts { serve, ..facts };
        let plan = crate::plan::plan(&part.pipeline, part.date, &facts)?;
        if !plan.actions.iter().any(crate::plan::Action::runs) {
            self.states[index] = State::Done;
            self.tell(index, None, Status::Unchanged, (0.0, 0), None);
            return Ok(Begun::Yes);
        }
        let claims = Claims::of(&plan);
        if self.claims.values().any(|other| other.collide(&claims)) {
            return Ok(Begun::Later);
        }
        let known = self.options.pricing.known();
        let day = Day::of(&part.pipeline, plan, &facts, &known);
        if let Some(cost) = &day.cost {
            self.is_paid = true;
            let limit = at_most(cost);
            if let Some(max_cost) = self.options.max_cost {
                let under_way: f64 = self.limits.values().sum();
                if self.spent + under_way + limit > max_cost {
                    // What is under way may turn out to cost less.
                    if !self.tasks.is_empty() {
                        return Ok(Begun::Later);
                    }
                    self.failure = Some(over_budget(part, self.spent, limit, max_cost));
                    self.stopped = true;
                    return Ok(Begun::Later);
                }
            }
            self.limits.insert(index, limit);
        }
        self.claims.insert(index, claims);
        self.states[index] = State::Running;
        self.spawn(index, day.plan, facts);
        Ok(Begun::Yes)
    }

    fn spawn(&mut self, index: usize, plan: Plan, facts: Facts) {
        let part = &self.backfill.parts[index];
        let services = Arc::clone(&self.services);
        let run = RunId::new(&plan.pipeline, plan.date, services.clock.now(), rand::random());
        let options = RunOptions {
            parallel: self.options.parallel,
            places: Some(Arc::clone(&self.places)),
            target: self.options.target.clone(),
            holder: (self.options.holder)(),
            forced: false,
            serve: self.backfill.asked.serve,
            // It is for the run that is due.
            deadline: false,
            stop_timeout: self.options.stop_timeout,
        };
        let (pipeline, cancel) = (Arc::clone(&part.pipeline), self.cancel.clone());
        let events = self.sink.of_run(part.date);
        self.tasks.spawn(async move {
            let clock = std::time::Instant::now();
            let (id, of_run, state) = (run.clone(), plan.clone(), Arc::clone(&services.state));
            let outcome = super::run(services, pipeline, of_run, id, options, events, cancel).await;
            let seconds = clock.elapsed().as_secs_f64();
            // What cannot be looked up counts as nothing.
            let records = state.steps(&run).await.unwrap_or_default();
            Came { index, run, outcome, seconds, plan, facts, records }
        });
    }

    fn take(&mut self, came: Came) {
        let index = came.index;
        self.claims.remove(&index);
        self.limits.remove(&index);
        self.spent += self.cost_of(&came);
        let Came { run, outcome, seconds, records, .. } = came;
        let (status, failure) = match outcome {
            Ok(ended) => ended,
            Err(failure) if failure.kind == FailureKind::Cancelled => {
                (Status::Cancelled, Some(failure))
            }
            Err(failure) => (Status::Failed, Some(failure)),
        };
        self.states[index] = match status {
            Status::Succeeded | Status::Unchanged => State::Done,
            Status::Cancelled => State::Left,
            Status::Running | Status::Failed | Status::UpstreamFailed | Status::Interrupted => {
                State::Failed
            }
        };
        let units = records.iter().filter(|record| record.status == Status::Succeeded).count();
        self.tell(index, Some(run), status, (seconds, units), failure.clone());
        if self.states[index] == State::Failed {
            let unknown = || Failure::new(FailureKind::Internal, "it failed for no known reason");
            self.fail(index, failure.unwrap_or_else(unknown));
        }
    }

    fn fail(&mut self, index: usize, failure: Failure) {
        self.states[index] = State::Failed;
        self.stopped |= self.options.fail_fast;
        self.failure.get_or_insert_with(|| failure.clone());
        self.failed.entry(self.backfill.parts[index].date).or_insert(failure);
    }

    /// Leaves what waits for what is not done.
    fn leave_downstream(&mut self) {
        for (index, part) in self.backfill.parts.iter().enumerate() {
            let is_lost = |wait: &usize| matches!(self.states[*wait], State::Failed | State::Left);
            if self.states[index] == State::Waiting && part.waits.iter().any(is_lost) {
                self.states[index] = State::Left;
                self.tell(index, None, Status::UpstreamFailed, (0.0, 0), None);
            }
        }
    }

    fn tell(
        &self,
        index: usize,
        run: Option<RunId>,
        status: Status,
        (seconds, units): (f64, usize),
        failure: Option<Failure>,
    ) {
        let open = |state: &&State| matches!(state, State::Waiting | State::Running);
        self.sink.tell(BackfillEvent::BackfillRunEnded {
            date: self.backfill.parts[index].date,
            scope: self.backfill.parts[index].scope.word(),
            run,
            status,
            seconds,
            units: units as u64,
            failure,
            left: self.states.iter().filter(open).count() as u64,
        });
    }

    /// What a run has probably cost: what it did, for the time that it took.
    fn cost_of(&self, came: &Came) -> f64 {
        if !self.is_paid {
            return 0.0;
        }
        let Came { index, plan, facts, records, .. } = came;
        let mut done = plan.clone();
        for action in &mut done.actions {
            let is_it = |record: &&StepRecord| {
                record.step == action.step
                    && record.action == action.kind.word()
                    && record.partition == action.partition
                    && record.status != Status::UpstreamFailed
            };
            if action.runs() && !records.iter().any(|record| is_it(&record)) {
                action.verdict = Verdict::Skip(came.run.clone());
            }
        }
        // What failed was paid for as well.
        let paid = records.iter().map(|record| {
            let mut record = record.clone();
            record.status = Status::Succeeded;
            record
        });
        let forecast = Forecast::of_records(paid.collect::<Vec<_>>().iter());
        let known = Known { forecast: &forecast, ..self.options.pricing.known() };
        let pipeline = &self.backfill.parts[*index].pipeline;
        let day = Day::of(pipeline, done, facts, &known);
        day.cost.map_or(0.0, |cost| cost.amount)
    }

    fn ended(self) -> Ended {
        let Backfill { parts, done, refused, .. } = self.backfill;
        let mut ended = Ended {
            done: done.iter().copied().collect(),
            failed: self.failed,
            left: BTreeSet::new(),
            failure: self.failure,
            spent: self.is_paid.then_some(self.spent),
        };
        for (date, failure) in refused {
            ended.failure.get_or_insert_with(|| failure.clone());
            ended.failed.insert(*date, failure.clone());
        }
        for (part, state) in parts.iter().zip(&self.states) {
            match state {
                State::Done => ended.done.insert(part.date),
                State::Waiting | State::Running | State::Left => ended.left.insert(part.date),
                State::Failed => true,
            };
        }
        ended.left.retain(|date| !ended.failed.contains_key(date));
        ended.done.retain(|date| !ended.failed.contains_key(date) && !ended.left.contains(date));
        ended
    }
}

/// A run that is not begun lest more is spent than may be.
fn over_budget(part: &Part, spent: f64, limit: f64, max_cost: f64) -> Failure {
    let text = format!(
        "the run of {} may cost {limit:.2}, which with the {spent:.2} of the others is more than {max_cost:.2}",
        part.date
    );
    Failure::new(FailureKind::Exceeded, text).with_hint("`--max-cost` says how much may be spent")
}
