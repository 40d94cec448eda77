//! What changed between two states of a project.

use std::collections::BTreeSet;

use recctl::pipeline::graph::Pipeline;
use recctl::pipeline::name::Name;
use recctl::pipeline::step::StepKind;
use recctl::plan::changes::{Comparison, Side, compare};
use recctl::query::analysis::{Analysis, keeps_columns};
use recctl::report::Paint;
use recctl::report::changes::lines;

use crate::specs;

type Project = (Pipeline, Analysis);

fn kept(old: &Project, new: &Project) -> BTreeSet<Name> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let query = |project: &Project, step: &str| match &project.0.step(step)?.kind {
        StepKind::Sql(sql) => Some(sql.clone()),
        _ => None,
    };
    let mut kept = BTreeSet::new();
    for step in &new.0.steps {
        let name = step.name.as_str();
        if let (Some(was), Some(is)) = (query(old, name), query(new, name))
            && runtime.block_on(keeps_columns(
                (&was, &old.1.schemas),
                (&is, &new.1.schemas),
                &new.0.variables,
            ))
        {
            kept.insert(step.name.clone());
        }
    }
    kept
}

fn compared(old: &Project, new: &Project) -> Comparison {
    let side = |project| -> Side<'_> {
        let (pipeline, analysis): &Project = project;
        Side { pipeline, schemas: &analysis.schemas }
    };
    compare("main".to_owned(), Some(side(old)), side(new), &kept(old, new))
}

/// The table without its head, and the rest.
fn told(edits: &[(&str, &str, &str)]) -> String {
    let (old, new) = (specs::typed_with(&[]), specs::typed_with(edits));
    let mut comparison = compared(&old, &new);
    comparison.find_again(&new.0, "2026-03-08".parse().unwrap(), None);
    lines(&new.0.name, &comparison, Paint::off()).join("\n")
}

/// A file, a piece of it, and what stands in its place.
type Edit = (&'static str, &'static str, &'static str);

#[test]
fn what_kind_of_change_it_is() {
    let all: &[(&str, &[Edit])] = &[
        ("nothing", &[]),
        ("a comment", &[("sql/weekly.sql", "SELECT", "-- why\nSELECT")]),
        ("an alias", &[("sql/labels.sql", "FROM clean AS c", "FROM (SELECT * FROM clean) AS c")]),
        (
            "a tag",
            &[(
                "pipelines.yaml",
                "sql: sql/weekly.sql",
                "sql: sql/weekly.sql\n        tags: [gold]",
            )],
        ),
        ("a value", &[("sql/labels.sql", "sum(c.quantity)", "max(c.quantity)")]),
        (
            "a new column",
            &[("sql/labels.sql", "sum(c.quantity)", "max(i.price) AS price,\n    sum(c.quantity)")],
        ),
        ("a filter", &[("sql/weekly.sql", "GROUP BY", "WHERE weight > 1 GROUP BY")]),
        (
            "a column before another",
            &[("sql/weekly.sql", "$logical_date AS dt", "1 AS one, $logical_date AS dt")],
        ),
        ("a check", &[("pipelines.yaml", "weight > 0", "weight > 1")]),
        ("a window", &[("pipelines.yaml", "reads: {labels: 7d}", "reads: {labels: 6d}")]),
        ("a variable", &[("pipelines.yaml", "cheapest: 0.5", "cheapest: 0.6")]),
        ("a job", &[("jobs/als.yaml", "iterations: 10", "iterations: 11")]),
        (
            "the split",
            &[("pipelines.yaml", "window: 8d, validation: 2d", "window: 9d, validation: 2d")],
        ),
        ("the lists", &[("pipelines.yaml", "top: 20", "top: 21")]),
        ("a type", &[("pipelines.yaml", "quantity: int?", "quantity: double?")]),
    ];
    let mut text = String::new();
    for (what, edits) in all {
        text.push_str(&format!("## {what}\n{}\n\n", told(edits)));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn steps_that_come_and_go() {
    let fewer = (
        "pipelines.yaml",
        "      weekly:\n        sql: sql/weekly.sql\n        partition_by: [dt]\n        reads: {labels: 7d}\n",
        "",
    );
    let (with, without) = (specs::typed_with(&[]), specs::typed_with(&[fewer]));
    let names = |comparison: &Comparison| -> Vec<String> {
        let line = |change: &recctl::plan::changes::StepChange| {
            format!("{} {}", change.step, change.change.words())
        };
        comparison.changes.iter().map(line).collect()
    };
    assert_eq!(names(&compared(&without, &with)), ["weekly added"]);
    assert_eq!(names(&compared(&with, &without)), ["weekly removed"]);
    let new = Side { pipeline: &with.0, schemas: &with.1.schemas };
    let first = compare("v0".to_owned(), None, new, &BTreeSet::new());
    assert_eq!(first.changes.len(), with.0.steps.len());
    assert_eq!(first.notices, ["there was no pipeline `shop` then"]);
}
