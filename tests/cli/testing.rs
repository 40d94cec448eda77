//! `recctl test`, `recctl test new`, `recctl preview` and `recctl init` from outside.

use crate::sandbox::{DAY, Ran, Sandbox};

/// A project with tests of this text instead of its own.
fn with_tests(text: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let folder = sandbox.project().join("sql/tests");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("own.yaml"), text).unwrap();
    sandbox
}

/// The output without what differs from run to run.
fn told(ran: &Ran) -> String {
    let time = regex::Regex::new(r"[0-9.]+ m?s\b").unwrap();
    time.replace_all(ran.stdout.trim_end(), "TIME").into_owned()
}

#[test]
fn the_repository_s_own_tests_pass() {
    let sandbox = Sandbox::new();
    // The sandbox made it short.
    sandbox.edit("pipelines.yaml", "reads: {interactions: 8d}", "reads: {interactions: 21d}");
    let ran = sandbox.run(&["test"]).ends_with(0);
    assert!(ran.stdout.contains(" tests in ") && !ran.stdout.contains("failed"), "{}", ran.stdout);
    for table in [
        "clean_events",
        "interactions",
        "item_popularity",
        "products",
        "session_events",
        "user_profiles",
        "users",
    ] {
        assert!(ran.stdout.contains(table), "no test of {table}:\n{}", ran.stdout);
    }
    assert!(!sandbox.home().exists(), "a test run writes nothing");
}

const DIFFERS: &str = "\
tests:
  a copy is no second event:
    table: clean_events
    logical_date: 2026-03-01
    inputs:
      clickstream:
        - {event_id: e1, ts: 2026-03-01T10:00:00Z, user_agent: Firefox, device: Mobile}
        - {event_id: e1, ts: 2026-03-01T10:00:01Z, user_agent: Firefox}
        - {event_id: e2, ts: 2026-03-01T10:00:00Z, user_agent: Firefox, price: 2}
    outputs:
      partial: true
      rows:
        - {event_id: e1, device: Mobile, price: 0}
        - {event_id: e2, price: 2.0}
        - {event_id: e3, price: 1}
  the unique key is watched:
    table: users
    inputs:
      user_feed:
        - {user_id: u1, segment: a}
        - {user_id: u1, segment: b}
    outputs:
      fails: repeat the unique key
  prices are positive:
    table: interactions
    logical_date: 2026-03-01
    inputs:
      session_events:
        - {user_id: u1, item_id: i1, weight: -1, event_type: view}
    outputs:
      partial: true
      rows:
        - {user_id: u1, weight: -1}
  the views are counted:
    table: interactions
    logical_date: 2026-03-01
    inputs:
      session_events:
        - {user_id: u1, item_id: i1, weight: 1, event_type: view}
    outputs:
      partial: true
      rows:
        - {user_id: u1, item_id: i1, views: 1}
";

#[test]
fn only_what_differs_is_shown() {
    let sandbox = with_tests(DIFFERS);
    let ran = sandbox.run(&["test"]).ends_with(1);
    insta::assert_snapshot!("differing", told(&ran));
    assert_eq!(ran.stderr, "");
    let ran = sandbox.run(&["test", "the views are counted"]).ends_with(0);
    assert!(ran.stdout.contains("1 passed"), "{}", ran.stdout);
    let ran = sandbox.run(&["test", "--fail-fast"]).ends_with(1);
    assert!(ran.stdout.contains("1 failed, 3 not run"), "{}", ran.stdout);
    let ran = sandbox.run(&["test", "--format", "json"]).ends_with(1);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&document["passed"], &document["failed"]), (&1.into(), &3.into()));
    let ran = sandbox.run(&["test", "--format", "junit", "users"]).ends_with(1);
    assert!(ran.stdout.contains("<failure message="), "{}", ran.stdout);
    let ran = sandbox.run(&["test", "user"]).ends_with(2);
    assert!(ran.stderr.contains("hint: did you mean `users`?"), "{}", ran.stderr);
}

