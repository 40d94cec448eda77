//! Jobs and searches under way, by the beginnings of their names.

use aws_sdk_sagemaker::types::{
    HyperParameterTuningJobStatus, ProcessingJobStatus, TrainingJobStatus,
};

use super::SageMakerTrainer;
use crate::adapters::aws::error::failure;
use crate::ports::JobUnderWay;
use crate::run::failure::Outcome;

/// How many of one kind and beginning are listed.
const MOST: i32 = 100;

impl SageMakerTrainer {
    /// What goes on under names that begin with these. A search's trials end with it and are not
    /// listed.
    pub(super) async fn list_under_way(
        &self,
        jobs: &[String],
        searches: &[String],
    ) -> Outcome<Vec<JobUnderWay>> {
        let mut found = Vec::new();
        for head in jobs {
            let doing = || format!("list the jobs `{head}*`");
            let training = self
                .sagemaker
                .list_training_jobs()
                .name_contains(head)
                .status_equals(TrainingJobStatus::InProgress)
                .max_results(MOST);
            let training = training.send().await;
            let training = training.map_err(|error| failure(doing(), &error, |_| None))?;
            let names = training.training_job_summaries().iter();
            let names = names.filter_map(|job| job.training_job_name());
            found.extend(names.filter_map(|name| under_way("training-job", head, name)));
            let processing = self
                .sagemaker
                .list_processing_jobs()
                .name_contains(head)
                .status_equals(ProcessingJobStatus::InProgress)
                .max_results(MOST);
            let processing = processing.send().await;
            let processing = processing.map_err(|error| failure(doing(), &error, |_| None))?;
            let names = processing.processing_job_summaries().iter();
            let names = names.filter_map(|job| job.processing_job_name());
            found.extend(names.filter_map(|name| under_way("processing-job", head, name)));
        }
        for head in searches {
            let listed = self
                .sagemaker
                .list_hyper_parameter_tuning_jobs()
                .name_contains(head)
                .status_equals(HyperParameterTuningJobStatus::InProgress)
                .max_results(MOST);
            let doing = format!("list the searches `{head}*`");
            let listed = listed.send().await.map_err(|error| failure(doing, &error, |_| None))?;
            let names = listed.hyper_parameter_tuning_job_summaries().iter();
            let names = names.filter_map(|job| job.hyper_parameter_tuning_job_name());
            let kind = "hyper-parameter-tuning-job";
            found.extend(names.filter_map(|name| under_way(kind, head, name)));
        }
        Ok(found)
    }
}

/// A job of that name, if the name begins so: the service looks for the text anywhere in it.
fn under_way(kind: &str, head: &str, name: &str) -> Option<JobUnderWay> {
    name.starts_with(head).then(|| JobUnderWay {
        name: name.to_owned(),
        stop: format!("aws sagemaker stop-{kind} --{kind}-name {name}"),
    })
}
