use datafusion::arrow::datatypes::{Schema, TimeUnit};
use datafusion::datasource::empty::EmptyTable;
use datafusion::prelude::SessionContext;

use super::*;
use crate::query::session::config;

fn context() -> SessionContext {
    let context = SessionContext::new_with_config(config(1));
    let at = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let tables = [
        (
            "events",
            vec![
                ("event_id", DataType::Utf8),
                ("user_id", DataType::Utf8),
                ("item_id", DataType::Utf8),
                ("price", DataType::Float64),
                ("ts", at),
                ("dt", DataType::Date32),
            ],
        ),
        ("items", vec![("item_id", DataType::Utf8), ("name", DataType::Utf8)]),
    ];
    for (name, columns) in tables {
        let fields: Vec<Field> =
            columns.into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect();
        let table = EmptyTable::new(Arc::new(Schema::new(fields)));
        context.register_table(name, Arc::new(table)).unwrap();
    }
    context
}

fn types() -> ParameterTypes {
    let at = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    [
        ("logical_date", DataType::Date32),
        ("interval_start", at.clone()),
        ("interval_end", at),
        ("min_price", DataType::Float64),
        ("other", DataType::Float64),
    ]
    .map(|(name, kind)| (name.to_owned(), kind))
    .into()
}

async fn means(sql: &str) -> Option<Meaning> {
    let state = context().state();
    let plan = state.create_logical_plan(sql).await.unwrap();
    meaning(&state, plan, &types())
}

#[track_caller]
fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

/// Pairs that mean the same.
const SAME: &[(&str, &str)] = &[
    ("SELECT user_id FROM events", "select\n user_id -- who\n from events"),
    ("SELECT user_id FROM events", "SELECT e.user_id FROM events AS e"),
    ("SELECT user_id FROM events", "SELECT user_id AS user_id FROM (SELECT * FROM events) t"),
    (
        "WITH a AS (SELECT user_id u, price p FROM events) SELECT u, sum(p) AS s FROM a GROUP BY u",
        "WITH b AS (SELECT user_id x, price y FROM events) SELECT x AS u, sum(y) AS s FROM b GROUP BY x",
    ),
    (
        "WITH a AS (SELECT user_id FROM events) SELECT a.user_id FROM a",
        "SELECT user_id FROM events",
    ),
    (
        "SELECT e.user_id, i.name FROM events e JOIN items i ON e.item_id = i.item_id",
        "SELECT user_id, name FROM events JOIN items USING (item_id)",
    ),
    (
        "SELECT user_id FROM events WHERE price > 1 AND user_id IS NOT NULL",
        "SELECT user_id FROM events WHERE user_id IS NOT NULL AND (price > 1)",
    ),
    (
        "SELECT user_id FROM events WHERE price > $min_price",
        "SELECT user_id FROM events AS q WHERE q.price > $min_price",
    ),
    (
        "SELECT user_id, row_number() OVER (PARTITION BY user_id ORDER BY ts) AS n FROM events",
        "SELECT user_id, row_number() OVER w AS n FROM events WINDOW w AS (PARTITION BY user_id ORDER BY ts)",
    ),
    (
        "SELECT user_id FROM events WHERE item_id IN (SELECT item_id FROM items)",
        "SELECT user_id FROM events e WHERE e.item_id IN (SELECT i.item_id FROM items AS i)",
    ),
    (
        "SELECT user_id FROM events e WHERE EXISTS (SELECT 1 FROM items i WHERE i.item_id = e.item_id)",
        "SELECT user_id FROM events x WHERE EXISTS (SELECT 1 FROM items y WHERE y.item_id = x.item_id)",
    ),
    (
        "SELECT user_id, (SELECT max(name) FROM items) AS m FROM events",
        "SELECT e.user_id, (SELECT max(i.name) FROM items i) AS m FROM events e",
    ),
    (
        "SELECT user_id, CAST(price AS int) AS p FROM events",
        "SELECT user_id, price::int AS p FROM events",
    ),
    (
        "SELECT 'a' AS k, user_id FROM events UNION ALL SELECT 'b', item_id FROM items",
        "SELECT 'a' AS k, e.user_id FROM events e UNION ALL SELECT 'b' AS z, i.item_id AS y FROM items i",
    ),
    ("SELECT user_id, now() AS at FROM events", "SELECT e.user_id, now() AS at FROM events e"),
    (
        "SELECT user_id, $logical_date AS dt FROM events WHERE ts >= $interval_start AND ts < $interval_end",
        "SELECT user_id, $logical_date AS dt FROM (SELECT * FROM events WHERE ts >= $interval_start) WHERE ts < $interval_end",
    ),
    ("SELECT DISTINCT user_id FROM events", "SELECT user_id FROM events GROUP BY user_id"),
];

