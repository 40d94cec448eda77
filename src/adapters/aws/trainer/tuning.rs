//! Searches by SageMaker's own tuning jobs.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sagemaker::operation::describe_hyper_parameter_tuning_job::DescribeHyperParameterTuningJobOutput;
use aws_sdk_sagemaker::types::{
    CategoricalParameterRange, ContinuousParameterRange, HyperParameterAlgorithmSpecification,
    HyperParameterScalingType, HyperParameterTrainingJobDefinition,
    HyperParameterTrainingJobSummary, HyperParameterTuningAllocationStrategy,
    HyperParameterTuningInstanceConfig, HyperParameterTuningJobConfig,
    HyperParameterTuningJobObjective, HyperParameterTuningJobObjectiveType,
    HyperParameterTuningJobStatus, HyperParameterTuningJobStrategyConfig,
    HyperParameterTuningJobStrategyType, HyperParameterTuningJobWarmStartConfig,
    HyperParameterTuningJobWarmStartType, HyperParameterTuningResourceConfig,
    HyperbandStrategyConfig, IntegerParameterRange, ParameterRanges, ParentHyperParameterTuningJob,
    ResourceConfig, ResourceLimits, SortOrder, TrainingInputMode, TrainingInstanceType,
    TrainingJobEarlyStoppingType, TrainingJobSortByOptions, TrainingJobStatus,
};
use tokio::time::Instant;

use super::create::{metrics, pairs, stopping};
use super::seen::{IDENTITY, own_words, unknown, widened};
use super::work::{Machine, accepted, check, identity, whole};
use super::{
    Created, MAX_REASON, MOST_ATTEMPTS, Refusal, SageMakerTrainer, ended, found, names, refusal,
};
use crate::adapters::aws::error::failure;
use crate::pipeline::fingerprint::digest;
use crate::pipeline::job::{Direction, Objective, ParameterRange, Scale, Strategy};
use crate::ports::limits::sagemaker;
use crate::ports::{JobKind, JobState, Trial, TuningRequest, TuningService, TuningStatus};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Parents of a warm start.
const MOST_PARENTS: usize = 5;

/// An attempt of a search.
struct Search {
    name: String,
    attempt: usize,
    described: DescribeHyperParameterTuningJobOutput,
}

impl Search {
    /// How it stands; `None` while it is in progress.
    fn end(&self) -> Option<JobState> {
        match self.described.hyper_parameter_tuning_job_status() {
            Some(
                HyperParameterTuningJobStatus::InProgress | HyperParameterTuningJobStatus::Stopping,
            ) => None,
            Some(HyperParameterTuningJobStatus::Completed) => Some(JobState::Completed),
            Some(HyperParameterTuningJobStatus::Stopped) => Some(JobState::Stopped),
            Some(HyperParameterTuningJobStatus::Failed) => {
                let reason = self.described.failure_reason().unwrap_or_default();
                Some(failed(reason))
            }
            other => Some(failed(&unknown(other.map(HyperParameterTuningJobStatus::as_str)))),
        }
    }

    fn identity(&self) -> Option<&str> {
        let environment = self.described.training_job_definition()?.environment()?;
        environment.get(IDENTITY).map(String::as_str)
    }

    fn hyperparameters(&self) -> BTreeSet<String> {
        let fixed = self
            .described
            .training_job_definition()
            .and_then(HyperParameterTrainingJobDefinition::static_hyper_parameters)
            .map(|fixed| fixed.keys().filter(|name| !name.starts_with('_')).cloned().collect());
        let mut all: BTreeSet<String> = fixed.unwrap_or_default();
        let config = self.described.hyper_parameter_tuning_job_config();
        if let Some(ranges) = config.and_then(|config| config.parameter_ranges()) {
            let integer = ranges.integer_parameter_ranges().iter().map(|range| range.name());
            let continuous = ranges.continuous_parameter_ranges().iter().map(|range| range.name());
            let of_words = ranges.categorical_parameter_ranges().iter().map(|range| range.name());
            all.extend(integer.chain(continuous).chain(of_words).flatten().map(str::to_owned));
        }
        all
    }

