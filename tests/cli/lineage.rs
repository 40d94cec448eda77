//! `recctl lineage`: what a person and a program get.

use serde_json::Value;

use crate::sandbox::Sandbox;

#[test]
fn a_column_from_its_source_to_what_is_served() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&["lineage", "user_profiles.favourite_category"]).ends_with(0);
    assert_eq!(ran.stderr, "");
    insta::assert_snapshot!(ran.stdout);
    let ran = sandbox.run(&["lineage", "clickstream.item_id", "--downstream"]).ends_with(0);
    assert!(ran.stdout.contains("served.recommendations.items"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("made from"), "{}", ran.stdout);
}

#[test]
fn names_that_are_nobody_s() {
    let sandbox = Sandbox::new();
    let told = |name: &str| sandbox.run(&["lineage", name]).ends_with(2).stderr;
    insta::assert_snapshot!(told("interaction.weight"), @"
    error: there is no table `interaction`
      hint: did you mean `interactions`?
    ");
    insta::assert_snapshot!(told("interactions.wait"), @"
    error: `interactions` has no column `wait`
      hint: it has `user_id`, `item_id`, `weight`, `views`, `carts`, `purchases`, `converted`, `last_ts`, `dt`
    ");
}

#[test]
fn a_page_and_json_go_to_files_and_to_pipes() {
    let sandbox = Sandbox::new();
    let page = sandbox.project().join("lineage.html");
    let path = page.to_str().unwrap();
    let ran = sandbox.run(&["lineage", "--format", "html", "-o", path]).ends_with(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(text.starts_with("<!doctype html>") && text.contains("session_events"));
    let ran = sandbox.run(&["lineage", "recs", "--format", "json", "--upstream"]).ends_with(0);
    let whole: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(whole["version"], 1);
    assert_eq!(whole["unknown"], Value::Array(Vec::new()));
    let nowhere = sandbox.project().join("no/such/folder/x.json");
    sandbox.run(&["lineage", "-o", nowhere.to_str().unwrap()]).ends_with(2);
}

#[test]
fn a_mistake_elsewhere_keeps_nobody_from_looking() {
    let sandbox = Sandbox::new();
    let file = sandbox.project().join("sql/daily/user_profiles.sql");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("FROM interactions AS i", "FROM interactions AS j"))
        .unwrap();
    let ran = sandbox.run(&["lineage", "interactions.weight"]).ends_with(0);
    assert!(ran.stdout.contains("clickstream.event_type"), "{}", ran.stdout);
    let ran = sandbox.run(&["lineage", "user_profiles"]).ends_with(0);
    let told = "not followed: user_profiles: `sql/daily/user_profiles.sql` could not be planned";
    assert!(ran.stdout.contains(told), "{}", ran.stdout);
}
