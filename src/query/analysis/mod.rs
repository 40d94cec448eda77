//! Analysis of SQL without running it: parsing, and type-checking a whole pipeline by passing each
//! step's schema on to the steps that read it. No data is read.

mod columns;
mod depth;
mod explain;
mod manners;
mod planning;
mod repair;
mod statement;
mod statements;
mod syntax;
mod words;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

pub use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::MemoryCatalogProviderList;
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::SessionContext;

pub use self::planning::{parameters, plan};
use self::repair::{Planned, plan_all};
pub use self::statement::parse;
use super::meaning::meaning;
use super::published::table_schema;
use super::raw::source_schema;
use super::session::config;
use super::write::stored_schema;
use crate::pipeline::fingerprint::Meaning;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::lists::{FALLBACK, ListType, RECOMMENDATIONS};
use crate::pipeline::name::Name;
use crate::pipeline::step::{ReadFrom, SqlStep, Step, StepKind, fallback_table};
use crate::pipeline::variable::Variables;
use crate::run::failure::Problem;

/// Schemas of all that SQL can read in a pipeline, as it sees them.
pub type Schemas = BTreeMap<Name, SchemaRef>;

/// What is known of a pipeline's queries without running them.
#[derive(Debug, Clone, Default)]
pub struct Analysis {
    /// The tables that queries make, as far as they could be typed.
    pub tables: BTreeMap<Name, TableAnalysis>,
    /// Schemas of all that queries read or make: sources, tables, and the lists of scoring steps.
    pub schemas: Schemas,
    /// All that is wrong.
    pub problems: Vec<Problem>,
    /// What could not be judged.
    pub unchecked: Vec<Unchecked>,
}

/// What is known of a table that a query makes.
#[derive(Debug, Clone)]
pub struct TableAnalysis {
    /// The table as others read it: without the fate of rows, with `dt` last if it is by day.
    pub schema: SchemaRef,
    /// The query's plan, as written: not optimised, types not adjusted, parameters filled in. Each
    /// scan has the name of the table or source that it reads.
    pub plan: LogicalPlan,
    /// What the query means however it is written, with its parameters left open.
    pub meaning: Option<Meaning>,
}

/// Something that could not be judged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unchecked {
    /// What: a file, or a part of one.
    pub what: String,
    /// Why: `it reads …, which has errors`.
    pub why: String,
}

/// Type-checks the queries of a pipeline, and what else names their columns. Steps after a broken
/// one are checked as far as their inputs are known.
pub async fn analyse(pipeline: &Pipeline) -> Analysis {
    let mut analysis = Analysis { schemas: given_schemas(pipeline), ..Analysis::default() };
    let context = session();
    for (name, schema) in &analysis.schemas {
        know(&context, name, schema);
    }
    // Tables that become known later are seen through it too.
    let state = context.state();
    for step in &pipeline.steps {
        let StepKind::Sql(sql) = &step.kind else { continue };
        analysis.problems.extend(manners::judge(sql));
        if let Some(why) = not_known(sql, pipeline, &analysis) {
            analysis.unchecked.push(Unchecked { what: sql.file.clone(), why });
            continue;
        }
        match table(&state, sql, &pipeline.variables).await {
            Ok((table, problems)) => {
                analysis.problems.extend(problems);
                let known = &analysis.schemas;
                let named = columns::named_of_table(&state, step, sql, &table.schema, known);
                analysis.problems.extend(named);
                analysis.problems.extend(statements::judge(sql, &table.schema).await);
                know(&context, &step.name, &table.schema);
                analysis.schemas.insert(step.name.clone(), Arc::clone(&table.schema));
                analysis.tables.insert(step.name.clone(), table);
            }
            Err(problems) => analysis.problems.extend(problems),
        }
    }
    for step in &pipeline.steps {
        analysis.problems.extend(columns::named_of_others(step, &analysis.schemas));
    }
    analysis
}

/// Schemas that do not depend on queries: of sources and lists.
fn given_schemas(pipeline: &Pipeline) -> Schemas {
    let mut schemas: Schemas = pipeline
        .sources
        .iter()
        .map(|(name, source)| (name.clone(), source_schema(source)))
        .collect();
    for step in &pipeline.steps {
        if let StepKind::Score(score) = &step.kind {
            schemas.insert(step.name.clone(), list_schema(&RECOMMENDATIONS));
            let fallback = Name::new(fallback_table(step.name.as_str()));
            if let (Some(_), Ok(name)) = (&score.fallback, fallback) {
                schemas.insert(name, list_schema(&FALLBACK));
            }
        }
    }
    schemas
}

fn list_schema(columns: &[(&str, ListType)]) -> SchemaRef {
    let typed = |of: ListType| match of {
        ListType::Text => DataType::Utf8,
        ListType::Rank => DataType::Int32,
        ListType::Score => DataType::Float64,
    };
    let fields = columns.iter().map(|(name, of)| Field::new(*name, typed(*of), true));
    table_schema(&Schema::new(fields.collect::<Vec<_>>()), true)
}

