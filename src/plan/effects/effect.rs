//! What may change, by kind.

use serde::Serialize;

use super::Amount;
use crate::pipeline::interval::LogicalDate;

/// One thing that changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// Files are written.
    Files(Files),
    /// Files are removed again.
    FilesRemoved {
        /// What they are.
        content: Content,
        /// The folder of the lake that they lie below.
        folder: String,
        /// How many folders go.
        folders: Amount,
    },
    /// The catalog's database is made.
    DatabaseMade {
        /// Its name.
        database: String,
        /// How many.
        number: Amount,
    },
    /// A table of the catalog is made, or its definition changes.
    Table {
        /// The table.
        table: String,
        /// What happens to it.
        change: TableChange,
    },
    /// Partitions of one table become visible together.
    Partitions {
        /// The table.
        table: String,
        /// Their keys.
        keys: Vec<String>,
        /// Whether they are new, or flipped from older files to new ones.
        change: PartitionChange,
    },
    /// Tables are loaded into the warehouse in one transaction.
    Load {
        /// The tables.
        tables: Vec<WarehouseTable>,
        /// Statements of the transaction.
        statements: Amount,
    },
    /// Jobs are run.
    Jobs(Jobs),
    /// A model becomes a version of a group.
    ModelRegistered {
        /// The group, as the registry names it.
        group: String,
        /// Whether the group is made.
        new_group: Amount,
    },
    /// A table of served lists is made.
    ServedTableMade {
        /// Its name in the serving store.
        table: String,
        /// How many.
        number: Amount,
    },
    /// A generation of served lists is loaded and becomes visible.
    Generation(Generation),
    /// Old generations of served lists are removed.
    GenerationsRemoved {
        /// The table's name in the serving store.
        table: String,
        /// How many stay.
        keep: usize,
        /// How many go.
        generations: Amount,
        /// Items that are deleted one by one.
        items: Amount,
        /// Whether items expire by themselves instead.
        expire: bool,
    },
    /// recctl writes down what it does.
    State {
        /// What is written.
        record: Record,
        /// How often.
        writes: Amount,
    },
    /// Raw input is made up, as the first run does where the embedded lake is empty.
    Sample {
        /// The folder of the lake.
        folder: String,
        /// Lines of events.
        events: u64,
        /// First and last day.
        days: (LogicalDate, LogicalDate),
    },
}

/// Files that are written below one folder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Files {
    /// What they are.
    pub content: Content,
    /// The folder of the lake, which ends with `/`; `*` stands for a part that only the run knows.
    pub folder: String,
    /// How many.
    pub files: Amount,
    /// Bytes of all of them.
    pub bytes: Amount,
    /// Who writes them.
    pub by: Writer,
}

/// What files hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Rows of a table.
    Table,
    /// Rows that were refused.
    Quarantine,
    /// What the catalog notes down of a partition.
    Manifest,
    /// The list of the files that the warehouse copies.
    LoadList,
    /// A training set; it is removed at the run's end.
    TrainingSet,
    /// A model.
    Model,
    /// Recommendations as the job leaves them.
    Recommendations,
    /// What a job is asked for.
    JobSettings,
    /// What is known of a registered model.
    RegisteredModel,
    /// What the run was defined by.
    Definition,
}

/// Who writes files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Writer {
    /// The run.
    Run,
    /// The run, which has the store copy what a job left.
    Copy,
    /// A job.
    Job,
}

/// What happens to a table of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TableChange {
    /// It is made.
    Made,
    /// It has no partitions, so that its own entry is flipped to the new files.
    Flipped,
}

/// What happens to partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionChange {
    /// They are new.
    Added,
    /// They point to other files than before.
    Flipped,
}

/// A table that is loaded into the warehouse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WarehouseTable {
    /// The table, with its schema where the warehouse has one.
    pub table: String,
    /// How its rows get there.
    pub mode: LoadMode,
}

/// How rows get into the warehouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadMode {
    /// The day, or all, is deleted and inserted.
    Replace,
    /// Rows of the same key are deleted, and all are inserted.
    Merge,
    /// Nothing is copied: the schema that reads the catalog is made where it is missing.
    External,
}

/// Jobs of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Jobs {
    /// What they do.
    pub work: Work,
    /// What their names look like; `*` stands for what only the run knows. Several where it is not
    /// known which step's job it will be.
    pub names: Vec<String>,
    /// How many.
    pub number: Amount,
    /// How many at the same time.
    pub at_once: u64,
    /// What each runs on; absent on the embedded target, where a job is a child process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// Seconds that all of them take one after another, as earlier runs did.
    pub seconds: Amount,
}

/// What jobs do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A model is fitted.
    Fit,
    /// The service searches hyperparameters; its trials are listed apart.
    Search,
    /// A trial of a search.
    Trial,
    /// Users are scored.
    Score,
}

/// What a job runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Image.
    pub image: String,
    /// Instance types, the first choice first.
    pub instances: Vec<String>,
    /// Instances of a job.
    pub count: u32,
    /// Volume of an instance in GB.
    pub volume_gb: u32,
    /// Whether it is spot capacity.
    pub spot: bool,
    /// The longest that a job may run, in seconds.
    pub max_seconds: u64,
}

/// A generation of served lists.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Generation {
    /// The table's name in the serving store.
    pub table: String,
    /// Lists.
    pub items: Amount,
    /// Write units that they take; nothing on a store that knows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_units: Option<Amount>,
    /// Calls that put lists, after each of which a checkpoint is written.
    pub checkpoints: Amount,
    /// Whether lists carry a time to live.
    pub expire: bool,
}

/// What recctl writes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// The table of state is made.
    Table,
    /// The lease of the day is taken and given back.
    Lease,
    /// The lease is prolonged every quarter of a minute.
    LeaseRenewal,
    /// The run, at its start and at its end.
    Run,
    /// What an action did.
    Step,
    /// What is about to become visible, before it does.
    Publication,
    /// What is done, and what from.
    Ledger,
    /// Which model won.
    Decision,
}
