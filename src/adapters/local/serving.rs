//! The serving store in SQLite.

use std::path::Path;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::sqlite::{Attempt, Database, Schema, pass_fence};
use crate::ports::{
    GenerationEntry, Lease, RecommendedItem, ServedList, ServingItem, ServingStore,
};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// The largest item, as bytes of its key and of its list as compact JSON.
///
/// DynamoDB takes items of 400 KB, attribute names and the generation among them
/// (docs.aws.amazon.com, "Service quotas in Amazon DynamoDB"); 1 KiB is left for those.
pub const MAX_ITEM_BYTES: usize = 399 * 1024;

/// The longest key: DynamoDB's limit of a sort key, the smaller of its two limits.
const MAX_KEY_BYTES: usize = 1024;

/// Items per transaction: another process that writes waits for one of these at most.
const CHUNK: usize = 5_000;

static SCHEMA: Schema = Schema {
    // Items are keyed by a number instead of by table and generation: that is eight bytes at most
    // per row, and a number is never given out twice. A number without a generation is rubbish
    // that `prune` removes piece by piece; nobody can reach its items.
    migrations: &[
        "
CREATE TABLE generations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    table_name TEXT NOT NULL,
    generation TEXT NOT NULL,
    model TEXT NOT NULL,
    created INTEGER NOT NULL,
    items INTEGER NOT NULL DEFAULT 0,
    sealed INTEGER NOT NULL DEFAULT 0,
    UNIQUE (table_name, generation)
);
CREATE TABLE pointers (
    table_name TEXT NOT NULL PRIMARY KEY,
    generation_id INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE items (
    generation_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    payload TEXT NOT NULL,
    PRIMARY KEY (generation_id, key)
) WITHOUT ROWID;
CREATE TABLE rubbish (
    generation_id INTEGER PRIMARY KEY
);
",
        "
ALTER TABLE generations ADD COLUMN checkpoint INTEGER NOT NULL DEFAULT 0;
",
        "
CREATE TABLE fences (
    lease TEXT NOT NULL PRIMARY KEY,
    fence INTEGER NOT NULL
) WITHOUT ROWID;
",
    ],
    // A list of fifty is one or two kilobytes. In a table without rowids a quarter of a page is
    // kept in place; the rest of a larger row goes to a page of its own.
    page_size: 16_384,
    durable: false,
};

const COLUMNS: &str = "g.table_name, g.generation, g.model, g.created, g.items, g.sealed, \
                       p.generation_id IS NOT NULL";

/// Keeps served tables in a file.
#[derive(Debug, Clone)]
pub struct SqliteServingStore {
    database: Database,
}

impl SqliteServingStore {
    /// Opens the file and makes it if it is missing.
    ///
    /// Errors: `Usage` if a newer recctl wrote it, `Input` if it is no database.
    pub async fn open(path: &Path) -> Outcome<Self> {
        Ok(Self { database: Database::open(path, &SCHEMA).await? })
    }

    async fn sweep(&self) -> Outcome<()> {
        loop {
            let done = self
                .database
                .write(|tx| {
                    let rubbish: Option<i64> = tx
                        .query_row("SELECT generation_id FROM rubbish LIMIT 1", [], |row| {
                            row.get(0)
                        })
                        .optional()?;
                    let Some(id) = rubbish else { return Ok(true) };
                    let removed = tx
                        .prepare_cached(
                            "DELETE FROM items WHERE generation_id = ?1 AND key IN \
                             (SELECT key FROM items WHERE generation_id = ?1 LIMIT ?2)",
                        )?
                        .execute(params![id, CHUNK as i64])?;
                    if removed < CHUNK {
                        tx.execute("DELETE FROM rubbish WHERE generation_id = ?1", [id])?;
                    }
                    Ok(false)
                })
                .await?;
            if done {
                return Ok(());
            }
        }
    }
}

#[async_trait]
impl ServingStore for SqliteServingStore {
    async fn begin(
        &self,
        table: &str,
        generation: &str,
        model: &str,
        now: DateTime<Utc>,
    ) -> Outcome<u64> {
        let (table, generation, model) =
            (table.to_owned(), generation.to_owned(), model.to_owned());
        self.database
            .write(move |tx| match find(tx, &table, &generation)? {
                Some(known) if known.sealed => Err(sealed(&table, &generation).into()),
                Some(known) => Ok(u64::try_from(known.checkpoint).unwrap_or(0)),
                None => {
                    tx.execute(
                        "INSERT INTO generations (table_name, generation, model, created) \
                         VALUES (?1, ?2, ?3, ?4)",
                        params![table, generation, model, now.timestamp_micros()],
                    )?;
                    Ok(0)
                }
            })
            .await
    }

