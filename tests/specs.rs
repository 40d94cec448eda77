//! What people get wrong in a project's files, and what they are told.

mod checks;
mod privacy;
mod rules;
mod sources;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use recctl::pipeline::graph::Pipeline;
use recctl::query::analysis;
use recctl::report::problems;
use recctl::run::failure::Problem;
use recctl::spec::compile::{Inputs, compile};
use recctl::validate::validate;

pub type Files = BTreeMap<String, String>;

const PROJECT: &str = "pipelines.yaml";
const CATALOGUE: &str = "sql/catalogue.sql";
const CLEAN: &str = "sql/clean.sql";
const LABELS: &str = "sql/labels.sql";
const WEEKLY: &str = "sql/weekly.sql";
const ALS: &str = "jobs/als.yaml";

/// A mistake: what the base project says, and what somebody wrote instead.
struct Mistake {
    name: &'static str,
    file: &'static str,
    right: &'static str,
    wrong: &'static str,
}

const fn mistake(
    name: &'static str,
    file: &'static str,
    right: &'static str,
    wrong: &'static str,
) -> Mistake {
    Mistake { name, file, right, wrong }
}

const YAML: &[Mistake] = &[
    mistake("misspelt key at the top", PROJECT, "pipelines:\n", "pipeline:\n"),
    mistake("misspelt key in a source", PROJECT, "    format: csv", "    fromat: csv"),
    mistake(
        "misspelt key in a step",
        PROJECT,
        "        unique_key: [event_id]",
        "        unique_keys: [event_id]",
    ),
    mistake(
        "misspelt key in a check",
        PROJECT,
        "- not_null: [item_id, name]",
        "- notnull: [item_id, name]",
    ),
    mistake("misspelt key of a tagged column", PROJECT, "tags: [pii]", "tag: [pii]"),
    mistake("tagged column without a type", PROJECT, "type: string?, tags", "tags"),
    mistake(
        "a list where a type is meant",
        PROJECT,
        "item_id: string\n      price: double?",
        "item_id: [string]\n      price: double?",
    ),
    mistake("missing key", PROJECT, "    format: csv\n", ""),
    mistake(
        "wrong type of a value",
        PROJECT,
        "fallback: popularity, top: 20",
        "fallback: popularity, top: twenty",
    ),
    mistake(
        "a text where a list is meant",
        PROJECT,
        "unique_key: [event_id]",
        "unique_key: event_id",
    ),
    mistake(
        "a list where a mapping is meant",
        PROJECT,
        "    columns:\n      item_id: string\n      name: string\n      price: double\n",
        "    columns:\n      - item_id\n      - name\n",
    ),
    mistake("version of another time", PROJECT, "version: 1", "version: 2"),
    mistake("version that is no number", PROJECT, "version: 1", "version: one"),
    mistake(
        "key given twice",
        PROJECT,
        "      ts: timestamp\n",
        "      ts: timestamp\n      ts: string\n",
    ),
    mistake("step given twice", PROJECT, "      weekly:\n", "      labels:\n"),
    mistake(
        "field given twice",
        PROJECT,
        "        sql: sql/clean.sql\n",
        "        sql: sql/clean.sql\n        sql: sql/labels.sql\n",
    ),
    mistake("tabs", PROJECT, "    format: csv", "\tformat: csv"),
    mistake("bad indentation", PROJECT, "    format: csv", "   format: csv"),
    mistake(
        "open bracket",
        PROJECT,
        "publish: [catalog, warehouse]",
        "publish: [catalog, warehouse",
    ),
    mistake("empty file", PROJECT, "*", ""),
];

