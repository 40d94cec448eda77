//! `select`: compares candidates, baselines and the champion on the test days, and decides.

use std::collections::BTreeMap;

use super::TableRead;
use super::context::StepContext;
use super::dataset::{cut, download};
use super::fit::{Cuts, Fit, find, fit, fit_for_serving, train_step};
use super::train::{describe, to_value};
use crate::models::{
    Evaluation, EvaluationOptions, Interactions, Model, ModelError, evaluate, unpack,
};
use crate::pipeline::estimate::Estimate;
use crate::pipeline::name::Name;
use crate::pipeline::step::{ChampionRule, SelectStep};
use crate::ports::ModelEntry;
use crate::ports::limits::sagemaker::GROUP_NAME;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{Decision, ModelRecord, ModelResult, StepReport};

/// The name of the last winner among the results.
const CHAMPION: &str = "champion";

struct Entrant {
    name: String,
    role: &'static str,
    model: ModelRecord,
    evaluation: Evaluation,
}

/// Evaluates every model on new items of the test days, decides by the step's metric, and fits the
/// winner again on all days. The output is the [`Decision`], which is also kept in the state.
///
/// The champion is compared by its algorithm and hyperparameters, fitted on the same days as the
/// candidates: its served model has seen the test days already.
pub async fn select(
    context: &StepContext,
    name: &Name,
    step: &SelectStep,
    reads: &[TableRead],
) -> Outcome<StepReport> {
    let cuts = Cuts::new(context.pipeline.split, context.date);
    let table = training_table(context, step)?;
    let read = find(reads, &table)?;
    let history = cut(context, "train", read, cuts.fit).await?;
    let test = cut(context, "validation", read, cuts.test)
        .await
        .map_err(|failure| failure.while_doing("the test days are empty"))?;
    let history = interactions(context, &history).await?;
    let test = interactions(context, &test).await?;
    let k = step.metric.split_once('@').and_then(|(_, k)| k.parse().ok()).unwrap_or(10);
    let data = TestData { history, test, k };
    let mut entrants: Vec<Entrant> = Vec::new();
    for (names, role) in [(&step.candidates, "candidate"), (&step.baselines, "baseline")] {
        for candidate in names {
            let model: ModelRecord = context.made.output(candidate)?;
            let evaluation = data.judge(context, &model).await?;
            entrants.push(Entrant { name: candidate.to_string(), role, model, evaluation });
        }
    }
    let last = context
        .services
        .state
        .decision_before(&context.pipeline.name, name, context.date)
        .await?
        .map(|decision| decision.winner);
    let champion = match (step.champion, last) {
        (ChampionRule::KeepUnlessBeaten, Some(last)) => {
            Some(enter_champion(context, &last, &mut entrants, &data, reads).await?)
        }
        _ => None,
    };
    let (winner, reason) = decide(step, &entrants, champion)?;
    let winner_name = entrants[winner].name.clone();
    let role = entrants[winner].role;
    let record = entrants[winner].model.clone();
    let served = fit_for_serving(context, &record, reads).await?;
    let metrics = entrants[winner].evaluation.metrics.clone();
    let users = entrants[winner].evaluation.users as u64;
    let decision = Decision {
        date: context.date,
        metric: step.metric.clone(),
        winner: served.model,
        winner_name,
        reason: reason.clone(),
        results: results(entrants, &step.metric),
        users,
        test_days: (cuts.test.first, cuts.test.last),
    };
    let (state, pipeline) = (&context.services.state, &context.pipeline.name);
    // Before the registration, which knows no lease: who was taken over stops here.
    state.put_decision(pipeline, name, &decision, &context.lease).await?;
    register(context, name, &decision, &metrics).await?;
    context.made.put_output(name, to_value(&decision)?);
    Ok(StepReport {
        note: Some(format!("{role} {}: {}", decision.winner_name, describe(&decision.winner))),
        metrics: metrics.into_iter().map(|(name, estimate)| (name, estimate.value)).collect(),
        ..StepReport::default()
    })
}

