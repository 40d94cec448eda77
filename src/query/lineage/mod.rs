//! Column lineage of queries: for each column that a query makes, the columns of tables and sources
//! that it is made from, and those that decide on its value or on which rows there are.
//!
//! Read off the logical plan as the planner made it, before anything is optimised: an optimised plan
//! may have lost what a column's value does not depend on today. An input column that is named
//! nowhere here can change without changing the output; a column that is named may still do nothing.

mod expression;
mod influence;
mod plan;
mod text;

use datafusion::arrow::datatypes::Schema;
use datafusion::logical_expr::LogicalPlan;

pub use self::influence::{How, Influences, Origin, Place, ROWS, Use};
pub use self::text::Statement;
use crate::pipeline::step::FATE_COLUMN;

/// The lineage of one table, or of a query's result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableLineage {
    /// Its columns, in order.
    pub columns: Vec<ColumnLineage>,
    /// What decides which rows there are. It bears on every column.
    pub rows: Influences,
    /// What decides on the fate of each row that the query reads, if it says `_fate`. Among `rows` too.
    pub fate: Option<Influences>,
}

/// The lineage of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnLineage {
    /// Its name.
    pub name: String,
    /// What its values are made from and decided by, without what decides on rows.
    pub from: Influences,
}

impl TableLineage {
    /// Follows the columns of a plan's result.
    pub fn of_plan(plan: &LogicalPlan) -> Self {
        let relation = plan::Walker::default().relation(plan);
        let names = plan.schema().fields().iter().map(|field| field.name().clone());
        let columns = names.zip(relation.columns);
        Self {
            columns: columns.map(|(name, from)| ColumnLineage { name, from }).collect(),
            rows: relation.rows,
            fate: None,
        }
    }

    /// Follows the columns of a table that a query makes, as readers see it. What the query says in
    /// `_fate` decides on rows.
    pub fn of_table(plan: &LogicalPlan, visible: &Schema) -> Self {
        let mut whole = Self::of_plan(plan);
        let fate = whole.column(FATE_COLUMN).map(|fate| fate.from.clone());
        if let Some(fate) = &fate {
            whole.rows.add_through(fate, &Use::new(How::Filter, None));
        }
        let column = |name: &str| match whole.column(name) {
            Some(column) => column.clone(),
            None => ColumnLineage {
                name: name.to_owned(),
                from: Influences::unknown_for(format!("the query makes no column `{name}`")),
            },
        };
        let columns = visible.fields().iter().map(|field| column(field.name())).collect();
        Self { columns, rows: whole.rows, fate }
    }

    /// The lineage of a column.
    pub fn column(&self, name: &str) -> Option<&ColumnLineage> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether changing the values of an input column can change an output column: in a value or
    /// through which rows there are.
    pub fn may_depend_on(&self, output: &str, table: &str, column: &str) -> bool {
        self.rows.may_depend_on(table, column)
            || self.column(output).is_none_or(|it| it.from.may_depend_on(table, column))
    }
}

#[cfg(test)]
mod tests;
