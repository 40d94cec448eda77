//! The warehouse in SQLite: plain tables that any SQLite client can query.

mod columns;

use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rusqlite::{Connection, OptionalExtension, Statement, Transaction, params};

use self::columns::{Cells, SqlType};
use super::sqlite::{Attempt, Database, Fault, Schema, pass_fence};
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::step::WarehouseMode;
use crate::ports::{FileEntry, Lease, LoadBatch, LoadOutcome, TableLoad, Warehouse};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// The partition column.
const DT: &str = "dt";

/// The last holders of leases that loaded.
const FENCES: &str = "recctl_fences";

/// Rows read from a file at once.
const BATCH_ROWS: usize = 8_192;

static SCHEMA: Schema = Schema {
    migrations: &[
        "
CREATE TABLE recctl_loads (
    token TEXT NOT NULL PRIMARY KEY,
    run TEXT NOT NULL,
    tables TEXT NOT NULL,
    rows INTEGER NOT NULL
);
",
        "
CREATE TABLE recctl_fences (
    lease TEXT NOT NULL PRIMARY KEY,
    fence INTEGER NOT NULL
) WITHOUT ROWID;
",
    ],
    page_size: 4096,
    // A load that a power failure takes back would be in the ledger all the same, and nobody looks
    // whether the rows are there.
    durable: true,
};

/// Keeps curated tables in a file.
///
/// Types: whole numbers are `INTEGER`, floating ones `REAL` (NaN is NULL, as SQLite has none),
/// booleans `BOOLEAN` (0 or 1), texts `TEXT`, days `DATE` (`2026-03-01`), instants `TIMESTAMP`
/// (`2026-03-01 12:00:00.000000`, in UTC and with a `Z` where the column has a time zone, cut to
/// microseconds), decimals `DECIMAL_TEXT` (exact text, which sums as a number), bytes `BLOB`, lists
/// and structs `JSON_TEXT`.
#[derive(Debug, Clone)]
pub struct SqliteWarehouse {
    database: Database,
    lake: PathBuf,
}

impl SqliteWarehouse {
    /// Opens the file and makes it if it is missing. Paths of data files are relative to `lake`.
    ///
    /// Errors: `Usage` if a newer recctl wrote it, `Input` if it is no database.
    pub async fn open(path: &Path, lake: &Path) -> Outcome<Self> {
        Ok(Self { database: Database::open(path, &SCHEMA).await?, lake: lake.to_owned() })
    }
}

#[async_trait]
impl Warehouse for SqliteWarehouse {
    async fn load(&self, batch: &LoadBatch) -> Outcome<LoadOutcome> {
        let (batch, lake) = (batch.clone(), self.lake.clone());
        // The blocking thread cannot be dropped with this future, so it is told.
        let dropped = CancelOnDrop::default();
        let cancelled = Arc::clone(&dropped.0);
        self.database.write(move |tx| load(tx, &batch, &lake, &cancelled)).await
    }

    async fn fence(&self, lease: &Lease) -> Outcome<()> {
        let lease = lease.clone();
        self.database.write(move |tx| pass_fence(tx, FENCES, &lease)).await
    }

    async fn count(&self, table: &str, date: Option<LogicalDate>) -> Outcome<Option<u64>> {
        let table = table.to_owned();
        self.database
            .read(move |tx| {
                let columns = existing_columns(tx, &table)?;
                if columns.is_empty() {
                    return Ok(None);
                }
                let from = format!("SELECT count(*) FROM {}", quoted(&table));
                let rows: i64 = match date {
                    None => tx.query_row(&from, [], |row| row.get(0))?,
                    Some(date) => {
                        // SQLite would take the quoted name of a missing column for a text.
                        if !columns.iter().any(|(name, _)| name.eq_ignore_ascii_case(DT)) {
                            return Err(not_by_day(&table).into());
                        }
                        let sql = format!("{from} WHERE {} = ?1", quoted(DT));
                        tx.query_row(&sql, [date.to_string()], |row| row.get(0))?
                    }
                };
                Ok(Some(rows.unsigned_abs()))
            })
            .await
    }
}

#[derive(Debug, Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn load(
    tx: &Transaction<'_>,
    batch: &LoadBatch,
    lake: &Path,
    cancelled: &AtomicBool,
) -> Attempt<LoadOutcome> {
    let known = tx
        .query_row("SELECT 1 FROM recctl_loads WHERE token = ?1", [&batch.token], |_| Ok(()))
        .optional()?;
    if known.is_some() {
        return Ok(LoadOutcome::AlreadyLoaded);
    }
    pass_fence(tx, FENCES, &batch.lease)?;
    let mut rows = 0;
    for load in &batch.tables {
        rows += load_table(tx, load, lake, cancelled)?;
    }
    let tables: Vec<serde_json::Value> = batch
        .tables
        .iter()
        .map(|load| serde_json::json!({"table": load.table.name, "date": load.date, "rows": load.rows}))
        .collect();
    tx.execute(
        "INSERT INTO recctl_loads (token, run, tables, rows) VALUES (?1, ?2, ?3, ?4)",
        params![
            batch.token,
            batch.run,
            serde_json::Value::Array(tables).to_string(),
            i64::try_from(rows).unwrap_or(i64::MAX)
        ],
    )?;
    Ok(LoadOutcome::Loaded(rows))
}

