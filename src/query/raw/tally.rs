//! Counts what a query reads of its sources, and keeps what cannot be read.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{
    BinaryBuilder, Date32Builder, Int64Builder, RecordBatch, StringBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;
use tokio::sync::Notify;

use crate::pipeline::interval::{LogicalDate, Partition};
use crate::run::failure::{Failure, FailureKind, Outcome, io_failure};

/// Rows that are held in memory before they go to the quarantine's file.
const ROWS_IN_MEMORY: usize = 4_096;

/// What the sources of one query gave so far. Shared by all readers of the query.
///
/// Each file counts once, however often the query reads it: the first reader that begins it counts
/// its rows and keeps its malformed ones, later readers do not.
#[derive(Debug)]
pub struct Tally {
    files: Mutex<BTreeMap<(String, String), FileState>>,
    ended: Notify,
    abandoned: AtomicBool,
    failure: Mutex<Option<Failure>>,
    rows: AtomicU64,
    bytes: AtomicU64,
    quarantine: Mutex<Quarantine>,
    malformed: Mutex<BTreeMap<String, SourceTally>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileState {
    Reading,
    Read,
}

/// Rows of one source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceTally {
    /// Rows read.
    pub read: u64,
    /// Rows that were malformed.
    pub malformed: u64,
}

/// A row that is kept aside.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// The source that it is from; empty if not known.
    pub source: &'a str,
    /// The file, relative to the lake.
    pub file: &'a str,
    /// The line, from 1; 0 if not known.
    pub line: u64,
    /// Why.
    pub reason: &'a str,
    /// The rule that it breaks; where there is none, the reason's first words tell the rows apart.
    pub rule: Option<&'a str>,
    /// The value that breaks the rule.
    pub value: Option<&'a str>,
    /// The row as it was read.
    pub raw: &'a [u8],
}

impl Tally {
    /// Begins a tally for a step's partition. Refused rows beyond a few thousand go to a file in
    /// `folder`.
    pub fn new(step: &str, partition: Partition, folder: &Path) -> Arc<Self> {
        Arc::new(Self {
            files: Mutex::new(BTreeMap::new()),
            ended: Notify::new(),
            abandoned: AtomicBool::new(false),
            failure: Mutex::new(None),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            quarantine: Mutex::new(Quarantine::new(step, partition, folder)),
            malformed: Mutex::new(BTreeMap::new()),
        })
    }

    /// Begins a file; whether the caller is the one whose reading counts.
    pub fn begin(&self, source: &str, file: &str) -> bool {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (source.to_owned(), file.to_owned());
        match files.entry(key) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(FileState::Reading);
                true
            }
        }
    }

    /// Whether a file was begun.
    pub fn is_begun(&self, source: &str, file: &str) -> bool {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.contains_key(&(source.to_owned(), file.to_owned()))
    }

    /// Ends a file that was begun.
    pub fn end(&self, source: &str, file: &str) {
        let key = (source.to_owned(), file.to_owned());
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(key, FileState::Read);
        drop(files);
        self.ended.notify_waiters();
    }

    /// Keeps the first failure of a reader: nobody listens to a reader whose rows are not wanted.
    pub fn fail(&self, failure: &Failure) {
        let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| failure.clone());
    }

    /// Waits until every file that was begun is read to its end. Errors: the first failure of a
    /// reader.
    pub async fn all_ended(&self) -> Outcome<()> {
        loop {
            let ended = self.ended.notified();
            let mut ended = std::pin::pin!(ended);
            // From here on no notification is missed.
            ended.as_mut().enable();
            let reading = {
                let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
                files.values().any(|state| *state == FileState::Reading)
            };
            if !reading {
                let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                return failure.clone().map_or(Ok(()), Err);
            }
            ended.await;
        }
    }

    /// Tells readers that nobody needs the counts any more, so that they may stop.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Whether nobody needs the counts any more.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Rows read so far, of all sources.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Bytes of files read so far, as stored.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Rows by source, once all is read.
    pub fn by_source(&self) -> BTreeMap<String, SourceTally> {
        self.malformed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds rows that were read of a source.
    pub fn count(&self, source: &str, read: u64, malformed: u64) {
        self.rows.fetch_add(read, Ordering::Relaxed);
        let mut tallies = self.malformed.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = tallies.entry(source.to_owned()).or_default();
        tally.read += read;
        tally.malformed += malformed;
    }

    /// Adds bytes that were read.
    pub fn count_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Keeps a refused row aside.
    pub fn refuse(&self, row: &Refused<'_>) -> Outcome<()> {
        self.quarantine.lock().unwrap_or_else(PoisonError::into_inner).push(row)
    }

    /// Ends the quarantine.
    pub fn finish(&self) -> Outcome<FinishedQuarantine> {
        self.quarantine.lock().unwrap_or_else(PoisonError::into_inner).finish()
    }
}

/// What was refused in a query.
#[derive(Debug)]
pub struct FinishedQuarantine {
    /// Number of rows.
    pub rows: u64,
    /// Rows by the reason's first words.
    pub reasons: BTreeMap<String, u64>,
    /// A Parquet file with the rows; `None` if there are none.
    pub file: Option<PathBuf>,
    /// The first few, as `file:line: reason`.
    pub examples: Vec<String>,
}

