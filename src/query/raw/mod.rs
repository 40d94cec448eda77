//! Raw sources as tables: dirty files in, typed rows out, and nothing lost in between.

pub mod reader;
pub mod tally;

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::StreamExt;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt};
use recctl_raw::cell;

use self::reader::{Parser, RawFile};
use self::tally::Tally;
use crate::pipeline::source::Source;
use crate::query::store_error;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// The file that a row is from.
pub const FILE_COLUMN: &str = "_file";
/// The line that a row begins on, from 1.
pub const LINE_COLUMN: &str = "_line";
/// A number that orders all rows of an interval by file, then line: the tie-breaker that makes
/// "the first of several" the same row on every run.
pub const ROW_COLUMN: &str = "_row";

/// The columns that SQL sees of a source: those that it declares, then the meta columns.
pub fn source_schema(source: &Source) -> SchemaRef {
    let declared = source
        .columns
        .iter()
        .map(|column| Field::new(&column.name, cell::arrow_type(column.kind), column.nullable));
    let meta = [
        Field::new(FILE_COLUMN, DataType::Utf8, false),
        Field::new(LINE_COLUMN, DataType::Int64, false),
        Field::new(ROW_COLUMN, DataType::Int64, false),
    ];
    Arc::new(Schema::new(declared.chain(meta).collect::<Vec<_>>()))
}

/// The files of one interval of a source as a table.
///
/// Only projected columns are built; all declared columns are checked. Files are spread over the
/// session's partitions by size and read one after another within each, so memory is bounded by
/// a batch and a line per partition.
#[derive(Debug)]
pub struct RawTable {
    source: Arc<Source>,
    schema: SchemaRef,
    store: Arc<dyn ObjectStore>,
    files: Vec<RawFile>,
    tally: Arc<Tally>,
}

impl RawTable {
    /// A table over files of `store`.
    pub fn new(
        source: Arc<Source>,
        store: Arc<dyn ObjectStore>,
        files: Vec<RawFile>,
        tally: Arc<Tally>,
    ) -> Self {
        let schema = source_schema(&source);
        Self { source, schema, store, files, tally }
    }
}

#[async_trait]
impl TableProvider for RawTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        let bytes: u64 = self.files.iter().map(|file| file.bytes).sum();
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.total_byte_size = Precision::Inexact(usize::try_from(bytes).unwrap_or(0));
        Some(statistics)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        let groups = spread(&self.files, state.config().target_partitions());
        let partitions = groups
            .into_iter()
            .map(|files| {
                Arc::new(RawPartition {
                    source: Arc::clone(&self.source),
                    schema: Arc::clone(&schema),
                    store: Arc::clone(&self.store),
                    files,
                    tally: Arc::clone(&self.tally),
                }) as Arc<dyn PartitionStream>
            })
            .collect();
        Ok(Arc::new(StreamingTableExec::try_new(schema, partitions, None, [], false, limit)?))
    }
}

/// Spreads files over at most `groups` groups, the largest first, each to the group that has least.
fn spread(files: &[RawFile], groups: usize) -> Vec<Vec<RawFile>> {
    let mut by_size: Vec<&RawFile> = files.iter().collect();
    by_size.sort_by_key(|file| (std::cmp::Reverse(file.bytes), file.ordinal));
    let mut spread: Vec<(u64, Vec<RawFile>)> =
        vec![(0, Vec::new()); groups.clamp(1, files.len().max(1))];
    for file in by_size {
        if let Some(least) = spread.iter_mut().min_by_key(|(bytes, _)| *bytes) {
            least.0 += file.bytes.max(1);
            least.1.push(file.clone());
        }
    }
    spread.into_iter().map(|(_, files)| files).collect()
}

struct RawPartition {
    source: Arc<Source>,
    schema: SchemaRef,
    store: Arc<dyn ObjectStore>,
    files: Vec<RawFile>,
    tally: Arc<Tally>,
}

impl fmt::Debug for RawPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawPartition({}, {} files)", self.source.name, self.files.len())
    }
}

impl PartitionStream for RawPartition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _ctx: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), 2);
        let sender = stream.tx();
        let (source, schema) = (Arc::clone(&self.source), Arc::clone(&self.schema));
        let (store, files, tally) =
            (Arc::clone(&self.store), self.files.clone(), Arc::clone(&self.tally));
        // Inflating and parsing take the processor for long, so they get a thread of their own. It
        // ends when the stream is dropped, since sending fails then.
        let runtime = tokio::runtime::Handle::current();
        stream.spawn_blocking(move || {
            let mut parser = Parser::new(source, schema, tally);
            let mut emit = |batch| sender.blocking_send(Ok(batch)).is_ok();
            for file in &files {
                // What is not begun here is read by `read_rest`.
                if !parser.is_wanted() {
                    return Ok(());
                }
                let bytes = open(&runtime, &store, file).map_err(external)?;
                parser.read_file(file, bytes, &mut emit).map_err(external)?;
            }
            parser.finish(&mut emit).map_err(external)
        });
        stream.build()
    }
}

