//! Fits one model through the trainer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::TableRead;
use super::context::StepContext;
use super::dataset::{Days, cut};
use crate::pipeline::fingerprint::digest;
use crate::pipeline::graph::Split;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::job::{
    Hyperparameters, MAX_RUNTIME, OnCancel, PEAK_MEMORY, peak_memory_metric,
};
use crate::pipeline::name::Name;
use crate::pipeline::step::{StepKind, TrainStep};
use crate::ports::{JobKind, JobRequest, JobState};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::ModelRecord;

/// How long one look at a job waits for it to end.
const WAIT: Duration = Duration::from_secs(2);

/// The split of a window that ends with a date.
#[derive(Debug, Clone, Copy)]
pub struct Cuts {
    /// What trials are fitted on.
    pub train: Days,
    /// What trials are compared on.
    pub validation: Days,
    /// What candidates are fitted on: `train` and `validation`.
    pub fit: Days,
    /// What candidates are compared on.
    pub test: Days,
    /// All days: what serves is fitted on.
    pub all: Days,
}

impl Cuts {
    /// Cuts the window that ends with a date.
    pub fn new(split: Split, date: LogicalDate) -> Self {
        let first = date.minus(split.window.saturating_sub(1));
        let test = date.minus(split.test.saturating_sub(1));
        let validation = test.minus(split.validation);
        Self {
            train: Days { first, last: validation.minus(1) },
            validation: Days { first: validation, last: test.minus(1) },
            fit: Days { first, last: test.minus(1) },
            test: Days { first: test, last: date },
            all: Days { first, last: date },
        }
    }
}

/// A model to be fitted.
pub(super) struct Fit<'a> {
    /// The step whose model it is; its inputs fill the channels.
    pub step: &'a Name,
    /// Tells apart the fits of a step: `fit`, `final`, `trial-3`.
    pub suffix: String,
    pub train: &'a TrainStep,
    pub algorithm: String,
    pub hyperparameters: Hyperparameters,
    /// The days to fit on.
    pub days: Days,
    /// The days of the channel `validation`, if there is one.
    pub validation: Option<Days>,
    /// The partitions of the input tables.
    pub reads: &'a [TableRead],
    /// What the container is to be told beside its hyperparameters: cut-offs of metrics.
    pub cut_offs: Option<String>,
}

/// A model that was fitted.
pub(super) struct Fitted {
    pub model: ModelRecord,
    pub metrics: BTreeMap<String, f64>,
    /// The most bytes that the job held.
    pub peak_memory: Option<u64>,
}

/// How a job ended well.
pub(super) struct Ran {
    /// The last value of each metric.
    pub metrics: BTreeMap<String, f64>,
    /// The most bytes that it held, where it could tell.
    pub peak_memory: Option<u64>,
}

/// Submits the job and waits for it. A job of the same name and inputs that is done is not done
/// again. Stopping the run stops the job, unless the job says otherwise. Errors: `Step` with the
/// program's own reason.
pub(super) async fn fit(context: &StepContext, fit: Fit<'_>) -> Outcome<Fitted> {
    let request = request(context, &fit).await?;
    let artifact = format!("{}model.tar.gz", request.output);
    let Ran { metrics, peak_memory } = run(context, request, fit.train.job.on_cancel).await?;
    Ok(Fitted {
        model: ModelRecord {
            step: fit.step.clone(),
            algorithm: fit.algorithm,
            hyperparameters: fit.hyperparameters,
            artifact,
            tuned_by: None,
        },
        metrics,
        peak_memory,
    })
}

/// Cuts the channels and words the job.
pub(super) async fn request(context: &StepContext, fit: &Fit<'_>) -> Outcome<JobRequest> {
    let mut channels = BTreeMap::new();
    for input in &fit.train.inputs {
        let read = find(fit.reads, &input.table)?;
        let folder = cut(context, &input.channel, read, fit.days).await?;
        channels.insert(input.channel.clone(), folder);
        if let (Some(days), "train") = (fit.validation, input.channel.as_str()) {
            channels.insert("validation".to_owned(), cut(context, "validation", read, days).await?);
        }
    }
    let mut hyperparameters = fit.hyperparameters.clone();
    hyperparameters.insert("algorithm".to_owned(), fit.algorithm.clone());
    if let Some(cut_offs) = &fit.cut_offs {
        hyperparameters.insert("k".to_owned(), cut_offs.clone());
    }
    let name =
        job_name(context, fit.step, &fit.suffix, &format!("{channels:?}{hyperparameters:?}"));
    let mut metrics = fit.train.job.metrics.clone();
    metrics.push(peak_memory_metric());
    Ok(JobRequest {
        output: format!("models/{name}/"),
        kind: JobKind::Train,
        hyperparameters,
        channels,
        metrics,
        max_runtime: fit.train.job.resources.max_runtime.unwrap_or(MAX_RUNTIME),
        resources: fit.train.job.resources.clone(),
        name,
    })
}

