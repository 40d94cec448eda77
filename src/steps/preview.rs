//! Looks at real data without publishing anything: what a query reads on a day, and what it makes
//! of it.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;

use super::context::Services;
use super::sql::Listed;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::step::{Read, ReadFrom, SqlStep};
use crate::ports::PartitionEntry;
use crate::query::published::PublishedTable;
use crate::query::raw::tally::Tally;
use crate::query::raw::{self, RawTable};
use crate::query::session::{QuerySession, failure_of};
use crate::query::statement::QueryTree;
use crate::query::{analysis, catalog_schema};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// What `$run_id` is where nothing is run.
const RUN: &str = "preview";

/// What a query reads on a day, in a session.
pub struct RealInputs {
    session: QuerySession,
    tally: Arc<Tally>,
    listed: Vec<Listed>,
    scratch: PathBuf,
}

/// Rows, and what was read for them.
#[derive(Debug)]
pub struct Seen {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// Raw rows that could not be read, if all raw rows were.
    pub malformed: Option<Malformed>,
}

/// Raw rows that could not be read.
#[derive(Debug)]
pub struct Malformed {
    /// Rows read, these among them.
    pub read: u64,
    /// Rows that could not be.
    pub rows: u64,
    /// The first few, as `file:line: reason`.
    pub examples: Vec<String>,
}

impl RealInputs {
    /// Opens the tables and sources that are read for a day.
    ///
    /// Errors: `NotFound` for a table that was not published for the day, `Input` where a source has
    /// no file.
    pub async fn open(
        services: &Services,
        pipeline: &Pipeline,
        reads: &[Read],
        date: LogicalDate,
    ) -> Outcome<Self> {
        let session = services.query.session()?;
        let scratch = services.scratch.join(format!("{RUN}-{}", std::process::id()));
        let tally = Tally::new(RUN, Partition::Day(date), &scratch);
        let mut inputs = Self { session, tally, listed: Vec::new(), scratch };
        for read in reads {
            match read.from {
                ReadFrom::Source => inputs.source(services, pipeline, read, date).await?,
                ReadFrom::Table => inputs.table(services, read, date).await?,
            }
        }
        Ok(inputs)
    }

    async fn source(
        &mut self,
        services: &Services,
        pipeline: &Pipeline,
        read: &Read,
        date: LogicalDate,
    ) -> Outcome<()> {
        let Some(source) = pipeline.sources.get(&read.name).cloned().map(Arc::new) else {
            let message = format!("unknown source `{}`", read.name);
            return Err(Failure::new(FailureKind::NotFound, message));
        };
        let partitions: Vec<Partition> = match source.path.is_dated() {
            true => date.window(read.days).map(Partition::Day).collect(),
            false => vec![Partition::Whole],
        };
        let lake = services.query.lake();
        let mut files = Vec::new();
        let mut store = Arc::clone(&lake.store);
        let mut shown = String::new();
        for partition in partitions {
            let listing = lake.list(&source, partition).await?;
            store = Arc::clone(&listing.store);
            shown = listing.shown;
            files.extend(listing.files);
        }
        if files.is_empty() {
            let message = format!("source `{}` has no file in `{shown}`", read.name);
            let failure = Failure::new(FailureKind::Input, message);
            return Err(failure.with_hint("name a day that has input with --date"));
        }
        for (ordinal, file) in files.iter_mut().enumerate() {
            file.ordinal = ordinal;
        }
        self.listed.push((Arc::clone(&source), Arc::clone(&store), files.clone()));
        let table = RawTable::new(source, store, files, Arc::clone(&self.tally));
        self.register(read.name.as_str(), Arc::new(table))
    }

    async fn table(&mut self, services: &Services, read: &Read, date: LogicalDate) -> Outcome<()> {
        let name = read.name.as_str();
        let missing = || {
            let message = format!("table `{name}` is not published for {date}");
            let hint = format!("make it with `recctl run … --date {date} --select {name}`");
            Failure::new(FailureKind::NotFound, message).with_hint(hint)
        };
        let Some(table) = services.catalog.table(name).await? else { return Err(missing()) };
        let days: Vec<LogicalDate> = date.window(read.days).collect();
        let mut entries: Vec<PartitionEntry> = services.catalog.partitions(name).await?;
        entries.retain(|entry| entry.date.is_none_or(|day| days.contains(&day)));
        let has_day = entries.iter().any(|entry| entry.date.is_none_or(|day| day == date));
        if !has_day {
            return Err(missing());
        }
        let schema = catalog_schema::from_entries(&table.columns)?;
        self.register(name, Arc::new(PublishedTable::new(schema, table.by_day, entries)))
    }

