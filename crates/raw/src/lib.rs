//! Dirty raw data in, typed columns out, and a reason for every line that cannot be one.
//!
//! Nothing here knows of sources, stores or queries: bytes become [lines](lines), lines
//! [cells](cell), cells Arrow columns.

pub mod cell;
pub mod csv;
pub mod gzip;
pub mod json;
pub mod lines;
pub mod log;
mod sure;
pub mod types;

pub use self::types::{ColumnType, Field, Timezone};
