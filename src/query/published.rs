//! Published (or staged) partitions as a table.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchemaBuilder;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::lake::LAKE_URL;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::step::PARTITION_COLUMN;
use crate::ports::PartitionEntry;

/// An exact list of partitions: what the catalog pointed at when a plan was made, so that a query
/// sees one state of the table however long it runs.
#[derive(Debug)]
pub struct PublishedTable {
    file_schema: SchemaRef,
    schema: SchemaRef,
    by_day: bool,
    partitions: Vec<PartitionEntry>,
    store: &'static str,
}

impl PublishedTable {
    /// A table of those partitions. `file_schema` is what the files hold; a table by day has the
    /// column `dt` after these.
    pub fn new(file_schema: SchemaRef, by_day: bool, partitions: Vec<PartitionEntry>) -> Self {
        let schema = table_schema(&file_schema, by_day);
        Self { file_schema, schema, by_day, partitions, store: LAKE_URL }
    }

    /// The same with its files in another store, which the session knows by that URL.
    #[must_use]
    pub fn in_store(mut self, url: &'static str) -> Self {
        self.store = url;
        self
    }
}

/// The columns that SQL sees of a table whose files have `file_schema`.
pub fn table_schema(file_schema: &Schema, by_day: bool) -> SchemaRef {
    let mut fields: Vec<FieldRef> = file_schema.fields().iter().cloned().collect();
    if by_day {
        fields.push(day_field());
    }
    Arc::new(Schema::new(fields))
}

fn day_field() -> FieldRef {
    Arc::new(Field::new(PARTITION_COLUMN, DataType::Date32, false))
}

#[async_trait]
impl TableProvider for PublishedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        // Parquet statistics prune row groups; the filter still runs above.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let mut table = TableSchemaBuilder::new(Arc::clone(&self.file_schema));
        if self.by_day {
            table = table.with_table_partition_cols(vec![day_field()]);
        }
        let mut source = ParquetSource::new(table.build());
        if let Some(filter) = conjunction(filters.iter().cloned()) {
            let columns = DFSchema::try_from(Arc::clone(&self.schema))?;
            source = source.with_predicate(state.create_physical_expr(filter, &columns)?);
        }
        let mut files = Vec::new();
        for partition in &self.partitions {
            let day = partition.date.map(LogicalDate::days_since_epoch);
            for file in &partition.files {
                let mut part = PartitionedFile::new(file.path.clone(), file.bytes);
                if self.by_day {
                    part = part.with_partition_values(vec![ScalarValue::Date32(day)]);
                }
                files.push(part);
            }
        }
        let groups = FileGroup::new(files).split_files(state.config().target_partitions());
        let config =
            FileScanConfigBuilder::new(ObjectStoreUrl::parse(self.store)?, Arc::new(source))
                .with_file_groups(groups)
                .with_projection_indices(projection.cloned())?
                .with_limit(limit)
                .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}
