//! Prints expressions with the places of columns instead of their names.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::{Exists, InSubquery, Placeholder, SetComparison, Sort};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::plan;

/// The columns that an expression may name.
pub(super) struct Scope<'a> {
    /// Inputs side by side: the columns of the second come after those of the first.
    pub(super) inputs: Vec<&'a DFSchema>,
    /// The scope around, for a query inside of an expression.
    pub(super) outer: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    /// The place of a column; `None` if it is not one column only.
    fn place(&self, column: &Column) -> Option<usize> {
        let mut before = 0;
        let mut found: Vec<(usize, bool)> = Vec::new();
        for schema in &self.inputs {
            for (at, (qualifier, field)) in schema.iter().enumerate() {
                let fits = match (&column.relation, qualifier) {
                    (None, _) => true,
                    (Some(wanted), Some(known)) => wanted == known,
                    (Some(_), None) => false,
                };
                if fits && *field.name() == column.name {
                    found.push((before + at, qualifier.is_none()));
                }
            }
            before += schema.fields().len();
        }
        match found.as_slice() {
            [(place, _)] => Some(*place),
            // A name alone is that of a column without a table, where there is one.
            several => {
                let mut plain = several.iter().filter(|(_, is_plain)| *is_plain);
                match (plain.next(), plain.next()) {
                    (Some((place, _)), None) if column.relation.is_none() => Some(*place),
                    _ => None,
                }
            }
        }
    }

    /// The place of a column of a query around this one, and how far out it is.
    fn place_outside(&self, column: &Column) -> Option<(usize, usize)> {
        let (mut scope, mut depth) = (self.outer?, 1);
        loop {
            if let Some(place) = scope.place(column) {
                return Some((depth, place));
            }
            (scope, depth) = (scope.outer?, depth + 1);
        }
    }
}

/// Prints an expression; `None` if it cannot be said what it is apart from its writing.
pub(super) fn printed(expression: &Expr, scope: &Scope<'_>) -> Option<String> {
    let normal = expression.clone().transform_up(|one| normal(one, scope)).ok()?;
    Some(format!("{:?}", normal.data))
}

pub(super) fn sort(sort: &Sort, scope: &Scope<'_>) -> Option<String> {
    let Sort { expr, asc, nulls_first } = sort;
    Some(format!("{} {asc} {nulls_first}", printed(expr, scope)?))
}

pub(super) fn all<'a>(
    expressions: impl IntoIterator<Item = &'a Expr>,
    scope: &Scope<'_>,
) -> Option<Vec<String>> {
    expressions.into_iter().map(|one| printed(one, scope)).collect()
}

/// One node, whose children are in their normal form already.
fn normal(one: Expr, scope: &Scope<'_>) -> Result<Transformed<Expr>, DataFusionError> {
    let unknown = || DataFusionError::NotImplemented("no normal form".to_owned());
    let stands_for = |text: String| {
        Ok(Transformed::yes(Expr::Placeholder(Placeholder { id: text, field: None })))
    };
    let query = |plan: &LogicalPlan| plan::inside(plan, scope).ok_or_else(unknown);
    match one {
        Expr::Alias(alias) => Ok(Transformed::yes(*alias.expr)),
        Expr::Column(column) => {
            let place = scope.place(&column).ok_or_else(unknown)?;
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(format!("#{place}")))))
        }
        Expr::OuterReferenceColumn(_, column) => {
            let (depth, place) = scope.place_outside(&column).ok_or_else(unknown)?;
            stands_for(format!("outer {depth} #{place}"))
        }
        Expr::Literal(value, _) => {
            let value = literal(value).ok_or_else(unknown)?;
            Ok(Transformed::yes(Expr::Literal(value, None)))
        }
        Expr::ScalarSubquery(subquery) => {
            stands_for(format!("value of {}", query(&subquery.subquery)?))
        }
        Expr::Exists(Exists { subquery, negated }) => {
            stands_for(format!("exists {negated} {}", query(&subquery.subquery)?))
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            stands_for(format!("in {negated} {expr:?} {}", query(&subquery.subquery)?))
        }
        Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => {
            let inside = query(&subquery.subquery)?;
            stands_for(format!("compared {expr:?} {op:?} {quantifier:?} {inside}"))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// A value whose printed form tells it from every other.
fn literal(value: ScalarValue) -> Option<ScalarValue> {
    match value {
        ScalarValue::Utf8(Some(text)) => {
            Some(ScalarValue::Utf8(Some(text.escape_default().to_string())))
        }
        ScalarValue::LargeUtf8(Some(text)) => {
            Some(ScalarValue::LargeUtf8(Some(text.escape_default().to_string())))
        }
        ScalarValue::Utf8View(Some(text)) => {
            Some(ScalarValue::Utf8View(Some(text.escape_default().to_string())))
        }
        // Texts inside of these are printed without quotes.
        value if value.data_type().is_nested() => None,
        ScalarValue::Dictionary(..) | ScalarValue::Union(..) | ScalarValue::RunEndEncoded(..) => {
            None
        }
        ScalarValue::Binary(Some(_))
        | ScalarValue::LargeBinary(Some(_))
        | ScalarValue::BinaryView(Some(_))
        | ScalarValue::FixedSizeBinary(_, Some(_)) => None,
        plain => Some(plain),
    }
}
