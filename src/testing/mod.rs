//! Unit tests of queries: rows in, rows out, on the engine that runs pipelines. Nothing is written,
//! no target is opened.

mod bench;
mod compare;
pub mod draft;
mod mask;
mod outputs;
mod plans;
mod rows;
mod settle;
pub mod slice;

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;

use datafusion::arrow::array::RecordBatch;

use self::bench::Bench;
use self::plans::Plans;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::test::Test;
use crate::query::analysis::Schemas;
use crate::query::session::QueryEngine;
use crate::run::failure::{Failure, Outcome, Problem};
use crate::run::testing::{Mismatch, TestResult, Verdict};

/// A pipeline with the columns of its tables.
#[derive(Debug)]
pub struct Typed {
    /// Pipeline.
    pub pipeline: Pipeline,
    /// Columns by source and table.
    pub schemas: Schemas,
}

/// A test and the pipeline that it is of.
#[derive(Debug, Clone)]
pub struct Case {
    /// The test.
    pub test: Test,
    /// The pipeline.
    pub typed: Arc<Typed>,
}

/// Runs tests on the query threads, as many at once as there are threads, and returns how they
/// ended in the given order. With `fail_fast` the first that does not pass ends all.
pub async fn run_all(
    engine: &Arc<QueryEngine>,
    cases: Vec<Case>,
    fail_fast: bool,
) -> Outcome<Vec<TestResult>> {
    let at_once = engine.limits().threads.max(1) * 2;
    let plans = Arc::new(Plans::default());
    let work = cases.into_iter().map(|case| {
        let (engine, plans) = (Arc::clone(engine), Arc::clone(&plans));
        async move {
            let inner = Arc::clone(&engine);
            engine.compute(async move { Ok(run(&inner, &plans, &case).await) }).await
        }
    });
    let mut running = futures::stream::iter(work).buffered(at_once);
    let mut results = Vec::new();
    while let Some(result) = running.next().await {
        let result = result?;
        let stop = fail_fast && result.verdict != Verdict::Passed;
        results.push(result);
        if stop {
            break;
        }
    }
    Ok(results)
}

/// All rows that a test's query makes of its inputs, with their fates. Errors: what does not fit the
/// query, and what a run would fail with.
pub async fn rows(engine: &Arc<QueryEngine>, case: Case) -> Outcome<RecordBatch> {
    let inner = Arc::clone(engine);
    let work = async move {
        let plans = Plans::default();
        let does_not_fit =
            |problems| Failure::problems("the test does not fit its query", problems);
        let mut bench = Bench::new(&inner, &plans, &case).map_err(does_not_fit)?;
        bench.fill().await.map_err(does_not_fit)?;
        bench.rows().await.map_err(does_not_fit)?
    };
    engine.compute(work).await
}

/// Runs one test.
async fn run(engine: &QueryEngine, plans: &Plans, case: &Case) -> TestResult {
    let started = Instant::now();
    let verdict = match attempt(engine, plans, case).await {
        Ok(mismatches) if mismatches.is_empty() => Verdict::Passed,
        Ok(mismatches) => Verdict::Failed(mismatches),
        Err(problems) => Verdict::Broken(problems),
    };
    let Test { name, place, table, .. } = &case.test;
    TestResult {
        name: name.clone(),
        file: place.file.clone(),
        line: place.line,
        column: place.column,
        table: table.to_string(),
        seconds: started.elapsed().as_secs_f64(),
        verdict,
    }
}

async fn attempt(
    engine: &QueryEngine,
    plans: &Plans,
    case: &Case,
) -> Result<Vec<Mismatch>, Vec<Problem>> {
    let mut bench = Bench::new(engine, plans, case)?;
    bench.fill().await?;
    let mut mismatches = Vec::new();
    let mut problems = Vec::new();
    let of_table = case.test.outputs.iter().find(|expected| expected.cte.is_none());
    if of_table.is_some() || case.test.refused.is_some() {
        match bench.table(of_table).await {
            Ok(found) => mismatches.extend(found),
            Err(found) => problems.extend(found),
        }
    }
    for expected in &case.test.outputs {
        if let Some(cte) = &expected.cte {
            match bench.cte(cte, expected).await {
                Ok(found) => mismatches.extend(found),
                Err(found) => problems.extend(found),
            }
        }
    }
    if problems.is_empty() { Ok(mismatches) } else { Err(problems) }
}
