//! The SQL of a load.

use std::fmt::Write as _;

use super::table::{Column, Table, same};
use crate::pipeline::step::{PARTITION_COLUMN, WarehouseLayout, WarehouseMode};
use crate::ports::limits::redshift::RedshiftType;
use crate::ports::{Lease, LoadBatch};

/// The ledger of loads.
pub(super) const LEDGER: &str = "recctl_loads";
/// The last holders of leases that loaded.
pub(super) const FENCES: &str = "recctl_fences";

/// A name as SQL has it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL has it. Redshift reads backslashes as escapes.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// What a statement of a batch is there for: what its failure means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It keeps the ledger.
    Ledger,
    /// It looks whether a later holder of the lease was here.
    Fence,
    /// It makes or widens a table.
    Shape(String),
    /// It stages the rows of a table.
    Stage(String),
    /// It counts the staged rows.
    CountRows,
    /// It looks for keys that are there twice.
    UniqueKeys,
    /// It looks for texts that are too long; the columns with their bytes.
    TextsFit(Vec<(String, u32)>),
    /// It replaces rows of a table.
    Replace(String),
}

impl Purpose {
    /// Whether it makes something that others may be making at the same time.
    pub(super) fn is_shaping(&self) -> bool {
        match self {
            Self::Ledger | Self::Shape(_) => true,
            Self::Fence
            | Self::Stage(_)
            | Self::CountRows
            | Self::UniqueKeys
            | Self::TextsFit(_)
            | Self::Replace(_) => false,
        }
    }
}

/// A statement with its purpose.
pub(super) type Step = (Purpose, String);

/// A table with what is known about it.
#[derive(Debug)]
pub(super) struct Planned<'a> {
    pub table: &'a Table<'a>,
    /// Whether the warehouse has it.
    pub exists: bool,
    /// Columns that have to be added.
    pub missing: Vec<Column>,
    /// Text columns that are narrower than texts can be, with their bytes.
    pub narrow: Vec<(&'a Column, u32)>,
    /// The manifest of its files; `None` if there are none.
    pub manifest: Option<String>,
}

/// Writes the statements of a load into a schema.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub schema: &'a str,
    pub copy_role: &'a str,
    /// Distinguishes the staging tables of this load from those of others.
    pub mark: &'a str,
}

