//! The nodes of a logical plan, from the tables upwards.

use std::collections::BTreeSet;

use datafusion::common::{Column, DFSchemaRef};
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, Expr, Join, JoinType, LogicalPlan, RecursiveQuery, TableScan,
    Unnest, Values, Window,
};

use super::expression::Scope;
use super::influence::{How, Influences, Origin, ROWS, Use};

/// What a node of a plan makes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Relation {
    /// What comes into each column's values.
    pub columns: Vec<Influences>,
    /// What decides which rows there are.
    pub rows: Influences,
    /// The tables whose rows these rows are made from.
    tables: BTreeSet<String>,
}

impl Relation {
    /// The number of rows, as something that is used.
    pub fn count(&self, used: &Use) -> Influences {
        let mut rows = Influences::default();
        for table in &self.tables {
            let origin = Origin { table: table.clone(), column: ROWS.to_owned() };
            rows.add(&Influences::of(origin, Use { shows_values: false, ..used.clone() }));
        }
        rows
    }

    fn unknown(why: &str, columns: usize) -> Self {
        let why = Influences::unknown_for(why);
        Self { columns: vec![why.clone(); columns], rows: why, tables: BTreeSet::new() }
    }

    /// Puts the rows of another relation with the same columns under these.
    fn append(&mut self, other: &Relation) {
        for (own, others) in self.columns.iter_mut().zip(&other.columns) {
            own.add(others);
        }
        self.rows.add(&other.rows);
        self.tables.extend(other.tables.iter().cloned());
    }

    /// Makes equal rows one: a value in any column decides whether a row is a row of its own.
    fn distinct(mut self) -> Self {
        for column in &self.columns {
            self.rows.add_through(column, &Use::new(How::GroupBy, None));
        }
        self
    }
}

/// Follows columns through a plan.
#[derive(Default)]
pub(super) struct Walker {
    /// Recursive queries whose recursive term is being followed, with what is known of them so far.
    working: Vec<(String, Relation)>,
    /// What correlated subqueries may refer to, the innermost last.
    outer: Vec<(DFSchemaRef, Relation)>,
}

