//! Writes the result of a query as the files of one partition, and accounts for every row.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{BooleanArray, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::parquet::errors::ParquetError;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, execute_stream_partitioned,
};
use futures::StreamExt;
use object_store::ObjectStore;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::checks::{Scan, Seen};
use super::content_hash::ContentHash;
use super::fate::{Fate, check_day, fate_at, fates};
use super::part_file::PartFile;
use super::raw::tally::{Refused, Tally};
use super::raw::{FILE_COLUMN, LINE_COLUMN, ROW_COLUMN};
use super::session::failure_of;
use super::upload::{self, Upload};
use crate::pipeline::interval::Partition;
use crate::pipeline::step::{FATE_COLUMN, PARTITION_COLUMN};
use crate::ports::FileEntry;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Where and how a result is written.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The store of the lake.
    pub store: Arc<dyn ObjectStore>,
    /// Folder of the lake, without a slash at its end.
    pub folder: String,
    /// The partition: for a day, `dt` must be that day in every row, and is not in the files.
    pub partition: Partition,
}

/// What was written.
#[derive(Debug, Default)]
pub struct Written {
    /// The files.
    pub files: Vec<FileEntry>,
    /// Rows kept.
    pub kept: u64,
    /// Rows that the query says are duplicates.
    pub duplicates: u64,
    /// Rows that the query leaves out, by reason.
    pub filtered: BTreeMap<String, u64>,
    /// Rows that the query returned.
    pub returned: u64,
    /// Rows that the query or a check refuses; they are in the quarantine of the tally.
    pub refused: u64,
    /// What the checks saw of the rows.
    pub seen: Seen,
    /// Whether the query said what becomes of each row.
    pub has_fates: bool,
    /// Hash of the rows kept, `dt` included.
    pub hash: ContentHash,
}

/// The columns of the files that a result makes: all but fates, meta columns and `dt`.
pub fn stored_schema(result: &Schema, partition: Partition) -> SchemaRef {
    let fields: Vec<_> = result
        .fields()
        .iter()
        .filter(|field| is_stored(field, partition))
        .map(|field| {
            // What a query can prove about NULL differs between engines and versions; files say
            // that every column may be NULL, as the tables of catalogs and warehouses do.
            Arc::new(Field::new(field.name(), field.data_type().clone(), true))
        })
        .collect();
    Arc::new(Schema::new(fields))
}

fn is_stored(field: &Field, partition: Partition) -> bool {
    let name = field.name().as_str();
    let is_meta = [FATE_COLUMN, FILE_COLUMN, LINE_COLUMN, ROW_COLUMN].contains(&name);
    let is_day = name == PARTITION_COLUMN && partition != Partition::Whole;
    !is_meta && !is_day
}

/// Runs a plan and writes its rows, one file for each of the plan's partitions that has rows.
///
/// A column `_fate` says what becomes of a row: `kept` (or NULL), `duplicate`, `filtered: <why>`
/// or `quarantined: <why>`. Errors: `Quality` if a row's `dt` is not the partition's day, `Usage`
/// for an unknown fate.
pub async fn write(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    destination: Destination,
    tally: Arc<Tally>,
    scan: &Scan,
) -> Outcome<Written> {
    let has_fates = plan.schema().column_with_name(FATE_COLUMN).is_some();
    let partitions = plan.output_partitioning().partition_count();
    let streams = execute_stream_partitioned(plan, context)
        .map_err(|error| failure_of(error, "run the query"))?;
    let mut tasks = JoinSet::new();
    let aborts = TaskTracker::new();
    for (number, stream) in streams.into_iter().enumerate() {
        let path = format!("{}/part-{number:04}.parquet", destination.folder);
        let writer = PartWriter::new(
            path,
            destination.clone(),
            &stream.schema(),
            Arc::clone(&tally),
            scan.clone(),
            &aborts,
        );
        tasks.spawn(writer.run(stream));
    }
    let mut written = Written { has_fates, seen: scan.begin(), ..Written::default() };
    let mut first_failure: Option<Failure> = None;
    for _ in 0..partitions {
        let part = match tasks.join_next().await {
            Some(Ok(part)) => part,
            Some(Err(error)) => {
                Err(Failure::new(FailureKind::Internal, format!("a writer panicked: {error}")))
            }
            None => break,
        };
        match part {
            Ok(part) => written.add(part),
            Err(failure) => {
                // One partition's failure ends the others, whose errors then only say so.
                tasks.abort_all();
                first_failure.get_or_insert(failure);
                break;
            }
        }
    }
    if let Some(failure) = first_failure {
        while tasks.join_next().await.is_some() {}
        aborts.close();
        aborts.wait().await;
        return Err(failure);
    }
    written.files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(written)
}

impl Written {
    fn add(&mut self, part: Written) {
        self.files.extend(part.files);
        self.kept += part.kept;
        self.duplicates += part.duplicates;
        self.returned += part.returned;
        self.refused += part.refused;
        self.seen.add(part.seen);
        self.hash.merge(&part.hash);
        for (reason, rows) in part.filtered {
            *self.filtered.entry(reason).or_default() += rows;
        }
    }

