//! Jobs in SageMaker's words.

use std::collections::HashMap;

use aws_sdk_sagemaker::operation::create_processing_job::builders::CreateProcessingJobFluentBuilder;
use aws_sdk_sagemaker::operation::create_training_job::builders::CreateTrainingJobFluentBuilder;
use aws_sdk_sagemaker::types::{
    AlgorithmSpecification, AppSpecification, Channel, CheckpointConfig, DataSource,
    MetricDefinition, NetworkConfig, OutputDataConfig, ProcessingClusterConfig, ProcessingInput,
    ProcessingInstanceType, ProcessingOutput, ProcessingOutputConfig, ProcessingResources,
    ProcessingS3DataDistributionType, ProcessingS3DataType, ProcessingS3Input,
    ProcessingS3InputMode, ProcessingS3Output, ProcessingS3UploadMode, ProcessingStoppingCondition,
    ResourceConfig, S3DataDistribution, S3DataSource, S3DataType, StoppingCondition, Tag,
    TrainingInputMode, TrainingInstanceType, VpcConfig,
};

use super::SageMakerTrainer;
use super::lake::WORK;
use super::seen::{IDENTITY, OUTPUT};
use super::work::{Machine, identity};
use crate::ports::JobRequest;

/// Where a processing job lays out what is `/opt/ml` in a training job: its inputs must lie below
/// this folder.
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ProcessingS3Input.html>
const PROCESSING_ROOT: &str = "/opt/ml/processing";
/// What SageMaker hands on of a processing job's words.
const PROCESSING_MESSAGE: &str = "/opt/ml/output/message";
/// The longest a processing job may run: five days.
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ProcessingStoppingCondition.html>
const LONGEST_PROCESSING: i32 = 432_000;

impl SageMakerTrainer {
    /// A training job under an attempt's name.
    pub(super) fn training_job(
        &self,
        job: &JobRequest,
        machine: &Machine,
        name: &str,
        instance: &str,
    ) -> CreateTrainingJobFluentBuilder {
        let resources = ResourceConfig::builder()
            .instance_type(TrainingInstanceType::from(instance))
            .instance_count(machine.count)
            .volume_size_in_gb(machine.volume_gb)
            .set_volume_kms_key_id(self.options.kms_key.clone())
            .build();
        let algorithm = AlgorithmSpecification::builder()
            .training_image(&machine.image)
            .training_input_mode(TrainingInputMode::File)
            .set_metric_definitions(metrics(job))
            .build();
        self.sagemaker
            .create_training_job()
            .training_job_name(name)
            .algorithm_specification(algorithm)
            .role_arn(&self.options.role)
            .set_hyper_parameters(Some(pairs(&job.hyperparameters)))
            .set_input_data_config(self.channels(job))
            .output_data_config(self.output())
            .resource_config(resources)
            .stopping_condition(stopping(machine))
            .set_vpc_config(self.vpc())
            .enable_managed_spot_training(machine.spot)
            .set_checkpoint_config(self.checkpoints(&job.name, machine))
            .environment(IDENTITY, identity(job))
            .environment(OUTPUT, &job.output)
            .set_tags(Some(self.tags(&job.name)))
    }

    /// The folder of a processing job's configuration.
    pub(super) fn config_folder(name: &str) -> String {
        format!("{WORK}/{name}/config/")
    }

    /// A processing job under an attempt's name.
    pub(super) fn processing_job(
        &self,
        job: &JobRequest,
        machine: &Machine,
        name: &str,
        instance: &str,
    ) -> CreateProcessingJobFluentBuilder {
        let cluster = ProcessingClusterConfig::builder()
            .instance_type(ProcessingInstanceType::from(instance))
            .instance_count(machine.count)
            .volume_size_in_gb(machine.volume_gb)
            .set_volume_kms_key_id(self.options.kms_key.clone())
            .build();
        // The image's entry is recctl's; another image's is its own matter.
        let mut arguments = vec!["job", "score"];
        if job.resources.image.is_some() {
            arguments.remove(0);
        }
        arguments.extend(["--root", PROCESSING_ROOT, "--message", PROCESSING_MESSAGE]);
        let app = AppSpecification::builder()
            .image_uri(&machine.image)
            .set_container_arguments(Some(arguments.into_iter().map(str::to_owned).collect()))
            .build();
        let mut inputs = vec![self.input("config", &Self::config_folder(name), "input/config")];
        for (channel, folder) in &job.channels {
            inputs.push(self.input(channel, folder, &format!("input/data/{channel}")));
        }
        let output = ProcessingS3Output::builder()
            .s3_uri(self.lake.url(&job.output))
            .local_path(format!("{PROCESSING_ROOT}/output/data"))
            .s3_upload_mode(ProcessingS3UploadMode::EndOfJob)
            .build();
        let output = ProcessingOutput::builder().output_name("data").s3_output(output).build();
        let outputs = ProcessingOutputConfig::builder()
            .outputs(output)
            .set_kms_key_id(self.options.kms_key.clone())
            .build();
        let network = self.vpc().map(|vpc| NetworkConfig::builder().vpc_config(vpc).build());
        let stopping = ProcessingStoppingCondition::builder()
            .max_runtime_in_seconds(machine.max_runtime.min(LONGEST_PROCESSING))
            .build();
        self.sagemaker
            .create_processing_job()
            .processing_job_name(name)
            .app_specification(app)
            .role_arn(&self.options.role)
            .set_processing_inputs(Some(inputs))
            .processing_output_config(outputs)
            .processing_resources(ProcessingResources::builder().cluster_config(cluster).build())
            .stopping_condition(stopping)
            .set_network_config(network)
            .environment(IDENTITY, identity(job))
            .set_tags(Some(self.tags(&job.name)))
    }

