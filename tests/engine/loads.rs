//! A load that stops goes on from what it remembered.

use std::sync::Arc;
use std::time::Duration;

use recctl::run::record::Status;

use super::faults::{Heard, app, attempt, pipeline, project};
use super::faulty::{Fault, Gate};
use crate::sandbox::NEXT_DAY;

/// Known users are put first, then visitors: the items of one call at most are put twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_load_has_put_and_remembered_is_not_put_again() {
    for last in [("serving.put", 1), ("serving.checkpoint", 1)] {
        let sandbox = project();
        let app = app(&sandbox);
        let pipeline = pipeline(&app, Duration::from_millis(1)).await;
        let heard = Arc::new(Heard::default());
        let gate = Gate::failing(last, Fault::Denied);
        let ended = attempt(&app, &pipeline, NEXT_DAY, &gate, &heard).await.unwrap();
        assert_eq!((ended.0, gate.calls()["serving.put"]), (Status::Failed, 2), "{last:?}");
        let gate = Gate::open();
        let ended = attempt(&app, &pipeline, NEXT_DAY, &gate, &heard).await.unwrap();
        assert_eq!((ended.0, gate.calls()["serving.put"]), (Status::Succeeded, 1), "{last:?}");
    }
}
