//! Up to when a query reads.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};

use super::instant::{AtMost, DAY, comparisons, instant};

/// How a query ties the rows that it reads to its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    /// Not at all: it reads the same rows for every day.
    None,
    /// From some time on, with no end.
    Open,
    /// Beyond the day's end.
    Late,
    /// Up to the day's end at most.
    Day,
}

/// How conditions on rows compare times with the day of the parameters, 1970-01-01. Conditions
/// that say what is filtered (`CASE WHEN ts >= $interval_end THEN 'filtered: …'`) count as well.
///
/// Any condition on any column counts for all tables that are read, so that `Day` may be too much
/// said of a query with several inputs; `None`, `Open` and `Late` are not.
pub fn bounds(plan: &LogicalPlan) -> Bounds {
    let mut seen = Seen::default();
    // A walk that never stops early cannot fail.
    let _ = plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Filter(filter) => seen.condition(&filter.predicate, false, &filter.input),
            LogicalPlan::Join(join) => {
                if let Some(condition) = &join.filter {
                    seen.condition(condition, false, node);
                }
                for (left, right) in &join.on {
                    seen.equal(left, right, node);
                }
            }
            LogicalPlan::Projection(projection) => {
                for expr in &projection.expr {
                    seen.cases(expr, &projection.input);
                }
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    seen.verdict()
}

#[derive(Debug, Default)]
struct Seen {
    lower: bool,
    /// The earliest end, exclusive.
    end: Option<i64>,
}

impl Seen {
    fn condition(&mut self, expr: &Expr, negated: bool, input: &LogicalPlan) {
        for found in comparisons(expr, negated) {
            self.compared(found, input);
        }
    }

    fn equal(&mut self, left: &Expr, right: &Expr, input: &LogicalPlan) {
        self.compared(AtMost { left, right, strict: false }, input);
        self.compared(AtMost { left: right, right: left, strict: false }, input);
    }

    fn compared(&mut self, AtMost { left, right, strict }: AtMost<'_>, input: &LogicalPlan) {
        match (instant(left), instant(right)) {
            (Some(_), None) if has_column(right) => self.lower = true,
            (None, Some(end)) if has_column(left) => {
                // A date that is at most a day is any time of that day.
                let is_date = matches!(left.get_type(input.schema()), Ok(DataType::Date32));
                let whole_day = is_date && !strict && end % DAY == 0;
                let end = if whole_day { end.saturating_add(DAY) } else { end };
                self.end = Some(self.end.map_or(end, |known| known.min(end)));
            }
            _ => {}
        }
    }

    /// Branches that take a row out: all but those that keep it.
    fn cases(&mut self, expr: &Expr, input: &LogicalPlan) {
        let _ = expr.apply(|part| {
            if let Expr::Case(case) = part
                && case.expr.is_none()
            {
                for (when, _) in &case.when_then_expr {
                    self.condition(when, true, input);
                }
            }
            Ok(TreeNodeRecursion::Continue)
        });
    }

    fn verdict(self) -> Bounds {
        match (self.end, self.lower) {
            (Some(end), _) if end <= DAY => Bounds::Day,
            (Some(_), _) => Bounds::Late,
            (None, true) => Bounds::Open,
            (None, false) => Bounds::None,
        }
    }
}

fn has_column(expr: &Expr) -> bool {
    !expr.column_refs().is_empty()
}