/// Fits a model of a training step on all days, with given hyperparameters, for serving.
pub(super) async fn fit_for_serving(
    context: &StepContext,
    record: &ModelRecord,
    reads: &[TableRead],
) -> Outcome<Fitted> {
    let train = train_step(context, &record.step)?;
    let cuts = Cuts::new(context.pipeline.split, context.date);
    fit(
        context,
        Fit {
            step: &record.step,
            suffix: "final".to_owned(),
            train,
            algorithm: record.algorithm.clone(),
            hyperparameters: record.hyperparameters.clone(),
            days: cuts.all,
            validation: None,
            reads,
            cut_offs: None,
        },
    )
    .await
}

/// The training part of a step of the pipeline.
pub(super) fn train_step<'a>(context: &'a StepContext, step: &Name) -> Outcome<&'a TrainStep> {
    match context.pipeline.step(step.as_str()).map(|step| &step.kind) {
        Some(StepKind::Train(train) | StepKind::Tune(train)) => Ok(train),
        _ => Err(Failure::new(FailureKind::Usage, format!("step `{step}` does not train a model"))),
    }
}

/// The read of a table.
pub(super) fn find<'a>(reads: &'a [TableRead], table: &Name) -> Outcome<&'a TableRead> {
    reads.iter().find(|read| read.table == *table).ok_or_else(|| {
        Failure::new(
            FailureKind::Internal,
            format!("table `{table}` is not among the step's reads"),
        )
    })
}

/// A name that is the same whenever the same work is asked for: at most 63 characters. Forced work
/// is other work, so the run is part of its name.
pub(super) fn job_name(context: &StepContext, step: &Name, suffix: &str, what: &str) -> String {
    let mut identity = format!("{} {}", context.fingerprint, what);
    if context.forced {
        identity.push_str(context.run.as_str());
    }
    let head = job_head(step, context.date, suffix);
    format!("{head}-{}", &digest(identity.as_bytes()))
}

/// What the name of a job begins with: all but the digest of what it is made from.
pub fn job_head(step: &Name, date: LogicalDate, suffix: &str) -> String {
    format!("{}{}-{suffix}", job_prefix(step), date.day().format("%Y%m%d"))
}

/// What the names of a step's jobs begin with, whatever the day.
pub fn job_prefix(step: &Name) -> String {
    let step: String = step.as_str().replace('_', "-").chars().take(27).collect();
    format!("{step}-")
}

/// What becomes of remote work when its run is stopped, and the failure that says so.
pub(super) async fn stop(
    on_cancel: OnCancel,
    name: &str,
    cancel: impl Future<Output = Outcome<()>>,
) -> Failure {
    let text = match on_cancel {
        OnCancel::Detach => format!("job `{name}` goes on; the next run finds it"),
        OnCancel::Stop => match cancel.await {
            Ok(()) => format!("job `{name}` was cancelled"),
            Err(failure) => format!("job `{name}` could not be cancelled: {failure}"),
        },
    };
    Failure::new(FailureKind::Cancelled, text)
}

/// Submits a job and waits until it ends.
pub(super) async fn run(
    context: &StepContext,
    request: JobRequest,
    on_cancel: OnCancel,
) -> Outcome<Ran> {
    let trainer = &context.services.trainer;
    // A child process cannot outlive the run.
    let on_cancel = if trainer.outlives_the_run() { on_cancel } else { OnCancel::Stop };
    trainer.submit(&request).await?;
    loop {
        let status = tokio::select! {
            status = trainer.wait(&request.name, WAIT) => status?,
            () = context.cancel.cancelled() => {
                return Err(stop(on_cancel, &request.name, trainer.cancel(&request.name)).await);
            }
        };
        match status.state {
            JobState::InProgress => {}
            JobState::Completed => {
                let mut metrics = status.metrics;
                let peak_memory = metrics.remove(PEAK_MEMORY).map(count);
                return Ok(Ran { metrics, peak_memory });
            }
            JobState::Stopped => {
                return Err(Failure::new(
                    FailureKind::Cancelled,
                    format!("job `{}` was stopped", request.name),
                ));
            }
            JobState::Failed { reason, last_lines } => {
                let failure = Failure::new(
                    FailureKind::Step,
                    format!("job `{}` failed: {reason}", request.name),
                );
                return Err(match last_lines.last() {
                    Some(line) if *line != reason => {
                        failure.with_hint(format!("its last line was: {line}"))
                    }
                    _ => failure,
                });
            }
        }
    }
}

/// A count that went through a metric.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the regexes of counts match digits only"
)]
pub(super) fn count(metric: f64) -> u64 {
    metric as u64
}
