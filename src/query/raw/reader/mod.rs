//! Reads the files of a source, one after another, into record batches.

mod records;

use std::io::{BufReader, Read};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Builder, RecordBatch, StringBuilder};
use datafusion::arrow::datatypes::SchemaRef;
use flate2::bufread::MultiGzDecoder;
use recctl_raw::Field;
use recctl_raw::cell::{Cell, CellBuilder};
use recctl_raw::lines::Lines;
use recctl_raw::{gzip, log};

use super::tally::{Refused, Tally};
use super::{FILE_COLUMN, LINE_COLUMN, ROW_COLUMN};
use crate::pipeline::source::Source;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Rows in a batch.
const BATCH_ROWS: usize = 8_192;
const BUFFER_BYTES: usize = 256 << 10;
/// Larger files are streamed: one that is inflated whole takes memory that no pool knows of.
const MOST_STORED_BYTES: u64 = 16 << 20;
const MOST_INFLATED_BYTES: usize = 64 << 20;

/// One file of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFile {
    /// Path in its store.
    pub location: object_store::path::Path,
    /// Path as people know it.
    pub shown: String,
    /// Bytes, as stored.
    pub bytes: u64,
    /// Number of the file among the files of the interval, by path.
    pub ordinal: usize,
}

/// Turns the bytes of files into batches of the projected columns.
pub struct Parser {
    source: Arc<Source>,
    fields: Vec<Field>,
    /// Positions in `source.columns`, or one of the three meta columns.
    projection: Vec<Projected>,
    schema: SchemaRef,
    tally: Arc<Tally>,
    builders: Vec<Builder>,
    rows: usize,
    /// A file as it is stored, and inflated: room that the next file takes over.
    stored: Vec<u8>,
    inflated: Vec<u8>,
    /// The pattern of a log, once a file was read with it.
    pattern: Option<log::Pattern>,
    /// Whether the file's rows count: see [`Tally::begin`].
    counts: bool,
    /// Whether anybody still takes rows.
    wanted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Projected {
    Column(usize),
    File,
    Line,
    Row,
}

enum Builder {
    Cell(usize, CellBuilder),
    File(StringBuilder),
    Line(Int64Builder),
    Row(Int64Builder),
}

impl Parser {
    /// A parser for the columns of `schema`, which are columns of the source or meta columns.
    pub fn new(source: Arc<Source>, schema: SchemaRef, tally: Arc<Tally>) -> Self {
        let projection = schema
            .fields()
            .iter()
            .filter_map(|field| match field.name().as_str() {
                FILE_COLUMN => Some(Projected::File),
                LINE_COLUMN => Some(Projected::Line),
                ROW_COLUMN => Some(Projected::Row),
                name => source
                    .columns
                    .iter()
                    .position(|column| column.name == name)
                    .map(Projected::Column),
            })
            .collect();
        let fields = source
            .columns
            .iter()
            .map(|column| Field {
                name: column.name.clone(),
                kind: column.kind,
                nullable: column.nullable,
            })
            .collect();
        let mut parser = Self {
            source,
            fields,
            projection,
            schema,
            tally,
            builders: Vec::new(),
            rows: 0,
            stored: Vec::new(),
            inflated: Vec::new(),
            pattern: None,
            counts: true,
            wanted: true,
        };
        parser.builders = parser.new_builders(&[]);
        parser
    }

    /// Builders with room for the text that the columns had in the last batch: what they double
    /// beyond that would be held as long as the batch is.
    fn new_builders(&self, text: &[usize]) -> Vec<Builder> {
        let room = |at: usize| text.get(at).map_or(BATCH_ROWS * 16, |bytes| bytes + bytes / 16);
        self.projection
            .iter()
            .enumerate()
            .map(|(at, projected)| match projected {
                Projected::Column(index) => Builder::Cell(
                    *index,
                    CellBuilder::new(self.fields[*index].kind, BATCH_ROWS, room(at)),
                ),
                Projected::File => Builder::File(StringBuilder::new()),
                Projected::Line => Builder::Line(Int64Builder::with_capacity(BATCH_ROWS)),
                Projected::Row => Builder::Row(Int64Builder::with_capacity(BATCH_ROWS)),
            })
            .collect()
    }

    /// Reads a whole file and hands over each batch; `emit` returns false once nobody takes rows any
    /// more, as when a LIMIT is reached. The file is still read to its end then, so that each of its
    /// rows is accounted for; only [`Tally::abandon`] ends it early.
    ///
    /// `bytes` is the file as stored; it is inflated here if its name ends in `.gz`. Errors: kind
    /// `Input` for a file that cannot be read to its end. A row that cannot be read is no error.
    pub fn read_file(
        &mut self,
        file: &RawFile,
        bytes: Box<dyn Read + Send>,
        emit: &mut dyn FnMut(RecordBatch) -> bool,
    ) -> Outcome<()> {
        let source = self.source.name.to_string();
        self.counts = self.tally.begin(&source, file.location.as_ref());
        let outcome = self.read_counted(file, bytes, emit);
        if self.counts {
            if let Err(failure) = &outcome {
                self.tally.fail(failure);
            }
            self.tally.end(&source, file.location.as_ref());
        }
        outcome
    }

