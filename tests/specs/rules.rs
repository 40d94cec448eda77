//! Mistakes in what a project means, which only its parts together show: what a target's services
//! would refuse, metrics that match nothing, and models that know what they are tested on.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{
    ALS, CATALOGUE, CLEAN, Files, LABELS, Mistake, PROJECT, base, describe, edit, mistake,
    problems_of,
};

/// A mistake that takes more than one edit; what stands in no file yet is `NEW`.
struct Several {
    name: &'static str,
    edits: &'static [(&'static str, &'static str, &'static str)],
}

const fn several(
    name: &'static str,
    edits: &'static [(&'static str, &'static str, &'static str)],
) -> Several {
    Several { name, edits }
}

/// In place of what an edit replaces: the file is new.
const NEW: &str = "(new)";
const EXAMPLES: &str = "sql/examples.sql";

const TARGETS: &[Mistake] = &[
    mistake(
        "a user in place of a role",
        PROJECT,
        "role: arn:aws:iam::123456789012:role/jobs",
        "role: arn:aws:iam::123456789012:user/jobs",
    ),
    mistake(
        "a role by its name",
        PROJECT,
        "role: arn:aws:iam::123456789012:role/jobs",
        "role: jobs",
    ),
    mistake(
        "an account that lacks a digit",
        PROJECT,
        "copy_role: \"arn:aws:iam::123456789012:role/copy\"",
        "copy_role: \"arn:aws:iam::12345678901:role/copy\"",
    ),
    mistake(
        "an image of this machine",
        PROJECT,
        "image: 123456789012.dkr.ecr.eu-central-1.amazonaws.com/recctl:1",
        "image: recctl:1",
    ),
    mistake(
        "an image without a region",
        PROJECT,
        "dkr.ecr.eu-central-1.amazonaws.com",
        "dkr.ecr.amazonaws.com",
    ),
    mistake(
        "an image of another region",
        PROJECT,
        "dkr.ecr.eu-central-1.amazonaws.com",
        "dkr.ecr.eu-west-1.amazonaws.com",
    ),
    mistake(
        "a zone in place of a region",
        PROJECT,
        "region: eu-central-1",
        "region: eu-central-1a",
    ),
    mistake("a bucket with a `_`", PROJECT, "s3://shop-lake/rec", "s3://shop_lake/rec"),
    mistake("a bucket with capitals", PROJECT, "s3://shop-lake/rec", "s3://Shop-Lake/rec"),
    mistake("a key by a bare name", PROJECT, "encryption: alias/lake", "encryption: lake"),
    mistake(
        "an alias for volumes",
        PROJECT,
        "        instance: ml.m5.xlarge\n",
        "        instance: ml.m5.xlarge\n        kms_key: alias/volumes\n",
    ),
    mistake(
        "an instance type of EC2",
        PROJECT,
        "fallback_instances: [ml.m5.2xlarge]",
        "fallback_instances: [m5.2xlarge]",
    ),
    mistake(
        "a database with a dash",
        PROJECT,
        "{glue: {database: rec}}",
        "{glue: {database: rec-prod}}",
    ),
    mistake("a prefix with a slash", PROJECT, "table_prefix: rec-,", "table_prefix: rec/,"),
    mistake("a table of two characters", PROJECT, "table: recctl-state", "table: st"),
    mistake("a tag of AWS's own", PROJECT, "tags: {team:", "tags: {\"aws:team\":"),
    mistake(
        "a cluster by its host",
        PROJECT,
        "cluster: shop,",
        "cluster: shop.abc.eu-central-1.redshift.amazonaws.com,",
    ),
];

