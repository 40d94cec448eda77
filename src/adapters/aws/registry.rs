//! The model registry in SageMaker: a model package group per selection, a version per winner.
//!
//! What a version is in full is a file of the lake, which the version names as its metrics; its
//! properties repeat what a person looks for. SageMaker forgets client tokens, so the file also
//! keeps the version that its model got.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_sagemaker::operation::describe_model_package::DescribeModelPackageOutput;
use aws_sdk_sagemaker::types::{
    InferenceSpecification, MetricsSource, ModelApprovalStatus, ModelMetrics,
    ModelPackageContainerDefinition, ModelPackageSortBy, ModelQuality, SortOrder, Tag,
};
use serde::{Deserialize, Serialize};

use super::bucket::{Bucket, Precondition};
use super::error::failure;
use super::sagemaker::found;
use super::session::AwsSession;
use crate::pipeline::fingerprint::digest;
use crate::pipeline::target::{AwsTarget, RegistryOptions, S3Location};
use crate::ports::limits::sagemaker::group_name;
use crate::ports::{Approval, ModelEntry, ModelRegistry, ModelVersion};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Properties of a version, and the longest value of one.
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModelPackage.html>
const MOST_PROPERTIES: usize = 50;
const LONGEST_PROPERTY: usize = 256;
/// The longest description.
const LONGEST_DESCRIPTION: usize = 1_024;

/// Registers models in SageMaker.
#[derive(Debug)]
pub struct SageMakerModelRegistry {
    client: aws_sdk_sagemaker::Client,
    bucket: Bucket,
    lake: S3Location,
    image: String,
    options: RegistryOptions,
    tags: Vec<Tag>,
}

/// A model as the lake keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stored {
    format_version: u32,
    /// The ARN of its version; absent until it has one.
    version: Option<String>,
    entry: ModelEntry,
}

impl SageMakerModelRegistry {
    /// Makes the registry of a target; `None` if the target has none. No request is sent.
    pub fn new(session: &AwsSession) -> Option<Self> {
        let AwsTarget { trainer, lake, tags, .. } = session.target();
        let trainer = trainer.as_ref()?;
        let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build();
        Some(Self {
            client: session.sagemaker(),
            bucket: Bucket::new(session, &lake.bucket),
            lake: lake.clone(),
            image: trainer.image.clone(),
            options: trainer.registry.clone()?,
            tags: tags.iter().map(tag).collect(),
        })
    }

    /// The name of a group in SageMaker.
    fn group(&self, group: &str) -> String {
        group_name(&self.options.group_prefix, group)
    }

    /// The path of a model's file in the lake.
    fn path(group: &str, artifact: &str) -> String {
        format!("registry/{group}/{}.json", digest(artifact.as_bytes()))
    }

    async fn read(&self, path: &str) -> Outcome<Option<Stored>> {
        let Some(found) = self.bucket.get(&self.lake.key(path)).await? else { return Ok(None) };
        let stored = serde_json::from_slice(&found.bytes).map_err(|error| {
            let text = format!("`{}` is not a registered model: {error}", self.lake.url(path));
            Failure::new(FailureKind::Input, text)
        })?;
        Ok(Some(stored))
    }

    async fn write(
        &self,
        path: &str,
        stored: &Stored,
        precondition: Precondition<'_>,
    ) -> Outcome<()> {
        let text = serde_json::to_vec_pretty(stored).map_err(|error| {
            Failure::new(FailureKind::Internal, format!("cannot write a model down: {error}"))
        })?;
        self.bucket.put(&self.lake.key(path), text, precondition).await.map(drop)
    }

