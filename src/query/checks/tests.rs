use std::fmt::Debug;

use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::DataType;
use datafusion::datasource::MemTable;

use super::references::Keys;
use super::*;
use crate::pipeline::check::{Allowed, Tolerance};
use crate::pipeline::name::Name;
use crate::pipeline::variable::Value;
use crate::query::session::config;

type Row = (Option<i64>, Option<&'static str>, Option<f64>);

fn table(rows: &[Row]) -> RecordBatch {
    let id: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
    let kind: ArrayRef = Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>());
    let price: ArrayRef = Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>());
    let minute = |row: &Row| row.0.map(|minute| minute * 60_000_000);
    let at: ArrayRef = Arc::new(rows.iter().map(minute).collect::<TimestampMicrosecondArray>());
    let columns = [("id", id), ("kind", kind), ("price", price), ("at", at)];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, it)| (name, it, true))).unwrap()
}

fn sql_of(checks: Vec<Check>) -> SqlStep {
    SqlStep {
        file: "sql/t.sql".to_owned(),
        text: String::new(),
        normalized: String::new(),
        meaning: None,
        reads: Vec::new(),
        partitioned: true,
        unique_key: Vec::new(),
        checks,
        referenced: Vec::new(),
        times: None,
        warehouse: None,
        schema_change: crate::pipeline::step::SchemaChange::Stop,
        parameters: Vec::new(),
        untag: Vec::new(),
    }
}

fn context_of(name: &str, batch: &RecordBatch) -> SessionContext {
    let context = SessionContext::new_with_config(config(1));
    let table = MemTable::try_new(batch.schema(), vec![vec![batch.clone()]]).unwrap();
    context.register_table(name, Arc::new(table)).unwrap();
    context
}

/// Other tables' keys: 0 to 5.
fn others() -> RecordBatch {
    let key: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), Some(1), Some(5), Some(5), None]));
    RecordBatch::try_from_iter_with_nullable([("key", key, true)]).unwrap()
}

struct Ended {
    kept: RecordBatch,
    aside: Vec<Offender>,
    judgement: Judgement,
}

/// Judges rows, in batches of three, as a run does.
async fn ended(
    checks: Vec<Check>,
    rows: &[Row],
    before: &[BTreeMap<String, f64>],
    in_memory: bool,
) -> Outcome<Ended> {
    let (sql, batch) = (sql_of(checks), table(rows));
    let context = context_of("others", &others());
    let mut keys = KeysByCheck::new();
    for (position, check) in sql.checks.iter().enumerate() {
        let CheckRule::References { referenced, .. } = &check.rule else { continue };
        if in_memory {
            let types = [DataType::Int64];
            let read = Keys::read(&context, "others", referenced, &types).await.unwrap();
            keys.push((position, Arc::new(read)));
        } else {
            let table = context.table_provider("others").await.unwrap();
            context.register_table(references::name_of(position), table).unwrap();
        }
    }
    let scan = Scan::plan(&context.state(), &batch.schema(), &sql, &keys)?;
    let mut seen = scan.begin();
    let (mut kept, mut aside) = (Vec::new(), Vec::new());
    for start in (0..batch.num_rows()).step_by(3) {
        let part = batch.slice(start, 3.min(batch.num_rows() - start));
        let mut of_part = scan.begin();
        let (stays, goes) = scan.judge(part, &mut of_part)?;
        kept.push(stays);
        aside.extend(goes.into_iter().map(|it| Offender { row: it.row + start, ..it }));
        seen.add(of_part);
    }
    let kept = datafusion::arrow::compute::concat_batches(&batch.schema(), &kept).unwrap();
    let staged = MemTable::try_new(kept.schema(), vec![vec![kept.clone()]]).unwrap();
    let date = LogicalDate::new(chrono::NaiveDate::default());
    let subject = Subject {
        name: "t",
        sql: &sql,
        partition: Partition::Day(date),
        date,
        before,
        rows: kept.num_rows() as u64,
    };
    let judgement = judge(&context, &subject, &scan, seen, Arc::new(staged)).await?;
    Ok(Ended { kept, aside, judgement })
}

fn run(checks: Vec<Check>, rows: &[Row]) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(ended(checks, rows, &[], true)).unwrap()
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn not_null(column: &str) -> Check {
    Check::strict(CheckRule::NotNull(vec![column.to_owned()]))
}

