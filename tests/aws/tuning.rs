//! Searches by SageMaker.

use std::time::Duration;

use recctl::pipeline::job::{
    Direction, MetricDefinition, Objective, ParameterRange, Scale, Strategy, Tuning,
};
use recctl::ports::{JobKind, JobState, Trainer, TuningRequest, TuningService};
use recctl::run::failure::FailureKind;
use stand_ins::sagemaker::{Fault, Rule};

use super::trainer::{Bench, options};
use crate::contract::kind;
use crate::contract::trainer::{TrainerTarget, request};

const LONG: Duration = Duration::from_secs(60);

/// Says how many factors it was given, hangs, or fails.
const PROGRAM: &str = r#"#!/bin/sh
config="$4/input/config/hyperparameters.json"
if grep -q '"behaviour": "hang"' "$config"; then exec sleep 600; fi
if grep -q '"behaviour": "fail"' "$config"; then
    echo "no luck"
    printf 'out of ideas' > "$4/output/failure"
    exit 1
fi
sed -n 's/.*"factors": "\(.*\)".*/ndcg=0.\1;/p' "$config"
echo weights > "$4/model/weights"
"#;

fn tuning(name: &str, behaviour: &str, strategy: Strategy) -> TuningRequest {
    let mut trial = request(name, JobKind::Train, behaviour);
    trial.metrics =
        vec![MetricDefinition { name: "ndcg@10".to_owned(), regex: "ndcg=([0-9.]+);".to_owned() }];
    let factors = ParameterRange::Integer { min: 10, max: 12, scale: Scale::Log };
    TuningRequest {
        name: name.to_owned(),
        trial,
        tuning: Tuning {
            strategy,
            trials: 3,
            parallel: 2,
            seed: u64::MAX,
            ranges: [("factors".to_owned(), factors)].into(),
            early_stopping: true,
            warm_start: true,
        },
        objective: Objective { metric: "ndcg@10".to_owned(), direction: Direction::Maximize },
        warm_start: Vec::new(),
    }
}