impl Walker {
    /// What a plan makes.
    pub fn relation(&mut self, plan: &LogicalPlan) -> Relation {
        match plan {
            LogicalPlan::Projection(node) => {
                self.projected(&node.input, node.expr.iter(), How::Identity)
            }
            LogicalPlan::Filter(node) => {
                let mut relation = self.relation(&node.input);
                let decides = self.over(&node.input, &relation, [&node.predicate], How::Filter);
                relation.rows.add(&decides);
                relation
            }
            LogicalPlan::Window(node) => self.window(node),
            LogicalPlan::Aggregate(node) => self.aggregate(node),
            LogicalPlan::Sort(node) => {
                let mut relation = self.relation(&node.input);
                let by = node.expr.iter().map(|sort| &sort.expr);
                let decides = self.over(&node.input, &relation, by, How::Sort);
                relation.rows.add(&decides);
                relation
            }
            LogicalPlan::Join(node) => self.join(node),
            LogicalPlan::Repartition(node) => self.relation(&node.input),
            LogicalPlan::Union(node) => {
                let mut inputs = node.inputs.iter();
                let first = inputs.next().map(|input| self.relation(input));
                inputs.fold(first.unwrap_or_default(), |mut all, input| {
                    all.append(&self.relation(input));
                    all
                })
            }
            LogicalPlan::TableScan(node) => self.scan(node),
            LogicalPlan::EmptyRelation(node) => Relation {
                columns: vec![Influences::default(); node.schema.fields().len()],
                ..Relation::default()
            },
            LogicalPlan::Subquery(node) => self.relation(&node.subquery),
            LogicalPlan::SubqueryAlias(node) => self.relation(&node.input),
            LogicalPlan::Limit(node) => {
                let mut relation = self.relation(&node.input);
                let amounts = node.skip.iter().chain(&node.fetch).map(|amount| &**amount);
                let decides = self.over(&node.input, &relation, amounts, How::Filter);
                relation.rows.add(&decides);
                relation
            }
            LogicalPlan::Values(node) => self.values(node),
            LogicalPlan::Distinct(Distinct::All(input)) => self.relation(input).distinct(),
            LogicalPlan::Distinct(Distinct::On(node)) => self.distinct_on(node),
            LogicalPlan::Unnest(node) => self.unnest(node),
            LogicalPlan::RecursiveQuery(node) => self.recursive(node),
            LogicalPlan::Statement(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::Extension(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Ddl(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::DescribeTable(_) => {
                let why = format!("a plan node `{}`", first_word(plan));
                Relation::unknown(&why, plan.schema().fields().len())
            }
        }
    }

    /// What a correlated reference stands for.
    pub fn outer_column(&self, column: &Column) -> Option<Influences> {
        self.outer.iter().rev().find_map(|(schema, relation)| {
            let index = schema.maybe_index_of_column(column)?;
            relation.columns.get(index).cloned()
        })
    }

    /// Follows a subquery of an expression; it may refer to all that the expression may name.
    pub fn subquery(&mut self, plan: &LogicalPlan, scope: &Scope<'_>) -> Relation {
        let depth = self.outer.len();
        self.outer.extend(scope.sides().map(|(schema, relation)| (schema, relation.clone())));
        let relation = self.relation(plan);
        self.outer.truncate(depth);
        relation
    }

    /// What expressions over a relation depend on, together.
    fn over<'e>(
        &mut self,
        input: &LogicalPlan,
        relation: &Relation,
        exprs: impl IntoIterator<Item = &'e Expr>,
        how: How,
    ) -> Influences {
        let scope = Scope::new([(input.schema().clone(), relation)]);
        let mut all = Influences::default();
        for expr in exprs {
            all.add(&self.value(expr, &scope, how));
        }
        all
    }

    fn projected<'e>(
        &mut self,
        input: &LogicalPlan,
        exprs: impl Iterator<Item = &'e Expr>,
        how: How,
    ) -> Relation {
        let relation = self.relation(input);
        let scope = Scope::new([(input.schema().clone(), &relation)]);
        let columns = exprs.map(|expr| self.value(expr, &scope, how)).collect();
        Relation { columns, rows: relation.rows, tables: relation.tables }
    }

    fn window(&mut self, node: &Window) -> Relation {
        let mut relation = self.relation(&node.input);
        let scope = Scope::new([(node.input.schema().clone(), &relation)]);
        let made: Vec<Influences> =
            node.window_expr.iter().map(|expr| self.value(expr, &scope, How::Identity)).collect();
        relation.columns.extend(made);
        relation
    }

    fn aggregate(&mut self, node: &Aggregate) -> Relation {
        let input = self.relation(&node.input);
        let scope = Scope::new([(node.input.schema().clone(), &input)]);
        let Ok(groups) = grouping_set_to_exprlist(&node.group_expr) else {
            let why = "grouping sets that recctl cannot read";
            return Relation::unknown(why, node.schema.fields().len());
        };
        let mut rows = input.rows.clone();
        let mut columns = Vec::with_capacity(node.schema.fields().len());
        for group in groups {
            columns.push(self.value(group, &scope, How::Identity));
            rows.add(&self.value(group, &scope, How::GroupBy));
        }
        // Grouping sets have a column that says which set a row is of: a constant.
        if matches!(node.group_expr.as_slice(), [Expr::GroupingSet(_)]) {
            columns.push(Influences::default());
        }
        for expr in &node.aggr_expr {
            columns.push(self.value(expr, &scope, How::Identity));
        }
        Relation { columns, rows, tables: input.tables.clone() }
    }

    fn join(&mut self, node: &Join) -> Relation {
        let left = self.relation(&node.left);
        // A lateral join's right side may refer to the left one.
        self.outer.push((node.left.schema().clone(), left.clone()));
        let right = self.relation(&node.right);
        self.outer.pop();
        let mut keys = Influences::default();
        for (one, other) in &node.on {
            keys.add(&self.over(&node.left, &left, [one], How::Join));
            keys.add(&self.over(&node.right, &right, [other], How::Join));
        }
        let sides = [(node.left.schema().clone(), &left), (node.right.schema().clone(), &right)];
        let scope = Scope::new(sides);
        if let Some(filter) = &node.filter {
            keys.add(&self.value(filter, &scope, How::Join));
        }
        if node.on.is_empty() && node.filter.is_none() {
            let used = Use::new(How::Join, None);
            keys.add(&left.count(&used));
            keys.add(&right.count(&used));
        }
        let mut rows = left.rows.clone();
        rows.add(&right.rows);
        rows.add(&keys);
        let mut tables = left.tables.clone();
        let columns = match node.join_type {
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                tables.extend(right.tables.iter().cloned());
                left.columns.into_iter().chain(right.columns).collect()
            }
            JoinType::LeftSemi | JoinType::LeftAnti => left.columns,
            JoinType::RightSemi | JoinType::RightAnti => {
                tables.clone_from(&right.tables);
                right.columns
            }
            // The mark says whether there was a match.
            JoinType::LeftMark => {
                let mark = rows.clone();
                left.columns.into_iter().chain([mark]).collect()
            }
            JoinType::RightMark => {
                tables.clone_from(&right.tables);
                let mark = rows.clone();
                right.columns.into_iter().chain([mark]).collect()
            }
        };
        Relation { columns, rows, tables }
    }