const MISTAKES: &str = "\
tests:
  unknown table:
    table: clean_event
    outputs: []
  nothing expected:
    table: users
    outputs: {}
  no such variable:
    table: users
    vars: {cheapest: 1}
    outputs: []
  a table by day without a day:
    table: clean_events
    outputs: []
  no day:
    table: clean_events
    logical_date: 2026-3-1
    outputs: []
  no instant:
    table: users
    now: yesterday
    outputs: []
  not read:
    table: clean_events
    logical_date: 2026-03-01
    inputs: {clickstreams: [], users: []}
    outputs: []
  unknown columns:
    table: clean_events
    logical_date: 2026-03-01
    inputs:
      clickstream:
        - {event: e1}
    outputs:
      - {events_id: e1}
  values that do not fit:
    table: clean_events
    logical_date: 2026-03-01
    inputs:
      clickstream:
        - {event_id: [1], ts: noon, price: cheap, quantity: 1.5, item_id: null}
    outputs:
      - {price: cheap}
  values in CSV that do not fit:
    table: clean_events
    logical_date: 2026-03-01
    inputs:
      clickstream:
        csv: |
          event_id,quantity
          e1,1
          e2,many
          e3
    outputs: []
  no such CTE:
    table: clean_events
    logical_date: 2026-03-01
    outputs:
      ctes: {markd: []}
  rows twice:
    table: users
    inputs:
      user_feed: {rows: [], csv: a}
    outputs: []
  no such file:
    table: users
    inputs:
      user_feed: {file: rows.csv}
    outputs: []
";

#[test]
fn mistakes_in_tests_have_a_place() {
    let sandbox = with_tests(MISTAKES);
    let ran = sandbox.run(&["test"]).ends_with(2);
    insta::assert_snapshot!("mistakes", told(&ran));
}

#[test]
fn what_is_no_test_file_is_told() {
    for (text, expected) in [
        ("tests:\n  a:\n    tables: users\n", "did you mean `table`?"),
        ("test:\n  a: {}\n", "did you mean `tests`?"),
        ("tests:\n  a: {table: users, outputs: []}\n  a: {table: users, outputs: []}\n", "twice"),
    ] {
        let ran = with_tests(text).run(&["test"]).ends_with(2);
        assert!(ran.stdout.contains(expected), "{text}{}", ran.stdout);
    }
    let sandbox = with_tests("");
    std::fs::remove_file(sandbox.project().join("sql/tests/own.yaml")).unwrap();
    let ran = sandbox.run(&["test"]).ends_with(0);
    assert!(ran.stdout.starts_with("no tests: "), "{}", ran.stdout);
}

#[test]
fn rows_come_from_files_too() {
    let sandbox = with_tests(
        "tests:\n  a:\n    table: users\n    inputs:\n      user_feed: {file: rows/users.csv}\n    \
         outputs: {partial: true, file: rows/users.jsonl}\n",
    );
    let folder = sandbox.project().join("sql/tests/rows");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("users.csv"), "user_id,location,birth_year\nu1,de,1987\nu2,,\n")
        .unwrap();
    let expected = "{\"user_id\": \"u1\", \"location\": \"DE\", \"birth_year\": 1987}\n{\"user_id\": \"u2\"}\n";
    std::fs::write(folder.join("users.jsonl"), expected).unwrap();
    sandbox.run(&["test"]).ends_with(0);
}

