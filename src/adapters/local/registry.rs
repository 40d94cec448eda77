//! The model registry in SQLite.

use std::path::Path;

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};

use super::sqlite::{Database, Schema, from_json, to_json};
use crate::ports::{Approval, ModelEntry, ModelRegistry, ModelVersion};
use crate::run::failure::Outcome;

static SCHEMA: Schema = Schema {
    migrations: &["
CREATE TABLE versions (
    model_group TEXT NOT NULL,
    version INTEGER NOT NULL,
    artifact TEXT NOT NULL,
    entry TEXT NOT NULL,
    PRIMARY KEY (model_group, version),
    UNIQUE (model_group, artifact)
);
"],
    page_size: 4096,
    durable: true,
};

/// Keeps the models in a file. Every model is approved: the embedded target serves nobody.
#[derive(Debug, Clone)]
pub struct SqliteModelRegistry {
    database: Database,
}

impl SqliteModelRegistry {
    /// Opens the file and makes it if it is missing.
    ///
    /// Errors: `Usage` if a newer recctl wrote it, `Input` if it is no database.
    pub async fn open(path: &Path) -> Outcome<Self> {
        Ok(Self { database: Database::open(path, &SCHEMA).await? })
    }
}

#[async_trait]
impl ModelRegistry for SqliteModelRegistry {
    async fn register(&self, model: &ModelEntry) -> Outcome<ModelVersion> {
        let model = model.clone();
        let text = to_json(&model)?;
        self.database
            .write(move |tx| {
                let known: Option<(u32, String)> = tx
                    .prepare_cached(
                        "SELECT version, entry FROM versions \
                         WHERE model_group = ?1 AND artifact = ?2",
                    )?
                    .query_row([&model.group, &model.artifact], |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })
                    .optional()?;
                if let Some((version, entry)) = known {
                    let entry = from_json(&entry)?;
                    return Ok(ModelVersion { version, approval: Approval::Approved, entry });
                }
                let version: u32 = tx.query_row(
                    "SELECT coalesce(max(version), 0) + 1 FROM versions WHERE model_group = ?1",
                    [&model.group],
                    |row| row.get(0),
                )?;
                tx.execute(
                    "INSERT INTO versions (model_group, version, artifact, entry) \
                     VALUES (?1, ?2, ?3, ?4)",
                    params![model.group, version, model.artifact, text],
                )?;
                Ok(ModelVersion { version, approval: Approval::Approved, entry: model.clone() })
            })
            .await
    }

    async fn versions(&self, group: &str, limit: usize) -> Outcome<Vec<ModelVersion>> {
        let group = group.to_owned();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.database.read(move |tx| {
            let mut query = tx.prepare_cached(
                "SELECT version, entry FROM versions WHERE model_group = ?1 \
                 ORDER BY version DESC LIMIT ?2",
            )?;
            let rows =
                query.query_map(params![group, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<Vec<(u32, String)>, _>>()?)
        });
        rows.await?
            .into_iter()
            .map(|(version, entry)| {
                Ok(ModelVersion {
                    version,
                    approval: Approval::Approved,
                    entry: from_json(&entry)?,
                })
            })
            .collect()
    }
}
