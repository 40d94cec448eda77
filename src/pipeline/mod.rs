//! The domain: pipelines, steps, sources and intervals, valid by construction. No I/O.

pub mod check;
pub mod definition;
pub mod estimate;
pub mod fingerprint;
pub mod graph;
pub mod interval;
pub mod job;
pub mod lists;
pub mod name;
pub mod nearest;
pub mod query;
pub mod retries;
pub mod schedule;
pub mod schema;
pub mod selection;
pub mod source;
pub mod step;
pub mod target;
pub mod test;
pub mod variable;
