//! Gathers what planning needs to know of the world. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use crate::pipeline::fingerprint::digest;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::step::StepKind;
use crate::plan::demand::Demand;
use crate::plan::{Facts, ListingFact};
use crate::run::failure::Outcome;
use crate::run::record::{LedgerRow, ModelRecord};
use crate::steps::context::Services;
use crate::steps::load::Loaded;

/// Asks the lake, the catalog, the serving store and the state for what a plan for `date` rests on.
pub async fn gather(
    services: &Services,
    pipeline: &Pipeline,
    date: LogicalDate,
    force: bool,
) -> Outcome<Facts> {
    let mut facts = Facts { force, ..Facts::default() };
    for row in services.state.ledger(&pipeline.name).await? {
        facts.ledger.insert((row.step.clone(), row.partition), row);
    }
    let demand = Demand::of(pipeline, date);
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
    for step in &pipeline.steps {
        if let StepKind::Select(_) = step.kind
            && let Some(champion) =
                services.state.decision_before(&pipeline.name, &step.name, date).await?
        {
            let winner = &champion.winner;
            let identity = format!("{} {:?}", winner.algorithm, winner.hyperparameters);
            facts.champions.insert(step.name.clone(), digest(identity.as_bytes()));
        }
    }
    facts.lost = lost(services, pipeline, date, &demand, &facts.ledger).await?;
    Ok(facts)
}

/// Ledger rows whose output is not there: cached work counts only if it can be used.
async fn lost(
    services: &Services,
    pipeline: &Pipeline,
    date: LogicalDate,
    demand: &Demand,
    ledger: &BTreeMap<(crate::pipeline::name::Name, Partition), LedgerRow>,
) -> Outcome<BTreeSet<(crate::pipeline::name::Name, Partition)>> {
    let lake = services.query.lake();
    let mut lost = BTreeSet::new();
    for step in pipeline.all_steps() {
        let name = &step.name;
        match &step.kind {
            StepKind::Sql(_) => {
                let visible = services.catalog.partitions(name.as_str()).await?;
                for (_, partition) in demand.tables.iter().filter(|(table, _)| table == name) {
                    let Some(row) = ledger.get(&(name.clone(), *partition)) else { continue };
                    let key = partition.key();
                    let found = visible.iter().find(|entry| {
                        entry.key == key && entry.fingerprint == row.fingerprint.digest()
                    });
                    let mut whole = found.is_some();
                    for file in found.iter().flat_map(|entry| &entry.files) {
                        whole = whole && lake.holds(&file.path, file.bytes).await;
                    }
                    if !whole {
                        lost.insert((name.clone(), *partition));
                    }
                }
            }
            StepKind::Train(_) | StepKind::Tune(_) => {
                let key = (name.clone(), Partition::Day(date));
                if let Some(row) = ledger.get(&key) {
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
                let key = (name.clone(), Partition::Day(date));
                if ledger.contains_key(&key) {
                    let visible = services.catalog.partitions(name.as_str()).await?;
                    let entry = visible.iter().find(|entry| entry.date == Some(date));
                    let mut whole = entry.is_some();
                    for file in entry.iter().flat_map(|entry| &entry.files) {
                        whole = whole && lake.holds(&file.path, file.bytes).await;
                    }
                    if !whole {
                        lost.insert(key);
                    }
                }
            }
            StepKind::Load(load) => {
                let key = (name.clone(), Partition::Day(date));
                if let Some(row) = ledger.get(&key) {
                    let loaded: Option<Loaded> = serde_json::from_value(row.output.clone()).ok();
                    let generations = services.serving.generations(load.table.as_str()).await?;
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
