//! The AWS target: S3, Glue, Redshift, SageMaker and DynamoDB. One service a file; types of the
//! SDKs never leave this folder.

mod catalog;
mod error;
mod session;

pub use catalog::GlueCatalog;
pub use session::AwsSession;
