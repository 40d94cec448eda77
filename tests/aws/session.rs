use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use recctl::adapters::aws::AwsSession;
use recctl::pipeline::target::{AwsTarget, GlueOptions, S3Location, S3Options, StateOptions};
use stand_ins::stack::{REGION, account};

/// A target that knows a lake and a table of state, with S3 and DynamoDB at a URL.
pub fn target(url: &str) -> AwsTarget {
    AwsTarget {
        name: "aws".to_owned(),
        region: Some(REGION.to_owned()),
        lake: S3Location { bucket: "lake".to_owned(), prefix: String::new() },
        s3: S3Options::default(),
        catalog: GlueOptions { database: "rec".to_owned(), catalog_id: None },
        warehouse: None,
        trainer: None,
        serving: None,
        state: StateOptions { table: "recctl-state".to_owned() },
        endpoints: ["s3", "dynamodb"].map(|name| (name.to_owned(), url.to_owned())).into(),
        tags: [("team".to_owned(), "rec".to_owned())].into(),
    }
}

/// A session of an account that nobody else has.
pub fn open(target: &AwsTarget) -> AwsSession {
    open_as(target, &account())
}

/// A session of an account.
pub fn open_as(target: &AwsTarget, account: &str) -> AwsSession {
    let credentials = Credentials::new(account, "secret", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    AwsSession::new(target, config).unwrap()
}
