//! The AWS adapters against what stands in for AWS.

mod allowed;
mod athena;
mod backfill;
mod calls;
mod chaos;
mod cloud;
mod daily;
pub mod doctor;
mod faults;
mod glue;
mod mixed;
mod planned;
mod registry;
mod s3;
mod serving;
pub mod session;
mod state;
mod trainer;
mod tuning;
mod warehouse;
