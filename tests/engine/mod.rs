//! Pieces that the daily run stands on, each by itself.

mod adoption;
mod backfill;
mod changes;
mod effects;
pub mod faults;
mod faulty;
mod gc;
mod hashes;
mod ledger;
mod loads;
mod paused;
mod planner;
mod reader;
mod rollback;
mod settling;
