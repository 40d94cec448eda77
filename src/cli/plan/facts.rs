//! What a plan is made from: what lies there, what services say, or what is declared.

use crate::app::Target;
use crate::cli::sample;
use crate::engine::{gather, history, standing};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::LogicalDate;
use crate::plan::forecast::Forecast;
use crate::plan::{Facts, SampleFact};
use crate::run::failure::Outcome;

/// Runs whose figures are averaged.
const RUNS_LEARNED_FROM: usize = 5;

/// Facts for plans of these days, as the opened target has them.
pub(super) async fn of_target(
    target: &Target,
    pipeline: &Pipeline,
    dates: &[LogicalDate],
    force: bool,
) -> Outcome<Facts> {
    let services = &target.services;
    let mut facts = gather(services, pipeline, dates, force).await?;
    facts.there = Some(standing(services, pipeline, &facts.open).await?);
    if let Some(first) = dates.first()
        && let Some(sample) = first_sample(pipeline, target, *first)
    {
        facts.sample = Some(sample);
        facts.with_sample(pipeline, *first);
    }
    Ok(facts)
}

/// What earlier runs took.
pub(in crate::cli) async fn history_of(target: &Target, pipeline: &Pipeline) -> Outcome<Forecast> {
    let records = history(&target.services, pipeline, RUNS_LEARNED_FROM).await?;
    Ok(Forecast::of_records(&records))
}

/// The sample that a run for a date makes first, if the lake is empty and the pipeline reads what
/// the sample makes.
pub(in crate::cli) fn first_sample(
    pipeline: &Pipeline,
    target: &Target,
    date: LogicalDate,
) -> Option<SampleFact> {
    let local = target.local.as_ref()?;
    let mut sources = pipeline.sources.values();
    let reads_sample = sources.any(|source| source.path.as_str() == sample::CLICKSTREAM_PATH);
    let raw = local.lake.join(sample::FOLDER);
    let holds_something = std::fs::read_dir(&raw).is_ok_and(|mut entries| entries.next().is_some());
    let days = pipeline.split.window;
    (reads_sample && !holds_something).then(|| SampleFact {
        folder: format!("{}/", sample::FOLDER),
        events: u64::from(days) * sample::LINES_PER_DAY,
        days: (date.minus(days.saturating_sub(1)), date),
    })
}
