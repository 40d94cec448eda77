//! What planning knows of the world.

use std::collections::{BTreeMap, BTreeSet};

use super::effects::Standing;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::step::WarehouseLayout;
use crate::run::record::LedgerRow;

/// What planning knows of the world.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The ledger of the pipeline.
    pub ledger: BTreeMap<(Name, Partition), LedgerRow>,
    /// Ledger rows whose output is no longer there.
    pub lost: BTreeSet<(Name, Partition)>,
    /// Rows by which a person said that work is to be done again.
    pub unmade: BTreeMap<(Name, Partition), LedgerRow>,
    /// Whole partitions that readers see and the ledger does not know: their run died in between.
    pub visible: BTreeMap<(Name, Partition), VisibleFact>,
    /// Files of sources.
    pub listings: BTreeMap<(Name, Partition), ListingFact>,
    /// Digest of the champion that each selecting step finds for a date, where there is one.
    pub champions: BTreeMap<(Name, LogicalDate), String>,
    /// Do the work of the logical date again even if it is unchanged.
    pub force: bool,
    /// The day whose lists a served table shows, where that is known; by table.
    pub served_days: BTreeMap<String, LogicalDate>,
    /// Whether lists may take the place of a newer day's.
    pub serve: bool,
    /// What there is at the target; absent if nobody looked.
    pub there: Option<Standing>,
    /// The sample that a run makes first, if it does.
    pub sample: Option<SampleFact>,
    /// What is served by hand in place of what was loaded.
    pub served_back: Vec<ServedBack>,
    /// Publications that a run finishes, or takes back, before anything else. The other facts are as
    /// they are after that.
    pub open: Vec<OpenFact>,
    /// Whether nobody looked: listings say that there is input everywhere, and not how much.
    pub assumed: bool,
}

/// A publication that a process left open when it died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFact {
    /// What becomes of it, for people.
    pub told: String,
    /// Partitions that are flipped for it: table, key, and whether the table has partitions at all.
    pub flips: Vec<(String, String, bool)>,
    /// Tables that the warehouse is loaded with, and how they lie there.
    pub loads: Vec<(String, WarehouseLayout)>,
}

/// A served table that was rolled back behind what a run loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedBack {
    /// The step that loads it.
    pub step: Name,
    /// The day that was loaded.
    pub date: LogicalDate,
    /// The served table.
    pub table: String,
    /// The generation that is visible.
    pub visible: String,
    /// The one that was loaded.
    pub loaded: String,
}

/// The sample that a first run makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleFact {
    /// The folder of the lake.
    pub folder: String,
    /// Lines of events.
    pub events: u64,
    /// First and last day.
    pub days: (LogicalDate, LogicalDate),
}

/// A generation that readers see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibleFact {
    /// The run that made it.
    pub generation: String,
    /// The digest of what it was made from.
    pub fingerprint: String,
}

impl Facts {
    /// Whether a source has files for a partition.
    pub(super) fn has_files(&self, source: &Name, partition: Partition) -> bool {
        let listing = self.listings.get(&(source.clone(), partition));
        listing.is_some_and(|listing| listing.files > 0)
    }

    /// The row of work that a person said is done, and whose result is there.
    pub(super) fn marked_done(&self, step: &Name, partition: Partition) -> Option<&LedgerRow> {
        let row = self.ledger.get(&(step.clone(), partition))?;
        (row.mark.is_some() && self.is_there(step, partition)).then_some(row)
    }

    /// Whether a step was carried out for a partition and what it made is still there.
    pub(super) fn is_there(&self, step: &Name, partition: Partition) -> bool {
        let key = (step.clone(), partition);
        self.ledger.contains_key(&key) && !self.lost.contains(&key)
    }
}

/// What is known of a source's files for a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListingFact {
    /// Names, sizes and versions.
    pub version: String,
    /// Number of files.
    pub files: usize,
    /// Bytes, as stored.
    pub bytes: u64,
    /// Where they were looked for, as people know it.
    pub shown: String,
}
