//! What nobody needs any more: decided from what is known, without asking anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::ports::{GenerationEntry, PartitionEntry};
use crate::query::lake::StoredFile;
use crate::run::record::{LedgerRow, RunId, RunRecord};

/// So many of the last runs of each pipeline stay on record, however old they are.
const RUNS_KEPT: usize = 50;

/// What is kept though nothing needs it.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// Generations beside the visible one: of each partition, and of each served table.
    pub generations: usize,
    /// Whatever was visible or ran within this time.
    pub younger_than: TimeDelta,
    /// Whatever was written, or was visible, within this time: somebody may be reading it.
    pub grace: TimeDelta,
}

/// What the target holds.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Files of the lake, raw input left out.
    pub files: Vec<StoredFile>,
    /// Folders of this machine.
    pub folders: Vec<Folder>,
}

/// A folder of this machine that a run or a job left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// The run or the job.
    pub name: String,
    /// Whether a job left it.
    pub is_job: bool,
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The last change.
    pub modified: DateTime<Utc>,
}

/// What says what is needed.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Visible partitions.
    pub visible: Vec<PartitionEntry>,
    /// Those that were visible before; of each partition newest first.
    pub earlier: Vec<PartitionEntry>,
    /// What publications that are open make visible, and what they may be taken back to.
    pub open: Vec<PartitionEntry>,
    /// All ledgers, with the rows of publications that are open.
    pub ledger: Vec<LedgerRow>,
    /// Registered models: paths in the lake.
    pub registered: BTreeSet<String>,
    /// All runs, newest first.
    pub runs: Vec<RunRecord>,
    /// Those of them that are under way.
    pub live: BTreeSet<RunId>,
    /// Generations of all served tables.
    pub served: Vec<GenerationEntry>,
}

/// What kind of thing may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Generations of tables past their keep.
    Generations,
    /// Files that a run wrote and never made visible.
    Unpublished,
    /// Recommendations that a job made and no table shows.
    Scored,
    /// Training sets of runs that died.
    TrainingSets,
    /// Models and other outputs of jobs that nothing refers to.
    Models,
    /// Lists of files for a warehouse that was loaded.
    LoadLists,
    /// Definitions of no run.
    Definitions,
    /// Records of old runs.
    Runs,
    /// Generations of served tables past their keep, and loads that nobody goes on with.
    Served,
    /// Folders of this machine.
    Scratch,
}

impl Kind {
    /// The words for it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Generations => "generations of tables past their keep",
            Self::Unpublished => "files that never became visible",
            Self::Scored => "recommendations that no table shows",
            Self::TrainingSets => "training sets of runs that died",
            Self::Models => "models and outputs of jobs that nothing refers to",
            Self::LoadLists => "lists of files for the warehouse",
            Self::Definitions => "definitions of no run",
            Self::Runs => "records of old runs",
            Self::Served => "served generations past their keep",
            Self::Scratch => "folders of this machine",
        }
    }
}

/// Something that may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its kind.
    pub kind: Kind,
    /// What it is called: a folder, a run, a generation.
    pub name: String,
    /// Files of the lake.
    pub files: Vec<String>,
    /// Number of all files, of whatever place.
    pub count: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// What there is to do beside removing files.
    pub entry: Entry,
}

/// What is removed beside files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Nothing.
    None,
    /// Entries of the catalog's history: table, key, generation. They go before the files.
    History(Vec<(String, String, String)>),
    /// The record of a run.
    Run(RunId),
    /// A generation of a served table.
    Served(String, String),
    /// A folder of this machine.
    Folder(PathBuf),
}

/// Everything that nobody needs, by kind and name.
pub fn judge(known: &Known, found: &Found, keep: Keep, now: DateTime<Utc>) -> Vec<Candidate> {
    let mut judge = Judge { known, keep, now, candidates: Vec::new() };
    let dropped = judge.dropped();
    judge.files(found, &dropped);
    judge.runs(found, &dropped);
    judge.served();
    judge.folders(found, &dropped);
    judge.candidates.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    judge.candidates
}

/// Identity of a generation of a partition.
type Place<'a> = (&'a str, &'a str, &'a str);

fn place(entry: &PartitionEntry) -> Place<'_> {
    (&entry.table, &entry.key, &entry.generation)
}

