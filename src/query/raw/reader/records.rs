//! The records of each format, line by line.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use recctl_raw::cell::Cell;
use recctl_raw::lines::{Broken, Lines};
use recctl_raw::{csv, json, log};

use super::{Parser, RawFile};
use crate::pipeline::source::Format;
use crate::query::store_error;
use crate::run::failure::{Failure, FailureKind, Outcome};

impl Parser {
    pub(super) fn read_lines(
        &mut self,
        file: &RawFile,
        mut lines: Lines<'_>,
        emit: &mut dyn FnMut(RecordBatch) -> bool,
    ) -> Outcome<()> {
        let mut counts = (0, 0);
        let source = Arc::clone(&self.source);
        let outcome = match &source.format {
            Format::Json => self.read_json(file, &mut lines, &mut counts, emit),
            Format::Csv { delimiter } => {
                self.read_csv(file, &mut lines, *delimiter, &mut counts, emit)
            }
            Format::Log { pattern } => self.read_log(file, &mut lines, pattern, &mut counts, emit),
        };
        if self.counts {
            self.tally.count(self.source.name.as_str(), counts.0, counts.1);
        }
        outcome
    }

    fn read_json(
        &mut self,
        file: &RawFile,
        lines: &mut Lines<'_>,
        counts: &mut (u64, u64),
        emit: &mut dyn FnMut(RecordBatch) -> bool,
    ) -> Outcome<()> {
        let timezone = self.source.timezone;
        let fields = self.fields.clone();
        self.read_each(file, lines, counts, emit, |line, cells| {
            json::parse_line(line, &fields, timezone, cells)
        })
    }

    fn read_log(
        &mut self,
        file: &RawFile,
        lines: &mut Lines<'_>,
        pattern: &str,
        counts: &mut (u64, u64),
        emit: &mut dyn FnMut(RecordBatch) -> bool,
    ) -> Outcome<()> {
        let timezone = self.source.timezone;
        let fields = self.fields.clone();
        let mut pattern = match self.pattern.take() {
            Some(pattern) => pattern,
            None => log::Pattern::new(pattern, &fields).map_err(|error| {
                Failure::new(FailureKind::Internal, format!("bad pattern: {error}"))
            })?,
        };
        let outcome = self.read_each(file, lines, counts, emit, |line, cells| {
            pattern.parse_line(line, &fields, timezone, cells)
        });
        self.pattern = Some(pattern);
        outcome
    }

    /// Reads rows of a line each.
    fn read_each(
        &mut self,
        file: &RawFile,
        lines: &mut Lines<'_>,
        counts: &mut (u64, u64),
        emit: &mut dyn FnMut(RecordBatch) -> bool,
        mut parse: impl for<'a> FnMut(&'a [u8], &mut Vec<Cell<'a>>) -> Result<(), String>,
    ) -> Outcome<()> {
        let is_log = matches!(self.source.format, Format::Log { .. });
        let mut room = Vec::new();
        let mut number = 0;
        while let Some(line) = next_line(lines, file, number)? {
            number += 1;
            if line.iter().all(u8::is_ascii_whitespace) || is_log && log::is_directive(line) {
                continue;
            }
            counts.0 += 1;
            let mut cells = room;
            match parse(line, &mut cells) {
                Ok(()) => self.append(file, number, &cells, emit)?,
                Err(reason) => {
                    counts.1 += 1;
                    self.refuse(file, number, &reason, line)?;
                }
            }
            room = emptied(cells);
            if !self.hand_over_counts(counts) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn read_csv(
        &mut self,
        file: &RawFile,
        lines: &mut Lines<'_>,
        delimiter: u8,
        counts: &mut (u64, u64),
        emit: &mut dyn FnMut(RecordBatch) -> bool,
    ) -> Outcome<()> {
        let timezone = self.source.timezone;
        let fields = self.fields.clone();
        let Some(header) = next_line(lines, file, 0)? else {
            let failure = Failure::new(
                FailureKind::Input,
                format!("`{}` is empty: expected a header line", file.shown),
            );
            return Err(failure);
        };
        let layout = csv::Layout::from_header(header, delimiter, &fields).map_err(|what| {
            Failure::new(FailureKind::Input, format!("`{}`: {what}", file.shown))
        })?;
        // Lines that were read ahead for a quoted field that never closed.
        let mut ahead: VecDeque<Vec<u8>> = VecDeque::new();
        let mut record = Vec::new();
        let mut number = 1;
        loop {
            match ahead.pop_front() {
                Some(line) => record = line,
                None => match next_line(lines, file, number)? {
                    Some(line) => {
                        record.clear();
                        record.extend_from_slice(line);
                    }
                    None => return Ok(()),
                },
            }
            number += 1;
            if record.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let first = number;
            let first_length = record.len();
            let mut taken: Vec<Vec<u8>> = Vec::new();
            while csv::is_open(&record, delimiter) && taken.len() < csv::MAX_RECORD_LINES {
                let line = match ahead.pop_front() {
                    Some(line) => line,
                    None => match next_line(lines, file, number)? {
                        Some(line) => line.to_vec(),
                        None => break,
                    },
                };
                record.push(b'\n');
                record.extend_from_slice(&line);
                taken.push(line);
            }
            if !taken.is_empty() && csv::is_open(&record, delimiter) {
                record.truncate(first_length);
                while let Some(line) = taken.pop() {
                    ahead.push_front(line);
                }
            }
            number += taken.len() as u64;
            counts.0 += 1;
            match layout.parse_record(&record, delimiter, &fields, timezone) {
                Ok(cells) => self.append(file, first, &cells, emit)?,
                Err(reason) => {
                    counts.1 += 1;
                    self.refuse(file, first, &reason, &record)?;
                }
            }
            if !self.hand_over_counts(counts) {
                return Ok(());
            }
        }
    }
}

/// The next line without its end; `number` lines were read before.
fn next_line<'l>(
    lines: &'l mut Lines<'_>,
    file: &RawFile,
    number: u64,
) -> Outcome<Option<&'l [u8]>> {
    lines.next_line().map_err(|broken| match broken {
        Broken::TooLong => {
            let text = format!("line {} of `{}` is longer than 16 MiB", number + 1, file.shown);
            Failure::new(FailureKind::Input, text).with_hint("is the file really one row a line?")
        }
        Broken::Stream(error) => {
            if let Some(cause) = store_error::cause(&error) {
                let words = store_error::words(cause);
                let text = format!("cannot read `{}` after line {number}: {words}", file.shown);
                return Failure::new(store_error::kind(cause), text);
            }
            Failure::new(
                FailureKind::Input,
                format!("cannot read `{}` after line {number}: {error}", file.shown),
            )
            .with_hint("the file is damaged or was cut off on its way; deliver it again")
        }
    })
}

/// The room of cells, for those of the next line.
fn emptied(mut cells: Vec<Cell<'_>>) -> Vec<Cell<'static>> {
    cells.clear();
    // There is nothing left to map, and the room is kept since the layout stays the same.
    cells.into_iter().map(|_| Cell::Missing).collect()
}
