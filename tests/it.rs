//! The one integration binary.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by failing; clippy.toml knows only `#[test]` functions"
)]

mod aws;
mod chaos;
mod cli;
mod contract;
mod e2e;
mod engine;
mod layering;
mod production;
mod sandbox;
mod specs;
mod validate;
