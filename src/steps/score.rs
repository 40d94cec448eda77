//! `score`: recommendations for every known user, and lists for visitors whom nobody knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::TableRead;
use super::context::StepContext;
use super::dataset::cut;
use super::fit::{Cuts, PEAK_MEMORY, find, fit_for_serving, job_name, run, train_step};
use super::train::{describe, to_value};
use crate::pipeline::interval::Partition;
use crate::pipeline::job::MetricDefinition;
use crate::pipeline::name::Name;
use crate::pipeline::step::{ScoreStep, StepKind};
use crate::ports::{FileEntry, JobKind, JobRequest, PartitionEntry, TableEntry};
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

/// Scores all users of the window, leaves out what they already have, and publishes the tables
/// `<step>` and `<step>_fallback`.
pub async fn score(
    context: &StepContext,
    name: &Name,
    step: &ScoreStep,
    reads: &[TableRead],
) -> Outcome<StepReport> {
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
            MetricDefinition {
                name: PEAK_MEMORY.to_owned(),
                regex: r"memory: peak_bytes=(\d+)".to_owned(),
            },
        ],
        max_runtime: Duration::from_secs(6 * 3_600),
        name: job,
    };
    let metrics = run(context, &request).await?;
    let mut tables = Vec::new();
    let mut partitions = Vec::new();
    for (folder, table) in
        [("recommendations", name.to_string()), ("fallback", format!("{name}_fallback"))]
    {
        let files =
            context.services.query.lake().files_of(&format!("{}{folder}", request.output)).await?;
        if files.is_empty() {
            continue;
        }
        let (entry, partition) = describe_files(context, table, files).await?;
        tables.push(entry);
        partitions.push(partition);
    }
    context.services.catalog.publish(&tables, &partitions).await?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count that went through a metric"
    )]
    let users = metrics.get("users").map_or(0, |users| *users as u64);
    let rows = partitions.first().map_or(0, |partition| partition.rows);
    let scored = Scored {
        recommendations: name.to_string(),
        fallback: partitions.get(1).map(|partition| partition.table.clone()),
        model: describe(&model),
    };
    context.made.put_output(name, to_value(&scored)?);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of bytes that went through a metric"
    )]
    let peak_memory = metrics.get(PEAK_MEMORY).map(|bytes| *bytes as u64);
    Ok(StepReport {
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
    })
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
    let (schema, sizes) = {
        let session = query.session()?;
        let first = paths[0].clone();
        let schema =
            query.compute(async move { scan::file_schema(&session, &first).await }).await?;
        let mut sizes = Vec::new();
        for path in &paths {
            sizes.push(query.lake().size(path).await?);
        }
        (schema, sizes)
    };
    let mut files = Vec::new();
    let mut total = 0;
    let mut hash = crate::query::content_hash::ContentHash::default();
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
    for (path, bytes) in paths.into_iter().zip(sizes) {
        let mut one = entry.clone();
        // The count is not known yet; any but zero makes the file count as one with rows.
        one.files = vec![FileEntry { path: path.clone(), bytes, rows: 1 }];
        let published = PublishedTable::new(Arc::clone(&schema), true, vec![one]);
        let session = query.session()?;
        let (rows, part) = query.compute(scan::rows_and_hash(session, published)).await?;
        files.push(FileEntry { path, bytes, rows });
        total += rows;
        hash.merge(&part);
    }
    entry.files = files;
    entry.rows = total;
    entry.content_hash = hash.to_string();
    let table =
        TableEntry { name: table, columns: catalog_schema::to_entries(&schema), by_day: true };
    Ok((table, entry))
}
