//! The reader against `serde_json` on seeded dirt: every line is a row or refused, nothing else.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Int64Type, Schema};
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recctl::pipeline::interval::Partition;
use recctl::pipeline::name::Name;
use recctl::pipeline::schema::{Column, ColumnType};
use recctl::pipeline::source::{Format, PathTemplate, Source, Timezone};
use recctl::query::raw::reader::{Parser, RawFile};
use recctl::query::raw::source_schema;
use recctl::query::raw::tally::Tally;
use recctl_raw::cell::parse_instant;

pub fn source() -> Source {
    let column = |name: &str, kind, nullable| Column {
        name: name.to_owned(),
        kind,
        nullable,
        tags: Vec::new(),
    };
    Source {
        name: Name::new("events").unwrap(),
        path: PathTemplate::new("raw/").unwrap(),
        format: Format::Json,
        columns: vec![
            column("id", ColumnType::String, false),
            column("ts", ColumnType::Timestamp, false),
            column("n", ColumnType::Int, true),
            column("price", ColumnType::Double, true),
            column("ok", ColumnType::Boolean, true),
            column("item", ColumnType::String, true),
        ],
        timezone: Timezone::UTC,
        max_malformed_ratio: 1.0,
    }
}

/// What the reader made of a file.
struct Outcome {
    /// By line: the row as text.
    rows: BTreeMap<i64, String>,
    /// By line: what was kept aside.
    refused: BTreeMap<i64, Vec<u8>>,
    read: u64,
    malformed: u64,
}

fn read(name: &str, bytes: Vec<u8>, columns: &[&str]) -> Outcome {
    let source = Arc::new(source());
    let whole = source_schema(&source);
    let fields: Vec<_> =
        columns.iter().map(|name| whole.field_with_name(name).unwrap().clone()).collect();
    let schema = Arc::new(Schema::new(fields));
    let scratch = tempfile::tempdir().unwrap();
    let tally = Tally::new("t", Partition::Whole, scratch.path());
    let file = RawFile { location: name.into(), shown: name.to_owned(), bytes: 1, ordinal: 0 };
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut emit = |batch| {
        batches.push(batch);
        true
    };
    let mut parser = Parser::new(source, schema, Arc::clone(&tally));
    parser.read_file(&file, Box::new(Cursor::new(bytes)), &mut emit).unwrap();
    parser.finish(&mut emit).unwrap();
    let mut rows = BTreeMap::new();
    for batch in &batches {
        let mut text = Vec::new();
        let mut writer = datafusion::arrow::json::LineDelimitedWriter::new(&mut text);
        writer.write(batch).unwrap();
        let text = String::from_utf8(text).unwrap();
        let line = batch.column_by_name("_line").unwrap().as_primitive::<Int64Type>();
        for (row, text) in text.lines().enumerate() {
            assert!(rows.insert(line.value(row), text.to_owned()).is_none(), "a line twice");
        }
    }
    let finished = tally.finish().unwrap();
    let refused = finished.file.as_deref().map(quarantined).unwrap_or_default();
    assert_eq!(finished.rows, refused.len() as u64);
    let counts = tally.by_source()["events"];
    Outcome { rows, refused, read: counts.read, malformed: counts.malformed }
}

fn quarantined(file: &Path) -> BTreeMap<i64, Vec<u8>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).unwrap());
    let mut refused = BTreeMap::new();
    for batch in reader.unwrap().build().unwrap() {
        let batch = batch.unwrap();
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let line = column("line").as_primitive::<Int64Type>();
        assert_eq!(column("raw").data_type(), &DataType::Utf8);
        let (raw, bytes) =
            (column("raw").as_string::<i32>(), column("raw_bytes").as_binary::<i32>());
        let reason = column("reason").as_string::<i32>();
        for row in 0..batch.num_rows() {
            assert!(!reason.value(row).is_empty());
            let exact = match bytes.is_valid(row) {
                true => bytes.value(row).to_vec(),
                false => raw.value(row).as_bytes().to_vec(),
            };
            assert!(refused.insert(line.value(row), exact).is_none(), "a line refused twice");
        }
    }
    refused
}

/// Lines as people's systems write them, and as accidents leave them.
fn dirt(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let any = |rng: &mut ChaCha8Rng, of: &[&str]| of[rng.random_range(0..of.len())].to_owned();
    let value = |rng: &mut ChaCha8Rng, good: &[&str]| {
        let others = ["null", "true", "3", "-0.5", "1e3", "\"\"", "\"x\"", "[1,{}]", "{\"a\":[]}"];
        let others = [&others[..], &["18446744073709551615", "9223372036854775807", "01", "nan"]];
        if rng.random_bool(0.93) { any(rng, good) } else { any(rng, &others.concat()) }
    };
    let ids = ["\"a\"", "\"é\\u00e9\"", "\"a\\\"b\"", "\"\\ud83d\\ude00\"", "\"{\\\"x\\\":1}\""];
    let instants = [
        "\"2026-03-01T00:00:00Z\"",
        "\"2026-03-01 23:59:59.123+02:00\"",
        "\"2026-03-01T00:00:00.5-0530\"",
    ];
    let mut fields = vec![
        format!("{}:{}", any(rng, &["\"id\"", "\"\\u0069d\""]), value(rng, &ids)),
        format!("\"ts\":{}", value(rng, &instants)),
    ];
    for (name, good) in [
        ("n", &["0", "-7", "12", "null"][..]),
        ("price", &["0.5", "3", "-1e-3", "null"]),
        ("ok", &["true", "false", "null"]),
        ("item", &["\"i1\"", "\"\\n\"", "null"]),
        ("extra", &["{\"a\":{\"b\":[1,2,\"}\"]}}", "[]", "\"x\""]),
    ] {
        if rng.random_bool(0.8) {
            fields.push(format!("\"{name}\":{}", value(rng, good)));
        }
    }
    if rng.random_bool(0.03) {
        fields.swap_remove(0);
    }
    let last = fields.len() - 1;
    fields.swap(rng.random_range(0..=last), last);
    let (separator, end) = (any(rng, &[",", ", ", " ,\t"]), any(rng, &["", "", " ", "\r"]));
    let mut line = format!("{{{}}}{end}", fields.join(&separator)).into_bytes();
    match rng.random_range(0..40) {
        0 => line.truncate(rng.random_range(0..line.len())),
        1 => line.insert(rng.random_range(0..line.len()), (rng.next_u32() & 0xff) as u8),
        2 => {
            line.remove(rng.random_range(0..line.len()));
        }
        3 => line = b"<html><body>502</body></html>".to_vec(),
        4 => line = b"  \t".to_vec(),
        5 => line.extend(line.clone()),
        _ => {}
    }
    // A line is one line.
    line.retain(|byte| *byte != b'\n');
    line
}

