//! Work in buckets against DataFusion's own plans, on random tables, in memory and spilled.

use std::sync::Arc;

use datafusion::arrow::compute::concat_batches;
use datafusion::physical_plan::{ExecutionPlan, collect};

use super::common::{Random, context, context_of, rows, table};

/// Aggregations, windows and first rows; sums of eighths are exact in any order.
const QUERIES: [&str; 12] = [
    "SELECT k, l, count(*) AS c, sum(n) AS n, sum(x) AS x, min(ts) AS ts, max(s) AS s FROM t
     GROUP BY k, l ORDER BY k, l",
    "SELECT id / 2 AS half, count(DISTINCT s) AS s, avg(x) AS x FROM t GROUP BY id / 2 ORDER BY half",
    "SELECT DISTINCT k, s FROM t ORDER BY k, s",
    "SELECT id, count(*) FILTER (WHERE n > 0) AS c, bool_or(n > 10) AS b FROM t GROUP BY id ORDER BY id",
    "SELECT k, count(*) AS c FROM (SELECT k, id % 100 AS g, sum(n) AS n FROM t GROUP BY k, id % 100)
     WHERE n > 0 GROUP BY k ORDER BY k",
    "SELECT a.k, a.c, b.n FROM (SELECT k, count(*) AS c FROM t GROUP BY k) AS a
     JOIN (SELECT k, max(n) AS n FROM t GROUP BY k) AS b ON a.k = b.k ORDER BY a.k",
    "SELECT id, lag(n) OVER (PARTITION BY k ORDER BY ts, id) AS w FROM t ORDER BY id",
    "SELECT id, sum(n) OVER (PARTITION BY k, s ORDER BY w DESC NULLS LAST, id) AS v FROM (
     SELECT *, row_number() OVER (PARTITION BY k ORDER BY ts DESC, id) AS w FROM t) ORDER BY id",
    "SELECT id, row_number() OVER (PARTITION BY k, n ORDER BY ts, id) > 1 AS copy FROM t ORDER BY id",
    "SELECT k, sum(n) AS n FROM t GROUP BY ROLLUP (k, l) ORDER BY k, n",
    "SELECT k, n, max(w) AS w, count(*) AS c FROM (
     SELECT *, row_number() OVER (PARTITION BY k ORDER BY ts DESC, id) AS w FROM t) GROUP BY k, n ORDER BY k, n",
    // The second window counts on the order that the aggregation hands on.
    "SELECT n, count(share) AS c, min(share) AS least FROM (
     SELECT k, n, 64 * c / sum(c) OVER (PARTITION BY k) AS share FROM (
     SELECT k, n, count(*) AS c, max(w) AS w FROM (
     SELECT *, row_number() OVER (PARTITION BY k ORDER BY ts, id) AS w FROM t) GROUP BY k, n))
     GROUP BY n ORDER BY n",
];

#[tokio::test]
async fn results_are_those_of_datafusion() {
    let mut random = Random(2);
    for size in [1, 40, 3_000] {
        let batches = table(&mut random, size);
        let (plain, ours) = (context(&batches, false, None), context(&batches, true, None));
        let of_one = context_of(&[&batches], true, None);
        for query in QUERIES {
            let (expected, _) = rows(&plain, query).await;
            let (found, plan) = rows(&ours, query).await;
            assert!(plan.contains("BucketedExec"), "{query}\n{plan}");
            assert_eq!(found, expected, "{size} rows: {query}\n{plan}");
            // Whether rows of one partition are spread is DataFusion's to say.
            let (found, plan) = rows(&of_one, query).await;
            assert_eq!(found, expected, "{size} rows of one partition: {query}\n{plan}");
        }
    }
}

#[tokio::test]
async fn what_does_not_fit_is_spilled() {
    let batches = table(&mut Random(5), 100_000);
    // Without an order: the sort of the result would spill too.
    for (query, memory) in [
        (
            "SELECT id / 2 AS half, count(DISTINCT s) AS s, sum(x) AS x FROM t GROUP BY id / 2",
            3_000_000,
        ),
        (
            "SELECT *, row_number() OVER (PARTITION BY id % 9999 ORDER BY ts, id) > 1 AS copy FROM t",
            5_000_000,
        ),
        ("SELECT id, sum(n) OVER (PARTITION BY id % 999 ORDER BY ts, id) AS w FROM t", 1_800_000),
    ] {
        let (expected, _) = rows(&context(&batches, false, None), query).await;
        let ours = context(&batches, true, Some(memory));
        let plan = ours.sql(query).await.unwrap().create_physical_plan().await.unwrap();
        let found = collect(Arc::clone(&plan), ours.task_ctx()).await.unwrap();
        assert!(spills(&plan, "BucketedExec") > 0, "{query}");
        let shown = datafusion::arrow::util::pretty::pretty_format_batches(&found).unwrap();
        assert_eq!(sorted(&shown.to_string()), sorted(&expected), "{query}");
    }
}

