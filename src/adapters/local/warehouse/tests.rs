use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    Float32Array, Float64Array, Int32Array, LargeStringArray, ListArray, NullArray, RecordBatch,
    StringArray, StringViewArray, StructArray, TimestampMillisecondArray, TimestampNanosecondArray,
    UInt64Array,
};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type};
use datafusion::parquet::arrow::ArrowWriter;
use rusqlite::types::Value;

use super::*;
use crate::pipeline::step::{SchemaChange, WarehouseLayout};
use crate::ports::{ColumnEntry, TableEntry};

struct Place {
    folder: tempfile::TempDir,
    warehouse: SqliteWarehouse,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let warehouse =
            SqliteWarehouse::open(&folder.path().join("w.db"), folder.path()).await.unwrap();
        Self { folder, warehouse }
    }

    /// Writes a file of the columns and makes the load of it.
    fn write(&self, name: &str, columns: Vec<(&str, ArrayRef)>) -> LoadBatch {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = File::create(self.folder.path().join(name)).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let schema = batch.schema();
        let columns = schema.fields().iter().map(|field| ColumnEntry {
            name: field.name().clone(),
            kind: field.data_type().to_string(),
            nullable: true,
        });
        let table = TableEntry {
            name: "t".to_owned(),
            columns: columns.collect(),
            by_day: false,
            schema_change: SchemaChange::Stop,
        };
        let rows = batch.num_rows() as u64;
        LoadBatch {
            token: name.to_owned(),
            run: "r".to_owned(),
            lease: Lease { name: "l".to_owned(), holder: "h".to_owned(), fence: 1, seized: false },
            tables: vec![TableLoad {
                table,
                date: None,
                files: vec![FileEntry { path: name.to_owned(), bytes: 0, rows }],
                rows,
                layout: WarehouseLayout::default(),
            }],
        }
    }

    async fn values(&self, column: &'static str) -> Vec<Value> {
        self.warehouse
            .database
            .read(move |tx| {
                let mut query =
                    tx.prepare(&format!("SELECT {} FROM t ORDER BY rowid", quoted(column)))?;
                Ok(query.query_map([], |row| row.get(0))?.collect::<Result<Vec<_>, _>>()?)
            })
            .await
            .unwrap()
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[tokio::test]
async fn every_arrow_type_has_its_value() {
    let place = Place::new().await;
    let fields = vec![Arc::new(Field::new("a", DataType::Int32, true))];
    let structs = StructArray::new(
        fields.into(),
        vec![Arc::new(Int32Array::from(vec![Some(7), None]))],
        None,
    );
    let lists =
        ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]);
    let dictionary: DictionaryArray<Int32Type> = [Some("x"), None].into_iter().collect();
    // 1969-12-31T23:59:59.999 and 2026-03-01T12:34:56.789.
    let millis = TimestampMillisecondArray::from(vec![Some(-1), Some(1_772_368_496_789)]);
    let nanos = TimestampNanosecondArray::from(vec![Some(1_772_368_496_789_012_345), None]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("i32", Arc::new(Int32Array::from(vec![Some(-1), None]))),
        ("u64", Arc::new(UInt64Array::from(vec![Some(5), None]))),
        ("f32", Arc::new(Float32Array::from(vec![Some(0.5), None]))),
        ("f64", Arc::new(Float64Array::from(vec![Some(1e300), Some(f64::NAN)]))),
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("utf8", Arc::new(StringArray::from(vec![Some("é\"'"), None]))),
        ("large", Arc::new(LargeStringArray::from(vec![Some(""), None]))),
        ("view", Arc::new(StringViewArray::from(vec![Some("longer than twelve"), None]))),
        ("date", Arc::new(Date32Array::from(vec![Some(-1), Some(20_513)]))),
        ("naive", Arc::new(millis)),
        ("zoned", Arc::new(nanos.with_timezone("Europe/Berlin"))),
        (
            "decimal",
            Arc::new(
                Decimal128Array::from(vec![Some(110), None])
                    .with_precision_and_scale(38, 2)
                    .unwrap(),
            ),
        ),
        ("list", Arc::new(lists)),
        ("struct", Arc::new(structs)),
        ("dictionary", Arc::new(dictionary)),
        ("blob", Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None]))),
        ("null", Arc::new(NullArray::new(2))),
        ("odd \"name", Arc::new(Int32Array::from(vec![1, 2]))),
    ];
    let batch = place.write("f", columns);
    assert_eq!(place.warehouse.load(&batch).await, Ok(LoadOutcome::Loaded(2)));

    let null = Value::Null;
    let expected: Vec<(&'static str, [Value; 2])> = vec![
        ("i32", [Value::Integer(-1), null.clone()]),
        ("u64", [Value::Integer(5), null.clone()]),
        ("f32", [Value::Real(0.5), null.clone()]),
        ("f64", [Value::Real(1e300), null.clone()]),
        ("bool", [Value::Integer(1), null.clone()]),
        ("utf8", [text("é\"'"), null.clone()]),
        ("large", [text(""), null.clone()]),
        ("view", [text("longer than twelve"), null.clone()]),
        ("date", [text("1969-12-31"), text("2026-03-01")]),
        ("naive", [text("1969-12-31 23:59:59.999000"), text("2026-03-01 12:34:56.789000")]),
        ("zoned", [text("2026-03-01 12:34:56.789012Z"), null.clone()]),
        ("decimal", [text("1.10"), null.clone()]),
        ("list", [text("[1,null]"), null.clone()]),
        ("struct", [text(r#"{"a":7}"#), text(r#"{"a":null}"#)]),
        ("dictionary", [text("x"), null.clone()]),
        ("blob", [Value::Blob(vec![0, 255]), null.clone()]),
        ("null", [null.clone(), null]),
        ("odd \"name", [Value::Integer(1), Value::Integer(2)]),
    ];
    for (column, values) in expected {
        assert_eq!(place.values(column).await, values, "{column}");
    }
}

#[tokio::test]
async fn a_number_that_does_not_fit_is_refused_instead_of_lost() {
    let place = Place::new().await;
    let batch = place.write("f", vec![("u64", Arc::new(UInt64Array::from(vec![u64::MAX])))]);
    let failure = place.warehouse.load(&batch).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Input, "{failure}");
    assert!(failure.message.contains("`u64`"), "{failure}");
    assert_eq!(place.warehouse.count("t", None).await, Ok(None));
}

#[tokio::test]
async fn a_file_of_other_types_than_said_is_refused() {
    let place = Place::new().await;
    let mut batch = place.write("f", vec![("a", Arc::new(Int32Array::from(vec![1])))]);
    batch.tables[0].table.columns[0].kind = "Utf8".to_owned();
    let failure = place.warehouse.load(&batch).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Usage, "{failure}");
    assert!(
        failure.message.contains("`t.a`")
            && failure.message.contains("expected TEXT, found INTEGER"),
        "{failure}"
    );
}

