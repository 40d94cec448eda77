//! A publication that died between two flips: whoever starts next settles it, whatever it is about to
//! do, and gc leaves alone what that needs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use recctl::app::App;
use recctl::engine::gc::{Keep, Places, collect, survey};
use recctl::engine::mark::{Marking, mark};
use recctl::engine::rollback::{TableRollback, roll_back};
use recctl::engine::settle::{Settlement, open, settle};
use recctl::pipeline::graph::Pipeline;
use recctl::pipeline::name::Name;
use recctl::pipeline::retries::RetryPolicy;
use recctl::ports::{Lease, PartitionEntry, Publication};
use recctl::run::failure::FailureKind;
use recctl::run::record::{MarkedAs, RunId, RunKind, Status};
use recctl::steps::context::Services;

use super::faults::{Heard, app, attempt, pipeline, project, seen, services};
use super::faulty::{Fault, Gate};
use crate::sandbox::{DAY, NEXT_DAY, Sandbox};

/// The project with a day of which some tables show the new generation and others do not.
struct Mixed {
    sandbox: Sandbox,
    app: App,
    pipeline: Arc<Pipeline>,
    services: Arc<Services>,
    publication: Publication,
    /// Of the run that died.
    lease: Lease,
}

impl Mixed {
    /// So many partitions of the day's publication are flipped when the process dies.
    async fn new(flipped: usize) -> Self {
        let sandbox = project();
        let app = app(&sandbox);
        let retried = pipeline(&app, Duration::ZERO).await;
        let none = RetryPolicy { budget: 0, ..retried.retries.clone() };
        let pipeline = Arc::new(Pipeline { retries: none, ..Pipeline::clone(&retried) });
        let gate = Gate::failing(("catalog.publish", 0), Fault::Denied);
        let heard = Arc::new(Heard::default());
        let stopped = attempt(&app, &pipeline, NEXT_DAY, &gate, &heard).await.unwrap();
        assert_eq!(stopped.0, Status::Failed);
        let services = Arc::new(services(&app, &Gate::open()).await);
        let publication = services.state.publications().await.unwrap().remove(0);
        assert!(publication.flips.len() > flipped, "{} partitions", publication.flips.len());
        let (name, fence) = (publication.lease.clone(), publication.fence);
        let lease = Lease { name, holder: "dead/1/x".to_owned(), fence, seized: false };
        // The catalog here flips all at once: another would have come as far as this.
        let entries = publication.entries(services.clock.now());
        let shapes = publication.shapes();
        services.catalog.publish(&shapes, &entries[..flipped], &lease).await.unwrap();
        Self { sandbox, app, pipeline, services, publication, lease }
    }

    /// How many partitions show the publication.
    async fn visible(&self) -> usize {
        let mut visible = 0;
        for flip in &self.publication.flips {
            visible +=
                usize::from(self.shown(&flip.to).await.is_some_and(|it| it.is_same(&flip.to)));
        }
        visible
    }

    async fn shown(&self, like: &PartitionEntry) -> Option<PartitionEntry> {
        let keys = std::slice::from_ref(&like.key);
        self.services.catalog.some(&like.table, keys).await.unwrap().pop()
    }

    /// Whether the ledger has all rows of it, as work of the run that died.
    async fn is_in_the_ledger(&self) -> bool {
        let ledger = self.services.state.ledger(&self.pipeline.name).await.unwrap();
        self.publication.rows.iter().all(|row| {
            ledger.iter().any(|known| {
                (&known.step, known.partition) == (&row.step, row.partition)
                    && known.run == self.publication.run
            })
        })
    }

    async fn settle(&self) -> Vec<String> {
        let heard = Heard::default();
        settle(&self.services, None, "next/2/y", &heard).await.unwrap();
        heard.notices()
    }

    async fn gc(&self) -> Vec<String> {
        let keep = Keep {
            generations: 0,
            younger_than: TimeDelta::zero(),
            grace: TimeDelta::seconds(-10),
        };
        let scratch = self.services.scratch.clone();
        let places = Places { scratch: &scratch, jobs: None };
        let found = survey(&self.services, places, keep).await.unwrap();
        let removed = collect(&self.services, found, "here/1/gc").await.unwrap();
        removed.candidates.into_iter().map(|one| one.name).collect()
    }
}

fn step(name: &str) -> Name {
    Name::new(name).unwrap()
}

