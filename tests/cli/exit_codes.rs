//! Exit codes from outside. The quality gate's 3, the interruption's 130 and
//! the termination's 143 are tried in `e2e`.

use std::process::Stdio;
use std::time::Duration;

use recctl::adapters::local::{SystemClock, host_name};
use recctl::ports::{Clock, StateStore};

use crate::sandbox::{DAY, NEXT_DAY, Sandbox};

#[test]
fn a_wrong_command_line_is_2() {
    let sandbox = Sandbox::new();
    for arguments in [
        &[][..],
        &["run"],
        &["ran", "daily"],
        &["run", "daily", "--dates", DAY],
        &["run", "daily", "--threads", "0"],
        &["run", "daily", "--memory-limit", "lots"],
        &["run", "daily", "--var", "novalue"],
        &["recommend"],
    ] {
        let ran = sandbox.run(arguments).ends_with(2);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        let told = ran.stderr.contains("Usage: recctl") || ran.stderr.contains("error: ");
        assert!(told, "{ran:?}");
    }
    let ran = sandbox.run(&["run", "daily", "--date", "2026-3-1"]).ends_with(2);
    insta::assert_snapshot!(ran.stderr.trim_end(), @"
    error: invalid value '2026-3-1' for '--date <YYYY-MM-DD>': `2026-3-1` is not a date (expected YYYY-MM-DD, for example 2026-03-01)

    For more information, try '--help'.
    ");
}

#[test]
fn what_does_not_exist_is_2() {
    let sandbox = Sandbox::prepared();
    for (arguments, told) in [
        (&["run", "dayly"][..], "error: unknown pipeline `dayly`\n  hint: did you mean `daily`?"),
        (&["run", "daily", "--var", "x=1"], "a value was given for `x`, which is not under `vars`"),
        (&["run", "daily", "--target", "cloud"], "error: unknown target `cloud`"),
        (&["tables", "nothing"], "error: no table `nothing`\n  hint: there is: "),
        (&["runs", "show", "nothing"], "error: no run `nothing`"),
        (&["rollback", "nothing"], "error: no table or served table `nothing`\n  hint: there is: "),
        (&["rollback", "users"], "hint: name it with --to; `recctl rollback users --list`"),
        (&["rollback", "users", "--to", "x"], "error: `users` has no generation of run `x`"),
        (&["rollback", "recommendations"], "has no generation before the visible one"),
        (&["rollback", "recommendations", "--to", "x"], "`x`"),
        (&["recommend", "--anyone", "--table", "nothing"], "`nothing`"),
        (&["query", "SELECT nothing FROM users"], "nothing"),
    ] {
        let ran = sandbox.run(arguments).ends_with(2);
        assert!(ran.stderr.contains(told), "{arguments:?}:\n{}", ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}

#[test]
fn a_place_without_a_project_or_a_target_is_2() {
    let sandbox = Sandbox::new();
    for arguments in
        [&["tables"][..], &["runs"], &["recommend", "--anyone"], &["query", "SELECT 1"]]
    {
        let ran = sandbox.run(arguments).ends_with(2);
        let told = ".recctl` yet\n  hint: run a pipeline first";
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
    }
    assert!(!sandbox.home().exists(), "looking makes nothing");
    std::fs::remove_file(sandbox.project().join("pipelines.yaml")).unwrap();
    let ran = sandbox.run(&["run", "daily"]).ends_with(2);
    assert!(ran.stderr.contains("cannot read `pipelines.yaml`"), "{}", ran.stderr);
    assert!(ran.stderr.contains("name it with --project"), "{}", ran.stderr);
    assert!(!sandbox.home().exists(), "what is no project gets no folder");
}

/// Work that is to be done: a run with nothing to do takes no lease.
const AGAIN: [&str; 7] = ["run", "daily", "--date", DAY, "--force", "--select", "products"];

#[tokio::test]
async fn a_lease_that_somebody_else_holds_is_4() {
    let sandbox = Sandbox::prepared();
    let state = sandbox.state().await;
    let (name, time) = (format!("daily/{DAY}"), Duration::from_secs(600));
    let holder = format!("{}/{}/x", host_name(), std::process::id());
    let lease = state.acquire(&name, &holder, time, SystemClock.now()).await.unwrap();
    let ran = sandbox.run(&AGAIN).ends_with(4);
    let named = format!("process {} on host `{}` since 20", std::process::id(), host_name());
    assert!(ran.stderr.contains(&named), "{}", ran.stderr);
    assert!(ran.stderr.contains("hint: wait for it to end"), "{}", ran.stderr);
    state.release(&lease).await.unwrap();
    sandbox.run(&AGAIN).ends_with(0);
}

/// Two processes start: one does the work, the other says who does and ends.
#[tokio::test]
async fn of_two_starts_one_runs() {
    let sandbox = Sandbox::prepared();
    // All of the pipeline: it goes on for longer than the other needs to be told so.
    let all = ["run", "daily", "--date", DAY, "--force"];
    let (state, name) = (sandbox.state().await, format!("daily/{DAY}"));
    for _ in 0..10 {
        let mut first = sandbox.command(&all).stderr(Stdio::null()).spawn().unwrap();
        while state.holding(&name, SystemClock.now()).await.unwrap().is_none()
            && first.try_wait().unwrap().is_none()
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let started = std::time::Instant::now();
        let refused = sandbox.run(&all);
        println!("answered after {:?}", started.elapsed());
        let is_over = first.try_wait().unwrap().is_some();
        assert_eq!(first.wait().unwrap().code(), Some(0));
        println!("the other was done after {:?}", started.elapsed());
        if is_over {
            continue; // On a busy machine: this says nothing of what it would have been told.
        }
        let refused = refused.ends_with(4);
        let named = format!("`{name}` is held by process {} on host `{}`", first.id(), host_name());
        assert!(refused.stderr.contains(&named), "{}", refused.stderr);
        return;
    }
    panic!("they never ran at once");
}

#[tokio::test]
async fn a_lease_of_a_process_that_died_is_taken_over() {
    let sandbox = Sandbox::prepared();
    let mut child = sandbox.command(&["--version"]).stdout(Stdio::null()).spawn().unwrap();
    let holder = format!("{}/{}/x", host_name(), child.id());
    child.wait().unwrap();
    let (name, time) = (format!("daily/{DAY}"), Duration::from_secs(600));
    let state = sandbox.state().await;
    state.acquire(&name, &holder, time, SystemClock.now()).await.unwrap();
    sandbox.run(&AGAIN).ends_with(0);
}

#[test]
fn a_deadline_that_is_missed_is_6_and_running_again_goes_on() {
    let sandbox = Sandbox::prepared();
    let split = "    split: {window: 8d,";
    let due = format!("    deadline: {{after_start: 1s}}\n{split}");
    sandbox.edit("pipelines.yaml", split, &due);
    let late = ["run", "daily", "--date", NEXT_DAY, "--exclude", "kind:load"];
    let ran = sandbox.run(&late).ends_with(6);
    assert!(
        ran.stderr.contains("has passed: it takes longer than it may from its start on; stopping"),
        "{ran:?}"
    );
    sandbox.edit("pipelines.yaml", &due, split);
    sandbox.run(&late).ends_with(0);
}
