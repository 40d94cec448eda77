//! Gathers what planning needs to know of the world. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use crate::pipeline::fingerprint::digest;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::step::{QUARANTINE_TABLE, StepKind, fallback_table};
use crate::plan::demand::Demand;
use crate::plan::effects::Standing;
use crate::plan::{Facts, ListingFact};
use crate::ports::PartitionEntry;
use crate::query::lake::Lake;
use crate::run::failure::Outcome;
use crate::run::record::{LedgerRow, ModelRecord, RunRecord, Status, StepRecord};
use crate::steps::context::Services;
use crate::steps::load::Loaded;
use crate::steps::registry_group;

/// Runs, of whatever pipeline, among which the last of one are looked for.
const RUNS_LOOKED_AT: usize = 50;

/// Asks the lake, the catalog, the serving store and the state for what plans for these days rest
/// on.
pub async fn gather(
    services: &Services,
    pipeline: &Pipeline,
    dates: &[LogicalDate],
    force: bool,
) -> Outcome<Facts> {
    let mut facts = Facts { force, ..Facts::default() };
    for row in services.state.ledger(&pipeline.name).await? {
        facts.ledger.insert((row.step.clone(), row.partition), row);
    }
    let mut demand = Demand::default();
    for date in dates {
        let of_day = Demand::of(pipeline, *date);
        demand.tables.extend(of_day.tables);
        demand.sources.extend(of_day.sources);
    }
    for (name, partition) in &demand.sources {
        let Some(source) = pipeline.sources.get(name) else { continue };
        let listing = services.query.lake().list(source, *partition).await?;
        facts.listings.insert(
            (name.clone(), *partition),
            ListingFact {
                version: listing.version,
                files: listing.files.len(),
                bytes: listing.files.iter().map(|file| file.bytes).sum(),
                shown: listing.shown,
            },
        );
    }
    for date in dates {
        for step in &pipeline.steps {
            if let StepKind::Select(_) = step.kind
                && let Some(champion) =
                    services.state.decision_before(&pipeline.name, &step.name, *date).await?
            {
                let winner = &champion.winner;
                let identity = format!("{} {:?}", winner.algorithm, winner.hyperparameters);
                let digest = digest(identity.as_bytes());
                facts.champions.insert((step.name.clone(), *date), digest);
            }
        }
    }
    facts.lost = lost(services, pipeline, dates, &demand, &facts.ledger).await?;
    Ok(facts)
}

/// The records of the steps of a pipeline's last runs that succeeded, at most so many runs.
pub async fn history(
    services: &Services,
    pipeline: &Pipeline,
    runs: usize,
) -> Outcome<Vec<StepRecord>> {
    let last = services.state.runs(RUNS_LOOKED_AT).await?;
    let succeeded =
        |run: &&RunRecord| run.pipeline == pipeline.name && run.status == Status::Succeeded;
    let mut records = Vec::new();
    for run in last.iter().filter(succeeded).take(runs) {
        records.extend(services.state.steps(&run.id).await?);
    }
    Ok(records)
}

/// What there is at the target of what a run of this pipeline changes.
pub async fn standing(services: &Services, pipeline: &Pipeline) -> Outcome<Standing> {
    let mut there = Standing::default();
    for table in services.catalog.tables().await? {
        there.database = true;
        if !makes(pipeline, &table.name) {
            continue;
        }
        let partitions = services.catalog.partitions(&table.name).await?;
        let keys = partitions.into_iter().map(|partition| partition.key).collect();
        there.tables.insert(table.name, keys);
    }
    there.state = !services.state.runs(1).await?.is_empty();
    for step in &pipeline.steps {
        match &step.kind {
            StepKind::Load(load) => {
                let table = load.table.as_str();
                let mut known = services.serving.generations(table).await?;
                known.retain(|generation| generation.sealed);
                known.sort_by(|one, other| one.generation.cmp(&other.generation));
                if !known.is_empty() {
                    let items = known.iter().map(|generation| Some(generation.items)).collect();
                    there.served.insert(table.to_owned(), items);
                }
            }
            StepKind::Select(_) => {
                let group = registry_group(&pipeline.name, &step.name);
                if let Some(registry) = &services.registry
                    && !registry.versions(&group, 1).await?.is_empty()
                {
                    there.groups.insert(group);
                }
            }
            StepKind::Sql(_) | StepKind::Train(_) | StepKind::Tune(_) | StepKind::Score(_) => {}
        }
    }
    Ok(there)
}

