//! Checks, the quarantine and the account of every table, on the sample.

use recctl::ports::StateStore;
use recctl::run::record::{RowsOf, StepRecord};

use crate::sandbox::{DAY, Sandbox};

/// Records of the queries of the last run.
async fn queries(sandbox: &Sandbox) -> Vec<StepRecord> {
    let state = sandbox.state().await;
    let run = state.runs(1).await.unwrap().remove(0);
    let mut steps = state.steps(&run.id).await.unwrap();
    steps.retain(|step| step.action == "sql");
    steps
}

#[tokio::test]
async fn every_table_of_a_run_accounts_for_its_rows() {
    let sandbox = Sandbox::prepared();
    let steps = queries(&sandbox).await;
    let mut tables = 0;
    for record in &steps {
        let (report, what) = (&record.report, format!("{} {}", record.step, record.partition));
        let counts = report.counts.unwrap_or_else(|| panic!("{what} has no account"));
        assert!(counts.conserved(), "{what}: {counts:?}");
        assert_eq!(counts.kept, report.rows_out, "{what}");
        assert_eq!(report.inputs.values().sum::<u64>(), report.rows_in, "{what}");
        let reads_a_source = ["clean_events", "products", "users"].contains(&record.step.as_str());
        assert_eq!(counts.of == RowsOf::Raw, reads_a_source, "{what}");
        for (input, rows) in &report.inputs {
            if let Some(made) = steps
                .iter()
                .find(|other| other.step.as_str() == input && other.partition == record.partition)
                && record.step.as_str() != "user_profiles"
            {
                assert_eq!(*rows, made.report.rows_out, "{what} reads {input}");
                tables += 1;
            }
        }
    }
    assert!(tables > 10, "{tables} tables read others");
    let shown = sandbox.run(&["runs", "show", "last"]).ends_with(0).stdout;
    assert!(shown.contains("made ") && shown.contains("checks held in every row"), "{shown}");
}

fn rows_of(sandbox: &Sandbox, table: &str) -> u64 {
    let query = format!("SELECT count(*) AS n FROM {table} WHERE dt = DATE '{DAY}'");
    sandbox.query(&query)[0]["n"].as_u64().unwrap()
}