const JOBS: &[Mistake] = &[
    mistake(
        "a grid larger than its trials",
        ALS,
        "strategy: bayesian\n  trials: 4\n  ranges:\n    factors: {categorical: {values: [\"16\", \"32\"]}}\n    alpha: {continuous: {min: 0.5, max: 20.0, scale: log}}\n",
        "strategy: grid\n  trials: 4\n  ranges:\n    factors: {categorical: {values: [\"16\", \"32\"]}}\n    alpha: {categorical: {values: [\"1\", \"5\", \"20\"]}}\n",
    ),
    mistake(
        "more trials than there are combinations",
        ALS,
        "    alpha: {continuous: {min: 0.5, max: 20.0, scale: log}}\n",
        "",
    ),
    mistake(
        "a category of 31 values",
        ALS,
        "values: [\"16\", \"32\"]",
        "values: [\"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\", \"9\", \"10\", \"11\", \"12\", \"13\", \"14\", \"15\", \"16\", \"17\", \"18\", \"19\", \"20\", \"21\", \"22\", \"23\", \"24\", \"25\", \"26\", \"27\", \"28\", \"29\", \"30\", \"31\"]",
    ),
    mistake(
        "a log scale from zero",
        ALS,
        "min: 0.5, max: 20.0, scale: log",
        "min: 0, max: 20.0, scale: log",
    ),
    mistake(
        "a broken number of an integer range",
        ALS,
        "factors: {categorical: {values: [\"16\", \"32\"]}}",
        "factors: {integer: {min: 16.5, max: 32}}",
    ),
    mistake("a hundred and one at once", ALS, "trials: 4", "trials: 400\n  parallel: 101"),
    mistake("more at once than the quota", ALS, "trials: 4", "trials: 40\n  parallel: 20"),
    mistake(
        "longer than a job may run",
        ALS,
        "objective:",
        "resources: {max_runtime: 700h}\nobjective:",
    ),
    mistake(
        "a wait that ends before the job",
        ALS,
        "objective:",
        "resources: {spot: true, max_runtime: 6h, max_wait: 4h}\nobjective:",
    ),
    mistake("a volume in MB", ALS, "objective:", "resources: {volume_gb: 51200}\nobjective:"),
    mistake("idle instances", ALS, "objective:", "resources: {count: 4}\nobjective:"),
    mistake(
        "an image of a public registry",
        ALS,
        "objective:",
        "resources: {image: \"public.ecr.aws/shop/als:1\"}\nsample_log: [ndcg@10=0.1]\nobjective:",
    ),
    mistake("ended early by nothing", ALS, "trials: 4", "trials: 4\n  early_stopping: true"),
];

const METRICS: &[Mistake] = &[
    mistake("another word for the metric", ALS, r"\bndcg@10=", r"\bNDCG@10: "),
    mistake("another cut-off than the objective's", ALS, r"\bndcg@10=", r"\bndcg@20="),
    mistake("a group around the name", ALS, r"\bndcg@10=([0-9.]+)", r"\b(ndcg@10)=[0-9.]+"),
    mistake(
        "lines of an image of one's own that say something else",
        ALS,
        "objective:",
        "resources: {image: \"123456789012.dkr.ecr.eu-central-1.amazonaws.com/als:1\"}\nsample_log:\n  - \"[1]#011validation-ndcg:0.1267\"\nobjective:",
    ),
    mistake(
        "a group that takes more than the number",
        ALS,
        r"\bndcg@10=([0-9.]+)",
        r"\bndcg@10=(.+)",
    ),
];

const TABLES: &[Mistake] = &[
    mistake(
        "a rank into Redshift",
        CATALOGUE,
        "SELECT item_id, name, price\n",
        "SELECT item_id, name, price,\n    row_number() OVER (ORDER BY price DESC) AS place\n",
    ),
    mistake(
        "nanoseconds into Redshift",
        CATALOGUE,
        "SELECT item_id, name, price\n",
        "SELECT item_id, name, price,\n    to_timestamp(name) AS listed_at\n",
    ),
    mistake(
        "NULL without a type",
        CATALOGUE,
        "SELECT item_id, name, price\n",
        "SELECT item_id, name, price, NULL AS brand\n",
    ),
    mistake(
        "a length of time",
        CLEAN,
        "    ts,\n",
        "    ts,\n    ts - $interval_start AS since_midnight,\n",
    ),
    mistake(
        "two names that differ in case",
        CATALOGUE,
        "SELECT item_id, name, price\n",
        "SELECT item_id, name, price, upper(name) AS \"Name\"\n",
    ),
    mistake(
        "a name of 130 bytes in Redshift",
        CATALOGUE,
        "SELECT item_id, name, price\n",
        "SELECT item_id, name, price,\n    1 AS column_column_column_column_column_column_column_column_column_column_column_column_column_column_column_column_column_column_colu\n",
    ),
    mistake("no weight to learn from", LABELS, "sum(c.quantity) AS weight", "sum(c.quantity) AS n"),
    mistake(
        "a weight in words",
        LABELS,
        "sum(c.quantity) AS weight",
        "CAST(sum(c.quantity) AS VARCHAR) AS weight",
    ),
    mistake(
        "lists of long ids",
        PROJECT,
        "fallback: popularity, top: 20",
        "fallback: popularity, top: 1000",
    ),
];