const MEANING: &[Mistake] = &[
    mistake(
        "schedule on no clock",
        PROJECT,
        "    split: {window: 8d,",
        "    schedule: {at: \"3:00\", timezone: Europe/Berln}\n    split: {window: 8d,",
    ),
    mistake(
        "deadline that nothing leads to",
        PROJECT,
        "    split: {window: 8d,",
        "    deadline: {warn_at: 0.5}\n    split: {window: 8d,",
    ),
    mistake(
        "deadline that cannot be",
        PROJECT,
        "    split: {window: 8d,",
        "    deadline: {at: \"24:00\", after_start: 2d, average: {runs: 0, factor: 0.5}, warn_at: 1.0}\n    split: {window: 8d,",
    ),
    mistake(
        "lookback that is no number of days",
        PROJECT,
        "    split: {window: 8d,",
        "    lookback: 36h\n    split: {window: 8d,",
    ),
    mistake(
        "lookback of years",
        PROJECT,
        "    split: {window: 8d,",
        "    lookback: 365d\n    split: {window: 8d,",
    ),
    mistake("unknown column type", PROJECT, "      price: double\n", "      price: float\n"),
    mistake("unknown type of a tagged column", PROJECT, "type: string?, tags", "type: text?, tags"),
    mistake("tag that is no word", PROJECT, "tags: [pii]", "tags: [\"PII!\"]"),
    mistake("column begins with underscore", PROJECT, "      name: string", "      _name: string"),
    mistake("wrong placeholder", PROJECT, "{yyyy}/{MM}/{dd}/", "{yyyy}/{mm}/{dd}/"),
    mistake("incomplete dated path", PROJECT, "{yyyy}/{MM}/{dd}/", "{yyyy}/{MM}/"),
    mistake("share above one", PROJECT, "max_ratio: 0.02", "max_ratio: 2"),
    mistake("name with a dash", PROJECT, "      weekly:\n", "      week-ly:\n"),
    mistake("missing sql file", PROJECT, "sql/weekly.sql", "sql/week.sql"),
    mistake("missing job file", PROJECT, "jobs/popularity.yaml", "jobs/popular.yaml"),
    mistake(
        "step of two kinds",
        PROJECT,
        "        sql: sql/clean.sql\n",
        "        sql: sql/clean.sql\n        train: jobs/als.yaml\n",
    ),
    mistake("step of no kind", PROJECT, "        sql: sql/clean.sql\n", ""),
    mistake(
        "field of another kind",
        PROJECT,
        "        tune: jobs/als.yaml\n",
        "        tune: jobs/als.yaml\n        unique_key: [user_id]\n",
    ),
    mistake(
        "no attempt at all",
        PROJECT,
        "    split: {window: 8d,",
        "    retries: {attempts: 0, delay: 10 seconds}\n    split: {window: 8d,",
    ),
    mistake(
        "a wait longer than the longest",
        PROJECT,
        "    split: {window: 8d,",
        "    retries: {delay: 10m, max_delay: 5m}\n    split: {window: 8d,",
    ),
    mistake(
        "budget of one step",
        PROJECT,
        "        tune: jobs/als.yaml\n",
        "        tune: jobs/als.yaml\n        retries: {attempts: 5, budget: 3}\n",
    ),
    mistake("unknown step in select", PROJECT, "candidates: [als]", "candidates: [alls]"),
    mistake("wrong kind of step in select", PROJECT, "candidates: [als]", "candidates: [labels]"),
    mistake("unknown step in score", PROJECT, "{model: best,", "{model: bests,"),
    mistake("unknown step in load", PROJECT, "{from: lists,", "{from: list,"),
    mistake(
        "unknown step in after",
        PROJECT,
        "        reads: {labels: 7d}\n",
        "        reads: {labels: 7d}\n        after: [clean, cleen]\n",
    ),
    mistake("unknown metric in select", PROJECT, "metric: ndcg@10", "metric: ndgc@10"),
    mistake("metric without its length", PROJECT, "metric: ndcg@10", "metric: recall"),
    mistake(
        "unknown table in inputs",
        PROJECT,
        "inputs: {train: labels}\n      popularity",
        "inputs: {train: label}\n      popularity",
    ),
    mistake(
        "unknown channel",
        PROJECT,
        "inputs: {train: labels}\n      popularity",
        "inputs: {training: labels}\n      popularity",
    ),
    mistake(
        "window of a table that is not read",
        PROJECT,
        "reads: {labels: 7d}",
        "reads: {label: 7d}",
    ),
    mistake(
        "window that is no number of days",
        PROJECT,
        "reads: {labels: 7d}",
        "reads: {labels: week}",
    ),
    mistake("split without training days", PROJECT, "window: 8d", "window: 4d"),
    mistake(
        "partition by another column",
        PROJECT,
        "        partition_by: [dt]\n        reads",
        "        partition_by: [day]\n        reads",
    ),
    mistake("publish to nowhere", PROJECT, "publish: [catalog, warehouse]", "publish: [catalogue]"),
    mistake(
        "whole table of a dated one",
        PROJECT,
        "        partition_by: [dt]\n        reads",
        "        reads",
    ),
    mistake("names of a missing column", PROJECT, "column: name}", "column: title}"),
    mistake("cycle", CATALOGUE, "FROM items", "FROM items JOIN weekly ON true"),
    mistake("reads itself", CATALOGUE, "FROM items", "FROM catalogue"),
];

