//! DataFusion: sessions under a memory limit, raw sources, published tables, writing, checks, and
//! the analysis of SQL without running it.

pub mod analysis;
pub mod catalog_schema;
pub mod checks;
pub mod content_hash;
pub mod diff;
pub mod fate;
pub mod lake;
pub mod lineage;
pub mod meaning;
mod part_file;
pub mod published;
pub mod raw;
pub mod scan;
pub mod session;
pub mod statement;
mod store_error;
pub mod time;
pub mod upload;
pub mod write;