    fn objective(&self) -> Option<&HyperParameterTuningJobObjective> {
        let config = self.described.hyper_parameter_tuning_job_config()?;
        config.hyper_parameter_tuning_job_objective()
    }
}

fn failed(reason: &str) -> JobState {
    let reason = reason.chars().take(MAX_REASON).collect();
    JobState::Failed { reason, last_lines: Vec::new() }
}

impl SageMakerTrainer {
    async fn latest_search(&self, name: &str) -> Outcome<Option<Search>> {
        let mut latest = None;
        if names::check(name, names::TUNING).is_err() {
            return Ok(None);
        }
        for attempt in 1..=MOST_ATTEMPTS {
            let own = names::of_attempt(name, attempt, names::TUNING);
            let call = self
                .sagemaker
                .describe_hyper_parameter_tuning_job()
                .hyper_parameter_tuning_job_name(&own);
            let Some(described) = found(&own, call.send().await)? else { break };
            let search = Search { name: own, attempt, described };
            let in_progress = search.end().is_none();
            latest = Some(search);
            if in_progress {
                break;
            }
        }
        Ok(latest)
    }

    /// Errors: `NotFound`.
    async fn search(&self, name: &str) -> Outcome<Search> {
        self.latest_search(name).await?.ok_or_else(|| {
            Failure::new(FailureKind::NotFound, format!("there is no search `{name}`"))
        })
    }

    /// The earlier searches that SageMaker knows and can learn from.
    async fn parents(&self, request: &TuningRequest) -> Outcome<Vec<String>> {
        let wanted: BTreeSet<String> = request
            .trial
            .hyperparameters
            .keys()
            .chain(request.tuning.ranges.keys())
            .cloned()
            .collect();
        let objective = objective(&request.objective);
        let mut parents = Vec::new();
        for name in &request.warm_start {
            if parents.len() == MOST_PARENTS {
                break;
            }
            let Some(search) = self.latest_search(name).await? else { continue };
            let has_ended = matches!(search.end(), Some(JobState::Completed | JobState::Stopped));
            if has_ended
                && search.objective() == Some(&objective)
                && search.hyperparameters() == wanted
            {
                parents.push(search.name);
            }
        }
        Ok(parents)
    }

    async fn create_search(
        &self,
        request: &TuningRequest,
        attempt: usize,
        parents: &[String],
    ) -> Outcome<Created> {
        let machine = Machine::new(&request.trial, &self.options)?;
        let name = names::of_attempt(&request.name, attempt, names::TUNING);
        let warm_start = (!parents.is_empty()).then(|| {
            let parents = parents.iter().map(|name| {
                ParentHyperParameterTuningJob::builder()
                    .hyper_parameter_tuning_job_name(name)
                    .build()
            });
            // The data is another day's, so it is not the identical search.
            HyperParameterTuningJobWarmStartConfig::builder()
                .set_parent_hyper_parameter_tuning_jobs(Some(parents.collect()))
                .warm_start_type(HyperParameterTuningJobWarmStartType::TransferLearning)
                .build()
        });
        let config = config(request)?;
        let mut full = None;
        for first in 0..machine.instances.len() {
            let answer = self
                .sagemaker
                .create_hyper_parameter_tuning_job()
                .hyper_parameter_tuning_job_name(&name)
                .hyper_parameter_tuning_job_config(config.clone())
                .training_job_definition(self.trials(request, &machine, first))
                .set_warm_start_config(warm_start.clone())
                .set_tags(Some(self.tags(&request.name)))
                .send()
                .await;
            let Err(error) = answer else { return Ok(Created::Ok) };
            match refusal(format!("create search `{name}`"), &error) {
                Refusal::Taken => return Ok(Created::Taken),
                Refusal::Full(failure) => full = Some(failure),
                Refusal::Other(failure) => return Err(failure),
            }
        }
        Err(full.unwrap_or_else(|| {
            Failure::new(FailureKind::Exhausted, format!("no instance type left for `{name}`"))
        }))
    }

