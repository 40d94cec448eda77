//! Files as written, with the place of every value, and their compilation to a valid pipeline.

mod check;
pub mod compile;
pub mod dqdl;
mod job;
pub mod places;
pub mod prices;
mod problems;
mod project;
pub mod schema;
mod target;
mod test;
mod yaml;
