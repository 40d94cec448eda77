//! Arrow schemas as the catalog keeps them.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::ports::ColumnEntry;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Writes the columns of a schema for the catalog.
pub fn to_entries(schema: &Schema) -> Vec<ColumnEntry> {
    let entry = |field: &Arc<Field>| ColumnEntry {
        name: field.name().clone(),
        kind: field.data_type().to_string(),
        nullable: field.is_nullable(),
    };
    schema.fields().iter().map(entry).collect()
}

/// Reads the columns of a table back.
///
/// Errors: `Internal` for a type that this version does not know, as when the table was made by a
/// newer recctl.
pub fn from_entries(columns: &[ColumnEntry]) -> Outcome<SchemaRef> {
    let mut fields = Vec::with_capacity(columns.len());
    for column in columns {
        let kind: DataType = column.kind.parse().map_err(|error| {
            Failure::new(
                FailureKind::Internal,
                format!("unknown type `{}` of column `{}`: {error}", column.kind, column.name),
            )
        })?;
        fields.push(Field::new(&column.name, kind, column.nullable));
    }
    Ok(Arc::new(Schema::new(fields)))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn types_survive() {
        let list = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
        let kinds = [
            DataType::Utf8,
            DataType::Int64,
            DataType::Float64,
            DataType::Date32,
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            DataType::Decimal128(10, 2),
            list,
        ];
        let fields: Vec<Field> = kinds
            .iter()
            .enumerate()
            .map(|(index, kind)| Field::new(format!("c{index}"), kind.clone(), true))
            .collect();
        let schema = Schema::new(fields);
        assert_eq!(*from_entries(&to_entries(&schema)).unwrap(), schema);
    }
}
