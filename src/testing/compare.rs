//! Compares rows that came out with those that were expected.

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::run::testing::{CellDiffers, RowShown, RowsDiffer};

/// A value as it is shown, with its number where it is a floating-point one.
#[derive(Debug, Clone, PartialEq)]
struct Value {
    shown: Option<String>,
    number: Option<f64>,
    /// Whether any other value will do.
    open: bool,
}

/// Rows as values of some columns.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

/// What is compared, and how.
#[derive(Debug, Clone)]
pub(super) struct Manner<'a> {
    /// Whether the order counts.
    pub ordered: bool,
    /// By how much floating-point numbers may differ.
    pub tolerance: f64,
    /// Columns by which rows are known; those that are not compared do not count.
    pub key: &'a [String],
    /// The lines on which the expected rows stand.
    pub lines: &'a [usize],
}

impl Grid {
    /// The columns of a batch of those names, in that order.
    pub(super) fn new(batch: &RecordBatch, columns: &[String]) -> Result<Self, ArrowError> {
        let options = FormatOptions::default();
        let mut rows = vec![Vec::with_capacity(columns.len()); batch.num_rows()];
        for name in columns {
            let Some(column) = batch.column_by_name(name) else {
                return Err(ArrowError::SchemaError(format!("no column `{name}`")));
            };
            let numbers = column
                .data_type()
                .is_floating()
                .then(|| datafusion::arrow::compute::cast(column, &DataType::Float64));
            let numbers = numbers.transpose()?;
            let numbers = numbers.as_ref().and_then(|it| {
                it.as_any().downcast_ref::<datafusion::arrow::array::Float64Array>()
            });
            let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
            for (row, values) in rows.iter_mut().enumerate() {
                let shown = column.is_valid(row).then(|| formatter.value(row).to_string());
                let number = numbers.filter(|_| column.is_valid(row)).map(|it| it.value(row));
                values.push(Value { shown, number, open: false });
            }
        }
        Ok(Self { columns: columns.to_vec(), rows })
    }
}

impl Grid {
    /// Leaves open what a row does not say.
    pub(super) fn open(&mut self, is_said: &dyn Fn(usize, &str) -> bool) {
        for (at, row) in self.rows.iter_mut().enumerate() {
            for (value, column) in row.iter_mut().zip(&self.columns) {
                value.open = !is_said(at, column);
            }
        }
    }
}

/// What differs; `None` if nothing does.
pub(super) fn compare(expected: &Grid, actual: &Grid, manner: &Manner<'_>) -> Option<RowsDiffer> {
    let same = |a: &Value, b: &Value| same(a, b, manner.tolerance);
    let equal = |e: usize, a: usize| {
        expected.rows[e].iter().zip(&actual.rows[a]).filter(|(e, a)| same(e, a)).count()
    };
    let width = expected.columns.len();
    let key = key_of(expected, manner);
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    let mut left: Vec<usize> = (0..expected.rows.len()).collect();
    let mut free: Vec<usize> = (0..actual.rows.len()).collect();
    if manner.ordered {
        pairs = left.iter().copied().zip(free.iter().copied()).collect();
        left.drain(..pairs.len());
        free.drain(..pairs.len());
    } else {
        left.retain(|e| match free.iter().position(|a| equal(*e, *a) == width) {
            Some(found) => {
                free.remove(found);
                false
            }
            None => true,
        });
        left.retain(|e| {
            let candidates = free.iter().enumerate().filter(|(_, a)| match &key {
                Some(key) => {
                    key.iter().all(|at| same(&expected.rows[*e][*at], &actual.rows[**a][*at]))
                }
                // Rows without a key are the same one if most of them is.
                None => equal(*e, **a) * 2 > width || left_alone(expected, actual),
            });
            let best =
                candidates.map(|(position, a)| (equal(*e, *a), std::cmp::Reverse(position))).max();
            match best {
                Some((_, std::cmp::Reverse(position))) => {
                    pairs.push((*e, free.remove(position)));
                    false
                }
                None => true,
            }
        });
    }
    pairs.sort_unstable();
    let mut cells = Vec::new();
    for (e, a) in pairs {
        let row = expected.rows[e].iter().zip(&actual.rows[a]).enumerate();
        for (at, (one, other)) in row.filter(|(_, (one, other))| !same(one, other)) {
            cells.push(CellDiffers {
                key: key.iter().flatten().map(|at| expected.rows[e][*at].shown.clone()).collect(),
                row: e + 1,
                line: manner.lines.get(e).copied().unwrap_or_default(),
                column: expected.columns[at].clone(),
                expected: one.shown.clone(),
                actual: other.shown.clone(),
            });
        }
    }
    if cells.is_empty() && left.is_empty() && free.is_empty() {
        return None;
    }
    let shown = |row: &[Value], line| RowShown {
        line,
        values: row.iter().map(|value| value.shown.clone()).collect(),
    };
    let names = key.iter().flatten().map(|at| expected.columns[*at].clone()).collect();
    Some(RowsDiffer {
        cte: None,
        expected_rows: expected.rows.len(),
        actual_rows: actual.rows.len(),
        key: names,
        columns: expected.columns.clone(),
        cells,
        missing: left
            .into_iter()
            .map(|e| shown(&expected.rows[e], manner.lines.get(e).copied()))
            .collect(),
        extra: free.into_iter().map(|a| shown(&actual.rows[a], None)).collect(),
    })
}