impl Writer<'_> {
    /// A table of the schema.
    pub(super) fn of(&self, table: &str) -> String {
        format!("{}.{}", quoted(self.schema), quoted(table))
    }

    fn stage(&self, at: usize) -> String {
        quoted(&format!("recctl_stage_{}_{at}", self.mark))
    }

    /// Makes what is missing of ledger and fences, and the schema if that is missing too.
    pub(super) fn make_ledger(&self, schema: bool, ledger: bool, fences: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        if !schema {
            let sql = format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(self.schema));
            steps.push((Purpose::Ledger, sql));
        }
        if !ledger {
            let sql = format!(
                "CREATE TABLE IF NOT EXISTS {} (\"token\" VARCHAR(1024) NOT NULL, \
                 \"run\" VARCHAR(256) NOT NULL, \"tables\" VARCHAR(65535) NOT NULL, \
                 \"rows\" BIGINT NOT NULL, \"loaded\" TIMESTAMP NOT NULL)",
                self.of(LEDGER)
            );
            steps.push((Purpose::Ledger, sql));
        }
        if !fences {
            let sql = format!(
                "CREATE TABLE IF NOT EXISTS {} (\"lease\" VARCHAR(1024) NOT NULL, \
                 \"fence\" BIGINT NOT NULL)",
                self.of(FENCES)
            );
            steps.push((Purpose::Ledger, sql));
        }
        steps
    }

    /// Ends the transaction if a later holder of the lease was here, and remembers this one. Comes
    /// after the lock. One statement, as a batch takes no more than forty.
    pub(super) fn fence(&self, lease: &Lease) -> Step {
        let (fences, name, fence) = (self.of(FENCES), literal(&lease.name), lease.fence);
        let there = |is: &str| {
            format!(
                "EXISTS (SELECT 1 FROM {fences} WHERE \"lease\" = {name} AND \"fence\" {is} {fence})"
            )
        };
        let (later, same) = (there(">"), there("="));
        let sql = format!(
            "INSERT INTO {fences} (\"lease\", \"fence\") \
             SELECT {name}, {fence} / CASE WHEN {later} THEN 0 ELSE 1 END \
             WHERE {later} OR NOT {same}"
        );
        (Purpose::Fence, sql)
    }

    /// The query for a load that the ledger knows.
    pub(super) fn known(&self, token: &str) -> String {
        format!("SELECT count(*) FROM {} WHERE \"token\" = {}", self.of(LEDGER), literal(token))
    }

    fn unknown(&self, token: &str) -> String {
        format!(
            "NOT EXISTS (SELECT 1 FROM {} WHERE \"token\" = {})",
            self.of(LEDGER),
            literal(token)
        )
    }

    /// Makes a table, or adds what it lacks.
    pub(super) fn shape(&self, planned: &Planned<'_>) -> Vec<Step> {
        let table = planned.table;
        let target = self.of(table.name());
        let purpose = || Purpose::Shape(table.name().to_owned());
        if !planned.exists {
            let sql = format!(
                "CREATE TABLE IF NOT EXISTS {target} ({}){}",
                declared(&planned.missing),
                keys(&table.load.layout, |_| true)
            );
            return vec![(purpose(), sql)];
        }
        // One column a statement is all that Redshift takes.
        let add = |column: &Column| {
            let sql = format!(
                "ALTER TABLE {target} ADD COLUMN {} {}",
                quoted(&column.name),
                column.kind.declared()
            );
            (purpose(), sql)
        };
        planned.missing.iter().map(add).collect()
    }

    /// Lets the loads of a schema go one after another, so that each sees the ledger as the one
    /// before left it: under snapshot isolation two could pass each other otherwise. It comes before
    /// all that takes the snapshot. Readers of the tables do not wait.
    /// <https://docs.aws.amazon.com/redshift/latest/dg/c_serial_isolation.html>
    pub(super) fn lock(&self) -> Step {
        (Purpose::Ledger, format!("LOCK TABLE {}", self.of(LEDGER)))
    }

    /// The data of a load and its row in the ledger. Nothing of it happens if the ledger knows the
    /// token.
    pub(super) fn data(&self, batch: &LoadBatch, tables: &[Planned<'_>], rows: u64) -> Vec<Step> {
        let mut steps = vec![self.fence(&batch.lease)];
        for (at, planned) in tables.iter().enumerate() {
            if let Some(manifest) = &planned.manifest {
                steps.extend(self.copy(at, planned.table, manifest));
            }
        }
        steps.extend(self.checks(tables));
        for (at, planned) in tables.iter().enumerate() {
            steps.extend(self.replace(at, planned, &batch.token));
        }
        let note: Vec<serde_json::Value> = batch
            .tables
            .iter()
            .map(|load| serde_json::json!({"table": load.table.name, "date": load.date, "rows": load.rows}))
            .collect();
        let sql = format!(
            "INSERT INTO {} (\"token\", \"run\", \"tables\", \"rows\", \"loaded\") \
             SELECT {}, {}, {}, {rows}, GETDATE() WHERE {}",
            self.of(LEDGER),
            literal(&batch.token),
            literal(&batch.run),
            literal(&serde_json::Value::Array(note).to_string()),
            self.unknown(&batch.token)
        );
        steps.push((Purpose::Ledger, sql));
        steps
    }

    fn copy(&self, at: usize, table: &Table<'_>, manifest: &str) -> [Step; 2] {
        let stage = self.stage(at);
        let purpose = || Purpose::Stage(table.name().to_owned());
        let create = format!(
            "CREATE TEMP TABLE {stage} ({}){}",
            declared(&table.columns),
            // Spread as the table is, so that its rows stay on their nodes.
            keys(&WarehouseLayout { sort_keys: Vec::new(), ..table.load.layout.clone() }, |key| {
                table.column(key).is_some()
            })
        );
        let nested = table.columns.iter().any(|column| column.kind == RedshiftType::Super);
        let copy = format!(
            "COPY {stage} ({}) FROM {} IAM_ROLE {} FORMAT AS PARQUET MANIFEST{}",
            names(&table.columns),
            literal(manifest),
            literal(self.copy_role),
            if nested { " SERIALIZETOJSON" } else { "" }
        );
        [(purpose(), create), (purpose(), copy)]
    }

    /// Statements that divide by zero if something is not as it must be: SQL has no other way to
    /// end a transaction on a condition.
    fn checks(&self, tables: &[Planned<'_>]) -> Vec<Step> {
        let (mut counts, mut unique, mut fitting) = (Vec::new(), Vec::new(), Vec::new());
        let mut narrow = Vec::new();
        for (at, planned) in tables.iter().enumerate() {
            if planned.manifest.is_none() {
                continue;
            }
            let stage = self.stage(at);
            let rows = planned.table.load.rows;
            counts.push(format!("(SELECT count(*) FROM {stage}) = {rows}"));
            if let WarehouseMode::Merge { on } = &planned.table.load.layout.mode {
                let keys: Vec<String> = on.iter().map(|key| quoted(key)).collect();
                unique.push(format!(
                    "(SELECT count(*) FROM (SELECT DISTINCT {} FROM {stage}) keys) = {rows}",
                    keys.join(", ")
                ));
            }
            for (column, width) in &planned.narrow {
                fitting.push(format!(
                    "(SELECT coalesce(max(octet_length({})), 0) FROM {stage}) <= {width}",
                    quoted(&column.name)
                ));
                narrow.push((format!("`{}.{}`", planned.table.name(), column.name), *width));
            }
        }
        let check = |purpose, conditions: Vec<String>| {
            let all = conditions.join(" AND ");
            let sql = format!("SELECT 1 / CASE WHEN {all} THEN 1 ELSE 0 END");
            (!conditions.is_empty()).then_some((purpose, sql))
        };
        [
            check(Purpose::CountRows, counts),
            check(Purpose::UniqueKeys, unique),
            check(Purpose::TextsFit(narrow), fitting),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn replace(&self, at: usize, planned: &Planned<'_>, token: &str) -> Vec<Step> {
        let table = planned.table;
        let (target, stage) = (self.of(table.name()), self.stage(at));
        let unknown = self.unknown(token);
        let purpose = || Purpose::Replace(table.name().to_owned());
        let date =
            table.load.date.map(|date| format!("CAST({} AS DATE)", literal(&date.to_string())));
        let mut steps = Vec::new();
        // Not TRUNCATE, which would commit.
        let delete = match (&table.load.layout.mode, &date) {
            (WarehouseMode::Merge { .. }, _) if planned.manifest.is_none() => None,
            (WarehouseMode::Merge { on }, _) => {
                let mut same = String::new();
                for key in on {
                    let key = quoted(key);
                    let _ = write!(same, "{target}.{key} = {stage}.{key} AND ");
                }
                Some(format!("DELETE FROM {target} USING {stage} WHERE {same}{unknown}"))
            }
            (WarehouseMode::Replace | WarehouseMode::External, Some(date)) => {
                let day = quoted(PARTITION_COLUMN);
                Some(format!("DELETE FROM {target} WHERE {day} = {date} AND {unknown}"))
            }
            (WarehouseMode::Replace | WarehouseMode::External, None) => {
                Some(format!("DELETE FROM {target} WHERE {unknown}"))
            }
        };
        // From a new table, too: how many statements a load needs must not change when it is tried again.
        steps.extend(delete.map(|sql| (purpose(), sql)));
        if planned.manifest.is_some() {
            let (mut into, mut from) = (names(&table.columns), names(&table.columns));
            if let Some(date) = date {
                let _ = write!(into, ", {}", quoted(PARTITION_COLUMN));
                let _ = write!(from, ", {date}");
            }
            let sql =
                format!("INSERT INTO {target} ({into}) SELECT {from} FROM {stage} WHERE {unknown}");
            steps.push((purpose(), sql));
        }
        steps
    }
}

fn names(columns: &[Column]) -> String {
    let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
    names.join(", ")
}

fn declared(columns: &[Column]) -> String {
    let all: Vec<String> = columns
        .iter()
        .map(|column| format!("{} {}", quoted(&column.name), column.kind.declared()))
        .collect();
    all.join(", ")
}

/// The distribution and sort keys; those that `has` lacks are left out.
fn keys(layout: &WarehouseLayout, has: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    if let Some(key) = layout.dist_key.as_ref().filter(|key| has(key)) {
        let _ = write!(text, " DISTSTYLE KEY DISTKEY ({})", quoted(key));
    }
    if !layout.sort_keys.is_empty() {
        let keys: Vec<String> = layout.sort_keys.iter().map(|key| quoted(key)).collect();
        let _ = write!(text, " COMPOUND SORTKEY ({})", keys.join(", "));
    }
    text
}

/// The query for the columns of tables in a schema.
pub(super) fn columns_query(schemas: &[&str], tables: &[&str]) -> String {
    let list = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| literal(&name.to_lowercase())).collect();
        names.join(", ")
    };
    format!(
        "SELECT table_schema, table_name, column_name, data_type, character_maximum_length, \
         numeric_precision, numeric_scale FROM svv_columns \
         WHERE table_schema IN ({}) AND table_name IN ({}) ORDER BY 1, 2, ordinal_position",
        list(schemas),
        list(tables)
    )
}

/// Whether the day is among the columns.
pub(super) fn has_day(columns: &[super::table::Existing]) -> bool {
    columns.iter().any(|column| same(&column.name, PARTITION_COLUMN))
}
