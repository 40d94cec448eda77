//! `sql`: runs a query and stages its result as one partition.

mod accounts;
mod quarantine;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;

pub use self::accounts::account;
use self::accounts::{fates, reasons, refuse_too_many, returned};
use super::TableRead;
use super::context::{Staged, StepContext};
use crate::pipeline::check::{CheckRule, OnFail};
use crate::pipeline::interval::Partition;
use crate::pipeline::name::Name;
use crate::pipeline::source::Source;
use crate::pipeline::step::SqlStep;
use crate::ports::{PartitionEntry, TableEntry};
use crate::query::checks::references::{self, Keys, KeysByCheck, MOST_KEYS};
use crate::query::checks::{self, Scan, Subject};
use crate::query::published::PublishedTable;
use crate::query::raw::reader::RawFile;
use crate::query::raw::tally::Tally;
use crate::query::raw::{self, RawTable};
use crate::query::session::{QueryEngine, QuerySession, failure_of};
use crate::query::write::{Destination, Written, stored_schema, write};
use crate::query::{analysis, catalog_schema};
use crate::run::event::Progress;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{RowCounts, RowsOf, StepReport};

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
    let mut inputs = BTreeMap::new();
    let mut known = BTreeMap::new();
    for read in tables {
        let (table, entries) = context.entries(read).await?;
        let rows = entries.iter().map(|entry| entry.rows).sum::<u64>();
        if sql.reads.iter().any(|of_query| of_query.name == read.table) {
            inputs.insert(read.table.to_string(), rows);
        }
        let schema = catalog_schema::from_entries(&table.columns)?;
        let table = Arc::new(PublishedTable::new(schema, table.by_day, entries));
        register(&session, read.table.as_str(), Arc::clone(&table) as Arc<dyn TableProvider>)?;
        known.insert(read.table.clone(), Known { table, rows });
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
        known.iter().map(|(name, known)| (name.clone(), known.rows)).collect(),
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
                let given = Given { name, sql, partition, sources, tables: &known };
                settle(context, &given, &tally, made).await
            };
            settled.await
        }
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(mut report) => {
            report.rows_in = inputs.values().sum::<u64>() + tally.rows();
            let by_source = tally.by_source();
            inputs.extend(by_source.into_iter().map(|(source, rows)| (source, rows.read)));
            report.inputs = inputs;
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

/// A table that a query or its checks read.
struct Known {
    table: Arc<PublishedTable>,
    rows: u64,
}

/// What a table is made from.
struct Given<'a> {
    name: &'a Name,
    sql: &'a SqlStep,
    partition: Partition,
    sources: &'a [SourceRead],
    tables: &'a BTreeMap<Name, Known>,
}

struct Result {
    written: Written,
    scan: Scan,
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
    rows: BTreeMap<Name, u64>,
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
    let keys = keys(&session, &sql, &physical.schema(), &rows).await?;
    let scan = Scan::plan(&session.context.state(), &physical.schema(), &sql, &keys)?;
    let written = write(physical, session.context.task_ctx(), destination, tally, &scan).await?;
    Ok(Result { written, scan, table, peak_memory: session.peak_memory() })
}

