use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::ParamValues;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;

use super::*;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::query::analysis::parameters;
use crate::query::session::config;

/// Plans a query over `sales` and `views`, both with `user_id`, `item_id`, `ts`, `dt` and `n`.
fn plan(text: &str) -> LogicalPlan {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let context = SessionContext::new_with_config(config(1));
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = Arc::new(Schema::new(vec![
        Field::new("user_id", DataType::Utf8, false),
        Field::new("item_id", DataType::Utf8, false),
        Field::new("ts", time, true),
        Field::new("dt", DataType::Date32, true),
        Field::new("n", DataType::Int64, true),
    ]));
    for name in ["sales", "views"] {
        context.register_table(name, Arc::new(EmptyTable::new(Arc::clone(&schema)))).unwrap();
    }
    let day = LogicalDate::new(chrono::NaiveDate::default());
    let values = parameters(Partition::Day(day), day, "run", &BTreeMap::new());
    let plan = runtime.block_on(context.state().create_logical_plan(text)).unwrap();
    let values =
        values.into_iter().map(|(name, value)| (name, ScalarAndMetadata::new(value, None)));
    plan.with_param_values(ParamValues::Map(values.collect())).unwrap()
}

fn mixed(text: &str) -> Vec<MixingKind> {
    let days: BTreeMap<String, BTreeSet<String>> = ["sales", "views"]
        .map(|name| (name.to_owned(), BTreeSet::from(["dt".to_owned(), "ts".to_owned()])))
        .into();
    mixing(&plan(text), &days).into_iter().map(|one| one.kind).collect()
}

#[test]
fn days_stay_apart_where_they_are_grouped_partitioned_and_joined_by() {
    for text in [
        "SELECT user_id, item_id, sum(n) AS weight, dt FROM sales GROUP BY user_id, item_id, dt",
        "SELECT user_id, CAST(ts AS DATE) AS dt, count(*) FROM sales GROUP BY 1, 2",
        "SELECT *, lead(ts) OVER (PARTITION BY user_id, dt ORDER BY ts) AS next FROM sales",
        "SELECT *, sum(n) OVER (PARTITION BY user_id ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS s FROM sales",
        "SELECT s.*, v.n AS views FROM sales AS s JOIN views AS v ON v.user_id = s.user_id AND v.dt = s.dt",
        "SELECT s.user_id, s.dt, sum(v.n) AS views FROM sales AS s LEFT JOIN views AS v ON v.user_id = s.user_id AND v.ts < s.ts GROUP BY s.user_id, s.dt",
    ] {
        assert_eq!(mixed(text), [], "{text}");
    }
}

#[test]
fn what_knows_of_later_days_is_found() {
    use MixingKind::*;
    for (text, kinds) in [
        ("SELECT user_id, max(dt) AS dt FROM sales GROUP BY user_id", vec![Aggregate]),
        (
            "WITH total AS (SELECT item_id, sum(n) AS total FROM sales GROUP BY item_id) SELECT s.*, t.total FROM sales AS s JOIN total AS t ON t.item_id = s.item_id",
            vec![Aggregate],
        ),
        (
            "SELECT *, lead(ts) OVER (PARTITION BY user_id ORDER BY ts) AS next FROM sales",
            vec![Window],
        ),
        (
            "SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY ts DESC) AS r FROM sales",
            vec![Window],
        ),
        ("SELECT *, sum(n) OVER (PARTITION BY item_id) AS total FROM sales", vec![Window]),
        (
            "SELECT *, sum(n) OVER (PARTITION BY user_id ORDER BY ts ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING) AS s FROM sales",
            vec![Window],
        ),
        (
            "SELECT s.*, v.n AS views FROM sales AS s JOIN views AS v ON v.user_id = s.user_id",
            vec![Join],
        ),
    ] {
        let mut found = mixed(text);
        found.sort_by_key(|kind| format!("{kind:?}"));
        assert_eq!(found, kinds, "{text}");
    }
}

