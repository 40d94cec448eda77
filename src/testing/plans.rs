//! Plans that tests share. Tests of one query for one day differ only in their rows, and planning
//! takes longer than running over a few rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::LogicalPlan;

use crate::pipeline::interval::LogicalDate;
use crate::pipeline::test::Test;

/// All that a plan depends on beside rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    query: [String; 3],
    replaced: Vec<String>,
    date: LogicalDate,
    now: DateTime<Utc>,
    variables: String,
    schemas: Vec<(String, SchemaRef)>,
}

impl Key {
    /// The key of a test's query, or of one of its CTEs.
    pub(super) fn new(
        test: &Test,
        cte: Option<&str>,
        replaced: &[String],
        date: LogicalDate,
        now: DateTime<Utc>,
        tables: &BTreeMap<String, Arc<MemTable>>,
    ) -> Self {
        use datafusion::catalog::TableProvider;
        Self {
            query: [
                test.pipeline.to_string(),
                test.table.to_string(),
                cte.unwrap_or_default().to_owned(),
            ],
            replaced: replaced.to_vec(),
            date,
            now,
            variables: format!("{:?}", test.variables),
            schemas: tables.iter().map(|(name, it)| (name.clone(), it.schema())).collect(),
        }
    }
}

/// Plans by what they depend on.
#[derive(Debug, Default)]
pub(super) struct Plans(Mutex<HashMap<Key, LogicalPlan>>);

impl Plans {
    /// Keeps an optimised plan.
    pub(super) fn keep(&self, key: Key, plan: &LogicalPlan) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, plan.clone());
    }

    /// The plan of the same query over other rows, if there is one.
    pub(super) fn over(
        &self,
        key: &Key,
        tables: &BTreeMap<String, Arc<MemTable>>,
    ) -> Option<Result<LogicalPlan>> {
        let plan = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()?;
        let swapped = plan.transform_up_with_subqueries(|node| {
            let LogicalPlan::TableScan(mut scan) = node else { return Ok(Transformed::no(node)) };
            let Some(table) = tables.get(scan.table_name.table()) else {
                let message = format!("no rows for `{}`", scan.table_name);
                return Err(DataFusionError::Internal(message));
            };
            scan.source = provider_as_source(Arc::clone(table) as _);
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        });
        Some(swapped.data())
    }
}
