//! The one integration binary.

mod contract;
mod layering;