/// Columns of the quarantine table.
pub fn quarantine_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("step", DataType::Utf8, false),
        Field::new("dt", DataType::Date32, true),
        Field::new("source", DataType::Utf8, false),
        Field::new("file", DataType::Utf8, false),
        Field::new("line", DataType::Int64, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("raw", DataType::Utf8, false),
        // Set only where `raw` could not take the bytes as they are.
        Field::new("raw_bytes", DataType::Binary, true),
        // Not there in what an older recctl wrote.
        Field::new("rule", DataType::Utf8, true),
        Field::new("value", DataType::Utf8, true),
    ]))
}

#[derive(Debug)]
struct Quarantine {
    step: String,
    day: Option<i32>,
    path: PathBuf,
    pending: Vec<PendingRow>,
    writer: Option<ArrowWriter<File>>,
    rows: u64,
    reasons: BTreeMap<String, u64>,
    examples: Vec<String>,
}

#[derive(Debug)]
struct PendingRow {
    source: String,
    file: String,
    line: u64,
    reason: String,
    rule: String,
    value: Option<String>,
    raw: Vec<u8>,
}

impl Quarantine {
    fn new(step: &str, partition: Partition, folder: &Path) -> Self {
        let day = partition.date().map(LogicalDate::days_since_epoch);
        Self {
            step: step.to_owned(),
            day,
            path: folder.join(format!("quarantine-{step}-{partition}.parquet")),
            pending: Vec::new(),
            writer: None,
            rows: 0,
            reasons: BTreeMap::new(),
            examples: Vec::new(),
        }
    }

    fn push(&mut self, row: &Refused<'_>) -> Outcome<()> {
        self.rows += 1;
        let first_words = || row.reason.split(':').next().unwrap_or(row.reason);
        let class = row.rule.unwrap_or_else(first_words);
        match self.reasons.get_mut(class) {
            Some(count) => *count += 1,
            None => {
                self.reasons.insert(class.to_owned(), 1);
            }
        }
        if self.examples.len() < 3 {
            self.examples.push(format!("{}:{}: {}", row.file, row.line, row.reason));
        }
        self.pending.push(PendingRow {
            source: row.source.to_owned(),
            file: row.file.to_owned(),
            line: row.line,
            reason: row.reason.to_owned(),
            rule: class.to_owned(),
            value: row.value.map(str::to_owned),
            raw: row.raw.to_vec(),
        });
        if self.pending.len() >= ROWS_IN_MEMORY { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Outcome<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(FailureKind::Internal, format!("cannot write the quarantine: {error}"))
        };
        // Files are read in parallel; sorting keeps the table the same from run to run as far as
        // one flush goes, and its hash does not depend on the order at all.
        self.pending.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        let batch = self.batch().map_err(|error| failed(&error))?;
        self.pending.clear();
        if self.writer.is_none() {
            if let Some(folder) = self.path.parent() {
                std::fs::create_dir_all(folder).map_err(|e| io_failure("create", folder, &e))?;
            }
            let file =
                File::create(&self.path).map_err(|e| io_failure("create", &self.path, &e))?;
            let properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::default()))
                .build();
            let writer = ArrowWriter::try_new(file, quarantine_schema(), Some(properties))
                .map_err(|error| failed(&error))?;
            self.writer = Some(writer);
        }
        if let Some(writer) = &mut self.writer {
            writer.write(&batch).map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    fn batch(&self) -> Result<RecordBatch, ArrowError> {
        let rows = self.pending.len();
        let mut step = StringBuilder::new();
        let mut day = Date32Builder::with_capacity(rows);
        let mut source = StringBuilder::new();
        let mut file = StringBuilder::new();
        let mut line = Int64Builder::with_capacity(rows);
        let mut reason = StringBuilder::new();
        let mut raw = StringBuilder::new();
        let mut raw_bytes = BinaryBuilder::new();
        let mut rule = StringBuilder::new();
        let mut value = StringBuilder::new();
        for row in &self.pending {
            step.append_value(&self.step);
            day.append_option(self.day);
            source.append_value(&row.source);
            file.append_value(&row.file);
            line.append_value(i64::try_from(row.line).unwrap_or(i64::MAX));
            reason.append_value(&row.reason);
            let text = String::from_utf8_lossy(&row.raw);
            let is_exact = matches!(text, std::borrow::Cow::Borrowed(_));
            raw.append_value(&text);
            raw_bytes.append_option((!is_exact).then_some(&row.raw));
            rule.append_value(&row.rule);
            value.append_option(row.value.as_deref());
        }
        RecordBatch::try_new(
            quarantine_schema(),
            vec![
                Arc::new(step.finish()),
                Arc::new(day.finish()),
                Arc::new(source.finish()),
                Arc::new(file.finish()),
                Arc::new(line.finish()),
                Arc::new(reason.finish()),
                Arc::new(raw.finish()),
                Arc::new(raw_bytes.finish()),
                Arc::new(rule.finish()),
                Arc::new(value.finish()),
            ],
        )
    }

    fn finish(&mut self) -> Outcome<FinishedQuarantine> {
        self.flush()?;
        let file = match self.writer.take() {
            Some(writer) => {
                writer.close().map_err(|error| {
                    Failure::new(
                        FailureKind::Internal,
                        format!("cannot close the quarantine: {error}"),
                    )
                })?;
                Some(self.path.clone())
            }
            None => None,
        };
        Ok(FinishedQuarantine {
            rows: self.rows,
            reasons: std::mem::take(&mut self.reasons),
            file,
            examples: std::mem::take(&mut self.examples),
        })
    }
}
