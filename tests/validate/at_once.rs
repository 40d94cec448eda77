//! Several mistakes at once: all of them are told, and nothing that only follows from them.

use std::collections::BTreeMap;

use crate::specs::{Files, base, describe, edit, problems_of};

fn told(edits: &[(&str, &str, &str)]) -> String {
    let mut files = base();
    for (file, right, wrong) in edits {
        edit(&mut files, file, right, wrong);
    }
    all(&files)
}

fn all(files: &Files) -> String {
    describe(files, &problems_of(files, &BTreeMap::new()))
}

const PROJECT: &str = "pipelines.yaml";

#[test]
fn of_one_file() {
    insta::assert_snapshot!(told(&[
        (PROJECT, "    format: json\n", "    fromat: json\n"),
        (PROJECT, "max_ratio: 0.02", "max_ratio: little"),
        (PROJECT, "        unique_key: [event_id]", "        unique_keys: [event_id]"),
        (PROJECT, "        reads: {labels: 7d}", "        reads: {labels: week}"),
        (PROJECT, "top: 20", "top: twenty"),
        (PROJECT, "    region: eu-central-1", "    reigon: eu-central-1"),
    ]));
}

#[test]
fn a_broken_source_makes_no_query_wrong() {
    insta::assert_snapshot!(told(&[(PROJECT, "      ts: timestamp\n", "      ts: [timestamp]\n")]));
    insta::assert_snapshot!(told(&[(PROJECT, "sources:\n", "source:\n")]));
}

#[test]
fn a_broken_step_makes_no_other_wrong() {
    insta::assert_snapshot!(told(&[(
        PROJECT,
        "        sql: sql/clean.sql",
        "        sqll: sql/clean.sql"
    )]));
    insta::assert_snapshot!(told(&[(
        PROJECT,
        "        train: jobs/popularity.yaml",
        "        train: {file: jobs/popularity.yaml}"
    )]));
    insta::assert_snapshot!(told(&[("jobs/als.yaml", "tuning:", "tunning:")]));
}

#[test]
fn of_one_query() {
    insta::assert_snapshot!(told(&[
        ("sql/labels.sql", "sum(c.quantity)", "sum(c.quantiti) + summ(c.price)"),
        ("sql/labels.sql", "    c.item_id,\n    sum", "    item_id,\n    sum"),
        ("sql/labels.sql", "    c.user_id,", "    c.usr_id,\n    cc.user_id,"),
    ]));
}

#[test]
fn the_call_that_is_wrong_is_pointed_to() {
    insta::assert_snapshot!(told(&[(
        "sql/labels.sql",
        "    sum(c.quantity)",
        "    sum(c.quantity) AS n,\n    sum(c.item_id)"
    ),]));
}

#[test]
fn over_all_files() {
    insta::assert_snapshot!(told(&[
        (PROJECT, "      price: double\n", "      price: float\n"),
        (PROJECT, "candidates: [als]", "candidates: [alls]"),
        (PROJECT, "publish: [catalog, warehouse]", "publish: [catalogue]"),
        ("sql/clean.sql", "    quantity,", "    amount,"),
        ("sql/labels.sql", "sum(c.quantity)", "sum(c.quantity"),
        ("jobs/als.yaml", "  iterations: 10", "  iteration: 10"),
        ("jobs/als.yaml", "strategy: bayesian", "strategy: bayes"),
        ("jobs/popularity.yaml", "algorithm: popularity", "algorithm: popular"),
    ]));
}

#[test]
fn files_that_no_step_uses() {
    let mut files = base();
    files.insert("sql/old/before.sql".to_owned(), "SELECT 1 FORM items\n".to_owned());
    files.insert("jobs/next.yaml".to_owned(), "algorithm: alss\nmetrics: 3\n".to_owned());
    files.insert("jobs/README.md".to_owned(), "what is here".to_owned());
    insta::assert_snapshot!(all(&files));
}

#[test]
fn every_circle_is_a_path() {
    insta::assert_snapshot!(told(&[
        ("sql/catalogue.sql", "FROM items", "FROM items CROSS JOIN weekly"),
        (
            PROJECT,
            "        tune: jobs/als.yaml\n",
            "        tune: jobs/als.yaml\n        after: [best]\n"
        ),
    ]));
}
