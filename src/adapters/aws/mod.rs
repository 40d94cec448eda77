//! The AWS target: S3, Glue, Redshift, SageMaker and DynamoDB. One service a file; types of the
//! SDKs never leave this folder.

mod error;
mod session;
mod warehouse;

pub use session::AwsSession;
pub use warehouse::RedshiftWarehouse;
