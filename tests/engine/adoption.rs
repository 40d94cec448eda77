//! A run that dies between the catalog's flip and the ledger's row: the next does the least that is
//! right, and the day ends as one that nothing happened to.

use std::sync::Arc;
use std::time::Duration;

use recctl::pipeline::graph::Pipeline;
use recctl::pipeline::interval::Partition;
use recctl::pipeline::retries::RetryPolicy;
use recctl::run::event::RunEvent;
use recctl::run::record::{LedgerRow, Status};

use super::faults::{Heard, app, attempt, pipeline, project, seen, services};
use super::faulty::{Call, Fault, Gate};
use crate::sandbox::NEXT_DAY;

/// Units of an action that ended, with what they noted.
fn ended(heard: &Heard, action: &str) -> Vec<(Partition, Status, Option<String>)> {
    let events = heard.0.lock().unwrap();
    let units = events.iter().filter_map(|event| match event {
        RunEvent::StepFinished { unit, status, report, .. } if unit.action == action => {
            Some((unit.partition, *status, report.note.clone()))
        }
        _ => None,
    });
    units.collect()
}

/// What comes of a fault in a run that tries nothing again.
struct Case {
    call: Call,
    fault: Fault,
    /// Whether the next run takes what is visible as it is.
    adopts: bool,
    /// What its publication says of the warehouse.
    note: &'static str,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_point_at_which_a_publication_can_stop() {
    const LOADED: &str = "3 of the tables into the warehouse too";
    const THERE: &str = "the warehouse has it already";
    let undisturbed = {
        let sandbox = project();
        let app = app(&sandbox);
        let pipeline = pipeline(&app, Duration::ZERO).await;
        let gate = Gate::open();
        let done = attempt(&app, &pipeline, NEXT_DAY, &gate, &Arc::default()).await.unwrap();
        assert_eq!(done.0, Status::Succeeded);
        seen(&app, &sandbox, &pipeline).await
    };
    for Case { call, fault, adopts, note } in [
        // Staged and no more.
        Case { call: ("catalog.publish", 0), fault: Fault::Denied, adopts: false, note: LOADED },
        // Flipped; nobody was told.
        Case { call: ("catalog.publish", 0), fault: Fault::LostAnswer, adopts: true, note: LOADED },
        // Flipped, not loaded.
        Case { call: ("warehouse.load", 0), fault: Fault::Denied, adopts: true, note: LOADED },
        // Loaded; nobody was told.
        Case { call: ("warehouse.load", 0), fault: Fault::LostAnswer, adopts: true, note: THERE },
        // All of it, but the ledger.
        Case { call: ("state.put_ledger", 0), fault: Fault::Denied, adopts: true, note: THERE },
    ] {
        let what = format!("{fault:?} {call:?}");
        let sandbox = project();
        let app = app(&sandbox);
        let with_retries = pipeline(&app, Duration::ZERO).await;
        let none = RetryPolicy { budget: 0, ..with_retries.retries.clone() };
        let once = Arc::new(Pipeline { retries: none, ..Pipeline::clone(&with_retries) });

        let (gate, heard) = (Gate::failing(call, fault), Arc::new(Heard::default()));
        let stopped = attempt(&app, &once, NEXT_DAY, &gate, &heard).await.unwrap();
        assert_eq!(stopped.0, Status::Failed, "{what}");
        let published = ended(&heard, "publish");
        let (partition, ..) =
            *published.iter().find(|unit| unit.1 == Status::Failed).expect("it failed");
        let dead = latest_run(&app).await;

        let heard = Arc::new(Heard::default());
        let gate = Gate::open();
        let went_on = attempt(&app, &once, NEXT_DAY, &gate, &heard).await.unwrap();
        assert_eq!(went_on.0, Status::Succeeded, "{what}: {:?}", went_on.1);
        let made = ended(&heard, "sql").iter().filter(|unit| unit.0 == partition).count();
        assert_eq!(made == 0, adopts, "{what}: {made} tables were made again");
        let published = ended(&heard, "publish");
        let (.., said) = published.iter().find(|unit| unit.0 == partition).unwrap();
        assert_eq!(said.as_deref(), Some(note), "{what}");
        assert_eq!(seen(&app, &sandbox, &once).await, undisturbed, "{what}");

        // The ledger says whose work it is, and the next run finds all of it.
        let rows = services(&app, &Gate::open()).await.state.ledger(&once.name).await.unwrap();
        let of_partition =
            |row: &&LedgerRow| row.partition == partition && row.step.as_str() == "interactions";
        let row = rows.iter().find(of_partition).unwrap();
        assert_eq!(row.run.as_str() == dead, adopts, "{what}: {row:?}");
        let again = attempt(&app, &once, NEXT_DAY, &Gate::open(), &heard).await.unwrap();
        assert_eq!(again.0, Status::Unchanged, "{what}");
    }
}

async fn latest_run(app: &recctl::app::App) -> String {
    let services = services(app, &Gate::open()).await;
    services.state.runs(1).await.unwrap().remove(0).id.to_string()
}