/// A run of another day that has nothing to do, one whose selection leaves the tables out, a
/// rollback, a mark and `recctl gc`: each finishes it first, and nothing is made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_starts_next_finishes_it() {
    for who in ["nothing to do", "other tables", "rollback", "mark", "gc"] {
        let mixed = Mixed::new(2).await;
        let Mixed { app, pipeline, services, publication, .. } = &mixed;
        let heard = Arc::new(Heard::default());
        match who {
            "nothing to do" => {
                let only = pipeline.as_ref().clone().restricted_to(&[step("products")].into());
                let only = Arc::new(only);
                let ended = attempt(app, &only, DAY, &Gate::open(), &heard).await.unwrap();
                assert_eq!(ended.0, Status::Unchanged, "{who}");
            }
            "other tables" => {
                let only = pipeline.as_ref().clone().restricted_to(&[step("clean_events")].into());
                let only = Arc::new(only);
                attempt(app, &only, NEXT_DAY, &Gate::open(), &heard).await.unwrap();
            }
            "rollback" => {
                let runs = services.state.runs(10).await.unwrap();
                let first = runs.iter().find(|run| run.status == Status::Succeeded).unwrap();
                let wanted = TableRollback {
                    table: "users".to_owned(),
                    run: first.id.clone(),
                    date: None,
                    with_run: false,
                    holder: App::holder(),
                };
                let find = async |_: &Name| Ok(Arc::clone(pipeline));
                roll_back(services, &wanted, find, heard.as_ref()).await.unwrap();
            }
            "mark" => {
                let date = DAY.parse().unwrap();
                let marking = Marking {
                    run: RunId::new(&pipeline.name, date, services.clock.now(), 9),
                    steps: vec![step("interactions")],
                    dates: vec![date],
                    set: MarkedAs::Done,
                    by: "kim@here".to_owned(),
                    reason: "it is".to_owned(),
                    holder: App::holder(),
                };
                mark(services, pipeline, &marking, heard.as_ref()).await.unwrap();
            }
            _ => {
                settle(services, None, &App::holder(), heard.as_ref()).await.unwrap();
                mixed.gc().await;
            }
        }
        let all = publication.flips.len();
        let told = heard.notices();
        let said = format!("2 of {all} partitions visible: finished, and nothing made again");
        assert!(told.iter().any(|it| it.contains(&said)), "{who}: {told:?}");
        assert_eq!(mixed.visible().await, all, "{who}");
        assert!(mixed.is_in_the_ledger().await, "{who}");
        assert_eq!(services.state.publications().await, Ok(vec![]), "{who}");
        assert_eq!(mixed.settle().await, [""; 0], "{who}: it is settled once");

        // The warehouse has the day as well, and the rest of it is done as ever.
        let ended = attempt(app, pipeline, NEXT_DAY, &Gate::open(), &heard).await.unwrap();
        assert_eq!(ended.0, Status::Succeeded, "{who}: {:?}", ended.1);
        seen(app, &mixed.sandbox, pipeline).await;
        let day = NEXT_DAY.parse().unwrap();
        let rows = services.warehouse.count("interactions", Some(day)).await.unwrap();
        let flips = &publication.flips;
        let flip = flips.iter().find(|flip| flip.to.table == "interactions").unwrap();
        assert_eq!(rows, Some(flip.to.rows), "{who}");
    }
}

/// Files that are gone cannot become visible: readers get the day as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_finished_is_taken_back() {
    for flipped in [0, 2] {
        let mixed = Mixed::new(flipped).await;
        let Mixed { services, publication, .. } = &mixed;
        let lost = publication.flips.iter().flat_map(|flip| &flip.to.files).last().unwrap();
        services.query.lake().remove_file(&lost.path).await.unwrap();
        let before = services.state.ledger(&mixed.pipeline.name).await.unwrap();
        let found = open(services, &mixed.pipeline.name).await.unwrap();
        let standing = found[0].1.clone().expect("nobody is at work on it");
        assert_eq!(standing.settlement, Settlement::Back(format!("`{}` is gone", lost.path)));
        assert_eq!(standing.visible, flipped);
        let ran = tokio::task::block_in_place(|| mixed.sandbox.run(&["doctor", "daily"]));
        let told = ran.ends_with(0).stdout;
        let all = publication.flips.len();
        let half =
            format!("half done, {flipped} of {all} partitions visible: the next start takes");
        assert!(told.contains("warn     publications: ") && told.contains(&half), "{told}");

        let told = mixed.settle().await;
        assert!(told[0].contains(&format!("taken back, as `{}` is gone", lost.path)), "{told:?}");
        assert_eq!(mixed.visible().await, 0);
        for flip in &publication.flips {
            assert_eq!(mixed.shown(&flip.to).await, flip.from, "{flip:?}");
            let earlier = services.catalog.history(&flip.to.table, &flip.to.key).await.unwrap();
            assert!(earlier.iter().all(|it| it.generation != flip.to.generation), "{earlier:?}");
        }
        assert_eq!(services.state.ledger(&mixed.pipeline.name).await.unwrap(), before);
        assert_eq!(services.state.publications().await, Ok(vec![]));
        // Then the day is made, as it never was.
        let heard = Arc::new(Heard::default());
        let (app, pipeline) = (&mixed.app, &mixed.pipeline);
        let ended = attempt(app, pipeline, NEXT_DAY, &Gate::open(), &heard).await.unwrap();
        assert_eq!(ended.0, Status::Succeeded, "{:?}", ended.1);
        seen(app, &mixed.sandbox, pipeline).await;
    }
}

