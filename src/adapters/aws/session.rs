//! One chain of credentials, one region and one place for endpoints, for all clients.

use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;

use crate::pipeline::target::AwsTarget;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Requests are sent up to this often. The SDK waits between them, with jitter and a budget; whole
/// steps are the engine's to repeat.
const ATTEMPTS: u32 = 5;
/// A service that does not take a connection in this time is tried anew.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A service that says nothing for this time is tried anew; the slowest answers are of catalogs.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// What all adapters of a target share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AwsSession {
    target: Arc<AwsTarget>,
    config: SdkConfig,
    region: String,
}

impl AwsSession {
    /// Loads credentials (profile, SSO, web identity, container role, …) and region from the SDK's
    /// chain. The target's region goes before the chain's. No request is sent to a service of the
    /// target.
    ///
    /// Errors: `Usage` if nobody says a region.
    pub async fn open(target: &AwsTarget) -> Outcome<Self> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .read_timeout(READ_TIMEOUT)
                    .build(),
            );
        if let Some(region) = &target.region {
            loader = loader.region(Region::new(region.clone()));
        }
        let config = loader.load().await;
        let Some(region) = config.region().map(ToString::to_string) else {
            let message = format!("target `{}` has no region", target.name);
            return Err(Failure::new(FailureKind::Usage, message).with_hint(
                "add `region: eu-central-1` to the target, or set AWS_REGION or a profile",
            ));
        };
        Ok(Self { target: Arc::new(target.clone()), config, region })
    }

    /// The target's settings.
    pub fn target(&self) -> &AwsTarget {
        &self.target
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The chain of credentials. Errors: `Denied` if there is none.
    pub fn credentials(&self) -> Outcome<SharedCredentialsProvider> {
        self.config.credentials_provider().ok_or_else(|| {
            Failure::new(FailureKind::Denied, "there is no source of AWS credentials")
                .with_hint("set AWS_PROFILE, log in with `aws sso login`, or give the task a role")
        })
    }

    /// The endpoint that the target's `endpoints` names for a service.
    pub fn endpoint(&self, service: &str) -> Option<&str> {
        self.target.endpoints.get(service).map(String::as_str)
    }

    /// The configuration that all clients are made from; it knows `AWS_ENDPOINT_URL…`.
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// A client of S3. A custom endpoint gets buckets in the path unless the target says otherwise.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        let mut config = aws_sdk_s3::config::Builder::from(&self.config);
        config.set_endpoint_url(self.endpoint("s3").map(str::to_owned));
        if let Some(path_style) = self.target.s3.path_style {
            config = config.force_path_style(path_style);
        } else if self.endpoint("s3").is_some() {
            config = config.force_path_style(true);
        }
        aws_sdk_s3::Client::from_conf(config.build())
    }
}

/// Makes a method that opens a client of one service.
macro_rules! clients {
    ($($(#[$doc:meta])* $method:ident = $service:literal: $sdk:ident;)*) => {
        impl AwsSession {
            $($(#[$doc])*
            pub fn $method(&self) -> $sdk::Client {
                let mut config = $sdk::config::Builder::from(&self.config);
                if let Some(endpoint) = self.endpoint($service) {
                    config = config.endpoint_url(endpoint);
                }
                $sdk::Client::from_conf(config.build())
            })*
        }
    };
}

clients! {
    /// A client of CloudWatch Logs.
    logs = "cloudwatchlogs": aws_sdk_cloudwatchlogs;
    /// A client of DynamoDB.
    dynamodb = "dynamodb": aws_sdk_dynamodb;
    /// A client of the container registry.
    ecr = "ecr": aws_sdk_ecr;
    /// A client of the Glue Data Catalog.
    glue = "glue": aws_sdk_glue;
    /// A client of IAM.
    iam = "iam": aws_sdk_iam;
    /// A client of the Redshift Data API.
    redshift_data = "redshiftdata": aws_sdk_redshiftdata;
    /// A client of SageMaker.
    sagemaker = "sagemaker": aws_sdk_sagemaker;
    /// A client of Service Quotas.
    quotas = "servicequotas": aws_sdk_servicequotas;
    /// A client of the Security Token Service.
    sts = "sts": aws_sdk_sts;
}
