use std::sync::Arc;

use serde_json::Value;

use super::Emf;
use crate::report::sample::{self, Moment, play_to};
use crate::run::event::{EventSink, RunEvent};
use crate::run::failure::FailureKind;
use crate::run::record::Status;

struct Nobody;

impl EventSink for Nobody {
    fn emit(&self, _event: RunEvent) {}
}

fn exited(status: Status, kind: Option<FailureKind>, exit_code: u8) -> RunEvent {
    RunEvent::RunExited {
        run: None,
        pipeline: "daily".into(),
        target: "local".into(),
        status,
        kind,
        exit_code,
    }
}

fn documents(mut moments: Vec<Moment>, end: RunEvent) -> Vec<Value> {
    moments.push((0.0, end));
    let text = play_to(moments, |now, out| Arc::new(Emf::new(Arc::new(Nobody), now, out)));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the format's specification asks of a document.
fn check(document: &Value) {
    let head = &document["_aws"];
    assert!(head["Timestamp"].as_i64().is_some_and(|ms| ms > 1_600_000_000_000), "{document}");
    for directive in head["CloudWatchMetrics"].as_array().unwrap() {
        assert_eq!(directive["Namespace"], "recctl");
        for set in directive["Dimensions"].as_array().unwrap() {
            for dimension in set.as_array().unwrap() {
                let value = document[dimension.as_str().unwrap()].as_str().unwrap();
                assert!(!value.is_empty() && value.len() <= 1_024, "{document}");
                assert!(!["run", "date", "partition"].contains(&dimension.as_str().unwrap()));
            }
        }
        let metrics = directive["Metrics"].as_array().unwrap();
        assert!((1..=100).contains(&metrics.len()), "{document}");
        for metric in metrics {
            assert!(document[metric["Name"].as_str().unwrap()].is_number(), "{document}");
        }
    }
    assert!(document.to_string().len() < 4_096, "far from the limit of a log event: {document}");
}

/// `name=value` of the metrics, and who they are of.
fn shown(document: &Value) -> String {
    let directive = &document["_aws"]["CloudWatchMetrics"][0];
    let dimensions = directive["Dimensions"][0].as_array().unwrap().iter();
    let dimensions = dimensions.map(|name| document[name.as_str().unwrap()].as_str().unwrap());
    let metrics = directive["Metrics"].as_array().unwrap().iter();
    let metrics = metrics.map(|it| it["Name"].as_str().unwrap());
    let metrics = metrics.map(|name| format!("{name}={}", document[name]));
    format!(
        "{}: {}",
        dimensions.collect::<Vec<_>>().join("/"),
        metrics.collect::<Vec<_>>().join(" ")
    )
}

fn pretty(document: &Value) -> String {
    serde_json::to_string_pretty(document).unwrap()
}

#[test]
fn a_document_is_as_the_format_has_it() {
    let documents = documents(sample::good_run(), exited(Status::Succeeded, None, 0));
    documents.iter().for_each(check);
    let of_the_day = |it: &&Value| it["step"] == "clean_events" && it["partition"] == "2026-03-01";
    let step = documents.iter().find(of_the_day).unwrap();
    insta::assert_snapshot!(pretty(step), @r#"
    {
      "BytesRead": 12000000,
      "PeakMemory": 212000000,
      "RowsDuplicate": 825,
      "RowsFiltered": 262,
      "RowsKept": 40112,
      "RowsQuarantined": 41,
      "RowsRead": 41240,
      "RowsWritten": 40112,
      "StepDuration": 0.84,
      "StepFailed": 0,
      "StepSucceeded": 1,
      "_aws": {
        "CloudWatchMetrics": [
          {
            "Dimensions": [
              [
                "pipeline",
                "step",
                "target"
              ]
            ],
            "Metrics": [
              {
                "Name": "StepSucceeded",
                "Unit": "Count"
              },
              {
                "Name": "StepFailed",
                "Unit": "Count"
              },
              {
                "Name": "StepDuration",
                "Unit": "Seconds"
              },
              {
                "Name": "RowsRead",
                "Unit": "Count"
              },
              {
                "Name": "RowsKept",
                "Unit": "Count"
              },
              {
                "Name": "RowsQuarantined",
                "Unit": "Count"
              },
              {
                "Name": "RowsFiltered",
                "Unit": "Count"
              },
              {
                "Name": "RowsDuplicate",
                "Unit": "Count"
              },
              {
                "Name": "BytesRead",
                "Unit": "Bytes"
              },
              {
                "Name": "RowsWritten",
                "Unit": "Count"
              },
              {
                "Name": "PeakMemory",
                "Unit": "Bytes"
              }
            ],
            "Namespace": "recctl"
          }
        ],
        "Timestamp": 1772421310740
      },
      "action": "sql",
      "date": "2026-03-01",
      "partition": "2026-03-01",
      "pipeline": "daily",
      "run": "daily-20260301-20260302T031500-9f3a",
      "status": "succeeded",
      "step": "clean_events",
      "target": "local"
    }
    "#);
    insta::assert_snapshot!(shown(documents.last().unwrap()), @"daily/local: RunSucceeded=1 RunFailed=0 RunCancelled=0 RunRefused=0 RunDuration=56.4 StepsSucceeded=17 StepsFailed=0 RowsRead=1278440 RowsKept=1243472 RowsQuarantined=1271 RowsFiltered=8122 RowsDuplicate=25575 BytesRead=48000000 PeakMemory=412000000");
}

#[test]
fn metrics_of_a_run_that_fails() {
    let documents =
        documents(sample::failing_run(), exited(Status::Failed, Some(FailureKind::Exhausted), 1));
    documents.iter().for_each(check);
    let lines: Vec<String> = documents.iter().map(shown).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    daily/local: RunStarted=1
    daily/clean_events/local: StepSucceeded=1 StepFailed=0 StepDuration=0.84 RowsRead=412400 RowsKept=401120 RowsQuarantined=410 RowsFiltered=2620 RowsDuplicate=8250 BytesRead=12000000 RowsWritten=401120 PeakMemory=212000000
    daily/interactions/local: StepSucceeded=1 StepFailed=0 StepDuration=0.31 RowsRead=40112 RowsWritten=38044 PeakMemory=96000000
    daily/publish/local: StepSucceeded=1 StepFailed=0 StepDuration=0.05
    daily/clean_events/local: StepSucceeded=1 StepFailed=0 StepDuration=0.84 RowsRead=412400 RowsKept=401120 RowsQuarantined=410 RowsFiltered=2620 RowsDuplicate=8250 BytesRead=12000000 RowsWritten=401120 PeakMemory=212000000
    daily/interactions/local: StepSucceeded=1 StepFailed=0 StepDuration=0.31 RowsRead=40112 RowsWritten=38044 PeakMemory=96000000
    daily/publish/local: StepSucceeded=1 StepFailed=0 StepDuration=0.05
    daily/clean_events/local: StepSucceeded=0 StepFailed=1 StepDuration=0.84
    daily/clean_events/local: StepSucceeded=1 StepFailed=0 StepDuration=0.84 RowsRead=41240 RowsKept=40112 RowsQuarantined=41 RowsFiltered=262 RowsDuplicate=825 BytesRead=12000000 RowsWritten=40112 PeakMemory=212000000
    daily/interactions/local: StepSucceeded=1 StepFailed=0 StepDuration=0.31 RowsRead=40112 RowsWritten=38044 PeakMemory=96000000
    daily/publish/local: StepSucceeded=1 StepFailed=0 StepDuration=0.05
    daily/als/local: StepSucceeded=0 StepFailed=1 StepDuration=3.0
    daily/item_knn/local: StepSucceeded=1 StepFailed=0 StepDuration=2.0 RowsRead=152176 PeakMemory=96000000
    daily/local: RunSucceeded=0 RunFailed=1 RunCancelled=0 RunRefused=0 RunDuration=16.1 StepsSucceeded=10 StepsFailed=2 RowsRead=866040 RowsKept=842352 RowsQuarantined=861 RowsFiltered=5502 RowsDuplicate=17325 BytesRead=36000000 PeakMemory=412000000
    ");
}

#[test]
fn a_run_that_cannot_start_counts_as_failed_unless_another_is_at_work() {
    let of = |status, kind, code| {
        let documents = documents(Vec::new(), exited(status, kind, code));
        let [document] = documents.as_slice() else { panic!("{documents:?}") };
        check(document);
        shown(document)
    };
    insta::assert_snapshot!(of(Status::Failed, Some(FailureKind::Input), 1), @"daily/local: RunSucceeded=0 RunFailed=1 RunCancelled=0 RunRefused=0");
    insta::assert_snapshot!(of(Status::Failed, Some(FailureKind::Held), 4), @"daily/local: RunSucceeded=0 RunFailed=0 RunCancelled=0 RunRefused=1");
    insta::assert_snapshot!(of(Status::Cancelled, Some(FailureKind::Cancelled), 143), @"daily/local: RunSucceeded=0 RunFailed=0 RunCancelled=1 RunRefused=0");
}