    fn trials(
        &self,
        request: &TuningRequest,
        machine: &Machine,
        first: usize,
    ) -> HyperParameterTrainingJobDefinition {
        let trial = &request.trial;
        let algorithm = HyperParameterAlgorithmSpecification::builder()
            .training_image(&machine.image)
            .training_input_mode(TrainingInputMode::File)
            .set_metric_definitions(metrics(trial))
            .build();
        let definition = HyperParameterTrainingJobDefinition::builder()
            .set_static_hyper_parameters(Some(pairs(&trial.hyperparameters)))
            .algorithm_specification(algorithm)
            .role_arn(&self.options.role)
            .set_input_data_config(self.channels(trial))
            .set_vpc_config(self.vpc())
            .output_data_config(self.output())
            .stopping_condition(stopping(machine))
            .enable_managed_spot_training(machine.spot)
            // SageMaker adds each trial's own name.
            .set_checkpoint_config(self.checkpoints(&request.name, machine))
            .environment(IDENTITY, search_identity(request));
        let instances = &machine.instances[first..];
        let definition = match instances {
            [one] => definition.resource_config(
                ResourceConfig::builder()
                    .instance_type(TrainingInstanceType::from(one.as_str()))
                    .instance_count(machine.count)
                    .volume_size_in_gb(machine.volume_gb)
                    .set_volume_kms_key_id(self.options.kms_key.clone())
                    .build(),
            ),
            several => {
                let configs = several.iter().map(|instance| {
                    HyperParameterTuningInstanceConfig::builder()
                        .instance_type(TrainingInstanceType::from(instance.as_str()))
                        .instance_count(machine.count)
                        .volume_size_in_gb(machine.volume_gb)
                        .build()
                });
                definition.hyper_parameter_tuning_resource_config(
                    HyperParameterTuningResourceConfig::builder()
                        .allocation_strategy(HyperParameterTuningAllocationStrategy::Prioritized)
                        .set_instance_configs(Some(configs.collect()))
                        .set_volume_kms_key_id(self.options.kms_key.clone())
                        .build(),
                )
            }
        };
        definition.build()
    }

    async fn trials_of(&self, search: &str) -> Outcome<Vec<HyperParameterTrainingJobSummary>> {
        let mut all = Vec::new();
        let mut token = None;
        loop {
            let answer = self
                .sagemaker
                .list_training_jobs_for_hyper_parameter_tuning_job()
                .hyper_parameter_tuning_job_name(search)
                .sort_by(TrainingJobSortByOptions::CreationTime)
                .sort_order(SortOrder::Ascending)
                .max_results(100)
                .set_next_token(token)
                .send()
                .await
                .map_err(|error| {
                    failure(format!("list the trials of search `{search}`"), &error, |_| None)
                })?;
            all.extend(answer.training_job_summaries().iter().cloned());
            token = answer.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(all);
            }
        }
    }

    async fn look_at_search(&self, name: &str) -> Outcome<TuningStatus> {
        let search = self.search(name).await?;
        let mut state = search.end().unwrap_or(JobState::InProgress);
        let jobs = self.trials_of(&search.name).await?;
        if let JobState::Failed { reason, last_lines } = &mut state
            && let Some(last) = jobs
                .iter()
                .rev()
                .find(|job| job.training_job_status() == Some(&TrainingJobStatus::Failed))
        {
            // SageMaker only says that all of them failed.
            let words = own_words(last.failure_reason().unwrap_or_default());
            if !words.is_empty() {
                *reason = format!("{}: {words}", reason.trim_end_matches('.'));
                *reason = reason.chars().take(MAX_REASON).collect();
            }
            let job = last.training_job_name().unwrap_or_default();
            *last_lines = match super::logs::last_lines(&self.logs, JobKind::Train, job).await {
                Ok(lines) => lines,
                Err(failure) => {
                    tracing::warn!(job, %failure, "cannot read the trial's log");
                    Vec::new()
                }
            };
        }
        Ok(TuningStatus { state, trials: jobs.iter().map(trial).collect() })
    }
}

