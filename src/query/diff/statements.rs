//! The queries of a comparison.

use datafusion::arrow::datatypes::{DataType, Schema};

use super::SIDES;
use crate::query::checks::quote;

/// A column that both sides have, and how its values are made comparable.
#[derive(Debug, Clone)]
pub(super) struct Comparable {
    pub(super) name: String,
    /// Its type on the first side.
    pub(super) kind: DataType,
    /// What both sides are cast to, if their types differ.
    cast: Option<&'static str>,
}

impl Comparable {
    fn value(&self, table: &str) -> String {
        let column = format!("{table}.{}", quote(&self.name));
        match self.cast {
            None => column,
            Some(kind) => format!("CAST({column} AS {kind})"),
        }
    }
}

/// The columns that both sides have and that can be compared.
pub(super) fn comparable(
    left: &Schema,
    right: &Schema,
    is_left_out: &dyn Fn(&str) -> bool,
) -> Vec<Comparable> {
    let of = |field: &datafusion::arrow::datatypes::FieldRef| {
        let (_, other) = right.column_with_name(field.name())?;
        let (kind, other) = (field.data_type().clone(), other.data_type());
        let cast = match (&kind, other) {
            (one, other) if one == other => None,
            (one, other) if one.is_numeric() && other.is_numeric() => Some("DOUBLE"),
            _ => Some("VARCHAR"),
        };
        Some(Comparable { name: field.name().clone(), kind, cast })
    };
    left.fields().iter().filter(|field| !is_left_out(field.name())).filter_map(of).collect()
}

/// One row: the number of rows, then of each column the values, distinct values, the least, the
/// greatest and the mean.
pub(super) fn figures(side: &str, columns: &[Comparable]) -> String {
    let mut cells = vec!["count(*)".to_owned()];
    for column in columns {
        let name = format!("{side}.{}", quote(&column.name));
        let text = format!("CAST({name} AS VARCHAR)");
        cells.push(format!("count({name})"));
        match column.kind.is_nested() || column.kind.is_binary() {
            // Such values have no order that means something, or are no text.
            true => cells.extend(["0", "NULL", "NULL"].map(str::to_owned)),
            false => {
                cells.push(format!("approx_distinct({text})"));
                cells.push(format!("CAST(min({name}) AS VARCHAR)"));
                cells.push(format!("CAST(max({name}) AS VARCHAR)"));
            }
        }
        cells.push(match column.kind.is_numeric() {
            true => format!("avg(CAST({name} AS DOUBLE))"),
            false => "NULL".to_owned(),
        });
    }
    let cells: Vec<String> =
        cells.into_iter().enumerate().map(|(at, cell)| format!("{cell} AS c{at}")).collect();
    format!("SELECT {} FROM {side}", cells.join(", "))
}

/// One row: rows that are on the first side only, and on the second, each as often as it occurs.
pub(super) fn whole(columns: &[Comparable]) -> String {
    let names: Vec<String> = (0..columns.len()).map(|at| format!("c{at}")).collect();
    let side = |side: &str, sign: &str| {
        let values: Vec<String> = columns
            .iter()
            .zip(&names)
            .map(|(column, name)| format!("{} AS {name}", column.value(side)))
            .chain([format!("{sign} AS n")])
            .collect();
        format!("SELECT {} FROM {side}", values.join(", "))
    };
    let (left, right) = (side(SIDES[0], "1"), side(SIDES[1], "-1"));
    let by = match names.is_empty() {
        true => String::new(),
        false => format!(" GROUP BY {}", names.join(", ")),
    };
    format!(
        "SELECT coalesce(sum(CASE WHEN n > 0 THEN n ELSE 0 END), 0) AS a, \
         coalesce(sum(CASE WHEN n < 0 THEN -n ELSE 0 END), 0) AS b \
         FROM (SELECT sum(n) AS n FROM ({left} UNION ALL {right}){by})"
    )
}

fn on(columns: &[Comparable], key: &[String]) -> String {
    let equal = key.iter().filter_map(|name| {
        let column = columns.iter().find(|column| column.name == *name)?;
        Some(format!("{} = {}", column.value(SIDES[0]), column.value(SIDES[1])))
    });
    equal.collect::<Vec<_>>().join(" AND ")
}

/// One row: keys on the first side only, on the second only, on both, of these those that differ,
/// then of each column that is not of the key the rows in which it differs.
pub(super) fn keyed(columns: &[Comparable], key: &[String]) -> String {
    let both = "a.here AND b.here";
    let differs = |column: &Comparable| {
        format!("({} IS DISTINCT FROM {})", column.value(SIDES[0]), column.value(SIDES[1]))
    };
    let others: Vec<String> =
        columns.iter().filter(|column| !key.contains(&column.name)).map(differs).collect();
    let any = match others.is_empty() {
        true => "false".to_owned(),
        false => format!("({})", others.join(" OR ")),
    };
    let mut cells = vec![
        "count(*) FILTER (WHERE b.here IS NULL)".to_owned(),
        "count(*) FILTER (WHERE a.here IS NULL)".to_owned(),
        format!("count(*) FILTER (WHERE {both})"),
        format!("count(*) FILTER (WHERE {both} AND {any})"),
    ];
    cells.extend(others.iter().map(|it| format!("count(*) FILTER (WHERE {both} AND {it})")));
    let cells: Vec<String> =
        cells.into_iter().enumerate().map(|(at, cell)| format!("{cell} AS c{at}")).collect();
    let marked = |side: &str| format!("(SELECT *, true AS here FROM {side}) AS {side}");
    format!(
        "SELECT {} FROM {} FULL JOIN {} ON {}",
        cells.join(", "),
        marked(SIDES[0]),
        marked(SIDES[1]),
        on(columns, key)
    )
}

/// The first keys in order that only one side has.
pub(super) fn examples(
    columns: &[Comparable],
    key: &[String],
    side: usize,
    limit: usize,
) -> String {
    let (own, other) = (SIDES[side], SIDES[1 - side]);
    let names: Vec<String> = key.iter().map(|name| format!("{own}.{}", quote(name))).collect();
    let names = names.join(", ");
    format!(
        "SELECT {names} FROM {own} LEFT ANTI JOIN {other} ON {} ORDER BY {names} LIMIT {limit}",
        on(columns, key)
    )
}