    async fn put(&self, table: &str, generation: &str, items: &[ServingItem]) -> Outcome<()> {
        // All items are looked at before the first is written.
        let mut rows = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            rows.push((item.key.clone(), payload(item)?));
            if index % 1_000 == 999 {
                tokio::task::yield_now().await;
            }
        }
        // In the order of the keys neighbours meet on the same page. The sort is stable: of two
        // items of one key the later one still comes later.
        rows.sort_by(|one, other| one.0.cmp(&other.0));
        let mut rows = rows.into_iter();
        loop {
            let chunk: Vec<(String, String)> = rows.by_ref().take(CHUNK).collect();
            let last = chunk.len() < CHUNK;
            let (table, generation) = (table.to_owned(), generation.to_owned());
            self.database.write(move |tx| write_chunk(tx, &table, &generation, &chunk)).await?;
            if last {
                return Ok(());
            }
        }
    }

    async fn checkpoint(&self, table: &str, generation: &str, items: u64) -> Outcome<()> {
        let (table, generation) = (table.to_owned(), generation.to_owned());
        self.database
            .write(move |tx| match find(tx, &table, &generation)? {
                Some(known) if known.sealed => Err(sealed(&table, &generation).into()),
                Some(known) => {
                    let items = i64::try_from(items).unwrap_or(i64::MAX);
                    tx.execute(
                        "UPDATE generations SET checkpoint = ?2 WHERE id = ?1",
                        params![known.id, items],
                    )?;
                    Ok(())
                }
                None => Err(not_begun(&table, &generation).into()),
            })
            .await
    }

    async fn seal_and_flip(
        &self,
        table: &str,
        generation: &str,
        items: u64,
        lease: &Lease,
    ) -> Outcome<()> {
        let (table, generation) = (table.to_owned(), generation.to_owned());
        let lease = lease.clone();
        self.database
            .write(move |tx| {
                pass_fence(tx, "fences", &lease)?;
                let known =
                    find(tx, &table, &generation)?.ok_or_else(|| not_begun(&table, &generation))?;
                if u64::try_from(known.items) != Ok(items) {
                    return Err(Failure::new(
                        FailureKind::Quality,
                        format!(
                            "generation `{generation}` of `{table}` holds {} items instead of {items}",
                            known.items
                        ),
                    )
                    .into());
                }
                tx.execute("UPDATE generations SET sealed = 1 WHERE id = ?1", [known.id])?;
                point(tx, &table, known.id)
            })
            .await
    }

    async fn flip(&self, table: &str, generation: &str, lease: &Lease) -> Outcome<()> {
        let (table, generation) = (table.to_owned(), generation.to_owned());
        let lease = lease.clone();
        self.database
            .write(move |tx| {
                pass_fence(tx, "fences", &lease)?;
                match find(tx, &table, &generation)? {
                    Some(known) if known.sealed => point(tx, &table, known.id),
                    _ => Err(Failure::new(
                        FailureKind::NotFound,
                        format!("`{table}` has no complete generation `{generation}`"),
                    )
                    .into()),
                }
            })
            .await
    }

    async fn fence(&self, _: &str, lease: &Lease) -> Outcome<()> {
        let lease = lease.clone();
        self.database.write(move |tx| pass_fence(tx, "fences", &lease)).await
    }

    async fn generations(&self, table: &str) -> Outcome<Vec<GenerationEntry>> {
        let table = table.to_owned();
        self.database
            .read(move |tx| {
                let mut query = tx.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM generations g \
                     LEFT JOIN pointers p ON p.generation_id = g.id \
                     WHERE g.table_name = ?1 ORDER BY g.generation DESC"
                ))?;
                Ok(query.query_map([table], entry)?.collect::<Result<Vec<_>, _>>()?)
            })
            .await
    }

    async fn tables(&self) -> Outcome<Vec<String>> {
        self.database
            .read(|tx| {
                let mut query = tx.prepare_cached(
                    "SELECT DISTINCT table_name FROM generations ORDER BY table_name",
                )?;
                Ok(query.query_map([], |row| row.get(0))?.collect::<Result<Vec<_>, _>>()?)
            })
            .await
    }

    async fn get(&self, table: &str, key: &str) -> Outcome<Option<ServedList>> {
        let (table, key) = (table.to_owned(), key.to_owned());
        self.database
            .read(move |tx| {
                // One statement, so that pointer and item are of the same instant.
                let found: Option<(GenerationEntry, Option<String>)> = tx
                    .prepare_cached(&format!(
                        "SELECT {COLUMNS}, i.payload FROM pointers p \
                         JOIN generations g ON g.id = p.generation_id \
                         LEFT JOIN items i ON i.generation_id = p.generation_id AND i.key = ?2 \
                         WHERE p.table_name = ?1"
                    ))?
                    .query_row([&table, &key], |row| Ok((entry(row)?, row.get(7)?)))
                    .optional()?;
                match found {
                    None => Err(Failure::new(
                        FailureKind::NotFound,
                        format!("`{table}` has no visible generation"),
                    )
                    .into()),
                    Some((_, None)) => Ok(None),
                    Some((generation, Some(payload))) => {
                        let items = unpack(&payload)?;
                        Ok(Some(ServedList { generation, item: ServingItem { key, items } }))
                    }
                }
            })
            .await
    }

    async fn discard(&self, table: &str, generation: &str) -> Outcome<bool> {
        let (table, generation) = (table.to_owned(), generation.to_owned());
        let gone = self
            .database
            .write(move |tx| {
                let Some(known) = find(tx, &table, &generation)? else { return Ok(true) };
                let visible = "SELECT 1 FROM pointers WHERE generation_id = ?1";
                if tx.prepare_cached(visible)?.exists([known.id])? {
                    return Ok(false);
                }
                tx.execute("INSERT INTO rubbish (generation_id) VALUES (?1)", [known.id])?;
                tx.execute("DELETE FROM generations WHERE id = ?1", [known.id])?;
                Ok(true)
            })
            .await?;
        self.sweep().await?;
        Ok(gone)
    }

    async fn prune(&self, table: &str, keep: usize) -> Outcome<usize> {
        let table = table.to_owned();
        let keep = i64::try_from(keep).unwrap_or(i64::MAX);
        let removed = self
            .database
            .write(move |tx| {
                // Without a visible generation there is nothing older than it: a table whose first
                // load is under way loses nothing.
                let removed = tx.execute(
                    "INSERT INTO rubbish (generation_id) SELECT g.id FROM generations g \
                     JOIN pointers p ON p.table_name = g.table_name \
                     JOIN generations v ON v.id = p.generation_id \
                     WHERE g.table_name = ?1 AND g.generation < v.generation \
                     AND g.id NOT IN (SELECT k.id FROM generations k \
                     WHERE k.table_name = ?1 AND k.sealed ORDER BY k.generation DESC LIMIT ?2)",
                    params![table, keep],
                )?;
                tx.execute(
                    "DELETE FROM generations WHERE id IN (SELECT generation_id FROM rubbish)",
                    [],
                )?;
                Ok(removed)
            })
            .await?;
        self.sweep().await?;
        Ok(removed)
    }
}