    fn register(
        &self,
        name: &str,
        table: Arc<dyn datafusion::catalog::TableProvider>,
    ) -> Outcome<()> {
        let registered = self.session.context.register_table(name, table);
        registered.map(|_| ()).map_err(|error| failure_of(error, &format!("open `{name}`")))
    }

    /// Runs a step's query over them, or one of its CTEs, for the first `limit` rows.
    pub async fn query(
        &self,
        services: &Services,
        pipeline: &Pipeline,
        sql: &SqlStep,
        date: LogicalDate,
        cte: Option<&str>,
        limit: usize,
    ) -> Outcome<Seen> {
        let doing = format!("run `{}`", sql.file);
        let query = QueryTree::parse(&sql.text).map_err(|error| failure_of(error, &doing))?;
        let query = match cte {
            None => query,
            Some(name) => match query.selecting(name).map_err(|e| failure_of(e, &doing))? {
                Some(query) => query,
                None => {
                    let message = format!("`{}` has no CTE `{name}`", sql.file);
                    let failure = Failure::new(FailureKind::Usage, message);
                    return Err(failure.with_hint(query.instead_of(name)));
                }
            },
        };
        let partition = if sql.partitioned { Partition::Day(date) } else { Partition::Whole };
        let parameters = analysis::parameters(partition, date, RUN, &pipeline.variables);
        self.rows(services, query, parameters, limit, &doing).await
    }

    /// Runs any query over them.
    pub async fn sql(&self, services: &Services, text: &str, limit: usize) -> Outcome<Seen> {
        let doing = "read the input";
        let query = QueryTree::parse(text).map_err(|error| failure_of(error, doing))?;
        self.rows(services, query, std::collections::HashMap::new(), limit, doing).await
    }

    async fn rows(
        &self,
        services: &Services,
        query: QueryTree,
        parameters: std::collections::HashMap<String, datafusion::common::ScalarValue>,
        limit: usize,
        doing: &str,
    ) -> Outcome<Seen> {
        let context = self.session.context.clone();
        let doing = doing.to_owned();
        let work = async move {
            let failed = |error| failure_of(error, &doing);
            let (plan, state) = query.plan(&context, parameters, None).await.map_err(failed)?;
            let planner = state.query_planner();
            let physical = planner.create_physical_plan(&plan, &state).await.map_err(failed)?;
            let schema = physical.schema();
            let mut stream = execute_stream(physical, state.task_ctx()).map_err(failed)?;
            let (mut batches, mut room) = (Vec::new(), limit);
            while room > 0
                && let Some(batch) = stream.next().await
            {
                let batch = batch.map_err(failed)?;
                let taken = batch.slice(0, batch.num_rows().min(room));
                room -= taken.num_rows();
                batches.push(taken);
            }
            Ok(Seen { schema, batches, malformed: None })
        };
        services.query.compute(work).await
    }

    /// Reads the raw files to their ends, and counts what could not be read.
    pub async fn count_malformed(&self, services: &Services) -> Outcome<Malformed> {
        let (listed, tally) = (self.listed.clone(), Arc::clone(&self.tally));
        let counted = services.query.compute(async move {
            for (source, store, files) in &listed {
                raw::read_rest(source, store, files, &tally).await?;
            }
            Ok(())
        });
        counted.await?;
        let refused = self.tally.finish()?;
        Ok(Malformed { read: self.tally.rows(), rows: refused.rows, examples: refused.examples })
    }
}

impl Drop for RealInputs {
    fn drop(&mut self) {
        self.tally.abandon();
        // It is there only if thousands of rows were refused.
        let _absent = std::fs::remove_dir_all(&self.scratch);
    }
}
