//! First rows against DataFusion's windows and sorts, on random tables.

use super::common::{Random, context, rows, table};

/// Queries that ask for the first row of each key only; orders are total.
const QUERIES: [&str; 6] = [
    "SELECT id, CASE WHEN row_number() OVER (PARTITION BY k ORDER BY ts, id) > 1
                     THEN 'copy' ELSE 'kept' END AS fate FROM t ORDER BY id",
    "SELECT id, 2 <= row_number() OVER (PARTITION BY k, l ORDER BY ts DESC, id DESC) AS copy
     FROM t ORDER BY id",
    "SELECT id, s FROM (SELECT *, row_number() OVER (PARTITION BY l ORDER BY x DESC NULLS LAST, id)
                        AS place FROM t) WHERE place = 1 ORDER BY id",
    "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY k, s ORDER BY id) AS place FROM t)
     WHERE place < 2 AND n > 0 ORDER BY id",
    "SELECT l, count(*) AS firsts FROM (SELECT l, row_number() OVER (PARTITION BY id % 7
     ORDER BY s, id) AS place FROM t) WHERE place <= 1 GROUP BY l ORDER BY l",
    "SELECT id, n, row_number() OVER (PARTITION BY id / 3 ORDER BY n DESC, id) = 1 AS best
     FROM t WHERE n IS NOT NULL ORDER BY id",
];

#[tokio::test]
async fn first_rows_are_those_of_a_sort() {
    let mut random = Random(11);
    for size in [1, 9, 300, 3_000] {
        let batches = table(&mut random, size);
        let plain = context(&batches, false, None);
        let ours = context(&batches, true, None);
        for query in QUERIES {
            let (expected, _) = rows(&plain, query).await;
            let (found, plan) = rows(&ours, query).await;
            assert!(plan.contains("work=FirstRowExec"), "{query}\n{plan}");
            assert!(!plan.contains("WindowExec"), "{query}\n{plan}");
            assert_eq!(found, expected, "{size} rows: {query}\n{plan}");
        }
    }
}

#[tokio::test]
async fn a_number_that_somebody_sees_is_counted() {
    let batches = table(&mut Random(3), 50);
    for query in [
        "SELECT id, row_number() OVER (PARTITION BY k ORDER BY ts, id) AS place FROM t ORDER BY id",
        "SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY k ORDER BY ts, id) AS place
         FROM t) WHERE place = 2 ORDER BY id",
        "SELECT id, place FROM (SELECT id, row_number() OVER (PARTITION BY k ORDER BY ts, id)
         AS place FROM t) WHERE place > 1 ORDER BY id",
        "SELECT id, row_number() OVER (PARTITION BY k ORDER BY ts, id) % 2 = 1 AS odd
         FROM t ORDER BY id",
    ] {
        let (expected, _) = rows(&context(&batches, false, None), query).await;
        let (found, plan) = rows(&context(&batches, true, None), query).await;
        assert!(!plan.contains("FirstRowExec"), "{query}\n{plan}");
        assert_eq!(found, expected, "{query}");
    }
}