fn range(min: Option<Value>, max: Option<Value>) -> Check {
    Check::strict(CheckRule::Range { column: "price".to_owned(), min, max })
}

fn references() -> Check {
    Check::strict(CheckRule::References {
        columns: vec!["id".to_owned()],
        table: Name::new("others").unwrap(),
        referenced: vec!["key".to_owned()],
    })
}

fn aside(check: Check) -> Check {
    Check { on_fail: OnFail::Quarantine, ..check }
}

#[track_caller]
fn told(ended: &Ended, expected: impl Debug) {
    let told: Vec<(&str, CheckResult, u64, &str)> = ended
        .judgement
        .outcomes
        .iter()
        .map(|it| (it.check.as_str(), it.result, it.rows, it.told.as_str()))
        .collect();
    assert_eq!(format!("{told:?}"), format!("{expected:?}"));
}

const ROWS: &[Row] = &[
    (Some(0), Some("a"), Some(0.0)),
    (Some(1), Some("b"), Some(10.0)),
    (None, None, None),
    (Some(5), Some("c"), Some(10.5)),
    (Some(7), Some("a"), Some(f64::NAN)),
    (Some(7), Some("A"), Some(-0.5)),
];

#[test]
fn null_breaks_not_null_alone() {
    let values = vec![text("a"), text("b"), text("c"), text("A")];
    let checks = vec![
        not_null("id"),
        Check::strict(CheckRule::AcceptedValues { column: "kind".to_owned(), values }),
        Check::strict(CheckRule::Expression("id >= 0".to_owned())),
        range(Some(Value::Int(-1)), None),
    ];
    let ended = run(checks, ROWS);
    told(
        &ended,
        [
            ("not_null(id)", CheckResult::Failed, 1_u64, "1 rows where `id` is NULL"),
            // Not a number is in no range, without a bound above too.
            ("range(price)", CheckResult::Failed, 1, "1 rows where `price` is not at least -1"),
        ],
    );
    assert_eq!((ended.kept.num_rows(), ended.judgement.passed), (6, 2));
    let failure = ended.judgement.settle("t").unwrap_err();
    assert_eq!(failure.kind, FailureKind::Quality);
}

#[test]
fn bounds_belong_to_a_range() {
    let ended = run(vec![range(Some(Value::Double(0.0)), Some(Value::Int(10)))], ROWS);
    let offence = "3 rows where `price` is not between 0 and 10";
    told(&ended, [("range(price)", CheckResult::Failed, 3_u64, offence)]);
}

#[test]
fn an_empty_table_breaks_nothing_but_counts() {
    let fresh = CheckRule::Freshness {
        column: "at".to_owned(),
        within: std::time::Duration::from_secs(3_600),
    };
    let checks = vec![
        not_null("id"),
        aside(range(Some(Value::Int(0)), None)),
        references(),
        Check::strict(CheckRule::Unique(vec!["id".to_owned()])),
        Check::strict(CheckRule::Rows { min: Some(1), max: None }),
        Check::strict(fresh),
    ];
    let ended = run(checks, &[]);
    told(
        &ended,
        [
            ("rows", CheckResult::Failed, 0_u64, "1 rows fewer than the 1 that it should have"),
            (
                "freshness(at)",
                CheckResult::Failed,
                0,
                "no row has a `at`, so nothing is known to be fresh",
            ),
        ],
    );
}

#[test]
fn rows_go_aside_once_and_are_counted_for_every_check() {
    let checks = vec![
        aside(range(Some(Value::Int(0)), Some(Value::Int(10)))),
        aside(Check::strict(CheckRule::Expression("id < 7".to_owned()))),
        // What goes aside is not in the table, and so breaks no other check.
        Check::strict(CheckRule::Expression("id <> 7".to_owned())),
    ];
    let ended = run(checks, ROWS);
    let of: Vec<(usize, usize, &str)> =
        ended.aside.iter().map(|it| (it.row, it.check, it.value.as_str())).collect();
    assert_eq!(of, [(3, 0, "10.5"), (4, 0, "NaN"), (5, 0, "-0.5")]);
    told(
        &ended,
        [
            (
                "range(price)",
                CheckResult::Quarantined,
                3_u64,
                "3 rows where `price` is not between 0 and 10",
            ),
            (
                "expression(id < 7)",
                CheckResult::Quarantined,
                2,
                "2 rows where `id < 7` does not hold",
            ),
        ],
    );
    assert_eq!((ended.kept.num_rows(), ended.judgement.passed), (3, 1));
}