/// Where rows wait that are to be merged; it ends with the transaction.
const STAGE: &str = "temp.recctl_stage";

fn load_table(
    tx: &Transaction<'_>,
    load: &TableLoad,
    lake: &Path,
    cancelled: &AtomicBool,
) -> Attempt<u64> {
    let name = &load.table.name;
    let kinds = expected_columns(load)?;
    ensure_table(tx, load, &kinds)?;
    let target = quoted(name);
    let table = match (&load.layout.mode, load.date) {
        (WarehouseMode::Merge { .. }, _) => {
            tx.execute(
                &format!("CREATE TEMP TABLE {STAGE} AS SELECT * FROM {target} WHERE 0"),
                [],
            )?;
            STAGE.to_owned()
        }
        // There is no reading where it lies: an external table is a copy here.
        (WarehouseMode::Replace | WarehouseMode::External, Some(date)) => {
            let day = quoted(DT);
            tx.execute(&format!("DELETE FROM {target} WHERE {day} = ?1"), [date.to_string()])?;
            target.clone()
        }
        (WarehouseMode::Replace | WarehouseMode::External, None) => {
            tx.execute(&format!("DELETE FROM {target}"), [])?;
            target.clone()
        }
    };

    let mut names: Vec<String> = kinds.iter().map(|(name, _)| quoted(name)).collect();
    if load.date.is_some() {
        names.push(quoted(DT));
    }
    let places: Vec<String> = (1..=names.len()).map(|n| format!("?{n}")).collect();
    let mut insert = tx.prepare(&format!(
        "INSERT INTO {table} ({}) VALUES ({})",
        names.join(", "),
        places.join(", ")
    ))?;
    if let Some(date) = load.date {
        // Bindings stay from row to row.
        insert.raw_bind_parameter(names.len(), date.to_string())?;
    }
    let mut rows = 0;
    for file in &load.files {
        rows += insert_file(&mut insert, file, name, &kinds, lake, cancelled)?;
    }
    if rows != load.rows {
        return Err(Failure::new(
            FailureKind::Quality,
            format!("the files of `{name}` hold {rows} rows instead of {}", load.rows),
        )
        .into());
    }
    drop(insert);
    if let WarehouseMode::Merge { on } = &load.layout.mode {
        merge(tx, name, on, &names)?;
    }
    Ok(rows)
}

/// Replaces the rows whose keys are staged, keeps all others, and empties the stage.
fn merge(tx: &Transaction<'_>, name: &str, on: &[String], columns: &[String]) -> Attempt<()> {
    let (target, keys) = (quoted(name), on.iter().map(|key| quoted(key)).collect::<Vec<_>>());
    let twice = format!("SELECT 1 FROM {STAGE} GROUP BY {} HAVING count(*) > 1", keys.join(", "));
    if tx.prepare(&twice)?.exists([])? {
        return Err(Failure::new(
            FailureKind::Quality,
            format!("the rows to be merged into `{name}` have a key twice, and nothing was loaded"),
        )
        .with_hint("make the query's rows unique by the keys that the step merges on")
        .into());
    }
    let same: Vec<String> = keys.iter().map(|key| format!("s.{key} IS {target}.{key}")).collect();
    tx.execute(
        &format!(
            "DELETE FROM {target} WHERE EXISTS (SELECT 1 FROM {STAGE} s WHERE {})",
            same.join(" AND ")
        ),
        [],
    )?;
    let columns = columns.join(", ");
    tx.execute(&format!("INSERT INTO {target} ({columns}) SELECT {columns} FROM {STAGE}"), [])?;
    tx.execute(&format!("DROP TABLE {STAGE}"), [])?;
    Ok(())
}

/// The columns of the files with their types in the warehouse, after checks of the load as such.
fn expected_columns(load: &TableLoad) -> Outcome<Vec<(String, SqlType)>> {
    let table = &load.table;
    let usage = |text: String| Err(Failure::new(FailureKind::Usage, text));
    let lower = table.name.to_ascii_lowercase();
    if table.name.is_empty() || lower.starts_with("recctl_") || lower.starts_with("sqlite_") {
        return usage(format!("`{}` cannot be the name of a warehouse table", table.name));
    }
    match (table.by_day, load.date) {
        (true, None) => return usage(format!("`{}` is by day, but no day is given", table.name)),
        (false, Some(_)) => return Err(not_by_day(&table.name)),
        (true, Some(_)) | (false, None) => {}
    }
    let mut columns: Vec<(String, SqlType)> = Vec::with_capacity(table.columns.len());
    for column in &table.columns {
        let taken = columns.iter().any(|(name, _)| name.eq_ignore_ascii_case(&column.name));
        if taken || (table.by_day && column.name.eq_ignore_ascii_case(DT)) {
            return usage(format!(
                "the column `{}.{}` is there twice (SQLite does not tell upper from lower case)",
                table.name, column.name
            ));
        }
        let Some(kind) = SqlType::parse(&column.kind) else {
            return usage(format!(
                "the column `{}.{}` has the type `{}`, which is not known",
                table.name, column.name, column.kind
            ));
        };
        columns.push((column.name.clone(), kind));
    }
    if columns.is_empty() {
        return usage(format!("the table `{}` has no columns", table.name));
    }
    Ok(columns)
}