fn trial(job: &HyperParameterTrainingJobSummary) -> Trial {
    let has_ended = matches!(
        job.training_job_status(),
        Some(TrainingJobStatus::Completed | TrainingJobStatus::Stopped)
    );
    let value = job
        .final_hyper_parameter_tuning_job_objective_metric()
        .and_then(|metric| metric.value())
        .filter(|_| has_ended);
    let tuned = job.tuned_hyper_parameters().into_iter().flatten();
    Trial {
        job: job.training_job_name().unwrap_or_default().to_owned(),
        hyperparameters: tuned.map(|(name, value)| (name.clone(), value.clone())).collect(),
        value: value.map(widened),
    }
}

#[async_trait]
impl TuningService for SageMakerTrainer {
    async fn submit_tuning(&self, request: &TuningRequest) -> Outcome<()> {
        names::check(&request.name, names::TUNING)?;
        check(&request.trial)?;
        config(request)?;
        let identity = search_identity(request);
        for _ in 0..2 {
            let search = self.latest_search(&request.name).await?;
            let attempt = match &search {
                None => 1,
                Some(search) => match search.end() {
                    None | Some(JobState::Completed) => {
                        if search.identity() == Some(identity.as_str()) {
                            return Ok(());
                        }
                        let text = format!(
                            "another search of the name `{}` asks for something else",
                            request.name
                        );
                        return Err(Failure::new(FailureKind::Conflict, text));
                    }
                    Some(_) => search.attempt + 1,
                },
            };
            self.lake.check_channels(&request.trial).await?;
            let parents = self.parents(request).await?;
            let created = match self.create_search(request, attempt, &parents).await {
                // There are more rules for parents than can be checked from here.
                Err(failure) if failure.kind == FailureKind::Usage && !parents.is_empty() => {
                    tracing::warn!(search = %request.name, %failure, "starting without what earlier searches learned");
                    self.create_search(request, attempt, &[]).await?
                }
                result => result?,
            };
            match created {
                Created::Ok => return Ok(()),
                Created::Taken => {}
            }
        }
        let text = format!("the name of search `{}` is being fought over", request.name);
        Err(Failure::new(FailureKind::Conflict, text))
    }

    async fn wait_tuning(&self, name: &str, wait: Duration) -> Outcome<TuningStatus> {
        let start = Instant::now();
        loop {
            let status = self.look_at_search(name).await?;
            let left = wait.saturating_sub(start.elapsed());
            if status.state != JobState::InProgress || left.is_zero() {
                return Ok(status);
            }
            tokio::time::sleep(left.min(self.look)).await;
        }
    }

    async fn cancel_tuning(&self, name: &str) -> Outcome<()> {
        let search = self.search(name).await?;
        if search.end().is_some() {
            return Ok(());
        }
        let answer = self
            .sagemaker
            .stop_hyper_parameter_tuning_job()
            .hyper_parameter_tuning_job_name(&search.name)
            .send()
            .await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) => {
                ended(format!("stop search `{}`", search.name), &error).map_or(Ok(()), Err)
            }
        }
    }
}

/// Tells searches apart that have one name. What it began with is no part of what it is: a parent
/// that is gone would make it another search.
fn search_identity(request: &TuningRequest) -> String {
    let all = format!("{} {:?} {:?}", identity(&request.trial), request.tuning, request.objective);
    digest(all.as_bytes())
}

fn objective(objective: &Objective) -> HyperParameterTuningJobObjective {
    let direction = match objective.direction {
        Direction::Maximize => HyperParameterTuningJobObjectiveType::Maximize,
        Direction::Minimize => HyperParameterTuningJobObjectiveType::Minimize,
    };
    HyperParameterTuningJobObjective::builder()
        .r#type(direction)
        .metric_name(&objective.metric)
        .build()
}