#[test]
fn thresholds_and_severity() {
    let checks = |allowed| {
        let check = not_null("kind");
        vec![
            Check { allowed: Some(allowed), ..check.clone() },
            Check { severity: CheckSeverity::Warn, ..check },
        ]
    };
    let results = |allowed| -> Vec<CheckResult> {
        run(checks(allowed), ROWS).judgement.outcomes.iter().map(|it| it.result).collect()
    };
    let warned = CheckResult::Warned;
    assert_eq!(results(Allowed::Rows(1)), [CheckResult::Passed, warned]);
    assert_eq!(results(Allowed::Rows(0)), [CheckResult::Failed, warned]);
    assert_eq!(results(Allowed::Share(1.0 / 6.0)), [CheckResult::Passed, warned]);
    assert_eq!(results(Allowed::Share(0.16)), [CheckResult::Failed, warned]);
    let limited = Check { allowed: Some(Allowed::Rows(0)), ..aside(not_null("kind")) };
    assert_eq!(run(vec![limited], ROWS).judgement.outcomes[0].result, CheckResult::Failed);
}

#[test]
fn unique_takes_null_for_a_value() {
    let rows = [(None, Some("a"), None), (None, Some("a"), None), (Some(1), None, None)];
    let ended = run(vec![Check::strict(CheckRule::Unique(vec!["id".to_owned()]))], &rows);
    told(&ended, [("unique(id)", CheckResult::Failed, 1_u64, "1 rows that repeat (id)")]);
}

#[test]
fn references_are_the_same_in_memory_and_by_a_join() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for in_memory in [true, false] {
        let ended = runtime.block_on(ended(vec![references()], ROWS, &[], in_memory)).unwrap();
        let offence = "2 rows where `id` is not in `others`";
        told(&ended, [("references(id in others)", CheckResult::Failed, 2_u64, offence)]);
    }
}

#[test]
fn figures_are_compared_with_those_before() {
    let of = |figure: Figure| {
        Check::strict(CheckRule::Distribution(Distribution {
            figure,
            runs: 3,
            within: Tolerance::Share(0.1),
        }))
    };
    let checks = vec![
        of(Figure::Rows),
        of(Figure::Mean("price".to_owned())),
        of(Figure::Distinct("kind".to_owned())),
        of(Figure::NullShare("kind".to_owned())),
    ];
    let rows = &ROWS[..4];
    let figures = |rows: f64, mean: f64| {
        let named = [("rows", rows), ("mean(price)", mean), ("distinct(kind)", 3.0)];
        named.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
    };
    let before: Vec<BTreeMap<String, f64>> =
        vec![figures(4.0, 1.0), figures(4.0, 1.0), figures(4.0, 1.0), figures(900.0, 900.0)];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ended = runtime.block_on(ended(checks, rows, &before, true)).unwrap();
    told(
        &ended,
        [
            (
                "distribution(mean(price))",
                CheckResult::Failed,
                0_u64,
                "mean(price) is 6.8333, and of the last 3 it was 1 on average; 10 % allowed",
            ),
            (
                "distribution(null_share(kind))",
                CheckResult::NotJudged,
                0,
                "null_share(kind) is not judged yet: 0 runs before are known of 3 that it takes",
            ),
        ],
    );
    let kept = &ended.judgement.figures;
    assert_eq!((kept["rows"], kept["distinct(kind)"], kept["null_share(kind)"]), (4.0, 3.0, 0.25));
}

#[test]
fn freshness_is_told_from_the_end_of_the_day() {
    // The day is 1970-01-01, and the latest row of minute 60.
    let rows = [(Some(60), None, None), (Some(0), None, None)];
    let fresh = |hours: u64| {
        Check::strict(CheckRule::Freshness {
            column: "at".to_owned(),
            within: std::time::Duration::from_secs(hours * 3_600),
        })
    };
    assert!(run(vec![fresh(23)], &rows).judgement.outcomes.is_empty());
    let ended = run(vec![fresh(22)], &rows);
    let offence = "the latest `at` is 1970-01-01T01:00:00Z, 23 h before the end of the day, and 22 h are allowed";
    told(&ended, [("freshness(at)", CheckResult::Failed, 0_u64, offence)]);
}

