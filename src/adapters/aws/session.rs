//! One chain of credentials, one region and one place for endpoints, for all clients.

use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::service_config::ServiceConfigKey;

use crate::pipeline::target::AwsTarget;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Requests are sent up to this often. The SDK waits between them, with jitter and a budget; whole
/// steps are the engine's to repeat.
pub(super) const ATTEMPTS: u32 = 5;
/// A service that does not take a connection in this time is tried anew.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A service that says nothing for this time is tried anew; the slowest answers are of catalogs.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(60);

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
        Self::new(target, loader.load().await)
    }

    /// Takes a configuration that is there already.
    ///
    /// Errors: `Usage` if nobody says a region.
    pub fn new(target: &AwsTarget, config: SdkConfig) -> Outcome<Self> {
        let config = match &target.region {
            Some(region) => config.to_builder().region(Region::new(region.clone())).build(),
            None => config,
        };
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

    /// The endpoint of S3, if it is not the region's own: the target's, else that of
    /// `AWS_ENDPOINT_URL_S3`, of `AWS_ENDPOINT_URL`, or of the profile.
    pub fn s3_endpoint(&self) -> Option<String> {
        if let Some(endpoint) = self.endpoint("s3") {
            return Some(endpoint.to_owned());
        }
        let key = ServiceConfigKey::builder()
            .service_id("S3")
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build();
        let of_service = match (self.config.service_config(), key) {
            (Some(settings), Ok(key)) => settings.load_config(key),
            _ => None,
        };
        of_service.or_else(|| self.config.endpoint_url().map(str::to_owned))
    }

    /// Whether buckets are named in the path of a URL, not in its host: where the target says so,
    /// and where it says nothing for every endpoint that is not AWS's.
    pub fn s3_path_style(&self) -> bool {
        self.target.s3.path_style.unwrap_or_else(|| self.s3_endpoint().is_some())
    }

    /// A client of S3.
    pub fn s3(&self) -> aws_sdk_s3::Client {
        let config =
            aws_sdk_s3::config::Builder::from(&self.config).force_path_style(self.s3_path_style());
        let config = match self.s3_endpoint() {
            Some(endpoint) => config.endpoint_url(endpoint),
            None => config,
        };
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aws_types::service_config::LoadServiceConfig;

    use super::*;
    use crate::adapters::aws::test_target;

    /// `AWS_ENDPOINT_URL_S3`, as the chain's configuration knows it.
    #[derive(Debug)]
    struct OfS3;

    impl LoadServiceConfig for OfS3 {
        fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
            let wanted = ("S3", "AWS_ENDPOINT_URL", "endpoint_url");
            assert_eq!((key.service_id(), key.env(), key.profile()), wanted);
            Some("http://127.0.0.1:3".to_owned())
        }
    }

    fn session(target: &AwsTarget, config: aws_types::sdk_config::Builder) -> AwsSession {
        AwsSession::new(target, config.behavior_version(BehaviorVersion::latest()).build()).unwrap()
    }

    #[test]
    fn the_nearest_word_on_an_endpoint_counts() {
        let target = test_target();
        let plain = session(&target, SdkConfig::builder());
        assert_eq!((plain.s3_endpoint(), plain.s3_path_style()), (None, false));
        let general = || SdkConfig::builder().endpoint_url("http://127.0.0.1:2");
        let all = session(&target, general());
        assert_eq!(all.s3_endpoint().as_deref(), Some("http://127.0.0.1:2"));
        let of_s3 = session(&target, general().service_config(OfS3));
        assert_eq!(of_s3.s3_endpoint().as_deref(), Some("http://127.0.0.1:3"));
        assert!(of_s3.s3_path_style());
        let mut own = target.clone();
        own.endpoints = BTreeMap::from([("s3".to_owned(), "http://127.0.0.1:4".to_owned())]);
        own.s3.path_style = Some(false);
        let named = session(&own, general().service_config(OfS3));
        assert_eq!(named.s3_endpoint().as_deref(), Some("http://127.0.0.1:4"));
        assert!(!named.s3_path_style());
    }

    #[test]
    fn a_target_without_a_region_is_refused() {
        let mut target = test_target();
        target.region = None;
        let failure = AwsSession::new(&target, SdkConfig::builder().build()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Usage);
    }
}