    fn input(&self, name: &str, folder: &str, local: &str) -> ProcessingInput {
        let input = ProcessingS3Input::builder()
            .s3_uri(self.lake.url(folder))
            .local_path(format!("{PROCESSING_ROOT}/{local}"))
            .s3_data_type(ProcessingS3DataType::S3Prefix)
            .s3_input_mode(ProcessingS3InputMode::File)
            .s3_data_distribution_type(ProcessingS3DataDistributionType::Fullyreplicated)
            .build();
        ProcessingInput::builder().input_name(name).s3_input(input).build()
    }

    /// Channels of folders; absent if there are none, for SageMaker takes no empty list.
    pub(super) fn channels(&self, job: &JobRequest) -> Option<Vec<Channel>> {
        let channel = |(name, folder): (&String, &String)| {
            let source = S3DataSource::builder()
                .s3_data_type(S3DataType::S3Prefix)
                .s3_uri(self.lake.url(folder))
                .s3_data_distribution_type(S3DataDistribution::FullyReplicated)
                .build();
            Channel::builder()
                .channel_name(name)
                .data_source(DataSource::builder().s3_data_source(source).build())
                .input_mode(TrainingInputMode::File)
                .build()
        };
        (!job.channels.is_empty()).then(|| job.channels.iter().map(channel).collect())
    }

    /// Where SageMaker puts archives: below a folder of the job's name.
    pub(super) fn output(&self) -> OutputDataConfig {
        OutputDataConfig::builder()
            .s3_output_path(self.lake.url(WORK))
            .set_kms_key_id(self.options.kms_key.clone())
            .build()
    }

    /// Checkpoints belong to the job, not to its attempt: the next one goes on from them.
    pub(super) fn checkpoints(&self, job: &str, machine: &Machine) -> Option<CheckpointConfig> {
        machine.spot.then(|| CheckpointConfig::builder().s3_uri(self.checkpoints_url(job)).build())
    }

    pub(super) fn checkpoints_url(&self, job: &str) -> String {
        self.lake.url(&format!("{WORK}/checkpoints/{job}"))
    }

    pub(super) fn vpc(&self) -> Option<VpcConfig> {
        self.options.network.as_ref().map(|network| {
            VpcConfig::builder()
                .set_subnets(Some(network.subnets.clone()))
                .set_security_group_ids(Some(network.security_groups.clone()))
                .build()
        })
    }

    /// The target's tags, and the job that an attempt belongs to.
    pub(super) fn tags(&self, job: &str) -> Vec<Tag> {
        let own = [("recctl:job".to_owned(), job.to_owned())];
        let all = self.tags.iter().map(|(key, value)| (key.clone(), value.clone())).chain(own);
        all.map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
    }
}

pub(super) fn stopping(machine: &Machine) -> StoppingCondition {
    StoppingCondition::builder()
        .max_runtime_in_seconds(machine.max_runtime)
        .set_max_wait_time_in_seconds(machine.max_wait)
        .build()
}

pub(super) fn metrics(job: &JobRequest) -> Option<Vec<MetricDefinition>> {
    let definitions = job
        .metrics
        .iter()
        .map(|metric| MetricDefinition::builder().name(&metric.name).regex(&metric.regex).build());
    (!job.metrics.is_empty()).then(|| definitions.collect())
}

pub(super) fn pairs(map: &std::collections::BTreeMap<String, String>) -> HashMap<String, String> {
    map.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}