/// The checks of a ruleset.
fn ruled(rule: &str) -> Vec<Check> {
    let (rules, faults) = crate::spec::dqdl::read(&format!("Rules = [ {rule} ]"));
    assert!(faults.is_empty(), "{rule}: {faults:?}");
    let check = |it: crate::spec::dqdl::Ruled| Check {
        allowed: it.share.filter(|share| *share > 0.0).map(Allowed::Share),
        ..Check::strict(it.rule)
    };
    rules.into_iter().map(check).collect()
}

#[test]
fn rulesets_hold_where_they_do_in_glue() {
    let holds = |rule: &str, rows: &[Row]| {
        let outcomes = run(ruled(rule), rows).judgement.outcomes;
        outcomes.iter().all(|it| it.result != CheckResult::Failed)
    };
    for (rule, expected) in [
        ("RowCount = 6", true),
        ("RowCount between 5 and 6", false),
        ("RowCount between 5 and 7", true),
        ("RowCount not between 5 and 7", false),
        ("ColumnCount = 4", true),
        ("ColumnExists \"id\"", true),
        ("IsComplete \"id\"", false),
        ("IsComplete \"id\" where \"kind is not null\"", true),
        ("Completeness \"id\" > 0.83", true),
        ("Completeness \"id\" > 0.84", false),
        ("Uniqueness \"id\" = 0.6", true),
        ("UniqueValueRatio \"id\" = 0.75", true),
        ("DistinctValuesCount \"kind\" = 4", true),
        ("IsUnique \"id\"", false),
        ("IsUnique \"id\" \"kind\"", true),
        ("IsPrimaryKey \"id\" \"kind\"", false),
        ("IsPrimaryKey \"id\" \"kind\" where \"id is not null\"", true),
        ("ColumnValues \"id\" >= 0", false),
        ("ColumnValues \"id\" != 9", true),
        ("ColumnValues \"id\" != NULL", false),
        ("ColumnValues \"id\" not in [9, 10]", true),
        ("ColumnValues \"id\" >= 0 where \"id is not null\"", true),
        ("(ColumnValues \"id\" >= 0) or (RowCount > 5)", true),
        ("(ColumnValues \"id\" >= 0) and (RowCount > 5)", false),
        ("ColumnValues \"kind\" in [\"a\", \"b\", \"c\", \"A\", NULL]", true),
        ("ColumnValues \"kind\" in [\"a\", \"b\", \"c\", \"A\"]", false),
        ("ColumnValues \"kind\" matches \"[abc]\" with threshold > 0.6", true),
        ("ColumnValues \"kind\" matches \"[abc]\" with threshold > 0.7", false),
        ("ColumnValues \"kind\" matches \"[0-9]*\" with threshold > 0", false),
        ("ColumnLength \"kind\" <= 1", true),
        ("ColumnLength \"kind\" > 0", false),
        ("Mean \"id\" = 4", true),
        ("Sum \"id\" = 20", true),
        ("StandardDeviation \"id\" between 2.96 and 2.97", true),
        ("Entropy \"id\" between 1.33 and 1.34", true),
        ("ColumnCorrelation \"id\" \"id\" > 0.99", true),
        ("DataFreshness \"at\" <= 24 hours where \"at is not null\"", true),
        ("DataFreshness \"at\" <= 23 hours where \"at is not null\"", false),
        ("ColumnValues \"at\" > (now() - 2 days) where \"at is not null\"", true),
        ("ColumnValues \"at\" > (now() - 2 hours) where \"at is not null\"", false),
        ("CustomSql \"select count(*) from primary where id > 4\" = 3", true),
        ("ReferentialIntegrity \"id\" \"others.key\" = 1.0", false),
        ("ReferentialIntegrity \"id\" \"others.key\" >= 0.66", true),
    ] {
        assert_eq!(holds(rule, ROWS), expected, "{rule}");
    }
    for (rule, expected) in [
        ("RowCount = 0", true),
        ("Completeness \"id\" > 0", false),
        ("ColumnValues \"id\" > 0", true),
        ("IsPrimaryKey \"id\"", true),
        ("Mean \"id\" > 0", false),
    ] {
        assert_eq!(holds(rule, &[]), expected, "{rule} of no rows");
    }
}

