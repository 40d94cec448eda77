//! Where a table's partitions are: their values in Glue, their folders in the lake.

use crate::pipeline::interval::LogicalDate;
use crate::pipeline::step::{PARTITION_COLUMN, QUARANTINE_TABLE};
use crate::ports::{PartitionEntry, TableEntry};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// The key of the only partition of a table without partitions.
const WHOLE: &str = "all";

/// How Glue partitions a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partitioning {
    /// Not at all: the table itself has a location.
    Whole,
    /// By `dt`.
    Day,
    /// By the step that refused the rows and its day or `all`: the quarantine.
    StepAndDay,
}

impl Partitioning {
    pub(super) fn of(table: &TableEntry) -> Self {
        match (table.by_day, table.name.as_str()) {
            (true, _) => Self::Day,
            (false, QUARANTINE_TABLE) => Self::StepAndDay,
            (false, _) => Self::Whole,
        }
    }

    /// Names and Hive types of the partition keys.
    pub(super) fn keys(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Whole => &[],
            Self::Day => &[(PARTITION_COLUMN, "date")],
            Self::StepAndDay => &[("step", "string"), ("day", "string")],
        }
    }

    /// The values of the partition keys.
    ///
    /// Errors: `Internal` for a partition that such a table cannot have.
    pub(super) fn values(self, partition: &PartitionEntry) -> Outcome<Vec<String>> {
        let key = partition.key.as_str();
        let values = self.split(key);
        match values {
            Some(values) if self.date(key) == partition.date => Ok(values),
            _ => Err(Failure::new(
                FailureKind::Internal,
                format!("table `{}` cannot have a partition `{key}`", partition.table),
            )),
        }
    }

    /// The values of the partition keys; `None` for a key that such a table cannot have.
    pub(super) fn split(self, key: &str) -> Option<Vec<String>> {
        match self {
            Self::Whole => (key == WHOLE).then(Vec::new),
            Self::Day => key.parse::<LogicalDate>().is_ok().then(|| vec![key.to_owned()]),
            Self::StepAndDay => {
                let (step, day) = key.split_once('/')?;
                let plain = !step.is_empty() && !day.is_empty() && !day.contains('/');
                plain.then(|| vec![step.to_owned(), day.to_owned()])
            }
        }
    }

    /// The key of a partition that has these values.
    pub(super) fn key(self, values: &[String]) -> String {
        match self {
            Self::Whole => WHOLE.to_owned(),
            Self::Day | Self::StepAndDay => values.join("/"),
        }
    }

    /// The day of a partition that has this key.
    pub(super) fn date(self, key: &str) -> Option<LogicalDate> {
        match self {
            Self::Day => key.parse().ok(),
            Self::Whole | Self::StepAndDay => None,
        }
    }
}

/// The folder of the lake that is a generation, without a slash at its end: readers other than
/// recctl take everything in it for the partition.
///
/// Errors: `Internal` if its files lie in more than one folder.
pub(super) fn folder(partition: &PartitionEntry) -> Outcome<String> {
    let mut folders = partition.files.iter().map(|file| match file.path.rsplit_once('/') {
        Some((folder, _)) => folder,
        None => "",
    });
    let Some(folder) = folders.next() else {
        return Ok(empty_folder(&partition.table, &partition.key, &partition.generation));
    };
    if folder.is_empty() || folders.any(|other| other != folder) {
        return Err(Failure::new(
            FailureKind::Internal,
            format!(
                "the files of partition `{}` of table `{}` do not lie in one folder",
                partition.key, partition.table
            ),
        ));
    }
    Ok(folder.to_owned())
}

/// A folder that nobody writes to, for a partition without rows.
pub(super) fn empty_folder(table: &str, key: &str, generation: &str) -> String {
    format!("tables/{table}/empty/{key}/{generation}")
}

/// The folder of a whole table, where most of its partitions lie. Only tools that look for new
/// partitions by themselves go there.
pub(super) fn table_folder(table: &str) -> String {
    format!("tables/{table}")
}
