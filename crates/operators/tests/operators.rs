//! Our operators against DataFusion's own, on random tables.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "operators/buckets.rs"]
mod buckets;
#[path = "operators/common.rs"]
mod common;
#[path = "operators/first.rs"]
mod first;
#[path = "operators/windows.rs"]
mod windows;
