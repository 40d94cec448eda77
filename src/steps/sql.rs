//! `sql`: runs a query and stages its result as one partition.

use std::sync::Arc;
use std::time::Duration;

use super::TableRead;
use super::context::{Staged, StepContext};
use crate::pipeline::interval::Partition;
use crate::pipeline::name::Name;
use crate::pipeline::source::Source;
use crate::pipeline::step::{QUARANTINE_TABLE, SchemaChange, SqlStep};
use crate::ports::{FileEntry, PartitionEntry, TableEntry};
use crate::query::published::PublishedTable;
use crate::query::raw::reader::RawFile;
use crate::query::raw::tally::{FinishedQuarantine, Tally, quarantine_schema};
use crate::query::raw::{self, RawTable};
use crate::query::session::{QueryEngine, QuerySession, failure_of};
use crate::query::write::{Destination, Written, stored_schema, write};
use crate::query::{analysis, catalog_schema, checks, scan};
use crate::run::event::Progress;
use crate::run::failure::{Failure, FailureKind, Outcome, io_failure};
use crate::run::record::{RowCounts, StepReport};

/// How often the reader's progress is reported.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// A source with the partitions of it that are read.
#[derive(Debug, Clone)]
pub struct SourceRead {
    /// Source.
    pub source: Arc<Source>,
    /// Partitions, oldest first.
    pub partitions: Vec<Partition>,
}

/// Runs the query for a partition, checks its result and stages it; what the reader or the query
/// refuses is staged as the step's part of the quarantine.
///
/// Errors: `Input` for unreadable files and for more malformed rows than the source allows,
/// `Quality` for checks and for rows without exactly one fate. After an error nothing is staged.
pub async fn make(
    context: &StepContext,
    name: &Name,
    sql: &SqlStep,
    partition: Partition,
    tables: &[TableRead],
    sources: &[SourceRead],
) -> Outcome<StepReport> {
    let query = Arc::clone(&context.services.query);
    let session = query.session()?;
    let scratch = context.scratch();
    let tally = Tally::new(name.as_str(), partition, &scratch);
    let mut rows_in = 0;
    for read in tables {
        let (table, entries) = context.entries(read).await?;
        rows_in += entries.iter().map(|entry| entry.rows).sum::<u64>();
        let schema = catalog_schema::from_entries(&table.columns)?;
        let table = PublishedTable::new(schema, table.by_day, entries);
        register(&session, read.table.as_str(), Arc::new(table))?;
    }
    let mut total_bytes = 0;
    let mut listed = Vec::new();
    for read in sources {
        let lake = query.lake();
        let mut files = Vec::new();
        let mut store = Arc::clone(&lake.store);
        for part in &read.partitions {
            let listing = lake.list(&read.source, *part).await?;
            store = Arc::clone(&listing.store);
            files.extend(listing.files);
        }
        for (ordinal, file) in files.iter_mut().enumerate() {
            file.ordinal = ordinal;
            total_bytes += file.bytes;
        }
        listed.push((Arc::clone(&read.source), Arc::clone(&store), files.clone()));
        let table = RawTable::new(Arc::clone(&read.source), store, files, Arc::clone(&tally));
        register(&session, read.source.name.as_str(), Arc::new(table))?;
    }
    let folder = format!("tables/{name}/{}/{}", partition.folder(), context.run);
    let work = run(
        session,
        sql.clone(),
        context.clone(),
        Destination { store: Arc::clone(&query.lake().store), folder: folder.clone(), partition },
        Arc::clone(&tally),
        name.clone(),
    );
    let progress = async {
        loop {
            tokio::time::sleep(PROGRESS_EVERY).await;
            context.progress(Progress {
                rows: tally.rows(),
                bytes: tally.bytes(),
                total_bytes,
                ..Progress::default()
            });
        }
    };
    let outcome = tokio::select! {
        outcome = query.compute(work) => outcome,
        () = progress => Err(Failure::new(FailureKind::Internal, "progress ended")),
        () = context.cancel.cancelled() => Err(Failure::new(FailureKind::Cancelled, "stopped on request")),
    };
    let outcome = match outcome {
        Ok(made) => {
            let settled = async {
                read_rest(&query, listed, &tally).await?;
                settle(context, name, sql, partition, sources, &tally, made).await
            };
            settled.await
        }
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(mut report) => {
            report.rows_in = rows_in + tally.rows();
            report.bytes_in = tally.bytes();
            Ok(report)
        }
        Err(failure) => {
            tally.abandon();
            // Nobody points at the files; they are only in the way.
            let removed = query.lake().remove_folder(&folder).await;
            if let Err(left) = removed {
                tracing::warn!(folder, error = %left, "could not remove the files of a failed step");
            }
            Err(failure)
        }
    }
}

