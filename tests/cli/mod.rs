//! What somebody at a shell meets: help, exit codes, and which stream says what.

mod container;
mod exit_codes;
mod help;
pub mod iam;
mod ledger;
mod lineage;
mod plan;
mod schema;
mod streams;
mod testing;