/// A generator of its own, so that a failing case is always the same.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    fn row(&mut self) -> Row {
        let number = i64::try_from(self.below(9)).unwrap();
        let id = self.pick(&[Some(number), Some(number), None]);
        let kind = self.pick(&[Some("a"), Some("b"), Some("it's"), Some(""), None]);
        let price = self.pick(&[
            Some(0.0),
            Some(-0.0),
            Some(2.5),
            Some(9.0),
            Some(f64::NAN),
            Some(-1.0),
            None,
        ]);
        (id, kind, price)
    }
}

/// Each check with what breaks it, in SQL written by hand.
fn rules() -> Vec<(Check, &'static str)> {
    let values = vec![text("a"), text("it's")];
    let accepted = CheckRule::AcceptedValues { column: "kind".to_owned(), values };
    vec![
        (not_null("kind"), "kind IS NULL"),
        (Check::strict(accepted), "kind <> 'a' AND kind <> 'it''s'"),
        (range(Some(Value::Int(0)), None), "price < 0 OR isnan(price)"),
        (
            range(Some(Value::Double(-0.5)), Some(Value::Double(2.5))),
            "price < -0.5 OR price > 2.5 OR isnan(price)",
        ),
        (
            Check::strict(CheckRule::Expression("id + length(kind) > 3".to_owned())),
            "id + length(kind) <= 3",
        ),
        (
            Check::strict(CheckRule::Expression("coalesce(id, 9) < 7".to_owned())),
            "id IS NULL OR id >= 7",
        ),
        (references(), "id IS NOT NULL AND id NOT IN (0, 1, 5)"),
    ]
}

#[test]
fn the_scan_agrees_with_sql_on_random_tables() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut random = Random(7);
    let mut refused = 0;
    for case in 0..120 {
        let rows: Vec<Row> = (0..random.below(40)).map(|_| random.row()).collect();
        let mut chosen: Vec<(Check, &str)> = Vec::new();
        for (check, sql) in rules() {
            match random.below(4) {
                0 => chosen.push((check, sql)),
                1 => chosen.push((aside(check), sql)),
                _ => {}
            }
        }
        let checks: Vec<Check> = chosen.iter().map(|(check, _)| check.clone()).collect();
        let batch = table(&rows);
        let ended = runtime.block_on(ended(checks, &rows, &[], true)).unwrap();
        assert_eq!(ended.kept.num_rows() + ended.aside.len(), rows.len(), "case {case}");
        refused += ended.aside.len();
        let goes: Vec<&str> = chosen
            .iter()
            .filter(|(check, _)| check.on_fail == OnFail::Quarantine)
            .map(|(_, sql)| *sql)
            .collect();
        let goes = match goes.is_empty() {
            true => "false".to_owned(),
            // What is not known does not break anything.
            false => format!(
                "coalesce({}, false)",
                goes.iter()
                    .map(|it| format!("coalesce({it}, false)"))
                    .collect::<Vec<_>>()
                    .join(" OR ")
            ),
        };
        for (check, sql) in &chosen {
            let stays = match check.on_fail {
                OnFail::Quarantine => String::new(),
                OnFail::Stop => format!(" AND NOT {goes}"),
            };
            let query = format!("SELECT count(*) FROM t WHERE ({sql}){stays}");
            let expected =
                runtime.block_on(number(&context_of("t", &batch), &query, "count")).unwrap();
            let name = match &check.rule {
                CheckRule::NotNull(_) => "not_null(kind)".to_owned(),
                rule => rule.to_string(),
            };
            let outcomes = &ended.judgement.outcomes;
            let same: Vec<u64> =
                outcomes.iter().filter(|it| it.check == name).map(|it| it.rows).collect();
            let is_told = if expected == 0 { true } else { same.contains(&expected) };
            assert!(is_told, "case {case}: {query} gives {expected}, told {outcomes:?}");
        }
    }
    assert!(refused > 100, "the random rows break something: {refused}");
}
