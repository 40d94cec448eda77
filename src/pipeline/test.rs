//! Unit tests of queries, as meant: rows in, rows out.

use chrono::{DateTime, Utc};

use super::interval::LogicalDate;
use super::name::Name;
use super::variable::Variables;

/// Where something stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, relative to the project.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Length in characters; at least 1.
    pub length: usize,
}

/// A word and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The word.
    pub text: String,
    /// Its place.
    pub place: Place,
}

/// A test of a table's query.
#[derive(Debug, Clone, PartialEq)]
pub struct Test {
    /// What it shows; unique in its file.
    pub name: String,
    /// Where its name stands.
    pub place: Place,
    /// The pipeline whose step is tested.
    pub pipeline: Name,
    /// The step.
    pub table: Name,
    /// The day that the data is about, if the test says.
    pub date: Option<LogicalDate>,
    /// What the time is for the query; the end of the day if the test does not say.
    pub now: Option<DateTime<Utc>>,
    /// Values of all variables.
    pub variables: Variables,
    /// Rows of what the query reads. What is not among them is empty.
    pub inputs: Vec<Given>,
    /// What must come out.
    pub outputs: Vec<Expected>,
    /// What a run would refuse the rows for, if that is expected: a piece of the message.
    pub refused: Option<Word>,
}

/// Rows of a source, of a table, or in the place of one of the query's CTEs.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// The name in SQL.
    pub name: Word,
    /// The rows.
    pub rows: Rows,
}

/// Rows that must come out.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// Where the rows stand.
    pub place: Place,
    /// The CTE that they are of; `None` for the table itself.
    pub cte: Option<Word>,
    /// The rows.
    pub rows: Rows,
    /// Whether of each row only the columns that it writes are compared. Otherwise a column that is
    /// not written must be NULL.
    pub partial: bool,
    /// Whether the order of rows counts.
    pub ordered: bool,
    /// By how much a floating-point number may differ: absolutely, or relative to its size.
    pub tolerance: f64,
}

/// Rows as a test has them.
#[derive(Debug, Clone, PartialEq)]
pub enum Rows {
    /// Written as mappings.
    Written(Vec<Row>),
    /// CSV with a header line.
    Csv(Text),
    /// One JSON object a line.
    JsonLines(Text),
}

/// A piece of a file that is still to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The text.
    pub text: String,
    /// The file that it is in.
    pub file: String,
    /// The line of the file on which it begins, from 1.
    pub line: usize,
    /// Characters before each of its lines, where it stands indented in another file.
    pub indent: usize,
}

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Where it begins.
    pub place: Place,
    /// The columns that are written, with their values.
    pub cells: Vec<(Word, Cell)>,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The value.
    pub value: CellValue,
    /// Its place.
    pub place: Place,
}

/// A value before its column's type is known.
#[derive(Debug, Clone, PartialEq)]
pub enum CellValue {
    /// `null`.
    Null,
    /// One value, as it is written.
    Text(String),
    /// A list or a mapping.
    Nested(serde_json::Value),
}
