//! Checks of tables as written in `pipelines.yaml`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::schema;
use super::yaml::{Scalar, Spanned, list_or_mapping};

/// Checks: several, or one alone.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub enum ChecksSpec {
    /// `[{not_null: [id]}, …]`.
    Several(Vec<Spanned<CheckSpec>>),
    /// `{dqdl: rules.dqdl}`.
    One(Box<CheckSpec>),
}

impl<'de> Deserialize<'de> for ChecksSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        list_or_mapping(deserializer, "a list of checks, or one", Self::Several, |one| {
            Self::One(Box::new(one))
        })
    }
}

/// A check; exactly one field says which, the others what happens where it does not hold.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = schema::check)]
pub struct CheckSpec {
    /// Columns without NULL.
    #[serde(default)]
    pub not_null: Option<Vec<Spanned<String>>>,
    /// Columns whose values together occur once.
    #[serde(default)]
    pub unique: Option<Vec<Spanned<String>>>,
    /// A column and the values that it may hold.
    #[serde(default)]
    pub accepted_values: Option<AcceptedValuesSpec>,
    /// A column of numbers, dates or times and its bounds, which belong to the range.
    #[serde(default)]
    pub range: Option<RangeSpec>,
    /// The number of rows.
    #[serde(default)]
    pub rows: Option<RowsSpec>,
    /// Least number of rows.
    #[serde(default)]
    pub min_rows: Option<u64>,
    /// How long before the interval's end the latest row may be.
    #[serde(default)]
    pub freshness: Option<FreshnessSpec>,
    /// Columns whose values are a row of another table of the pipeline.
    #[serde(default)]
    pub references: Option<ReferencesSpec>,
    /// A condition on every row.
    #[serde(default)]
    pub expression: Option<Spanned<String>>,
    /// A figure that is like those of the runs before.
    #[serde(default)]
    pub distribution: Option<DistributionSpec>,
    /// A ruleset of AWS Glue: a file of the project, or the text itself.
    #[serde(default)]
    pub dqdl: Option<Spanned<String>>,
    /// `error` if nothing is published where it does not hold, `warn` if it is only told.
    #[serde(default)]
    #[schemars(extend("default" = "error"))]
    pub severity: Option<CheckSeveritySpec>,
    /// Rows that may break it; 0 if not said, any number where they go to the quarantine.
    #[serde(default)]
    pub max: Option<Spanned<u64>>,
    /// The share of rows, 0 to 1, that may break it.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub max_share: Option<Spanned<f64>>,
    /// Where rows that break it go, if it judges rows: `quarantine`, or `stop` if they stay.
    #[serde(default)]
    #[schemars(extend("default" = "stop"))]
    pub on_fail: Option<Spanned<OnFailSpec>>,
}

/// Whether an offence stops the publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckSeveritySpec {
    /// Nothing is published.
    Error,
    /// It is told.
    Warn,
}

/// Where rows that break a check go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailSpec {
    /// They stay in the table, which is not published for them.
    Stop,
    /// They go to the quarantine, and the others are published.
    Quarantine,
}

/// A column and the values that it may hold.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptedValuesSpec {
    /// The column.
    pub column: Spanned<String>,
    /// The values.
    pub values: Spanned<Vec<Spanned<Scalar>>>,
}

/// A column and its bounds.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RangeSpec {
    /// The column.
    pub column: Spanned<String>,
    /// The least value: a number, or a date or time as text.
    #[serde(default)]
    pub min: Option<Spanned<Scalar>>,
    /// The greatest value.
    #[serde(default)]
    pub max: Option<Spanned<Scalar>>,
}

/// A number of rows.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RowsSpec {
    /// The least.
    #[serde(default)]
    pub min: Option<u64>,
    /// The most.
    #[serde(default)]
    pub max: Option<Spanned<u64>>,
}

/// How long before the interval's end the latest row may be.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FreshnessSpec {
    /// The column with the time, or the date.
    pub column: Spanned<String>,
    /// The longest time before the end of the day that the data is about (`26h`).
    #[schemars(extend("pattern" = schema::TIME))]
    pub within: Spanned<String>,
}

/// Columns whose values are a row of another table.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReferencesSpec {
    /// The columns.
    pub columns: Spanned<Vec<Spanned<String>>>,
    /// The other table, made by a query of the same pipeline.
    pub table: Spanned<String>,
    /// Its columns in the same order, where they have other names.
    #[serde(default)]
    pub keys: Option<Spanned<Vec<Spanned<String>>>>,
}

/// A figure that is like those of the runs before.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DistributionSpec {
    /// The column; none for `rows`.
    #[serde(default)]
    pub column: Option<Spanned<String>>,
    /// The figure.
    pub statistic: Spanned<StatisticSpec>,
    /// The runs before that it is compared with: for a table by day as many days (`7 runs`).
    pub against: Spanned<Scalar>,
    /// How far it may be from their mean: `3 sigma`, `20%` of it, `factor 2`, or a number.
    pub within: Spanned<Scalar>,
}

/// A figure of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StatisticSpec {
    /// The number of rows.
    Rows,
    /// The mean of a column, without NULL.
    Mean,
    /// The number of different values of a column, exact, without NULL.
    Distinct,
    /// The share of rows in which a column is NULL.
    NullShare,
}
