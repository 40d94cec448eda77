//! Rows on disk, in one file for all buckets that an input fills.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::spill_file::{SpillFile, SpillWriter};
use datafusion::physical_plan::metrics::SpillMetrics;
use futures::{Stream, TryStreamExt};

/// Bytes of short columns that are written at once.
const BUFFER: usize = 64 * 1024;

/// A file that is written from its beginning to its end and read anywhere.
pub(super) struct Spill {
    env: Arc<RuntimeEnv>,
    schema: SchemaRef,
    metrics: SpillMetrics,
    open: Option<Open>,
}

struct Open {
    file: Arc<dyn SpillFile>,
    writer: Box<dyn SpillWriter>,
    length: u64,
}

/// Counts what is written.
struct Counted<'a> {
    writer: &'a mut Box<dyn SpillWriter>,
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
    }
}

/// Where rows lie.
pub(super) struct Place {
    file: Arc<dyn SpillFile>,
    start: u64,
    bytes: u64,
}

impl Spill {
    pub(super) fn new(env: Arc<RuntimeEnv>, schema: SchemaRef, metrics: SpillMetrics) -> Self {
        Self { env, schema, metrics, open: None }
    }

    pub(super) fn write(&mut self, rows: &[RecordBatch]) -> Result<Place> {
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let file = self.env.disk_manager.create_tmp_file("BucketedExec")?;
                let writer = file.open_writer()?;
                self.metrics.spill_file_count.add(1);
                self.open.insert(Open { file, writer, length: 0 })
            }
        };
        let counted = Counted { writer: &mut open.writer, bytes: 0 };
        // Long columns go to the file as they are, short ones together.
        let buffered = BufWriter::with_capacity(BUFFER, counted);
        let mut stream = StreamWriter::try_new(buffered, &self.schema)?;
        for batch in rows {
            stream.write(batch)?;
            self.metrics.spilled_rows.add(batch.num_rows());
        }
        stream.finish()?;
        let buffered = stream.into_inner()?;
        let counted = buffered.into_inner().map_err(|error| error.into_error())?;
        let place =
            Place { file: Arc::clone(&open.file), start: open.length, bytes: counted.bytes };
        self.metrics.spilled_bytes.add(place.bytes as usize);
        open.length += place.bytes;
        Ok(place)
    }

    /// Nothing more is written.
    pub(super) fn finish(self) -> Result<()> {
        match self.open {
            Some(mut open) => Ok(open.writer.flush()?),
            None => Ok(()),
        }
    }
}

/// The rows of places, one after another. What was written there has to be finished.
pub(super) fn read(places: Vec<Place>) -> impl Stream<Item = Result<RecordBatch>> + Send + use<> {
    let rows = places.into_iter().map(|place| place.rows().map(futures::stream::iter));
    futures::stream::iter(rows).try_flatten()
}

impl Place {
    /// Each batch has memory of its own, by which others count it.
    fn rows(&self) -> Result<impl Iterator<Item = Result<RecordBatch>> + use<>> {
        let path =
            self.file.path().ok_or_else(|| exec_datafusion_err!("spill files have to be local"))?;
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.start))?;
        let rows = StreamReader::try_new_buffered(file.take(self.bytes), None)?;
        Ok(rows.map(|batch| Ok(batch?)))
    }
}
