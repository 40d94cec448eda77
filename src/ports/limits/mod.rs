//! What the services of AWS take, decided without a call, so that a project's files can be refused
//! for what an adapter would refuse at night. Limits stand here with their sources.

pub mod dynamodb;
pub mod hive;
pub mod place;
pub mod redshift;
pub mod sagemaker;
