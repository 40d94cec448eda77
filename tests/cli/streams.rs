//! Standard output is data, standard error is talk.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::sandbox::{DAY, Sandbox, reference};

#[test]
fn data_goes_to_standard_output_alone() {
    let sandbox = Sandbox::prepared();
    for arguments in [
        &["tables"][..],
        &["tables", "interactions"],
        &["runs"],
        &["runs", "show", "last"],
        &["rollback", "recommendations", "--list"],
        &["recommend", "--anyone"],
        &["query", "SELECT 1 AS one"],
        &["run", "daily", "--date", DAY, "--dry-run"],
    ] {
        let ran = sandbox.run(arguments).ends_with(0);
        assert_eq!(ran.stderr, "", "{arguments:?}");
        assert!(ran.stdout.ends_with('\n') && ran.stdout.len() > 5, "{arguments:?}: {ran:?}");
        assert!(!ran.stdout.contains('\u{1b}'), "{arguments:?} colours a pipe");
    }
}

#[test]
fn rows_come_as_table_csv_and_json() {
    let sandbox = Sandbox::prepared();
    let sql = "SELECT * FROM (VALUES (1, 'a,\"b\"'), (2, NULL)) AS t(n, text) ORDER BY n";
    let rows = |format: &str| sandbox.run(&["query", sql, "--format", format]).ends_with(0).stdout;
    insta::assert_snapshot!(rows("table"), @r#"
    n  text
    1  a,"b"
    2
    "#);
    insta::assert_snapshot!(rows("csv"), @r#"
    n,text
    1,"a,""b"""
    2,
    "#);
    insta::assert_snapshot!(rows("json"), @r#"
    {"n":1,"text":"a,\"b\""}
    {"n":2,"text":null}
    "#);
    let none = sandbox.run(&["query", "SELECT 1 AS n WHERE false", "--format", "csv"]).ends_with(0);
    assert_eq!(none.stdout, "n\n", "a file without rows still says its columns");
    let none =
        sandbox.run(&["query", "SELECT 1 AS n WHERE false", "--format", "json"]).ends_with(0);
    assert_eq!(none.stdout, "");
}

#[test]
fn an_unknown_table_is_told_with_what_to_do() {
    let sandbox = Sandbox::prepared();
    let ran = sandbox.run(&["query", "SELECT * FROM interaction"]).ends_with(2);
    insta::assert_snapshot!(ran.stderr.trim_end(), @"
    error: unknown table `interaction`
      hint: did you mean `interactions`?
    ");
}

#[test]
fn talk_as_json_is_one_object_a_line() {
    let parsed = |text: &str| -> Vec<serde_json::Value> {
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    };
    let lines = parsed(&reference().log);
    assert!(lines.len() > 20, "{} lines", lines.len());
    assert!(lines.iter().all(|line| line["level"].is_string() && line["event"].is_string()));
    let [.., finished, exited] = lines.as_slice() else { panic!("{lines:#?}") };
    assert_eq!(finished["event"], "run_finished");
    assert_eq!((&exited["event"], &exited["run"]), (&"run_exited".into(), &finished["run"]));
    assert_eq!((&exited["status"], &exited["exit_code"]), (&"succeeded".into(), &0.into()));

    let sandbox = Sandbox::new();
    sandbox.edit("sql/daily/users.sql", "FROM user_feed", "FROM users_feed");
    for (arguments, kind) in [
        (&["run", "daily"][..], "usage"),
        (&["tables"], "not_found"),
        (&["run"], "usage"),
        (&["run", "daily", "--date", "2026-3-1"], "usage"),
        (&["ran", "daily"], "usage"),
        (&[], "usage"),
    ] {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--log-format", "json"]);
        let ran = sandbox.run(&arguments).ends_with(2);
        let lines = parsed(&ran.stderr);
        let failed = &lines[0];
        assert_eq!((&failed["event"], &failed["kind"]), (&"failed".into(), &kind.into()));
        assert!(failed["message"].is_string() && failed["ts"].is_string(), "{failed}");
        let last = lines.last().unwrap();
        assert_eq!(last["exit_code"], 2, "{arguments:?}: {last}");
        // What got as far as to be a run says how the run ended.
        let is_run = arguments.starts_with(&["run", "daily", "--log-format"]);
        assert_eq!(lines.len(), if is_run { 2 } else { 1 }, "{}", ran.stderr);
    }
}

#[test]
fn metrics_are_all_that_a_run_writes_to_standard_output() {
    let sandbox = Sandbox::prepared();
    let ran = sandbox.run(&["run", "daily", "--date", DAY, "--metrics", "emf"]).ends_with(0);
    let refused = sandbox.command(&["run", "dayly"]).env("RECCTL_METRICS", "emf").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let text = ran.stdout + &String::from_utf8(refused.stdout).unwrap();
    let documents: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<String> = documents
        .iter()
        .map(|it| {
            let names = it["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap();
            let ones = names.iter().map(|it| it["Name"].as_str().unwrap());
            let ones: Vec<&str> = ones.filter(|name| it[*name] == 1).collect();
            format!("{} {} {}", it["pipeline"], it["target"], ones.join(" ")).replace('"', "")
        })
        .collect();
    assert_eq!(
        told,
        ["daily local RunStarted", "daily local RunSucceeded", "dayly local RunFailed"],
        "a run that finds nothing to do, and one that cannot begin"
    );
}

#[test]
fn a_reader_that_goes_away_does_no_harm() {
    let sandbox = Sandbox::prepared();
    let sql = "SELECT * FROM clean_events AS a, (VALUES (1), (2), (3), (4)) AS b";
    for arguments in [
        &["query", sql, "--format", "csv"][..],
        &["query", sql, "--format", "json"],
        &["tables"],
        &["run", "--help"],
        &["completions", "bash"],
    ] {
        let mut command = sandbox.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        let mut lines = BufReader::with_capacity(16, child.stdout.take().unwrap());
        lines.read_line(&mut first).unwrap();
        drop(lines);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
        assert!(!first.is_empty(), "{arguments:?}");
    }
}

#[test]
fn nobody_who_listens_does_no_harm() {
    let sandbox = Sandbox::prepared();
    for (arguments, code) in [
        (&["run", "daily", "--date", DAY][..], 0),
        (&["run", "daily", "--date", DAY, "--log-format", "json"], 0),
        (&["run", "dayly"], 2),
        (&["run", "dayly", "--log-format", "json"], 2),
        (&["run"], 2),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = sandbox.command(arguments);
        let status = command.stdout(Stdio::null()).stderr(writer).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}
