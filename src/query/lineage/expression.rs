//! The columns in an expression, each with what the expression does with it.

use datafusion::common::{Column, DFSchemaRef};
use datafusion::logical_expr::expr::{GroupingSet, WindowFunctionDefinition};
use datafusion::logical_expr::{Expr, SortExpr};

use super::influence::{How, Influences, Place, Use};
use super::plan::{Relation, Walker};

/// Aggregates that tell of many values and show none of them.
const FIGURES: [&str; 24] = [
    "count",
    "sum",
    "avg",
    "mean",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "var",
    "var_pop",
    "var_samp",
    "variance",
    "corr",
    "covar",
    "covar_pop",
    "covar_samp",
    "approx_distinct",
    "bool_and",
    "bool_or",
    "bit_and",
    "bit_or",
    "bit_xor",
    "grouping",
    "row_count",
    "regr_count",
];

/// The relations whose columns an expression may name.
pub(super) struct Scope<'a> {
    sides: Vec<(DFSchemaRef, &'a Relation)>,
}

impl<'a> Scope<'a> {
    pub fn new(sides: impl IntoIterator<Item = (DFSchemaRef, &'a Relation)>) -> Self {
        Self { sides: sides.into_iter().collect() }
    }

    pub fn sides(&self) -> impl Iterator<Item = (DFSchemaRef, &'a Relation)> {
        self.sides.iter().map(|(schema, relation)| (schema.clone(), *relation))
    }

    pub fn find(&self, column: &Column) -> Option<&'a Influences> {
        self.sides.iter().find_map(|(schema, relation)| {
            let index = schema.maybe_index_of_column(column)?;
            relation.columns.get(index)
        })
    }
}

impl Walker {
    /// What comes into the value of an expression that is itself used like `how`.
    pub(super) fn value(&mut self, expr: &Expr, scope: &Scope<'_>, how: How) -> Influences {
        let mut into = Influences::default();
        self.add(expr, scope, &Use::new(how, None), &mut into);
        into
    }

    /// Adds what an expression's value depends on. `used` is what is done with the value.
    fn add(&mut self, expr: &Expr, scope: &Scope<'_>, used: &Use, into: &mut Influences) {
        let computed = inner(used, How::Transformation);
        let mut each = |walker: &mut Self, parts: &mut dyn Iterator<Item = &Expr>| {
            for part in parts {
                walker.add(part, scope, &computed, into);
            }
        };
        match expr {
            Expr::Alias(alias) => self.add(&alias.expr, scope, used, into),
            Expr::Column(column) => name(column, scope.find(column), used, into),
            Expr::OuterReferenceColumn(_, column) => {
                name(column, self.outer_column(column).as_ref(), used, into);
            }
            Expr::Literal(..) | Expr::Placeholder(_) | Expr::LambdaVariable(_) => {}
            Expr::ScalarVariable(_, names) => {
                let why = format!("the variable `{}`", names.join("."));
                into.add(&Influences::unknown_for(why));
            }
            Expr::BinaryExpr(binary) => {
                each(self, &mut [&*binary.left, &*binary.right].into_iter());
            }
            Expr::Like(like) | Expr::SimilarTo(like) => {
                each(self, &mut [&*like.expr, &*like.pattern].into_iter());
            }
            Expr::Not(one)
            | Expr::IsNotNull(one)
            | Expr::IsNull(one)
            | Expr::IsTrue(one)
            | Expr::IsFalse(one)
            | Expr::IsUnknown(one)
            | Expr::IsNotTrue(one)
            | Expr::IsNotFalse(one)
            | Expr::IsNotUnknown(one)
            | Expr::Negative(one) => each(self, &mut std::iter::once(&**one)),
            Expr::Between(between) => {
                each(self, &mut [&*between.expr, &*between.low, &*between.high].into_iter());
            }
            Expr::Case(case) => {
                let values = case.when_then_expr.iter().map(|(_, then)| then);
                each(self, &mut values.chain(&case.else_expr).map(|value| &**value));
                let decides = inner(used, How::Conditional);
                let conditions = case.when_then_expr.iter().map(|(when, _)| when);
                for condition in case.expr.iter().chain(conditions) {
                    self.add(condition, scope, &decides, into);
                }
            }
            Expr::Cast(cast) => each(self, &mut std::iter::once(&*cast.expr)),
            Expr::TryCast(cast) => each(self, &mut std::iter::once(&*cast.expr)),
            Expr::ScalarFunction(function) => each(self, &mut function.args.iter()),
            Expr::HigherOrderFunction(function) => each(self, &mut function.args.iter()),
            Expr::Lambda(lambda) => each(self, &mut std::iter::once(&*lambda.body)),
            Expr::InList(list) => {
                each(self, &mut std::iter::once(&*list.expr).chain(&list.list));
            }
            Expr::Unnest(unnest) => each(self, &mut std::iter::once(&*unnest.expr)),
            Expr::GroupingSet(sets) => each(self, &mut grouped(sets).into_iter()),
            Expr::AggregateFunction(function) => {
                let params = &function.params;
                let used = aggregated(used, function.func.name());
                self.add_call(&params.args, params.filter.as_deref(), scope, &used, into);
                self.add_sorts(&params.order_by, scope, &inner(&used, How::Sort), into);
            }
            Expr::WindowFunction(function) => {
                let params = &function.params;
                let used = match &function.fun {
                    WindowFunctionDefinition::AggregateUDF(fun) => aggregated(used, fun.name()),
                    // They give a value of another row, or a number.
                    WindowFunctionDefinition::WindowUDF(_) => computed.clone(),
                };
                let window = inner(&used, How::Window);
                let ordered = !params.partition_by.is_empty() || !params.order_by.is_empty();
                for by in &params.partition_by {
                    self.add(by, scope, &window, into);
                }
                self.add_sorts(&params.order_by, scope, &window, into);
                if ordered {
                    let filter = params.filter.as_deref().into_iter();
                    for condition in filter {
                        self.add(condition, scope, &inner(&used, How::Filter), into);
                    }
                    for argument in &params.args {
                        self.add(argument, scope, &used, into);
                    }
                } else {
                    self.add_call(&params.args, params.filter.as_deref(), scope, &used, into);
                }
            }
            Expr::ScalarSubquery(subquery) => {
                let relation = self.subquery(&subquery.subquery, scope);
                relation.columns.iter().for_each(|column| into.add_through(column, &computed));
                into.add_through(&relation.rows, &computed);
            }
            Expr::InSubquery(test) => {
                self.add(&test.expr, scope, &computed, into);
                let relation = self.subquery(&test.subquery.subquery, scope);
                relation.columns.iter().for_each(|column| into.add_through(column, &computed));
                into.add_through(&relation.rows, &computed);
            }
            Expr::SetComparison(test) => {
                self.add(&test.expr, scope, &computed, into);
                let relation = self.subquery(&test.subquery.subquery, scope);
                relation.columns.iter().for_each(|column| into.add_through(column, &computed));
                into.add_through(&relation.rows, &computed);
            }
            Expr::Exists(test) => {
                // Only whether there are rows matters.
                let relation = self.subquery(&test.subquery.subquery, scope);
                into.add_through(&relation.rows, &computed);
                into.add(&relation.count(&inner(used, How::Filter)));
            }
            #[expect(deprecated, reason = "the enum still has it")]
            Expr::Wildcard { .. } => {
                into.add(&Influences::unknown_for("a `*` that the planner left in place"));
            }
        }
    }