    /// The model's file: what is there already, else the new one.
    async fn store(&self, path: &str, entry: &ModelEntry) -> Outcome<Stored> {
        if let Some(stored) = self.read(path).await? {
            return Ok(stored);
        }
        let stored = Stored { format_version: 1, version: None, entry: entry.clone() };
        match self.write(path, &stored, Precondition::Absent).await {
            Ok(()) => Ok(stored),
            // Another process was quicker, or the answer to the first request got lost.
            Err(failure) if failure.kind == FailureKind::Conflict => {
                self.read(path).await?.ok_or(failure)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Makes the group, if it is missing.
    async fn make_group(&self, group: &str) -> Outcome<()> {
        let describe = || self.client.describe_model_package_group();
        if found(group, describe().model_package_group_name(group).send().await)?.is_some() {
            return Ok(());
        }
        let created = self
            .client
            .create_model_package_group()
            .model_package_group_name(group)
            .model_package_group_description("models that recctl chose to serve")
            .set_tags((!self.tags.is_empty()).then(|| self.tags.clone()))
            .send()
            .await;
        let Err(error) = created else { return Ok(()) };
        // A group of that name is refused with the code of a bad request.
        if found(group, describe().model_package_group_name(group).send().await)?.is_some() {
            return Ok(());
        }
        Err(failure(format!("create the model package group `{group}`"), &error, |_| None))
    }

    /// Creates the version of a model and returns its ARN. SageMaker gives the same version for
    /// the same token.
    async fn create(&self, group: &str, path: &str, entry: &ModelEntry) -> Outcome<String> {
        let container = ModelPackageContainerDefinition::builder()
            .image(&self.image)
            .model_data_url(self.lake.url(&entry.artifact))
            .build();
        let inference = InferenceSpecification::builder()
            .containers(container)
            .supported_content_types("application/json")
            .supported_response_mime_types("application/json")
            .build();
        let source = MetricsSource::builder()
            .content_type("application/json")
            .s3_uri(self.lake.url(path))
            .build();
        let quality = ModelQuality::builder().statistics(source).build();
        let approval = match self.options.approve {
            true => ModelApprovalStatus::Approved,
            false => ModelApprovalStatus::PendingManualApproval,
        };
        let token = digest(format!("{group} {}", entry.artifact).as_bytes());
        let answer = self
            .client
            .create_model_package()
            .model_package_group_name(group)
            .model_package_description(cut(&entry.reason, LONGEST_DESCRIPTION))
            .inference_specification(inference)
            .model_metrics(ModelMetrics::builder().model_quality(quality).build())
            .model_approval_status(approval)
            .set_customer_metadata_properties(Some(properties(entry)))
            .client_token(token)
            .send()
            .await
            .map_err(|error| {
                failure(format!("register a model in `{group}`"), &error, |code| match code {
                    "ConflictException" => Some(FailureKind::Conflict),
                    _ => None,
                })
            })?;
        Ok(answer.model_package_arn().unwrap_or_default().to_owned())
    }

    async fn describe(&self, package: &str) -> Outcome<DescribeModelPackageOutput> {
        let answer = self.client.describe_model_package().model_package_name(package).send().await;
        found(package, answer)?.ok_or_else(|| {
            let text = format!("there is no model package `{package}`");
            Failure::new(FailureKind::NotFound, text)
        })
    }

    /// The model of a version: as its file has it, else what SageMaker knows.
    async fn entry(
        &self,
        group: &str,
        package: &DescribeModelPackageOutput,
    ) -> Outcome<ModelEntry> {
        let url = package
            .model_metrics()
            .and_then(|metrics| metrics.model_quality()?.statistics()?.s3_uri());
        if let Some(path) = url.and_then(|url| self.lake.path_of(url))
            && let Some(stored) = self.read(path).await?
        {
            return Ok(stored.entry);
        }
        let url = package
            .inference_specification()
            .and_then(|inference| inference.containers().first()?.model_data_url())
            .unwrap_or_default();
        let property = |name: &str| {
            let properties = package.customer_metadata_properties()?;
            properties.get(name).cloned()
        };
        let seconds = package.creation_time().map_or(0, |time| time.secs());
        Ok(ModelEntry {
            group: group.to_owned(),
            artifact: self.lake.path_of(url).unwrap_or(url).to_owned(),
            algorithm: property("algorithm").unwrap_or_default(),
            hyperparameters: Default::default(),
            metrics: Default::default(),
            reason: package.model_package_description().unwrap_or_default().to_owned(),
            run: property("run").unwrap_or_default(),
            registered: chrono::DateTime::from_timestamp(seconds, 0).unwrap_or_default(),
        })
    }

    async fn version(&self, group: &str, arn: &str) -> Outcome<ModelVersion> {
        let package = self.describe(arn).await?;
        let approval = match package.model_approval_status() {
            Some(ModelApprovalStatus::Approved) => Approval::Approved,
            Some(ModelApprovalStatus::Rejected) => Approval::Rejected,
            // Nobody has said that it may serve.
            _ => Approval::Pending,
        };
        let version = package.model_package_version().unwrap_or_default();
        Ok(ModelVersion {
            version: u32::try_from(version).unwrap_or_default(),
            approval,
            entry: self.entry(group, &package).await?,
        })
    }
}

#[async_trait]
impl ModelRegistry for SageMakerModelRegistry {
    async fn register(&self, model: &ModelEntry) -> Outcome<ModelVersion> {
        let group = self.group(&model.group);
        let path = Self::path(&model.group, &model.artifact);
        let mut stored = self.store(&path, model).await?;
        if let Some(arn) = &stored.version {
            match self.version(&model.group, arn).await {
                // Somebody has removed it.
                Err(failure) if failure.kind == FailureKind::NotFound => {}
                result => return result,
            }
        }
        self.make_group(&group).await?;
        let arn = self.create(&group, &path, &stored.entry).await?;
        stored.version = Some(arn.clone());
        self.write(&path, &stored, Precondition::Always).await?;
        self.version(&model.group, &arn).await
    }

    async fn versions(&self, group: &str, limit: usize) -> Outcome<Vec<ModelVersion>> {
        let name = self.group(group);
        let mut versions = Vec::new();
        let mut token = None;
        while versions.len() < limit {
            let room = i32::try_from((limit - versions.len()).min(100)).unwrap_or(100);
            let answer = self
                .client
                .list_model_packages()
                .model_package_group_name(&name)
                .sort_by(ModelPackageSortBy::CreationTime)
                .sort_order(SortOrder::Descending)
                .max_results(room)
                .set_next_token(token)
                .send()
                .await;
            let Some(page) = found(&name, answer)? else { break };
            for summary in page.model_package_summary_list() {
                if let Some(arn) = summary.model_package_arn() {
                    versions.push(self.version(group, arn).await?);
                }
            }
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        Ok(versions)
    }
}

/// What a person looks for, in the characters that SageMaker takes.
fn properties(entry: &ModelEntry) -> HashMap<String, String> {
    let fixed = [
        ("algorithm".to_owned(), entry.algorithm.clone()),
        ("artifact".to_owned(), entry.artifact.clone()),
        ("run".to_owned(), entry.run.clone()),
    ];
    let metrics =
        entry.metrics.iter().map(|(name, value)| (format!("metric:{name}"), value.to_string()));
    let hyperparameters = entry
        .hyperparameters
        .iter()
        .map(|(name, value)| (format!("hyperparameter:{name}"), value.clone()));
    fixed
        .into_iter()
        .chain(metrics)
        .chain(hyperparameters)
        .filter(|(_, value)| !value.is_empty())
        .take(MOST_PROPERTIES)
        .map(|(name, value)| (allowed(&name, 128), allowed(&value, LONGEST_PROPERTY)))
        .collect()
}

/// Text of a property: letters, digits, spaces and `_.:/=+-@`; other characters become `_`.
fn allowed(text: &str, most: usize) -> String {
    let is_allowed = |c: char| c.is_alphanumeric() || " _.:/=+-@".contains(c);
    text.chars().take(most).map(|c| if is_allowed(c) { c } else { '_' }).collect()
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_hold_what_sagemaker_takes() {
        assert_eq!(allowed("5,10 and \"é\"", 256), "5_10 and _é_");
        assert_eq!(allowed("ndcg@10", 4), "ndcg");
    }
}
