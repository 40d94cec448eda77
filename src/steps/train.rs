//! `train`: fits a candidate.

use super::TableRead;
use super::context::StepContext;
use super::fit::{Cuts, Fit, Fitted, fit};
use crate::pipeline::job::Hyperparameters;
use crate::pipeline::name::Name;
use crate::pipeline::step::TrainStep;
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

/// Fits a model on the days before the test.
pub(super) async fn fit_candidate(
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

/// Leaves the model for later steps, and describes it.
pub(super) fn finish(
    context: &StepContext,
    name: &Name,
    fitted: Fitted,
    note: String,
) -> Outcome<StepReport> {
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

pub(super) fn shown(hyperparameters: &Hyperparameters) -> String {
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