/// A warehouse that refuses for good takes the catalog along, so that both show the same day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_warehouse_refuses_is_taken_back() {
    let mixed = Mixed::new(1).await;
    let Mixed { services, publication, .. } = &mixed;
    let warehouse = rusqlite::Connection::open(mixed.sandbox.home().join("warehouse.db")).unwrap();
    let sql = "ALTER TABLE interactions RENAME TO old; CREATE TABLE interactions (dt DATE, user_id INTEGER)";
    warehouse.execute_batch(sql).unwrap();
    let told = mixed.settle().await;
    assert!(told[0].contains("taken back, as "), "{told:?}");
    assert_eq!(mixed.visible().await, 0);
    for flip in &publication.flips {
        assert_eq!(mixed.shown(&flip.to).await, flip.from);
    }
    assert_eq!(services.state.publications().await, Ok(vec![]));
}

/// Another publication came after it, of one of its partitions: that one knows what is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_overtaken_is_left_as_it_is() {
    let mixed = Mixed::new(2).await;
    let Mixed { services, publication, .. } = &mixed;
    let newer =
        PartitionEntry { generation: "later".to_owned(), ..publication.flips[0].to.clone() };
    let other = Lease { name: "daily/2030-01-01".to_owned(), ..mixed.lease.clone() };
    let shapes = publication.shapes();
    let shape = shapes.iter().find(|table| table.name == newer.table).cloned().unwrap();
    services.catalog.publish(&[shape], std::slice::from_ref(&newer), &other).await.unwrap();
    let told = mixed.settle().await;
    assert!(told[0].contains("left as it is, as another publication came after it"), "{told:?}");
    assert_eq!(mixed.shown(&newer).await.map(|it| it.generation), Some("later".to_owned()));
    assert_eq!(mixed.visible().await, 1);
    assert!(!mixed.is_in_the_ledger().await);
}

/// A holder that is at work settles his own matters; one that was taken over settles nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_smaller_fence_settles_nothing() {
    let mixed = Mixed::new(2).await;
    let Mixed { services, publication, .. } = &mixed;
    let state = &services.state;
    let minute = Duration::from_secs(60);
    // Held by somebody alive.
    let holder = App::holder();
    let now = services.clock.now();
    let held = state.acquire(&publication.lease, &holder, minute, now).await.unwrap();
    assert_eq!(mixed.settle().await, [""; 0]);
    assert_eq!(open(services, &mixed.pipeline.name).await.unwrap()[0].1, None);
    assert_eq!(mixed.visible().await, 2);
    // gc leaves all that it needs: what is to come, and what it may be taken back to.
    let gone = mixed.gc().await;
    for flip in &publication.flips {
        let entries = [Some(&flip.to), flip.from.as_ref()];
        for file in entries.into_iter().flatten().flat_map(|entry| &entry.files) {
            let there = services.query.lake().holds(&file.path, file.bytes).await.unwrap();
            assert!(there, "{} went with {gone:?}", file.path);
        }
        let run = state.run(&publication.run).await.unwrap();
        assert!(run.is_some_and(|run| run.kind == RunKind::Pipeline));
    }
    // A later holder began it: it is not this one's to settle.
    let theirs = Publication { fence: held.fence + 7, ..publication.clone() };
    state.begin_publication(&theirs, &held).await.unwrap();
    state.release(&held).await.unwrap();
    let settled = settle(services, None, "next/2/y", &Heard::default()).await;
    assert_eq!(settled.unwrap_err().kind, FailureKind::Conflict);
    assert_eq!((mixed.visible().await, mixed.is_in_the_ledger().await), (2, false));
}

/// Nothing is settled while a service cannot be reached, and all of it once it can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settlement_that_fails_is_tried_by_the_next() {
    for (call, fault) in [
        (("catalog.publish", 0), Fault::Busy),
        (("catalog.publish", 0), Fault::LostAnswer),
        (("warehouse.load", 0), Fault::Denied),
        (("state.end_publication", 0), Fault::Busy),
        (("state.end_publication", 0), Fault::LostAnswer),
    ] {
        let mixed = Mixed::new(2).await;
        let services = Arc::new(services(&mixed.app, &Gate::failing(call, fault)).await);
        let heard = Heard::default();
        let failed = settle(&services, None, &App::holder(), &heard).await.unwrap_err();
        assert!(failed.message.contains("cannot be settled: "), "{failed}");
        let told = mixed.settle().await;
        let is_over = call.0 == "state.end_publication" && fault == Fault::LostAnswer;
        assert_eq!(told.len(), usize::from(!is_over), "{call:?} {fault:?}: {told:?}");
        assert_eq!(mixed.visible().await, mixed.publication.flips.len());
        assert!(mixed.is_in_the_ledger().await);
    }
    // The files of what is open are nobody's to remove, the run's own least of all.
    let mixed = Mixed::new(0).await;
    for file in mixed.publication.flips.iter().flat_map(|flip| &flip.to.files) {
        assert!(
            mixed.services.query.lake().holds(&file.path, file.bytes).await.unwrap(),
            "{file:?}"
        );
    }
    let of_tables: BTreeMap<&str, u64> =
        mixed.publication.flips.iter().map(|flip| (flip.to.table.as_str(), flip.to.rows)).collect();
    assert!(of_tables.len() > 2, "{of_tables:?}");
}
