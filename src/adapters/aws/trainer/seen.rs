//! What SageMaker says of a job, read by an allow-list of states.

use std::collections::BTreeMap;

use aws_sdk_sagemaker::operation::describe_processing_job::DescribeProcessingJobOutput;
use aws_sdk_sagemaker::operation::describe_training_job::DescribeTrainingJobOutput;
use aws_sdk_sagemaker::types::{ProcessingJobStatus, TrainingJobStatus};

use crate::ports::JobKind;

/// The variable of a job's environment that says what it was asked for.
pub(super) const IDENTITY: &str = "RECCTL_REQUEST";
/// The variable of a training job's environment that says where its archive goes.
pub(super) const OUTPUT: &str = "RECCTL_OUTPUT";

/// An attempt of a job.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    /// SageMaker's name of it.
    pub(super) name: String,
    /// Counts from 1.
    pub(super) attempt: usize,
    pub(super) kind: JobKind,
    pub(super) standing: Standing,
    /// What it was asked for; absent if recctl did not make it.
    pub(super) identity: Option<String>,
    /// The type of its instance.
    pub(super) instance: Option<String>,
    pub(super) metrics: BTreeMap<String, f64>,
    /// The URL of its archive.
    pub(super) archive: Option<String>,
    /// The lake's folder that gets the archive.
    pub(super) output: Option<String>,
    pub(super) spot: bool,
    /// The URL of its checkpoints.
    pub(super) checkpoints: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    InProgress,
    Completed,
    /// With SageMaker's words.
    Failed(String),
    Stopped,
}

impl Seen {
    pub(super) fn is_over(&self) -> bool {
        self.standing != Standing::InProgress
    }

    /// Whether there was no instance to run it. The documentation gives such reasons the prefix
    /// `CapacityError`.
    pub(super) fn lacks_capacity(&self) -> bool {
        matches!(&self.standing, Standing::Failed(reason) if reason.starts_with("CapacityError"))
    }

    pub(super) fn of_training(name: &str, attempt: usize, job: &DescribeTrainingJobOutput) -> Self {
        let reason = job.failure_reason().unwrap_or_default();
        let standing = match job.training_job_status() {
            Some(TrainingJobStatus::InProgress | TrainingJobStatus::Stopping) => {
                Standing::InProgress
            }
            Some(TrainingJobStatus::Completed) => Standing::Completed,
            Some(TrainingJobStatus::Failed) => Standing::Failed(reason.to_owned()),
            Some(TrainingJobStatus::Stopped) => Standing::Stopped,
            other => Standing::Failed(unknown(other.map(TrainingJobStatus::as_str))),
        };
        let metrics = job.final_metric_data_list().iter().filter_map(|metric| {
            Some((metric.metric_name()?.to_owned(), widened(metric.value()?)))
        });
        let environment = |name: &str| job.environment()?.get(name).cloned();
        Self {
            name: name.to_owned(),
            attempt,
            kind: JobKind::Train,
            standing,
            identity: environment(IDENTITY),
            instance: job
                .resource_config()
                .and_then(|config| config.instance_type())
                .map(|instance| instance.as_str().to_owned()),
            metrics: metrics.collect(),
            archive: job
                .model_artifacts()
                .and_then(|artifacts| artifacts.s3_model_artifacts())
                .map(str::to_owned),
            output: environment(OUTPUT),
            spot: job.enable_managed_spot_training() == Some(true),
            checkpoints: job
                .checkpoint_config()
                .and_then(|config| config.s3_uri())
                .map(str::to_owned),
        }
    }

    pub(super) fn of_processing(
        name: &str,
        attempt: usize,
        job: &DescribeProcessingJobOutput,
    ) -> Self {
        // The container's words say more than SageMaker's.
        let words = [job.exit_message(), job.failure_reason()];
        let reason = words.into_iter().flatten().find(|text| !text.trim().is_empty());
        let standing = match job.processing_job_status() {
            Some(ProcessingJobStatus::InProgress | ProcessingJobStatus::Stopping) => {
                Standing::InProgress
            }
            Some(ProcessingJobStatus::Completed) => Standing::Completed,
            Some(ProcessingJobStatus::Failed) => {
                Standing::Failed(reason.unwrap_or_default().to_owned())
            }
            Some(ProcessingJobStatus::Stopped) => Standing::Stopped,
            other => Standing::Failed(unknown(other.map(ProcessingJobStatus::as_str))),
        };
        let cluster = job.processing_resources().and_then(|resources| resources.cluster_config());
        Self {
            name: name.to_owned(),
            attempt,
            kind: JobKind::Score,
            standing,
            identity: job.environment().and_then(|environment| environment.get(IDENTITY).cloned()),
            instance: cluster
                .and_then(|cluster| cluster.instance_type())
                .map(|instance| instance.as_str().to_owned()),
            metrics: BTreeMap::new(),
            archive: None,
            output: None,
            spot: false,
            checkpoints: None,
        }
    }
}

/// A state that this program does not know is no success.
pub(super) fn unknown(state: Option<&str>) -> String {
    format!("SageMaker says the state `{}`, which is unknown", state.unwrap_or_default())
}

/// The number that was printed: SageMaker keeps metrics in single precision, and the nearest double
/// of `0.1` in single precision is `0.10000000149`.
pub(super) fn widened(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}

/// The program's own words in a reason of SageMaker: `AlgorithmError: words, exit code: 1`; where
/// it left none, how it ended.
pub(super) fn own_words(reason: &str) -> String {
    let Some(words) = reason.strip_prefix("AlgorithmError: ") else { return reason.to_owned() };
    match words.rsplit_once(", exit code: ") {
        Some((words, code)) if code.bytes().all(|b| b.is_ascii_digit()) => match words.trim() {
            "" => format!("exited with status {code}"),
            words => words.to_owned(),
        },
        _ => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_freed_of_what_sagemaker_adds() {
        assert_eq!(own_words("AlgorithmError: no luck, exit code: 7"), "no luck");
        assert_eq!(own_words("AlgorithmError: , exit code: 137"), "exited with status 137");
        assert_eq!(own_words("AlgorithmError: cut off"), "cut off");
        let capacity = "CapacityError: Unable to provision";
        assert_eq!(own_words(capacity), capacity);
    }

    #[test]
    fn metrics_are_the_numbers_that_were_printed() {
        for number in ["0.1", "0.123456", "0.25", "0", "1234567"] {
            assert_eq!(widened(number.parse().unwrap()), number.parse::<f64>().unwrap());
        }
        assert!(widened(f32::NAN).is_nan());
    }

    #[test]
    fn an_unknown_state_is_a_failure() {
        let state = |status: &str| {
            let job = DescribeTrainingJobOutput::builder()
                .training_job_status(TrainingJobStatus::from(status))
                .build();
            Seen::of_training("x", 1, &job).standing
        };
        assert_eq!(state("Completed"), Standing::Completed);
        assert_eq!(state("Stopping"), Standing::InProgress);
        let told = "SageMaker says the state `Paused`, which is unknown".to_owned();
        assert_eq!(state("Paused"), Standing::Failed(told));
    }
}