    /// Adds a call's arguments; of one that names no column, such as `count(*)`, the rows.
    fn add_call(
        &mut self,
        arguments: &[Expr],
        filter: Option<&Expr>,
        scope: &Scope<'_>,
        used: &Use,
        into: &mut Influences,
    ) {
        let mut found = Influences::default();
        for argument in arguments {
            self.add(argument, scope, used, &mut found);
        }
        if found.is_empty() {
            for (_, relation) in &scope.sides {
                found.add(&relation.count(used));
            }
        }
        if let Some(condition) = filter {
            self.add(condition, scope, &inner(used, How::Filter), &mut found);
        }
        into.add(&found);
    }

    pub(super) fn add_sorts(
        &mut self,
        sorts: &[SortExpr],
        scope: &Scope<'_>,
        used: &Use,
        into: &mut Influences,
    ) {
        for sort in sorts {
            self.add(&sort.expr, scope, used, into);
        }
    }
}

/// What is done with a part of an expression that is used like `used`.
fn inner(used: &Use, how: How) -> Use {
    let how = how.then(used.how);
    Use { how, shows_values: used.shows_values && how.is_direct(), place: None }
}

fn aggregated(used: &Use, function: &str) -> Use {
    let mut used = inner(used, How::Aggregation);
    used.shows_values &= !FIGURES.contains(&function);
    used
}

/// Adds what stands behind a column's name.
fn name(column: &Column, found: Option<&Influences>, used: &Use, into: &mut Influences) {
    let number = |number: u64| usize::try_from(number).unwrap_or(1).max(1);
    let place = column
        .spans()
        .first()
        .map(|span| Place { line: number(span.start.line), column: number(span.start.column) });
    match found {
        Some(found) => into.add_through(found, &Use { place, ..used.clone() }),
        None => into.add(&Influences::unknown_for(format!("the column `{}`", column.flat_name()))),
    }
}

/// All expressions of grouping sets, repeated ones too.
pub(super) fn grouped(sets: &GroupingSet) -> Vec<&Expr> {
    match sets {
        GroupingSet::Rollup(exprs) | GroupingSet::Cube(exprs) => exprs.iter().collect(),
        GroupingSet::GroupingSets(sets) => sets.iter().flatten().collect(),
    }
}
