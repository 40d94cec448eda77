//! `tune`: searches hyperparameters, then fits a candidate with the best.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::TableRead;
use super::context::StepContext;
use super::fit::{Cuts, Fit, fit, request, stop};
use super::train::{finish, fit_candidate, shown};
use crate::models::{Observation, Tuner};
use crate::pipeline::fingerprint::digest;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::job::{Hyperparameters, Objective, Tuning};
use crate::pipeline::name::Name;
use crate::pipeline::step::TrainStep;
use crate::ports::{JobState, TuningRequest, TuningService};
use crate::run::event::{Progress, RunEvent};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{ModelRecord, StepReport};

/// How long one look at a search waits for it to end.
const WAIT: Duration = Duration::from_secs(10);
/// Earlier searches that a search may learn from; SageMaker takes five.
const WARM_START_PARENTS: usize = 5;

/// Runs trials on the days before the validation, compares them on the validation, and fits a model
/// with the best trial's hyperparameters on the days before the test.
///
/// A trainer that can search by itself does so; else trials run in rounds of `parallel`, and what
/// is tried next depends on finished rounds only, so the same seed makes the same search. A trial
/// that fails counts as tried; errors: `Step` if all fail or none reports the objective.
pub async fn tune(
    context: &StepContext,
    name: &Name,
    step: &TrainStep,
    reads: &[TableRead],
) -> Outcome<StepReport> {
    let (Some(tuning), Some(objective)) = (&step.job.tuning, &step.job.objective) else {
        let text = format!("job `{}` has no tuning or no objective", step.job.name);
        return Err(Failure::new(FailureKind::Usage, text));
    };
    let search = Search { context, name, step, reads, tuning, objective };
    let found = match context.services.trainer.tuning() {
        Some(service) => search.managed(service).await?,
        None => search.own().await?,
    };
    let mut best: Option<(&Observation, f64)> = None;
    for observation in &found.observations {
        if let Some(value) = observation.value
            && best.is_none_or(|(_, known)| objective.direction.better(value, known))
        {
            best = Some((observation, value));
        }
    }
    let Some((best, value)) = best else {
        return Err(found.failure.unwrap_or_else(|| {
            Failure::new(
                FailureKind::Step,
                format!("no trial of `{name}` reported `{}`", objective.metric),
            )
            .with_hint("its regex under `metrics` matched no line of the jobs' output")
        }));
    };
    let mut hyperparameters = step.job.hyperparameters.clone();
    hyperparameters.extend(best.hyperparameters.clone());
    let note = format!(
        "best of {} trials: {} {value:.4} with {}",
        found.observations.len(),
        objective.metric,
        shown(&best.hyperparameters)
    );
    let mut fitted = fit_candidate(context, name, step, reads, hyperparameters).await?;
    fitted.model.tuned_by = found.service_job;
    let mut report = finish(context, name, fitted, note)?;
    report.metrics.insert(objective.metric.clone(), value);
    Ok(report)
}

/// What a search found.
struct Found {
    observations: Vec<Observation>,
    /// Why the last trial that failed did.
    failure: Option<Failure>,
    /// The name under which a service knows the search.
    service_job: Option<String>,
}

struct Search<'a> {
    context: &'a StepContext,
    name: &'a Name,
    step: &'a TrainStep,
    reads: &'a [TableRead],
    tuning: &'a Tuning,
    objective: &'a Objective,
}