async fn bench() -> Option<Bench> {
    let bench = Bench::new(PROGRAM, options()).await?;
    bench.put_file("in/part-1", "1").await;
    Some(bench)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_reports_its_trials() {
    let Some(bench) = bench().await else { return };
    let trainer = bench.trainer();
    let service = trainer.tuning().unwrap();
    assert_eq!(kind(service.wait_tuning("nobody", LONG).await), FailureKind::NotFound);
    assert_eq!(kind(service.cancel_tuning("nobody").await), FailureKind::NotFound);
    let search = tuning("grid", "tune", Strategy::Grid);
    service.submit_tuning(&search).await.unwrap();
    let status = service.wait_tuning("grid", LONG).await.unwrap();
    assert_eq!(status.state, JobState::Completed);
    let mut found: Vec<(String, Option<f64>)> = status
        .trials
        .iter()
        .map(|trial| (trial.hyperparameters["factors"].clone(), trial.value))
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    // The numbers that were printed, not their nearest in single precision.
    let expected = [("10", 0.10), ("11", 0.11), ("12", 0.12)];
    assert_eq!(found, expected.map(|(factors, value)| (factors.to_owned(), Some(value))));
    assert!(status.trials.iter().all(|trial| trial.job.starts_with("grid-00")), "{status:?}");
    // Found again, whoever asks.
    let other = bench.trainer();
    other.submit_tuning(&search).await.unwrap();
    let created = |name: &str| {
        let requests = bench.server.requests().into_iter();
        requests
            .filter(|r| r.operation == "CreateHyperParameterTuningJob" && r.name == name)
            .count()
    };
    assert_eq!(created("grid"), 1);
    service.cancel_tuning("grid").await.unwrap();
    let mut changed = search.clone();
    changed.tuning.seed = 1;
    assert_eq!(kind(other.submit_tuning(&changed).await), FailureKind::Conflict);
    // Every other strategy is taken as well; parents that do not fit are left out.
    for (name, strategy) in [
        ("bayes", Strategy::Bayesian),
        ("draws", Strategy::Random),
        ("bands", Strategy::Hyperband { min_resource: 1, max_resource: 9 }),
    ] {
        let mut search = tuning(name, "tune", strategy);
        search.warm_start = vec!["gone".to_owned(), "grid".to_owned()];
        service.submit_tuning(&search).await.unwrap();
        let status = service.wait_tuning(name, LONG).await.unwrap();
        assert_eq!((status.state, status.trials.len()), (JobState::Completed, 3), "{name}");
        let asked = bench.server.requests().into_iter().rev();
        let asked = asked.filter(|r| r.operation == "CreateHyperParameterTuningJob").take(1);
        let body = asked.map(|r| r.body).next().unwrap();
        assert_eq!(
            body["WarmStartConfig"],
            serde_json::json!({
                "ParentHyperParameterTuningJobs": [{ "HyperParameterTuningJobName": "grid" }],
                "WarmStartType": "TransferLearning",
            }),
            "{name}"
        );
        let early = &body["HyperParameterTuningJobConfig"]["TrainingJobEarlyStoppingType"];
        assert_eq!(early, if name == "bands" { "Off" } else { "Auto" });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_fail_and_are_stopped_and_begin_anew() {
    let Some(bench) = bench().await else { return };
    let trainer = bench.trainer();
    trainer.submit_tuning(&tuning("fail", "fail", Strategy::Grid)).await.unwrap();
    let status = trainer.wait_tuning("fail", LONG).await.unwrap();
    let JobState::Failed { reason, last_lines } = &status.state else { panic!("{status:?}") };
    assert!(reason.ends_with(": out of ideas"), "{reason}");
    assert_eq!(last_lines, &["no luck"]);
    assert!(status.trials.iter().all(|trial| trial.value.is_none()));
    trainer.submit_tuning(&tuning("fail", "tune", Strategy::Grid)).await.unwrap();
    assert_eq!(trainer.wait_tuning("fail", LONG).await.unwrap().state, JobState::Completed);

    trainer.submit_tuning(&tuning("hang", "hang", Strategy::Random)).await.unwrap();
    let waited = trainer.wait_tuning("hang", Duration::ZERO).await.unwrap();
    assert_eq!(waited.state, JobState::InProgress);
    trainer.cancel_tuning("hang").await.unwrap();
    assert_eq!(trainer.wait_tuning("hang", LONG).await.unwrap().state, JobState::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_takes_the_instances_that_there_are() {
    let Some(bench) = bench().await else { return };
    let trainer = bench.trainer();
    bench.server.add_rule(Rule::new(Fault::ResourceLimit));
    trainer.submit_tuning(&tuning("quota", "tune", Strategy::Grid)).await.unwrap();
    assert_eq!(trainer.wait_tuning("quota", LONG).await.unwrap().state, JobState::Completed);
    // A trial without capacity goes to the next type by itself.
    bench.server.add_rule(Rule::new(Fault::Capacity).instance("ml.m5.large").times(3));
    trainer.submit_tuning(&tuning("short", "tune", Strategy::Grid)).await.unwrap();
    let status = trainer.wait_tuning("short", LONG).await.unwrap();
    assert_eq!(status.state, JobState::Completed);
    assert!(status.trials.iter().all(|trial| trial.value.is_some()), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sagemaker_refuses_is_refused_in_words() {
    let Some(bench) = bench().await else { return };
    let trainer = bench.trainer();
    let refused = async |change: &dyn Fn(&mut TuningRequest)| {
        let mut search = tuning("search", "tune", Strategy::Grid);
        change(&mut search);
        let outcome = trainer.submit_tuning(&search).await;
        let message = outcome.clone().unwrap_err().message;
        assert_eq!(kind(outcome), FailureKind::Usage);
        message
    };
    assert!(refused(&|s| s.name = "x".repeat(33)).await.contains("not a job name"));
    assert!(refused(&|s| s.tuning.trials = 2).await.contains("3 combinations"));
    assert!(
        refused(&|s| s.objective.metric = "x".to_owned()).await.contains("none of its metrics")
    );
    assert!(refused(&|s| s.tuning.ranges.clear()).await.contains("0 hyperparameters vary"));
    let continuous = |s: &mut TuningRequest| {
        let range = ParameterRange::Continuous { min: 0.0, max: 1.0, scale: Scale::Linear };
        s.tuning.ranges.insert("alpha".to_owned(), range);
    };
    assert!(refused(&continuous).await.contains("a grid cannot walk"));
    let mut nowhere = tuning("search", "tune", Strategy::Grid);
    nowhere.trial.channels.insert("other".to_owned(), "nowhere/".to_owned());
    assert_eq!(kind(trainer.submit_tuning(&nowhere).await), FailureKind::Input);
    assert!(!bench.server.requests().iter().any(|request| request.mutating));
}
