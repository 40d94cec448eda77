//! The catalog in SQLite: generations are rows that stay, visibility is a pointer that moves.

use std::path::Path;

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Transaction, params};

use super::sqlite::{Attempt, Database, Schema, from_json, pass_fence, to_json};
use crate::ports::schema_change;
use crate::ports::{Catalog, Flip, Lease, PartitionEntry, TableEntry};
use crate::run::failure::{Failure, FailureKind, Outcome};

static SCHEMA: Schema = Schema {
    // `turn` counts the moments at which a generation became visible, over the whole file: the
    // order of history, also after a rollback made an old generation visible again.
    migrations: &[
        "
CREATE TABLE tables (
    name TEXT NOT NULL PRIMARY KEY,
    entry TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE generations (
    table_name TEXT NOT NULL,
    key TEXT NOT NULL,
    generation TEXT NOT NULL,
    turn INTEGER NOT NULL,
    entry TEXT NOT NULL,
    PRIMARY KEY (table_name, key, generation)
) WITHOUT ROWID;
CREATE INDEX generations_by_turn ON generations (turn);
CREATE TABLE pointers (
    table_name TEXT NOT NULL,
    key TEXT NOT NULL,
    generation TEXT NOT NULL,
    PRIMARY KEY (table_name, key)
) WITHOUT ROWID;
",
        "
CREATE TABLE fences (
    lease TEXT NOT NULL PRIMARY KEY,
    fence INTEGER NOT NULL
) WITHOUT ROWID;
",
    ],
    page_size: 4096,
    // A published day that a power failure takes back would be in the ledger all the same.
    durable: true,
};

/// Keeps the catalog in a file.
#[derive(Debug, Clone)]
pub struct SqliteCatalog {
    database: Database,
}

impl SqliteCatalog {
    /// Opens the file and makes it if it is missing.
    ///
    /// Errors: `Usage` if a newer recctl wrote it, `Input` if it is no database.
    pub async fn open(path: &Path) -> Outcome<Self> {
        Ok(Self { database: Database::open(path, &SCHEMA).await? })
    }
}

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn tables(&self) -> Outcome<Vec<TableEntry>> {
        let texts = self.database.read(|tx| {
            let mut query = tx.prepare_cached("SELECT entry FROM tables ORDER BY name")?;
            Ok(query.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?)
        });
        texts.await?.iter().map(|text| from_json(text)).collect()
    }

    async fn table(&self, name: &str) -> Outcome<Option<TableEntry>> {
        let name = name.to_owned();
        let text: Option<String> = self
            .database
            .read(move |tx| {
                let mut query = tx.prepare_cached("SELECT entry FROM tables WHERE name = ?1")?;
                Ok(query.query_row([name], |row| row.get(0)).optional()?)
            })
            .await?;
        text.map(|text| from_json(&text)).transpose()
    }

    async fn partitions(&self, table: &str) -> Outcome<Vec<PartitionEntry>> {
        let table = table.to_owned();
        let texts = self.database.read(move |tx| {
            let mut query = tx.prepare_cached(
                "SELECT g.entry FROM pointers p JOIN generations g \
                 ON g.table_name = p.table_name AND g.key = p.key AND g.generation = p.generation \
                 WHERE p.table_name = ?1 ORDER BY p.key",
            )?;
            Ok(query.query_map([table], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?)
        });
        texts.await?.iter().map(|text| from_json(text)).collect()
    }

    async fn some(&self, table: &str, keys: &[String]) -> Outcome<Vec<PartitionEntry>> {
        let mut visible = self.partitions(table).await?;
        visible.retain(|one| keys.contains(&one.key));
        Ok(visible)
    }

    async fn publish(
        &self,
        tables: &[TableEntry],
        partitions: &[PartitionEntry],
        lease: &Lease,
    ) -> Outcome<()> {
        if let Some(stray) =
            partitions.iter().find(|one| tables.iter().all(|table| table.name != one.table))
        {
            return Err(Failure::new(
                FailureKind::Usage,
                format!("the table `{}` of a partition is not among those published", stray.table),
            ));
        }
        let tables = tables
            .iter()
            .map(|table| Ok((table.clone(), to_json(table)?)))
            .collect::<Outcome<Vec<_>>>()?;
        let (partitions, lease) = (partitions.to_vec(), lease.clone());
        self.database
            .write(move |tx| {
                pass_fence(tx, "fences", &lease)?;
                for (table, _) in &tables {
                    let known: Option<String> = tx
                        .prepare_cached("SELECT entry FROM tables WHERE name = ?1")?
                        .query_row([&table.name], |row| row.get(0))
                        .optional()?;
                    if let Some(known) = known {
                        schema_change::check(&from_json(&known)?, table)?;
                    }
                }
                let mut upsert = tx.prepare_cached(
                    "INSERT INTO tables (name, entry) VALUES (?1, ?2) \
                     ON CONFLICT (name) DO UPDATE SET entry = excluded.entry",
                )?;
                for (table, entry) in &tables {
                    upsert.execute(params![table.name, entry])?;
                }
                for partition in &partitions {
                    flip(tx, partition)?;
                }
                Ok(())
            })
            .await
    }

    async fn take_back(&self, tables: &[TableEntry], flips: &[Flip], lease: &Lease) -> Outcome<()> {
        let tables = tables
            .iter()
            .map(|table| Ok((table.name.clone(), to_json(table)?)))
            .collect::<Outcome<Vec<_>>>()?;
        let (flips, lease) = (flips.to_vec(), lease.clone());
        self.database
            .write(move |tx| {
                pass_fence(tx, "fences", &lease)?;
                for Flip { to, from } in &flips {
                    if !visible(tx, &to.table, &to.key)?.is_some_and(|now| now.is_same(to)) {
                        continue;
                    }
                    match from {
                        Some(from) => flip(tx, from)?,
                        None => {
                            tx.prepare_cached(
                                "DELETE FROM pointers WHERE table_name = ?1 AND key = ?2",
                            )?
                            .execute([&to.table, &to.key])?;
                        }
                    }
                    if let Some((name, entry)) = tables.iter().find(|table| table.0 == to.table) {
                        tx.prepare_cached("UPDATE tables SET entry = ?2 WHERE name = ?1")?
                            .execute([name, entry])?;
                    }
                }
                Ok(())
            })
            .await
    }

    async fn fence(&self, _: &[String], lease: &Lease) -> Outcome<()> {
        let lease = lease.clone();
        self.database.write(move |tx| pass_fence(tx, "fences", &lease)).await
    }

    async fn history(&self, table: &str, key: &str) -> Outcome<Vec<PartitionEntry>> {
        let (table, key) = (table.to_owned(), key.to_owned());
        let texts = self.database.read(move |tx| {
            let mut query = tx.prepare_cached(
                "SELECT g.entry FROM generations g WHERE g.table_name = ?1 AND g.key = ?2 \
                 AND g.generation IS NOT (SELECT p.generation FROM pointers p \
                 WHERE p.table_name = ?1 AND p.key = ?2) ORDER BY g.turn DESC",
            )?;
            Ok(query
                .query_map([table, key], |row| row.get(0))?
                .collect::<Result<Vec<String>, _>>()?)
        });
        texts.await?.iter().map(|text| from_json(text)).collect()
    }

    async fn earlier(&self, table: &str) -> Outcome<Vec<PartitionEntry>> {
        let table = table.to_owned();
        let texts = self.database.read(move |tx| {
            let mut query = tx.prepare_cached(
                "SELECT g.entry FROM generations g LEFT JOIN pointers p \
                 ON p.table_name = g.table_name AND p.key = g.key \
                 AND p.generation = g.generation \
                 WHERE g.table_name = ?1 AND p.generation IS NULL ORDER BY g.key, g.turn DESC",
            )?;
            Ok(query.query_map([table], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?)
        });
        texts.await?.iter().map(|text| from_json(text)).collect()
    }

    async fn forget(&self, table: &str, key: &str, generations: &[String]) -> Outcome<Vec<String>> {
        let (table, key) = (table.to_owned(), key.to_owned());
        let generations = generations.to_vec();
        self.database
            .write(move |tx| {
                let visible: Option<String> = tx
                    .prepare_cached(
                        "SELECT generation FROM pointers WHERE table_name = ?1 AND key = ?2",
                    )?
                    .query_row([&table, &key], |row| row.get(0))
                    .optional()?;
                let mut forgotten = Vec::with_capacity(generations.len());
                for generation in generations {
                    if visible.as_ref() == Some(&generation) {
                        continue;
                    }
                    tx.prepare_cached(
                        "DELETE FROM generations \
                         WHERE table_name = ?1 AND key = ?2 AND generation = ?3",
                    )?
                    .execute([&table, &key, &generation])?;
                    forgotten.push(generation);
                }
                Ok(forgotten)
            })
            .await
    }
}

/// What a partition shows.
fn visible(tx: &Transaction<'_>, table: &str, key: &str) -> Attempt<Option<PartitionEntry>> {
    let text: Option<String> = tx
        .prepare_cached(
            "SELECT g.entry FROM pointers p JOIN generations g \
             ON g.table_name = p.table_name AND g.key = p.key AND g.generation = p.generation \
             WHERE p.table_name = ?1 AND p.key = ?2",
        )?
        .query_row([table, key], |row| row.get(0))
        .optional()?;
    Ok(text.map(|text| from_json(&text)).transpose()?)
}

/// Makes one generation visible.
fn flip(tx: &Transaction<'_>, partition: &PartitionEntry) -> Attempt<()> {
    if let Some(visible) = visible(tx, &partition.table, &partition.key)? {
        // The time of publication is not part of what is published: a repeated call has a later one.
        if visible == (PartitionEntry { published: visible.published, ..partition.clone() }) {
            return Ok(());
        }
    }
    tx.prepare_cached(
        "INSERT INTO generations (table_name, key, generation, turn, entry) \
         VALUES (?1, ?2, ?3, (SELECT coalesce(max(turn), 0) + 1 FROM generations), ?4) \
         ON CONFLICT (table_name, key, generation) \
         DO UPDATE SET turn = excluded.turn, entry = excluded.entry",
    )?
    .execute(params![
        partition.table,
        partition.key,
        partition.generation,
        to_json(partition)?
    ])?;
    tx.prepare_cached(
        "INSERT INTO pointers (table_name, key, generation) VALUES (?1, ?2, ?3) \
         ON CONFLICT (table_name, key) DO UPDATE SET generation = excluded.generation",
    )?
    .execute(params![partition.table, partition.key, partition.generation])?;
    Ok(())
}
