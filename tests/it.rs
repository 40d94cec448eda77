//! The one integration binary.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says that it failed by panicking"
)]

mod cli;
mod contract;
mod e2e;
mod engine;
mod layering;
mod sandbox;
mod specs;
