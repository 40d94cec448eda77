//! Segmented windows against DataFusion's own, on random tables.

use super::common::{Random, context, rows, table};

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
        let (plain, ours) = (context(&batches, false, None), context(&batches, true, None));
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
        let (expected, _) = rows(&context(&batches, false, None), sessions).await;
        let (found, plan) = rows(&context(&batches, true, None), sessions).await;
        assert_eq!(plan.matches("SegmentedWindowExec").count(), 3, "{plan}");
        assert_eq!(found, expected, "{size} rows");
    }
}

#[tokio::test]
async fn one_partition_of_all_rows_is_left_to_datafusion() {
    let batches = table(&mut Random(3), 20);
    let query = "SELECT id, row_number() OVER (ORDER BY id) AS w FROM t ORDER BY id";
    let (_, plan) = rows(&context(&batches, true, None), query).await;
    assert!(!plan.contains("SegmentedWindowExec"), "{plan}");
}