/// Whether a line is a row, by the text of RFC 8259 and the declared types.
fn is_row(line: &[u8]) -> bool {
    let Ok(serde_json::Value::Object(row)) = serde_json::from_slice(line) else { return false };
    source().columns.iter().all(|column| {
        let value = row.get(&column.name).unwrap_or(&serde_json::Value::Null);
        match column.kind {
            _ if value.is_null() => column.nullable,
            ColumnType::Timestamp => value
                .as_str()
                .is_some_and(|text| parse_instant(text.as_bytes(), Timezone::UTC).is_some()),
            ColumnType::Int => value.is_i64(),
            ColumnType::Double => value.is_number(),
            ColumnType::Boolean => value.is_boolean(),
            _ => value.is_string(),
        }
    })
}

const ALL: [&str; 7] = ["id", "ts", "n", "price", "ok", "item", "_line"];

#[test]
fn every_line_is_a_row_or_refused() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..20 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let lines: Vec<Vec<u8>> = (0..300).map(|_| dirt(&mut rng)).collect();
        let mut text = lines.join(&b'\n');
        text.push(b'\n');
        let outcome = read("part.json", text.clone(), &ALL);
        let mut expected = 0;
        for (number, line) in (1..).zip(&lines) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let shown = String::from_utf8_lossy(line);
            let (row, refused) = (outcome.rows.get(&number), outcome.refused.get(&number));
            if line.iter().all(u8::is_ascii_whitespace) {
                assert!(row.is_none() && refused.is_none(), "blank: {seed}:{number}");
                continue;
            }
            expected += 1;
            match (row, refused) {
                (Some(row), None) => {
                    assert!(is_row(line), "{seed}:{number} is no row: {shown}");
                    assert_same(row, line);
                    good += 1;
                }
                (None, Some(raw)) => {
                    assert!(!is_row(line), "{seed}:{number} is a row: {shown}");
                    assert_eq!(raw, line, "{seed}:{number} is kept as it is");
                    bad += 1;
                }
                both => panic!("{seed}:{number} is {both:?}: {shown}"),
            }
        }
        assert_eq!(outcome.read, expected, "{seed}");
        assert_eq!(outcome.malformed, outcome.refused.len() as u64, "{seed}");
        assert_eq!(outcome.read, (outcome.rows.len() + outcome.refused.len()) as u64, "{seed}");

        // Who asks for less is told the same.
        for columns in [&["_line"][..], &["n", "_line"], &["_line", "item", "id"]] {
            let narrow = read("part.json", text.clone(), columns);
            assert_eq!(narrow.refused, outcome.refused, "{seed} {columns:?}");
            assert!(narrow.rows.keys().eq(outcome.rows.keys()), "{seed} {columns:?}");
        }

        // Nor do members of an archive show, wherever they are cut.
        let mut archive = Vec::new();
        let cut = rng.random_range(0..text.len());
        for part in [&text[..cut], &text[cut..]] {
            let mut member =
                flate2::write::GzEncoder::new(&mut archive, flate2::Compression::fast());
            member.write_all(part).unwrap();
            member.finish().unwrap();
        }
        let packed = read("part.json.gz", archive, &ALL);
        assert_eq!(packed.rows, outcome.rows, "{seed}");
        assert_eq!(packed.refused, outcome.refused, "{seed}");
    }
    assert!(good > 1_000 && bad > 500, "{good} rows and {bad} refused: both kinds are tried");
}

/// A number that no double holds is JSON all the same: it costs the row only where it is asked for.
/// (`serde_json::Value` refuses it everywhere, so the dirt above has none.)
#[test]
fn a_number_beyond_doubles_counts_where_it_is_declared() {
    let good = r#""id":"a","ts":"2026-03-01T00:00:00Z""#;
    let text = format!("{{{good},\"price\":1e999}}\n{{{good},\"extra\":1e999}}\n");
    let outcome = read("part.json", text.into_bytes(), &ALL);
    assert!(outcome.refused.keys().eq(&[1]) && outcome.rows.keys().eq(&[2]));
}

/// The row that was read holds the values of the line.
#[track_caller]
fn assert_same(row: &str, line: &[u8]) {
    let read: serde_json::Value = serde_json::from_str(row).unwrap();
    let written: serde_json::Value = serde_json::from_slice(line).unwrap();
    for name in ["id", "n", "ok", "item"] {
        assert_eq!(read[name], written[name], "{name} of {row}");
    }
    assert_eq!(read["price"].as_f64(), written["price"].as_f64(), "price of {row}");
}
