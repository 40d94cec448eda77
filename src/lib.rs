//! recctl: declarative daily pipelines for recommendation teams.
pub mod pipeline;
pub mod ports;
pub mod query;
pub mod run;
pub mod spec;
