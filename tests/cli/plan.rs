//! `recctl plan`: what people and programs see.

use std::net::TcpListener;

use serde_json::Value;

use crate::sandbox::{DAY, NEXT_DAY, Ran, Sandbox, ran};

fn plan(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let mut all = vec!["plan", "daily", "--threads", "2"];
    all.extend(arguments);
    sandbox.run(&all)
}

#[test]
fn a_plan_for_aws_asks_nobody() {
    // The sandbox has no credentials and no region.
    let sandbox = Sandbox::new();
    let arguments = ["--date", DAY, "--target", "aws"];
    let without = plan(&sandbox, &arguments).ends_with(0);
    insta::assert_snapshot!(without.stdout);
    // With all that is needed to ask, nobody is asked either.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let mut command = sandbox.command(&["plan", "daily", "--threads", "2"]);
    command.args(arguments);
    command.env("AWS_ENDPOINT_URL", format!("http://{}", server.local_addr().unwrap()));
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
    ] {
        command.env(name, value);
    }
    let with_credentials = ran(command).ends_with(0).stdout;
    let asked = server.accept().map(|_| "somebody was asked").unwrap_err();
    assert_eq!(asked.kind(), std::io::ErrorKind::WouldBlock);
    let assumed = "  assumed: the region is us-east-1: neither target nor environment says one\n";
    assert_eq!(with_credentials, without.stdout.replace(assumed, ""));
}

#[test]
fn the_json_is_stable() {
    let sandbox = Sandbox::new();
    let arguments =
        ["--date", DAY, "--target", "aws", "--select", "buy_again serve", "--format", "json"];
    let ran = plan(&sandbox, &arguments).ends_with(0);
    insta::assert_snapshot!(ran.stdout);
}

#[test]
fn days_are_planned_one_after_another() {
    let sandbox = Sandbox::new();
    let arguments = ["--from", "2026-03-08", "--to", "2026-03-10", "--target", "aws"];
    let ran = plan(&sandbox, &arguments).ends_with(0);
    let days = ran.stdout.split("\n\n").nth(1).unwrap();
    insta::assert_snapshot!(days);
}

#[test]
fn years_are_multiplied() {
    let sandbox = Sandbox::new();
    let arguments = ["--from", "2016-03-09", "--to", "2026-03-08", "--target", "aws"];
    let ran = plan(&sandbox, &arguments).ends_with(0);
    insta::assert_snapshot!(ran.stdout);
    let mut arguments = arguments.to_vec();
    arguments.extend(["--format", "json"]);
    let text = plan(&sandbox, &arguments).ends_with(0).stdout;
    let plan: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(plan["multiplied"]["days"], 3_652);
    assert!(plan.get("days").is_none());
}

#[test]
fn what_ran_before_tells_how_long_it_takes() {
    let sandbox = Sandbox::prepared();
    let arguments = ["--date", NEXT_DAY, "--format", "json"];
    let text = plan(&sandbox, &arguments).ends_with(0).stdout;
    let plan: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(plan["basis"], "local");
    let day = &plan["days"][0];
    assert_eq!(day["time"]["unknown"], 0, "all of it ran before");
    assert!(day["time"]["seconds"].as_f64().unwrap() > 0.0);
    assert!(plan["sum"]["bytes_in"].as_u64().unwrap() > 10_000, "{}", plan["sum"]);
    let missing = &day["missing"];
    let one_day = serde_json::json!([{"from": NEXT_DAY, "to": NEXT_DAY}]);
    assert_eq!(missing["clean_events"], one_day);
    assert_eq!(missing.get("products"), None, "it does not follow the date");
    let skipped = day["actions"].as_array().unwrap().iter().find(|it| it["verdict"] == "skip");
    let skipped = skipped.unwrap();
    assert!(skipped["reason"].as_str().unwrap().starts_with("unchanged since run daily-20260308"));
    assert_eq!(skipped["effects"], serde_json::json!([]));
}