struct Judge<'a> {
    known: &'a Known,
    keep: Keep,
    now: DateTime<Utc>,
    candidates: Vec<Candidate>,
}

impl<'a> Judge<'a> {
    fn is_past(&self, time: DateTime<Utc>, limit: TimeDelta) -> bool {
        time.checked_add_signed(limit).is_some_and(|end| end < self.now)
    }

    /// Past what is kept of generations and runs, and not in anybody's hands.
    fn is_old(&self, since: DateTime<Utc>) -> bool {
        self.is_past(since, self.keep.younger_than) && self.is_past(since, self.keep.grace)
    }

    /// Generations of tables past their keep.
    fn dropped(&self) -> BTreeSet<Place<'a>> {
        let mut dropped = BTreeSet::new();
        let mut last: Option<(&str, &str)> = None;
        let (mut number, mut until) = (0, None);
        for entry in &self.known.earlier {
            let partition = (entry.table.as_str(), entry.key.as_str());
            if last != Some(partition) {
                last = Some(partition);
                number = 0;
                let now = self
                    .known
                    .visible
                    .iter()
                    .find(|it| (it.table.as_str(), it.key.as_str()) == partition);
                until = now.map(|it| it.published);
            }
            number += 1;
            // It stopped being visible when the next one came.
            let is_old = until.is_some_and(|until| self.is_old(until));
            let is_live = self.known.live.iter().any(|run| run.as_str() == entry.generation);
            let is_open = self.known.open.iter().any(|open| place(open) == place(entry));
            if number > self.keep.generations && is_old && !is_live && !is_open {
                dropped.insert(place(entry));
            }
            until = Some(entry.published);
        }
        dropped
    }

    /// Files of the lake, by the folders that are one thing.
    fn files(&mut self, found: &Found, dropped: &BTreeSet<Place<'a>>) {
        let mut needed: BTreeSet<&str> = BTreeSet::new();
        let kept = self.known.earlier.iter().filter(|entry| !dropped.contains(&place(entry)));
        for entry in self.known.visible.iter().chain(&self.known.open).chain(kept) {
            needed
                .extend(entry.files.iter().filter_map(|file| group_of(&file.path)).map(|it| it.1));
        }
        let present: BTreeSet<&str> =
            found.files.iter().filter_map(|file| group_of(&file.path)).map(|it| it.1).collect();
        let mut of_dropped: BTreeMap<&str, Vec<(String, String, String)>> = BTreeMap::new();
        for entry in self.known.earlier.iter().filter(|entry| dropped.contains(&place(entry))) {
            let history = || (entry.table.clone(), entry.key.clone(), entry.generation.clone());
            let groups: BTreeSet<&str> =
                entry.files.iter().filter_map(|file| group_of(&file.path)).map(|it| it.1).collect();
            // One without rows has no files, and one may have lost them: its name goes all the same.
            let lost = groups.iter().all(|it| needed.contains(it) || !present.contains(it));
            if lost {
                self.candidates.push(Candidate {
                    kind: Kind::Generations,
                    name: format!("{}/{}/{}", entry.table, entry.key, entry.generation),
                    files: Vec::new(),
                    count: 0,
                    bytes: 0,
                    entry: Entry::History(vec![history()]),
                });
            }
            for group in groups {
                of_dropped.entry(group).or_default().push(history());
            }
        }
        let referred = self.referred(dropped);
        let mut groups: BTreeMap<(&str, Kind), Vec<&StoredFile>> = BTreeMap::new();
        for file in &found.files {
            if let Some((kind, group)) = group_of(&file.path) {
                groups.entry((group, kind)).or_default().push(file);
            }
        }
        for ((group, kind), files) in groups {
            let newest = files.iter().map(|file| file.modified).max();
            let is_past = newest.is_some_and(|newest| self.is_past(newest, self.keep.grace));
            let name = group.trim_end_matches('/').rsplit('/').next().unwrap_or(group);
            let is_needed = match kind {
                Kind::Unpublished => self.known.live.iter().any(|run| run.as_str() == name),
                // What runs share and find again by its name.
                Kind::Scored | Kind::TrainingSets | Kind::LoadLists => !self.known.live.is_empty(),
                Kind::Models => !self.known.live.is_empty() || referred.contains(name),
                // Decided with the runs.
                Kind::Definitions => true,
                Kind::Generations | Kind::Runs | Kind::Served | Kind::Scratch => true,
            };
            if !is_past || is_needed || needed.contains(group) {
                continue;
            }
            let history = of_dropped.remove(group);
            self.candidates.push(Candidate {
                kind: if history.is_some() { Kind::Generations } else { kind },
                name: group.to_owned(),
                files: files.iter().map(|file| file.path.clone()).collect(),
                count: files.len() as u64,
                bytes: files.iter().map(|file| file.bytes).sum(),
                entry: history.map_or(Entry::None, Entry::History),
            });
        }
    }

    /// Names of the jobs whose outputs are referred to by the ledger, a decision or the registry.
    fn referred(&self, dropped: &BTreeSet<Place<'a>>) -> BTreeSet<&'a str> {
        let mut names = BTreeSet::new();
        for row in &self.known.ledger {
            jobs_in(&row.output, &mut names);
        }
        names.extend(self.known.registered.iter().filter_map(|path| job_of(path)));
        let kept = self.known.earlier.iter().filter(|entry| !dropped.contains(&place(entry)));
        let entries = self.known.visible.iter().chain(&self.known.open).chain(kept);
        names.extend(entries.flat_map(|it| &it.files).filter_map(|file| job_of(&file.path)));
        names
    }

    /// Records of old runs, and the definitions that only they had.
    fn runs(&mut self, found: &Found, dropped: &BTreeSet<Place<'a>>) {
        let mut needed: BTreeSet<&str> = BTreeSet::new();
        for row in &self.known.ledger {
            needed.insert(row.run.as_str());
            needed.extend(row.rollback.as_ref().map(|back| back.by.as_str()));
        }
        let kept = self.known.earlier.iter().filter(|entry| !dropped.contains(&place(entry)));
        let entries = self.known.visible.iter().chain(&self.known.open).chain(kept);
        needed.extend(entries.map(|it| it.generation.as_str()));
        needed.extend(self.known.live.iter().map(RunId::as_str));
        let mut of_pipeline: BTreeMap<&str, usize> = BTreeMap::new();
        let mut definitions: BTreeSet<&str> = BTreeSet::new();
        for run in &self.known.runs {
            let number = of_pipeline.entry(run.pipeline.as_str()).or_default();
            *number += 1;
            let ended = run.finished.unwrap_or(run.started);
            if *number <= RUNS_KEPT || needed.contains(run.id.as_str()) || !self.is_old(ended) {
                definitions.extend(run.definition.as_deref());
                continue;
            }
            self.candidates.push(Candidate {
                kind: Kind::Runs,
                name: run.id.to_string(),
                files: Vec::new(),
                count: 0,
                bytes: 0,
                entry: Entry::Run(run.id.clone()),
            });
        }
        for file in &found.files {
            let Some((Kind::Definitions, _)) = group_of(&file.path) else { continue };
            let name = file.path.rsplit('/').next().unwrap_or_default();
            let address = name.split('.').next().unwrap_or_default();
            if !definitions.contains(address) && self.is_past(file.modified, self.keep.grace) {
                self.candidates.push(Candidate {
                    kind: Kind::Definitions,
                    name: file.path.clone(),
                    files: vec![file.path.clone()],
                    count: 1,
                    bytes: file.bytes,
                    entry: Entry::None,
                });
            }
        }
    }

    /// Generations of served tables.
    fn served(&mut self) {
        let mut tables: BTreeMap<&str, Vec<&GenerationEntry>> = BTreeMap::new();
        for one in &self.known.served {
            tables.entry(&one.table).or_default().push(one);
        }
        for (table, mut all) in tables {
            all.sort_by(|a, b| b.generation.cmp(&a.generation));
            let Some(visible) = all.iter().find(|one| one.visible).copied() else { continue };
            let mut kept = 0;
            for one in all {
                let may_go = if one.sealed {
                    let older = one.generation < visible.generation;
                    kept += usize::from(older);
                    older && kept > self.keep.generations && self.is_old(one.created)
                } else {
                    self.known.live.is_empty() && self.is_past(one.created, self.keep.grace)
                };
                if may_go && !one.visible {
                    self.candidates.push(Candidate {
                        kind: Kind::Served,
                        name: format!("{table}/{}", one.generation),
                        files: Vec::new(),
                        count: 0,
                        bytes: 0,
                        entry: Entry::Served(table.to_owned(), one.generation.clone()),
                    });
                }
            }
        }
    }

    /// Folders of this machine.
    fn folders(&mut self, found: &Found, dropped: &BTreeSet<Place<'a>>) {
        let referred = self.referred(dropped);
        for folder in &found.folders {
            let is_needed = match folder.is_job {
                true => !self.known.live.is_empty() || referred.contains(folder.name.as_str()),
                false => self.known.live.iter().any(|run| run.as_str() == folder.name),
            };
            if is_needed || !self.is_past(folder.modified, self.keep.grace) {
                continue;
            }
            self.candidates.push(Candidate {
                kind: Kind::Scratch,
                name: folder.path.display().to_string(),
                files: Vec::new(),
                count: folder.files,
                bytes: folder.bytes,
                entry: Entry::Folder(folder.path.clone()),
            });
        }
    }
}

