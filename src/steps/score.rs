//! `score`: recommendations for every known user, and lists for visitors whom nobody knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::TableRead;
use super::context::StepContext;
use super::dataset::cut;
use super::fit::{Cuts, Ran, count, find, fit_for_serving, job_name, run, train_step};
use super::publication::Draft;
use super::train::{describe, to_value};
use crate::pipeline::interval::Partition;
use crate::pipeline::job::{MAX_RUNTIME, MetricDefinition, peak_memory_metric};
use crate::pipeline::name::Name;
use crate::pipeline::step::{SchemaChange, ScoreStep, StepKind, fallback_table};
use crate::ports::{FileEntry, JobKind, JobRequest, PartitionEntry, TableEntry};
use crate::query::content_hash::ContentHash;
use crate::query::published::PublishedTable;
use crate::query::{catalog_schema, scan};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{Decision, ModelRecord, StepReport};

/// What a scoring step leaves for the load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scored {
    /// The table of recommendations for known users.
    pub recommendations: String,
    /// The table of lists for unknown visitors, if there is one.
    pub fallback: Option<String>,
    /// The model in words.
    pub model: String,
}

/// Scores all users of the window, leaves out what they already have, and returns the tables `<step>`
/// and `<step>_fallback`, which are to be made visible.
pub async fn score(
    context: &StepContext,
    name: &Name,
    step: &ScoreStep,
    reads: &[TableRead],
) -> Outcome<(StepReport, Draft)> {
    let is_select = matches!(
        context.pipeline.step(step.model.as_str()).map(|step| &step.kind),
        Some(StepKind::Select(_))
    );
    let model: ModelRecord = if is_select {
        context.made.output::<Decision>(&step.model)?.winner
    } else {
        let candidate: ModelRecord = context.made.output(&step.model)?;
        fit_for_serving(context, &candidate, reads).await?.model
    };
    let train = train_step(context, &model.step)?;
    let input = train.inputs.iter().find(|input| input.channel == "train");
    let table = input.map(|input| input.table.clone()).ok_or_else(|| {
        Failure::new(FailureKind::Internal, format!("step `{}` has no channel `train`", model.step))
    })?;
    let cuts = Cuts::new(context.pipeline.split, context.date);
    let mut channels = BTreeMap::from([
        ("model".to_owned(), folder_of(&model)),
        ("exclude".to_owned(), cut(context, "train", find(reads, &table)?, cuts.all).await?),
    ]);
    if let Some(fallback) = &step.fallback {
        let candidate: ModelRecord = context.made.output(fallback)?;
        let fitted = fit_for_serving(context, &candidate, reads).await?;
        channels.insert("fallback".to_owned(), folder_of(&fitted.model));
    }
    let hyperparameters = BTreeMap::from([("top".to_owned(), step.top.to_string())]);
    let job = job_name(context, name, "score", &format!("{channels:?}{hyperparameters:?}"));
    let request = JobRequest {
        output: format!("scored/{job}/"),
        kind: JobKind::Score,
        hyperparameters,
        channels,
        metrics: vec![
            MetricDefinition { name: "users".to_owned(), regex: r"scored users=(\d+)".to_owned() },
            peak_memory_metric(),
        ],
        max_runtime: train.job.resources.max_runtime.unwrap_or(MAX_RUNTIME),
        resources: train.job.resources.clone(),
        name: job,
    };
    let output = request.output.clone();
    let Ran { metrics, peak_memory } = run(context, request, train.job.on_cancel).await?;
    let mut tables = Vec::new();
    let mut partitions = Vec::new();
    for (folder, table) in
        [("recommendations", name.to_string()), ("fallback", fallback_table(name.as_str()))]
    {
        let files = context.services.query.lake().files_of(&format!("{output}{folder}")).await?;
        if files.is_empty() {
            continue;
        }
        let (entry, partition) = describe_files(context, table, files).await?;
        tables.push(entry);
        partitions.push(partition);
    }
    let users = metrics.get("users").copied().map_or(0, count);
    let rows = partitions.first().map_or(0, |partition| partition.rows);
    let scored = Scored {
        recommendations: name.to_string(),
        fallback: partitions.get(1).map(|partition| partition.table.clone()),
        model: describe(&model),
    };
    context.made.put_output(name, to_value(&scored)?);
    let report = StepReport {
        rows_in: users,
        rows_out: rows,
        bytes_out: partitions.iter().flat_map(|p| &p.files).map(|file| file.bytes).sum(),
        peak_memory,
        content_hash: partitions.first().map(|partition| partition.content_hash.clone()),
        note: Some(format!(
            "and {} lists for unknown visitors",
            partitions.get(1).map_or(0, |p| p.rows / step.top.max(1) as u64)
        )),
        ..StepReport::default()
    };
    let part = format!("{name}/{}", context.date);
    Ok((report, Draft { part, tables, partitions, ..Draft::default() }))
}

fn folder_of(model: &ModelRecord) -> String {
    model.artifact.rsplit_once('/').map_or_else(String::new, |(folder, _)| format!("{folder}/"))
}

/// Reads the files of a scoring job back: schema, rows, hash.
async fn describe_files(
    context: &StepContext,
    table: String,
    paths: Vec<String>,
) -> Outcome<(TableEntry, PartitionEntry)> {
    let query = Arc::clone(&context.services.query);
    let session = query.session()?;
    let first = paths[0].clone();
    let schema = query.compute(async move { scan::file_schema(&session, &first).await }).await?;
    let partition = Partition::Day(context.date);
    let mut entry = PartitionEntry {
        table: table.clone(),
        key: partition.key(),
        date: partition.date(),
        generation: context.run.to_string(),
        files: Vec::new(),
        rows: 0,
        content_hash: String::new(),
        fingerprint: context.fingerprint.clone(),
        published: context.services.clock.now(),
    };
    let mut files = Vec::new();
    let mut hash = ContentHash::default();
    for path in paths {
        let bytes = query.lake().size(&path).await?;
        // Rows are what is found out here; reading does not ask for them.
        entry.files = vec![FileEntry { path: path.clone(), bytes, rows: 0 }];
        let one = PublishedTable::new(Arc::clone(&schema), true, vec![entry.clone()]);
        let (rows, part) = query.compute(scan::rows_and_hash(query.session()?, one)).await?;
        files.push(FileEntry { path, bytes, rows });
        entry.rows += rows;
        hash.merge(&part);
    }
    entry.files = files;
    entry.content_hash = hash.to_string();
    let table = TableEntry {
        name: table,
        columns: catalog_schema::to_entries(&schema),
        by_day: true,
        schema_change: SchemaChange::Allow,
    };
    Ok((table, entry))
}