struct Known {
    id: i64,
    items: i64,
    sealed: bool,
    checkpoint: i64,
}

fn find(tx: &Transaction<'_>, table: &str, generation: &str) -> Attempt<Option<Known>> {
    let mut query = tx.prepare_cached(
        "SELECT id, items, sealed, checkpoint FROM generations \
         WHERE table_name = ?1 AND generation = ?2",
    )?;
    Ok(query
        .query_row([table, generation], |row| {
            Ok(Known {
                id: row.get(0)?,
                items: row.get(1)?,
                sealed: row.get(2)?,
                checkpoint: row.get(3)?,
            })
        })
        .optional()?)
}

fn point(tx: &Transaction<'_>, table: &str, id: i64) -> Attempt<()> {
    tx.execute(
        "INSERT INTO pointers (table_name, generation_id) VALUES (?1, ?2) \
         ON CONFLICT (table_name) DO UPDATE SET generation_id = excluded.generation_id",
        params![table, id],
    )?;
    Ok(())
}

fn write_chunk(
    tx: &Transaction<'_>,
    table: &str,
    generation: &str,
    rows: &[(String, String)],
) -> Attempt<()> {
    let known = find(tx, table, generation)?.ok_or_else(|| not_begun(table, generation))?;
    if known.sealed {
        return Err(sealed(table, generation).into());
    }
    // Two statements instead of one that replaces: so the number of items is known without
    // counting, which would read every page of the generation.
    let mut insert = tx.prepare_cached(
        "INSERT OR IGNORE INTO items (generation_id, key, payload) VALUES (?1, ?2, ?3)",
    )?;
    let mut update =
        tx.prepare_cached("UPDATE items SET payload = ?3 WHERE generation_id = ?1 AND key = ?2")?;
    let mut added = 0_i64;
    for (key, payload) in rows {
        if insert.execute(params![known.id, key, payload])? == 1 {
            added += 1;
        } else {
            update.execute(params![known.id, key, payload])?;
        }
    }
    tx.execute(
        "UPDATE generations SET items = items + ?2 WHERE id = ?1",
        params![known.id, added],
    )?;
    Ok(())
}

