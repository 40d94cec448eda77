//! Rows on disk, in one file for all buckets of an operator.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
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

/// A file that is written from its beginning to its end and read anywhere.
pub(super) struct Spill {
    env: Arc<RuntimeEnv>,
    pub(super) schema: SchemaRef,
    metrics: SpillMetrics,
    open: Option<Open>,
}

struct Open {
    file: Arc<dyn SpillFile>,
    writer: Box<dyn SpillWriter>,
    length: u64,
}

/// Where rows lie in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
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
        let mut stream = StreamWriter::try_new(Vec::new(), &self.schema)?;
        for batch in rows {
            stream.write(batch)?;
            self.metrics.spilled_rows.add(batch.num_rows());
        }
        stream.finish()?;
        let bytes = stream.into_inner()?;
        open.writer.write_all(&bytes)?;
        self.metrics.spilled_bytes.add(bytes.len());
        let place = Place { start: open.length, bytes: bytes.len() as u64 };
        open.length += place.bytes;
        Ok(place)
    }

    /// The rows of places, one after another.
    pub(super) fn read(
        &mut self,
        places: Vec<Place>,
    ) -> Result<impl Stream<Item = Result<RecordBatch>> + Send + use<>> {
        let file = match &mut self.open {
            Some(open) if !places.is_empty() => {
                open.writer.flush()?;
                Some(Arc::clone(&open.file))
            }
            _ => None,
        };
        let rows = places.into_iter().map(move |place| match &file {
            Some(file) => read(file.as_ref(), place).map(futures::stream::iter),
            None => Err(exec_datafusion_err!("nothing was spilled")),
        });
        Ok(futures::stream::iter(rows).try_flatten())
    }
}

/// Each batch has memory of its own, by which others count it.
fn read(
    file: &dyn SpillFile,
    place: Place,
) -> Result<impl Iterator<Item = Result<RecordBatch>> + use<>> {
    let path = file.path().ok_or_else(|| exec_datafusion_err!("spill files have to be local"))?;
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(place.start))?;
    let rows = StreamReader::try_new_buffered(file.take(place.bytes), None)?;
    Ok(rows.map(|batch| Ok(batch?)))
}