    /// Whether anybody still takes rows.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    fn read_counted(
        &mut self,
        file: &RawFile,
        bytes: Box<dyn Read + Send>,
        emit: &mut dyn FnMut(RecordBatch) -> bool,
    ) -> Outcome<()> {
        let mut bytes: Box<dyn Read + Send> = match self.counts {
            true => Box::new(Counted { inner: bytes, tally: Arc::clone(&self.tally) }),
            false => bytes,
        };
        if !file.shown.ends_with(".gz") {
            let mut buffered = BufReader::with_capacity(BUFFER_BYTES, bytes);
            return self.read_lines(file, Lines::of(&mut buffered), emit);
        }
        if file.bytes > MOST_STORED_BYTES {
            return self.read_stream(file, bytes, emit);
        }
        let (mut stored, mut inflated) =
            (std::mem::take(&mut self.stored), std::mem::take(&mut self.inflated));
        stored.clear();
        let outcome = match bytes.read_to_end(&mut stored) {
            Ok(_) if gzip::inflate(&stored, &mut inflated, MOST_INFLATED_BYTES) => {
                self.read_lines(file, Lines::Memory(&inflated), emit)
            }
            // A stream gives the rows before the damage, if there is any, and tells what it is.
            Ok(_) => self.read_stream(file, &stored[..], emit),
            Err(error) => {
                self.read_stream(file, stored.as_slice().chain(Failing(Some(error))), emit)
            }
        };
        (self.stored, self.inflated) = (stored, inflated);
        outcome
    }

    fn read_stream(
        &mut self,
        file: &RawFile,
        bytes: impl Read,
        emit: &mut dyn FnMut(RecordBatch) -> bool,
    ) -> Outcome<()> {
        let buffered = BufReader::with_capacity(BUFFER_BYTES, bytes);
        let decoder = MultiGzDecoder::new(buffered);
        self.read_lines(file, Lines::of(&mut BufReader::with_capacity(BUFFER_BYTES, decoder)), emit)
    }

    /// Hands over the last rows.
    pub fn finish(&mut self, emit: &mut dyn FnMut(RecordBatch) -> bool) -> Outcome<()> {
        self.flush(emit)
    }

    /// Lets progress be seen while a large file is read, without a lock a row. Whether to go on.
    fn hand_over_counts(&self, counts: &mut (u64, u64)) -> bool {
        if counts.0 < BATCH_ROWS as u64 {
            return true;
        }
        if self.counts {
            self.tally.count(self.source.name.as_str(), counts.0, counts.1);
        }
        *counts = (0, 0);
        !self.tally.is_abandoned() && (self.counts || self.wanted)
    }

    fn refuse(&self, file: &RawFile, line: u64, reason: &str, raw: &[u8]) -> Outcome<()> {
        if !self.counts {
            return Ok(());
        }
        self.tally.refuse(&Refused {
            source: self.source.name.as_str(),
            file: &file.shown,
            line,
            reason,
            rule: None,
            value: None,
            raw,
        })
    }

    fn append(
        &mut self,
        file: &RawFile,
        line: u64,
        cells: &[Cell<'_>],
        emit: &mut dyn FnMut(RecordBatch) -> bool,
    ) -> Outcome<()> {
        if !self.wanted {
            return Ok(());
        }
        let line = i64::try_from(line).unwrap_or(i64::MAX);
        for builder in &mut self.builders {
            match builder {
                Builder::Cell(index, builder) => builder.append(&cells[*index]),
                Builder::File(builder) => builder.append_value(&file.shown),
                Builder::Line(builder) => builder.append_value(line),
                Builder::Row(builder) => builder.append_value(row_number(file.ordinal, line)),
            }
        }
        self.rows += 1;
        if self.rows >= BATCH_ROWS { self.flush(emit) } else { Ok(()) }
    }

    fn flush(&mut self, emit: &mut dyn FnMut(RecordBatch) -> bool) -> Outcome<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let text: Vec<usize> = self
            .builders
            .iter()
            .map(|builder| match builder {
                Builder::Cell(_, builder) => builder.text_bytes(),
                Builder::File(_) | Builder::Line(_) | Builder::Row(_) => 0,
            })
            .collect();
        let arrays: Vec<ArrayRef> = self
            .builders
            .iter_mut()
            .map(|builder| match builder {
                Builder::Cell(_, builder) => builder.finish(),
                Builder::File(builder) => Arc::new(builder.finish()) as ArrayRef,
                Builder::Line(builder) | Builder::Row(builder) => Arc::new(builder.finish()),
            })
            .collect();
        let options =
            datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .map_err(|error| {
            Failure::new(FailureKind::Internal, format!("cannot make a batch: {error}"))
        })?;
        // `finish` drops the builders' room; new ones are made with it.
        self.builders = self.new_builders(&text);
        self.wanted = emit(batch);
        Ok(())
    }
}

