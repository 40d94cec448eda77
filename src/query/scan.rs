//! Reads tables whole.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::execution::context::SQLOptions;
use datafusion::prelude::ParquetReadOptions;
use futures::StreamExt;
use tokio_util::task::AbortOnDropHandle;

use super::content_hash::ContentHash;
use super::session::{QueryEngine, QuerySession, failure_of};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Counts and hashes the rows of a table.
pub async fn rows_and_hash(
    session: QuerySession,
    table: impl TableProvider + 'static,
) -> Outcome<(u64, ContentHash)> {
    let doing = "read a table back";
    let frame =
        session.context.read_table(Arc::new(table)).map_err(|error| failure_of(error, doing))?;
    let mut stream = frame.execute_stream().await.map_err(|error| failure_of(error, doing))?;
    let (mut rows, mut hash) = (0, ContentHash::default());
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|error| failure_of(error, doing))?;
        rows += batch.num_rows() as u64;
        hash.add(&batch).map_err(|error| {
            Failure::new(FailureKind::Internal, format!("cannot hash rows: {error}"))
        })?;
    }
    Ok((rows, hash))
}

/// The schema of a Parquet file of the lake.
pub async fn file_schema(session: &QuerySession, path: &str) -> Outcome<SchemaRef> {
    let url = format!("{}/{path}", super::lake::LAKE_URL);
    let options = ParquetReadOptions::default();
    let frame = session.context.read_parquet(url, options).await;
    let frame = frame.map_err(|error| failure_of(error, &format!("read `{path}`")))?;
    Ok(Arc::clone(frame.schema().inner()))
}

/// Queries read: what changes tables or files goes through pipelines, where it is accounted for.
fn read_only() -> SQLOptions {
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false)
}

/// Rows of a query that is computed on the query threads, batch by batch.
#[derive(Debug)]
pub struct Rows {
    schema: SchemaRef,
    batches: tokio::sync::mpsc::Receiver<Outcome<RecordBatch>>,
    /// Dropping the rows ends the query.
    _query: AbortOnDropHandle<()>,
}

impl Rows {
    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next batch; `None` at the end.
    pub async fn next(&mut self) -> Outcome<Option<RecordBatch>> {
        self.batches.recv().await.transpose()
    }
}

/// Runs a query over the tables that are registered in the session.
pub async fn rows(engine: &QueryEngine, session: QuerySession, sql: &str) -> Outcome<Rows> {
    let doing = "run the query";
    let sql = sql.to_owned();
    let stream = engine.compute(async move {
        let frame = session.context.sql_with_options(&sql, read_only()).await;
        let frame = frame.map_err(|error| failure_of(error, doing))?;
        frame.execute_stream().await.map_err(|error| failure_of(error, doing))
    });
    let mut stream = stream.await?;
    let schema = stream.schema();
    let (sender, batches) = tokio::sync::mpsc::channel(2);
    let query = engine.spawn(async move {
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| failure_of(error, doing));
            if sender.send(batch).await.is_err() {
                return;
            }
        }
    })?;
    Ok(Rows { schema, batches, _query: query })
}