    fn scan(&mut self, node: &TableScan) -> Relation {
        let table = node.table_name.table();
        // The table that a recursive term reads is what the recursive query has made so far.
        let working = self.working.iter().rev().find(|(name, _)| name == table);
        if let Some((_, so_far)) = working {
            let columns = match &node.projection {
                Some(indices) => {
                    indices.iter().filter_map(|index| so_far.columns.get(*index).cloned()).collect()
                }
                None => so_far.columns.clone(),
            };
            return Relation { columns, ..so_far.clone() };
        }
        let origin = |name: &String| Origin { table: table.to_owned(), column: name.clone() };
        let fields = node.projected_schema.fields().iter();
        let columns = fields
            .map(|field| Influences::of(origin(field.name()), Use::new(How::Identity, None)))
            .collect();
        let mut rows = Influences::default();
        for filter in &node.filters {
            for column in filter.column_refs() {
                let used = Use::new(How::Filter, None);
                rows.add(&Influences::of(origin(&column.name), used));
            }
        }
        Relation { columns, rows, tables: BTreeSet::from([table.to_owned()]) }
    }

    fn values(&mut self, node: &Values) -> Relation {
        let mut columns = vec![Influences::default(); node.schema.fields().len()];
        for row in &node.values {
            for (column, value) in columns.iter_mut().zip(row) {
                column.add(&self.value(value, &Scope::new([]), How::Identity));
            }
        }
        Relation { columns, ..Relation::default() }
    }

    fn distinct_on(&mut self, node: &DistinctOn) -> Relation {
        let input = self.relation(&node.input);
        let mut rows = self.over(&node.input, &input, &node.on_expr, How::GroupBy);
        let sorts = node.sort_expr.iter().flatten().map(|sort| &sort.expr);
        rows.add(&self.over(&node.input, &input, sorts, How::Sort));
        rows.add(&input.rows);
        let scope = Scope::new([(node.input.schema().clone(), &input)]);
        let chosen = node.select_expr.iter();
        let columns = chosen.map(|expr| self.value(expr, &scope, How::Identity)).collect();
        Relation { columns, rows, tables: input.tables.clone() }
    }

    fn unnest(&mut self, node: &Unnest) -> Relation {
        let input = self.relation(&node.input);
        let taken_apart = |index: &usize| {
            node.struct_type_columns.contains(index)
                || node.list_type_columns.iter().any(|(list, _)| list == index)
        };
        let columns = node.dependency_indices.iter().map(|index| {
            let mut column = Influences::default();
            let how = if taken_apart(index) { How::Transformation } else { How::Identity };
            if let Some(from) = input.columns.get(*index) {
                column.add_through(from, &Use::new(how, None));
            }
            column
        });
        let columns = columns.collect();
        // A list's length decides how many rows there are.
        let mut rows = input.rows.clone();
        for (index, _) in &node.list_type_columns {
            if let Some(list) = input.columns.get(*index) {
                rows.add_through(list, &Use::new(How::Filter, None));
            }
        }
        Relation { columns, rows, tables: input.tables.clone() }
    }

    /// Follows the recursive term until it tells nothing new, which it does after as many rounds as
    /// there are columns at most.
    fn recursive(&mut self, node: &RecursiveQuery) -> Relation {
        let mut so_far = self.relation(&node.static_term);
        loop {
            self.working.push((node.name.clone(), so_far.clone()));
            let round = self.relation(&node.recursive_term);
            self.working.pop();
            let mut more = so_far.clone();
            more.append(&round);
            if more == so_far {
                break;
            }
            so_far = more;
        }
        if node.is_distinct { so_far.distinct() } else { so_far }
    }
}

/// What a plan node calls itself.
fn first_word(plan: &LogicalPlan) -> String {
    let text = plan.display().to_string();
    text.split([':', ' ']).next().unwrap_or_default().to_owned()
}