/// A number that orders all rows of an interval by file, then line.
fn row_number(ordinal: usize, line: i64) -> i64 {
    (i64::try_from(ordinal).unwrap_or(0) << 40) | line
}

/// Fails where a read failed before.
struct Failing(Option<std::io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Counts the bytes that pass.
struct Counted {
    inner: Box<dyn Read + Send>,
    tally: Arc<Tally>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.tally.count_bytes(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::pipeline::interval::Partition;
    use crate::pipeline::name::Name;
    use crate::pipeline::schema::{Column, ColumnType};
    use crate::pipeline::source::{Format, PathTemplate, Timezone};

    fn read(name: &str, format: Format, bytes: Vec<u8>) -> (Vec<String>, u64, u64, Vec<String>) {
        let column = |name: &str, kind| Column {
            name: name.to_owned(),
            kind,
            nullable: false,
            tags: Vec::new(),
        };
        let source = Arc::new(Source {
            name: Name::new("s").unwrap(),
            path: PathTemplate::new("x").unwrap(),
            format,
            columns: vec![column("a", ColumnType::String), column("n", ColumnType::Int)],
            timezone: Timezone::UTC,
            max_malformed_ratio: 1.0,
        });
        let schema = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Utf8, false),
            Field::new(LINE_COLUMN, DataType::Int64, false),
        ]));
        let folder = tempfile::tempdir().unwrap();
        let tally = Tally::new("t", Partition::Whole, folder.path());
        let file = RawFile { location: name.into(), shown: name.to_owned(), bytes: 0, ordinal: 0 };
        let mut rows = Vec::new();
        let mut emit = |batch: RecordBatch| {
            let text = datafusion::arrow::util::pretty::pretty_format_batches(&[batch]).unwrap();
            rows.extend(
                text.to_string().lines().skip(3).filter(|l| l.starts_with('|')).map(str::to_owned),
            );
            true
        };
        let mut parser = Parser::new(source, schema, Arc::clone(&tally));
        parser.read_file(&file, Box::new(std::io::Cursor::new(bytes)), &mut emit).unwrap();
        parser.finish(&mut emit).unwrap();
        let finished = tally.finish().unwrap();
        let counts = tally.by_source()["s"];
        assert_eq!(counts.malformed, finished.rows);
        (rows, counts.read, counts.malformed, finished.examples)
    }

    #[test]
    fn reads_gzip_members_one_after_another() {
        let mut bytes = Vec::new();
        for line in
            ["{\"a\":\"x\",\"n\":1}\n\n{\"a\":\"y\"", ",\"n\":2}\r\n{\"a\":\"z\",\"n\":\"3\"}"]
        {
            let mut encoder =
                flate2::write::GzEncoder::new(&mut bytes, flate2::Compression::fast());
            encoder.write_all(line.as_bytes()).unwrap();
            encoder.finish().unwrap();
        }
        let (rows, read, malformed, examples) = read("f.json.gz", Format::Json, bytes);
        assert_eq!(rows, ["| x | 1     |", "| y | 3     |"]);
        assert_eq!((read, malformed), (3, 1));
        assert_eq!(
            examples,
            ["f.json.gz:4: wrong type: column `n` expected int, found string \"3\""]
        );
    }

    #[test]
    fn a_stray_quote_costs_one_row() {
        let mut text = "n,a\n1,\"two\nlines\"\n2,\"stray\n".to_owned();
        for n in 3..200 {
            text.push_str(&format!("{n},x\n"));
        }
        let format = Format::Csv { delimiter: b',' };
        let (rows, read, malformed, examples) = read("f.csv", format, text.into_bytes());
        assert_eq!((read, malformed, rows.len()), (199, 1, 198 + 1));
        assert_eq!(examples, ["f.csv:4: bad quotes: a quoted field is never closed"]);
        assert!(rows.last().unwrap().contains("201"), "{:?}", rows.last());
    }

    #[test]
    fn reads_logs_by_their_pattern() {
        let text = "#Version: 1.0\n#Fields: n a\n1 x\n\n# 2 y\n3 -\n4 z\r\n5 z z\n";
        let format = Format::Log { pattern: r"(?<n>\d+) (?<a>\S+)".to_owned() };
        let (rows, read, malformed, examples) = read("f.log", format, text.into());
        assert_eq!(rows, ["| x | 3     |", "| z | 7     |"]);
        assert_eq!((read, malformed), (5, 3));
        assert_eq!(
            examples,
            [
                "f.log:5: no match: the line is not as the pattern says",
                "f.log:6: missing: column `a` is empty",
                "f.log:8: no match: the line is not as the pattern says",
            ]
        );
    }

    #[test]
    fn a_cut_off_archive_is_an_error() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"{\"a\":\"x\",\"n\":1}\n").unwrap();
        let mut bytes = encoder.finish().unwrap();
        bytes.truncate(bytes.len() - 6);
        let failure = std::panic::catch_unwind(|| read("f.json.gz", Format::Json, bytes));
        assert!(failure.is_err());
    }
}
