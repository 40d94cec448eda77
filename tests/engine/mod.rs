//! Pieces that the daily run stands on, each by itself.

mod changes;
mod effects;
mod faults;
mod faulty;
mod hashes;
mod planner;
mod reader;
