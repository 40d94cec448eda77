//! A holder of the lease that is paused before a side effect, while another takes over: when it wakes
//! up, nothing of it may become visible.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use recctl::adapters::local::SystemClock;
use recctl::app::App;
use recctl::pipeline::graph::Pipeline;
use recctl::ports::Clock;
use recctl::run::failure::FailureKind;
use recctl::run::record::Status;

use super::faults::{Heard, app, attempt, attempt_at, pipeline, project, seen, services};
use super::faulty::{Call, Gate};
use crate::sandbox::NEXT_DAY;

/// A clock that is ahead of the one on the wall, so that leases are over.
struct Ahead(TimeDelta);

impl Clock for Ahead {
    fn now(&self) -> DateTime<Utc> {
        SystemClock.now() + self.0
    }
}

/// Which runs what is visible is from, and what the ledger and the decisions say.
async fn origins(app: &App, pipeline: &Pipeline) -> Vec<String> {
    let services = services(app, &Gate::open()).await;
    let mut all = Vec::new();
    for table in services.catalog.tables().await.unwrap() {
        for entry in services.catalog.partitions(&table.name).await.unwrap() {
            all.push(format!("{} {} {}", entry.table, entry.key, entry.generation));
        }
    }
    for row in services.state.ledger(&pipeline.name).await.unwrap() {
        all.push(format!("ledger {} {} {}", row.step, row.partition, row.run));
    }
    let generations = services.serving.generations("recommendations").await.unwrap();
    all.extend(generations.iter().filter(|one| one.visible).map(|it| it.generation.clone()));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_taken_over_while_paused_makes_nothing_visible() {
    let calls: [Call; 10] = [
        ("state.begin_publication", 0),
        ("catalog.publish", 0),
        // That of the recommendations.
        ("catalog.publish", 1),
        ("warehouse.load", 0),
        ("state.end_publication", 0),
        ("state.end_publication", 1),
        // That of the load, after that of the training.
        ("state.put_ledger", 1),
        ("serving.begin", 0),
        ("serving.put", 0),
        ("serving.seal_and_flip", 0),
    ];
    for call in calls {
        let sandbox = project();
        let app = app(&sandbox);
        let pipeline = pipeline(&app, Duration::from_millis(1)).await;
        let gate = Gate::pausing(call);
        let paused = async {
            let heard = Arc::new(Heard::default());
            attempt(&app, &pipeline, NEXT_DAY, &gate, &heard).await
        };
        let takes_over = async {
            gate.reached().await;
            let ahead = Arc::new(Ahead(TimeDelta::seconds(120)));
            let heard = Arc::new(Heard::default());
            let ended =
                attempt_at(&app, &pipeline, NEXT_DAY, &Gate::open(), &heard, Some(ahead)).await;
            let (seen, origins) =
                (seen(&app, &sandbox, &pipeline).await, origins(&app, &pipeline).await);
            gate.go_on();
            (ended, seen, origins)
        };
        let (first, (second, visible, from)) = tokio::join!(paused, takes_over);
        assert_eq!(second.unwrap().0, Status::Succeeded, "{call:?}");
        let (status, failure) = first.unwrap();
        assert_eq!(status, Status::Failed, "{call:?}");
        assert_eq!(failure.unwrap().kind, FailureKind::Conflict, "{call:?}");
        assert_eq!(seen(&app, &sandbox, &pipeline).await, visible, "{call:?}");
        assert_eq!(origins(&app, &pipeline).await, from, "{call:?}");
    }
}

/// Taken over by somebody who has not come as far: the fence is set before the first step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fence_is_set_before_anything_else_is_done() {
    let sandbox = project();
    let app = app(&sandbox);
    let pipeline = pipeline(&app, Duration::from_millis(1)).await;
    let before = origins(&app, &pipeline).await;
    let (first, second) =
        (Gate::pausing(("catalog.publish", 0)), Gate::pausing(("catalog.publish", 0)));
    let heard = Arc::new(Heard::default());
    let paused = async {
        let ended = attempt(&app, &pipeline, NEXT_DAY, &first, &heard).await.unwrap();
        let visible = origins(&app, &pipeline).await;
        second.go_on();
        (ended, visible)
    };
    let takes_over = async {
        first.reached().await;
        let ahead = Arc::new(Ahead(TimeDelta::seconds(120)));
        let run = attempt_at(&app, &pipeline, NEXT_DAY, &second, &heard, Some(ahead));
        let wake = async {
            second.reached().await;
            first.go_on();
        };
        tokio::join!(run, wake).0.unwrap()
    };
    let ((late, visible), ended) = tokio::join!(paused, takes_over);
    assert_eq!(late.1.unwrap().kind, FailureKind::Conflict);
    assert_eq!(visible, before, "nothing of either is visible yet");
    assert_eq!(ended.0, Status::Succeeded);
}
