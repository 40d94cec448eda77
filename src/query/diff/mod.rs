//! Compares two tables row by row and column by column, in bounded memory: joins sort and spill, and
//! distinct values are counted approximately.

mod statements;
#[cfg(test)]
mod tests;

use datafusion::arrow::array::{Array, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::prelude::SessionContext;
use serde::Serialize;

use self::statements::Comparable;
use super::session::failure_of;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// The names under which a session knows the two tables.
pub const SIDES: [&str; 2] = ["a", "b"];

/// How two tables differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Rows of each side.
    pub rows: [u64; 2],
    /// How the columns differ.
    pub schema: Vec<SchemaDifference>,
    /// How the rows differ.
    pub content: Content,
    /// The columns that both have.
    pub columns: Vec<ColumnComparison>,
}

/// A column that one side lacks, or that has another type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SchemaDifference {
    /// Name.
    pub column: String,
    /// Its type on each side; `None` where it is not there.
    pub types: [Option<String>; 2],
}

/// How the rows differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Rows were matched by a key.
    Keyed {
        /// Its columns.
        key: Vec<String>,
        /// Keys on both sides.
        matched: u64,
        /// Of these, those whose rows differ in a column.
        differing: u64,
        /// Keys on one side only.
        only: [u64; 2],
        /// Some of them, each as `column=value, …`.
        examples: [Vec<String>; 2],
        /// Whether each key stands on one row of a side; if not, pairs of rows were counted.
        unique: bool,
    },
    /// Without a key: whole rows, each as often as it occurs.
    Whole {
        /// Rows on both sides.
        common: u64,
        /// Rows on one side only.
        only: [u64; 2],
    },
}

/// A column that both sides have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnComparison {
    /// Name.
    pub column: String,
    /// Its type on the first side.
    pub kind: String,
    /// Rows of the same key in which it differs; `None` without a key, and for the key itself.
    pub differing: Option<u64>,
    /// Figures of each side.
    pub figures: [Figures; 2],
}

/// What a column holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Rows without a value.
    pub nulls: u64,
    /// About how many values are different.
    pub distinct: u64,
    /// The smallest value.
    pub min: Option<String>,
    /// The largest value.
    pub max: Option<String>,
    /// The mean, of numbers.
    pub mean: Option<f64>,
}

impl Difference {
    /// Whether nothing differs.
    pub fn is_none(&self) -> bool {
        let rows = match &self.content {
            Content::Keyed { differing, only, .. } => *differing == 0 && *only == [0, 0],
            Content::Whole { only, .. } => *only == [0, 0],
        };
        rows && self.schema.is_empty()
    }
}

/// How tables are compared.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Columns by which rows are matched; without any, whole rows are.
    pub key: Vec<String>,
    /// Columns that are left out.
    pub without: Vec<String>,
    /// Keys of one side that are shown at most.
    pub examples: usize,
}

/// Compares the tables [`SIDES`] of a session, whose joins it makes sort and spill.
///
/// Errors: `Usage` for a key that a side does not have.
pub async fn compare(context: &SessionContext, options: &Options) -> Outcome<Difference> {
    context.state_ref().write().config_mut().options_mut().optimizer.prefer_hash_join = false;
    let mut schemas = Vec::new();
    for side in SIDES {
        let table = context.table(side).await.map_err(|error| failure_of(error, DOING))?;
        schemas.push(Schema::clone(table.schema().as_arrow()));
    }
    let [left, right] = schemas.as_slice() else { return Err(internal("two tables")) };
    for column in &options.key {
        for (schema, side) in [left, right].into_iter().zip(SIDES) {
            if schema.column_with_name(column).is_none() {
                let text = format!("side {side} has no column `{column}`, which the key names");
                return Err(Failure::new(FailureKind::Usage, text)
                    .with_hint("name the columns of the key with --key"));
            }
        }
    }
    let is_left_out = |name: &str| options.without.iter().any(|column| column == name);
    let columns = statements::comparable(left, right, &is_left_out);
    let schema = schema_differences(left, right, &is_left_out);
    let figures =
        [figures(context, SIDES[0], &columns).await?, figures(context, SIDES[1], &columns).await?];
    let rows = [figures[0].0, figures[1].0];
    let (content, differing) = match options.key.is_empty() {
        true => (whole(context, &columns, rows).await?, Vec::new()),
        false => keyed(context, &columns, options, rows).await?,
    };
    let [(_, left), (_, right)] = figures;
    let columns = columns
        .iter()
        .zip(left.into_iter().zip(right))
        .map(|(column, (left, right))| ColumnComparison {
            column: column.name.clone(),
            kind: column.kind.to_string(),
            differing: differing
                .iter()
                .find(|(name, _)| *name == column.name)
                .map(|(_, count)| *count),
            figures: [left, right],
        })
        .collect();
    Ok(Difference { rows, schema, content, columns })
}

