//! The one integration binary.

mod cli;
mod contract;
mod e2e;
mod layering;
mod sandbox;