const TABLES_AND_MORE: &[Several] = &[
    several(
        "a key that may be NULL",
        &[
            (PROJECT, "      item_id: string\n      name", "      item_id: string?\n      name"),
            (PROJECT, "        checks:\n          - not_null: [item_id, name]\n", ""),
        ],
    ),
    several(
        "models of two tables",
        &[
            (
                PROJECT,
                "      weekly:\n",
                "      likes:\n        sql: sql/labels.sql\n        partition_by: [dt]\n      weekly:\n",
            ),
            (
                PROJECT,
                "train: jobs/popularity.yaml\n        inputs: {train: labels}",
                "train: jobs/popularity.yaml\n        inputs: {train: likes}",
            ),
        ],
    ),
];

const LEAKS: &[Several] = &[
    several(
        "labels of a rolling week",
        &[(
            PROJECT,
            "sql: sql/labels.sql\n        partition_by: [dt]\n",
            "sql: sql/labels.sql\n        partition_by: [dt]\n        reads: {clean: 7d}\n",
        )],
    ),
    several(
        "features of any time",
        &[(PROJECT, "      weekly:\n", EXAMPLES_STEP), (EXAMPLES, NEW, EXAMPLES_SQL)],
    ),
    several(
        "features later than their label",
        &[
            (PROJECT, "      weekly:\n", EXAMPLES_STEP),
            (EXAMPLES, NEW, EXAMPLES_SQL),
            (EXAMPLES, "e.user_id = c.user_id", "e.user_id = c.user_id AND e.ts >= c.ts"),
        ],
    ),
    several(
        "times of columns that are not there",
        &[
            (PROJECT, "      weekly:\n", EXAMPLES_STEP),
            (EXAMPLES, NEW, EXAMPLES_SQL),
            (PROJECT, "features: [seen_at]", "features: [seen]"),
        ],
    ),
    several(
        "a time that is none",
        &[
            (PROJECT, "      weekly:\n", EXAMPLES_STEP),
            (EXAMPLES, NEW, EXAMPLES_SQL),
            (PROJECT, "features: [seen_at]", "features: [item_id]"),
        ],
    ),
];

const EXAMPLES_STEP: &str = "      examples:\n        sql: sql/examples.sql\n        partition_by: [dt]\n        times: {label: bought_at, features: [seen_at]}\n      weekly:\n";
const EXAMPLES_SQL: &str = "SELECT c.user_id, c.item_id, c.ts AS bought_at, e.ts AS seen_at, $logical_date AS dt\nFROM clean AS c\nJOIN clean AS e ON e.user_id = c.user_id\n";