const DOING: &str = "compare the tables";

fn internal(what: &str) -> Failure {
    Failure::new(FailureKind::Internal, format!("cannot {DOING}: expected {what}"))
}

fn schema_differences(
    left: &Schema,
    right: &Schema,
    is_left_out: &dyn Fn(&str) -> bool,
) -> Vec<SchemaDifference> {
    let kind = |schema: &Schema, name: &str| -> Option<DataType> {
        schema.column_with_name(name).map(|(_, field)| field.data_type().clone())
    };
    let added = right.fields().iter().filter(|field| kind(left, field.name()).is_none());
    left.fields()
        .iter()
        .chain(added)
        .filter(|field| !is_left_out(field.name()))
        .map(|field| (field.name(), [kind(left, field.name()), kind(right, field.name())]))
        .filter(|(_, [left, right])| left != right)
        .map(|(name, types)| SchemaDifference {
            column: name.clone(),
            types: types.map(|kind| kind.map(|kind| kind.to_string())),
        })
        .collect()
}

/// Rows of a side, and the figures of its columns.
async fn figures(
    context: &SessionContext,
    side: &str,
    columns: &[Comparable],
) -> Outcome<(u64, Vec<Figures>)> {
    let rows = ask(context, &statements::figures(side, columns)).await?;
    let row = rows.into_iter().next().unwrap_or_default();
    let mut cells = row.into_iter();
    let total = number(cells.next());
    let mut all = Vec::with_capacity(columns.len());
    for _ in columns {
        let filled = number(cells.next());
        all.push(Figures {
            nulls: total.saturating_sub(filled),
            distinct: number(cells.next()),
            min: cells.next().flatten(),
            max: cells.next().flatten(),
            mean: cells.next().flatten().and_then(|text| text.parse().ok()),
        });
    }
    Ok((total, all))
}

async fn whole(
    context: &SessionContext,
    columns: &[Comparable],
    rows: [u64; 2],
) -> Outcome<Content> {
    let found = ask(context, &statements::whole(columns)).await?;
    let mut cells = found.into_iter().next().unwrap_or_default().into_iter();
    let only = [number(cells.next()), number(cells.next())];
    Ok(Content::Whole { common: rows[0].saturating_sub(only[0]), only })
}

async fn keyed(
    context: &SessionContext,
    columns: &[Comparable],
    options: &Options,
    rows: [u64; 2],
) -> Outcome<(Content, Vec<(String, u64)>)> {
    let key = &options.key;
    let found = ask(context, &statements::keyed(columns, key)).await?;
    let mut cells = found.into_iter().next().unwrap_or_default().into_iter();
    let only = [number(cells.next()), number(cells.next())];
    let (matched, differing) = (number(cells.next()), number(cells.next()));
    let others = columns.iter().filter(|column| !key.contains(&column.name));
    let each = others.map(|column| (column.name.clone(), number(cells.next()))).collect();
    let mut examples = [Vec::new(), Vec::new()];
    for at in 0..SIDES.len() {
        if only[at] > 0 && options.examples > 0 {
            let sql = statements::examples(columns, key, at, options.examples);
            let told = |row: Vec<Option<String>>| {
                let cells = key.iter().zip(row);
                let cells = cells.map(|(name, value)| {
                    format!("{name}={}", value.unwrap_or_else(|| "NULL".to_owned()))
                });
                cells.collect::<Vec<_>>().join(", ")
            };
            examples[at] = ask(context, &sql).await?.into_iter().map(told).collect();
        }
    }
    let unique = rows[0] == matched + only[0] && rows[1] == matched + only[1];
    let key = key.clone();
    Ok((Content::Keyed { key, matched, differing, only, examples, unique }, each))
}

fn number(cell: Option<Option<String>>) -> u64 {
    cell.flatten().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The rows of a query whose answer is small, as texts.
async fn ask(context: &SessionContext, sql: &str) -> Outcome<Vec<Vec<Option<String>>>> {
    let failed = |error| failure_of(error, DOING);
    let frame = context.sql(sql).await.map_err(failed)?;
    let mut rows = Vec::new();
    for batch in frame.collect().await.map_err(failed)? {
        let texts = batch
            .columns()
            .iter()
            .map(|column| cast(column, &DataType::Utf8))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| internal(&error.to_string()))?;
        for row in 0..batch.num_rows() {
            let cell = |column: &datafusion::arrow::array::ArrayRef| {
                let texts = column.as_any().downcast_ref::<StringArray>()?;
                (!texts.is_null(row)).then(|| texts.value(row).to_owned())
            };
            rows.push(texts.iter().map(cell).collect());
        }
    }
    Ok(rows)
}
