//! What a partition (or a table without partitions) says of its visible generation: parameters.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::layout::Partitioning;
use crate::ports::{FileEntry, PartitionEntry};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// What the names of recctl's own parameters begin with.
pub(super) const PREFIX: &str = "recctl.";
const GENERATION: &str = "recctl.generation";
const ROWS: &str = "recctl.rows";
const CONTENT_HASH: &str = "recctl.content_hash";
const FINGERPRINT: &str = "recctl.fingerprint";
const PUBLISHED: &str = "recctl.published";
const FILES: &str = "recctl.files";
const MANIFEST: &str = "recctl.manifest";
const HISTORY: &str = "recctl.history";
const ALL: [&str; 8] =
    [GENERATION, ROWS, CONTENT_HASH, FINGERPRINT, PUBLISHED, FILES, MANIFEST, HISTORY];

/// A list of files that is longer than this stays in the manifest. Glue takes values of 512,000
/// bytes, but every reader of the table gets them with every page of partitions, and a Hive
/// metastore that the catalog may be copied to takes 4,000.
/// <https://docs.aws.amazon.com/glue/latest/webapi/API_PartitionInput.html>
const MAX_FILES_BYTES: usize = 4_000;
/// So many earlier generations are known; older ones are forgotten.
pub(super) const MAX_HISTORY: usize = 100;

/// Parameters as Glue has them.
pub(super) type Parameters = HashMap<String, String>;

/// A generation that was visible before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Earlier {
    /// The run that wrote it.
    pub(super) generation: String,
    /// Path of its manifest in the lake.
    pub(super) manifest: String,
    /// When it last became visible.
    pub(super) published: DateTime<Utc>,
}

/// The visible generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer {
    /// What is visible; its files are empty if [`Pointer::files_elsewhere`].
    pub(super) entry: PartitionEntry,
    /// Path of its manifest in the lake.
    pub(super) manifest: String,
    /// Whether only the manifest has the files.
    pub(super) files_elsewhere: bool,
    /// What was visible before, newest first.
    pub(super) history: Vec<Earlier>,
}

/// The path of the manifest of what is visible.
pub(super) fn manifest_of(parameters: Option<&Parameters>) -> Option<&str> {
    parameters?.get(MANIFEST).map(String::as_str)
}

impl Pointer {
    /// A generation to be made visible in place of another one.
    pub(super) fn new(entry: &PartitionEntry, manifest: &str, visible: Option<&Pointer>) -> Self {
        let mut history = Vec::new();
        if let Some(visible) = visible {
            history.push(Earlier {
                generation: visible.entry.generation.clone(),
                manifest: visible.manifest.clone(),
                published: visible.entry.published,
            });
            history.extend(visible.history.iter().cloned());
        }
        // A generation that comes back is not before itself.
        history.retain(|earlier| earlier.generation != entry.generation);
        history.truncate(MAX_HISTORY);
        Self {
            entry: entry.clone(),
            manifest: manifest.to_owned(),
            files_elsewhere: false,
            history,
        }
    }

    /// Puts it in place of whatever was there; other parameters stay.
    pub(super) fn write(&self, parameters: &mut Parameters) -> Outcome<()> {
        remove(parameters);
        let entry = &self.entry;
        let mut put = |name: &str, value: String| parameters.insert(name.to_owned(), value);
        put(GENERATION, entry.generation.clone());
        put(ROWS, entry.rows.to_string());
        put(CONTENT_HASH, entry.content_hash.clone());
        put(FINGERPRINT, entry.fingerprint.clone());
        put(PUBLISHED, entry.published.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        put(MANIFEST, self.manifest.clone());
        let files = to_json(&entry.files)?;
        if files.len() <= MAX_FILES_BYTES {
            put(FILES, files);
        }
        if !self.history.is_empty() {
            put(HISTORY, to_json(&self.history)?);
        }
        Ok(())
    }

    /// Reads what is visible; `None` if recctl made nothing visible here.
    ///
    /// Errors: `Input` if somebody broke the parameters.
    pub(super) fn read(
        table: &str,
        key: &str,
        partitioning: Partitioning,
        parameters: Option<&Parameters>,
    ) -> Outcome<Option<Self>> {
        let Some(parameters) = parameters else { return Ok(None) };
        let Some(generation) = parameters.get(GENERATION) else { return Ok(None) };
        let broken = |name: &str| {
            let message = format!("parameter `{name}` of `{table}/{key}` in Glue cannot be read");
            Failure::new(FailureKind::Input, message)
                .with_hint("somebody else changed it: publish the partition again from a run")
        };
        let text =
            |name: &str| parameters.get(name).map(String::as_str).ok_or_else(|| broken(name));
        let files: Option<Vec<FileEntry>> =
            from_json(parameters, FILES).map_err(|()| broken(FILES))?;
        let history = from_json(parameters, HISTORY).map_err(|()| broken(HISTORY))?;
        Ok(Some(Self {
            manifest: text(MANIFEST)?.to_owned(),
            files_elsewhere: files.is_none(),
            history: history.unwrap_or_default(),
            entry: PartitionEntry {
                table: table.to_owned(),
                key: key.to_owned(),
                date: partitioning.date(key),
                generation: generation.clone(),
                files: files.unwrap_or_default(),
                rows: text(ROWS)?.parse().map_err(|_| broken(ROWS))?,
                content_hash: text(CONTENT_HASH)?.to_owned(),
                fingerprint: text(FINGERPRINT)?.to_owned(),
                published: text(PUBLISHED)?.parse().map_err(|_| broken(PUBLISHED))?,
            },
        }))
    }
}

/// Takes all that is said of a generation away.
pub(super) fn remove(parameters: &mut Parameters) {
    for name in ALL {
        parameters.remove(name);
    }
}

fn to_json<T: Serialize>(value: &T) -> Outcome<String> {
    serde_json::to_string(value).map_err(|error| {
        Failure::new(FailureKind::Internal, format!("cannot write a parameter: {error}"))
    })
}

fn from_json<T: DeserializeOwned>(parameters: &Parameters, name: &str) -> Result<Option<T>, ()> {
    parameters.get(name).map(|text| serde_json::from_str(text)).transpose().map_err(|_| ())
}