    /// Rows that the query leaves out.
    pub fn filtered_rows(&self) -> u64 {
        self.filtered.values().sum()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

struct PartWriter {
    path: String,
    destination: Destination,
    stored: SchemaRef,
    columns: Vec<usize>,
    fate: Option<usize>,
    day: Option<usize>,
    file: Option<usize>,
    line: Option<usize>,
    tally: Arc<Tally>,
    scan: Scan,
    aborts: TaskTracker,
    part_file: Option<PartFile>,
    written: Written,
}

impl PartWriter {
    fn new(
        path: String,
        destination: Destination,
        schema: &Schema,
        tally: Arc<Tally>,
        scan: Scan,
        aborts: &TaskTracker,
    ) -> Self {
        let position = |name: &str| schema.column_with_name(name).map(|(index, _)| index);
        let partition = destination.partition;
        let columns = schema
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, field)| is_stored(field, partition))
            .map(|(index, _)| index)
            .collect();
        Self {
            path,
            stored: stored_schema(schema, partition),
            columns,
            fate: position(FATE_COLUMN),
            day: partition.date().and_then(|_| position(PARTITION_COLUMN)),
            file: position(FILE_COLUMN),
            line: position(LINE_COLUMN),
            destination,
            tally,
            aborts: aborts.clone(),
            part_file: None,
            written: Written { seen: scan.begin(), ..Written::default() },
            scan,
        }
    }

    async fn run(mut self, mut stream: SendableRecordBatchStream) -> Outcome<Written> {
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| failure_of(error, "run the query"))?;
            self.written.returned += batch.num_rows() as u64;
            let kept = self.split(batch)?;
            let kept = self.check(kept)?;
            if kept.num_rows() == 0 {
                continue;
            }
            if let (Some(date), Some(day)) = (self.destination.partition.date(), self.day) {
                check_day(&kept, day, date)?;
            }
            let mut hashed = self.columns.clone();
            hashed.extend(self.day);
            let failed = |e: datafusion::arrow::error::ArrowError| {
                Failure::new(FailureKind::Internal, format!("cannot hash rows: {e}"))
            };
            self.written.hash.add(&kept.project(&hashed).map_err(failed)?).map_err(failed)?;
            let columns =
                self.columns.iter().map(|index| Arc::clone(kept.column(*index))).collect();
            let stored = RecordBatch::try_new(Arc::clone(&self.stored), columns).map_err(failed)?;
            self.written.kept += stored.num_rows() as u64;
            let store = &self.destination.store;
            let file = self.part_file.get_or_insert_with(|| {
                let target = Upload::new(Arc::clone(store), &self.path, &self.aborts);
                PartFile::new(target, Arc::clone(&self.stored))
            });
            file.write(stored).await.map_err(|error| cannot_write(&self.path, &error))?;
        }
        if let Some(file) = self.part_file.take() {
            let (path, rows) = (self.path.clone(), self.written.kept);
            let bytes = file.close().await.map_err(|error| cannot_write(&self.path, &error))?;
            self.written.files.push(FileEntry { path, bytes, rows });
        }
        Ok(self.written)
    }

    /// Counts the fates of a batch and returns the rows that are kept.
    fn split(&mut self, batch: RecordBatch) -> Outcome<RecordBatch> {
        let Some(fate) = self.fate else { return Ok(batch) };
        let fates = fates(&batch, fate)?;
        let mut keep = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let fate = fate_at(&fates, row)?;
            keep.push(fate == Fate::Kept);
            match fate {
                Fate::Kept => {}
                Fate::Duplicate => self.written.duplicates += 1,
                Fate::Filtered(why) => match self.written.filtered.get_mut(why) {
                    Some(rows) => *rows += 1,
                    None => {
                        self.written.filtered.insert(why.to_owned(), 1);
                    }
                },
                Fate::Quarantined(why) => self.refuse(&batch, row, why, None)?,
            }
        }
        if keep.iter().all(|kept| *kept) {
            return Ok(batch);
        }
        filter_record_batch(&batch, &BooleanArray::from(keep)).map_err(|error| {
            Failure::new(FailureKind::Internal, format!("cannot split rows by fate: {error}"))
        })
    }

    /// Judges the rows that the query keeps, and returns those that stay.
    fn check(&mut self, batch: RecordBatch) -> Outcome<RecordBatch> {
        let (kept, aside) = self.scan.judge(batch.clone(), &mut self.written.seen)?;
        for offender in aside {
            let condition = self.scan.condition(offender.check);
            let (rule, offence) = (condition.name.clone(), condition.offence.clone());
            self.refuse(&batch, offender.row, &offence, Some((&rule, &offender.value)))?;
        }
        Ok(kept)
    }

    /// Keeps a row that the query or a check refuses aside, as JSON, with its origin if the query
    /// has it.
    fn refuse(
        &mut self,
        batch: &RecordBatch,
        row: usize,
        why: &str,
        broken: Option<(&str, &str)>,
    ) -> Outcome<()> {
        self.written.refused += 1;
        let one = batch.slice(row, 1).project(&self.columns).and_then(|one| {
            let mut writer = datafusion::arrow::json::LineDelimitedWriter::new(Vec::new());
            writer.write(&one)?;
            writer.finish()?;
            Ok(writer.into_inner())
        });
        let raw = one.map_err(|error| {
            Failure::new(FailureKind::Internal, format!("cannot keep a refused row: {error}"))
        })?;
        let file = self.file.and_then(|index| {
            let column = batch.column(index).as_any().downcast_ref::<StringArray>()?;
            Some(column.value(row).to_owned())
        });
        let line = self.line.and_then(|index| {
            let column = batch.column(index).as_any().downcast_ref::<Int64Array>()?;
            u64::try_from(column.value(row)).ok()
        });
        self.tally.refuse(&Refused {
            source: "",
            file: file.as_deref().unwrap_or_default(),
            line: line.unwrap_or_default(),
            reason: why,
            rule: broken.map(|(rule, _)| rule),
            value: broken.map(|(_, value)| value),
            raw: raw.strip_suffix(b"\n").unwrap_or(&raw),
        })
    }
}

fn cannot_write(path: &str, error: &ParquetError) -> Failure {
    if let Some(failure) = upload::inner_failure(error) {
        return failure;
    }
    Failure::new(FailureKind::Transient, format!("cannot write `{path}`: {error}"))
}