/// Joins of all kinds.
const JOINS: [&str; 8] = [
    "SELECT a.id, b.id AS other FROM t AS a JOIN t AS b ON a.n = b.n AND a.k = b.k AND a.id <> b.id",
    "SELECT a.id, b.id AS other, b.s FROM t AS a LEFT JOIN t AS b ON a.id = b.id + 7",
    "SELECT a.id, b.id AS other, a.s FROM t AS a RIGHT JOIN t AS b ON a.id / 2 = b.id",
    "SELECT a.id, b.id AS other FROM t AS a FULL JOIN t AS b ON a.id = 2 * b.id AND a.n > 0",
    "SELECT a.id, a.s FROM t AS a WHERE EXISTS (SELECT 1 FROM t AS b WHERE b.id = 3 * a.id)",
    "SELECT a.id, a.s FROM t AS a WHERE NOT EXISTS (SELECT 1 FROM t AS b WHERE b.id = 3 * a.id)",
    "SELECT a.id, a.s FROM t AS a WHERE a.n NOT IN (SELECT b.n + 60 FROM t AS b)",
    "SELECT a.half, a.c, b.s FROM (SELECT id / 2 AS half, count(*) AS c FROM t GROUP BY id / 2) AS a
     JOIN t AS b ON a.half = b.id",
];

#[tokio::test]
async fn joins_are_those_of_datafusion() {
    let mut random = Random(13);
    for (size, memory) in [(1, None), (60, None), (3_000, None), (3_000, Some(1_000_000))] {
        let batches = table(&mut random, size);
        let (plain, ours) = (context(&batches, false, None), context(&batches, true, memory));
        for query in JOINS {
            let (expected, _) = rows(&plain, query).await;
            let (found, plan) = rows(&ours, query).await;
            // A NULL in one partition decides for all.
            let is_ours = plan.contains("BucketedJoinExec");
            assert_eq!(is_ours, !query.contains("NOT IN"), "{query}\n{plan}");
            assert_eq!(sorted(&found), sorted(&expected), "{size} rows: {query}\n{plan}");
        }
    }
}

#[tokio::test]
async fn a_join_whose_left_side_does_not_fit_is_done_in_buckets() {
    let batches = table(&mut Random(6), 60_000);
    let query = "SELECT a.id, a.x, b.s FROM t AS a LEFT JOIN t AS b ON a.id = b.id + 1";
    let (expected, _) = rows(&context(&batches, false, None), query).await;
    for (memory, spills_some) in [(64_000_000, false), (12_000_000, false), (4_000_000, true)] {
        let ours = context(&batches, true, Some(memory));
        let plan = ours.sql(query).await.unwrap().create_physical_plan().await.unwrap();
        let found = collect(Arc::clone(&plan), ours.task_ctx()).await.unwrap();
        assert_eq!(spills(&plan, "BucketedJoinExec") > 0, spills_some, "{memory}");
        let shown = datafusion::arrow::util::pretty::pretty_format_batches(&found).unwrap();
        assert_eq!(sorted(&shown.to_string()), sorted(&expected), "{memory}");
    }
}

/// The rows of one bucket in each partition are more than the pool has room for.
#[tokio::test]
async fn a_bucket_that_is_too_large_is_spread_again() {
    let batches = table(&mut Random(11), 60_000);
    let batches = [concat_batches(&batches[0].schema(), &batches).unwrap()];
    let batches: Vec<_> = (0..60).map(|at| batches[0].slice(at * 1_000, 1_000)).collect();
    for query in [
        "SELECT id, row_number() OVER (PARTITION BY id / 3 ORDER BY ts, id) > 1 AS copy FROM t",
        // Some keys have many rows, which stay together.
        "SELECT id, row_number() OVER (PARTITION BY CASE WHEN id % 64 = 0 THEN id % 7 ELSE id END
         ORDER BY ts, id) > 1 AS copy FROM t",
        "SELECT a.id, a.s, b.k FROM t AS a LEFT JOIN t AS b ON a.id = b.id + 1",
    ] {
        let (expected, _) = rows(&context(&batches, false, None), query).await;
        let ours = context(&batches, true, Some(250_000));
        let plan = ours.sql(query).await.unwrap().create_physical_plan().await.unwrap();
        let found = collect(Arc::clone(&plan), ours.task_ctx()).await.unwrap();
        let shown = datafusion::arrow::util::pretty::pretty_format_batches(&found).unwrap();
        assert_eq!(sorted(&shown.to_string()), sorted(&expected), "{query}");
    }
}

