use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::datasource::MemTable;

use super::*;
use crate::query::session::config;

type Row = (i64, Option<&'static str>, f64);

fn table(rows: &[Row]) -> RecordBatch {
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    let name: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1)));
    let price: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2)));
    RecordBatch::try_from_iter([("id", id), ("name", name), ("price", price)]).unwrap()
}

fn difference(left: RecordBatch, right: RecordBatch, options: &Options) -> Outcome<Difference> {
    let context = SessionContext::new_with_config(config(2));
    for (side, batch) in SIDES.into_iter().zip([left, right]) {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        context.register_table(side, Arc::new(table)).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(compare(&context, options))
}

fn by_id() -> Options {
    Options { key: vec!["id".to_owned()], without: Vec::new(), examples: 2 }
}

const ROWS: &[Row] = &[(1, Some("x"), 1.0), (2, None, 2.0), (3, Some("z"), 3.0)];

#[test]
fn equal_tables_do_not_differ_whatever_the_order() {
    let turned: Vec<Row> = ROWS.iter().rev().copied().collect();
    for options in [by_id(), Options::default()] {
        let found = difference(table(ROWS), table(&turned), &options).unwrap();
        assert!(found.is_none(), "{found:?}");
        assert_eq!(found.rows, [3, 3]);
    }
}

#[test]
fn rows_are_matched_by_key() {
    let other =
        [(2, Some("y"), 2.0), (3, Some("z"), 3.5), (4, None, 4.0), (5, None, 4.0), (6, None, 0.0)];
    let found = difference(table(ROWS), table(&other), &by_id()).unwrap();
    assert_eq!(
        found.content,
        Content::Keyed {
            key: vec!["id".to_owned()],
            matched: 2,
            differing: 2,
            only: [1, 3],
            examples: [vec!["id=1".to_owned()], vec!["id=4".to_owned(), "id=5".to_owned()]],
            unique: true,
        }
    );
    let differing: Vec<_> = found.columns.iter().map(|it| (&*it.column, it.differing)).collect();
    assert_eq!(differing, [("id", None), ("name", Some(1)), ("price", Some(1))]);
    let price = &found.columns[2].figures;
    assert_eq!((price[0].mean, price[1].mean), (Some(2.0), Some(2.7)));
    let name = &found.columns[1].figures[0];
    assert_eq!((name.nulls, name.distinct), (1, 2));
    assert_eq!((name.min.as_deref(), name.max.as_deref()), (Some("x"), Some("z")));
}

#[test]
fn without_a_key_rows_count_as_often_as_they_occur() {
    let twice = [ROWS[0], ROWS[0], ROWS[1], ROWS[1]];
    let found = difference(table(&twice), table(ROWS), &Options::default()).unwrap();
    assert_eq!(found.content, Content::Whole { common: 2, only: [2, 1] });
    let nothing = difference(table(&[]), table(&[]), &Options::default()).unwrap();
    assert!(nothing.is_none(), "{nothing:?}");
}

#[test]
fn a_key_that_repeats_is_told() {
    let twice = [ROWS[0], ROWS[0], ROWS[1]];
    let found = difference(table(&twice), table(ROWS), &by_id()).unwrap();
    assert!(matches!(found.content, Content::Keyed { unique: false, .. }), "{found:?}");
    let key = Options { key: vec!["di".to_owned()], ..Options::default() };
    let failure = difference(table(ROWS), table(ROWS), &key).unwrap_err();
    assert_eq!(failure.message, "side a has no column `di`, which the key names");
}

#[test]
fn columns_that_differ_are_told_and_compared_as_far_as_they_can_be() {
    let right = table(ROWS);
    let id: ArrayRef = Arc::new(Float64Array::from_iter_values([1.0, 2.0, 3.0]));
    let more: ArrayRef = Arc::new(StringArray::from_iter([Some("1"), None, None]));
    let right = RecordBatch::try_from_iter([
        ("id", id),
        ("price", Arc::clone(right.column(2))),
        ("more", more),
    ])
    .unwrap();
    let found = difference(table(ROWS), right, &by_id()).unwrap();
    let told: Vec<String> =
        found.schema.iter().map(|it| format!("{} {:?}", it.column, it.types)).collect();
    assert_eq!(
        told,
        [
            "id [Some(\"Int64\"), Some(\"Float64\")]",
            "name [Some(\"Utf8\"), None]",
            "more [None, Some(\"Utf8\")]"
        ]
    );
    assert!(matches!(found.content, Content::Keyed { matched: 3, differing: 0, .. }));
    assert!(!found.is_none());
    let without = ["id", "name", "more"].map(str::to_owned).to_vec();
    let options = Options { without, ..Options::default() };
    let right = RecordBatch::try_from_iter([("price", Arc::clone(table(ROWS).column(2)))]).unwrap();
    assert!(difference(table(ROWS), right, &options).unwrap().is_none());
}