#[tokio::test]
async fn paths_do_not_leave_the_lake() {
    let place = Place::new().await;
    let mut batch = place.write("f", vec![("a", Arc::new(Int32Array::from(vec![1])))]);
    for path in ["../f", "/etc/passwd", "x/../../f"] {
        batch.tables[0].files[0].path = path.to_owned();
        assert_eq!(
            place.warehouse.load(&batch).await.unwrap_err().kind,
            FailureKind::Input,
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_ledger_says_what_was_loaded() {
    let place = Place::new().await;
    let batch = place.write("f", vec![("a", Arc::new(Int32Array::from(vec![1, 2])))]);
    place.warehouse.load(&batch).await.unwrap();
    let row: (String, String, String, i64) = place
        .warehouse
        .database
        .read(|tx| {
            Ok(tx.query_row("SELECT token, run, tables, rows FROM recctl_loads", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?)
        })
        .await
        .unwrap();
    assert_eq!(row.0, "f");
    assert_eq!(row.1, "r");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&row.2).unwrap(),
        serde_json::json!([{"table": "t", "date": null, "rows": 2}])
    );
    assert_eq!(row.3, 2);
}

#[test]
fn names_of_types() {
    for (kind, expected) in [
        ("Int64", SqlType::Integer),
        ("Timestamp(µs, \"UTC\")", SqlType::Timestamp),
        ("Timestamp(ns)", SqlType::Timestamp),
        ("Decimal128(10, 2)", SqlType::Decimal),
        ("Dictionary(Int32, Utf8)", SqlType::Text),
        ("List(Utf8)", SqlType::Json),
        ("Struct(\"a\": Int64)", SqlType::Json),
    ] {
        assert_eq!(SqlType::parse(kind), Some(expected), "{kind}");
    }
    assert_eq!(SqlType::parse("Nonsense"), None);
}

/// The ledger says that a load took place; nobody looks again whether it is still there.
#[tokio::test]
async fn a_load_waits_for_the_disk() {
    let place = Place::new().await;
    let database = &place.warehouse.database;
    let mode = database.write(|tx| Ok(tx.query_row("PRAGMA synchronous", [], |row| row.get(0))?));
    const FULL: i64 = 2;
    assert_eq!(mode.await, Ok(FULL));
}