#[test]
fn the_end_of_what_is_read_is_that_of_conditions() {
    for (condition, expected) in [
        ("ts >= $interval_start AND ts < $interval_end", Bounds::Day),
        ("CAST(ts AS DATE) = $logical_date", Bounds::Day),
        ("dt <= $logical_date", Bounds::Day),
        ("dt BETWEEN $logical_date AND $logical_date", Bounds::Day),
        ("NOT (ts < $interval_start OR ts >= $interval_end)", Bounds::Day),
        ("ts >= $interval_start", Bounds::Open),
        ("ts >= $interval_start OR ts < $interval_end", Bounds::None),
        ("ts < $interval_end + INTERVAL '7 days'", Bounds::Late),
        ("dt < $logical_date + INTERVAL '2 days'", Bounds::Late),
        ("n > 0", Bounds::None),
    ] {
        let found = bounds(&plan(&format!("SELECT * FROM sales WHERE {condition}")));
        assert_eq!(found, expected, "{condition}");
    }
    let fate = "SELECT *, CASE WHEN ts < $interval_start OR ts >= $interval_end THEN 'filtered: day' ELSE 'kept' END AS _fate FROM sales";
    assert_eq!(bounds(&plan(fate)), Bounds::Day);
}

fn ordered(text: &str) -> Order {
    order(&plan(text), "known_at", "labelled_at")
}

#[test]
fn times_are_in_order_where_a_condition_says_so() {
    let joined =
        |join: &str| format!("SELECT s.ts AS labelled_at, v.ts AS known_at FROM sales AS s {join}");
    for (text, expected) in [
        (joined("JOIN views AS v ON v.user_id = s.user_id AND v.ts <= s.ts"), Order::NotLater),
        (joined("LEFT JOIN views AS v ON v.user_id = s.user_id AND v.ts < s.ts"), Order::NotLater),
        (joined("JOIN views AS v ON v.user_id = s.user_id WHERE s.ts > v.ts"), Order::NotLater),
        (
            joined("JOIN views AS v ON v.user_id = s.user_id WHERE v.ts < $interval_start AND s.ts >= $interval_start"),
            Order::NotLater,
        ),
        (joined("JOIN views AS v ON v.ts = s.ts"), Order::NotLater),
        (joined("JOIN views AS v ON v.user_id = s.user_id"), Order::Open),
        (joined("JOIN views AS v ON v.user_id = s.user_id AND v.ts >= s.ts"), Order::Later),
        (joined("JOIN views AS v ON v.user_id = s.user_id AND (v.ts <= s.ts OR v.n > 1)"), Order::Open),
        (
            "SELECT s.ts AS labelled_at, max(v.ts) AS known_at FROM sales AS s JOIN views AS v ON v.ts <= s.ts GROUP BY s.ts".to_owned(),
            Order::NotLater,
        ),
        (
            "SELECT min(s.ts) AS labelled_at, max(v.ts) AS known_at FROM sales AS s JOIN views AS v ON v.ts <= s.ts".to_owned(),
            Order::Open,
        ),
        (
            "SELECT s.ts AS labelled_at, v.ts + INTERVAL '1 day' AS known_at FROM sales AS s JOIN views AS v ON v.ts <= s.ts".to_owned(),
            Order::Unknown,
        ),
    ] {
        assert_eq!(ordered(&text), expected, "{text}");
    }
}

#[test]
fn a_condition_of_an_outer_join_does_not_bind_the_kept_side() {
    let text = "SELECT s.ts AS labelled_at, CAST(s.dt AS TIMESTAMP) AS other, s.ts AS known_at FROM sales AS s LEFT JOIN views AS v ON s.dt <= s.dt";
    assert_eq!(ordered(text), Order::NotLater, "the same column is not later than itself");
    let text = "WITH both AS (SELECT s.ts AS a, v.ts AS b FROM sales AS s JOIN views AS v ON v.user_id = s.user_id) SELECT a AS labelled_at, b AS known_at FROM both LEFT JOIN views AS w ON b <= a";
    assert_eq!(ordered(text), Order::Open);
}
