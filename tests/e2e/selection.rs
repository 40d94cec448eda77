//! Runs of some steps of a pipeline.

use crate::sandbox::{DAY, NEXT_DAY, Ran, Sandbox};

fn dry_run(sandbox: &Sandbox, options: &[&str]) -> Ran {
    let mut arguments = vec!["run", "daily", "--date", DAY, "--dry-run"];
    arguments.extend(options);
    sandbox.run(&arguments)
}

/// What would be done, of all that a plan tells.
fn units(told: &str) -> String {
    let is_unit =
        |line: &&str| line.starts_with("  ") && line.ends_with(')') && line.contains("  (");
    told.lines().filter(is_unit).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_step_alone_is_made_from_what_is_published() {
    let sandbox = Sandbox::prepared();
    sandbox.edit("sql/daily/interactions.sql", "least(sum(weight), 20)", "least(sum(weight), 21)");
    let alone = ["--select", "interactions"];
    let told = dry_run(&sandbox, &alone).ends_with(0).stdout;
    assert!(
        told.contains("not selected, so taken as it was made last: `session_events`"),
        "{told}"
    );
    insta::assert_snapshot!(units(&told), @"
      interactions  sql      2026-03-08  (changed: sql)
      publish       publish  2026-03-08  (tables were made)
    ");
    sandbox.run(&["run", "daily", "--date", DAY, "--select", "interactions"]).ends_with(0);
    assert!(dry_run(&sandbox, &alone).ends_with(0).stdout.contains("nothing to do"));
    // The other days, and all that is made from the table, are left for a run that takes them in.
    let stale = dry_run(&sandbox, &["--select", "stale:", "--exclude", "kind:tune+"]);
    insta::assert_snapshot!(units(&stale.ends_with(0).stdout), @"
      interactions   sql      7 days 2026-03-01 … 2026-03-07  (changed: sql)
      publish        publish  8 days 2026-03-01 … 2026-03-08  (tables were made)
      user_profiles  sql      2026-03-08                      (changed: table `interactions`)
      popularity     train    2026-03-08                      (changed: table `interactions`)
      buy_again      train    2026-03-08                      (changed: table `interactions`)
    ");
    let changed = dry_run(&sandbox, &["--select", "changed:"]).ends_with(0).stdout;
    assert!(changed.contains("nothing to do"), "its own day is made: {changed}");
}

#[test]
fn what_it_reads_has_to_be_there() {
    let sandbox = Sandbox::prepared();
    let ran = sandbox.run(&["run", "daily", "--date", NEXT_DAY, "--select", "interactions"]);
    let ran = ran.ends_with(2);
    assert!(
        ran.stderr.contains(
            "`interactions` reads `session_events`, which is not selected and not published for 2026-03-09"
        ) && ran.stderr.contains("hint: select what it is made from too, with `+interactions`"),
        "{}",
        ran.stderr
    );
    let with = ["run", "daily", "--date", NEXT_DAY, "--select", "+interactions"];
    sandbox.run(&with).ends_with(0);
    sandbox.run(&["run", "daily", "--date", NEXT_DAY, "--select", "item_popularity"]).ends_with(0);
}

#[test]
fn models_of_steps_that_are_not_selected_are_used() {
    let sandbox = Sandbox::prepared();
    sandbox.edit("pipelines.yaml", "top: 50", "top: 40");
    let lists = sandbox.run(&["run", "daily", "--date", DAY, "--select", "recs+"]).ends_with(0);
    assert!(!lists.stderr.contains("winner  "), "{}", lists.stderr);
    assert!(lists.stderr.contains("lists into `recommendations`"), "{}", lists.stderr);
    let all = dry_run(&sandbox, &[]).ends_with(0).stdout;
    assert!(all.contains("nothing to do"), "{all}");
}

#[test]
fn what_failed_is_found_again() {
    let sandbox = Sandbox::prepared();
    let check = ("expression: weight > 0", "expression: weight > 1e9");
    sandbox.edit("pipelines.yaml", check.0, check.1);
    sandbox.run(&["run", "daily", "--date", DAY, "--select", "interactions+1"]).ends_with(3);
    sandbox.edit("pipelines.yaml", check.1, "expression: weight >= 0");
    let failed = dry_run(&sandbox, &["--select", "failed:"]).ends_with(0).stdout;
    let steps: Vec<&str> = failed
        .lines()
        .filter(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect();
    for step in ["interactions", "user_profiles", "als", "item_knn", "popularity", "buy_again"] {
        assert!(steps.contains(&step), "{step} is not in {failed}");
    }
    assert!(!steps.contains(&"winner") && !steps.contains(&"clean_events"), "{failed}");
}

#[test]
fn a_selection_that_means_nothing_is_told_before_anything_is_opened() {
    let sandbox = Sandbox::new();
    for (select, told, hint) in [
        (
            "intractions",
            "`--select`, column 1: unknown step `intractions`",
            "did you mean `interactions`?",
        ),
        ("products,users", "nothing is selected", "for either write \"products users\""),
        ("path:queries", "no step's file is at `queries`", ""),
    ] {
        let ran = sandbox.run(&["run", "daily", "--select", select]).ends_with(2);
        assert!(ran.stderr.contains(told) && ran.stderr.contains(hint), "{}", ran.stderr);
    }
    assert!(!sandbox.home().exists());
}