/// One row against one: then they are meant to be the same, however much differs.
fn left_alone(expected: &Grid, actual: &Grid) -> bool {
    expected.rows.len() == 1 && actual.rows.len() == 1
}

/// The positions of the key's columns, if all of them are compared and something else is too.
fn key_of(expected: &Grid, manner: &Manner<'_>) -> Option<Vec<usize>> {
    let position = |name: &String| expected.columns.iter().position(|column| column == name);
    let key: Vec<usize> = manner.key.iter().map(position).collect::<Option<_>>()?;
    (!key.is_empty() && key.len() < expected.columns.len()).then_some(key)
}

fn same(one: &Value, other: &Value, tolerance: f64) -> bool {
    match (one.number, other.number) {
        _ if one.open || other.open => true,
        (Some(one), Some(other)) if one.is_finite() && other.is_finite() => {
            let size = one.abs().max(other.abs()).max(1.0);
            (one - other).abs() <= tolerance * size
        }
        _ => one.shown == other.shown,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Float64Array, StringArray};

    use super::*;

    fn grid(rows: &[(&str, f64, Option<&str>)]) -> Grid {
        let id: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)));
        let n: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.1)));
        let t: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|row| row.2)));
        let batch = RecordBatch::try_from_iter([("id", id), ("n", n), ("t", t)]).unwrap();
        Grid::new(&batch, &["id".to_owned(), "n".to_owned(), "t".to_owned()]).unwrap()
    }

    fn told(expected: &Grid, actual: &Grid, key: &[&str], ordered: bool) -> String {
        let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
        let manner = Manner { ordered, tolerance: 1e-9, key: &key, lines: &[] };
        let Some(found) = compare(expected, actual, &manner) else { return "equal".to_owned() };
        let mut told: Vec<String> = found
            .cells
            .iter()
            .map(|cell| {
                let word = |text: &Option<String>| text.clone().unwrap_or("NULL".to_owned());
                format!(
                    "{}.{} {}≠{}",
                    cell.row,
                    cell.column,
                    word(&cell.expected),
                    word(&cell.actual)
                )
            })
            .collect();
        let first = |row: &RowShown| row.values[0].clone().unwrap_or_default();
        told.extend(found.missing.iter().map(|row| format!("-{}", first(row))));
        told.extend(found.extra.iter().map(|row| format!("+{}", first(row))));
        told.join(" ")
    }

    #[test]
    fn order_counts_only_where_it_should() {
        let one = grid(&[("a", 1.0, None), ("b", 2.0, Some("x"))]);
        let other = grid(&[("b", 2.0 + 1e-12, Some("x")), ("a", 1.0, None)]);
        assert_eq!(told(&one, &other, &["id"], false), "equal");
        assert_eq!(
            told(&one, &other, &[], true),
            "1.id a≠b 1.n 1.0≠2.000000000001 1.t NULL≠x 2.id b≠a 2.n 2.0≠1.0 2.t x≠NULL"
        );
    }

    #[test]
    fn rows_are_known_by_their_key() {
        let one = grid(&[("a", 1.0, None), ("b", 2.0, Some("x")), ("c", 3.0, None)]);
        let other = grid(&[("d", 3.0, None), ("b", 2.5, None), ("a", 1.0, None)]);
        assert_eq!(told(&one, &other, &["id"], false), "2.n 2.0≠2.5 2.t x≠NULL -c +d");
        // Without a key those are paired of which most is equal.
        assert_eq!(told(&one, &other, &[], false), "3.id c≠d -b +b");
        assert_eq!(told(&one, &other, &["elsewhere"], false), "3.id c≠d -b +b");
    }

    #[test]
    fn rows_that_come_twice_count_twice() {
        let one = grid(&[("a", 1.0, None), ("a", 1.0, None)]);
        let other = grid(&[("a", 1.0, None)]);
        assert_eq!(told(&one, &other, &["id"], false), "-a");
        assert_eq!(told(&other, &one, &["id"], false), "+a");
    }

    #[test]
    fn what_is_left_open_is_not_compared() {
        let mut one = grid(&[("a", 1.0, None), ("b", 2.0, None)]);
        let other = grid(&[("b", 7.0, Some("y")), ("a", 1.0, Some("x"))]);
        one.open(&|row, column| column == "id" || (row == 1 && column == "n"));
        assert_eq!(told(&one, &other, &["id"], false), "2.n 2.0≠7.0");
    }

    #[test]
    fn null_is_no_empty_text() {
        let one = grid(&[("a", 1.0, Some(""))]);
        let other = grid(&[("a", 1.0, None)]);
        assert_eq!(told(&one, &other, &["id"], false), "1.t ≠NULL");
    }
}
