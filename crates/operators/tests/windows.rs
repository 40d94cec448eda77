//! Segmented windows against DataFusion's own, on random tables.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use datafusion::arrow::array::{
    Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::displayable;
use datafusion::prelude::{SessionConfig, SessionContext};

/// Numbers that look random and are the same each time (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(8) > 0).then(|| value(self))
    }
}

/// Rows with an id each, keys that repeat, ties in the order, and NULL everywhere else.
fn table(random: &mut Random, rows: i64) -> Vec<RecordBatch> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("k", DataType::Utf8, true),
        Field::new("l", DataType::Int64, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("n", DataType::Int64, true),
        Field::new("x", DataType::Float64, true),
        Field::new("s", DataType::Utf8, true),
    ]));
    let mut batches = Vec::new();
    let mut from = 0;
    while from < rows {
        let to = (from + 1 + random.below(40) as i64).min(rows);
        let range = from..to;
        let ids: Int64Array = range.clone().map(Some).collect();
        let k: StringArray =
            range.clone().map(|_| random.maybe(|r| format!("k{}", r.below(9)))).collect();
        let l: Int64Array = range.clone().map(|_| random.maybe(|r| r.below(3) as i64)).collect();
        let ts: TimestampMicrosecondArray =
            range.clone().map(|_| random.maybe(|r| r.below(30) as i64)).collect();
        let n: Int64Array =
            range.clone().map(|_| random.maybe(|r| r.below(100) as i64 - 50)).collect();
        let x: Float64Array =
            range.clone().map(|_| random.maybe(|r| r.below(1_000) as f64 / 8.0)).collect();
        let s: StringArray = range.map(|_| random.maybe(|r| format!("s{}", r.below(5)))).collect();
        let columns: Vec<datafusion::arrow::array::ArrayRef> = vec![
            Arc::new(ids),
            Arc::new(k),
            Arc::new(l),
            Arc::new(ts),
            Arc::new(n),
            Arc::new(x),
            Arc::new(s),
        ];
        batches.push(RecordBatch::try_new(Arc::clone(&schema), columns).unwrap());
        from = to;
    }
    batches
}

fn context(batches: &[RecordBatch], ours: bool) -> SessionContext {
    let mut rules = PhysicalOptimizer::new().rules;
    if ours {
        rules.extend(recctl_operators::rules());
    }
    let config = SessionConfig::new().with_target_partitions(3).with_batch_size(64);
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_physical_optimizer_rules(rules)
        .build();
    let context = SessionContext::new_with_state(state);
    let half = batches.len() / 2;
    let parts = vec![batches[..half].to_vec(), batches[half..].to_vec()];
    let table = MemTable::try_new(batches[0].schema(), parts).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    context
}

async fn rows(context: &SessionContext, query: &str) -> (String, String) {
    let frame = context.sql(query).await.unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    let shown = displayable(plan.as_ref()).indent(false).to_string();
    let batches = datafusion::physical_plan::collect(plan, context.task_ctx()).await.unwrap();
    let rows = match batches.first() {
        Some(first) => concat_batches(&first.schema(), &batches).unwrap(),
        None => return (String::new(), shown),
    };
    (pretty_format_batches(&[rows]).unwrap().to_string(), shown)
}

