//! How unit tests of queries ended, for people and for machines.

mod machine;

use std::collections::BTreeMap;

pub use self::machine::{json, junit};
use super::number::{counted, duration};
use super::paint::Paint;
use super::problems::{Look, drawn};
use super::table::{Table, clean, clipped};
use crate::run::failure::Problem;
use crate::run::testing::{CellDiffers, Mismatch, RowShown, RowsDiffer, TestResult, Verdict};

/// Rows of one kind that are shown of a test.
const MOST_ROWS: usize = 20;
/// Columns that a value may take.
const WIDEST: usize = 40;

/// All that a run of tests told.
#[derive(Debug)]
pub struct Told<'a> {
    /// How each ended.
    pub results: &'a [TestResult],
    /// What is wrong with the files.
    pub problems: &'a [Problem],
    /// Tests that were not run since an earlier one ended all.
    pub not_run: usize,
    /// Seconds in all.
    pub seconds: f64,
}

impl Told<'_> {
    fn number(&self, word: &str) -> usize {
        self.results.iter().filter(|result| result.verdict.word() == word).count()
    }

    /// Whether all is well.
    pub fn passed(&self) -> bool {
        self.problems.is_empty() && self.number("passed") == self.results.len()
    }

    /// Whether something does not fit the project, as opposed to rows that are not as expected.
    pub fn broken(&self) -> bool {
        !self.problems.is_empty() || self.number("broken") > 0
    }
}

