//! `train` and `tune`: fits a candidate, with or without a search for its hyperparameters.

use super::TableRead;
use super::context::StepContext;
use super::fit::{Cuts, Fit, Fitted, fit};
use crate::models::{Observation, Tuner};
use crate::pipeline::job::{Hyperparameters, Objective, Tuning};
use crate::pipeline::name::Name;
use crate::pipeline::step::TrainStep;
use crate::run::event::{Progress, RunEvent};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{ModelRecord, StepReport};

/// Fits a model on the days before the test. The output is its [`ModelRecord`].
pub async fn train(
    context: &StepContext,
    name: &Name,
    step: &TrainStep,
    reads: &[TableRead],
) -> Outcome<StepReport> {
    let hyperparameters = step.job.hyperparameters.clone();
    let fitted = fit_candidate(context, name, step, reads, hyperparameters).await?;
    finish(context, name, fitted, String::new())
}

/// Runs trials on the days before the validation, compares them on the validation, and fits a model
/// with the best trial's hyperparameters on the days before the test.
///
/// Trials run in rounds of `parallel`; what is tried next depends on finished rounds only, so the
/// same seed makes the same search. A trial that fails counts as tried; errors: `Step` if all fail
/// or none reports the objective.
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
    let tuner = Tuner::new(tuning, objective.direction)
        .map_err(|error| Failure::new(FailureKind::Usage, error.to_string()))?;
    let search = Search { context, name, step, reads, tuning, objective };
    let mut observations: Vec<Observation> = Vec::new();
    let mut last_failure = None;
    while observations.len() < tuning.trials {
        let mut round = Vec::new();
        let room = tuning.parallel.min(tuning.trials - observations.len());
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
            round.iter().enumerate().map(|(offset, given)| search.trial(first + offset, given));
        for (offset, result) in futures::future::join_all(trials).await.into_iter().enumerate() {
            match result {
                Ok(value) => observations[first + offset].value = Some(value),
                Err(failure) if failure.kind == FailureKind::Cancelled => return Err(failure),
                Err(failure) => last_failure = Some(failure),
            }
        }
        context.progress(Progress {
            trials: observations.len() as u64,
            total_trials: tuning.trials as u64,
            ..Progress::default()
        });
    }
    let mut best: Option<(&Observation, f64)> = None;
    for observation in &observations {
        if let Some(value) = observation.value
            && best.is_none_or(|(_, known)| objective.direction.better(value, known))
        {
            best = Some((observation, value));
        }
    }
    let Some((best, value)) = best else {
        return Err(last_failure.unwrap_or_else(|| {
            Failure::new(
                FailureKind::Step,
                format!("no trial of `{name}` reported `{}`", objective.metric),
            )
        }));
    };
    let mut hyperparameters = step.job.hyperparameters.clone();
    hyperparameters.extend(best.hyperparameters.clone());
    let note = format!(
        "best of {} trials: {} {value:.4} with {}",
        observations.len(),
        objective.metric,
        shown(&best.hyperparameters)
    );
    let fitted = fit_candidate(context, name, step, reads, hyperparameters).await?;
    let mut report = finish(context, name, fitted, note)?;
    report.metrics.insert(objective.metric.clone(), value);
    Ok(report)
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
    async fn trial(&self, index: usize, suggested: &Hyperparameters) -> Outcome<f64> {
        let mut hyperparameters = self.step.job.hyperparameters.clone();
        hyperparameters.extend(suggested.clone());
        let cuts = Cuts::new(self.context.pipeline.split, self.context.date);
        let metric = &self.objective.metric;
        let outcome = fit(
            self.context,
            Fit {
                step: self.name,
                suffix: format!("t{}", index + 1),
                train: self.step,
                algorithm: self.step.job.algorithm.to_string(),
                hyperparameters,
                days: cuts.train,
                validation: Some(cuts.validation),
                reads: self.reads,
                cut_offs: metric.split_once('@').map(|(_, k)| k.to_owned()),
            },
        )
        .await
        .and_then(|fitted| {
            fitted.metrics.get(metric).copied().ok_or_else(|| {
                Failure::new(
                    FailureKind::Step,
                    format!("trial {} did not report `{metric}`", index + 1),
                )
                .with_hint("its regex under `metrics` matched no line of the job's output")
            })
        });
        self.context.events.emit(RunEvent::TrialFinished {
            unit: self.context.unit.clone(),
            trial: index + 1,
            of: self.tuning.trials,
            hyperparameters: shown(suggested),
            result: outcome.clone().map_err(|failure| failure.message),
            metric: metric.clone(),
        });
        outcome
    }
}

async fn fit_candidate(
    context: &StepContext,
    name: &Name,
    step: &TrainStep,
    reads: &[TableRead],
    hyperparameters: Hyperparameters,
) -> Outcome<Fitted> {
    let cuts = Cuts::new(context.pipeline.split, context.date);
    fit(
        context,
        Fit {
            step: name,
            suffix: "fit".to_owned(),
            train: step,
            algorithm: step.job.algorithm.to_string(),
            hyperparameters,
            days: cuts.fit,
            validation: None,
            reads,
            cut_offs: None,
        },
    )
    .await
}

fn finish(context: &StepContext, name: &Name, fitted: Fitted, note: String) -> Outcome<StepReport> {
    let Fitted { model, peak_memory, .. } = fitted;
    let report = StepReport {
        peak_memory,
        note: Some(if note.is_empty() { describe(&model) } else { note }),
        ..StepReport::default()
    };
    context.made.put_output(name, to_value(&model)?);
    Ok(report)
}

/// A model in words.
pub(super) fn describe(model: &ModelRecord) -> String {
    if model.hyperparameters.is_empty() {
        return model.algorithm.clone();
    }
    format!("{} with {}", model.algorithm, shown(&model.hyperparameters))
}

fn shown(hyperparameters: &Hyperparameters) -> String {
    let shown: Vec<String> = hyperparameters
        .iter()
        .map(|(name, value)| match value.parse::<f64>() {
            // Draws from a range have all the digits of a double.
            Ok(number) if value.len() > 7 => format!("{name}={number:.4}"),
            _ => format!("{name}={value}"),
        })
        .collect();
    shown.join(" ")
}

/// Serialises a step's output.
pub(super) fn to_value(output: &impl serde::Serialize) -> Outcome<serde_json::Value> {
    serde_json::to_value(output).map_err(|error| {
        Failure::new(FailureKind::Internal, format!("cannot keep a step's output: {error}"))
    })
}
