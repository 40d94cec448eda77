//! A run that dies between the catalog's flip and the ledger's row: the next does the least that is
//! right, and the day ends as one that nothing happened to.

use std::sync::Arc;
use std::time::Duration;

use recctl::pipeline::graph::Pipeline;
use recctl::pipeline::interval::Partition;
use recctl::pipeline::retries::RetryPolicy;
use recctl::run::event::RunEvent;
use recctl::run::record::Status;

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

/// What the next run finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finds {
    /// Nothing was written down: it is made again.
    Nothing,
    /// It was begun, and is finished first.
    Begun,
    /// It was ended, only nobody was told.
    Ended,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_point_at_which_a_publication_can_stop() {
    let undisturbed = {
        let sandbox = project();
        let app = app(&sandbox);
        let pipeline = pipeline(&app, Duration::ZERO).await;
        let heard = Arc::new(Heard::default());
        let done = attempt(&app, &pipeline, NEXT_DAY, &Gate::open(), &heard).await.unwrap();
        assert_eq!(done.0, Status::Succeeded);
        assert!(heard.notices().iter().all(|it| !it.contains("half done")));
        seen(&app, &sandbox, &pipeline).await
    };
    let cases: [(Call, Fault, Finds); 10] = [
        (("state.begin_publication", 0), Fault::Denied, Finds::Nothing),
        // Written down and no more.
        (("state.begin_publication", 0), Fault::LostAnswer, Finds::Begun),
        (("catalog.publish", 0), Fault::Denied, Finds::Begun),
        // Flipped; nobody was told.
        (("catalog.publish", 0), Fault::LostAnswer, Finds::Begun),
        // Flipped, not loaded.
        (("warehouse.load", 0), Fault::Denied, Finds::Begun),
        // Loaded; nobody was told.
        (("warehouse.load", 0), Fault::LostAnswer, Finds::Begun),
        // All of it, but the ledger.
        (("state.end_publication", 0), Fault::Denied, Finds::Begun),
        (("state.end_publication", 0), Fault::LostAnswer, Finds::Ended),
        // Those of the recommendations, which no warehouse gets.
        (("catalog.publish", 1), Fault::Denied, Finds::Begun),
        (("state.end_publication", 1), Fault::Denied, Finds::Begun),
    ];
    for (call, fault, finds) in cases {
        let what = format!("{fault:?} {call:?}");
        let sandbox = project();
        let app = app(&sandbox);
        let with_retries = pipeline(&app, Duration::ZERO).await;
        let none = RetryPolicy { budget: 0, ..with_retries.retries.clone() };
        let once = Arc::new(Pipeline { retries: none, ..Pipeline::clone(&with_retries) });

        let (gate, heard) = (Gate::failing(call, fault), Arc::new(Heard::default()));
        let stopped = attempt(&app, &once, NEXT_DAY, &gate, &heard).await.unwrap();
        assert_eq!(stopped.0, Status::Failed, "{what}");
        let dead = latest_run(&app).await;
        let open = services(&app, &Gate::open()).await.state.publications().await.unwrap();
        assert_eq!(open.len(), usize::from(finds == Finds::Begun), "{what}");
        let rows: Vec<(String, Partition)> = open
            .iter()
            .flat_map(|publication| &publication.rows)
            .map(|row| (row.step.to_string(), row.partition))
            .collect();

        let heard = Arc::new(Heard::default());
        let went_on = attempt(&app, &once, NEXT_DAY, &Gate::open(), &heard).await.unwrap();
        assert_eq!(went_on.0, Status::Succeeded, "{what}: {:?}", went_on.1);
        let told: Vec<String> = heard.notices();
        let half = told.iter().filter(|it| it.contains("half done")).collect::<Vec<_>>();
        assert_eq!(half.len(), usize::from(finds == Finds::Begun), "{what}: {told:?}");
        let is_finished = |it: &&String| it.contains(&dead) && it.contains("nothing made again");
        assert!(half.iter().all(is_finished), "{what}: {dead}: {told:?}");
        let again = |(step, partition): &(String, Partition)| {
            let events = heard.0.lock().unwrap();
            events.iter().any(|event| match event {
                RunEvent::StepStarted { unit } => {
                    unit.step.as_str() == step && unit.partition == *partition
                }
                _ => false,
            })
        };
        assert!(!rows.iter().any(again), "{what}: of {rows:?} something was done again");
        assert_eq!(seen(&app, &sandbox, &once).await, undisturbed, "{what}");

        // The ledger says whose work it is, and the next run finds all of it.
        let services = services(&app, &Gate::open()).await;
        let ledger = services.state.ledger(&once.name).await.unwrap();
        for (step, partition) in rows {
            let row =
                ledger.iter().find(|row| row.step.as_str() == step && row.partition == partition);
            assert_eq!(row.unwrap().run.as_str(), dead, "{what}: {row:?}");
        }
        assert_eq!(services.state.publications().await, Ok(vec![]), "{what}");
        let again = attempt(&app, &once, NEXT_DAY, &Gate::open(), &heard).await.unwrap();
        assert_eq!(again.0, Status::Unchanged, "{what}");
    }
}

/// Visible, and neither the ledger nor anything that was begun knows of it: an older recctl died
/// there. It is taken as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_visible_and_nobody_wrote_down_is_adopted() {
    for (call, note) in [
        (("warehouse.load", 0), "3 of the tables into the warehouse too"),
        (("state.end_publication", 0), "the warehouse has it already"),
    ] {
        let sandbox = project();
        let app = app(&sandbox);
        let with_retries = pipeline(&app, Duration::ZERO).await;
        let none = RetryPolicy { budget: 0, ..with_retries.retries.clone() };
        let once = Arc::new(Pipeline { retries: none, ..Pipeline::clone(&with_retries) });
        let (gate, heard) = (Gate::failing(call, Fault::Denied), Arc::new(Heard::default()));
        let stopped = attempt(&app, &once, NEXT_DAY, &gate, &heard).await.unwrap();
        assert_eq!(stopped.0, Status::Failed);
        let published = ended(&heard, "publish");
        let (partition, ..) =
            *published.iter().find(|unit| unit.1 == Status::Failed).expect("it failed");
        let state = rusqlite::Connection::open(sandbox.home().join("state.db")).unwrap();
        assert_eq!(state.execute("DELETE FROM publications", []).unwrap(), 1);

        let heard = Arc::new(Heard::default());
        let went_on = attempt(&app, &once, NEXT_DAY, &Gate::open(), &heard).await.unwrap();
        assert_eq!(went_on.0, Status::Succeeded, "{:?}", went_on.1);
        let made = ended(&heard, "sql").iter().filter(|unit| unit.0 == partition).count();
        assert_eq!(made, 0, "{call:?}: {made} tables were made again");
        let published = ended(&heard, "publish");
        let (.., said) = published.iter().find(|unit| unit.0 == partition).unwrap();
        assert_eq!(said.as_deref(), Some(note), "{call:?}");
    }
}

async fn latest_run(app: &recctl::app::App) -> String {
    let services = services(app, &Gate::open()).await;
    services.state.runs(1).await.unwrap().remove(0).id.to_string()
}