/// Creates the table, or adds the columns that it lacks.
fn ensure_table(
    tx: &Transaction<'_>,
    load: &TableLoad,
    kinds: &[(String, SqlType)],
) -> Attempt<()> {
    let name = &load.table.name;
    let mut wanted: Vec<(&str, SqlType)> =
        kinds.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
    if load.table.by_day {
        wanted.push((DT, SqlType::Date));
    }
    let existing = existing_columns(tx, name)?;
    let declare =
        |(column, kind): &(&str, SqlType)| format!("{} {}", quoted(column), kind.declared());
    if existing.is_empty() {
        let all: Vec<String> = wanted.iter().map(declare).collect();
        tx.execute_batch(&format!("CREATE TABLE {} ({})", quoted(name), all.join(", ")))?;
    }
    for column in wanted.iter().filter(|_| !existing.is_empty()) {
        let found = existing.iter().find(|(name, _)| name.eq_ignore_ascii_case(column.0));
        match found {
            Some((_, declared)) if declared.eq_ignore_ascii_case(column.1.declared()) => {}
            Some((_, declared)) => {
                return Err(type_differs(name, column.0, column.1.declared(), declared).into());
            }
            // Rows that are there already would be of no day, so that no load would replace them.
            None if column.0 == DT && load.table.by_day => {
                return Err(not_by_day(name)
                    .with_hint("drop the table in the warehouse, then load all days again")
                    .into());
            }
            None => tx.execute_batch(&format!(
                "ALTER TABLE {} ADD COLUMN {}",
                quoted(name),
                declare(column)
            ))?,
        }
    }
    if load.table.by_day {
        tx.execute_batch(&format!(
            "CREATE INDEX IF NOT EXISTS {} ON {} ({})",
            quoted(&format!("recctl_{name}_dt")),
            quoted(name),
            quoted(DT)
        ))?;
    }
    Ok(())
}

fn insert_file(
    insert: &mut Statement<'_>,
    file: &FileEntry,
    table: &str,
    kinds: &[(String, SqlType)],
    lake: &Path,
    cancelled: &AtomicBool,
) -> Attempt<u64> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::new(FailureKind::Input, format!("cannot read `{}`: {error}", file.path))
    };
    let path = Path::new(&file.path);
    if path.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(unreadable(&"it is not below the lake").into());
    }
    let source = File::open(lake.join(path)).map_err(|error| unreadable(&error))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(source)
        .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build())
        .map_err(|error| unreadable(&error))?;
    let mut rows = 0;
    for batch in reader {
        if cancelled.load(Ordering::Relaxed) {
            return Err(Failure::new(FailureKind::Cancelled, "the load was cancelled").into());
        }
        let batch = batch.map_err(|error| unreadable(&error))?;
        let mut columns = Vec::with_capacity(kinds.len());
        for (name, kind) in kinds {
            let index = batch
                .schema()
                .index_of(name)
                .map_err(|_| unreadable(&format!("it lacks the column `{name}`")))?;
            let array = batch.column(index);
            let found = SqlType::of(array.data_type());
            if found != *kind {
                let declared = kind.declared();
                return Err(type_differs(table, name, declared, found.declared()).into());
            }
            let cells = Cells::new(array, batch.schema().field(index), *kind)
                .map_err(|error| unreadable(&format!("column `{name}`: {error}")))?;
            columns.push(cells);
        }
        for row in 0..batch.num_rows() {
            for (index, cells) in columns.iter().enumerate() {
                cells.bind(insert, index + 1, row)?;
            }
            insert.raw_execute()?;
        }
        rows += batch.num_rows() as u64;
    }
    Ok(rows)
}

/// Names and declared types of a table's columns; empty if there is no such table.
fn existing_columns(connection: &Connection, table: &str) -> Result<Vec<(String, String)>, Fault> {
    let mut query = connection.prepare_cached("SELECT name, type FROM pragma_table_info(?1)")?;
    Ok(query
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<_>, _>>()?)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn type_differs(table: &str, column: &str, expected: &str, found: &str) -> Failure {
    Failure::new(
        FailureKind::Usage,
        format!(
            "the column `{table}.{column}` differs in type: expected {expected}, found {found}"
        ),
    )
    .with_hint("give the column another name, or drop the table in the warehouse and load it again")
}

fn not_by_day(table: &str) -> Failure {
    Failure::new(FailureKind::Usage, format!("the table `{table}` is not by day"))
}

#[cfg(test)]
mod tests;
