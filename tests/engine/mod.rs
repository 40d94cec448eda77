//! Pieces that the daily run stands on, each by itself.

mod adoption;
mod backfill;
mod changes;
mod effects;
mod faults;
mod faulty;
mod hashes;
mod ledger;
mod planner;
mod reader;
