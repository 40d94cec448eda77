//! Removes what nobody needs any more: looked for as a whole, looked at again right before it goes.

mod judge;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

pub use self::judge::{Candidate, Entry, Folder, Found, Keep, Kind, Known, judge};
use super::lease::Held;
use super::orphans::is_under_way;
use super::rollback::GENERATIONS;
use crate::pipeline::name::Name;
use crate::run::failure::{FailureKind, Outcome};
use crate::run::record::{Decision, RunId, Status};
use crate::steps::context::Services;
use crate::steps::load::Loaded;
use crate::steps::registry_group;

/// Folders of the lake that are looked through.
const LAKE: [&str; 7] =
    ["tables", "scored", "datasets", "models", "sagemaker", "manifests", "_recctl/definitions"];
/// Versions of a registered model whose files stay.
const VERSIONS: usize = 1_000;

/// Folders of this machine in which runs and jobs leave things.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Folders of runs.
    pub scratch: &'a Path,
    /// Folders of jobs, where jobs run on this machine.
    pub jobs: Option<&'a Path>,
}

/// What was looked at, and what may go.
#[derive(Debug, Clone)]
pub struct Survey {
    found: Found,
    keep: Keep,
    /// What may go.
    pub candidates: Vec<Candidate>,
    /// Runs that are under way: what runs share is left alone meanwhile.
    pub live: BTreeSet<RunId>,
}

/// What was removed.
#[derive(Debug, Clone, Default)]
pub struct Removed {
    /// All of it.
    pub candidates: Vec<Candidate>,
    /// Names of what was needed again by then.
    pub spared: Vec<String>,
}

/// Looks for what nobody needs. Changes nothing.
pub async fn survey(services: &Services, places: Places<'_>, keep: Keep) -> Outcome<Survey> {
    let lake = services.query.lake();
    let mut found = Found::default();
    for folder in LAKE {
        match lake.stored(folder).await {
            Ok(files) => found.files.extend(files),
            // Whoever may not look into a folder writes nothing there either.
            Err(failure) if failure.kind == FailureKind::Denied => {
                tracing::warn!(%failure, "a folder of the lake was left out");
            }
            Err(failure) => return Err(failure),
        }
    }
    found.folders = folders(places.scratch, false);
    found.folders.extend(places.jobs.map(|jobs| folders(jobs, true)).unwrap_or_default());
    // After the files: what became visible in between is known.
    let now = services.clock.now();
    let known = known(services).await?;
    let candidates = judge(&known, &found, keep, now);
    Ok(Survey { found, keep, candidates, live: known.live })
}

/// Removes what a survey found, as far as still nobody needs it. Entries go before their files, so
/// that what is cut short leaves files that the next finds, and never an entry without files.
///
/// Errors: `Held` if somebody else removes or rolls back.
pub async fn collect(services: &Arc<Services>, survey: Survey, holder: &str) -> Outcome<Removed> {
    let held = Held::acquire(services, GENERATIONS, holder, CancellationToken::new()).await?;
    let removed = remove(services, survey).await;
    held.release().await;
    removed
}

async fn remove(services: &Services, survey: Survey) -> Outcome<Removed> {
    let now = services.clock.now();
    let known = known(services).await?;
    let still = judge(&known, &survey.found, survey.keep, now);
    let mut removed = Removed::default();
    for candidate in survey.candidates {
        if !still.contains(&candidate) || !entry(services, &candidate).await? {
            removed.spared.push(candidate.name);
            continue;
        }
        services.query.lake().remove_files(&candidate.files).await?;
        removed.candidates.push(candidate);
    }
    Ok(removed)
}

