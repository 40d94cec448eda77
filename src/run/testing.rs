//! How unit tests of queries ended.

use serde::Serialize;

use super::failure::Problem;

/// How one test ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TestResult {
    /// The test's name.
    pub name: String,
    /// Its file, relative to the project.
    pub file: String,
    /// The line of its name, from 1.
    pub line: usize,
    /// The column of its name in characters, from 1.
    pub column: usize,
    /// The table whose query was tested.
    pub table: String,
    /// Seconds that it took.
    pub seconds: f64,
    /// What came out.
    pub verdict: Verdict,
}

/// What came out of a test.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// What was expected.
    Passed,
    /// Something else.
    Failed(Vec<Mismatch>),
    /// The test does not fit the query: it was not run.
    Broken(Vec<Problem>),
}

impl Verdict {
    /// The word for it, as in JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Broken(_) => "broken",
        }
    }
}

/// Something that is not as expected.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mismatch {
    /// Other rows.
    Rows(RowsDiffer),
    /// A run would refuse the rows.
    Refused {
        /// Why.
        message: String,
        /// What a run would do about it.
        hint: Option<String>,
    },
    /// A run would take the rows, or refuse them for something else.
    NotRefused {
        /// The piece of the message that was expected.
        expected: String,
        /// What a run would say instead; `None` if it would take them.
        actual: Option<String>,
    },
}

/// Rows that are not as expected, of a table or of a CTE.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RowsDiffer {
    /// The CTE; `None` for the table itself.
    pub cte: Option<String>,
    /// Rows that were expected.
    pub expected_rows: usize,
    /// Rows that came out.
    pub actual_rows: usize,
    /// The columns by which a row is known.
    pub key: Vec<String>,
    /// The columns that are compared.
    pub columns: Vec<String>,
    /// Cells that differ, row by row.
    pub cells: Vec<CellDiffers>,
    /// Rows that were expected and did not come.
    pub missing: Vec<RowShown>,
    /// Rows that came and were not expected.
    pub extra: Vec<RowShown>,
}

/// A cell that is not as expected. `None` is NULL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CellDiffers {
    /// The row's values in the key columns; empty if no column tells rows apart.
    pub key: Vec<Option<String>>,
    /// The row of the expected rows, from 1.
    pub row: usize,
    /// The line on which the expected row stands.
    pub line: usize,
    /// Column.
    pub column: String,
    /// What was expected.
    pub expected: Option<String>,
    /// What came out.
    pub actual: Option<String>,
}

/// A whole row. `None` is NULL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowShown {
    /// The line on which it stands, for an expected row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Values in the compared columns.
    pub values: Vec<Option<String>>,
}
