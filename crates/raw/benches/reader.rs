//! The reader alone, against what any reader has to do: `cargo bench -p recctl-raw`.
//!
//! The input is a gzipped file of JSON lines in the shape of the sample's click-stream. `inflate` and
//! `find the lines` are the floor; `into columns` is all of it, as a run does it; `serde_json, stream`
//! is the same by the usual parts, a streaming decoder and serde_json into a map.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use recctl_raw::cell::CellBuilder;
use recctl_raw::lines::Lines;
use recctl_raw::{ColumnType, Field, Timezone, gzip, json};

const LINES: usize = 60_000;
const MOST: usize = 64 << 20;

/// Lines whose values look random and are the same each time (splitmix64).
fn file() -> (Vec<u8>, Vec<u8>) {
    let mut state = 20_261_121_u64;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    let mut text = Vec::new();
    for line in 0..LINES {
        let (one, two) = (next(), next());
        let kind = ["view", "view", "view", "search", "add_to_cart", "purchase"][line % 6];
        let price = match kind {
            "purchase" => format!(",\"price\":{}.{:02},\"quantity\":1", one % 200, two % 100),
            _ => String::new(),
        };
        let written = writeln!(
            text,
            "{{\"event_id\":\"{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}\",\"ts\":\"2026-11-20T{:02}:{:02}:{:02}.{:03}Z\",\"event_type\":\"{kind}\",\"visitor_id\":\"{:016x}\",\"user_id\":\"u{:07}\",\"item_id\":\"P{:05}\",\"device\":\"mobile\",\"location\":\"DE\",\"user_agent\":\"ShopApp/7.2.3 (Android 14; SM-S921B)\"{price}}}",
            one >> 32,
            one >> 16 & 0xffff,
            one >> 4 & 0xfff,
            two & 0xfff,
            two >> 16,
            one % 24,
            two % 60,
            (one >> 8) % 60,
            (two >> 8) % 1_000,
            two,
            one % 50_000,
            two % 20_000,
        );
        assert!(written.is_ok());
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let zipped = encoder.write_all(&text).and_then(|()| encoder.finish());
    (text, zipped.unwrap_or_default())
}

fn fields() -> Vec<Field> {
    let field = |name: &str, kind, nullable| Field { name: name.to_owned(), kind, nullable };
    vec![
        field("event_id", ColumnType::String, false),
        field("ts", ColumnType::Timestamp, false),
        field("event_type", ColumnType::String, false),
        field("visitor_id", ColumnType::String, false),
        field("user_id", ColumnType::String, true),
        field("item_id", ColumnType::String, false),
        field("device", ColumnType::String, false),
        field("location", ColumnType::String, false),
        field("user_agent", ColumnType::String, false),
        field("price", ColumnType::Double, true),
        field("quantity", ColumnType::Int, true),
    ]
}

fn into_columns(mut lines: Lines<'_>, fields: &[Field]) -> usize {
    let new = || fields.iter().map(|field| CellBuilder::new(field.kind, 8_192, 8_192 * 24));
    let mut builders: Vec<CellBuilder> = new().collect();
    let (mut rows, mut of_batch) = (0, 0);
    while let Ok(Some(line)) = lines.next_line() {
        let mut cells = Vec::new();
        if json::parse_line(line, fields, Timezone::UTC, &mut cells).is_err() {
            continue;
        }
        for (builder, cell) in builders.iter_mut().zip(&cells) {
            builder.append(cell);
        }
        rows += 1;
        of_batch += 1;
        if of_batch == 8_192 {
            builders.iter_mut().for_each(|builder| drop(black_box(builder.finish())));
            builders = new().collect();
            of_batch = 0;
        }
    }
    rows
}

fn reader(criterion: &mut Criterion) {
    let (text, zipped) = file();
    let fields = fields();
    let mut group = criterion.benchmark_group("reader");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.measurement_time(Duration::from_secs(4)).sample_size(20);
    let mut room = Vec::new();
    group.bench_function("inflate", |bench| {
        bench.iter(|| assert!(gzip::inflate(black_box(&zipped), &mut room, MOST)));
    });
    group.bench_function("inflate, find the lines", |bench| {
        bench.iter(|| {
            assert!(gzip::inflate(black_box(&zipped), &mut room, MOST));
            let mut lines = Lines::Memory(&room);
            let mut rows = 0;
            while let Ok(Some(_)) = lines.next_line() {
                rows += 1;
            }
            assert_eq!(rows, LINES);
        });
    });
    group.bench_function("inflate, into columns", |bench| {
        bench.iter(|| {
            assert!(gzip::inflate(black_box(&zipped), &mut room, MOST));
            assert_eq!(into_columns(Lines::Memory(&room), &fields), LINES);
        });
    });
    group.bench_function("stream, into columns", |bench| {
        bench.iter(|| {
            let decoder = flate2::bufread::MultiGzDecoder::new(black_box(&zipped[..]));
            let mut bytes = BufReader::with_capacity(256 << 10, decoder);
            assert_eq!(into_columns(Lines::of(&mut bytes), &fields), LINES);
        });
    });
    group.bench_function("stream, serde_json into maps", |bench| {
        bench.iter(|| {
            let decoder = flate2::bufread::MultiGzDecoder::new(black_box(&zipped[..]));
            let bytes = BufReader::with_capacity(256 << 10, decoder);
            let mut rows = 0;
            for line in bytes.lines().map_while(Result::ok) {
                let read: Result<serde_json::Map<String, serde_json::Value>, _> =
                    serde_json::from_str(&line);
                rows += usize::from(black_box(read).is_ok());
            }
            assert_eq!(rows, LINES);
        });
    });
    group.finish();
}

criterion_group!(benches, reader);
criterion_main!(benches);
