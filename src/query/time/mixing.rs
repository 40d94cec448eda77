//! Whether a query over the rows of all days lets one day's rows know of another's.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::DFSchema;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Join, JoinType, LogicalPlan, Window, WindowFunctionDefinition,
};

use super::instant::comparisons;
use crate::query::lineage::Place;

/// A part of a query that puts rows of different days together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mixing {
    /// What it is.
    pub kind: MixingKind,
    /// Where the statement has the first column of it, if that is known.
    pub place: Option<Place>,
}

/// How rows of different days are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MixingKind {
    /// An aggregate that is not grouped by the day.
    Aggregate,
    /// A window that reaches over the day and later rows.
    Window,
    /// A join of two such tables in which nothing says which row is earlier.
    Join,
}

/// Finds where rows of later days may come into a row. `days` are the columns of tables that tell
/// their rows' days; tables without such a column are taken for ones that know no days.
///
/// What is found mixes days; that it matters, nobody can tell from a plan. What is not found may
/// be in subqueries of expressions, in unions whose parts have other days, or in the data.
pub fn mixing(plan: &LogicalPlan, days: &BTreeMap<String, BTreeSet<String>>) -> Vec<Mixing> {
    let mut walk = Walk { days, found: Vec::new() };
    walk.relation(plan);
    walk.found
}

/// What is known of a node's rows.
struct Relation {
    /// Which columns tell the day of a row.
    day: Vec<bool>,
    /// Whether rows are of days at all.
    dated: bool,
}

struct Walk<'a> {
    days: &'a BTreeMap<String, BTreeSet<String>>,
    found: Vec<Mixing>,
}

impl Walk<'_> {
    fn relation(&mut self, plan: &LogicalPlan) -> Relation {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let known = self.days.get(scan.table_name.table());
                let fields = scan.projected_schema.fields().iter();
                let is_day = |name: &String| known.is_some_and(|days| days.contains(name));
                let day = fields.map(|field| is_day(field.name())).collect();
                Relation { day, dated: known.is_some_and(|days| !days.is_empty()) }
            }
            LogicalPlan::Projection(node) => {
                let input = self.relation(&node.input);
                let told = |expr| tells_day(expr, node.input.schema(), &input);
                Relation { day: node.expr.iter().map(told).collect(), ..input }
            }
            LogicalPlan::Aggregate(node) => self.aggregate(node),
            LogicalPlan::Window(node) => self.window(node),
            LogicalPlan::Join(node) => self.join(node),
            LogicalPlan::Filter(node) => self.relation(&node.input),
            LogicalPlan::Sort(node) => self.relation(&node.input),
            LogicalPlan::Limit(node) => self.relation(&node.input),
            LogicalPlan::SubqueryAlias(node) => self.relation(&node.input),
            LogicalPlan::Repartition(node) => self.relation(&node.input),
            LogicalPlan::Distinct(Distinct::All(input)) => self.relation(input),
            LogicalPlan::Union(node) => {
                let mut parts: Vec<Relation> =
                    node.inputs.iter().map(|input| self.relation(input)).collect();
                let first = parts.pop();
                first.map_or(unknown(plan), |first| {
                    parts.into_iter().fold(first, |all, part| Relation {
                        day: all.day.iter().zip(&part.day).map(|(a, b)| *a && *b).collect(),
                        dated: all.dated || part.dated,
                    })
                })
            }
            other => {
                for input in other.inputs() {
                    self.relation(input);
                }
                unknown(other)
            }
        }
    }

    fn add(&mut self, kind: MixingKind, exprs: &[Expr]) {
        let place = exprs.iter().find_map(place_of);
        self.found.push(Mixing { kind, place });
    }

    fn aggregate(&mut self, node: &Aggregate) -> Relation {
        let input = self.relation(&node.input);
        let schema = node.input.schema();
        let grouped: Vec<bool> =
            node.group_expr.iter().map(|expr| tells_day(expr, schema, &input)).collect();
        if input.dated && !grouped.contains(&true) {
            let exprs: Vec<Expr> = node.aggr_expr.iter().chain(&node.group_expr).cloned().collect();
            self.add(MixingKind::Aggregate, &exprs);
        }
        // Rows without a day have been told of; what is joined with them need not be told again.
        let dated = grouped.contains(&true);
        let mut day = grouped;
        day.resize(node.schema.fields().len(), false);
        Relation { day, dated }
    }

    fn window(&mut self, node: &Window) -> Relation {
        let input = self.relation(&node.input);
        let schema = node.input.schema();
        for expr in &node.window_expr {
            if input.dated && !looks_back(expr, schema, &input) {
                self.add(MixingKind::Window, std::slice::from_ref(expr));
            }
        }
        let mut day = input.day;
        day.resize(node.schema.fields().len(), false);
        Relation { day, dated: input.dated }
    }

    fn join(&mut self, node: &Join) -> Relation {
        let (left, right) = (self.relation(&node.left), self.relation(&node.right));
        let both = left.dated && right.dated;
        let related = node.on.iter().any(|(one, other)| {
            tells_day(one, node.left.schema(), &left)
                && tells_day(other, node.right.schema(), &right)
        });
        let mut day = left.day;
        day.extend(right.day);
        let whole = Relation { day, dated: left.dated || right.dated };
        let schema = node.left.schema().join(node.right.schema());
        let compared = match (&node.filter, &schema) {
            (Some(filter), Ok(schema)) => comparisons(filter, false).iter().any(|found| {
                tells_day(found.left, schema, &whole) && tells_day(found.right, schema, &whole)
            }),
            _ => false,
        };
        if both && !related && !compared {
            let exprs: Vec<Expr> =
                node.on.iter().flat_map(|(one, other)| [one.clone(), other.clone()]).collect();
            self.add(MixingKind::Join, &exprs);
        }
        match node.join_type {
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => whole,
            JoinType::LeftSemi
            | JoinType::LeftAnti
            | JoinType::LeftMark
            | JoinType::RightSemi
            | JoinType::RightAnti
            | JoinType::RightMark => {
                let mut day = whole.day;
                if matches!(
                    node.join_type,
                    JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark
                ) {
                    day.drain(..node.left.schema().fields().len());
                }
                day.resize(node.schema.fields().len(), false);
                Relation { day, dated: whole.dated }
            }
        }
    }
}