/// Reads what a query did not: files that a plan that stopped early never began. Every row of a
/// source is accounted for, whether the query wanted it or not.
pub async fn read_rest(
    source: &Arc<Source>,
    store: &Arc<dyn ObjectStore>,
    files: &[RawFile],
    tally: &Arc<Tally>,
) -> Outcome<()> {
    tally.all_ended().await?;
    let (source, store, files, tally) =
        (Arc::clone(source), Arc::clone(store), files.to_vec(), Arc::clone(tally));
    let runtime = tokio::runtime::Handle::current();
    let read = tokio::task::spawn_blocking(move || {
        let mut parser =
            Parser::new(Arc::clone(&source), Arc::new(Schema::empty()), Arc::clone(&tally));
        for file in &files {
            if !tally.is_begun(source.name.as_str(), file.location.as_ref()) {
                let bytes = open(&runtime, &store, file)?;
                parser.read_file(file, bytes, &mut |_| false)?;
            }
        }
        Ok(())
    });
    match read.await {
        Ok(outcome) => outcome,
        Err(error) => {
            Err(Failure::new(FailureKind::Internal, format!("a reader panicked: {error}")))
        }
    }
}

/// Wraps a failure for its way through DataFusion; [`super::session::failure_of`] takes it out.
pub(crate) fn external(failure: Failure) -> DataFusionError {
    DataFusionError::External(Box::new(failure))
}

fn open(
    runtime: &tokio::runtime::Handle,
    store: &Arc<dyn ObjectStore>,
    file: &RawFile,
) -> Outcome<Box<dyn Read + Send>> {
    let failed = |error: object_store::Error| {
        let kind = match store_error::kind(&error) {
            // It was listed, and is gone now.
            FailureKind::NotFound => FailureKind::Input,
            kind => kind,
        };
        let words = store_error::words(&error);
        Failure::new(kind, format!("cannot open `{}`: {words}", file.shown))
    };
    let result = runtime.block_on(store.get(&file.location)).map_err(failed)?;
    match result.payload {
        GetResultPayload::File(file, _) => Ok(Box::new(file)),
        GetResultPayload::Stream(stream) => {
            let bytes = stream.map(|chunk| chunk.map_err(std::io::Error::other));
            let reader = tokio_util::io::StreamReader::new(bytes);
            Ok(Box::new(tokio_util::io::SyncIoBridge::new_with_handle(reader, runtime.clone())))
        }
    }
}

/// Takes a failure out of an error that went through [`external`].
pub(crate) fn inner_failure(
    error: &(dyn std::error::Error + Send + Sync + 'static),
) -> Option<Failure> {
    error.downcast_ref::<Failure>().cloned()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use datafusion::prelude::{SessionConfig, SessionContext};
    use object_store::memory::InMemory;

    use super::*;
    use crate::pipeline::interval::Partition;
    use crate::pipeline::name::Name;
    use crate::pipeline::schema::{Column, ColumnType};
    use crate::pipeline::source::{Format, PathTemplate, Timezone};

    /// Runs a query over three files of 30,000 rows with a malformed row at the end of each, and
    /// returns rows out, rows read and rows quarantined.
    async fn run(sql: &str) -> (usize, u64, u64) {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let mut files = Vec::new();
        for ordinal in 0..3 {
            let mut text = String::new();
            for row in 0..30_000 {
                writeln!(text, "{{\"id\":{row}}}").unwrap();
            }
            text.push_str("{\"id\":");
            let location = object_store::path::Path::from(format!("part-{ordinal}.json"));
            let bytes = text.len() as u64;
            store.put(&location, text.into()).await.unwrap();
            files.push(RawFile { shown: location.to_string(), location, bytes, ordinal });
        }
        let source = Arc::new(Source {
            name: Name::new("s").unwrap(),
            path: PathTemplate::new("x/").unwrap(),
            format: Format::Json,
            columns: vec![Column {
                name: "id".to_owned(),
                kind: ColumnType::Int,
                nullable: false,
                tags: Vec::new(),
            }],
            timezone: Timezone::UTC,
            max_malformed_ratio: 1.0,
        });
        let folder = tempfile::tempdir().unwrap();
        let tally = Tally::new("t", Partition::Whole, folder.path());
        let table = RawTable::new(
            Arc::clone(&source),
            Arc::clone(&store),
            files.clone(),
            Arc::clone(&tally),
        );
        let context =
            SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        context.register_table("s", Arc::new(table)).unwrap();
        let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
        read_rest(&source, &store, &files, &tally).await.unwrap();
        let rows = batches.iter().map(datafusion::arrow::array::RecordBatch::num_rows).sum();
        (rows, tally.rows(), tally.finish().unwrap().rows)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_row_counts_once_however_the_query_reads() {
        for (sql, rows) in [
            ("SELECT id FROM s", 90_000),
            ("SELECT id FROM s LIMIT 1", 1),
            ("SELECT id FROM s WHERE false", 0),
            ("SELECT id FROM s UNION ALL SELECT id FROM s", 180_000),
            ("SELECT a.id FROM s a JOIN s b ON a.id = b.id AND a._row = b._row", 90_000),
            ("SELECT s.id FROM s JOIN (SELECT 1 AS id WHERE false) e ON e.id = s.id", 0),
        ] {
            assert_eq!(run(sql).await, (rows, 90_003, 3), "{sql}");
        }
    }
}
