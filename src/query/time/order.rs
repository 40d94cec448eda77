//! Whether one time of a row is never later than another.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::DFSchema;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, Join, JoinType, LogicalPlan};

use super::instant::{AtMost, comparisons, instant};

/// What is known of the order of two columns of a query's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The first is never later than the second, or one of them is NULL.
    NotLater,
    /// The query asks for the contrary.
    Later,
    /// Nothing in the query says so.
    Open,
    /// A column cannot be followed to where it is read.
    Unknown,
}

/// Decides whether `earlier` is never later than `later`, from the conditions of filters and joins
/// alone. Columns are followed through projections, joins, aggregates that take the largest or the
/// smallest, and everything that leaves rows as they are; what is computed is not.
///
/// `NotLater` is proven. The others may be too little said: the data may hold what no condition says.
pub fn order(plan: &LogicalPlan, earlier: &str, later: &str) -> Order {
    let mut walk = Walk::default();
    let columns = walk.columns(plan);
    let value = |name: &str| {
        let at = plan.schema().index_of_column_by_name(None, name)?;
        columns.get(at).copied()
    };
    let (Some(one), Some(other)) = (value(earlier), value(later)) else { return Order::Unknown };
    // The smallest of several labels may be earlier than the one that a condition compares with.
    if other.kind() == Some(Kind::Least) && one.kind() != Some(Kind::Least) {
        return Order::Open;
    }
    walk.facts.order(one.node(), other.node())
}

/// What a column of a node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// A column as a table has it.
    Read(usize),
    /// The largest or the smallest of one.
    Of(Kind, usize),
    /// An instant.
    Fixed(i64),
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Largest,
    Least,
}

/// What can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Column(usize),
    Fixed(i64),
}

impl Value {
    fn node(self) -> Option<Node> {
        match self {
            Self::Read(id) | Self::Of(_, id) => Some(Node::Column(id)),
            Self::Fixed(at) => Some(Node::Fixed(at)),
            Self::Unknown => None,
        }
    }

    fn kind(self) -> Option<Kind> {
        match self {
            Self::Of(kind, _) => Some(kind),
            Self::Read(_) | Self::Fixed(_) | Self::Unknown => None,
        }
    }
}

#[derive(Debug, Default)]
struct Facts {
    /// What a thing is at most.
    at_most: BTreeMap<Node, BTreeSet<Node>>,
}

impl Facts {
    fn order(&self, one: Option<Node>, other: Option<Node>) -> Order {
        let (Some(one), Some(other)) = (one, other) else { return Order::Unknown };
        if one == other || self.reaches(one, other) {
            Order::NotLater
        } else if self.reaches(other, one) {
            Order::Later
        } else {
            Order::Open
        }
    }

    fn reaches(&self, from: Node, to: Node) -> bool {
        let mut waiting = vec![from];
        let mut seen = BTreeSet::new();
        while let Some(node) = waiting.pop() {
            if node == to {
                return true;
            }
            if let (Node::Fixed(at), Node::Fixed(end)) = (node, to)
                && at <= end
            {
                return true;
            }
            if !seen.insert(node) {
                continue;
            }
            waiting.extend(self.at_most.get(&node).into_iter().flatten().copied());
            if let Node::Fixed(at) = node {
                // Instants are in order by themselves.
                let later = self.at_most.keys().filter(|other| match other {
                    Node::Fixed(other) => *other > at,
                    Node::Column(_) => false,
                });
                waiting.extend(later.copied());
            }
        }
        false
    }
}

#[derive(Debug, Default)]
struct Walk {
    facts: Facts,
    next: usize,
}

impl Walk {
    fn fresh(&mut self) -> Value {
        self.next += 1;
        Value::Read(self.next)
    }