/// Queries over one file of all days, of which models learn: whether the table is by day, and what
/// the query says.
const OF_ALL_DAYS: &[(&str, bool, &str)] = &[
    (
        "no day at all",
        false,
        "SELECT user_id, item_id, sum(n) AS weight\nFROM ledger\nGROUP BY user_id, item_id\n",
    ),
    (
        "every day the same",
        true,
        "SELECT user_id, item_id, sum(n) AS weight, $logical_date AS dt\nFROM ledger\nGROUP BY user_id, item_id\n",
    ),
    (
        "a day without an end",
        true,
        "SELECT user_id, item_id, n AS weight, $logical_date AS dt\nFROM ledger\nWHERE ts >= $interval_start\n",
    ),
    (
        "bought within the week after",
        true,
        "SELECT user_id, item_id, n AS weight, $logical_date AS dt\nFROM ledger\nWHERE ts >= $interval_start AND ts < $interval_end + INTERVAL '7 days'\n",
    ),
    (
        "the day of the last purchase",
        false,
        "SELECT user_id, item_id, sum(n) AS weight, CAST(max(ts) AS DATE) AS dt\nFROM ledger\nGROUP BY user_id, item_id\n",
    ),
    (
        "how popular it became",
        false,
        "WITH popular AS (SELECT item_id, count(*) AS sales FROM ledger GROUP BY item_id)\nSELECT l.user_id, l.item_id, l.n / p.sales AS weight, CAST(l.ts AS DATE) AS dt\nFROM ledger AS l\nJOIN popular AS p ON p.item_id = l.item_id\n",
    ),
    (
        "only the last of several purchases",
        false,
        "WITH ranked AS (\n    SELECT *, row_number() OVER (PARTITION BY user_id, item_id ORDER BY ts DESC) AS place FROM ledger\n)\nSELECT user_id, item_id, n AS weight, CAST(ts AS DATE) AS dt FROM ranked WHERE place = 1\n",
    ),
    (
        "whether there is a next one",
        false,
        "SELECT user_id, item_id, CASE WHEN lead(ts) OVER (PARTITION BY user_id ORDER BY ts) IS NULL THEN 1 ELSE 2 END AS weight, CAST(ts AS DATE) AS dt\nFROM ledger\n",
    ),
    (
        "all purchases of the user, whenever",
        false,
        "SELECT l.user_id, l.item_id, h.n AS weight, CAST(l.ts AS DATE) AS dt\nFROM ledger AS l\nJOIN ledger AS h ON h.user_id = l.user_id\n",
    ),
];

/// Queries over the same that are none.
const NO_LEAKS: &[(bool, &str)] = &[
    (
        false,
        "SELECT user_id, item_id, sum(n) AS weight, CAST(ts AS DATE) AS dt FROM ledger GROUP BY user_id, item_id, CAST(ts AS DATE)",
    ),
    (
        false,
        "SELECT user_id, item_id, sum(n) OVER (PARTITION BY user_id ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS weight, CAST(ts AS DATE) AS dt FROM ledger",
    ),
    (
        false,
        "SELECT l.user_id, l.item_id, h.n AS weight, CAST(l.ts AS DATE) AS dt FROM ledger AS l JOIN ledger AS h ON h.user_id = l.user_id AND h.ts < l.ts",
    ),
    (
        true,
        "SELECT user_id, item_id, sum(n) AS weight, $logical_date AS dt FROM ledger WHERE ts >= $interval_start AND ts < $interval_end GROUP BY user_id, item_id",
    ),
    (
        true,
        "SELECT user_id, item_id, n AS weight, $logical_date AS dt, CASE WHEN ts < $interval_start OR ts >= $interval_end THEN 'filtered: another day' ELSE 'kept' END AS _fate FROM ledger",
    ),
];

/// The base project, whose models learn of a table that a query makes of one file of all days.
fn of_all_days(by_day: bool, text: &str) -> Files {
    let mut files = base();
    let source = "  ledger:\n    path: raw/ledger.csv\n    format: csv\n    columns: {user_id: string, item_id: string, ts: timestamp, n: double}\n";
    let partition = if by_day { "        partition_by: [dt]\n" } else { "" };
    let step = format!("      bought:\n        sql: sql/bought.sql\n{partition}      weekly:\n");
    for (right, wrong) in [
        ("  items:\n    path", format!("{source}  items:\n    path").as_str()),
        ("      weekly:\n", step.as_str()),
        (
            "jobs/als.yaml\n        inputs: {train: labels}",
            "jobs/als.yaml\n        inputs: {train: bought}",
        ),
        (
            "jobs/popularity.yaml\n        inputs: {train: labels}",
            "jobs/popularity.yaml\n        inputs: {train: bought}",
        ),
    ] {
        edit(&mut files, PROJECT, right, wrong);
    }
    files.insert("sql/bought.sql".to_owned(), text.to_owned());
    files
}

