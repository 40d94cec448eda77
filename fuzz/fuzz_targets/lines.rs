//! Any bytes as the lines of a file: nothing panics, both ways of finding lines agree, every line is
//! a row or has a reason, and a row has a cell for each column that is there or may be missing.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use recctl_raw::cell::Cell;
use recctl_raw::lines::Lines;
use recctl_raw::{ColumnType, Field, Timezone, csv, json, log};

fn fields(some_missing: bool) -> Vec<Field> {
    let fields = ColumnType::ALL.iter().enumerate();
    let field = |(at, (name, kind)): (usize, &(&str, ColumnType))| Field {
        name: name.to_string(),
        kind: *kind,
        nullable: some_missing || at % 2 == 0,
    };
    fields.map(field).collect()
}

/// Values between commas as the entries of a log.
static LOG: LazyLock<log::Pattern> = LazyLock::new(|| {
    let fields = fields(false);
    let groups = fields.iter().map(|field| format!("(?<{}>[^,]*)", field.name));
    log::Pattern::new(&groups.collect::<Vec<_>>().join(","), &fields).unwrap()
});

fn all(mut lines: Lines<'_>) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Ok(Some(line)) = lines.next_line() {
        all.push(line.to_vec());
    }
    all
}

fuzz_target!(|bytes: &[u8]| {
    let lines = all(Lines::Memory(bytes));
    assert_eq!(lines, all(Lines::of(&mut &bytes[..])));
    for fields in [fields(false), fields(true)] {
        let mut rows = 0;
        let mut refused = 0;
        for line in &lines {
            let mut cells = Vec::new();
            match json::parse_line(line, &fields, Timezone::UTC, &mut cells) {
                Ok(()) => {
                    rows += 1;
                    assert_eq!(cells.len(), fields.len());
                    for (field, cell) in fields.iter().zip(&cells) {
                        let is_there = !matches!(cell, Cell::Missing | Cell::Null);
                        assert!(is_there || field.nullable);
                    }
                }
                Err(reason) => {
                    refused += 1;
                    assert!(!reason.is_empty());
                }
            }
        }
        assert_eq!(rows + refused, lines.len());
        let mut pattern = LOG.clone();
        for line in &lines {
            let _ = log::is_directive(line);
            let mut cells = Vec::new();
            match pattern.parse_line(line, &fields, Timezone::UTC, &mut cells) {
                Ok(()) => assert_eq!(cells.len(), fields.len()),
                Err(reason) => assert!(!reason.is_empty()),
            }
        }
        let Some((header, records)) = lines.split_first() else { continue };
        let Ok(layout) = csv::Layout::from_header(header, b',', &fields) else { continue };
        for record in records {
            let _ = csv::is_open(record, b',');
            match layout.parse_record(record, b',', &fields, Timezone::UTC) {
                Ok(cells) => assert_eq!(cells.len(), fields.len()),
                Err(reason) => assert!(!reason.is_empty()),
            }
        }
    }
});
