//! From a statement's text to a plan.

use std::collections::HashMap;

use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;

use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::variable::{Value, Variables};

/// Plans a statement with parameters filled in and types checked.
pub async fn plan(
    context: &SessionContext,
    text: &str,
    parameters: HashMap<String, ScalarValue>,
) -> Result<LogicalPlan, DataFusionError> {
    let state = context.state();
    let plan = state.create_logical_plan(text).await?;
    state.optimize(&filled(plan, parameters)?)
}

/// A plan with values in the place of parameters.
pub(super) fn filled(
    plan: LogicalPlan,
    parameters: HashMap<String, ScalarValue>,
) -> Result<LogicalPlan, DataFusionError> {
    let values = parameters
        .into_iter()
        .map(|(name, value)| (name, ScalarAndMetadata::new(value, None)))
        .collect();
    plan.with_param_values(ParamValues::Map(values))
}

/// The values of a query's parameters.
pub fn parameters(
    partition: Partition,
    date: LogicalDate,
    run: &str,
    variables: &Variables,
) -> HashMap<String, ScalarValue> {
    let day = partition.date().unwrap_or(date);
    let interval = day.interval();
    let instant = |at: chrono::DateTime<chrono::Utc>| {
        ScalarValue::TimestampMicrosecond(Some(at.timestamp_micros()), Some("UTC".into()))
    };
    let mut values = HashMap::from([
        ("logical_date".to_owned(), ScalarValue::Date32(Some(day.days_since_epoch()))),
        ("interval_start".to_owned(), instant(interval.start)),
        ("interval_end".to_owned(), instant(interval.end)),
        ("run_id".to_owned(), ScalarValue::Utf8(Some(run.to_owned()))),
    ]);
    for (name, value) in variables {
        let value = match value {
            Value::String(text) => ScalarValue::Utf8(Some(text.clone())),
            Value::Int(value) => ScalarValue::Int64(Some(*value)),
            Value::Double(value) => ScalarValue::Float64(Some(*value)),
            Value::Boolean(value) => ScalarValue::Boolean(Some(*value)),
        };
        values.insert(name.clone(), value);
    }
    values
}