/// Windows, each over a total order unless ties do not matter to it.
const WINDOWS: [&str; 26] = [
    "row_number() OVER (PARTITION BY k ORDER BY ts, id)",
    "row_number() OVER (PARTITION BY k, l ORDER BY ts DESC, id DESC)",
    "row_number() OVER (PARTITION BY id % 50 ORDER BY id)",
    "rank() OVER (PARTITION BY k ORDER BY ts)",
    "dense_rank() OVER (PARTITION BY k ORDER BY ts DESC NULLS LAST)",
    "lag(ts) OVER (PARTITION BY k ORDER BY ts, id)",
    "lag(s, 2) OVER (PARTITION BY k ORDER BY ts, id)",
    "lag(n, 1, -1) OVER (PARTITION BY k ORDER BY ts, id)",
    "lag(n) IGNORE NULLS OVER (PARTITION BY k ORDER BY ts, id)",
    "lead(x) OVER (PARTITION BY l ORDER BY id)",
    "lead(s, 3) OVER (PARTITION BY k ORDER BY id DESC)",
    "count(*) OVER (PARTITION BY k ORDER BY ts, id ROWS UNBOUNDED PRECEDING)",
    "count(n) OVER (PARTITION BY k ORDER BY ts)",
    "count(n) FILTER (WHERE n > 0) OVER (PARTITION BY k ORDER BY ts)",
    "sum(n) OVER (PARTITION BY k ORDER BY ts)",
    "sum(n) OVER (PARTITION BY k ORDER BY ts, id ROWS UNBOUNDED PRECEDING)",
    "sum(x) OVER (PARTITION BY k, l ORDER BY ts, id ROWS UNBOUNDED PRECEDING)",
    "sum(n) OVER (PARTITION BY k ORDER BY id ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)",
    "sum(n) OVER (PARTITION BY k)",
    "max(s) OVER (PARTITION BY k, l)",
    "avg(x) OVER (PARTITION BY l)",
    "min(ts) OVER (PARTITION BY k ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)",
    "max(n) OVER (PARTITION BY k ORDER BY ts, id)",
    "first_value(s) OVER (PARTITION BY k ORDER BY ts, id)",
    "nth_value(s, 2) OVER (PARTITION BY k ORDER BY ts, id)",
    "ntile(3) OVER (PARTITION BY k ORDER BY id)",
];

#[tokio::test]
async fn windows_are_those_of_datafusion() {
    let mut random = Random(20_261_121);
    for round in 0..12 {
        let size = [1, 7, 60, 900][round % 4];
        let batches = table(&mut random, size);
        let (plain, ours) = (context(&batches, false), context(&batches, true));
        for window in WINDOWS {
            let query = format!("SELECT id, {window} AS w FROM t ORDER BY id");
            let (expected, _) = rows(&plain, &query).await;
            let (found, plan) = rows(&ours, &query).await;
            assert!(plan.contains("SegmentedWindowExec"), "{window}\n{plan}");
            assert_eq!(found, expected, "round {round}: {window}\n{plan}");
        }
    }
}

#[tokio::test]
async fn windows_over_windows_are_those_of_datafusion() {
    let sessions = "
        WITH gaps AS (
            SELECT *, CASE WHEN n - lag(n) OVER (PARTITION BY k ORDER BY ts, id) <= 3 THEN 0
                           ELSE 1 END AS starts FROM t
        ),
        numbered AS (
            SELECT *, sum(starts) OVER (PARTITION BY k ORDER BY ts, id) AS session,
                   row_number() OVER (PARTITION BY k ORDER BY ts, id) AS place FROM gaps
        )
        SELECT id, session, place, count(CASE WHEN s = 's1' THEN 1 END) OVER (
            PARTITION BY k, session, s ORDER BY ts DESC, id DESC
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS later
        FROM numbered ORDER BY id";
    let mut random = Random(7);
    for size in [5, 300, 2_000] {
        let batches = table(&mut random, size);
        let (expected, _) = rows(&context(&batches, false), sessions).await;
        let (found, plan) = rows(&context(&batches, true), sessions).await;
        assert_eq!(plan.matches("SegmentedWindowExec").count(), 3, "{plan}");
        assert_eq!(found, expected, "{size} rows");
    }
}

#[tokio::test]
async fn one_partition_of_all_rows_is_left_to_datafusion() {
    let batches = table(&mut Random(3), 20);
    let query = "SELECT id, row_number() OVER (ORDER BY id) AS w FROM t ORDER BY id";
    let (_, plan) = rows(&context(&batches, true), query).await;
    assert!(!plan.contains("SegmentedWindowExec"), "{plan}");
}
