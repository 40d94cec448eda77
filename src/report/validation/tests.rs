use std::collections::BTreeMap;

use super::*;
use crate::query::analysis::Unchecked;
use crate::run::failure::Rule;
use crate::spec::compile::Project;

const SOURCE: &str = "version: 1\npipelines:\n  daily:\n    stepz: {}\n";

fn read(file: &str) -> Option<String> {
    (file == "pipelines.yaml").then(|| SOURCE.to_owned())
}

fn report(problems: Vec<Problem>, typed: usize, unchecked: Vec<Unchecked>) -> Report {
    let (pipelines, sources, targets) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let project = Project { pipelines, sources, targets, tests: "tests".to_owned() };
    let coverage = Coverage { statements: 13, typed, unchecked };
    Report { project, analyses: BTreeMap::new(), problems, coverage }
}

fn two() -> Report {
    let field = Problem::new(Rule::UnknownField, "pipelines.yaml", 4, 5, 5, "unknown `stepz`")
        .with_hint("did you mean `steps`?".to_owned());
    let file = "sql/50% off, a:b.sql";
    let unused = Problem::new(Rule::UnusedFile, file, 1, 1, 1, "no step\nuses it");
    let why = "it reads `clean_events`, which has errors".to_owned();
    report(vec![field, unused], 12, vec![Unchecked { what: "sql/x.sql".to_owned(), why }])
}

#[test]
fn for_a_person() {
    insta::assert_snapshot!(human(&two(), &read, Look::terminal(false)));
    insta::assert_snapshot!(human(&report(Vec::new(), 13, Vec::new()), &read, Look::plain()), @"ok: 0 pipelines, 0 steps, 0 sources, 13 of 13 statements fully typed");
}

#[test]
fn for_github() {
    insta::assert_snapshot!(github(&two(), "shop/"), @"
    ::error file=shop/pipelines.yaml,line=4,col=5,endColumn=10,title=unknown-field::unknown `stepz` (hint: did you mean `steps`?)
    ::warning file=shop/sql/50%25 off%2C a%3Ab.sql,line=1,col=1,endColumn=2,title=unused-file::no step%0Auses it
    ::notice title=not checked::sql/x.sql: it reads `clean_events`, which has errors
    ");
}

#[test]
fn for_programs() {
    insta::assert_snapshot!(json(&two()));
}

/// What the schema of SARIF requires of the objects that are written.
#[test]
fn sarif_has_what_its_schema_requires() {
    let log: serde_json::Value = serde_json::from_str(&sarif(&two(), "shop/")).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "recctl");
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), Rule::ALL.len());
    for rule in rules {
        assert!(rule["shortDescription"]["text"].is_string() && rule["help"]["text"].is_string());
        let level = rule["defaultConfiguration"]["level"].as_str().unwrap();
        assert!(["none", "note", "warning", "error"].contains(&level));
    }
    for result in run["results"].as_array().unwrap() {
        assert!(result["message"]["text"].is_string());
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        let place = &result["locations"][0]["physicalLocation"];
        assert!(place["region"]["startLine"].as_u64() >= Some(1));
        assert!(place["region"]["endColumn"].as_u64() > place["region"]["startColumn"].as_u64());
    }
    let uris: Vec<_> = run["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].clone())
        .collect();
    assert_eq!(uris, ["shop/pipelines.yaml", "shop/sql/50%25%20off%2C%20a%3Ab.sql"]);
    assert_eq!(run["invocations"][0]["executionSuccessful"], true);
    let note = &run["invocations"][0]["toolExecutionNotifications"][0];
    assert!(note["message"]["text"].as_str().unwrap().contains("sql/x.sql"));
}