/// One line a table, then what is not as expected, then the sum.
pub fn human(
    told: &Told<'_>,
    read: &dyn Fn(&str) -> Option<String>,
    look: Look,
    width: usize,
) -> Vec<String> {
    let paint = look.paint;
    let mut lines = by_table(told.results, paint);
    for result in told.results {
        match &result.verdict {
            Verdict::Passed => {}
            Verdict::Failed(mismatches) => {
                lines.push(String::new());
                lines.extend(head(result, paint));
                for mismatch in mismatches {
                    lines.extend(mismatched(mismatch, paint, width));
                }
            }
            Verdict::Broken(problems) => {
                lines.push(String::new());
                lines.extend(head(result, paint));
                lines.extend(problems.iter().flat_map(|problem| drawn(problem, read, look)));
            }
        }
    }
    for problem in told.problems {
        lines.push(String::new());
        lines.extend(drawn(problem, read, look));
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines.push(sum(told, paint));
    lines
}

fn by_table(results: &[TestResult], paint: Paint) -> Vec<String> {
    let mut tables: BTreeMap<&str, Vec<&TestResult>> = BTreeMap::new();
    for result in results {
        tables.entry(&result.table).or_default().push(result);
    }
    let none: [&str; 0] = [];
    let mut table = Table::new(none);
    for (name, results) in tables {
        let number = |word| results.iter().filter(|it| it.verdict.word() == word).count() as u64;
        let (passed, failed, broken) = (number("passed"), number("failed"), number("broken"));
        let mark = if failed + broken > 0 { paint.red("✗") } else { paint.green("✓") };
        let mut counts = vec![counted(results.len() as u64, "test")];
        for (number, word) in [(failed, "failed"), (broken, "do not fit")] {
            if number > 0 {
                counts.push(paint.red(format!("{number} {word}")));
            }
        }
        debug_assert_eq!(passed + failed + broken, results.len() as u64);
        let seconds: f64 = results.iter().map(|result| result.seconds).sum();
        table.push_painted([mark, clean(name), counts.join(", "), paint.dim(duration(seconds))]);
    }
    table.lines()
}

fn head(result: &TestResult, paint: Paint) -> [String; 2] {
    let TestResult { name, file, line, column, table, .. } = result;
    [
        format!("{} {}: {}", paint.red("✗"), paint.bold(clean(table)), clean(name)),
        format!("  {}", paint.dim(format!("{}:{line}:{column}", clean(file)))),
    ]
}

fn mismatched(mismatch: &Mismatch, paint: Paint, width: usize) -> Vec<String> {
    match mismatch {
        Mismatch::Rows(differ) => rows(differ, paint, width),
        Mismatch::Refused { message, hint } => {
            let mut lines = vec![format!("  a run would fail: {}", clean(message))];
            let hint = hint.as_ref().filter(|hint| !hint.starts_with("nothing was published"));
            lines.extend(hint.map(|hint| super::problems::hinted(hint, paint)));
            lines
        }
        Mismatch::NotRefused { expected, actual } => {
            let actual = match actual {
                None => "it would not".to_owned(),
                Some(actual) => format!("it would with: {}", clean(actual)),
            };
            vec![format!("  a run should fail with `{}`, but {actual}", clean(expected))]
        }
    }
}

fn rows(differ: &RowsDiffer, paint: Paint, width: usize) -> Vec<String> {
    let of = differ.cte.as_ref().map(|cte| format!("CTE `{}`: ", clean(cte))).unwrap_or_default();
    let mut lines = vec![format!("  {of}{}", summary(differ))];
    if !differ.cells.is_empty() {
        lines.extend(cells(differ, paint, width));
    }
    for (title, rows) in [
        (paint.red("missing, expected and did not come"), &differ.missing),
        (paint.yellow("extra, came and was not expected"), &differ.extra),
    ] {
        if !rows.is_empty() {
            lines.push(format!("  {title}"));
            lines.extend(whole_rows(differ, rows, paint, width));
        }
    }
    lines
}

/// `2 cells of 1 row differ, 1 row is missing, 3 rows expected, 2 came`.
pub fn summary(differ: &RowsDiffer) -> String {
    let mut parts = Vec::new();
    if !differ.cells.is_empty() {
        let mut numbers: Vec<usize> = differ.cells.iter().map(|cell| cell.row).collect();
        numbers.dedup();
        let verb = if differ.cells.len() == 1 { "differs" } else { "differ" };
        let (cells, rows) = (differ.cells.len() as u64, numbers.len() as u64);
        parts.push(format!("{} of {} {verb}", counted(cells, "cell"), counted(rows, "row")));
    }
    for (rows, word) in [(&differ.missing, "missing"), (&differ.extra, "extra")] {
        if !rows.is_empty() {
            parts.push(format!("{} {word}", counted(rows.len() as u64, "row")));
        }
    }
    if differ.expected_rows != differ.actual_rows {
        parts.push(format!(
            "{} expected, {} came",
            counted(differ.expected_rows as u64, "row"),
            differ.actual_rows
        ));
    }
    parts.join(", ")
}

fn cells(differ: &RowsDiffer, paint: Paint, width: usize) -> Vec<String> {
    let has_key = !differ.key.is_empty();
    let mut headers = vec!["line".to_owned()];
    headers.extend(if has_key { differ.key.clone() } else { vec!["row".to_owned()] });
    headers.extend(["column", "expected", "actual"].map(str::to_owned));
    let mut table = Table::new(headers).indent(4).paint(paint).right(&[0]);
    let mut before = None;
    for cell in differ.cells.iter().take(MOST_ROWS) {
        let CellDiffers { key, row, line, column, expected, actual } = cell;
        // A row is named once.
        let first = before != Some(*row);
        before = Some(*row);
        let mut line_of = vec![if first { line.to_string() } else { String::new() }];
        if has_key {
            line_of.extend(key.iter().map(|part| if first { shown(part) } else { String::new() }));
        } else {
            line_of.push(if first { row.to_string() } else { String::new() });
        }
        line_of.push(clean(column));
        line_of.push(paint.green(shown(expected)));
        line_of.push(paint.red(shown(actual)));
        table.push_painted(line_of);
    }
    let mut lines = table.fitted(width);
    lines.extend(more(differ.cells.len(), "cell"));
    lines
}

fn whole_rows(differ: &RowsDiffer, rows: &[RowShown], paint: Paint, width: usize) -> Vec<String> {
    // Columns that are NULL in all of them tell nothing.
    let telling: Vec<usize> = (0..differ.columns.len())
        .filter(|at| rows.iter().any(|row| row.values.get(*at).is_some_and(Option::is_some)))
        .collect();
    let with_lines = rows.iter().any(|row| row.line.is_some());
    let mut headers: Vec<String> = if with_lines { vec!["line".to_owned()] } else { Vec::new() };
    headers.extend(telling.iter().map(|at| clean(&differ.columns[*at])));
    let mut table = Table::new(headers).indent(4).paint(paint);
    for row in rows.iter().take(MOST_ROWS) {
        let line = row.line.map(|line| line.to_string());
        let values = telling.iter().map(|at| shown(row.values.get(*at).unwrap_or(&None)));
        table.push(line.into_iter().chain(values));
    }
    let mut lines = table.fitted(width);
    lines.extend(more(rows.len(), "row"));
    lines
}

fn more(number: usize, noun: &str) -> Option<String> {
    let hidden = number.checked_sub(MOST_ROWS).filter(|hidden| *hidden > 0)?;
    Some(format!("    … and {} more", counted(hidden as u64, noun)))
}

/// A value in a table: NULL and the empty text are told apart from words.
fn shown(value: &Option<String>) -> String {
    match value.as_deref() {
        None => "NULL".to_owned(),
        Some("") => "''".to_owned(),
        Some(text) => clipped(&clean(text), WIDEST),
    }
}

fn sum(told: &Told<'_>, paint: Paint) -> String {
    let passed = told.number("passed");
    let mut parts = vec![format!("{passed} passed")];
    for (number, words) in [
        (told.number("failed"), "failed"),
        (told.number("broken"), "do not fit their query"),
        (told.not_run, "not run"),
    ] {
        if number > 0 {
            parts.push(format!("{number} {words}"));
        }
    }
    if !told.problems.is_empty() {
        parts.push(format!("{} in test files", counted(told.problems.len() as u64, "problem")));
    }
    let mark = if told.passed() { paint.green("✓") } else { paint.red("✗") };
    let tests = counted(told.results.len() as u64, "test");
    format!("{mark} {tests} in {}: {}", duration(told.seconds), parts.join(", "))
}

#[cfg(test)]
mod tests;
