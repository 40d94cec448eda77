//! Gathers what planning needs to know of the world. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt};

use super::settle::{self, Settlement};
use crate::pipeline::fingerprint::digest;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::step::{QUARANTINE_TABLE, ReadFrom, StepKind, fallback_table};
use crate::plan::demand::Demand;
use crate::plan::effects::Standing;
use crate::plan::{Facts, ListingFact, OpenFact, ServedBack, VisibleFact};
use crate::ports::PartitionEntry;
use crate::query::lake::Lake;
use crate::run::failure::Outcome;
use crate::run::record::{LedgerRow, ModelRecord, RunKind, RunRecord, Status, StepRecord};
use crate::steps::context::Services;
use crate::steps::load::{Loaded, day_shown};
use crate::steps::registry_group;

/// Runs, of whatever pipeline, among which the last of one are looked for.
const RUNS_LOOKED_AT: usize = 50;
/// Partitions whose files are looked for at once.
const LOOKS_AT_ONCE: usize = 16;

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
        let rows = if row.is_done() { &mut facts.ledger } else { &mut facts.unmade };
        rows.insert((row.step.clone(), row.partition), row);
    }
    let settled = settled(services, pipeline, &mut facts).await?;
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
    facts.served_days = served_days(services, pipeline, dates, &facts.ledger).await?;
    find_outputs(services, pipeline, dates, &demand, &settled, &mut facts).await?;
    facts.served_back = served_back(services, pipeline, dates, &facts.ledger).await?;
    Ok(facts)
}

/// The day whose lists each served table shows. Nobody is asked where no day after those that are
/// planned was ever loaded.
async fn served_days(
    services: &Services,
    pipeline: &Pipeline,
    dates: &[LogicalDate],
    ledger: &BTreeMap<Key, LedgerRow>,
) -> Outcome<BTreeMap<String, LogicalDate>> {
    let mut days = BTreeMap::new();
    for step in &pipeline.steps {
        let StepKind::Load(load) = &step.kind else { continue };
        let table = load.table.as_str();
        let loads = |name: &Name| {
            let kind = pipeline.step(name.as_str()).map(|step| &step.kind);
            matches!(kind, Some(StepKind::Load(other)) if other.table == load.table)
        };
        let rows: Vec<&LedgerRow> = ledger.values().filter(|row| loads(&row.step)).collect();
        let newest = rows.iter().filter_map(|row| row.partition.date()).max();
        if newest <= dates.iter().min().copied() {
            continue;
        }
        let generations = services.serving.generations(table).await?;
        let shown = day_shown(table, &generations, rows);
        days.extend(shown.map(|shown| (table.to_owned(), shown)));
    }
    Ok(days)
}

/// The records of the steps of a pipeline's last runs that succeeded, at most so many runs.
pub async fn history(
    services: &Services,
    pipeline: &Pipeline,
    runs: usize,
) -> Outcome<Vec<StepRecord>> {
    let last = services.state.runs(RUNS_LOOKED_AT).await?;
    let succeeded = |run: &&RunRecord| {
        run.kind == RunKind::Pipeline
            && run.pipeline == pipeline.name
            && run.status == Status::Succeeded
    };
    let mut records = Vec::new();
    for run in last.iter().filter(succeeded).take(runs) {
        records.extend(services.state.steps(&run.id).await?);
    }
    Ok(records)
}

