//! Reads tables whole.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::prelude::ParquetReadOptions;
use futures::StreamExt;

use super::content_hash::ContentHash;
use super::session::{QuerySession, failure_of};
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

/// Runs a query over tables that are registered in the session and streams its rows.
pub async fn stream(session: &QuerySession, sql: &str) -> Outcome<SendableRecordBatchStream> {
    let doing = "run the query";
    let frame = session.context.sql_with_options(sql, read_only()).await;
    let frame = frame.map_err(|error| failure_of(error, doing))?;
    frame.execute_stream().await.map_err(|error| failure_of(error, doing))
}

/// Takes the next batch of a stream.
pub async fn next(stream: &mut SendableRecordBatchStream) -> Outcome<Option<RecordBatch>> {
    let batch = stream.next().await.transpose();
    batch.map_err(|error| failure_of(error, "run the query"))
}
