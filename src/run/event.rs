//! Events of a run, in the order in which they happen. Reports are made from these alone.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::failure::{Failure, FailureKind};
use super::record::{RunId, Status, StepReport};
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;

/// What is being done for which part of which table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Unit {
    /// Step.
    pub step: Name,
    /// The word for what is done.
    pub action: &'static str,
    /// Part of the table.
    pub partition: Partition,
}

/// Something that happened in a run.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// Something a person should know before it starts.
    Noticed {
        /// The words.
        message: String,
    },
    /// Sample data is being made.
    SampleProgressed {
        /// Events written.
        done: u64,
        /// Events asked for.
        total: u64,
    },
    /// The run begins.
    RunStarted {
        /// Run.
        run: RunId,
        /// Pipeline.
        pipeline: Name,
        /// The day that the data is about.
        date: LogicalDate,
        /// Target.
        target: String,
        /// What will be done.
        to_do: Vec<PlannedUnit>,
        /// Number of units that are unchanged.
        unchanged: usize,
    },
    /// A unit begins.
    StepStarted {
        /// Unit.
        unit: Unit,
    },
    /// A unit is under way.
    StepProgressed {
        /// Unit.
        unit: Unit,
        /// How far.
        progress: Progress,
    },
    /// A training job or trial of a unit said something of itself.
    TrialFinished {
        /// Unit.
        unit: Unit,
        /// Trial, from 1.
        trial: usize,
        /// Of how many.
        of: usize,
        /// Hyperparameters as text.
        hyperparameters: String,
        /// The objective, or why there is none.
        result: Result<f64, String>,
        /// Name of the objective.
        metric: String,
    },
    /// A unit failed for a reason that may pass, and will be tried again.
    StepRetried {
        /// Unit.
        unit: Unit,
        /// The attempt that failed, from 1.
        attempt: usize,
        /// How many there are at most.
        of: u32,
        /// Seconds until the next.
        wait: f64,
        /// Why it failed.
        failure: Failure,
    },
    /// Most of the time until the run's deadline is over.
    DeadlineNeared {
        /// When it has to be done.
        due: DateTime<Utc>,
        /// Seconds until then.
        left: f64,
        /// What the deadline follows from.
        because: String,
    },
    /// The run is not done by its deadline.
    DeadlineMissed {
        /// When it had to be done.
        due: DateTime<Utc>,
        /// What the deadline follows from.
        because: String,
        /// Whether it is stopped.
        stops: bool,
    },
    /// A unit ended.
    StepFinished {
        /// Unit.
        unit: Unit,
        /// How.
        status: Status,
        /// Seconds.
        seconds: f64,
        /// What it did.
        report: Box<StepReport>,
        /// Why it failed.
        failure: Option<Failure>,
    },
    /// The run ended.
    RunFinished {
        /// Run.
        run: RunId,
        /// How.
        status: Status,
        /// Seconds.
        seconds: f64,
        /// All that was done.
        summary: Box<RunSummary>,
    },
    /// The command that was to carry out a run ends: the last event, of a run that could not begin
    /// too.
    RunExited {
        /// Run, unless it could not begin.
        run: Option<RunId>,
        /// Pipeline, as it was asked for.
        pipeline: String,
        /// Target.
        target: String,
        /// How the run ended.
        status: Status,
        /// The kind of its first failure.
        kind: Option<FailureKind>,
        /// The exit code of the process.
        exit_code: u8,
    },
}

/// A unit of the plan with the reason why it is done.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedUnit {
    /// Unit.
    pub unit: Unit,
    /// Why it is done.
    pub reason: String,
}

/// How far a unit is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Progress {
    /// Rows read so far.
    pub rows: u64,
    /// Bytes of input read so far.
    pub bytes: u64,
    /// Bytes of input in all; 0 if unknown.
    pub total_bytes: u64,
    /// Trials done.
    pub trials: u64,
    /// Trials in all; 0 if there are none.
    pub total_trials: u64,
}

/// All that a run did, for its closing lines.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RunSummary {
    /// Units that ended, with how, seconds and what they did.
    pub units: Vec<FinishedUnit>,
    /// Units that were unchanged, with the reason.
    pub unchanged: Vec<PlannedUnit>,
    /// The decision, if one was made or is in force.
    pub decision: Option<super::record::Decision>,
    /// The generation that is served now.
    pub served: Vec<Served>,
    /// Peak resident memory of this process, in bytes, where the system tells.
    pub peak_memory: Option<u64>,
    /// When the summary was made.
    pub at: Option<DateTime<Utc>>,
}

/// A unit that ended.
#[derive(Debug, Clone, Serialize)]
pub struct FinishedUnit {
    /// Unit.
    pub unit: Unit,
    /// How.
    pub status: Status,
    /// Seconds.
    pub seconds: f64,
    /// What it did.
    pub report: StepReport,
}

/// A served table.
#[derive(Debug, Clone, Serialize)]
pub struct Served {
    /// Table.
    pub table: String,
    /// Visible generation.
    pub generation: String,
    /// Items in it.
    pub items: u64,
}

/// Receives events. Implementations must not block for long: the engine calls them in line.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn emit(&self, event: RunEvent);
}

/// Something that happened in a backfill, beside what happens in its runs.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum BackfillEvent {
    /// The backfill begins.
    BackfillStarted {
        /// Pipeline.
        pipeline: String,
        /// Target.
        target: String,
        /// The first day.
        from: LogicalDate,
        /// The last day.
        to: LogicalDate,
        /// Days with something to do.
        days: u64,
        /// Days with nothing to do.
        done: u64,
        /// Runs.
        runs: u64,
        /// Units of all runs, at most.
        units: u64,
    },
    /// A run of the backfill ended, or was not begun.
    BackfillRunEnded {
        /// The day.
        date: LogicalDate,
        /// The word for what it does of the day: its `tables`, or the `day`.
        scope: &'static str,
        /// Run, if it began.
        run: Option<RunId>,
        /// How.
        status: Status,
        /// Seconds.
        seconds: f64,
        /// Units that were done.
        units: u64,
        /// Why it failed.
        failure: Option<Failure>,
        /// Runs that are left.
        left: u64,
    },
    /// The backfill ended.
    BackfillFinished {
        /// How.
        status: Status,
        /// The kind of its first failure.
        kind: Option<FailureKind>,
        /// Seconds.
        seconds: f64,
        /// Days of which all is done now, those that were done before among them.
        done: Vec<LogicalDate>,
        /// Days whose run failed.
        failed: Vec<LogicalDate>,
        /// Days that were not begun, or not brought to an end.
        left: Vec<LogicalDate>,
        /// What was probably spent, where something is paid for.
        spent: Option<f64>,
        /// Why it ended before its time.
        failure: Option<Failure>,
        /// The command that goes on, if something is left.
        again: Option<String>,
        /// The exit code of the process.
        exit_code: u8,
    },
}

/// Receives what happens in a backfill.
pub trait BackfillSink: Send + Sync {
    /// Takes an event of the backfill itself.
    fn tell(&self, event: BackfillEvent);

    /// A receiver of the events of one of its runs.
    fn of_run(&self, date: LogicalDate) -> std::sync::Arc<dyn EventSink>;
}