/// Registers the winner, as it will serve.
async fn register(
    context: &StepContext,
    name: &Name,
    decision: &Decision,
    metrics: &BTreeMap<String, Estimate>,
) -> Outcome<()> {
    let Some(registry) = &context.services.registry else { return Ok(()) };
    let winner = &decision.winner;
    let entry = ModelEntry {
        group: registry_group(&context.pipeline.name, name),
        artifact: winner.artifact.clone(),
        algorithm: winner.algorithm.clone(),
        hyperparameters: winner.hyperparameters.clone(),
        metrics: metrics.iter().map(|(name, estimate)| (name.clone(), estimate.value)).collect(),
        reason: decision.reason.clone(),
        run: context.run.to_string(),
        registered: context.services.clock.now(),
    };
    registry.register(&entry).await.map(|_| ())
}

/// The group of the winners of a selection: at most 63 characters.
pub fn registry_group(pipeline: &Name, step: &Name) -> String {
    let group = format!("{pipeline}-{step}").replace('_', "-");
    group.chars().take(GROUP_NAME).collect()
}

/// All models are judged on one table; another one would make their figures incomparable.
fn training_table(context: &StepContext, step: &SelectStep) -> Outcome<Name> {
    let mut tables: Vec<(Name, Name)> = Vec::new();
    for candidate in step.candidates.iter().chain(&step.baselines) {
        let train = train_step(context, candidate)?;
        let table = train.inputs.iter().find(|input| input.channel == "train");
        tables.extend(table.map(|input| (candidate.clone(), input.table.clone())));
    }
    let Some((first, table)) = tables.first().cloned() else {
        return Err(Failure::new(FailureKind::Usage, "there is nothing to compare"));
    };
    match tables.iter().find(|(_, other)| *other != table) {
        None => Ok(table),
        Some((name, other)) => Err(Failure::new(
            FailureKind::Usage,
            format!("`{first}` is trained on `{table}`, but `{name}` on `{other}`"),
        )
        .with_hint("models can only be compared on one table")),
    }
}

/// Adds the champion to the entrants, or finds the candidate that it is; returns its position.
async fn enter_champion(
    context: &StepContext,
    last: &ModelRecord,
    entrants: &mut Vec<Entrant>,
    data: &TestData,
    reads: &[TableRead],
) -> Outcome<usize> {
    let same = entrants.iter().position(|entrant| {
        entrant.model.algorithm == last.algorithm
            && entrant.model.hyperparameters == last.hyperparameters
    });
    if let Some(same) = same {
        return Ok(same);
    }
    let train = train_step(context, &last.step).map_err(|failure| {
        failure.with_hint(format!(
            "the champion was made by step `{}`; keep the step, or set `champion: best_wins` for a day",
            last.step
        ))
    })?;
    let cuts = Cuts::new(context.pipeline.split, context.date);
    let fitted = fit(
        context,
        Fit {
            step: &last.step,
            suffix: CHAMPION.to_owned(),
            train,
            algorithm: last.algorithm.clone(),
            hyperparameters: last.hyperparameters.clone(),
            days: cuts.fit,
            validation: None,
            reads,
            cut_offs: None,
        },
    )
    .await?;
    let evaluation = data.judge(context, &fitted.model).await?;
    entrants.push(Entrant {
        name: CHAMPION.to_owned(),
        role: "champion",
        model: fitted.model,
        evaluation,
    });
    Ok(entrants.len() - 1)
}

fn value(entrant: &Entrant, metric: &str) -> f64 {
    entrant.evaluation.metrics.get(metric).map_or(0.0, |estimate| estimate.value)
}