/// The files of a source, and the store that they are in.
pub(super) type Listed = (Arc<Source>, Arc<dyn object_store::ObjectStore>, Vec<RawFile>);

/// Reads to their ends the files that the query did not.
async fn read_rest(query: &QueryEngine, listed: Vec<Listed>, tally: &Arc<Tally>) -> Outcome<()> {
    let tally = Arc::clone(tally);
    query
        .compute(async move {
            for (source, store, files) in &listed {
                raw::read_rest(source, store, files, &tally).await?;
            }
            Ok(())
        })
        .await
}

struct Result {
    written: Written,
    table: TableEntry,
    peak_memory: u64,
}

async fn run(
    session: QuerySession,
    sql: SqlStep,
    context: StepContext,
    destination: Destination,
    tally: Arc<Tally>,
    name: Name,
) -> Outcome<Result> {
    let partition = destination.partition;
    let parameters = analysis::parameters(
        partition,
        context.date,
        context.run.as_str(),
        &context.pipeline.variables,
    );
    let doing = format!("run `{}`", sql.file);
    let schema_change = sql.schema_change;
    let plan = analysis::plan(&session.context, &sql.text, parameters)
        .await
        .map_err(|error| failure_of(error, &doing))?;
    let physical = session
        .context
        .state()
        .query_planner()
        .create_physical_plan(&plan, &session.context.state())
        .await
        .map_err(|error| failure_of(error, &doing))?;
    let schema = stored_schema(&physical.schema(), partition);
    let table = TableEntry {
        name: name.to_string(),
        columns: catalog_schema::to_entries(&schema),
        by_day: partition != Partition::Whole,
        schema_change,
    };
    let written = write(physical, session.context.task_ctx(), destination, tally).await?;
    Ok(Result { written, table, peak_memory: session.peak_memory() })
}

/// Accounts for the rows, runs the checks, and stages table and quarantine.
async fn settle(
    context: &StepContext,
    name: &Name,
    sql: &SqlStep,
    partition: Partition,
    sources: &[SourceRead],
    tally: &Tally,
    made: Result,
) -> Outcome<StepReport> {
    let Result { written, table, peak_memory } = made;
    let quarantine = tally.finish()?;
    refuse_too_many(sources, tally, &quarantine)?;
    let mut report = StepReport {
        rows_out: written.kept,
        bytes_out: written.bytes(),
        peak_memory: Some(peak_memory),
        content_hash: Some(written.hash.to_string()),
        ..StepReport::default()
    };
    if !sources.is_empty() {
        let counts = RowCounts {
            read: tally.rows(),
            kept: written.kept,
            quarantined: quarantine.rows,
            filtered: written.filtered_rows(),
            duplicates: written.duplicates,
        };
        report.counts = Some(account(name, sql, counts, written.has_fates)?);
        report.reasons = reasons(&written, &quarantine);
    }
    let now = context.services.clock.now();
    let entry = PartitionEntry {
        table: name.to_string(),
        key: partition.key(),
        date: partition.date(),
        generation: context.run.to_string(),
        rows: written.kept,
        files: written.files,
        content_hash: written.hash.to_string(),
        fingerprint: context.fingerprint.clone(),
        published: now,
    };
    let schema = catalog_schema::from_entries(&table.columns)?;
    let query = Arc::clone(&context.services.query);
    let session = query.session()?;
    let staged = Arc::new(PublishedTable::new(schema, table.by_day, vec![entry.clone()]));
    let (checked, checked_name) = (sql.clone(), name.to_string());
    query
        .compute(
            async move { checks::run(&session.context, &checked_name, &checked, staged).await },
        )
        .await?;
    context.made.stage(Staged { table, partition: entry, warehouse: sql.warehouse.clone() });
    if !sources.is_empty() {
        let staged = stage_quarantine(context, name, partition, quarantine).await?;
        context.made.stage(staged);
    }
    Ok(report)
}

fn register(
    session: &QuerySession,
    name: &str,
    table: Arc<dyn datafusion::catalog::TableProvider>,
) -> Outcome<()> {
    let registered = session.context.register_table(name, table);
    registered.map(|_| ()).map_err(|error| failure_of(error, &format!("register `{name}`")))
}

