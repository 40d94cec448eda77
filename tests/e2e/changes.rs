//! What was done before from the same inputs is not done again; what changed is, with all that
//! comes after it.

use crate::sandbox::{DAY, NEXT_DAY, Ran, Sandbox, reference};

fn generation_of(sandbox: &Sandbox, table: &str) -> Vec<String> {
    let text = sandbox.run(&["tables", table]).ends_with(0).stdout;
    let partitions = text.split("\n\n").nth(1).unwrap();
    let words =
        partitions.lines().skip(1).map(|line| line.split_whitespace().rev().nth(1).unwrap());
    words.map(str::to_owned).collect()
}

fn dry_run(sandbox: &Sandbox) -> String {
    let Ran { stdout, stderr, .. } =
        sandbox.run(&["run", "daily", "--date", DAY, "--dry-run"]).ends_with(0);
    assert_eq!(stderr, "", "a listing is data");
    // What is done and why, between the head and what changes.
    let mut sections = stdout.split("\n\n").skip(1);
    let first = sections.next().unwrap();
    // What a person should know stands before it.
    let section = match first.starts_with("late files") {
        true => format!("{first}\n{}", sections.next().unwrap()),
        false => first.to_owned(),
    };
    let section = section.trim_end();
    let (text, run) = section.split_once("run daily-").unwrap_or((section, ""));
    format!("{text}{}", run.split_once(':').map_or(String::new(), |(_, rest)| format!("…:{rest}")))
}

#[test]
fn a_second_run_does_nothing() {
    let sandbox = Sandbox::prepared();
    let (hashes, generations) = (sandbox.hashes(), sandbox.generations());
    let tables = generation_of(&sandbox, "interactions");
    let ran = sandbox.run(&["run", "daily", "--date", DAY]).ends_with(0);
    assert!(ran.stderr.contains(&format!("daily {DAY} unchanged in")), "{}", ran.stderr);
    assert_eq!(sandbox.hashes(), hashes);
    assert_eq!(sandbox.generations(), generations);
    assert_eq!(generation_of(&sandbox, "interactions"), tables);
}

#[test]
fn done_again_by_force_it_makes_the_same() {
    let sandbox = Sandbox::prepared();
    let (hashes, served) = (sandbox.hashes(), sandbox.served());
    let generations = sandbox.generations();
    let ran = sandbox.run(&["run", "daily", "--date", DAY, "--force"]).ends_with(0);
    assert!(ran.stderr.contains(&format!("daily {DAY} succeeded in")), "{}", ran.stderr);
    assert_ne!(sandbox.generations(), generations, "it was loaded again");
    assert_eq!(sandbox.hashes(), hashes);
    assert_eq!(sandbox.served(), served);
}

#[test]
fn threads_do_not_show_in_what_is_made() {
    let sandbox = Sandbox::prepared();
    sandbox
        .run(&["run", "daily", "--date", NEXT_DAY, "--threads", "1", "--parallel", "1"])
        .ends_with(0);
    assert_eq!(sandbox.hashes(), reference().hashes);
    assert_eq!(sandbox.served(), reference().served);
}

#[test]
fn a_comment_or_layout_is_no_change() {
    let sandbox = Sandbox::prepared();
    let unchanged = dry_run(&sandbox);
    sandbox.edit("sql/daily/interactions.sql", "-- One weighted label", "-- A label with a weight");
    sandbox.edit(
        "sql/daily/interactions.sql",
        "FROM session_events\nWHERE",
        "FROM session_events WHERE",
    );
    assert_eq!(dry_run(&sandbox), unchanged);
    // Nor is another name inside of the query.
    for file in ["sql/daily/session_events.sql", "sql/daily/user_profiles.sql"] {
        let path = sandbox.project().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let written = format!("SELECT renamed.* FROM (\n{}\n) AS renamed", text.trim_end());
        std::fs::write(&path, written).unwrap();
    }
    assert_eq!(dry_run(&sandbox), unchanged);
    insta::assert_snapshot!(unchanged, @"nothing to do: 15 steps, unchanged since");
}

#[test]
fn a_changed_query_makes_its_table_and_all_that_comes_after_again() {
    let sandbox = Sandbox::prepared();
    let (events, labels) =
        (generation_of(&sandbox, "clean_events"), generation_of(&sandbox, "interactions"));
    sandbox.edit("sql/daily/interactions.sql", "least(sum(weight), 20)", "least(sum(weight), 21)");
    insta::assert_snapshot!(dry_run(&sandbox), @"
      interactions   sql      8 days 2026-03-01 … 2026-03-08  (changed: sql)
      publish        publish  8 days 2026-03-01 … 2026-03-08  (tables were made)
      user_profiles  sql      2026-03-08                      (changed: table `interactions`)
      als            tune     2026-03-08                      (changed: table `interactions`)
      item_knn       tune     2026-03-08                      (changed: table `interactions`)
      popularity     train    2026-03-08                      (changed: table `interactions`)
      buy_again      train    2026-03-08                      (changed: table `interactions`)
      winner         select   2026-03-08                      (changed: step `als`)
      recs           score    2026-03-08                      (changed: step `popularity`)
      serve          load     2026-03-08                      (changed: step `recs`)
      unchanged since …: 27 units of products, users, publish, clean_events, session_events, item_popularity
    ");
    sandbox.run(&["run", "daily", "--date", DAY]).ends_with(0);
    assert_eq!(generation_of(&sandbox, "clean_events"), events, "it does not read what changed");
    let again = generation_of(&sandbox, "interactions");
    assert!(again.iter().all(|generation| !labels.contains(generation)), "{again:?}");
    assert!(dry_run(&sandbox).contains("nothing to do"));
}

#[test]
fn a_file_that_comes_late_makes_its_day_again() {
    let sandbox = Sandbox::prepared();
    let hour = sandbox.lake().join("raw/clickstream/2026/03/05/00");
    std::fs::create_dir_all(&hour).unwrap();
    std::fs::write(
        hour.join("late.json"),
        r#"{"event_id":"late","ts":"2026-03-05T00:10:00Z","event_type":"view","visitor_id":"v","user_id":null,"item_id":"P00001","device":"app","location":"DE","user_agent":"x"}"#,
    )
    .unwrap();
    insta::assert_snapshot!(dry_run(&sandbox), @"
    late files of `clickstream` for 2026-03-05: made again, with what is made from it
      clean_events     sql      2026-03-05                         (changed: files of `clickstream` 2026-03-05)
      session_events   sql      2026-03-05                         (changed: table `clean_events`)
      interactions     sql      2026-03-05                         (changed: table `session_events`)
      item_popularity  sql      2026-03-05                         (changed: table `session_events`)
      publish          publish  2 days in 2026-03-05 … 2026-03-08  (tables were made)
      user_profiles    sql      2026-03-08                         (changed: table `interactions`)
      als              tune     2026-03-08                         (changed: table `interactions`)
      item_knn         tune     2026-03-08                         (changed: table `interactions`)
      popularity       train    2026-03-08                         (changed: table `interactions`)
      buy_again        train    2026-03-08                         (changed: table `interactions`)
      winner           select   2026-03-08                         (changed: step `als`)
      recs             score    2026-03-08                         (changed: step `popularity`)
      serve            load     2026-03-08                         (changed: step `recs`)
      unchanged since …: 37 units of products, users, publish, clean_events, session_events, interactions, item_popularity
    ");
}