/// Chooses the winner and says why.
fn decide(
    step: &SelectStep,
    entrants: &[Entrant],
    champion: Option<usize>,
) -> Outcome<(usize, String)> {
    let metric = step.metric.as_str();
    let best = |role: &str| {
        entrants
            .iter()
            .enumerate()
            .filter(|(_, entrant)| entrant.role == role)
            .max_by(|(i, a), (j, b)| value(a, metric).total_cmp(&value(b, metric)).then(j.cmp(i)))
            .map(|(index, _)| index)
    };
    let Some(candidate) = best("candidate") else {
        return Err(Failure::new(FailureKind::Usage, "there are no candidates"));
    };
    let name = &entrants[candidate].name;
    let own = value(&entrants[candidate], metric);
    let against = match best("baseline") {
        Some(baseline) => {
            let other = value(&entrants[baseline], metric);
            let baseline_name = &entrants[baseline].name;
            if other > own {
                format!(" (but the baseline {baseline_name} reaches {other:.4})")
            } else if other > 0.0 {
                format!(", {:.1} times the baseline {baseline_name}'s {other:.4}", own / other)
            } else {
                format!(", the baselines reach {other:.4}")
            }
        }
        None => String::new(),
    };
    let Some(champion) = champion else {
        let reason = format!(
            "{name} has the highest {metric} of the candidates, {own:.4}{against}; there was no champion"
        );
        return Ok((candidate, reason));
    };
    if champion == candidate {
        let reason = format!(
            "the champion, {name} with the same hyperparameters, has the highest {metric} again, {own:.4}{against}"
        );
        return Ok((candidate, reason));
    }
    let held = value(&entrants[champion], metric);
    let difference = entrants[candidate]
        .evaluation
        .difference(&entrants[champion].evaluation, metric, BOOTSTRAP_SEED, RESAMPLES)
        .map_err(|error| failure_of(&error))?;
    let interval = format!(
        "difference {:+.4} [{:+.4}, {:+.4}]",
        difference.value, difference.low, difference.high
    );
    if difference.low > 0.0 {
        let reason = format!(
            "{name} beats the champion in {metric}, {own:.4} against {held:.4}: {interval}{against}"
        );
        Ok((candidate, reason))
    } else {
        let reason = format!(
            "the champion stays: {name} does not beat it in {metric}, {own:.4} against {held:.4}: {interval}"
        );
        Ok((champion, reason))
    }
}

const BOOTSTRAP_SEED: u64 = 42;
const RESAMPLES: usize = 1_000;

fn results(entrants: Vec<Entrant>, metric: &str) -> Vec<ModelResult> {
    let mut results: Vec<ModelResult> = entrants
        .into_iter()
        .map(|entrant| ModelResult {
            name: entrant.name,
            role: entrant.role.to_owned(),
            model: entrant.model,
            metrics: entrant.evaluation.metrics,
        })
        .collect();
    let of = |result: &ModelResult| result.metrics.get(metric).map_or(0.0, |e| e.value);
    results.sort_by(|a, b| of(b).total_cmp(&of(a)));
    results
}

async fn interactions(
    context: &StepContext,
    folder: &str,
) -> Outcome<std::sync::Arc<Interactions>> {
    let local = download(context, folder).await?;
    blocking(move || Interactions::read(&local)).await.map(std::sync::Arc::new)
}

/// What models are judged on.
struct TestData {
    history: std::sync::Arc<Interactions>,
    test: std::sync::Arc<Interactions>,
    k: usize,
}

impl TestData {
    async fn judge(&self, context: &StepContext, model: &ModelRecord) -> Outcome<Evaluation> {
        let folder = model.artifact.rsplit_once('/').map_or("", |(folder, _)| folder);
        let local = download(context, folder).await?;
        let (history, test) =
            (std::sync::Arc::clone(&self.history), std::sync::Arc::clone(&self.test));
        let options = EvaluationOptions {
            ks: vec![self.k],
            resamples: RESAMPLES,
            seed: BOOTSTRAP_SEED,
            ..EvaluationOptions::default()
        };
        blocking(move || {
            let unpacked = local.join("model");
            unpack(&local.join("model.tar.gz"), &unpacked)?;
            let model = Model::load(&unpacked)?;
            evaluate(&model, &history, &test, &options)
        })
        .await
    }
}

/// Runs what takes the processor for long away from the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ModelError> + Send + 'static,
) -> Outcome<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(|error| failure_of(&error)),
        Err(error) => {
            Err(Failure::new(FailureKind::Internal, format!("a computation panicked: {error}")))
        }
    }
}

fn failure_of(error: &ModelError) -> Failure {
    let kind = match error {
        ModelError::Input { .. } | ModelError::Evaluation { .. } => FailureKind::Input,
        ModelError::Algorithm(_) | ModelError::Hyperparameter(_) | ModelError::Tuning { .. } => {
            FailureKind::Usage
        }
        ModelError::Fit { .. } | ModelError::Artifact { .. } => FailureKind::Step,
        ModelError::Io { .. } | ModelError::Frame { .. } | ModelError::Output(_) => {
            FailureKind::Transient
        }
    };
    Failure::new(kind, error.chain())
}
