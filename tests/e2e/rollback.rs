//! Tables back to how they were at a run: catalog, warehouse and ledger, and what the next run says.

use crate::sandbox::{DAY, Sandbox};

const RUN: [&str; 6] = ["run", "daily", "--date", DAY, "--select", "interactions"];

/// The last runs, newest first.
fn runs(sandbox: &Sandbox) -> Vec<String> {
    let listed = sandbox.run(&["runs"]).ends_with(0).stdout;
    let first = |line: &str| line.split_whitespace().next().unwrap().to_owned();
    listed.lines().skip(1).map(first).collect()
}

/// The sum of the weights of the day, as readers of the lake and of the warehouse have it.
fn weights(sandbox: &Sandbox) -> (f64, f64) {
    let sql = format!("SELECT sum(weight) AS w FROM interactions WHERE dt = DATE '{DAY}'");
    let lake = sandbox.query(&sql)[0]["w"].as_f64().unwrap();
    let warehouse = rusqlite::Connection::open(sandbox.home().join("warehouse.db")).unwrap();
    let sql = format!("SELECT sum(weight) FROM interactions WHERE dt = '{DAY}'");
    (lake, warehouse.query_row(&sql, [], |row| row.get(0)).unwrap())
}

#[test]
fn a_table_goes_back_to_a_run_and_the_next_run_says_so() {
    let sandbox = Sandbox::prepared();
    let first = runs(&sandbox).remove(0);
    let before = weights(&sandbox);
    assert!((before.0 - before.1).abs() < 1e-9);
    sandbox.edit("sql/daily/interactions.sql", "least(sum(weight), 20)", "least(sum(weight), 2)");
    sandbox.run(&RUN).ends_with(0);
    let second = runs(&sandbox).remove(0);
    let capped = weights(&sandbox);
    assert!(capped.0 < before.0 && (capped.0 - capped.1).abs() < 1e-9, "{capped:?} {before:?}");

    let listed = sandbox.run(&["rollback", "interactions", "--list"]).ends_with(0).stdout;
    let words = |line: usize| -> Vec<String> {
        listed.lines().nth(line).unwrap().split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(words(1)[..3], [second.as_str(), "1", "1"], "{listed}");
    assert_eq!(words(2)[..3], [first.as_str(), "8", "7"], "{listed}");

    let back = ["rollback", "interactions", "--to", &first];
    let told = sandbox.run(&back).ends_with(0).stdout;
    assert!(told.contains("1 partition rolled back, "), "{told}");
    assert_eq!(weights(&sandbox), before);
    let told = sandbox.run(&back).ends_with(0).stdout;
    assert!(told.contains("nothing to do"), "{told}");

    // On record.
    let listed = sandbox.run(&["runs"]).ends_with(0).stdout;
    let record = listed.lines().nth(1).unwrap();
    assert!(record.contains("rollback, succeeded"), "{listed}");
    let shown = sandbox.run(&["runs", "show", "last"]).ends_with(0).stdout;
    assert!(
        shown.contains(&format!("note      `interactions` rolled back to run {first}")),
        "{shown}"
    );
    assert!(shown.contains(&format!("from {second} back to {first}")), "{shown}");

    // The project makes something else now, so the next run would make it again, and says why.
    let mut plan = RUN.to_vec();
    plan.push("--dry-run");
    let told = sandbox.run(&plan).ends_with(0).stdout;
    let reason = format!("rolled back by hand to run {first}");
    assert!(told.contains(&reason) && told.contains("made again, as the project"), "{told}");
    // With the query of then it is as the project makes it, and stays.
    sandbox.edit("sql/daily/interactions.sql", "least(sum(weight), 2)", "least(sum(weight), 20)");
    let told = sandbox.run(&plan).ends_with(0).stdout;
    assert!(told.contains("nothing to do") && told.contains("so it stays"), "{told}");
    sandbox.run(&RUN).ends_with(0);
    assert_eq!(weights(&sandbox), before);

    // Forth again, by the same way, and made again by a run.
    sandbox.run(&["rollback", "interactions", "--to", &second, "--date", DAY]).ends_with(0);
    assert_eq!(weights(&sandbox), capped);
    let ran = sandbox.run(&RUN).ends_with(0);
    assert!(ran.stderr.contains(&format!("rolled back by hand to run {second}")), "{}", ran.stderr);
    assert_eq!(weights(&sandbox), before);
    assert!(sandbox.run(&RUN).ends_with(0).stderr.contains("nothing to do"));
}

#[test]
fn a_rollback_is_refused_where_it_would_break_something() {
    let sandbox = Sandbox::prepared();
    let first = runs(&sandbox).remove(0);
    sandbox.run(&["run", "daily", "--date", DAY, "--force", "--select", "users"]).ends_with(0);
    let now = sandbox.run(&["tables", "users"]).ends_with(0).stdout;
    // Files that are gone are found before anything is flipped.
    let folder = sandbox.lake().join("tables/users/all").join(&first);
    let aside = sandbox.lake().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    let ran = sandbox.run(&["rollback", "users", "--to", &first]).ends_with(1);
    assert!(ran.stderr.contains("is gone"), "{}", ran.stderr);
    assert_eq!(sandbox.run(&["tables", "users"]).stdout, now);
    std::fs::rename(&aside, &folder).unwrap();
    // A warehouse that cannot follow takes the catalog along.
    let database = rusqlite::Connection::open(sandbox.home().join("warehouse.db")).unwrap();
    database.execute_batch("ALTER TABLE users RENAME COLUMN location TO place").unwrap();
    database.execute_batch("ALTER TABLE users ADD COLUMN location INTEGER").unwrap();
    let ran = sandbox.run(&["rollback", "users", "--to", &first]).ends_with(2);
    assert!(ran.stderr.contains("nothing was rolled back"), "{}", ran.stderr);
    assert_eq!(sandbox.run(&["tables", "users"]).stdout, now);
}

#[test]
fn what_is_served_goes_back_and_the_next_run_says_so() {
    let sandbox = Sandbox::prepared();
    let first = runs(&sandbox).remove(0);
    let before = sandbox.served();
    sandbox.run(&["run", "daily", "--date", DAY, "--force", "--select", "serve"]).ends_with(0);
    let visible = |sandbox: &Sandbox| {
        let listed = sandbox.generations();
        let line = listed.lines().find(|line| line.contains(" yes ")).unwrap().to_owned();
        line.split_whitespace().next().unwrap().to_owned()
    };
    let second = visible(&sandbox);
    sandbox.run(&["rollback", "recommendations", "--to", &first]).ends_with(0);
    assert_ne!(visible(&sandbox), second);
    assert_eq!(sandbox.served(), before);
    let ran = sandbox.run(&["run", "daily", "--date", DAY]).ends_with(0);
    let notice = format!("rolled back by hand from {second}: it stays");
    assert!(ran.stderr.contains(&notice), "{}", ran.stderr);
    assert!(runs(&sandbox).len() > 2, "it is on record");
    sandbox.run(&["rollback", "recommendations", "--to", &second]).ends_with(0);
    let ran = sandbox.run(&["run", "daily", "--date", DAY]).ends_with(0);
    assert!(!ran.stderr.contains("by hand"), "{}", ran.stderr);
}