const TARGETS: &[Mistake] = &[
    mistake("settings of the embedded one", PROJECT, "  cloud:", "  local:"),
    mistake("no lake", PROJECT, "    lake: s3://shop-lake/rec\n", ""),
    mistake("a lake elsewhere", PROJECT, "s3://shop-lake/rec", "gs://shop-lake/rec"),
    mistake("misspelt service", PROJECT, "serving: {dynamodb", "serving: {dynamo_db"),
    mistake(
        "no warehouse",
        PROJECT,
        "    warehouse:\n      redshift: {cluster: shop, user: loader, database: dev, copy_role: \"arn:aws:iam::123456789012:role/copy\"}\n",
        "",
    ),
    mistake(
        "no serving",
        PROJECT,
        "    serving: {dynamodb: {table_prefix: rec-, removal: expire}}\n",
        "",
    ),
    mistake("no user", PROJECT, "user: loader, ", ""),
    mistake("two Redshifts", PROJECT, "cluster: shop,", "cluster: shop, workgroup: shop,"),
    mistake("unknown endpoint", PROJECT, "endpoints: {s3:", "endpoints: {s4:"),
    mistake("endpoint without a scheme", PROJECT, "http://127.0.0.1:9000", "127.0.0.1:9000"),
    mistake("unknown removal", PROJECT, "removal: expire", "removal: burn"),
    mistake("key of a missing column", PROJECT, "merge_on: [item_id]", "merge_on: [id]"),
    mistake("empty key", PROJECT, "merge_on: [item_id]", "merge_on: []"),
    mistake("merge into what is not copied", PROJECT, "sort_key: [price]}", "external: true}"),
    mistake(
        "layout of what is not there",
        PROJECT,
        "publish: [catalog, warehouse]\n",
        "publish: [catalog]\n",
    ),
];

const QUERIES: &[Mistake] = &[
    mistake("unknown table", LABELS, "FROM clean AS c", "FROM cleaned AS c"),
    mistake("unknown column", LABELS, "sum(c.quantity)", "sum(c.quantiti)"),
    mistake("unknown column without a table", CLEAN, "    quantity,", "    amount,"),
    mistake("ambiguous column", LABELS, "    c.item_id,\n    sum", "    item_id,\n    sum"),
    mistake(
        "column missing in group by",
        LABELS,
        "GROUP BY c.user_id, c.item_id",
        "GROUP BY c.user_id",
    ),
    mistake("syntax error", CLEAN, "    item_id,\n", "    item_id,,\n"),
    mistake("misspelt keyword", CLEAN, "FROM events\n", "FORM events\n"),
    mistake("quote never closed", CLEAN, "WHERE ts", "WHERE user_id <> 'x AND ts"),
    mistake("parenthesis never closed", LABELS, "sum(c.quantity)", "sum(c.quantity"),
    mistake("two statements", WEEKLY, "GROUP BY user_id\n", "GROUP BY user_id;\nSELECT 1\n"),
    mistake("empty statement", WEEKLY, "*", "-- nothing yet\n"),
    mistake("unknown function", LABELS, "sum(c.quantity)", "summ(c.quantity)"),
    mistake(
        "wrong arguments of a function",
        CLEAN,
        "    quantity,",
        "    round('a', 'b', 'c') AS quantity,",
    ),
    mistake("text added to a number", LABELS, "sum(c.quantity)", "sum(c.quantity + c.ts)"),
    mistake("text as a number", LABELS, "sum(c.quantity)", "sum(c.item_id)"),
    mistake("unknown parameter", CLEAN, "$interval_start", "$interval_begin"),
    mistake("no dt", WEEKLY, ", $logical_date AS dt", ""),
    mistake("dt of another type", WEEKLY, "$logical_date AS dt", "'2026-03-01' AS dt"),
    mistake(
        "two columns of one name",
        CLEAN,
        "    quantity,",
        "    quantity,\n    user_id AS quantity,",
    ),
    mistake(
        "two expressions of one name",
        CLEAN,
        "    quantity,",
        "    quantity + 1 AS more,\n    quantity + 2 AS more,",
    ),
    mistake("a column without a name", CLEAN, "    quantity,", "    quantity,\n    quantity + 1,"),
    mistake("a clock in a query", CLEAN, "    ts,\n", "    ts,\n    now() AS seen_at,\n"),
    mistake("fate of another type", CLEAN, "    ts,\n", "    ts,\n    true AS _fate,\n"),
    mistake(
        "unique key of a missing column",
        PROJECT,
        "unique_key: [event_id]",
        "unique_key: [event]",
    ),
    mistake(
        "check of a missing column",
        PROJECT,
        "not_null: [item_id, name]",
        "not_null: [item_id, names]",
    ),
    mistake(
        "check that is no condition",
        PROJECT,
        "expression: weight > 0",
        "expression: weight +",
    ),
    mistake(
        "check of an unknown column",
        PROJECT,
        "expression: weight > 0",
        "expression: wait > 0",
    ),
];

