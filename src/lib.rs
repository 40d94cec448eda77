//! recctl
pub mod report;
pub mod plan;
pub mod steps;
pub mod models;
pub mod query;
pub mod sample;
pub mod ports;
pub mod run;
pub mod spec;
pub mod pipeline;