impl Search<'_> {
    /// Runs the trials one round after the other.
    async fn own(&self) -> Outcome<Found> {
        let tuner = Tuner::new(self.tuning, self.objective.direction)
            .map_err(|error| Failure::new(FailureKind::Usage, error.to_string()))?;
        let mut observations: Vec<Observation> = Vec::new();
        let mut last_failure = None;
        while observations.len() < self.tuning.trials {
            let mut round = Vec::new();
            let room = self.tuning.parallel.min(self.tuning.trials - observations.len());
            for _ in 0..room {
                let Some(suggested) = tuner.suggest(&observations) else { break };
                round.push(suggested.clone());
                observations.push(Observation { hyperparameters: suggested, value: None });
            }
            if round.is_empty() {
                break;
            }
            let first = observations.len() - round.len();
            let trials =
                round.iter().enumerate().map(|(offset, given)| self.trial(first + offset, given));
            for (offset, result) in futures::future::join_all(trials).await.into_iter().enumerate()
            {
                match result {
                    Ok(value) => observations[first + offset].value = Some(value),
                    Err(failure) if failure.kind == FailureKind::Cancelled => return Err(failure),
                    Err(failure) => last_failure = Some(failure),
                }
            }
            self.progress(observations.len());
        }
        Ok(Found { observations, failure: last_failure, service_job: None })
    }

    async fn trial(&self, index: usize, suggested: &Hyperparameters) -> Outcome<f64> {
        let fitted = fit(self.context, self.trial_fit(format!("trial-{index}"), suggested)).await;
        let metric = &self.objective.metric;
        let outcome = fitted.and_then(|fitted| {
            fitted.metrics.get(metric).copied().ok_or_else(|| self.silent(index))
        });
        self.tell(index, suggested, outcome.clone().map_err(|failure| failure.message));
        outcome
    }

    /// A fit on the days before the validation.
    fn trial_fit(&self, suffix: String, suggested: &Hyperparameters) -> Fit<'_> {
        let mut hyperparameters = self.step.job.hyperparameters.clone();
        hyperparameters.extend(suggested.clone());
        let cuts = Cuts::new(self.context.pipeline.split, self.context.date);
        Fit {
            step: self.name,
            suffix,
            train: self.step,
            algorithm: self.step.job.algorithm.to_string(),
            hyperparameters,
            days: cuts.train,
            validation: Some(cuts.validation),
            reads: self.reads,
            cut_offs: self.objective.metric.split_once('@').map(|(_, k)| k.to_owned()),
        }
    }

    /// Lets the trainer's service search.
    async fn managed(&self, service: &dyn TuningService) -> Outcome<Found> {
        let trial =
            request(self.context, &self.trial_fit("trial".to_owned(), &BTreeMap::new())).await?;
        let request = TuningRequest {
            name: self.search_name(&trial.name),
            trial,
            tuning: self.tuning.clone(),
            objective: self.objective.clone(),
            warm_start: self.parents().await?,
        };
        service.submit_tuning(&request).await?;
        let mut told: Vec<String> = Vec::new();
        let status = loop {
            let status = tokio::select! {
                status = service.wait_tuning(&request.name, WAIT) => status?,
                () = self.context.cancel.cancelled() => {
                    return Err(stop(self.step.job.on_cancel, &request.name, async {
                        service.cancel_tuning(&request.name).await
                    }).await);
                }
            };
            for (index, trial) in status.trials.iter().enumerate() {
                if let (Some(value), false) = (trial.value, told.contains(&trial.job)) {
                    told.push(trial.job.clone());
                    self.tell(index, &trial.hyperparameters, Ok(value));
                    self.progress(told.len());
                }
            }
            if status.state != JobState::InProgress {
                break status;
            }
        };
        let failure = match status.state {
            JobState::InProgress | JobState::Completed => None,
            JobState::Stopped => {
                let text = format!("search `{}` was stopped", request.name);
                return Err(Failure::new(FailureKind::Cancelled, text));
            }
            JobState::Failed { reason, last_lines } => {
                let text = format!("search `{}` failed: {reason}", request.name);
                let failure = Failure::new(FailureKind::Step, text);
                Some(match last_lines.last() {
                    Some(line) if *line != reason => {
                        failure.with_hint(format!("the last line of a trial was: {line}"))
                    }
                    _ => failure,
                })
            }
        };
        let observations = status.trials.into_iter().map(|trial| Observation {
            hyperparameters: trial.hyperparameters,
            value: trial.value,
        });
        Ok(Found { observations: observations.collect(), failure, service_job: Some(request.name) })
    }

    /// At most 32 characters, which is all that SageMaker takes for a search; its trials' names
    /// are made of it.
    fn search_name(&self, trial: &str) -> String {
        let tuning = format!("{trial} {:?}", self.tuning);
        let head = search_head(self.name, self.context.date);
        format!("{head}{:.8}", digest(tuning.as_bytes()))
    }

    /// Searches of earlier days, newest first.
    async fn parents(&self) -> Outcome<Vec<String>> {
        if !self.tuning.warm_start {
            return Ok(Vec::new());
        }
        let mut rows = self.context.services.state.ledger(&self.context.pipeline.name).await?;
        rows.retain(|row| {
            let before = Partition::Day(self.context.date);
            row.step == *self.name && row.partition < before
        });
        rows.sort_by_key(|row| Reverse(row.partition));
        let models = rows.into_iter().filter_map(|row| {
            serde_json::from_value::<ModelRecord>(row.output).ok().and_then(|model| model.tuned_by)
        });
        Ok(models.take(WARM_START_PARENTS).collect())
    }

    fn silent(&self, index: usize) -> Failure {
        let text = format!("trial {} did not report `{}`", index + 1, self.objective.metric);
        Failure::new(FailureKind::Step, text)
            .with_hint("its regex under `metrics` matched no line of the job's output")
    }

    fn tell(&self, index: usize, suggested: &Hyperparameters, result: Result<f64, String>) {
        self.context.events.emit(RunEvent::TrialFinished {
            unit: self.context.unit.clone(),
            trial: index + 1,
            of: self.tuning.trials,
            hyperparameters: shown(suggested),
            result,
            metric: self.objective.metric.clone(),
        });
    }

    fn progress(&self, trials: usize) {
        self.context.progress(Progress {
            trials: trials as u64,
            total_trials: self.tuning.trials as u64,
            ..Progress::default()
        });
    }
}

/// What the names of a step's search and of its trials begin with: all but the digest of what the
/// search is made from.
pub fn search_head(step: &Name, date: LogicalDate) -> String {
    format!("{}{}-", search_prefix(step), date.day().format("%y%m%d"))
}

/// What the names of a step's searches begin with, whatever the day.
pub fn search_prefix(step: &Name) -> String {
    let step: String = step.as_str().replace('_', "-").chars().take(14).collect();
    format!("{}-", step.trim_end_matches('-'))
}
