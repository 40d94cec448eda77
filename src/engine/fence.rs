//! Keeps a holder that was taken over from every side effect.

use crate::pipeline::graph::Pipeline;
use crate::pipeline::step::{QUARANTINE_TABLE, StepKind, fallback_table};
use crate::ports::Lease;
use crate::run::failure::Outcome;
use crate::steps::context::Services;

/// Sets the fence of a lease that its last holder did not give back, wherever a run of the pipeline
/// makes anything visible: that holder may only be paused. A lease that was given back needs none.
pub(super) async fn fence(services: &Services, pipeline: &Pipeline, lease: &Lease) -> Outcome<()> {
    if !lease.seized {
        return Ok(());
    }
    let mut tables = Vec::new();
    let mut warehouse = false;
    for step in pipeline.all_steps() {
        match &step.kind {
            StepKind::Sql(sql) => {
                tables.push(step.name.to_string());
                warehouse |= sql.warehouse.is_some();
            }
            StepKind::Score(_) => {
                tables.extend([step.name.to_string(), fallback_table(step.name.as_str())]);
            }
            StepKind::Load(load) => services.serving.fence(load.table.as_str(), lease).await?,
            StepKind::Train(_) | StepKind::Tune(_) | StepKind::Select(_) => {}
        }
    }
    tables.push(QUARANTINE_TABLE.to_owned());
    services.catalog.fence(&tables, lease).await?;
    if warehouse {
        services.warehouse.fence(lease).await?;
    }
    Ok(())
}