/// Why a query cannot be judged, if something that it reads is not known.
fn not_known(sql: &SqlStep, pipeline: &Pipeline, analysis: &Analysis) -> Option<String> {
    let read = sql.reads.iter().find(|read| !analysis.schemas.contains_key(&read.name))?;
    let waits = |step: &Step| match &step.kind {
        StepKind::Sql(sql) => analysis.unchecked.iter().any(|other| other.what == sql.file),
        _ => false,
    };
    let waits = pipeline.step(read.name.as_str()).is_some_and(waits);
    Some(match (waits, read.from) {
        (true, _) => format!("it reads `{}`, which was not checked either", read.name),
        (false, ReadFrom::Source) => format!("it reads source `{}`, which has errors", read.name),
        (false, ReadFrom::Table) => format!("it reads `{}`, which has errors", read.name),
    })
}

/// Whether a query makes the same rows as another one did, with the same values in all of its
/// columns, and at most more columns. Proven by their meaning; `false` says that it is not known.
pub async fn keeps_columns(
    (old, before): (&SqlStep, &Schemas),
    (new, after): (&SqlStep, &Schemas),
    variables: &Variables,
) -> bool {
    let Some(columns) = columns_of(old, before).await else { return false };
    let was = restricted(old, before, variables, &columns).await;
    was.is_some() && was == restricted(new, after, variables, &columns).await
}

/// Where what a query reads can be named.
fn state_for(sql: &SqlStep, schemas: &Schemas) -> SessionState {
    let context = session();
    for read in &sql.reads {
        if let Some(schema) = schemas.get(&read.name) {
            know(&context, &read.name, schema);
        }
    }
    context.state()
}

async fn columns_of(sql: &SqlStep, schemas: &Schemas) -> Option<Vec<String>> {
    let plan = state_for(sql, schemas).create_logical_plan(&sql.text).await.ok()?;
    Some(plan.schema().fields().iter().map(|field| field.name().clone()).collect())
}

/// What a query means of which only some columns are asked for.
async fn restricted(
    sql: &SqlStep,
    schemas: &Schemas,
    variables: &Variables,
    columns: &[String],
) -> Option<Meaning> {
    let state = state_for(sql, schemas);
    let plan = state.create_logical_plan(&sql.text).await.ok()?;
    let asked = columns.iter().map(|name| {
        let found = plan.schema().iter().find(|(_, field)| field.name() == name)?;
        Some(Expr::Column(Column::from(found)))
    });
    let asked: Vec<Expr> = asked.collect::<Option<_>>()?;
    let plan = LogicalPlanBuilder::from(plan).project(asked).ok()?.build().ok()?;
    let date = LogicalDate::new(chrono::NaiveDate::default());
    let values = parameters(Partition::Day(date), date, "run", variables);
    let types = values.iter().map(|(name, value)| (name.clone(), value.data_type())).collect();
    meaning(&state, plan, &types)
}

/// A session that plans as a run does, without tables. Making one from nothing takes longer than
/// planning a query.
fn session() -> SessionContext {
    static STATE: LazyLock<SessionState> = LazyLock::new(|| {
        SessionStateBuilder::new().with_config(config(1)).with_default_features().build()
    });
    let state = SessionStateBuilder::new_from_existing(STATE.clone())
        .with_config(config(1))
        .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()));
    SessionContext::new_with_state(state.build())
}

/// Lets queries read a table. That it cannot be known twice is seen to by names.
fn know(context: &SessionContext, name: &Name, schema: &SchemaRef) {
    let table = Arc::new(EmptyTable::new(Arc::clone(schema)));
    let _ = context.register_table(name.as_str(), table);
}

/// Plans a query and returns its table, and what is wrong with its columns.
async fn table(
    state: &SessionState,
    sql: &SqlStep,
    variables: &Variables,
) -> Result<(TableAnalysis, Vec<Problem>), Vec<Problem>> {
    // Any date does: only types matter here.
    let date = LogicalDate::new(chrono::NaiveDate::default());
    let partition = if sql.partitioned { Partition::Day(date) } else { Partition::Whole };
    let mut values = parameters(partition, date, "run", variables);
    // A parameter that nobody knows has been told of: anything may stand in its place.
    for name in &sql.parameters {
        values.entry(name.clone()).or_insert(ScalarValue::Null);
    }
    let Planned { open, plan, optimised } = plan_all(state, sql, &values).await?;
    let types = values.iter().map(|(name, value)| (name.clone(), value.data_type())).collect();
    let meaning = meaning(state, open, &types);
    let made = optimised.schema().inner();
    let problems = columns::special(sql, made);
    let schema = table_schema(&stored_schema(made, partition), sql.partitioned);
    Ok((TableAnalysis { schema, plan, meaning }, problems))
}