    fn columns(&mut self, plan: &LogicalPlan) -> Vec<Value> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                scan.projected_schema.fields().iter().map(|_| self.fresh()).collect()
            }
            LogicalPlan::Projection(node) => {
                let input = self.columns(&node.input);
                let schema = node.input.schema();
                node.expr.iter().map(|expr| value(expr, schema, &input)).collect()
            }
            LogicalPlan::Filter(node) => {
                let input = self.columns(&node.input);
                let found = comparisons(&node.predicate, false);
                self.learn(&found, node.input.schema(), &input, |_| true);
                input
            }
            LogicalPlan::Join(node) => self.join(node),
            LogicalPlan::Aggregate(node) => self.aggregate(node),
            LogicalPlan::Window(node) => {
                let mut columns = self.columns(&node.input);
                columns.resize(node.schema.fields().len(), Value::Unknown);
                columns
            }
            LogicalPlan::Sort(node) => self.columns(&node.input),
            LogicalPlan::Limit(node) => self.columns(&node.input),
            LogicalPlan::SubqueryAlias(node) => self.columns(&node.input),
            LogicalPlan::Repartition(node) => self.columns(&node.input),
            LogicalPlan::Distinct(Distinct::All(input)) => self.columns(input),
            // Conditions of one part of a union say nothing of the others.
            other => vec![Value::Unknown; other.schema().fields().len()],
        }
    }

    fn join(&mut self, node: &Join) -> Vec<Value> {
        let left = self.columns(&node.left);
        let right = self.columns(&node.right);
        let width = left.len();
        let columns: Vec<Value> = left.into_iter().chain(right).collect();
        let Ok(schema) = node.left.schema().join(node.right.schema()) else {
            return vec![Value::Unknown; node.schema.fields().len()];
        };
        // A condition of an outer join takes no row of the kept side away; where it does not hold,
        // the other side is NULL. So it counts if it speaks of that side.
        let (needs_left, needs_right) = match node.join_type {
            JoinType::Left => (false, true),
            JoinType::Right => (true, false),
            JoinType::Full => (true, true),
            _ => (false, false),
        };
        let speaks = |places: &[usize]| {
            let left = places.iter().any(|at| *at < width);
            let right = places.iter().any(|at| *at >= width);
            (left || !needs_left) && (right || !needs_right)
        };
        let mut found: Vec<AtMost<'_>> = Vec::new();
        if let Some(condition) = &node.filter {
            found.extend(comparisons(condition, false));
        }
        for (one, other) in &node.on {
            found.push(AtMost { left: one, right: other, strict: false });
            found.push(AtMost { left: other, right: one, strict: false });
        }
        self.learn(&found, &schema, &columns, speaks);
        let mut kept = match node.join_type {
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                columns.into_iter().skip(width).collect()
            }
            _ => columns,
        };
        kept.resize(node.schema.fields().len(), Value::Unknown);
        kept
    }

    fn aggregate(&mut self, node: &Aggregate) -> Vec<Value> {
        let input = self.columns(&node.input);
        let schema = node.input.schema();
        let mut columns: Vec<Value> =
            node.group_expr.iter().map(|expr| value(expr, schema, &input)).collect();
        for expr in &node.aggr_expr {
            let expr = match expr {
                Expr::Alias(alias) => alias.expr.as_ref(),
                other => other,
            };
            columns.push(match expr {
                Expr::AggregateFunction(call) => {
                    let kind = match call.func.name() {
                        "max" => Some(Kind::Largest),
                        "min" => Some(Kind::Least),
                        _ => None,
                    };
                    let of = call.params.args.first().map(|arg| value(arg, schema, &input));
                    match (kind, of) {
                        (Some(kind), Some(Value::Read(id))) => Value::Of(kind, id),
                        _ => Value::Unknown,
                    }
                }
                _ => Value::Unknown,
            });
        }
        columns.resize(node.schema.fields().len(), Value::Unknown);
        columns
    }

    fn learn(
        &mut self,
        found: &[AtMost<'_>],
        schema: &DFSchema,
        columns: &[Value],
        speaks: impl Fn(&[usize]) -> bool,
    ) {
        for AtMost { left, right, .. } in found {
            let places: Vec<usize> = [left, right]
                .into_iter()
                .flat_map(|expr| expr.column_refs())
                .filter_map(|column| schema.maybe_index_of_column(column))
                .collect();
            let (left, right) = (value(left, schema, columns), value(right, schema, columns));
            // What the smallest is at most, not all are; and so the other way round.
            if left.kind() == Some(Kind::Least) || right.kind() == Some(Kind::Largest) {
                continue;
            }
            if let (Some(left), Some(right), true) = (left.node(), right.node(), speaks(&places)) {
                self.facts.at_most.entry(left).or_default().insert(right);
                self.facts.at_most.entry(right).or_default();
            }
        }
    }
}

fn value(expr: &Expr, schema: &DFSchema, columns: &[Value]) -> Value {
    if let Some(at) = instant(expr) {
        return Value::Fixed(at);
    }
    match expr {
        Expr::Column(column) => schema
            .maybe_index_of_column(column)
            .and_then(|at| columns.get(at).copied())
            .unwrap_or(Value::Unknown),
        Expr::Alias(alias) => value(&alias.expr, schema, columns),
        _ => Value::Unknown,
    }
}