#[test]
fn mistakes_in_forms_of_targets() {
    insta::assert_snapshot!(told(TARGETS));
}

#[test]
fn mistakes_in_what_services_take_of_jobs() {
    insta::assert_snapshot!(told(JOBS));
}

#[test]
fn mistakes_in_what_metrics_are_read_from() {
    insta::assert_snapshot!(told(METRICS));
}

#[test]
fn mistakes_in_what_tables_hold() {
    insta::assert_snapshot!(told(TABLES) + &told_several(TABLES_AND_MORE));
}

#[test]
fn mistakes_in_what_models_know() {
    insta::assert_snapshot!(told_several(LEAKS));
}

#[test]
fn mistakes_in_tables_of_all_days() {
    let mut text = String::new();
    for (name, by_day, query) in OF_ALL_DAYS {
        text += &one(name, &of_all_days(*by_day, query));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn what_is_no_leak_is_not_called_one() {
    for (by_day, query) in NO_LEAKS {
        let problems = problems_of(&of_all_days(*by_day, query), &BTreeMap::new());
        assert!(problems.is_empty(), "{query}: {problems:#?}");
    }
    let mut files = base();
    edit(&mut files, PROJECT, "      weekly:\n", EXAMPLES_STEP);
    let proven =
        EXAMPLES_SQL.replace("e.user_id = c.user_id", "e.user_id = c.user_id AND e.ts < c.ts");
    files.insert(EXAMPLES.to_owned(), proven);
    let problems = problems_of(&files, &BTreeMap::new());
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn ten_tables_are_too_many_for_one_transaction() {
    let steps = |count: usize| {
        let step = |n| {
            format!(
                "      copy_{n}:\n        sql: sql/labels.sql\n        partition_by: [dt]\n        publish: [catalog, warehouse]\n"
            )
        };
        let mut files = base();
        let all: String = (0..count).map(step).collect();
        edit(&mut files, PROJECT, "      weekly:\n", &format!("{all}      weekly:\n"));
        files
    };
    let problems = problems_of(&steps(9), &BTreeMap::new());
    assert!(problems.is_empty(), "{problems:#?}");
    insta::assert_snapshot!(one("ten tables of a day", &steps(10)));
}

/// Lines of an image of one's own make its metrics judged.
#[test]
fn metrics_that_match_the_sample_are_fine() {
    let image = "resources: {image: \"123456789012.dkr.ecr.eu-central-1.amazonaws.com/als:1\"}\n";
    let mut files = base();
    let lines = format!("{image}sample_log: [\"epoch 1\", \"ndcg@10=0.1267\"]\nobjective:");
    edit(&mut files, ALS, "objective:", &lines);
    let problems = problems_of(&files, &BTreeMap::new());
    assert!(problems.is_empty(), "{problems:#?}");
}

fn told(mistakes: &[Mistake]) -> String {
    let mut text = String::new();
    for mistake in mistakes {
        let mut files = base();
        edit(&mut files, mistake.file, mistake.right, mistake.wrong);
        text += &one(mistake.name, &files);
    }
    text
}

fn told_several(mistakes: &[Several]) -> String {
    let mut text = String::new();
    for mistake in mistakes {
        let mut files = base();
        for (file, right, wrong) in mistake.edits {
            if *right == NEW {
                files.insert((*file).to_owned(), (*wrong).to_owned());
            } else {
                edit(&mut files, file, right, wrong);
            }
        }
        text += &one(mistake.name, &files);
    }
    text
}

/// What a mistake is told as, with the rules that it offends.
fn one(name: &str, files: &Files) -> String {
    let problems = problems_of(files, &BTreeMap::new());
    assert!(!problems.is_empty(), "nobody minds: {name}");
    let mut rules = String::new();
    for problem in &problems {
        let _ = write!(rules, " [{} {}]", problem.severity.word(), problem.rule);
    }
    format!("{name}{rules}\n{}\n", describe(files, &problems))
}
