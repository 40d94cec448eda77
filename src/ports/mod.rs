//! Ports: what recctl asks of the world outside. The docs of each method are its contract, and
//! `tests/contract/` holds a suite per port that every adapter passes.
//!
//! All methods may be cancelled by dropping their future; what has become durable by then stays
//! durable, and calling again with the same arguments continues or repeats it without harm.

pub mod catalog;
pub mod clock;
pub mod limits;
pub mod preflight;
pub mod publication;
pub mod registry;
pub mod schema_change;
pub mod serving;
pub mod state;
pub mod trainer;
pub mod warehouse;

pub use catalog::{Catalog, ColumnEntry, FileEntry, PartitionEntry, TableEntry};
pub use clock::Clock;
pub use preflight::{Checklist, Finding, FindingState, Grant, Preflight};
pub use publication::{Flip, Load, Publication, TableShape};
pub use registry::{Approval, ModelEntry, ModelRegistry, ModelVersion};
pub use serving::{GenerationEntry, RecommendedItem, ServedList, ServingItem, ServingStore};
pub use state::{Holding, Lease, StateStore};
pub use trainer::{
    JobKind, JobRequest, JobState, JobStatus, JobUnderWay, Trainer, Trial, TuningRequest,
    TuningService, TuningStatus,
};
pub use warehouse::{LoadBatch, LoadOutcome, TableLoad, Warehouse};
