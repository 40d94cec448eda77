//! The AWS adapters against what stands in for AWS.

mod warehouse;