/// Pairs that mean something else, some by little.
const DIFFERENT: &[(&str, &str)] = &[
    ("SELECT user_id FROM events", "SELECT item_id FROM events"),
    ("SELECT user_id FROM events", "SELECT user_id AS who FROM events"),
    ("SELECT user_id, item_id FROM events", "SELECT item_id, user_id FROM events"),
    (
        "SELECT user_id AS a, item_id AS b FROM events",
        "SELECT item_id AS a, user_id AS b FROM events",
    ),
    ("SELECT item_id FROM events", "SELECT item_id FROM items"),
    ("SELECT user_id FROM events", "SELECT DISTINCT user_id FROM events"),
    ("SELECT user_id FROM events WHERE price > 1", "SELECT user_id FROM events WHERE price >= 1"),
    (
        "SELECT user_id FROM events WHERE price > 1",
        "SELECT user_id FROM events WHERE price > 1.0001",
    ),
    (
        "SELECT user_id FROM events WHERE price > $min_price",
        "SELECT user_id FROM events WHERE price > $other",
    ),
    (
        "SELECT user_id FROM events WHERE $min_price > 5",
        "SELECT user_id FROM events WHERE $min_price > 6",
    ),
    ("SELECT '1' AS a FROM events", "SELECT 1 AS a FROM events"),
    ("SELECT CAST(1 AS int) AS a FROM events", "SELECT CAST(1 AS bigint) AS a FROM events"),
    ("SELECT 'x\") AND #1 = Utf8(\"y' AS a FROM events", "SELECT 'x' AS a FROM events"),
    (
        "SELECT user_id FROM events WHERE user_id = 'a'' b'",
        "SELECT user_id FROM events WHERE user_id = 'a b'",
    ),
    ("SELECT sum(price) AS s FROM events", "SELECT sum(DISTINCT price) AS s FROM events"),
    (
        "SELECT sum(price) FILTER (WHERE price > 1) AS s FROM events",
        "SELECT sum(price) AS s FROM events",
    ),
    (
        "SELECT row_number() OVER (ORDER BY ts) AS n FROM events",
        "SELECT row_number() OVER (ORDER BY ts DESC) AS n FROM events",
    ),
    (
        "SELECT row_number() OVER (ORDER BY ts) AS n FROM events",
        "SELECT rank() OVER (ORDER BY ts) AS n FROM events",
    ),
    (
        "SELECT sum(price) OVER (ORDER BY ts ROWS 2 PRECEDING) AS n FROM events",
        "SELECT sum(price) OVER (ORDER BY ts ROWS 3 PRECEDING) AS n FROM events",
    ),
    (
        "SELECT e.user_id FROM events e JOIN items i ON e.item_id = i.item_id",
        "SELECT e.user_id FROM events e LEFT JOIN items i ON e.item_id = i.item_id",
    ),
    (
        "SELECT a.user_id FROM events a JOIN events b ON a.item_id = b.item_id",
        "SELECT b.user_id FROM events a JOIN events b ON a.item_id = b.item_id AND a.price > b.price",
    ),
    (
        "SELECT a.user_id, b.price AS p FROM events a JOIN events b ON a.item_id = b.item_id",
        "SELECT a.user_id, a.price AS p FROM events a JOIN events b ON a.item_id = b.item_id",
    ),
    (
        "SELECT user_id FROM events UNION ALL SELECT item_id FROM items",
        "SELECT user_id FROM events UNION SELECT item_id FROM items",
    ),
    (
        "SELECT user_id FROM events e WHERE EXISTS (SELECT 1 FROM items i WHERE i.item_id = e.item_id)",
        "SELECT user_id FROM events e WHERE NOT EXISTS (SELECT 1 FROM items i WHERE i.item_id = e.item_id)",
    ),
    (
        "SELECT user_id FROM events WHERE item_id NOT IN (SELECT item_id FROM items)",
        "SELECT user_id FROM events e WHERE NOT EXISTS (SELECT 1 FROM items i WHERE i.item_id = e.item_id)",
    ),
    (
        "SELECT (SELECT max(name) FROM items) AS m FROM events",
        "SELECT (SELECT min(name) FROM items) AS m FROM events",
    ),
    ("SELECT user_id FROM events LIMIT 3", "SELECT user_id FROM events LIMIT 4"),
    (
        "SELECT CASE WHEN price > 1 THEN 'a' ELSE 'b' END AS c FROM events",
        "SELECT CASE WHEN price > 1 THEN 'b' ELSE 'a' END AS c FROM events",
    ),
    (
        "SELECT regexp_like(user_id, 'a') AS r FROM events",
        "SELECT regexp_like(user_id, 'b') AS r FROM events",
    ),
    ("SELECT lower(user_id) AS r FROM events", "SELECT upper(user_id) AS r FROM events"),
];

#[test]
fn another_writing_means_the_same() {
    let mut told = Vec::new();
    for (one, other) in SAME {
        let (first, second) = block(async { (means(one).await, means(other).await) });
        if first.is_none() || first != second {
            told.push(format!("{first:?} {second:?}\n  {one}\n  {other}"));
        }
    }
    assert!(told.is_empty(), "{}", told.join("\n"));
}

#[test]
fn another_meaning_is_told_from_it() {
    for (one, other) in DIFFERENT {
        let (first, second) = block(async { (means(one).await, means(other).await) });
        assert!(first.is_some() && second.is_some(), "{first:?} {second:?}: {one} | {other}");
        assert_ne!(first, second, "{one} | {other}");
    }
}

/// Why plans are optimised before they are printed.
#[test]
fn optimising_shows_more_to_be_the_same() {
    let as_written = |sql: &str| {
        block(async {
            let state = context().state();
            let plan = state.create_logical_plan(sql).await.unwrap();
            plan::printed(&typed(plan, &types()).unwrap())
        })
    };
    let seen = SAME.iter().filter(|(one, other)| as_written(one) == as_written(other)).count();
    assert_eq!((seen, SAME.len()), (12, 17));
}

#[test]
fn it_is_the_same_every_time() {
    for (one, _) in SAME.iter().chain(DIFFERENT) {
        let (first, second) = block(async { (means(one).await, means(one).await) });
        assert_eq!(first, second, "{one}");
    }
}

#[test]
fn what_cannot_be_compared_has_no_meaning() {
    for sql in [
        "SELECT unnest(make_array(1, 2)) AS a FROM events",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT n FROM r",
    ] {
        assert_eq!(block(means(sql)), None, "{sql}");
    }
}