fn entry(row: &Row<'_>) -> rusqlite::Result<GenerationEntry> {
    let sealed: bool = row.get(5)?;
    let items: i64 = row.get(4)?;
    Ok(GenerationEntry {
        table: row.get(0)?,
        generation: row.get(1)?,
        model: row.get(2)?,
        created: DateTime::from_timestamp_micros(row.get(3)?).unwrap_or(DateTime::UNIX_EPOCH),
        items: if sealed { items.unsigned_abs() } else { 0 },
        sealed,
        visible: row.get(6)?,
    })
}

/// The list as it is stored: `[["item",0.5],…]`.
fn payload(item: &ServingItem) -> Outcome<String> {
    let refuse = |kind, what: String| {
        let key: String = item.key.chars().take(80).collect();
        Err(Failure::new(kind, format!("the item `{key}` {what}")))
    };
    if item.key.is_empty() || item.key.len() > MAX_KEY_BYTES {
        let what =
            format!("has a key of {} bytes (1 to {MAX_KEY_BYTES} are taken)", item.key.len());
        return refuse(FailureKind::Usage, what);
    }
    // Neither JSON nor DynamoDB has such numbers.
    if item.items.iter().any(|one| !one.score.is_finite()) {
        return refuse(FailureKind::Quality, "has a score that is not a finite number".to_owned());
    }
    let pairs: Vec<(&str, f64)> =
        item.items.iter().map(|one| (one.item.as_str(), one.score)).collect();
    let text = serde_json::to_string(&pairs).map_err(|error| {
        Failure::new(FailureKind::Internal, format!("cannot write JSON: {error}"))
    })?;
    let bytes = item.key.len() + text.len();
    if bytes > MAX_ITEM_BYTES {
        let what = format!("has {bytes} bytes ({MAX_ITEM_BYTES} are taken)");
        return refuse(FailureKind::Usage, what);
    }
    Ok(text)
}

fn unpack(payload: &str) -> Outcome<Vec<RecommendedItem>> {
    let pairs: Vec<(String, f64)> = super::sqlite::from_json(payload)?;
    Ok(pairs.into_iter().map(|(item, score)| RecommendedItem { item, score }).collect())
}

fn not_begun(table: &str, generation: &str) -> Failure {
    Failure::new(
        FailureKind::NotFound,
        format!("generation `{generation}` of `{table}` was not begun"),
    )
}

fn sealed(table: &str, generation: &str) -> Failure {
    Failure::new(
        FailureKind::Conflict,
        format!("generation `{generation}` of `{table}` is complete and takes no more items"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pruning_leaves_no_items_behind() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteServingStore::open(&folder.path().join("s.db")).await.unwrap();
        let items: Vec<ServingItem> = (0..CHUNK * 2 + 3)
            .map(|n| ServingItem { key: format!("user#{n}"), items: Vec::new() })
            .collect();
        let lease = Lease { name: "l".to_owned(), holder: "h".to_owned(), fence: 1, seized: false };
        for generation in ["1", "2"] {
            store.begin("t", generation, "m", DateTime::UNIX_EPOCH).await.unwrap();
            store.put("t", generation, &items).await.unwrap();
            store.seal_and_flip("t", generation, items.len() as u64, &lease).await.unwrap();
        }
        assert_eq!(store.prune("t", 1).await, Ok(1));
        let count = |table: &'static str| {
            store.database.read(move |tx| {
                let sql = format!("SELECT count(*) FROM {table}");
                Ok(tx.query_row(&sql, [], |row| row.get::<_, i64>(0))?)
            })
        };
        assert_eq!(count("items").await, Ok(items.len() as i64));
        assert_eq!(count("rubbish").await, Ok(0));
    }

    #[test]
    fn payloads_are_compact_pairs() {
        let items = vec![RecommendedItem { item: "a\"b".to_owned(), score: 0.1 }];
        let text =
            payload(&ServingItem { key: "user#1".to_owned(), items: items.clone() }).unwrap();
        assert_eq!(text, r#"[["a\"b",0.1]]"#);
        assert_eq!(unpack(&text), Ok(items));
    }
}
