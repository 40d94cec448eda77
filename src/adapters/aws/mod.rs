//! The AWS target: S3, Glue, Redshift, SageMaker and DynamoDB. One service a file; types of the
//! SDKs never leave this folder.

mod error;
mod serving;
mod session;

pub use serving::DynamoDbServingStore;
pub use session::AwsSession;
