//! What each kind of step does. Steps talk to ports and to the query engine, never to an SDK, and
//! know nothing of plans: the engine hands them what to make and from what.

pub mod context;
mod dataset;
mod fit;
pub mod load;
pub mod preview;
pub mod publication;
pub mod publish;
pub mod score;
pub mod select;
pub mod sql;
pub mod train;
pub mod tune;

pub use self::dataset::Days;
pub use self::fit::{Cuts, job_head, job_prefix};
pub use self::select::registry_group;
pub use self::tune::{search_head, search_prefix};

use crate::pipeline::interval::Partition;
use crate::pipeline::name::Name;

/// The partitions that are read of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRead {
    /// Table.
    pub table: Name,
    /// Its partitions, oldest first.
    pub partitions: Vec<Partition>,
}
