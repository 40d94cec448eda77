//! The tables of a load as Redshift shall have them.

use crate::pipeline::step::{PARTITION_COLUMN, WarehouseMode};
use crate::ports::TableLoad;
use crate::ports::limits::redshift::RedshiftType;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Bytes of a name at most.
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_names.html>
const NAME_BYTES: usize = 127;

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub name: String,
    pub kind: RedshiftType,
}

/// A table of a load after checks of the load as such.
#[derive(Debug, Clone)]
pub(super) struct Table<'a> {
    pub load: &'a TableLoad,
    /// The columns of the files, in order.
    pub columns: Vec<Column>,
}

/// A column that is in the warehouse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Existing {
    pub name: String,
    /// `None` for a type that recctl never writes.
    pub kind: Option<RedshiftType>,
    /// The type in the warehouse's words.
    pub shown: String,
}

impl<'a> Table<'a> {
    /// Checks what can be checked without asking anybody. Errors: `Usage`, naming the column.
    pub(super) fn new(load: &'a TableLoad) -> Outcome<Self> {
        let table = &load.table;
        let name = &table.name;
        let lower = name.to_lowercase();
        if name.is_empty() || name.len() > NAME_BYTES || lower.starts_with("recctl_") {
            return Err(usage(format!("`{name}` cannot be the name of a warehouse table")));
        }
        match (table.by_day, load.date) {
            (true, None) => {
                return Err(usage(format!("`{name}` is by day, but no day is given")));
            }
            (false, Some(_)) => return Err(not_by_day(name)),
            (true, Some(_)) | (false, None) => {}
        }
        let mut columns: Vec<Column> = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            let taken = columns.iter().any(|known| same(&known.name, &column.name));
            if taken || (table.by_day && same(&column.name, PARTITION_COLUMN)) {
                return Err(usage(format!(
                    "the column `{name}.{}` is there twice (Redshift does not tell upper from lower case)",
                    column.name
                )));
            }
            if column.name.is_empty() || column.name.len() > NAME_BYTES {
                return Err(usage(format!(
                    "`{}` cannot be the name of a column of `{name}` in Redshift",
                    column.name
                )));
            }
            let kind = RedshiftType::parse(&column.kind).map_err(|why| {
                usage(format!(
                    "the column `{name}.{}` has the type {}, which Redshift cannot take",
                    column.name, column.kind
                ))
                .with_hint(why)
            })?;
            columns.push(Column { name: column.name.clone(), kind });
        }
        if columns.is_empty() {
            return Err(usage(format!("the table `{name}` has no columns")));
        }
        let table = Self { load, columns };
        table.keys_fit()?;
        Ok(table)
    }

    fn keys_fit(&self) -> Outcome<()> {
        let layout = &self.load.layout;
        let merged: &[String] = match &layout.mode {
            WarehouseMode::Merge { on } => on,
            WarehouseMode::Replace | WarehouseMode::External => &[],
        };
        if layout.mode == (WarehouseMode::Merge { on: Vec::new() }) {
            return Err(usage(format!("`{}` shall be merged, but by no key", self.name())));
        }
        let sorted = layout.dist_key.iter().chain(&layout.sort_keys);
        for (key, merges) in sorted.map(|key| (key, false)).chain(merged.iter().map(|k| (k, true)))
        {
            let found = self.column(key);
            let day = self.load.table.by_day && same(key, PARTITION_COLUMN) && !merges;
            if !day && found.is_none() {
                return Err(usage(format!(
                    "the key `{key}` is not a column of the table `{}`",
                    self.name()
                )));
            }
            if found.is_some_and(|column| column.kind == RedshiftType::Super) {
                return Err(usage(format!(
                    "the column `{}.{key}` is nested, and cannot be a key",
                    self.name()
                )));
            }
        }
        Ok(())
    }

    pub(super) fn name(&self) -> &'a str {
        &self.load.table.name
    }

    pub(super) fn is_external(&self) -> bool {
        self.load.layout.mode == WarehouseMode::External
    }

    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| same(&column.name, name))
    }

    /// All columns of the table in the warehouse: those of the files, and the day.
    pub(super) fn all_columns(&self) -> Vec<Column> {
        let mut all = self.columns.clone();
        if self.load.table.by_day {
            all.push(Column { name: PARTITION_COLUMN.to_owned(), kind: RedshiftType::Date });
        }
        all
    }

    /// The columns that the table lacks, after all others were seen to fit; all of them if there is
    /// no such table yet (`None`).
    ///
    /// Errors: `Usage`, naming the first column that does not fit.
    pub(super) fn missing(&self, existing: Option<&[Existing]>) -> Outcome<Vec<Column>> {
        let mut missing = Vec::new();
        for column in self.all_columns() {
            let Some(existing) = existing else {
                missing.push(column);
                continue;
            };
            match existing.iter().find(|known| same(&known.name, &column.name)) {
                Some(known) if known.kind.is_some_and(|kind| kind.holds(column.kind)) => {}
                Some(known) => {
                    return Err(usage(format!(
                        "the column `{}.{}` differs in type: expected {}, found {}",
                        self.name(),
                        column.name,
                        column.kind.declared(),
                        known.kind.map_or_else(|| known.shown.clone(), RedshiftType::declared)
                    ))
                    .with_hint("give the column another name, or drop the table in the warehouse and load it again"));
                }
                // Rows that are there already would be of no day, so that no load would replace them.
                None if self.load.table.by_day && column.name == PARTITION_COLUMN => {
                    return Err(not_by_day(self.name())
                        .with_hint("drop the table in the warehouse, then load all days again"));
                }
                None => missing.push(column),
            }
        }
        Ok(missing)
    }

    /// Text columns that are narrower in the warehouse than texts can be, with their bytes.
    pub(super) fn narrow<'t>(&'t self, existing: &[Column]) -> Vec<(&'t Column, u32)> {
        self.columns
            .iter()
            .filter_map(|column| {
                let known = existing.iter().find(|known| same(&known.name, &column.name))?;
                Some((column, known.kind.narrow()?))
            })
            .collect()
    }
}

/// Redshift folds names to lower case, quoted ones too.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

fn usage(text: String) -> Failure {
    Failure::new(FailureKind::Usage, text)
}

/// Says that a table has no days.
pub(super) fn not_by_day(table: &str) -> Failure {
    usage(format!("the table `{table}` is not by day"))
}