/// Fails if a source has more malformed rows than it allows.
fn refuse_too_many(
    sources: &[SourceRead],
    tally: &Tally,
    quarantine: &FinishedQuarantine,
) -> Outcome<()> {
    let by_source = tally.by_source();
    for read in sources {
        let name = read.source.name.as_str();
        let Some(rows) = by_source.get(name) else { continue };
        #[expect(clippy::cast_precision_loss, reason = "a share of rows for a comparison")]
        let ratio = rows.malformed as f64 / rows.read.max(1) as f64;
        if ratio > read.source.max_malformed_ratio {
            let failure = Failure::new(
                FailureKind::Quality,
                format!(
                    "{} of {} rows of `{name}` are malformed ({:.2} %, at most {:.2} % allowed): {}",
                    rows.malformed,
                    rows.read,
                    ratio * 100.0,
                    read.source.max_malformed_ratio * 100.0,
                    quarantine.examples.join("; ")
                ),
            );
            return Err(failure.with_hint(
                "nothing was published; mend the source, its columns, or its `malformed: {max_ratio: …}`",
            ));
        }
    }
    Ok(())
}

/// Gives every row that was read one fate. Without the column `_fate` what is not in the result was
/// left out by the query. Errors: `Quality` if rows were dropped or repeated.
pub fn account(
    name: &Name,
    sql: &SqlStep,
    mut counts: RowCounts,
    has_fates: bool,
) -> Outcome<RowCounts> {
    if !has_fates {
        counts.filtered = counts.read.saturating_sub(counts.kept + counts.quarantined);
    }
    if counts.conserved() {
        return Ok(counts);
    }
    let failure = Failure::new(
        FailureKind::Quality,
        format!(
            "`{name}` does not account for every row: read {}, but kept {} + quarantined {} + filtered {} + duplicates {} = {}",
            counts.read,
            counts.kept,
            counts.quarantined,
            counts.filtered,
            counts.duplicates,
            counts.kept + counts.quarantined + counts.filtered + counts.duplicates
        ),
    );
    Err(failure.with_hint(format!(
        "`{}` drops or repeats rows, in a WHERE or a JOIN for example; return each row once and say in `_fate` what becomes of it",
        sql.file
    )))
}

fn reasons(
    written: &Written,
    quarantine: &FinishedQuarantine,
) -> std::collections::BTreeMap<String, u64> {
    let filtered = written.filtered.iter().map(|(why, rows)| (format!("filtered: {why}"), *rows));
    let refused =
        quarantine.reasons.iter().map(|(why, rows)| (format!("quarantined: {why}"), *rows));
    filtered.chain(refused).collect()
}

/// Moves the quarantine's file into the lake. A step without refused rows stages an empty part, so
/// that what an earlier generation refused is no longer shown.
async fn stage_quarantine(
    context: &StepContext,
    name: &Name,
    partition: Partition,
    quarantine: FinishedQuarantine,
) -> Outcome<Staged> {
    let query = Arc::clone(&context.services.query);
    let table = TableEntry {
        name: QUARANTINE_TABLE.to_owned(),
        columns: catalog_schema::to_entries(&quarantine_schema()),
        by_day: false,
        schema_change: SchemaChange::default(),
    };
    let mut entry = PartitionEntry {
        table: QUARANTINE_TABLE.to_owned(),
        key: format!("{name}/{partition}"),
        date: None,
        generation: context.run.to_string(),
        rows: quarantine.rows,
        files: Vec::new(),
        content_hash: crate::query::content_hash::ContentHash::default().to_string(),
        fingerprint: context.fingerprint.clone(),
        published: context.services.clock.now(),
    };
    if let Some(file) = quarantine.file {
        let bytes =
            tokio::fs::read(&file).await.map_err(|error| io_failure("read", &file, &error))?;
        let path = format!(
            "tables/{QUARANTINE_TABLE}/{name}/{}/{}/part-0000.parquet",
            partition.folder(),
            context.run
        );
        entry.files.push(FileEntry {
            path: path.clone(),
            bytes: bytes.len() as u64,
            rows: quarantine.rows,
        });
        query.lake().put(&path, bytes).await?;
        let session = query.session()?;
        let staged = PublishedTable::new(quarantine_schema(), false, vec![entry.clone()]);
        let (rows, hash) = query.compute(scan::rows_and_hash(session, staged)).await?;
        if rows != quarantine.rows {
            return Err(Failure::new(
                FailureKind::Internal,
                format!(
                    "the quarantine of `{name}` holds {rows} rows, expected {}",
                    quarantine.rows
                ),
            ));
        }
        entry.content_hash = hash.to_string();
    }
    Ok(Staged { table, partition: entry, warehouse: None })
}