const JOBS: &[Mistake] = &[
    mistake("misspelt key", ALS, "objective:", "objectiv:"),
    mistake("unknown algorithm", ALS, "algorithm: als", "algorithm: asl"),
    mistake("unknown hyperparameter", ALS, "  iterations: 10", "  iteration: 10"),
    mistake("hyperparameter out of range", ALS, "  iterations: 10", "  iterations: 0"),
    mistake("hyperparameter of another type", ALS, "  iterations: 10", "  iterations: many"),
    mistake("range out of range", ALS, "min: 0.5, max: 20.0", "min: -1, max: 20.0"),
    mistake("range upside down", ALS, "min: 0.5, max: 20.0", "min: 20.0, max: 0.5"),
    mistake("fixed and searched", ALS, "    alpha: {", "    iterations: {"),
    mistake("unknown strategy", ALS, "strategy: bayesian", "strategy: bayes"),
    mistake("hyperband without resources", ALS, "strategy: bayesian", "strategy: hyperband"),
    mistake(
        "hyperband that stops early",
        ALS,
        "strategy: bayesian",
        "strategy: hyperband\n  min_resource: 9\n  max_resource: 3\n  early_stopping: true",
    ),
    mistake(
        "resources of another strategy",
        ALS,
        "strategy: bayesian",
        "strategy: random\n  min_resource: 1",
    ),
    mistake("time without a unit", ALS, "objective:", "resources: {max_runtime: 6}\nobjective:"),
    mistake("no trials", ALS, "trials: 4", "trials: 0"),
    mistake("regex without a group", ALS, "=([0-9.]+)'", "=[0-9.]+'"),
    mistake("not a regex", ALS, "=([0-9.]+)'", "=([0-9.]+'"),
    mistake(
        "objective among no metrics",
        ALS,
        "objective: {metric: ndcg@10,",
        "objective: {metric: recall@10,",
    ),
    mistake("nothing to search", ALS, "*", "algorithm: als\n"),
];

