//! `--against` of `recctl plan`: what changed since a git revision or a run.

use crate::app::{App, Target};
use crate::cli::{Ended, stdout};
use crate::engine::gather;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::LogicalDate;
use crate::report::changes::{lines, object};

/// Compares and prints. Of a selection only the selected steps are shown. The ledger of the target
/// says what would be made again; without a target the project's own declarations do.
pub(super) async fn show(
    reference: &str,
    pipeline: &Pipeline,
    target: Option<&Target>,
    date: LogicalDate,
    json: bool,
    app: &App,
) -> Ended {
    let whole = pipeline.clone().whole();
    let mut comparison = app.against(reference, &whole, target).await?;
    let facts = match target {
        Some(target) => Some(gather(&target.services, &whole, &[date], false).await?),
        None => None,
    };
    comparison.find_again(&whole, date, facts.as_ref());
    comparison.changes.retain(|change| !pipeline.is_unselected(&change.step));
    comparison.remade.retain(|step| !pipeline.is_unselected(step));
    if json {
        let object = object(&pipeline.name, &comparison);
        crate::cli::print(&serde_json::to_string_pretty(&object).unwrap_or_default());
    } else {
        let paint = stdout::paint(app);
        crate::cli::print(&lines(&pipeline.name, &comparison, paint).join("\n"));
    }
    Ok(0)
}