/// Removes what there is beside files; `false` if it is needed after all.
async fn entry(services: &Services, candidate: &Candidate) -> Outcome<bool> {
    match &candidate.entry {
        // A publication that did not come to pass may have left a note in the catalog.
        Entry::None => match unpublished(candidate) {
            Some((table, key, run)) => {
                let gone =
                    services.catalog.forget(&table, &key, std::slice::from_ref(&run)).await?;
                Ok(gone.contains(&run))
            }
            None => Ok(true),
        },
        Entry::History(entries) => {
            for (table, key, generation) in entries {
                let one = std::slice::from_ref(generation);
                if services.catalog.forget(table, key, one).await?.is_empty() {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Entry::Run(id) => services.state.remove_run(id).await.map(|()| true),
        Entry::Served(table, generation) => services.serving.discard(table, generation).await,
        Entry::Folder(path) => {
            if let Err(error) = std::fs::remove_dir_all(path) {
                tracing::warn!(%error, path = %path.display(), "could not remove a folder");
                return Ok(false);
            }
            Ok(true)
        }
    }
}

/// Table, key and run of a folder `tables/<table>/<partition>/<run>/` that was never published.
fn unpublished(candidate: &Candidate) -> Option<(String, String, String)> {
    if candidate.kind != Kind::Unpublished {
        return None;
    }
    let parts: Vec<&str> = candidate.name.trim_end_matches('/').split('/').skip(1).collect();
    let [table, parts @ .., run] = parts.as_slice() else { return None };
    let value = |part: &&str| part.split_once('=').map_or(*part, |(_, value)| value).to_owned();
    let key: Vec<String> = parts.iter().map(value).collect();
    Some(((*table).to_owned(), key.join("/"), (*run).to_owned()))
}

/// What says what is needed, as it is now.
async fn known(services: &Services) -> Outcome<Known> {
    let mut known = Known { runs: services.state.runs(usize::MAX).await?, ..Known::default() };
    for run in known.runs.iter().filter(|run| run.status == Status::Running) {
        if is_under_way(services, run).await? {
            known.live.insert(run.id.clone());
        }
    }
    let pipelines: BTreeSet<&Name> = known.runs.iter().map(|run| &run.pipeline).collect();
    for pipeline in pipelines {
        known.ledger.extend(services.state.ledger(pipeline).await?);
    }
    if let Some(registry) = &services.registry {
        let groups: BTreeSet<String> = known
            .ledger
            .iter()
            .filter(|row| serde_json::from_value::<Decision>(row.output.clone()).is_ok())
            .map(|row| registry_group(&row.pipeline, &row.step))
            .collect();
        for group in groups {
            let versions = registry.versions(&group, VERSIONS).await?;
            known.registered.extend(versions.into_iter().map(|one| one.entry.artifact));
        }
    }
    for table in services.catalog.tables().await? {
        known.visible.extend(services.catalog.partitions(&table.name).await?);
        known.earlier.extend(services.catalog.earlier(&table.name).await?);
    }
    // A publication that is open needs what it makes visible, and what it may be taken back to.
    for publication in services.state.publications().await? {
        for flip in publication.flips {
            known.open.push(flip.to);
            known.open.extend(flip.from);
        }
        known.ledger.extend(publication.rows);
    }
    let loaded = known.ledger.iter().map(|row| serde_json::from_value(row.output.clone()));
    let served: BTreeSet<String> = loaded.flatten().map(|one: Loaded| one.table).collect();
    for table in served {
        known.served.extend(services.serving.generations(&table).await?);
    }
    Ok(known)
}

/// The folders in a folder of this machine; none if there is no such folder.
fn folders(root: &Path, is_job: bool) -> Vec<Folder> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || !entry.path().is_dir() {
            continue;
        }
        let mut folder = Folder {
            path: entry.path(),
            name,
            is_job,
            files: 0,
            bytes: 0,
            modified: DateTime::<Utc>::UNIX_EPOCH,
        };
        measure(&entry.path(), &mut folder);
        folders.push(folder);
    }
    folders.sort_by(|a, b| a.path.cmp(&b.path));
    folders
}

fn measure(path: &Path, folder: &mut Folder) {
    let modified = |meta: &std::fs::Metadata| meta.modified().ok().map(DateTime::<Utc>::from);
    if let Ok(meta) = path.symlink_metadata() {
        folder.modified = folder.modified.max(modified(&meta).unwrap_or_default());
        if !meta.is_dir() {
            folder.files += 1;
            folder.bytes += meta.len();
            return;
        }
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        measure(&entry.path(), folder);
    }
}
