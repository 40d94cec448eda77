//! The example on real data: exact conservation, the quality that it promises, a served user.
//!
//! The file is no part of the repository; where its folder is absent the test says so and passes.

use std::path::Path;

use crate::sandbox::Sandbox;

const ROWS: u64 = 320_705;

#[test]
fn real_invoices_become_recommendations() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/online-retail");
    let Ok(data) = data.canonicalize() else {
        println!("skipped: there is no folder `../shared/data/online-retail`");
        return;
    };
    let sandbox = Sandbox::example("online-retail");
    // A shorter search: what is shown here does not hang on the last digit.
    sandbox.edit("jobs/als.yaml", "trials: 6", "trials: 2");
    sandbox.edit("jobs/item_knn.yaml", "trials: 6", "trials: 2");
    let folder = format!("data={}", data.display());
    let run = ["run", "retail", "--date", "2011-08-31", "--var", &folder, "--log-format", "json"];
    let ran = sandbox.run(&run).ends_with(0);
    let events: Vec<serde_json::Value> =
        ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();

    let counts = events
        .iter()
        .find(|event| event["event"] == "step_finished" && event["unit"]["step"] == "clean_lines")
        .map(|event| &event["report"]["counts"])
        .unwrap();
    let count = |fate: &str| counts[fate].as_u64().unwrap();
    assert_eq!(count("read"), ROWS);
    assert_eq!(count("duplicates"), 2_483);
    assert_eq!(
        count("kept") + count("quarantined") + count("filtered") + count("duplicates"),
        ROWS,
        "{counts}"
    );

    let last = events.iter().rfind(|event| event["event"] == "run_finished").unwrap();
    let results = last["summary"]["decision"]["results"].as_array().unwrap();
    let recall = |name: &str| {
        let result = results.iter().find(|result| result["name"] == name).unwrap();
        result["metrics"]["recall@10"]["value"].as_f64().unwrap()
    };
    let winner = last["summary"]["decision"]["winner_name"].as_str().unwrap();
    let ratio = recall(winner) / recall("popularity");
    assert!(ratio >= 1.5, "{winner} reaches {ratio:.2} times the recall@10 of popularity");

    let served = sandbox.run(&["recommend", "--user", "17850", "--format", "json"]).ends_with(0);
    let served: serde_json::Value = serde_json::from_str(&served.stdout).unwrap();
    let items = served["items"].as_array().unwrap();
    assert_eq!(items.len(), 10, "{served}");
    assert!(items.iter().all(|item| item["name"].is_string()), "{served}");
    assert_eq!(served["for"], "user 17850");
}
