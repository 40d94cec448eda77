//! From Arrow's types to those of Hive, which Glue, Athena and Redshift Spectrum share.

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};

use crate::ports::{ColumnEntry, TableEntry};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// The longest name of a database, a table or a column, in bytes.
/// <https://docs.aws.amazon.com/glue/latest/webapi/API_Column.html>
pub const NAME_BYTES: usize = 255;

/// Decimals of Hive, Athena and Redshift have up to this many digits.
const MAX_PRECISION: u8 = 38;

/// The columns of a table as Glue names and types them. Names are lower-case there.
///
/// Errors: `Usage` for a column that has no type there, or two whose names differ only in case.
pub fn columns(table: &TableEntry) -> Outcome<Vec<(String, String)>> {
    let mut columns: Vec<(String, String)> = Vec::with_capacity(table.columns.len());
    for column in &table.columns {
        let name = column.name.to_lowercase();
        if columns.iter().any(|(known, _)| *known == name) {
            let message = format!(
                "table `{}` has two columns that Glue would both call `{name}`",
                table.name
            );
            return Err(Failure::new(FailureKind::Usage, message)
                .with_hint("rename one of them: names of columns have no case there"));
        }
        columns.push((name, column_type(&table.name, column)?));
    }
    Ok(columns)
}

fn column_type(table: &str, column: &ColumnEntry) -> Outcome<String> {
    let refused = |hint: &str| {
        let message = format!(
            "column `{}` of table `{table}` has the type {}, which Athena and Redshift cannot read",
            column.name, column.kind
        );
        Failure::new(FailureKind::Usage, message).with_hint(hint)
    };
    let kind: DataType = column.kind.parse().map_err(|_| refused("cast it to another type"))?;
    of(&kind).map_err(refused)
}

/// The type in Hive's words, or what to do where there is none.
///
/// Decided by what `parquet` writes for the Arrow type and what Athena (Trino) and Spectrum read of
/// it: they take a column's declared type for the file's. Unsigned numbers of 8 and 16 bits lie in
/// INT32, so `int` holds them; larger ones would be read with their sign.
/// <https://docs.aws.amazon.com/athena/latest/ug/data-types.html>,
/// <https://docs.aws.amazon.com/redshift/latest/dg/c-spectrum-data-files.html>
pub fn of(kind: &DataType) -> Result<String, &'static str> {
    const TO_BIGINT: &str = "cast it: `CAST(… AS BIGINT)`";
    const TO_MICROSECONDS: &str = "cast it: `CAST(… AS TIMESTAMP(6))` keeps microseconds";
    const TO_TEXT: &str = "cast it: `CAST(… AS VARCHAR)`";
    Ok(match kind {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "tinyint".to_owned(),
        DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 | DataType::UInt8 | DataType::UInt16 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::UInt32 | DataType::UInt64 => return Err(TO_BIGINT),
        DataType::Float16 => return Err("cast it: `CAST(… AS REAL)`"),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".to_owned(),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "binary".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Date64 => return Err("cast it: `CAST(… AS DATE)`"),
        DataType::Timestamp(TimeUnit::Millisecond | TimeUnit::Microsecond, _) => {
            "timestamp".to_owned()
        }
        // Seconds are written as plain numbers; Spectrum does not read nanoseconds.
        DataType::Timestamp(TimeUnit::Second | TimeUnit::Nanosecond, _) => {
            return Err(TO_MICROSECONDS);
        }
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => match u8::try_from(*scale) {
            Ok(digits) if *precision <= MAX_PRECISION && digits <= *precision => {
                format!("decimal({precision},{scale})")
            }
            _ => return Err("cast it to at most 38 digits: `CAST(… AS DECIMAL(38, 2))`"),
        },
        DataType::Dictionary(_, values) => of(values)?,
        DataType::RunEndEncoded(_, values) => of(values.data_type())?,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => format!("array<{}>", of(item.data_type())?),
        DataType::Struct(fields) => {
            let mut inner = Vec::with_capacity(fields.len());
            for field in fields {
                inner.push(member(field)?);
            }
            if inner.is_empty() {
                return Err("leave it out: it has no fields");
            }
            format!("struct<{}>", inner.join(","))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                format!("map<{},{}>", of(pair[0].data_type())?, of(pair[1].data_type())?)
            }
            _ => return Err(TO_TEXT),
        },
        DataType::Null => return Err("say its type: `CAST(NULL AS VARCHAR)`"),
        DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Duration(_)
        | DataType::Interval(_)
        | DataType::Union(..) => return Err(TO_TEXT),
    })
}