#[test]
fn a_day_without_input_is_told_and_the_others_are_planned() {
    let sandbox = Sandbox::prepared();
    let arguments = ["--from", NEXT_DAY, "--to", "2026-03-10"];
    let ran = plan(&sandbox, &arguments).ends_with(0);
    let told = "2026-03-10 would fail: source `clickstream` has no files for 2026-03-10";
    assert!(ran.stdout.contains(told), "{}", ran.stdout);
    let alone = plan(&sandbox, &["--date", "2026-03-10"]).ends_with(1);
    assert!(alone.stderr.contains("has no files for 2026-03-10"), "{}", alone.stderr);
}

#[test]
fn a_projects_own_prices_go_first() {
    let sandbox = Sandbox::new();
    let list = "version: 1\ndate: 2026-02-01\nsource: our contract\nassumed_region: eu-west-1\n\
                regions:\n  eu-west-1:\n    s3: {thousand_writes: 0.005}\n";
    std::fs::write(sandbox.project().join("prices.yaml"), list).unwrap();
    let arguments = ["--date", DAY, "--target", "aws"];
    let costs = |ran: Ran| {
        let text = ran.ends_with(0).stdout;
        text.split("\ncosts").nth(1).unwrap().to_owned()
    };
    insta::assert_snapshot!(costs(plan(&sandbox, &arguments)), @"
      ~$0.0009 and ? for Glue requests that write, jobs on ml.m5.xlarge, Redshift Serverless, write units of served
             lists
           S3 requests that write: ~$0.0009 ($0.0050 for a thousand)
           Glue requests that write: ? (no price)
           jobs on ml.m5.xlarge: ? (no price)
           Redshift Serverless: ? (no price)
           write units of served lists: ? (no price)
           prices of eu-west-1, 2026-02-01: our contract
    ");
    std::fs::write(sandbox.project().join("prices.yaml"), list.replace("s3:", "s4:")).unwrap();
    let ran = plan(&sandbox, &arguments).ends_with(2);
    let told = "unknown field `s4`";
    assert!(ran.stderr.contains(told) && ran.stderr.contains("prices.yaml:7:5"), "{}", ran.stderr);
    let ran = plan(&sandbox, &["--target", "aws", "--prices", "none.yaml"]).ends_with(2);
    assert!(ran.stderr.contains("cannot read `none.yaml`"), "{}", ran.stderr);
}

#[test]
fn what_cannot_be_planned_is_told_with_what_to_do() {
    let sandbox = Sandbox::new();
    let told = |arguments: &[&str]| plan(&sandbox, arguments).ends_with(2).stderr;
    insta::assert_snapshot!(told(&["--from", "2026-03-09", "--to", "2026-03-08"]).trim_end(), @"
    error: --from 2026-03-09 comes after --to 2026-03-08
      hint: both days belong to the interval
    ");
    insta::assert_snapshot!(told(&["--target", "aws", "--select", "stale:"]).trim_end(), @"
    error: the selection asks what was done on the target, and nobody is asked
      hint: add --online, or select steps by name
    ");
    insta::assert_snapshot!(told(&["--target", "asw"]).trim_end(), @"
    error: unknown target `asw`
      hint: pipelines.yaml has `aws`, `local`
    ");
    let ran = sandbox.run(&["run", "daily", "--online"]).ends_with(2);
    insta::assert_snapshot!(ran.stderr.trim_end(), @"
    error: the options of planning are for --dry-run
      hint: add --dry-run, or use `recctl plan`
    ");
    sandbox.edit("pipelines.yaml", "metric: ndcg@10", "metrics: ndcg@10");
    let ran = plan(&sandbox, &["--target", "aws"]).ends_with(2);
    assert!(ran.stderr.contains("unknown field `metrics`"), "{}", ran.stderr);
}

#[test]
fn a_dry_run_is_a_plan() {
    let sandbox = Sandbox::prepared();
    let planned = plan(&sandbox, &["--date", NEXT_DAY]).ends_with(0).stdout;
    let arguments = ["run", "daily", "--threads", "2", "--date", NEXT_DAY, "--dry-run"];
    assert_eq!(sandbox.run(&arguments).ends_with(0).stdout, planned);
}
