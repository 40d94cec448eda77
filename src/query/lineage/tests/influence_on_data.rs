//! Runs queries on small random tables, changes a column that a result does not depend on by its
//! lineage, and looks whether the result stays. A missing influence shows as a change.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::{How, TableLineage};
use crate::query::session::config;

/// Tables `t(a, b, c, s)` and `u(a, d, e, s)`: whole numbers, and text in `s`. Results do not depend
/// on the order in which equal rows come.
pub(super) const QUERIES: &[&str] = &[
    // Columns, expressions, names.
    "SELECT a, b AS x, s FROM t",
    "SELECT * FROM t",
    "SELECT t.* FROM t AS t",
    "SELECT a + b AS x, upper(s) AS y, 1 AS one, CAST(c AS VARCHAR) AS z, TRY_CAST(s AS INT) AS n FROM t",
    "SELECT CASE WHEN a > 1 THEN b ELSE c END AS x, CASE a WHEN 1 THEN s END AS y FROM t",
    "SELECT coalesce(a, b) AS x, nullif(b, c) AS y, a IS NULL AS z, NOT (b = 1) AS n FROM t",
    "SELECT a BETWEEN b AND 3 AS x, s LIKE 'x%' AS y, c IN (1, 2) AS z FROM t",
    "SELECT -a AS x, s SIMILAR TO 'x|y' AS y, s || 'z' AS z FROM t",
    "SELECT a IS NOT NULL AS x, (b = 1) IS TRUE AS y, (c > 1) IS NOT FALSE AS z FROM t",
    "SELECT (b = 1) IS UNKNOWN AS x, (b = 1) IS FALSE AS y, (c = 1) IS NOT TRUE AS z, (c = 2) IS NOT UNKNOWN AS w FROM t",
    // Rows.
    "SELECT a, b FROM t WHERE c > 1",
    "SELECT DISTINCT a, b FROM t",
    "SELECT a FROM t ORDER BY b",
    "SELECT min(a) AS x FROM (SELECT a FROM t ORDER BY a LIMIT 3) AS few",
    "SELECT s FROM (SELECT s, b FROM t ORDER BY b, a, c, s LIMIT 3) AS few",
    "SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b, c",
    "VALUES (1, 'x'), (2, 'y')",
    "SELECT v.n, t.s FROM (VALUES (1), (2)) AS v(n) JOIN t ON t.a = v.n",
    "SELECT 1 AS one",
    // Groups.
    "SELECT a, sum(b) AS x, count(*) AS n, max(s) AS y FROM t GROUP BY a",
    "SELECT a, count(DISTINCT b) AS x, sum(b) FILTER (WHERE c > 1) AS y FROM t GROUP BY a HAVING min(b) > 0",
    "SELECT sum(a) AS x, count(*) AS n FROM t",
    "SELECT array_agg(b ORDER BY c, b) AS x, string_agg(s, ',' ORDER BY s) AS y FROM t",
    "SELECT a, b, sum(c) AS x FROM t GROUP BY ROLLUP (a, b)",
    "SELECT a, b, count(c) AS x FROM t GROUP BY GROUPING SETS ((a), (b), ())",
    "SELECT a % 2 AS x, avg(b) AS y FROM t GROUP BY 1",
    // Windows.
    "SELECT a, row_number() OVER (PARTITION BY a ORDER BY b, c, s) AS n FROM t",
    "SELECT b, sum(c) OVER (PARTITION BY a) AS x, max(c) OVER () AS y, count(*) OVER () AS n FROM t",
    "SELECT a, lag(b) OVER (ORDER BY a, b, c, s) AS x, rank() OVER (ORDER BY c) AS r FROM t",
    "SELECT s, count(a) FILTER (WHERE b > 1) OVER (PARTITION BY c) AS x FROM t",
    "SELECT a, b FROM t QUALIFY row_number() OVER (PARTITION BY a ORDER BY b, c) = 1",
    "SELECT a, sum(b) OVER w AS x FROM t WINDOW w AS (PARTITION BY c)",
    // Joins.
    "SELECT t.a, b, d FROM t JOIN u ON t.a = u.a",
    "SELECT a, b, d FROM t JOIN u USING (a)",
    "SELECT t.b, u.d FROM t LEFT JOIN u ON t.a = u.a AND u.e > 1",
    "SELECT t.b, u.d FROM t RIGHT JOIN u ON t.a = u.a",
    "SELECT coalesce(t.a, u.a) AS a, t.b, u.d FROM t FULL JOIN u ON t.a = u.a",
    "SELECT t.a, u.d FROM t CROSS JOIN u",
    "SELECT t.a FROM t LEFT SEMI JOIN u ON t.a = u.a AND t.b < u.d",
    "SELECT t.b FROM t LEFT ANTI JOIN u ON t.a = u.a",
    "SELECT u.d FROM t RIGHT SEMI JOIN u ON t.a = u.a",
    "SELECT u.d FROM t RIGHT ANTI JOIN u ON t.a = u.a",
    "SELECT one.b AS x, other.c AS y FROM t AS one JOIN t AS other ON one.a = other.a",
    "SELECT t.b, x.most FROM t, LATERAL (SELECT max(u.d) AS most FROM u WHERE u.a = t.a) AS x",
    // Sets.
    "SELECT a, s FROM t UNION ALL SELECT d, s FROM u",
    "SELECT a FROM t UNION SELECT d FROM u",
    "SELECT a, b FROM t INTERSECT SELECT a, d FROM u",
    "SELECT a FROM t EXCEPT SELECT a FROM u",
    // Subqueries.
    "SELECT b, (SELECT max(d) FROM u WHERE e > 1) AS x FROM t",
    "SELECT b, (SELECT max(d) FROM u WHERE u.a = t.a) AS x FROM t",
    "SELECT b FROM t WHERE a IN (SELECT a FROM u WHERE e = 1)",
    "SELECT b FROM t WHERE a NOT IN (SELECT a FROM u WHERE a IS NOT NULL)",
    "SELECT b FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = t.a AND u.d > t.b)",
    "SELECT b FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.e = 2)",
    "SELECT b FROM t WHERE c > (SELECT avg(e) FROM u)",
    "SELECT x.n FROM (SELECT a, count(*) AS n FROM t GROUP BY a) AS x WHERE x.a > 1",
    // Named queries.
    "WITH x AS (SELECT a, lower(s) AS y FROM t WHERE b > 1) SELECT y FROM x",
    "WITH x AS (SELECT a, b FROM t), y AS (SELECT a, sum(b) AS n FROM x GROUP BY a) SELECT x.b, y.n FROM x JOIN y ON x.a = y.a",
    "WITH t AS (SELECT d AS a FROM u) SELECT a FROM t",
    "WITH RECURSIVE r AS (SELECT a, b, 0 AS n FROM t UNION ALL SELECT u.d, r.b, r.n + 1 FROM r JOIN u ON u.a = r.a WHERE r.n < 2) SELECT a, b, n FROM r",
    "WITH RECURSIVE r AS (SELECT a, b FROM t UNION ALL SELECT b, a FROM r WHERE false) SELECT a FROM r",
    // Lists and structs.
    "SELECT a, unnest(make_array(b, c)) AS x FROM t",
    "SELECT a, unnest(CASE WHEN c = 1 THEN make_array(b, b) ELSE make_array(b) END) AS x FROM t",
    "SELECT unnest(x) AS y FROM (SELECT array_agg(b ORDER BY b) AS x FROM t WHERE c = 1) AS lists",
    "SELECT x['one'] AS y FROM (SELECT named_struct('one', a, 'two', b) AS x FROM t) AS structs",
    "SELECT array_length(make_array(a, b)) AS n, make_array(a, c)[2] AS x FROM t",
    // As a pipeline's queries are.
    "SELECT a, b, CASE WHEN c = 1 THEN 'filtered: x' WHEN row_number() OVER (PARTITION BY a ORDER BY s, b, c) > 1 THEN 'duplicate' ELSE 'kept' END AS _fate FROM t",
];

