//! The one integration binary.

mod cli;
mod contract;
mod e2e;
mod engine;
mod layering;
mod sandbox;
mod specs;