/// The keys of the tables that references look into, as far as they are few: rows are then judged
/// while they are written, and the others by a join after that.
///
/// Errors: `Exhausted` if there are too many for rows to be kept aside by them.
async fn keys(
    session: &QuerySession,
    sql: &SqlStep,
    result: &Schema,
    rows: &BTreeMap<Name, u64>,
) -> Outcome<KeysByCheck> {
    let mut all = KeysByCheck::new();
    for (position, check) in sql.checks.iter().enumerate() {
        let CheckRule::References { columns, table, referenced } = &check.rule else { continue };
        let types: Vec<DataType> = columns
            .iter()
            .filter_map(|column| result.field_with_name(column).ok())
            .map(|field| field.data_type().clone())
            .collect();
        let are_few = rows.get(table).is_none_or(|rows| *rows <= MOST_KEYS);
        let read = match are_few {
            true => Keys::read(&session.context, table.as_str(), referenced, &types).await,
            false => Err(DataFusionError::ResourcesExhausted(format!(
                "`{table}` has more than {MOST_KEYS} rows"
            ))),
        };
        match read {
            Ok(keys) => all.push((position, Arc::new(keys))),
            Err(error) if check.on_fail == OnFail::Stop && is_exhausted(&error) => {}
            Err(error) => {
                let failure = failure_of(error, &format!("hold the keys of `{table}`"));
                return Err(match failure.kind {
                    FailureKind::Exhausted => failure.with_hint(
                        "rows are kept aside by keys that fit into memory; with `on_fail: stop` they need not",
                    ),
                    _ => failure,
                });
            }
        }
    }
    Ok(all)
}

fn is_exhausted(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

/// Accounts for the rows, runs the checks, and stages table and quarantine.
async fn settle(
    context: &StepContext,
    given: &Given<'_>,
    tally: &Tally,
    made: Result,
) -> Outcome<StepReport> {
    let Given { name, sql, partition, sources, tables } = *given;
    let Result { written, scan, table, peak_memory } = made;
    let refused = tally.finish()?;
    refuse_too_many(sources, tally, &refused)?;
    let mut report = StepReport {
        rows_out: written.kept,
        bytes_out: written.bytes(),
        peak_memory: Some(peak_memory),
        content_hash: Some(written.hash.to_string()),
        reasons: reasons(&written, &refused),
        ..StepReport::default()
    };
    report.counts = Some(match sources {
        [] => returned(name, &written)?,
        _ => {
            returned(name, &written)?;
            let counts = RowCounts {
                of: RowsOf::Raw,
                read: tally.rows(),
                quarantined: refused.rows,
                ..fates(&written)
            };
            account(name, sql, counts, written.has_fates)?
        }
    });
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
    for (position, check) in sql.checks.iter().enumerate() {
        if let CheckRule::References { table, .. } = &check.rule
            && let Some(known) = tables.get(table)
        {
            let table = Arc::clone(&known.table) as Arc<dyn TableProvider>;
            register(&session, &references::name_of(position), table)?;
        }
    }
    let staged = Arc::new(PublishedTable::new(schema, table.by_day, vec![entry.clone()]));
    let before =
        context.made.figures_before(name, partition, partition.date().unwrap_or(context.date));
    let (sql_checked, checked, date) = (sql.clone(), name.to_string(), context.date);
    let judgement = query
        .compute(async move {
            let subject = Subject {
                name: &checked,
                sql: &sql_checked,
                partition,
                date,
                before: &before,
                rows: written.kept,
            };
            let judged = checks::judge(&session.context, &subject, &scan, written.seen, staged);
            judged.await
        })
        .await?;
    judgement.settle(name.as_str())?;
    if !judgement.figures.is_empty() {
        let date = partition.date().unwrap_or(context.date);
        context.made.keep_figures(name, partition, date, judgement.figures);
    }
    report.checks = judgement.outcomes;
    report.checks_passed = judgement.passed;
    context.made.stage(Staged { table, partition: entry, warehouse: sql.warehouse.clone() });
    let key = format!("{name}/{partition}");
    let catalog = context.services.catalog.as_ref();
    let may_refuse = !sources.is_empty() || sql.refuses_rows();
    if may_refuse || context.made.quarantined(catalog).await?.contains(&key) {
        let staged = quarantine::stage(context, name, partition, refused).await?;
        context.made.stage(staged);
    }
    Ok(report)
}

fn register(session: &QuerySession, name: &str, table: Arc<dyn TableProvider>) -> Outcome<()> {
    let registered = session.context.register_table(name, table);
    registered.map(|_| ()).map_err(|error| failure_of(error, &format!("register `{name}`")))
}
