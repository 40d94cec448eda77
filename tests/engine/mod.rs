//! Pieces that the daily run stands on, each by itself.

mod changes;
mod hashes;
mod planner;
mod reader;
