//! recctl: declarative daily pipelines for recommendation teams.
//!
//! The modules stand in layers; imports go down this list and never up, nor sideways between
//! adapters. `tests/layering.rs` reads the `use` lines and is the judge.

pub mod cli;

pub mod app;

pub mod settings;

pub mod engine;
pub mod report;

pub mod plan;

pub mod validate;

pub mod testing;

pub mod lineage;

pub mod steps;

pub mod models;
pub mod query;
pub mod sample;

pub mod adapters;

pub mod ports;

pub mod spec;

pub mod run;

pub mod pipeline;
