//! The AWS target: S3, Glue, Redshift, SageMaker and DynamoDB. One service a file; types of the
//! SDKs never leave this folder.

mod bucket;
mod catalog;
mod doctor;
mod error;
mod lake;
mod registry;
mod sagemaker;
mod serving;
mod session;
mod state;
mod trainer;
mod warehouse;

pub use bucket::{Bucket, PartSizes, Precondition, Stored};
pub use catalog::GlueCatalog;
pub use doctor::AwsPreflight;
pub use lake::{lake_store, s3_store};
pub use registry::SageMakerModelRegistry;
pub use serving::DynamoDbServingStore;
pub use session::AwsSession;
pub use state::DynamoDbStateStore;
pub use trainer::SageMakerTrainer;
pub use warehouse::RedshiftWarehouse;

/// A target with nothing but a lake, for unit tests.
#[cfg(test)]
pub(crate) fn test_target() -> crate::pipeline::target::AwsTarget {
    use crate::pipeline::target::{AwsTarget, GlueOptions, S3Location, S3Options, StateOptions};
    AwsTarget {
        name: "aws".to_owned(),
        region: Some("eu-central-1".to_owned()),
        lake: S3Location { bucket: "acme".to_owned(), prefix: "lake".to_owned() },
        s3: S3Options::default(),
        catalog: GlueOptions { database: "rec".to_owned(), catalog_id: None },
        warehouse: None,
        trainer: None,
        serving: None,
        state: StateOptions { table: "state".to_owned() },
        endpoints: std::collections::BTreeMap::new(),
        tags: std::collections::BTreeMap::new(),
    }
}