/// Errors: `Usage` for what SageMaker would refuse.
fn config(request: &TuningRequest) -> Outcome<HyperParameterTuningJobConfig> {
    let tuning = &request.tuning;
    let refused = sagemaker::check_metrics(&request.trial.metrics, true);
    accepted(refused.into_iter().chain(sagemaker::check_search(tuning)))
        .map_err(|failure| failure.while_doing(format!("search `{}`", request.name)))?;
    if !request.trial.metrics.iter().any(|metric| metric.name == request.objective.metric) {
        let text = format!(
            "the objective `{}` of search `{}` is none of its metrics",
            request.objective.metric, request.name
        );
        return Err(Failure::new(FailureKind::Usage, text));
    }
    let (strategy, strategy_config) = match tuning.strategy {
        Strategy::Grid => (HyperParameterTuningJobStrategyType::Grid, None),
        Strategy::Random => (HyperParameterTuningJobStrategyType::Random, None),
        Strategy::Bayesian => (HyperParameterTuningJobStrategyType::Bayesian, None),
        Strategy::Hyperband { min_resource, max_resource } => {
            let hyperband = HyperbandStrategyConfig::builder()
                .min_resource(whole(u64::from(min_resource)))
                .max_resource(whole(u64::from(max_resource)))
                .build();
            let config = HyperParameterTuningJobStrategyConfig::builder()
                .hyperband_strategy_config(hyperband)
                .build();
            (HyperParameterTuningJobStrategyType::Hyperband, Some(config))
        }
    };
    let is_grid = tuning.strategy == Strategy::Grid;
    // Hyperband ends trials by itself, and SageMaker refuses another rule beside it.
    let early = match (tuning.strategy, tuning.early_stopping) {
        (Strategy::Hyperband { .. }, _) | (_, false) => TrainingJobEarlyStoppingType::Off,
        (Strategy::Grid | Strategy::Random | Strategy::Bayesian, true) => {
            TrainingJobEarlyStoppingType::Auto
        }
    };
    let ranges = ranges(request, is_grid);
    let limits = ResourceLimits::builder()
        // A grid is walked whole, and its size is its own.
        .set_max_number_of_training_jobs((!is_grid).then(|| whole(tuning.trials as u64)))
        .max_parallel_training_jobs(whole(tuning.parallel.max(1) as u64))
        .build();
    Ok(HyperParameterTuningJobConfig::builder()
        .strategy(strategy)
        .set_strategy_config(strategy_config)
        .hyper_parameter_tuning_job_objective(objective(&request.objective))
        .resource_limits(limits)
        .parameter_ranges(ranges)
        .training_job_early_stopping_type(early)
        .random_seed(whole(tuning.seed % i32::MAX as u64))
        .build())
}

/// The ranges of a search that was checked.
fn ranges(request: &TuningRequest, is_grid: bool) -> ParameterRanges {
    let mut ranges = ParameterRanges::builder();
    for (name, range) in &request.tuning.ranges {
        let words = match range {
            ParameterRange::Categorical { values } => Some(values.clone()),
            // SageMaker's grid knows words only.
            ParameterRange::Integer { min, max, .. } if is_grid => {
                Some((*min..=*max).map(|value| value.to_string()).collect())
            }
            ParameterRange::Continuous { min, .. } if is_grid => Some(vec![min.to_string()]),
            ParameterRange::Integer { .. } | ParameterRange::Continuous { .. } => None,
        };
        if let Some(words) = words {
            let range = CategoricalParameterRange::builder().name(name).set_values(Some(words));
            ranges = ranges.categorical_parameter_ranges(range.build());
            continue;
        }
        ranges = match range {
            ParameterRange::Categorical { .. } => ranges,
            ParameterRange::Integer { min, max, scale } => ranges.integer_parameter_ranges(
                IntegerParameterRange::builder()
                    .name(name)
                    .min_value(min.to_string())
                    .max_value(max.to_string())
                    .scaling_type(scaling(*scale))
                    .build(),
            ),
            ParameterRange::Continuous { min, max, scale } => ranges.continuous_parameter_ranges(
                ContinuousParameterRange::builder()
                    .name(name)
                    .min_value(min.to_string())
                    .max_value(max.to_string())
                    .scaling_type(scaling(*scale))
                    .build(),
            ),
        };
    }
    ranges.build()
}

fn scaling(scale: Scale) -> HyperParameterScalingType {
    match scale {
        Scale::Linear => HyperParameterScalingType::Linear,
        Scale::Log => HyperParameterScalingType::Logarithmic,
    }
}