/// The folder that a file of the lake goes with, which ends with a slash, and what it is if nobody
/// needs it. `None` for what is never removed: raw input, the registry's copies, the catalog's notes.
pub(super) fn group_of(path: &str) -> Option<(Kind, &str)> {
    let up_to = |parts: usize| {
        let end = path.match_indices('/').nth(parts - 1).map(|(at, _)| at + 1)?;
        Some(&path[..end])
    };
    match path.split('/').next()? {
        "tables" => Some((Kind::Unpublished, &path[..=path.rfind('/')?])),
        "scored" => Some((Kind::Scored, up_to(2)?)),
        "datasets" => Some((Kind::TrainingSets, up_to(2)?)),
        "models" | "sagemaker" => Some((Kind::Models, up_to(2)?)),
        "manifests" => Some((Kind::LoadLists, up_to(2).or(up_to(1))?)),
        "_recctl" => path.starts_with("_recctl/definitions/").then_some((Kind::Definitions, path)),
        _ => None,
    }
}

/// The job that made a file of the lake.
fn job_of(path: &str) -> Option<&str> {
    let mut parts = path.split('/');
    match parts.next()? {
        "models" | "scored" | "sagemaker" => parts.next(),
        _ => None,
    }
}

/// Jobs of all paths in what a step left, whatever its shape.
fn jobs_in<'a>(value: &'a serde_json::Value, names: &mut BTreeSet<&'a str>) {
    match value {
        serde_json::Value::String(text) => names.extend(job_of(text)),
        serde_json::Value::Array(all) => all.iter().for_each(|one| jobs_in(one, names)),
        serde_json::Value::Object(all) => all.values().for_each(|one| jobs_in(one, names)),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_with_their_folders() {
        for (path, group) in [
            ("tables/users/all/r1/0.parquet", Some((Kind::Unpublished, "tables/users/all/r1/"))),
            (
                "tables/x/dt=2026-03-01/r1/0.parquet",
                Some((Kind::Unpublished, "tables/x/dt=2026-03-01/r1/")),
            ),
            ("scored/j1/recommendations/0.parquet", Some((Kind::Scored, "scored/j1/"))),
            ("datasets/ab12/train/0.parquet", Some((Kind::TrainingSets, "datasets/ab12/"))),
            ("models/j2/model.tar.gz", Some((Kind::Models, "models/j2/"))),
            ("sagemaker/j2/output/model.tar.gz", Some((Kind::Models, "sagemaker/j2/"))),
            (
                "manifests/recctl-load-1/users.json",
                Some((Kind::LoadLists, "manifests/recctl-load-1/")),
            ),
            ("raw/products/products.csv", None),
            ("registry/daily-winner/1/model.tar.gz", None),
            ("_recctl/catalog/rec/users/all/r1-ab.json", None),
            ("models", None),
        ] {
            assert_eq!(group_of(path), group, "{path}");
        }
        let definition = "_recctl/definitions/2cf2.json.zst";
        assert_eq!(group_of(definition), Some((Kind::Definitions, definition)));
    }

    #[test]
    fn jobs_are_found_in_whatever_a_step_left() {
        let left = serde_json::json!({
            "winner": {"artifact": "models/als-1/model.tar.gz"},
            "results": [{"model": {"artifact": "models/knn-2/model.tar.gz"}}, 3, null],
            "reason": "als beats models of old",
        });
        let mut names = BTreeSet::new();
        jobs_in(&left, &mut names);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["als-1", "knn-2"]);
    }
}
