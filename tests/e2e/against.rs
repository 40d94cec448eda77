//! What changed since a git revision or a run.

use std::process::Command;

use crate::sandbox::{DAY, NEXT_DAY, Ran, Sandbox};

fn git(sandbox: &Sandbox, arguments: &[&str]) {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
    let mut command = Command::new("git");
    command.arg("-C").arg(sandbox.project()).args(identity).args(arguments);
    let output = command.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn against(sandbox: &Sandbox, reference: &str, more: &[&str]) -> Ran {
    let mut arguments = vec!["run", "daily", "--date", DAY, "--dry-run", "--against", reference];
    arguments.extend(more);
    sandbox.run(&arguments)
}

/// A project in a folder of a repository, with a commit.
fn committed(sandbox: &Sandbox) {
    let parent = sandbox.project().parent().unwrap().to_owned();
    let init = Command::new("git").args(["init", "-q", "-b", "main"]).arg(parent).status();
    assert!(init.unwrap().success());
    git(sandbox, &["add", "pipelines.yaml", "sql", "jobs"]);
    git(sandbox, &["commit", "-q", "-m", "first"]);
    git(sandbox, &["tag", "v1"]);
}

#[test]
fn changed_since_a_revision() {
    let sandbox = Sandbox::prepared();
    committed(&sandbox);
    let same = against(&sandbox, "v1", &[]).ends_with(0).stdout;
    assert!(same.contains("no step of 14 steps means something else"), "{same}");
    sandbox.edit("sql/daily/interactions.sql", "least(sum(weight), 20)", "least(sum(weight), 21)");
    sandbox.edit("sql/daily/users.sql", "SELECT", "-- who they are\nSELECT");
    let told = against(&sandbox, "main", &[]).ends_with(0).stdout;
    let commit = regex::Regex::new(r"main \([0-9a-f]{9}\)").unwrap();
    insta::assert_snapshot!(commit.replace(&told, "main (<commit>)"), @"
    daily against main (<commit>): of 14 steps 1 changed, 8 affected

       step           kind    change         made again                      why
       users          sql     metadata only  nothing                         written otherwise, means the same
    !  interactions   sql     breaking       8 days 2026-03-01 … 2026-03-08  sql
    ·  user_profiles  sql     affected       2026-03-08                      made from `interactions`
    ·  als            tune    affected       2026-03-08                      made from `interactions`
    ·  item_knn       tune    affected       2026-03-08                      made from `interactions`
    ·  popularity     train   affected       2026-03-08                      made from `interactions`
    ·  buy_again      train   affected       2026-03-08                      made from `interactions`
    ·  winner         select  affected       2026-03-08                      made from `als`, `buy_again`, `item_knn`, `popularity`
    ·  recs           score   affected       2026-03-08                      made from `popularity`, `winner`
    ·  serve          load    affected       2026-03-08                      made from `recs`
    ");
    let few = against(&sandbox, "main", &["--select", "changed:main+1"]).ends_with(0).stdout;
    assert!(few.contains("user_profiles") && !few.contains("winner"), "{few}");
    let listed = ["run", "daily", "--date", DAY, "--dry-run", "--select", "changed:main"];
    let listed = sandbox.run(&listed).ends_with(0).stdout;
    assert!(listed.contains("  interactions  sql      2026-03-08  (changed: sql)"), "{listed}");
}

#[test]
fn changed_since_a_run() {
    let sandbox = Sandbox::prepared();
    let runs = sandbox.run(&["runs"]).ends_with(0).stdout;
    let run = runs.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let same = against(&sandbox, &run, &[]).ends_with(0).stdout;
    assert!(
        same.contains(&format!("run {run}: no step of 14 steps means something else")),
        "{same}"
    );
    sandbox.edit("jobs/als.yaml", "seed: 42", "seed: 43");
    let told = against(&sandbox, &run, &[]).ends_with(0).stdout;
    assert!(told.contains("of 14 steps 1 changed, 3 affected"), "{told}");
    let kept = std::fs::read_dir(sandbox.lake().join("_recctl/definitions")).unwrap().count();
    assert_eq!(kept, 1);
    // The same files are kept once, however many runs there are.
    sandbox.edit("jobs/als.yaml", "seed: 43", "seed: 42");
    sandbox.run(&["run", "daily", "--date", NEXT_DAY, "--select", "products users"]).ends_with(0);
    sandbox.run(&["run", "daily", "--date", DAY, "--force", "--select", "products"]).ends_with(0);
    assert_eq!(std::fs::read_dir(sandbox.lake().join("_recctl/definitions")).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_compared_with() {
    let sandbox = Sandbox::prepared();
    let told = |reference: &str, expected: &str| {
        let ran = against(&sandbox, reference, &[]).ends_with(2);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    };
    told("daily-20260301-20260302T031500-9f3a", "no run `daily-20260301-20260302T031500-9f3a`");
    committed(&sandbox);
    told("mian", "git knows no revision `mian`");
    git(&sandbox, &["rm", "-q", "--cached", "pipelines.yaml"]);
    git(&sandbox, &["commit", "-q", "-m", "gone"]);
    told("HEAD", "cannot read `pipelines.yaml` at `HEAD`");
}
