//! The embedded target: no account, no server, everything below one folder.
//!
//! Where the cloud is lenient, these adapters are strict, so that what passes here passes there.

mod catalog;
mod clock;
mod doctor;
mod git;
mod registry;
mod serving;
mod sqlite;
mod state;
mod trainer;
mod warehouse;

use std::path::{Path, PathBuf};

pub use catalog::SqliteCatalog;
pub use clock::{FixedClock, SystemClock};
pub use doctor::LocalPreflight;
pub use git::GitRevision;
pub use registry::SqliteModelRegistry;
pub use serving::{MAX_ITEM_BYTES, SqliteServingStore};
pub use state::{SqliteStateStore, host_name};
pub use trainer::ProcessTrainer;
pub use warehouse::SqliteWarehouse;

use crate::run::failure::{Outcome, io_failure};

/// The files of the embedded target's databases.
const DATABASES: [&str; 5] = ["catalog.db", "models.db", "serving.db", "state.db", "warehouse.db"];

/// Places of the embedded target's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTarget {
    /// The folder of all, absolute.
    pub root: PathBuf,
    /// Data files.
    pub lake: PathBuf,
    /// Folders of jobs.
    pub jobs: PathBuf,
    /// Files that nobody misses after the process has ended.
    pub tmp: PathBuf,
}

impl LocalTarget {
    /// Names the places below `root` (usually `.recctl`) and makes the folders that are missing.
    ///
    /// Errors: as the file system says.
    pub fn open(root: &Path) -> Outcome<Self> {
        let root = std::path::absolute(root).map_err(|error| io_failure("find", root, &error))?;
        let target =
            Self { lake: root.join("lake"), jobs: root.join("jobs"), tmp: root.join("tmp"), root };
        for folder in [&target.lake, &target.jobs, &target.tmp] {
            std::fs::create_dir_all(folder)
                .map_err(|error| io_failure("create the folder", folder, &error))?;
        }
        Ok(target)
    }

    /// Names the places below `root` and makes none: what is missing is looked for, and made, in
    /// `scratch` instead.
    ///
    /// Errors: as the file system says.
    pub fn look(root: &Path, scratch: &Path) -> Outcome<Self> {
        let real = std::path::absolute(root).map_err(|error| io_failure("find", root, &error))?;
        let mut target = Self::open(scratch)?;
        let lake = real.join("lake");
        if lake.is_dir() {
            target.lake = lake;
        }
        if DATABASES.iter().all(|name| real.join(name).is_file()) {
            target.root = real;
        }
        Ok(target)
    }

    /// Opens the catalog, `catalog.db`.
    pub async fn catalog(&self) -> Outcome<SqliteCatalog> {
        SqliteCatalog::open(&self.root.join("catalog.db")).await
    }

    /// Opens the warehouse, `warehouse.db`.
    pub async fn warehouse(&self) -> Outcome<SqliteWarehouse> {
        SqliteWarehouse::open(&self.root.join("warehouse.db"), &self.lake).await
    }

    /// Opens the serving store, `serving.db`.
    pub async fn serving_store(&self) -> Outcome<SqliteServingStore> {
        SqliteServingStore::open(&self.root.join("serving.db")).await
    }

    /// Opens the model registry, `models.db`.
    pub async fn model_registry(&self) -> Outcome<SqliteModelRegistry> {
        SqliteModelRegistry::open(&self.root.join("models.db")).await
    }

    /// Opens the state store, `state.db`. `host` is the first part of this machine's lease holders.
    pub async fn state_store(&self, host: &str) -> Outcome<SqliteStateStore> {
        SqliteStateStore::open(&self.root.join("state.db"), host).await
    }

    /// Makes a trainer that runs `program`, at most `parallel` jobs at once.
    pub fn trainer(&self, program: &Path, parallel: usize) -> Outcome<ProcessTrainer> {
        ProcessTrainer::new(&self.jobs, &self.lake, program, parallel)
    }
}