/// One key has nearly all rows: no bucket is small.
#[tokio::test]
async fn a_bucket_that_does_not_fit_is_sorted_by_datafusion() {
    let batches = table(&mut Random(9), 60_000);
    let query = "SELECT id, lag(n) OVER (PARTITION BY least(id, 1) ORDER BY ts, id) AS w FROM t";
    let (expected, _) = rows(&context(&batches, false, None), query).await;
    let ours = context(&batches, true, Some(24_000_000));
    let plan = ours.sql(query).await.unwrap().create_physical_plan().await.unwrap();
    let found = collect(plan, ours.task_ctx()).await.unwrap();
    let shown = datafusion::arrow::util::pretty::pretty_format_batches(&found).unwrap();
    assert_eq!(sorted(&shown.to_string()), sorted(&expected));
}

/// Rows that somebody wants in an order are sorted.
#[tokio::test]
async fn an_order_that_somebody_asks_for_is_kept() {
    let batches = table(&mut Random(4), 500);
    for query in [
        "SELECT k, ts, id, row_number() OVER (PARTITION BY k ORDER BY ts, id) AS w FROM t
         ORDER BY k, ts, id",
        "SELECT k, ts, id, lag(n) OVER (PARTITION BY k ORDER BY ts, id) AS w FROM t
         ORDER BY k, ts, id LIMIT 7",
        "SELECT first_value(id ORDER BY k, ts, id) AS f FROM (
         SELECT *, lag(n) OVER (PARTITION BY k ORDER BY ts, id) AS w FROM t) WHERE w > 0",
        "SELECT id, row_number() OVER (PARTITION BY k ORDER BY ts, id) AS v,
         sum(n) OVER (ORDER BY k, ts, id) AS w FROM t ORDER BY id",
        "SELECT id, lag(n) OVER (PARTITION BY k ORDER BY ts, id) AS w FROM (SELECT id, k, ts, n, x,
         row_number() OVER (PARTITION BY k ORDER BY ts, id) AS rn FROM t) WHERE rn + x > 3
         ORDER BY id",
        "SELECT b.id, lag(b.n) OVER (PARTITION BY b.k ORDER BY b.ts, b.id) AS w FROM t AS a
         JOIN (SELECT *, row_number() OVER (PARTITION BY k ORDER BY ts, id) AS rn FROM t) AS b
         ON a.k = b.k AND a.id = 3 ORDER BY b.id",
        "SELECT id, lag(n) OVER (PARTITION BY k, k ORDER BY ts, id) AS w FROM t ORDER BY id",
        "SELECT k, ts, rank() OVER (PARTITION BY k ORDER BY ts) AS w FROM t
         UNION ALL SELECT k, ts, count(*) OVER (PARTITION BY k) AS w FROM t ORDER BY k, ts, w",
    ] {
        let (expected, _) = rows(&context(&batches, false, None), query).await;
        let (found, plan) = rows(&context(&batches, true, None), query).await;
        assert_eq!(found, expected, "{query}\n{plan}");
    }
}

/// A plan can be run again, and partitions can be left unread.
#[tokio::test]
async fn plans_are_run_again_and_given_up() {
    let batches = table(&mut Random(8), 900);
    let ours = context(&batches, true, None);
    let query = "SELECT id, count(*) AS c FROM t GROUP BY id";
    let plan = ours.sql(query).await.unwrap().create_physical_plan().await.unwrap();
    for _ in 0..2 {
        let found = collect(Arc::clone(&plan), ours.task_ctx()).await.unwrap();
        assert_eq!(found.iter().map(|batch| batch.num_rows()).sum::<usize>(), 900);
    }
    let (limited, _) = rows(&ours, "SELECT id, count(*) AS c FROM t GROUP BY id LIMIT 3").await;
    assert_eq!(limited.lines().count(), 3 + 4);
}

#[tokio::test]
async fn errors_of_the_input_come_through() {
    let batches = table(&mut Random(8), 900);
    let ours = context(&batches, true, None);
    let query = "SELECT CAST(s AS INT) AS s, count(*) AS c FROM t GROUP BY CAST(s AS INT)";
    let plan = ours.sql(query).await.unwrap().create_physical_plan().await.unwrap();
    let error = collect(plan, ours.task_ctx()).await.unwrap_err();
    assert!(error.to_string().contains("Cannot cast string"), "{error}");
}

fn spills(plan: &Arc<dyn ExecutionPlan>, name: &str) -> usize {
    let own =
        if plan.name() == name { plan.metrics().and_then(|all| all.spill_count()) } else { None };
    let below = plan.children().into_iter().map(|child| spills(child, name)).sum::<usize>();
    own.unwrap_or_default() + below
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}