fn unknown(plan: &LogicalPlan) -> Relation {
    Relation { day: vec![false; plan.schema().fields().len()], dated: false }
}

/// Whether an expression is made from a column that tells the day, and tells no less: a column, or
/// a function of one.
fn tells_day(expr: &Expr, schema: &DFSchema, input: &Relation) -> bool {
    let is_day = |column| {
        schema.maybe_index_of_column(column).is_some_and(|at| input.day.get(at) == Some(&true))
    };
    match expr {
        Expr::Column(column) => is_day(column),
        Expr::Alias(alias) => tells_day(&alias.expr, schema, input),
        Expr::Cast(cast) => tells_day(&cast.expr, schema, input),
        Expr::TryCast(cast) => tells_day(&cast.expr, schema, input),
        Expr::ScalarFunction(call) => call.args.iter().any(|arg| tells_day(arg, schema, input)),
        _ => false,
    }
}

/// Whether a window stays within a day, or reaches from earlier rows to the current one.
fn looks_back(expr: &Expr, schema: &DFSchema, input: &Relation) -> bool {
    let expr = match expr {
        Expr::Alias(alias) => alias.expr.as_ref(),
        other => other,
    };
    let Expr::WindowFunction(window) = expr else { return false };
    let params = &window.params;
    if params.partition_by.iter().any(|by| tells_day(by, schema, input)) {
        return true;
    }
    let is_lead = match &window.fun {
        WindowFunctionDefinition::WindowUDF(function) => {
            matches!(function.name(), "lead" | "ntile" | "percent_rank" | "cume_dist")
        }
        WindowFunctionDefinition::AggregateUDF(_) => false,
    };
    let by_time =
        params.order_by.first().is_some_and(|by| by.asc && tells_day(&by.expr, schema, input));
    by_time && !is_lead && params.window_frame.is_causal()
}

fn place_of(expr: &Expr) -> Option<Place> {
    let mut columns: Vec<Place> = expr
        .column_refs()
        .into_iter()
        .filter_map(|column| column.spans.first())
        .filter_map(|span| {
            let number = |value: u64| usize::try_from(value).ok();
            Some(Place { line: number(span.start.line)?, column: number(span.start.column)? })
        })
        .collect();
    columns.sort();
    columns.into_iter().find(|place| place.line > 0)
}