/// Whether runs of a pipeline write to a table.
fn makes(pipeline: &Pipeline, table: &str) -> bool {
    table == QUARANTINE_TABLE
        || pipeline.steps.iter().any(|step| match step.kind {
            StepKind::Sql(_) => step.name.as_str() == table,
            StepKind::Score(_) => {
                step.name.as_str() == table || fallback_table(step.name.as_str()) == table
            }
            StepKind::Train(_) | StepKind::Tune(_) | StepKind::Select(_) | StepKind::Load(_) => {
                false
            }
        })
}

/// A row of the ledger.
type Key = (Name, Partition);

/// Ledger rows whose output is not there: cached work counts only if it can be used.
async fn lost(
    services: &Services,
    pipeline: &Pipeline,
    dates: &[LogicalDate],
    demand: &Demand,
    ledger: &BTreeMap<Key, LedgerRow>,
) -> Outcome<BTreeSet<Key>> {
    let lake = services.query.lake();
    let mut lost = BTreeSet::new();
    for step in pipeline.all_steps() {
        let name = &step.name;
        let of_day = |date: &LogicalDate| {
            let key = (name.clone(), Partition::Day(*date));
            ledger.get(&key).map(|row| (*date, key, row))
        };
        let done: Vec<(LogicalDate, Key, &LedgerRow)> = dates.iter().filter_map(of_day).collect();
        match &step.kind {
            StepKind::Sql(_) => {
                let visible = services.catalog.partitions(name.as_str()).await?;
                for (_, partition) in demand.tables.iter().filter(|(table, _)| table == name) {
                    let Some(row) = ledger.get(&(name.clone(), *partition)) else { continue };
                    let key = partition.key();
                    let found = visible.iter().find(|entry| {
                        entry.key == key && entry.fingerprint == row.fingerprint.digest()
                    });
                    if !is_whole(lake, found).await {
                        lost.insert((name.clone(), *partition));
                    }
                }
            }
            StepKind::Train(_) | StepKind::Tune(_) => {
                for (_, key, row) in done {
                    let model: Option<ModelRecord> =
                        serde_json::from_value(row.output.clone()).ok();
                    let there = match model {
                        Some(model) => lake.size(&model.artifact).await.is_ok(),
                        None => false,
                    };
                    if !there {
                        lost.insert(key);
                    }
                }
            }
            StepKind::Score(_) => {
                if done.is_empty() {
                    continue;
                }
                let visible = services.catalog.partitions(name.as_str()).await?;
                for (date, key, _) in done {
                    let entry = visible.iter().find(|entry| entry.date == Some(date));
                    if !is_whole(lake, entry).await {
                        lost.insert(key);
                    }
                }
            }
            StepKind::Load(load) => {
                if done.is_empty() {
                    continue;
                }
                let generations = services.serving.generations(load.table.as_str()).await?;
                for (_, key, row) in done {
                    let loaded: Option<Loaded> = serde_json::from_value(row.output.clone()).ok();
                    let there = loaded.is_some_and(|loaded| {
                        generations.iter().any(|g| g.sealed && g.generation == loaded.generation)
                    });
                    if !there {
                        lost.insert(key);
                    }
                }
            }
            StepKind::Select(_) => {}
        }
    }
    Ok(lost)
}

/// Whether a partition is visible and all of its files are there.
async fn is_whole(lake: &Lake, entry: Option<&PartitionEntry>) -> bool {
    let Some(entry) = entry else { return false };
    for file in &entry.files {
        if !lake.holds(&file.path, file.bytes).await {
            return false;
        }
    }
    true
}