fn member(field: &Field) -> Result<String, &'static str> {
    let name = field.name().to_lowercase();
    let plain = |c: char| c.is_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        return Err("rename its fields: letters, digits and `_` only");
    }
    Ok(format!("{name}:{}", of(field.data_type())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::step::SchemaChange;

    fn hive(kinds: &[(&str, &str)]) -> Outcome<Vec<(String, String)>> {
        let entry = |(name, kind): &(&str, &str)| ColumnEntry {
            name: (*name).to_owned(),
            kind: (*kind).to_owned(),
            nullable: true,
        };
        columns(&TableEntry {
            name: "t".to_owned(),
            columns: kinds.iter().map(entry).collect(),
            by_day: true,
            schema_change: SchemaChange::Stop,
        })
    }

    #[test]
    fn types_are_those_of_the_files() {
        for (arrow, expected) in [
            ("Boolean", "boolean"),
            ("Int8", "tinyint"),
            ("UInt16", "int"),
            ("Int64", "bigint"),
            ("Float32", "float"),
            ("Float64", "double"),
            ("Utf8View", "string"),
            ("Binary", "binary"),
            ("Date32", "date"),
            ("Timestamp(µs, \"UTC\")", "timestamp"),
            ("Timestamp(ms)", "timestamp"),
            ("Decimal128(10, 2)", "decimal(10,2)"),
            ("Dictionary(Int32, Utf8)", "string"),
            ("List(Utf8)", "array<string>"),
        ] {
            let found = hive(&[("C", arrow)]);
            assert_eq!(found, Ok(vec![("c".to_owned(), expected.to_owned())]), "{arrow}");
        }
        let nested = DataType::Struct(
            vec![
                Field::new("Id", DataType::Int64, true),
                Field::new("tags", DataType::new_list(DataType::Utf8, true), true),
            ]
            .into(),
        );
        let found = hive(&[("s", &nested.to_string())]).unwrap();
        assert_eq!(found[0].1, "struct<id:bigint,tags:array<string>>");
        let pair = vec![
            Field::new("keys", DataType::Utf8, false),
            Field::new("values", DataType::Float64, true),
        ];
        let entries = Field::new("entries", DataType::Struct(pair.into()), false);
        let map = DataType::Map(entries.into(), false).to_string();
        assert_eq!(hive(&[("m", &map)]).unwrap()[0].1, "map<string,double>");
    }

    #[test]
    fn what_has_no_type_there_is_refused_by_name() {
        for arrow in [
            "UInt64",
            "UInt32",
            "Timestamp(ns)",
            "Timestamp(s)",
            "Date64",
            "Time64(µs)",
            "Null",
            "Decimal128(10, -2)",
            "Decimal256(60, 2)",
            "List(UInt64)",
            "Nonsense",
        ] {
            let failure = hive(&[("a", "Utf8"), ("b", arrow)]).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Usage, "{arrow}");
            assert!(failure.message.contains("column `b` of table `t`"), "{}", failure.message);
            assert!(failure.hint.is_some(), "{arrow}");
        }
        let failure = hive(&[("a", "Utf8"), ("A", "Utf8")]).unwrap_err();
        assert!(failure.message.contains("`a`"), "{}", failure.message);
    }
}
