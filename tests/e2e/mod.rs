//! The daily pipeline from dirty files to served recommendations.

mod accidents;
mod accounting;
mod against;
pub mod backfill;
mod changes;
mod chaos;
mod checks;
mod diff;
mod logs;
mod online_retail;
pub mod planned;
pub mod readers;
mod rollback;
mod selection;
mod signals;
