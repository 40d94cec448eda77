//! A query as a tree, and the same with one of its CTEs selected or taken out.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{DFParser, Statement as DfStatement};
use datafusion::sql::sqlparser::ast::{Cte, Ident, Query, Statement};

use super::checks::quote;
use crate::pipeline::nearest::nearest;

/// One query.
#[derive(Debug, Clone)]
pub struct QueryTree(Query);

impl QueryTree {
    /// Reads a query. Errors: a text that is no single query.
    pub fn parse(text: &str) -> Result<Self> {
        let mut statements = DFParser::parse_sql(text)?;
        match (statements.pop_front(), statements.is_empty()) {
            (Some(DfStatement::Statement(statement)), true) => match *statement {
                Statement::Query(query) => Ok(Self(*query)),
                _ => Err(DataFusionError::Plan("expected a query".to_owned())),
            },
            _ => Err(DataFusionError::Plan("expected one query".to_owned())),
        }
    }

    /// Names of the CTEs of its outermost `WITH`.
    pub fn ctes(&self) -> Vec<String> {
        self.tables().iter().map(name_of).collect()
    }

    /// What may have been meant by the name of a CTE that there is not.
    pub fn instead_of(&self, name: &str) -> String {
        let ctes = self.ctes();
        match nearest(name, ctes.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if ctes.is_empty() => "the query has no `WITH`".to_owned(),
            None => format!("expected one of `{}`", ctes.join("`, `")),
        }
    }

    fn tables(&self) -> &[Cte] {
        self.0.with.as_ref().map_or(&[], |with| with.cte_tables.as_slice())
    }

    /// `WITH … SELECT * FROM name`, if there is such a CTE.
    pub fn selecting(&self, name: &str) -> Result<Option<Self>> {
        if !self.tables().iter().any(|cte| name_of(cte) == name) {
            return Ok(None);
        }
        let mut query = Self::parse(&format!("SELECT * FROM {}", quote(name)))?;
        query.0.with.clone_from(&self.0.with);
        Ok(Some(query))
    }

    /// The same without these CTEs: their names then mean tables.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        let mut query = self.0.clone();
        if let Some(with) = &mut query.with {
            with.cte_tables.retain(|cte| !names.contains(&name_of(cte).as_str()));
            if with.cte_tables.is_empty() {
                query.with = None;
            }
        }
        Self(query)
    }

    /// Plans the query with parameters filled in and types checked, as of an instant that `now()`
    /// then gives. The state is the one to run the plan with.
    pub async fn plan(
        &self,
        context: &SessionContext,
        parameters: HashMap<String, ScalarValue>,
        now: Option<DateTime<Utc>>,
    ) -> Result<(LogicalPlan, SessionState)> {
        let mut state = context.state();
        if let Some(now) = now {
            state.execution_props_mut().query_execution_start_time = Some(now);
        }
        let statement = Statement::Query(Box::new(self.0.clone()));
        let plan = state.statement_to_plan(DfStatement::Statement(Box::new(statement))).await?;
        let values = parameters
            .into_iter()
            .map(|(name, value)| (name, ScalarAndMetadata::new(value, None)))
            .collect();
        let plan = plan.with_param_values(ParamValues::Map(values))?;
        Ok((state.optimize(&plan)?, state))
    }
}

/// The name as queries know it: without quotes it is in small letters.
fn name_of(cte: &Cte) -> String {
    let Ident { value, quote_style, .. } = &cte.alias.name;
    if quote_style.is_some() { value.clone() } else { value.to_lowercase() }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;

    use super::*;

    async fn rows(query: &QueryTree, now: Option<DateTime<Utc>>) -> String {
        let context = SessionContext::new();
        let one = context.sql("SELECT 5 AS n").await.unwrap();
        context.register_table("given", one.into_view()).unwrap();
        let (plan, state) = query.plan(&context, HashMap::new(), now).await.unwrap();
        let physical = state.query_planner().create_physical_plan(&plan, &state).await.unwrap();
        let batches = datafusion::physical_plan::collect(physical, state.task_ctx()).await.unwrap();
        pretty_format_batches(&batches).unwrap().to_string()
    }

    #[tokio::test]
    async fn a_cte_is_selected_or_replaced() {
        let query = QueryTree::parse(
            "WITH one AS (SELECT 1 AS n), Two AS (SELECT n + 1 AS n FROM one) \
             SELECT n * 10 AS n FROM two",
        )
        .unwrap();
        assert_eq!(query.ctes(), ["one", "two"]);
        assert!(rows(&query, None).await.contains("| 20 |"));
        let two = query.selecting("two").unwrap().unwrap();
        assert!(rows(&two, None).await.contains("| 2 |"));
        assert!(query.selecting("three").unwrap().is_none());
        let query = QueryTree::parse("WITH given AS (SELECT 1 AS n) SELECT n FROM given").unwrap();
        assert!(rows(&query, None).await.contains("| 1 |"));
        assert!(rows(&query.without(&["given"]), None).await.contains("| 5 |"));
    }

    #[tokio::test]
    async fn the_time_stands_still() {
        let query = QueryTree::parse("SELECT now() AS n, current_date() AS d").unwrap();
        let now = DateTime::parse_from_rfc3339("2026-03-02T03:04:05Z").unwrap();
        let told = rows(&query, Some(now.with_timezone(&Utc))).await;
        assert!(told.contains("2026-03-02T03:04:05") && told.contains("| 2026-03-02 |"), "{told}");
    }
}