#[test]
fn the_base_is_valid() {
    let problems = problems_of(&base(), &BTreeMap::new());
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn the_repository_s_own_project_is_valid() {
    let files = files_of(Path::new(env!("CARGO_MANIFEST_DIR")), &[PROJECT, "sql/daily", "jobs"]);
    let problems = problems_of(&files, &BTreeMap::new());
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn mistakes_in_yaml() {
    insta::assert_snapshot!(told(YAML));
}

#[test]
fn mistakes_in_what_a_pipeline_means() {
    insta::assert_snapshot!(told(MEANING));
}

#[test]
fn mistakes_in_targets() {
    insta::assert_snapshot!(told(TARGETS));
}

#[test]
fn mistakes_in_queries() {
    insta::assert_snapshot!(told(QUERIES));
}

#[test]
fn mistakes_in_jobs() {
    insta::assert_snapshot!(told(JOBS));
}

#[test]
fn mistakes_in_variables() {
    let given = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let tell = |given| describe(&base(), &problems_of(&base(), &given));
    insta::assert_snapshot!(tell(given("cheapest", "much")), @"
    pipelines.yaml:4:13: `much` was given for `cheapest`, expected double
        at «0.5»
    ");
    insta::assert_snapshot!(tell(given("shops", "south")), @"
    pipelines.yaml:1:1: a value was given for `shops`, which is not under `vars` (hint: did you mean `shop`?)
        at «v»
    ");
}

#[test]
fn all_mistakes_are_told_at_once() {
    let mut files = base();
    for (file, right, wrong) in [
        (PROJECT, "      price: double\n", "      price: float\n"),
        (PROJECT, "candidates: [als]", "candidates: [alls]"),
        (LABELS, "FROM clean AS c", "FROM cleaned AS c"),
        (WEEKLY, "FROM labels", "FORM labels"),
        (ALS, "  iterations: 10", "  iteration: 10"),
    ] {
        edit(&mut files, file, right, wrong);
    }
    insta::assert_snapshot!(describe(&files, &problems_of(&files, &BTreeMap::new())), @"
    jobs/als.yaml:3:3: unknown hyperparameter `iteration` of `als`, did you mean `iterations`?
        at «iteration»
    pipelines.yaml:23:14: unknown type `float` (hint: expected one of `string`, `int`, `double`, `boolean`, `timestamp`, `timestamp_ms`, `date`, `json`)
        at «float»
    pipelines.yaml:57:24: unknown step `alls` (hint: did you mean `als`?)
        at «alls»
    sql/labels.sql:7:6: unknown table `cleaned` (hint: did you mean `clean`?)
        at «cleaned»
    sql/weekly.sql:2:1: unexpected `FORM` (hint: did you mean `FROM` instead of `FORM`?)
        at «FORM»
    ");
}

/// The base project's pipeline, with pieces of its `pipelines.yaml` replaced.
pub fn base_pipeline(edits: &[(&str, &str)]) -> Pipeline {
    let edits: Vec<_> = edits.iter().map(|(right, wrong)| (PROJECT, *right, *wrong)).collect();
    pipeline_with(&edits)
}

/// The same with its queries typed, so that their meanings are known.
pub fn typed_with(edits: &[(&str, &str, &str)]) -> (Pipeline, analysis::Analysis) {
    let mut files = base();
    for (file, right, wrong) in edits {
        edit(&mut files, file, right, wrong);
    }
    let read = |path: &str| Ok(files[path].clone());
    let (list, given) = (|_: &str| Vec::new(), BTreeMap::new());
    let inputs = Inputs { read: &read, list: &list, analyze: &analysis::parse, given: &given };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut report = runtime.block_on(validate(compile(&inputs)));
    let problems: Vec<_> = report.errors().collect();
    assert!(problems.is_empty(), "{problems:?}");
    (report.project.pipelines.remove("shop").unwrap(), report.analyses.remove("shop").unwrap())
}

/// The base project's pipeline, with pieces of its files replaced.
pub fn pipeline_with(edits: &[(&str, &str, &str)]) -> Pipeline {
    let mut files = base();
    for (file, right, wrong) in edits {
        edit(&mut files, file, right, wrong);
    }
    let read = |path: &str| Ok(files[path].clone());
    let (list, given) = (|_: &str| Vec::new(), BTreeMap::new());
    let inputs = Inputs { read: &read, list: &list, analyze: &analysis::parse, given: &given };
    let mut project = compile(&inputs).valid().unwrap();
    project.pipelines.remove("shop").unwrap()
}

/// What each mistake is told as, with the piece of the file that the message points to.
fn told(mistakes: &[Mistake]) -> String {
    let mut text = String::new();
    let mut unnoticed = Vec::new();
    for mistake in mistakes {
        let mut files = base();
        edit(&mut files, mistake.file, mistake.right, mistake.wrong);
        let problems = problems_of(&files, &BTreeMap::new());
        if problems.is_empty() {
            unnoticed.push(mistake.name);
        }
        let _ = write!(text, "{}\n{}\n", mistake.name, describe(&files, &problems));
    }
    assert!(unnoticed.is_empty(), "nobody minds: {unnoticed:?}");
    text
}

pub fn describe(files: &Files, problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        let _ = writeln!(text, "  {}", problems::line(problem));
        let line = files.get(&problem.file).and_then(|text| text.lines().nth(problem.line - 1));
        let piece: String = line
            .unwrap_or_default()
            .chars()
            .skip(problem.column - 1)
            .take(problem.length)
            .collect();
        let _ = writeln!(text, "      at «{piece}»");
    }
    text
}

pub fn problems_of(files: &Files, given: &BTreeMap<String, String>) -> Vec<Problem> {
    let read =
        |path: &str| files.get(path).cloned().ok_or_else(|| std::io::ErrorKind::NotFound.into());
    let list = |folder: &str| {
        let below = format!("{folder}/");
        files.keys().filter(|path| path.starts_with(&below)).cloned().collect()
    };
    let compiled = compile(&Inputs { read: &read, list: &list, analyze: &analysis::parse, given });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(validate(compiled)).problems
}

/// Replaces a piece of a file that stands there once; `*` is the whole file.
pub fn edit(files: &mut Files, file: &str, right: &str, wrong: &str) {
    let text = files.get_mut(file).unwrap();
    if right == "*" {
        *text = wrong.to_owned();
        return;
    }
    assert_eq!(text.matches(right).count(), 1, "`{right}` stands once in {file}");
    *text = text.replace(right, wrong);
}

pub fn base() -> Files {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specs/valid/base");
    files_of(&folder, &[PROJECT, "sql", "jobs"])
}

fn files_of(folder: &Path, names: &[&str]) -> Files {
    let mut files = Files::new();
    for name in names {
        let path = folder.join(name);
        if path.is_file() {
            files.insert((*name).to_owned(), std::fs::read_to_string(path).unwrap());
            continue;
        }
        for entry in std::fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            let text = std::fs::read_to_string(entry.path()).unwrap();
            files.insert(format!("{name}/{}", entry.file_name().to_str().unwrap()), text);
        }
    }
    files
}
