//! Prints plans with the places of columns instead of their names.

use datafusion::common::DFSchema;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Aggregate, Distinct, Join, LogicalPlan, TableScan};

use super::expression::{Scope, all, printed as expression, sort};

/// Prints a plan with the names and types of what it makes, in order; `None` if a part of it has no
/// form that is free of how it is written.
pub(super) fn printed(plan: &LogicalPlan) -> Option<String> {
    let columns: Vec<String> = plan
        .schema()
        .fields()
        .iter()
        .map(|field| format!("{:?} {}", field.name(), field.data_type()))
        .collect();
    Some(format!("({}) {}", columns.join(", "), node(plan, None)?))
}

/// Prints a query that stands inside of an expression.
pub(super) fn inside(plan: &LogicalPlan, around: &Scope<'_>) -> Option<String> {
    node(plan, Some(around))
}

fn node(plan: &LogicalPlan, outer: Option<&Scope<'_>>) -> Option<String> {
    let scope = |input: &'_ LogicalPlan| -> Vec<DFSchema> { vec![DFSchema::clone(input.schema())] };
    let of = |schemas: &[DFSchema], work: &dyn Fn(&Scope<'_>) -> Option<String>| {
        work(&Scope { inputs: schemas.iter().collect(), outer })
    };
    match plan {
        // Names of relations and columns are told by their places.
        LogicalPlan::SubqueryAlias(alias) => node(&alias.input, outer),
        LogicalPlan::Subquery(subquery) => node(&subquery.subquery, outer),
        LogicalPlan::Projection(projection) => {
            let columns = of(&scope(&projection.input), &|scope| {
                Some(all(&projection.expr, scope)?.join("; "))
            })?;
            Some(format!("project[{columns}]({})", node(&projection.input, outer)?))
        }
        LogicalPlan::Filter(filter) => {
            let conditions = of(&scope(&filter.input), &|scope| {
                let mut conditions = all(split_conjunction(&filter.predicate), scope)?;
                conditions.sort();
                conditions.dedup();
                Some(conditions.join("; "))
            })?;
            Some(format!("filter[{conditions}]({})", node(&filter.input, outer)?))
        }
        LogicalPlan::Window(window) => {
            let columns = of(&scope(&window.input), &|scope| {
                Some(all(&window.window_expr, scope)?.join("; "))
            })?;
            Some(format!("window[{columns}]({})", node(&window.input, outer)?))
        }
        LogicalPlan::Aggregate(Aggregate { input, group_expr, aggr_expr, .. }) => {
            let columns = of(&scope(input), &|scope| {
                let groups = all(group_expr, scope)?.join("; ");
                Some(format!("{groups}][{}", all(aggr_expr, scope)?.join("; ")))
            })?;
            Some(format!("aggregate[{columns}]({})", node(input, outer)?))
        }
        LogicalPlan::Sort(sorted) => {
            let keys = of(&scope(&sorted.input), &|scope| {
                let keys: Option<Vec<_>> = sorted.expr.iter().map(|key| sort(key, scope)).collect();
                Some(keys?.join("; "))
            })?;
            Some(format!("sort[{keys}][{:?}]({})", sorted.fetch, node(&sorted.input, outer)?))
        }
        LogicalPlan::Join(join) => joined(join, outer),
        LogicalPlan::Union(union) => {
            let inputs: Option<Vec<_>> =
                union.inputs.iter().map(|input| node(input, outer)).collect();
            Some(format!("union({})", inputs?.join(" ")))
        }
        LogicalPlan::TableScan(table) => scanned(table, outer),
        LogicalPlan::EmptyRelation(empty) => {
            let columns = empty.schema.fields().len();
            Some(format!("empty[{} {columns}]", empty.produce_one_row))
        }
        LogicalPlan::Values(values) => {
            let nothing = Scope { inputs: Vec::new(), outer };
            let rows: Option<Vec<_>> =
                values.values.iter().map(|row| Some(all(row, &nothing)?.join("; "))).collect();
            Some(format!("values[{}]", rows?.join("] [")))
        }
        LogicalPlan::Limit(limit) => {
            let nothing = Scope { inputs: Vec::new(), outer };
            let skip = all(limit.skip.as_deref(), &nothing)?;
            let fetch = all(limit.fetch.as_deref(), &nothing)?;
            Some(format!("limit[{skip:?} {fetch:?}]({})", node(&limit.input, outer)?))
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            Some(format!("distinct({})", node(input, outer)?))
        }
        // What has no form here is compared by its text.
        LogicalPlan::Distinct(Distinct::On(_))
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Statement(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Extension(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::DescribeTable(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::RecursiveQuery(_) => None,
    }
}

fn joined(join: &Join, outer: Option<&Scope<'_>>) -> Option<String> {
    let side = |input: &'_ LogicalPlan| DFSchema::clone(input.schema());
    let (left, right) = (side(&join.left), side(&join.right));
    let mut keys = Vec::new();
    for (one, other) in &join.on {
        let one = expression(one, &Scope { inputs: vec![&left], outer })?;
        let other = expression(other, &Scope { inputs: vec![&right], outer })?;
        keys.push(format!("{one} = {other}"));
    }
    keys.sort();
    let both = Scope { inputs: vec![&left, &right], outer };
    let mut filters = match &join.filter {
        Some(filter) => all(split_conjunction(filter), &both)?,
        None => Vec::new(),
    };
    filters.sort();
    Some(format!(
        "join[{} {:?} {}][{}][{}]({})({})",
        join.join_type,
        join.null_equality,
        join.null_aware,
        keys.join("; "),
        filters.join("; "),
        node(&join.left, outer)?,
        node(&join.right, outer)?
    ))
}

fn scanned(table: &TableScan, outer: Option<&Scope<'_>>) -> Option<String> {
    let schema = table.source.schema();
    let columns: Vec<&str> =
        table.projected_schema.fields().iter().map(|field| field.name().as_str()).collect();
    let all_columns =
        DFSchema::try_from_qualified_schema(table.table_name.clone(), &schema).ok()?;
    let mut filters = all(&table.filters, &Scope { inputs: vec![&all_columns], outer })?;
    filters.sort();
    Some(format!(
        "scan[{:?} {columns:?} {:?}][{}]",
        table.table_name.table(),
        table.fetch,
        filters.join("; ")
    ))
}