const TABLES: [(&str, [&str; 4]); 2] = [("t", ["a", "b", "c", "s"]), ("u", ["a", "d", "e", "s"])];
const ROWS_OF_A_TABLE: usize = 7;
const TRIALS: u64 = 2;

/// The tables' columns, in the order of [`TABLES`].
#[derive(Clone)]
struct Data(Vec<[ArrayRef; 4]>);

impl Data {
    fn random(random: &mut ChaCha8Rng) -> Self {
        let table = |names: &[&str; 4], random: &mut ChaCha8Rng| {
            names.map(|name| random_column(name, random))
        };
        Self(TABLES.iter().map(|(_, names)| table(names, random)).collect())
    }

    fn context(&self) -> SessionContext {
        let context = SessionContext::new_with_config(config(1));
        for ((table, names), columns) in TABLES.iter().zip(&self.0) {
            let columns = names.iter().copied().zip(columns.iter().cloned());
            let columns = columns.map(|(name, column)| (name, column, true));
            let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
            context.register_batch(*table, batch).unwrap();
        }
        context
    }
}

/// Few values, so that rows meet in joins and groups, and some NULL.
fn random_column(name: &str, random: &mut ChaCha8Rng) -> ArrayRef {
    let values: Vec<Option<i64>> = (0..ROWS_OF_A_TABLE)
        .map(|_| random.random_bool(0.85).then(|| random.random_range(0..4)))
        .collect();
    if name == "s" {
        let words = values.iter().map(|v| v.map(|v| ["x", "Y", "xy", "1"][v as usize]));
        Arc::new(StringArray::from_iter(words))
    } else {
        Arc::new(Int64Array::from(values))
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

pub(super) fn plan_of(sql: &str) -> LogicalPlan {
    let data = Data::random(&mut ChaCha8Rng::seed_from_u64(1));
    let state = data.context().state();
    runtime().block_on(state.create_logical_plan(sql)).unwrap_or_else(|e| panic!("{sql}: {e}"))
}

/// The result's columns, the values of each in an order of their own.
fn result(runtime: &tokio::runtime::Runtime, data: &Data, sql: &str) -> Vec<Vec<String>> {
    let batches = runtime.block_on(async {
        data.context()
            .sql(sql)
            .await
            .unwrap()
            .collect()
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"))
    });
    let width = batches.first().map_or(0, RecordBatch::num_columns);
    let column = |index: usize| {
        let mut values = Vec::new();
        for batch in &batches {
            let column = batch.column(index);
            let options = FormatOptions::default().with_null("NULL");
            let format = ArrayFormatter::try_new(column, &options).unwrap();
            values.extend((0..batch.num_rows()).map(|row| format.value(row).to_string()));
        }
        values.sort();
        values
    };
    (0..width).map(column).collect()
}

#[test]
fn what_has_no_influence_changes_nothing() {
    let runtime = runtime();
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let mut tried = 0;
    let mut missed = String::new();
    for (sql, _) in QUERIES.iter().flat_map(|sql| (0..TRIALS).map(move |trial| (sql, trial))) {
        let lineage = TableLineage::of_plan(&plan_of(sql));
        let data = Data::random(&mut random);
        let before = result(&runtime, &data, sql);
        let columns = TABLES.iter().enumerate().flat_map(|(table, (name, columns))| {
            columns.iter().enumerate().map(move |(index, column)| (table, index, *name, *column))
        });
        for (table, index, name, column) in columns {
            let stays = |made: &str| !lineage.may_depend_on(made, name, column);
            if !lineage.columns.iter().any(|made| stays(&made.name)) {
                continue;
            }
            let mut changed = data.clone();
            changed.0[table][index] = random_column(column, &mut random);
            let after = result(&runtime, &changed, sql);
            for (at, made) in lineage.columns.iter().enumerate() {
                if stays(&made.name) {
                    tried += 1;
                    if before.get(at) != after.get(at) {
                        let made = &made.name;
                        missed.push_str(&format!("{name}.{column} changes {made}: {sql}\n"));
                    }
                }
            }
        }
    }
    assert!(missed.is_empty(), "influences that lineage does not know:\n{missed}");
    assert!(tried > 400, "only {tried} comparisons");
}

#[test]
fn what_is_taken_over_as_it_is_was_there_before() {
    let runtime = runtime();
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut tried = 0;
    for sql in QUERIES {
        let lineage = TableLineage::of_plan(&plan_of(sql));
        let data = Data::random(&mut random);
        let made = result(&runtime, &data, sql);
        for (column, values) in lineage.columns.iter().zip(&made) {
            let direct: Vec<_> =
                column.from.iter().filter(|(_, one)| one.how.is_direct()).collect();
            let [(origin, one)] = direct.as_slice() else { continue };
            if one.how != How::Identity {
                continue;
            }
            tried += 1;
            let every = format!("SELECT {} FROM {}", origin.column, origin.table);
            let all = result(&runtime, &data, &every);
            let strange = values.iter().find(|value| *value != "NULL" && !all[0].contains(value));
            assert_eq!(strange, None, "{} of {sql}", column.name);
        }
    }
    assert!(tried > 50, "only {tried} columns");
}
