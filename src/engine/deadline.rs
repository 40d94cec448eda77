//! Watches the deadline of a run: warns before, and stops the run when it has passed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::pipeline::graph::Pipeline;
use crate::pipeline::name::Name;
use crate::pipeline::schedule::{Due, Missed};
use crate::pipeline::step::StepKind;
use crate::plan::Plan;
use crate::ports::Clock;
use crate::run::event::{EventSink, RunEvent};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{RunRecord, Status};
use crate::steps::context::Services;

/// Runs, of whatever pipeline, among which those of an average are looked for.
const RUNS_LOOKED_AT: usize = 500;
/// The clock is looked at that often: a machine that slept wakes up later than it meant to.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A deadline that is watched for as long as this is kept.
pub(super) struct Watched {
    due: Option<Due>,
    stopped: Arc<AtomicBool>,
    _watch: Option<AbortOnDropHandle<()>>,
}

impl Watched {
    /// Begins to watch the deadline of a run that starts now, if it has one.
    pub(super) async fn begin(
        services: &Arc<Services>,
        pipeline: &Pipeline,
        plan: &Plan,
        record: &RunRecord,
        events: &Arc<dyn EventSink>,
        cancel: &CancellationToken,
    ) -> Outcome<Self> {
        let mut watched =
            Self { due: None, stopped: Arc::new(AtomicBool::new(false)), _watch: None };
        let Some(deadline) = &pipeline.deadline else { return Ok(watched) };
        let took = match deadline.average {
            Some(_) => took(services, pipeline, record).await?,
            None => Vec::new(),
        };
        let started = record.started;
        let due = deadline.due(pipeline.schedule.as_ref(), plan.date, started, &took);
        let Some(due) = due else { return Ok(watched) };
        watched.due = Some(due.clone());
        // What begins too late would never be done if it were stopped.
        let stops = deadline.missed == Missed::Stop && due.at > started;
        let watch = Watch {
            clock: Arc::clone(&services.clock),
            events: Arc::clone(events),
            cancel: cancel.clone(),
            stopped: Arc::clone(&watched.stopped),
            due,
            stops,
        };
        watched._watch = Some(AbortOnDropHandle::new(tokio::spawn(watch.wait())));
        Ok(watched)
    }

    /// The failure of a run that the deadline stopped.
    pub(super) fn failure(&self) -> Option<Failure> {
        let due = self.due.as_ref().filter(|_| self.stopped.load(Ordering::Acquire))?;
        let at = due.at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let text = format!("the run was not done by {at}: {}", due.because);
        Some(Failure::new(FailureKind::Exceeded, text).with_hint("running again goes on"))
    }
}

struct Watch {
    clock: Arc<dyn Clock>,
    events: Arc<dyn EventSink>,
    cancel: CancellationToken,
    stopped: Arc<AtomicBool>,
    due: Due,
    stops: bool,
}

impl Watch {
    async fn wait(self) {
        let Due { at, warn, because } = self.due;
        if self.clock.now() < at {
            until(self.clock.as_ref(), warn).await;
            let left = (at - self.clock.now()).as_seconds_f64().max(0.0);
            self.events.emit(RunEvent::DeadlineNeared { due: at, left, because: because.clone() });
            until(self.clock.as_ref(), at).await;
        }
        self.events.emit(RunEvent::DeadlineMissed { due: at, because, stops: self.stops });
        // Whoever asked first is why the run stops.
        if self.stops && !self.cancel.is_cancelled() {
            self.stopped.store(true, Ordering::Release);
            self.cancel.cancel();
        }
    }
}

/// Waits until the clock shows an instant.
async fn until(clock: &dyn Clock, instant: DateTime<Utc>) {
    while let Ok(left) = (instant - clock.now()).to_std()
        && !left.is_zero()
    {
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
    }
}

/// What the last runs of a pipeline took that succeeded, the last one first. Those count that did
/// every step of a day that this one does; tables without days change on some days only.
async fn took(
    services: &Services,
    pipeline: &Pipeline,
    record: &RunRecord,
) -> Outcome<Vec<Duration>> {
    let by_day = |name: &&Name| match pipeline.step(name.as_str()).map(|step| &step.kind) {
        Some(StepKind::Sql(sql)) => sql.partitioned,
        Some(_) => true,
        None => false,
    };
    let steps: Vec<&Name> = record.planned.keys().filter(by_day).collect();
    let runs = services.state.runs(RUNS_LOOKED_AT).await?;
    let same = |run: &&RunRecord| {
        run.pipeline == record.pipeline
            && run.status == Status::Succeeded
            && steps.iter().all(|step| run.planned.contains_key(*step))
    };
    let took = |run: &RunRecord| (run.finished? - run.started).to_std().ok();
    Ok(runs.iter().filter(same).filter_map(took).collect())
}