#[tokio::test]
async fn refused_rows_are_shown_and_come_through_once_the_check_is_mended() {
    let sandbox = Sandbox::prepared();
    let all = rows_of(&sandbox, "interactions");
    let mut hashes = sandbox.hashes();
    let strict = "- {range: {column: weight, max: 3}, on_fail: quarantine}\n          \
                  - {references: {columns: [item_id], table: products}}\n          \
                  - {rows: {max: 1}, severity: warn}";
    sandbox.edit("pipelines.yaml", "- expression: weight > 0", strict);
    let only = ["run", "daily", "--date", DAY, "--select", "interactions"];
    let ran = sandbox.run(&only).ends_with(0);
    assert!(ran.stderr.contains("check rows warned: "), "{}", ran.stderr);
    let kept = rows_of(&sandbox, "interactions");
    let record = queries(&sandbox).await.remove(0);
    let counts = record.report.counts.unwrap();
    assert!(counts.conserved() && counts.quarantined > 0 && counts.kept == kept, "{counts:?}");
    assert_eq!(counts.kept + counts.quarantined, all);
    assert_eq!(record.report.reasons["quarantined: range(weight)"], counts.quarantined);

    let shown = sandbox.run(&["quarantine", "show", "interactions", "--format", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown.ends_with(0).stdout).unwrap();
    assert_eq!(shown["rows_in_quarantine"], counts.quarantined);
    assert_eq!(shown["counts"][0]["rule"], "range(weight)");
    let row = &shown["rows"][0];
    let raw: serde_json::Value = serde_json::from_str(row["raw"].as_str().unwrap()).unwrap();
    assert_eq!(row["value"].as_str().unwrap(), raw["weight"].to_string());

    let replay = ["quarantine", "replay", "interactions", "--date", DAY];
    let again = sandbox.run(&replay).ends_with(0).stdout;
    assert!(again.contains("would be refused again"), "{again}");
    sandbox.edit("pipelines.yaml", "max: 3}", "max: 10}");
    let dry = sandbox.run(&[&replay[..], &["--dry-run"]].concat()).ends_with(0).stdout;
    assert!(dry.contains("made again: interactions (8 days), user_profiles"), "{dry}");
    assert_eq!(rows_of(&sandbox, "interactions"), kept, "a dry run changes nothing");
    let told = sandbox.run(&replay).ends_with(0).stdout;
    let stay = format!(
        "SELECT count(*) AS n FROM quarantine WHERE step = 'interactions' AND dt = DATE '{DAY}'"
    );
    let stay = sandbox.query(&stay)[0]["n"].as_u64().unwrap();
    let through = rows_of(&sandbox, "interactions") - kept;
    let of = counts.quarantined;
    assert!(through > 0 && through + stay == of, "{through} + {stay} of {of}: {told}");
    let words = format!("{through} came through, {stay} stay");
    assert!(told.contains(&words), "{words}: {told}");

    sandbox.edit("pipelines.yaml", "max: 10}", "max: 20}");
    sandbox.run(&replay).ends_with(0);
    assert_eq!(rows_of(&sandbox, "interactions"), all);
    let mut now = sandbox.hashes();
    // It has an empty part for each table that ever refused a row.
    now.remove("quarantine");
    hashes.remove("quarantine");
    assert_eq!(now, hashes, "all is as if nothing had been refused");
    let empty = sandbox.run(&["quarantine", "show", "interactions"]).ends_with(0).stdout;
    assert_eq!(empty, "no row is in quarantine\n");
}

#[test]
fn a_table_that_breaks_a_check_is_not_published() {
    let sandbox = Sandbox::prepared();
    let hashes = sandbox.hashes();
    for (check, told) in [
        ("- accepted_values: {column: user_id, values: [nobody]}", "none of the accepted values"),
        ("- unique: [user_id]", "rows that repeat (user_id)"),
        (
            "- references: {columns: [user_id], table: products, keys: [item_id]}",
            "is not in `products`",
        ),
        ("- freshness: {column: last_ts, within: 1s}", "before the end of the day"),
        ("- {range: {column: weight, max: 3}, max_share: 0.0001}", "0.01 % allowed"),
    ] {
        sandbox.edit("pipelines.yaml", "- expression: weight > 0", check);
        let ran = sandbox.run(&["run", "daily", "--date", DAY, "--select", "interactions"]);
        let ran = ran.ends_with(3);
        assert!(ran.stderr.contains(told), "{check}: {}", ran.stderr);
        assert_eq!(sandbox.hashes(), hashes, "{check}");
        sandbox.edit("pipelines.yaml", check, "- expression: weight > 0");
    }
}

#[tokio::test]
async fn figures_are_compared_with_those_of_the_days_before() {
    let sandbox = Sandbox::prepared();
    let distribution = |within: &str| {
        format!(
            "- distribution: {{column: weight, statistic: mean, against: 7 runs, within: {within}}}"
        )
    };
    sandbox.edit("pipelines.yaml", "- expression: weight > 0", &distribution("factor 5"));
    let run = ["run", "daily", "--date", DAY, "--select", "+user_profiles"];
    let ran = sandbox.run(&run).ends_with(0);
    // The first days have too few before them.
    assert!(
        !ran.stderr.contains("is not judged yet"),
        "history is told in runs show: {}",
        ran.stderr
    );
    let not_judged = |steps: &[StepRecord]| {
        steps
            .iter()
            .flat_map(|step| &step.report.checks)
            .filter(|it| it.told.contains("not judged"))
            .count()
    };
    assert_eq!(not_judged(&queries(&sandbox).await), 3);
    // Now the ledger has the figures of all days.
    sandbox.edit("pipelines.yaml", &distribution("factor 5"), &distribution("0"));
    let only = ["run", "daily", "--date", DAY, "--select", "interactions"];
    let ran = sandbox.run(&only).ends_with(3);
    assert!(
        ran.stderr.contains("mean(weight) is ") && ran.stderr.contains("of the last 7"),
        "{}",
        ran.stderr
    );
}
