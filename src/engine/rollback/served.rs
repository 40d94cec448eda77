//! What is served: the pointer is flipped to another generation.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{GENERATIONS, end, leases, record, release};
use crate::engine::lease::Held;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::ports::GenerationEntry;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{RunId, Status};
use crate::steps::context::Services;
use crate::steps::load::Loaded;

/// Runs among which the pipelines are looked for that load a table.
const RUNS: usize = 500;

/// What is to be served.
#[derive(Debug, Clone)]
pub struct ServedRollback {
    /// The served table.
    pub table: String,
    /// A generation, or the run that loaded it; else the generation before the visible one.
    pub to: Option<String>,
    /// Who holds the lease.
    pub holder: String,
}

/// Makes another generation visible and returns its name. `known` are those of the table.
///
/// Errors: `NotFound` if there is no such generation, `Held` if a run of its day is under way.
pub async fn flip_served(
    services: &Arc<Services>,
    wanted: &ServedRollback,
    known: &[GenerationEntry],
) -> Outcome<String> {
    let chosen = match &wanted.to {
        Some(to) if known.iter().any(|one| one.generation == *to) => to.clone(),
        Some(to) => of_run(services, &wanted.table, to, known).await?,
        None => {
            let before = known.iter().skip_while(|one| !one.visible).skip(1);
            let before = before.filter(|one| one.sealed).map(|one| one.generation.clone()).next();
            before.ok_or_else(|| {
                let text = format!("`{}` has no generation before the visible one", wanted.table);
                Failure::new(FailureKind::NotFound, text)
            })?
        }
    };
    let Some((pipeline, date)) = loaded_for(services, &wanted.table, &chosen).await? else {
        // The state knows no load of it: what is to be kept away is `recctl gc` only.
        let held = Held::acquire(services, GENERATIONS, &wanted.holder, Default::default()).await?;
        let flipped = services.serving.flip(&wanted.table, &chosen, held.lease()).await;
        held.release().await;
        return flipped.map(|()| chosen);
    };
    let held = leases(services, &pipeline, date, &BTreeSet::new(), &wanted.holder).await?;
    let note = format!("`{}` serves generation {chosen} again", wanted.table);
    let record = record(services, &pipeline, date, &wanted.holder, note);
    let flip = async {
        services.state.put_run(&record).await?;
        for lease in held.iter().take(1) {
            services.serving.flip(&wanted.table, &chosen, lease.lease()).await?;
        }
        Ok(())
    };
    let flipped = flip.await;
    let ended = end(services, record, flipped).await;
    release(held).await;
    ended.map(|()| chosen)
}

/// The generation that a run loaded.
async fn of_run(
    services: &Services,
    table: &str,
    run: &str,
    known: &[GenerationEntry],
) -> Outcome<String> {
    let steps = services.state.steps(&RunId::from_text(run)).await?;
    let loaded = steps
        .into_iter()
        .filter(|step| step.action == "load" && step.status == Status::Succeeded)
        .filter_map(|step| step.report.generation)
        .find(|generation| known.iter().any(|one| one.generation == *generation));
    loaded.ok_or_else(|| {
        let text =
            format!("`{table}` has no complete generation `{run}`, nor one of a run `{run}`");
        Failure::new(FailureKind::NotFound, text)
            .with_hint(format!("`recctl rollback {table} --list` shows what there is"))
    })
}

/// The pipeline and the day that a generation was loaded for, or those of the table's last load.
async fn loaded_for(
    services: &Services,
    table: &str,
    generation: &str,
) -> Outcome<Option<(Name, LogicalDate)>> {
    let runs = services.state.runs(RUNS).await?;
    let pipelines: BTreeSet<Name> = runs.into_iter().map(|run| run.pipeline).collect();
    let mut last: Option<(LogicalDate, Name)> = None;
    for pipeline in pipelines {
        for row in services.state.ledger(&pipeline).await? {
            let Some(date) = row.partition.date() else { continue };
            let Ok(loaded) = serde_json::from_value::<Loaded>(row.output) else { continue };
            if loaded.table != table {
                continue;
            }
            if loaded.generation == generation {
                return Ok(Some((pipeline, date)));
            }
            last = last.max(Some((date, pipeline.clone())));
        }
    }
    Ok(last.map(|(date, pipeline)| (pipeline, date)))
}