/// What there is at the target of what a run of this pipeline changes, and of what it settles first.
pub async fn standing(
    services: &Services,
    pipeline: &Pipeline,
    open: &[OpenFact],
) -> Outcome<Standing> {
    let mut there = Standing::default();
    let flips = open.iter().flat_map(|open| &open.flips);
    let settled: BTreeSet<&str> = flips.map(|(table, ..)| table.as_str()).collect();
    for table in services.catalog.tables().await? {
        there.database = true;
        if !makes(pipeline, &table.name) && !settled.contains(table.name.as_str()) {
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

/// Looks which outputs are there: cached work counts only if it can be used. And which tables
/// readers see that the ledger does not know, because their run died in between.
async fn find_outputs(
    services: &Services,
    pipeline: &Pipeline,
    dates: &[LogicalDate],
    demand: &Demand,
    settled: &Settled,
    facts: &mut Facts,
) -> Outcome<()> {
    let lake = services.query.lake();
    let mut quarantine: Option<Vec<PartitionEntry>> = None;
    for step in pipeline.all_steps() {
        let name = &step.name;
        let of_day = |date: &LogicalDate| {
            let key = (name.clone(), Partition::Day(*date));
            facts.ledger.get(&key).map(|row| (*date, key, row.output.clone()))
        };
        let done: Vec<(LogicalDate, Key, serde_json::Value)> =
            dates.iter().filter_map(of_day).collect();
        match &step.kind {
            StepKind::Sql(sql) => {
                let visible = settled.partitions(services, name.as_str()).await?;
                let demanded = demand.tables.iter().filter(|(table, _)| table == name);
                let whole = which_are_whole(lake, &visible, demanded.clone()).await?;
                let reads_raw = sql.reads.iter().any(|read| read.from == ReadFrom::Source);
                for key in demanded {
                    let found = whole.get(&key.1).copied();
                    let row = facts.ledger.get(key);
                    let known = found.is_some_and(|it| row.is_some_and(|row| describes(row, it)));
                    if row.is_some() && !known {
                        facts.lost.insert(key.clone());
                    }
                    let (Some(found), false) = (found, known) else { continue };
                    // Where several tables cannot flip at once, the quarantine may be behind.
                    if reads_raw {
                        let quarantine = match &mut quarantine {
                            Some(known) => known,
                            none => {
                                none.insert(settled.partitions(services, QUARANTINE_TABLE).await?)
                            }
                        };
                        let part = format!("{name}/{}", key.1);
                        let of_table = quarantine.iter().find(|it| it.key == part);
                        if of_table.is_none_or(|it| it.generation != found.generation) {
                            continue;
                        }
                    }
                    let fact = VisibleFact {
                        generation: found.generation.clone(),
                        fingerprint: found.fingerprint.clone(),
                    };
                    facts.visible.insert(key.clone(), fact);
                }
            }
            StepKind::Train(_) | StepKind::Tune(_) => {
                for (_, key, output) in done {
                    let model: Option<ModelRecord> = serde_json::from_value(output).ok();
                    let there = match model {
                        Some(model) => lake.size(&model.artifact).await.is_ok(),
                        None => false,
                    };
                    if !there {
                        facts.lost.insert(key);
                    }
                }
            }
            StepKind::Score(_) => {
                if done.is_empty() {
                    continue;
                }
                let visible = settled.partitions(services, name.as_str()).await?;
                let wanted: Vec<Key> = done.into_iter().map(|(_, key, _)| key).collect();
                let whole = which_are_whole(lake, &visible, wanted.iter()).await?;
                let gone = wanted.iter().filter(|(_, partition)| !whole.contains_key(partition));
                facts.lost.extend(gone.cloned());
            }
            StepKind::Load(load) => {
                if done.is_empty() {
                    continue;
                }
                let generations = services.serving.generations(load.table.as_str()).await?;
                for (_, key, output) in done {
                    let loaded: Option<Loaded> = serde_json::from_value(output).ok();
                    let there = loaded.is_some_and(|loaded| {
                        generations.iter().any(|g| g.sealed && g.generation == loaded.generation)
                    });
                    if !there {
                        facts.lost.insert(key);
                    }
                }
            }
            StepKind::Select(_) => {}
        }
    }
    Ok(())
}

/// What readers will see of partitions once publications that were left open are settled; `None` for
/// nothing. Empty where a run has settled them.
#[derive(Debug, Default)]
struct Settled(BTreeMap<(String, String), Option<PartitionEntry>>);

impl Settled {
    async fn partitions(&self, services: &Services, table: &str) -> Outcome<Vec<PartitionEntry>> {
        let mut visible = services.catalog.partitions(table).await?;
        let of_table = self.0.iter().filter(|((of, _), _)| of == table);
        for ((_, key), becomes) in of_table {
            visible.retain(|one| one.key != *key);
            visible.extend(becomes.clone());
        }
        Ok(visible)
    }
}

/// Takes it that what was left open is settled, as whoever starts next does first.
async fn settled(services: &Services, pipeline: &Pipeline, facts: &mut Facts) -> Outcome<Settled> {
    let mut settled = Settled::default();
    for (publication, standing) in settle::open(services, &pipeline.name).await? {
        // Somebody is at work on it.
        let Some(standing) = standing else { continue };
        facts.open.push(settle::fact(&publication, &standing));
        let is_forward = standing.settlement == Settlement::Forward;
        for flip in standing.pending {
            let key = (flip.to.table.clone(), flip.to.key.clone());
            settled.0.insert(key, if is_forward { Some(flip.to) } else { flip.from });
        }
        if is_forward {
            for row in publication.rows {
                let key = (row.step.clone(), row.partition);
                facts.unmade.remove(&key);
                facts.ledger.insert(key, row);
            }
        }
    }
    Ok(settled)
}

/// Whether a row of the ledger is about what is visible. A person may have taken for done what was
/// made from something else.
fn describes(row: &LedgerRow, entry: &PartitionEntry) -> bool {
    match row.mark.as_ref().and_then(|mark| mark.generation.as_ref()) {
        Some(generation) => entry.generation == *generation,
        None => entry.fingerprint == row.visible_digest(),
    }
}

/// Those of the wanted partitions that are visible and all of whose files are there.
async fn which_are_whole<'a>(
    lake: &Lake,
    visible: &'a [PartitionEntry],
    wanted: impl Iterator<Item = &Key>,
) -> Outcome<BTreeMap<Partition, &'a PartitionEntry>> {
    let found = wanted.filter_map(|(_, partition)| {
        let key = partition.key();
        visible.iter().find(|entry| entry.key == key).map(|entry| (*partition, entry))
    });
    let look = async |(partition, entry): (Partition, &'a PartitionEntry)| {
        is_whole(lake, entry).await.map(|is_whole| (partition, entry, is_whole))
    };
    let looked: Vec<_> = futures::stream::iter(found.collect::<Vec<_>>())
        .map(look)
        .buffer_unordered(LOOKS_AT_ONCE)
        .try_collect()
        .await?;
    let whole = looked.into_iter().filter(|(.., is_whole)| *is_whole);
    Ok(whole.map(|(partition, entry, _)| (partition, entry)).collect())
}

/// What is served though the ledger says that something newer was loaded: somebody rolled it back.
async fn served_back(
    services: &Services,
    pipeline: &Pipeline,
    dates: &[LogicalDate],
    ledger: &BTreeMap<Key, LedgerRow>,
) -> Outcome<Vec<ServedBack>> {
    let mut back = Vec::new();
    for step in &pipeline.steps {
        let StepKind::Load(load) = &step.kind else { continue };
        let rows = dates.iter().filter_map(|date| {
            let row = ledger.get(&(step.name.clone(), Partition::Day(*date)))?;
            Some((*date, serde_json::from_value::<Loaded>(row.output.clone()).ok()?))
        });
        let rows: Vec<(LogicalDate, Loaded)> = rows.collect();
        if rows.is_empty() {
            continue;
        }
        let generations = services.serving.generations(load.table.as_str()).await?;
        let Some(visible) = generations.iter().find(|one| one.visible) else { continue };
        for (date, loaded) in rows {
            if visible.generation < loaded.generation {
                back.push(ServedBack {
                    step: step.name.clone(),
                    date,
                    table: load.table.to_string(),
                    visible: visible.generation.clone(),
                    loaded: loaded.generation,
                });
            }
        }
    }
    Ok(back)
}

/// Whether all files of a partition are there.
async fn is_whole(lake: &Lake, entry: &PartitionEntry) -> Outcome<bool> {
    for file in &entry.files {
        if !lake.holds(&file.path, file.bytes).await? {
            return Ok(false);
        }
    }
    Ok(true)
}