#[test]
fn a_test_is_written_from_real_rows() {
    let sandbox = Sandbox::prepared();
    for table in ["clean_events", "session_events", "interactions", "user_profiles", "products"] {
        let new = ["test", "new", table, "--date", DAY, "--rows", "4", "--seed", "3"];
        let ran = sandbox.run(&new).ends_with(0);
        assert!(ran.stdout.contains(&format!("sql/tests/{table}_{DAY}.yaml")), "{}", ran.stdout);
        let again = sandbox.run(&new).ends_with(2);
        assert!(again.stderr.contains("is not overwritten"), "{}", again.stderr);
        sandbox.run(&["test", &format!("sql/tests/{table}_{DAY}.yaml")]).ends_with(0);
    }
    let text = std::fs::read_to_string(
        sandbox.project().join(format!("sql/tests/clean_events_{DAY}.yaml")),
    );
    let text = text.unwrap();
    // Fates are in it that do not hang on what is masked, and no user agent as it was.
    assert!(text.contains("duplicate") && text.contains("outside the day"), "{text}");
    assert!(text.contains("user_agent: ") && !text.contains("Mozilla"), "{text}");
    let other = ["test", "new", "clean_events", "--date", DAY, "--out", "-", "--mask", "user_id"];
    let (one, two) = (sandbox.run(&other).ends_with(0), sandbox.run(&other).ends_with(0));
    assert_eq!(one.stdout, two.stdout, "the seed decides");
}

#[test]
fn previews_say_what_they_show() {
    let sandbox = Sandbox::prepared();
    sandbox.edit("sql/daily/users.sql", "    segment,\n", "    segment, upper(segment) AS loud,\n");
    let ran = sandbox.run(&["preview", "users", "--date", DAY, "-n", "2", "--format", "json"]);
    let ran = ran.ends_with(0);
    assert!(ran.stdout.lines().count() == 2 && ran.stdout.contains("\"loud\":"), "{}", ran.stdout);
    insta::assert_snapshot!(ran.stderr.trim_end(), @"`sql/daily/users.sql` as it is now, over the input of 2026-03-08; nothing is published: 2 rows");
    let published = ["preview", "users", "--date", DAY, "--published", "--format", "csv"];
    let ran = sandbox.run(&published).ends_with(0);
    assert!(ran.stdout.starts_with("user_id,signup_date,"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("loud"), "{}", ran.stdout);
    let ran = sandbox.run(&["preview", "clickstream", "--date", DAY, "-n", "1"]).ends_with(0);
    assert!(ran.stderr.contains(" malformed:\n  raw/clickstream/"), "{}", ran.stderr);
    let cte = ["preview", "session_events", "--date", DAY, "--cte", "gap"];
    let ran = sandbox.run(&cte).ends_with(2);
    assert!(ran.stderr.contains("hint: did you mean `gaps`?"), "{}", ran.stderr);
    let ran = sandbox.run(&["preview", "clean_event", "--date", DAY]).ends_with(2);
    assert!(ran.stderr.contains("hint: did you mean `clean_events`?"), "{}", ran.stderr);
    let ran = sandbox.run(&["preview", "session_events", "--date", "2001-01-01"]).ends_with(2);
    assert!(ran.stderr.contains("is not published for 2001-01-01"), "{}", ran.stderr);
}

#[test]
fn a_new_project_is_tested_and_runs_at_once() {
    let sandbox = Sandbox::new();
    let shop = sandbox.project().join("shop");
    let ran = sandbox.run(&["init", "shop"]).ends_with(0);
    assert!(ran.stdout.contains("cd shop"), "{}", ran.stdout);
    let again = sandbox.run(&["init", "shop"]).ends_with(2);
    assert!(again.stderr.contains("nothing is overwritten"), "{}", again.stderr);
    let ran = sandbox.run_in(&shop, &["validate", "--strict"]).ends_with(0);
    assert!(ran.stdout.contains("4 of 4 statements fully typed"), "{}", ran.stdout);
    let ran = sandbox.run_in(&shop, &["test"]).ends_with(0);
    assert!(ran.stdout.contains("4 tests"), "{}", ran.stdout);
    sandbox.run_in(&shop, &["run", "daily", "--dry-run"]).ends_with(0);
    sandbox.run_in(&shop, &["run", "daily"]).ends_with(0);
    let ran = sandbox.run_in(&shop, &["recommend", "--anyone"]).ends_with(0);
    assert!(ran.stdout.contains("rank"), "{}", ran.stdout);
    assert!(shop.join(".github/workflows/recctl.yml").is_file());
}
