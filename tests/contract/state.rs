use std::sync::Arc;
use std::time::Duration;

use recctl::adapters::local::{SqliteStateStore, host_name};
use recctl::pipeline::estimate::Estimate;
use recctl::pipeline::fingerprint::Fingerprint;
use recctl::pipeline::interval::Partition;
use recctl::pipeline::step::SchemaChange;
use recctl::ports::{
    ColumnEntry, FileEntry, Flip, Lease, Load, PartitionEntry, Publication, StateStore, TableEntry,
    TableLoad, TableShape,
};
use recctl::run::failure::{Failure, FailureKind};
use recctl::run::record::{
    Decision, Input, LedgerRow, Mark, MarkedAs, ModelRecord, ModelResult, RolledBack, RunId,
    RunKind, RunRecord, Status, StepRecord, StepReport,
};

use super::{at, day, kind, name};

const MINUTE: Duration = Duration::from_secs(60);

pub fn run(id: &str, started: i64) -> RunRecord {
    RunRecord {
        id: RunId::from_text(id),
        pipeline: name("daily"),
        date: day("2026-03-01"),
        status: Status::Running,
        started: at(started),
        finished: None,
        version: "0.1.0".to_owned(),
        failure: None,
        definition: Some("2cf2".to_owned()),
        planned: [(name("clean"), 3), (name("labels"), 1)].into(),
        kind: RunKind::Rollback,
        holder: Some("one/1/a".to_owned()),
        note: Some("back".to_owned()),
    }
}

fn step(step: &str, partition: Partition, started: i64) -> StepRecord {
    StepRecord {
        run: RunId::from_text("r1"),
        step: name(step),
        action: "sql".to_owned(),
        partition,
        status: Status::Succeeded,
        started: at(started),
        finished: Some(at(started + 1)),
        report: StepReport { rows_out: 7, note: Some("é".to_owned()), ..StepReport::default() },
        failure: None,
        earlier: Vec::new(),
    }
}

pub fn ledger_row(step: &str, date: &str, run: &str) -> LedgerRow {
    LedgerRow {
        pipeline: name("daily"),
        step: name(step),
        partition: Partition::Day(day(date)),
        fingerprint: Fingerprint::default().with("sql", step),
        run: RunId::from_text(run),
        done: at(0),
        output: serde_json::json!({"artifact": "models/1/model.tar.gz", "n": [1, 2.5]}),
        inputs: vec![Input::Table {
            table: name("raw"),
            partition: Partition::Day(day(date)),
            generation: run.to_owned(),
            fingerprint: "0123".to_owned(),
        }],
        mark: Some(Mark {
            set: MarkedAs::Done,
            by: "kim@here".to_owned(),
            at: at(0),
            reason: "made elsewhere".to_owned(),
            generation: None,
        }),
        rollback: Some(RolledBack { by: RunId::from_text("r9"), fingerprint: "f".repeat(16) }),
    }
}

fn decision(date: &str, winner: &str) -> Decision {
    let model = ModelRecord {
        step: name(winner),
        algorithm: "als".to_owned(),
        hyperparameters: [("factors".to_owned(), "32".to_owned())].into(),
        artifact: "models/x/model.tar.gz".to_owned(),
        tuned_by: None,
    };
    let metrics = [("ndcg@10".to_owned(), Estimate { value: 0.1, low: 0.05, high: 0.15 })].into();
    Decision {
        date: day(date),
        metric: "ndcg@10".to_owned(),
        winner: model.clone(),
        winner_name: winner.to_owned(),
        reason: "it is better".to_owned(),
        results: vec![ModelResult {
            name: winner.to_owned(),
            role: "candidate".to_owned(),
            model,
            metrics,
        }],
        users: 10,
        test_days: (day("2026-02-01"), day("2026-02-07")),
    }
}

pub async fn state_store_contract(open: impl AsyncFn(&str) -> Arc<dyn StateStore>) {
    runs(&*open("runs").await, &*open("runs").await).await;
    removed(&*open("removed").await).await;
    steps(&*open("steps").await).await;
    ledger(&*open("ledger").await, &*open("ledger").await).await;
    publications(&*open("publications").await, &*open("publications").await).await;
    decisions(&*open("decisions").await).await;
    lease(&*open("lease").await, &*open("lease").await).await;
    fencing(&*open("fencing").await, &*open("fencing").await).await;
    lease_race(open("race").await, open("race").await).await;
}

async fn runs(store: &dyn StateStore, other: &dyn StateStore) {
    assert_eq!(store.run(&RunId::from_text("r1")).await, Ok(None));
    assert_eq!(store.runs(10).await, Ok(vec![]));
    // The order is that of the starts, not of the ids or of the writes.
    for (id, started) in [("r2", 20), ("r3", 10), ("r1", 30)] {
        store.put_run(&run(id, started)).await.unwrap();
    }
    let ids = async |limit| {
        let runs = other.runs(limit).await.unwrap();
        runs.iter().map(|run| run.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ids(10).await, ["r1", "r2", "r3"]);
    assert_eq!(ids(2).await, ["r1", "r2"]);
    assert_eq!(ids(0).await, [""; 0]);
    assert_eq!(ids(usize::MAX).await.len(), 3);
    // Written again, the record is replaced whole.
    let ended = RunRecord {
        status: Status::Failed,
        finished: Some(at(99)),
        failure: Some(Failure::new(FailureKind::Quality, "too few rows").with_hint("look")),
        ..run("r2", 20)
    };
    store.put_run(&ended).await.unwrap();
    assert_eq!(other.run(&ended.id).await, Ok(Some(ended)));
    assert_eq!(ids(10).await, ["r1", "r2", "r3"]);
}

/// A run goes with its steps; others stay.
async fn removed(store: &dyn StateStore) {
    for id in ["r1", "r2"] {
        store.put_run(&run(id, 10)).await.unwrap();
        for number in 1..=120 {
            let day = Partition::Day(day("2026-03-01").plus(number));
            let record = StepRecord { run: RunId::from_text(id), ..step("a", day, 5) };
            store.put_step(&record).await.unwrap();
        }
    }
    let gone = RunId::from_text("r1");
    store.remove_run(&gone).await.unwrap();
    store.remove_run(&gone).await.unwrap();
    assert_eq!(store.run(&gone).await, Ok(None));
    assert_eq!(store.steps(&gone).await, Ok(vec![]));
    assert_eq!(store.runs(10).await, Ok(vec![run("r2", 10)]));
    assert_eq!(store.steps(&RunId::from_text("r2")).await.unwrap().len(), 120);
}

async fn steps(store: &dyn StateStore) {
    let whole = step("a", Partition::Whole, 5);
    let one_day = step("a", Partition::Day(day("2026-03-01")), 3);
    let action = StepRecord { action: "publish".to_owned(), ..step("a", Partition::Whole, 6) };
    let other_step = step("b", Partition::Whole, 4);
    let other_run = StepRecord { run: RunId::from_text("r2"), ..whole.clone() };
    for record in [&whole, &one_day, &action, &other_step, &other_run] {
        store.put_step(record).await.unwrap();
    }
    let all = store.steps(&RunId::from_text("r1")).await.unwrap();
    assert_eq!(all, [one_day.clone(), other_step.clone(), whole, action.clone()]);
    // Replaced, among its like only.
    let again = StepRecord { status: Status::Failed, ..step("a", Partition::Whole, 7) };
    store.put_step(&again).await.unwrap();
    let all = store.steps(&RunId::from_text("r1")).await.unwrap();
    assert_eq!(all, [one_day, other_step, action, again]);
    assert_eq!(store.steps(&RunId::from_text("r2")).await, Ok(vec![other_run]));
    assert_eq!(store.steps(&RunId::from_text("r3")).await, Ok(vec![]));
}

async fn held(store: &dyn StateStore) -> Lease {
    store.acquire("daily", "one/1/a", MINUTE, at(0)).await.unwrap()
}

async fn ledger(store: &dyn StateStore, other: &dyn StateStore) {
    let (daily, lease) = (name("daily"), held(store).await);
    assert_eq!(store.ledger(&daily).await, Ok(vec![]));
    store.put_ledger(&[], &lease).await.unwrap();
    let rows = [ledger_row("a", "2026-03-01", "r1"), ledger_row("a", "2026-03-02", "r1")];
    store.put_ledger(&rows, &lease).await.unwrap();
    let weekly = LedgerRow { pipeline: name("weekly"), ..rows[0].clone() };
    let replaced = ledger_row("a", "2026-03-02", "r2");
    let added = ledger_row("b", "2026-03-02", "r2");
    let three = [replaced.clone(), added.clone(), weekly.clone()];
    store.put_ledger(&three, &lease).await.unwrap();
    let mut all = other.ledger(&daily).await.unwrap();
    all.sort_by_key(|row| (row.step.clone(), row.partition));
    assert_eq!(all, [rows[0].clone(), replaced, added]);
    assert_eq!(other.ledger(&name("weekly")).await, Ok(vec![weekly]));
}

/// A publication of so many partitions.
pub fn publication(id: &str, lease: &Lease, partitions: u32) -> Publication {
    let table = TableEntry {
        name: "a".to_owned(),
        columns: vec![ColumnEntry {
            name: "id".to_owned(),
            kind: "Utf8".to_owned(),
            nullable: false,
        }],
        by_day: true,
        schema_change: SchemaChange::Stop,
    };
    let first = day("2026-03-01");
    let entry = |number: u32, run: &str| {
        let hash = sha256(&format!("{run} {number}"));
        PartitionEntry {
            table: "a".to_owned(),
            key: first.plus(number).to_string(),
            date: Some(first.plus(number)),
            generation: run.to_owned(),
            files: vec![FileEntry { path: format!("a/{hash}"), bytes: 9, rows: 7 }],
            rows: 7,
            content_hash: hash[..32].to_owned(),
            fingerprint: hash[32..48].to_owned(),
            published: at(0),
        }
    };
    let flip = |number: u32| Flip {
        to: entry(number, "r1"),
        from: (number > 0).then(|| entry(number, "r0")),
    };
    let load = TableLoad {
        table: table.clone(),
        date: Some(first),
        files: Vec::new(),
        rows: 7,
        layout: Default::default(),
    };
    Publication {
        id: id.to_owned(),
        pipeline: name("daily"),
        run: RunId::from_text("r1"),
        lease: lease.name.clone(),
        fence: lease.fence,
        begun: at(i64::from(partitions)),
        tables: vec![TableShape {
            schema_change: SchemaChange::Allow,
            before: Some(table.clone()),
            table,
        }],
        flips: (0..partitions).map(flip).collect(),
        loads: vec![Load { token: "r1/x".to_owned(), run: "r1".to_owned(), tables: vec![load] }],
        rows: vec![ledger_row("a", "2026-03-01", "r1")],
    }
}

fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is about to become visible is known to whoever comes next, until the ledger says it.
async fn publications(store: &dyn StateStore, other: &dyn StateStore) {
    let (daily, lease) = (name("daily"), held(store).await);
    assert_eq!(other.publications().await, Ok(vec![]));
    // The second takes several items of DynamoDB.
    let (small, large) = (publication("r1/b/2", &lease, 3), publication("r1/a", &lease, 12_000));
    for one in [&large, &small] {
        store.begin_publication(one, &lease).await.unwrap();
    }
    assert_eq!(other.publications().await, Ok(vec![small.clone(), large.clone()]));
    // Another attempt takes the place of the first, also where it is smaller.
    let less = Publication { begun: at(1), ..publication("r1/a", &lease, 2) };
    store.begin_publication(&less, &lease).await.unwrap();
    assert_eq!(other.publications().await, Ok(vec![less.clone(), small.clone()]));

    // Ended with its rows, all or none.
    let rows = [ledger_row("a", "2026-03-01", "r1"), ledger_row("b", "2026-03-01", "r1")];
    store.end_publication(&less.id, &rows, &lease).await.unwrap();
    assert_eq!(other.publications().await, Ok(vec![small.clone()]));
    assert_eq!(other.ledger(&daily).await.unwrap().len(), 2);
    let more = [ledger_row("c", "2026-03-01", "r1")];
    store.end_publication(&less.id, &more, &lease).await.unwrap();
    assert_eq!(other.ledger(&daily).await.unwrap().len(), 3);

    // Who was taken over begins and ends nothing.
    let second = other.acquire("daily", "two/2/b", MINUTE, at(60)).await.unwrap();
    let late = publication("r1/late", &lease, 1);
    assert_eq!(kind(store.begin_publication(&late, &lease).await), FailureKind::Conflict);
    let rows = [ledger_row("d", "2026-03-01", "r1")];
    assert_eq!(kind(store.end_publication(&small.id, &rows, &lease).await), FailureKind::Conflict);
    assert_eq!(store.publications().await, Ok(vec![small.clone()]));
    assert_eq!(store.ledger(&daily).await.unwrap().len(), 3);
    other.end_publication(&small.id, &[], &second).await.unwrap();
    assert_eq!(store.publications().await, Ok(vec![]));
    assert_eq!(store.ledger(&daily).await.unwrap().len(), 3);
}

async fn decisions(store: &dyn StateStore) {
    let (daily, select, lease) = (name("daily"), name("winner"), held(store).await);
    let put = async |decision| store.put_decision(&daily, &select, &decision, &lease).await;
    let before = async |date| store.decision_before(&daily, &select, day(date)).await.unwrap();
    assert_eq!(before("2026-03-01").await, None);
    for (date, winner) in [("2026-03-03", "als"), ("2026-02-28", "item_knn")] {
        put(decision(date, winner)).await.unwrap();
    }
    assert_eq!(before("2026-02-28").await, None);
    assert_eq!(before("2026-03-01").await, Some(decision("2026-02-28", "item_knn")));
    // Before, not at.
    assert_eq!(before("2026-03-03").await, Some(decision("2026-02-28", "item_knn")));
    assert_eq!(before("2027-01-01").await, Some(decision("2026-03-03", "als")));
    put(decision("2026-03-03", "bpr")).await.unwrap();
    assert_eq!(before("2027-01-01").await, Some(decision("2026-03-03", "bpr")));
    for (pipeline, step) in [("daily", "other"), ("weekly", "winner")] {
        let found = store.decision_before(&name(pipeline), &name(step), day("2027-01-01")).await;
        assert_eq!(found, Ok(None));
    }
}

async fn lease(store: &dyn StateStore, other: &dyn StateStore) {
    let first = store.acquire("daily", "one/1/a", MINUTE, at(0)).await.unwrap();
    assert_eq!((first.name.as_str(), first.holder.as_str()), ("daily", "one/1/a"));
    // Held, until the last instant.
    let refused = other.acquire("daily", "two/2/b", MINUTE, at(59)).await.unwrap_err();
    assert_eq!(refused.kind, FailureKind::Held);
    assert_eq!(
        refused.message,
        "`daily` is held by process 1 on host `one` since 2036-03-02T03:00:00Z; \
         its lease lasts until 2036-03-02T03:01:00Z"
    );
    let holding = other.holding("daily", at(59)).await.unwrap().unwrap();
    assert_eq!((holding.holder.as_str(), holding.since), ("one/1/a", Some(at(0))));
    assert_eq!(holding.until, at(60));
    assert_eq!(other.holding("daily", at(60)).await, Ok(None));
    assert_eq!(other.holding("monthly", at(0)).await, Ok(None));
    // Another name is another lease.
    other.acquire("weekly", "two/2/b", MINUTE, at(0)).await.unwrap();

    // Renewed, in both ways.
    store.renew(&first, MINUTE, at(50)).await.unwrap();
    assert_eq!(kind(other.acquire("daily", "two/2/b", MINUTE, at(109)).await), FailureKind::Held);
    let again = store.acquire("daily", "one/1/a", MINUTE, at(100)).await.unwrap();
    assert!(again.fence >= first.fence);
    assert_eq!(kind(other.acquire("daily", "two/2/b", MINUTE, at(159)).await), FailureKind::Held);
    // A renewal does not change since when it is held.
    assert_eq!(other.holding("daily", at(159)).await.unwrap().unwrap().since, Some(at(0)));
    // From whom it was taken is not known the second time.
    assert!(!first.seized && again.seized, "{first:?} {again:?}");

    // Time is up: taken over. The first holder learns of it and disturbs nobody.
    let second = other.acquire("daily", "two/2/b", MINUTE, at(160)).await.unwrap();
    assert!(second.fence > again.fence && second.seized, "{second:?} {again:?}");
    assert_eq!(kind(store.renew(&again, MINUTE, at(161)).await), FailureKind::Conflict);
    store.release(&again).await.unwrap();
    assert_eq!(kind(store.acquire("daily", "one/1/a", MINUTE, at(162)).await), FailureKind::Held);
    other.renew(&second, MINUTE, at(163)).await.unwrap();

    // Anybody can ask who holds it.
    let asked = async |seconds| {
        let held = store.holding("daily", at(seconds)).await.unwrap();
        held.map(|held| (held.holder, held.until))
    };
    assert_eq!(asked(222).await, Some(("two/2/b".to_owned(), at(223))));
    assert_eq!(asked(223).await, None, "its time is up");
    assert_eq!(store.holding("monthly", at(0)).await, Ok(None), "nobody ever had it");

    // Given back: free at once; the fence goes on growing.
    other.release(&second).await.unwrap();
    assert_eq!(asked(200).await, None);
    other.release(&second).await.unwrap();
    assert_eq!(kind(other.renew(&second, MINUTE, at(164)).await), FailureKind::Conflict);
    let third = store.acquire("daily", "one/1/a", MINUTE, at(164)).await.unwrap();
    assert!(third.fence > second.fence && !third.seized, "{third:?}");
    assert_eq!(other.holding("daily", at(164)).await.unwrap().unwrap().holder, "one/1/a");
    // A holder that comes again after it was taken over is told by its fence.
    let fourth = other.acquire("daily", "two/2/b", MINUTE, at(999)).await.unwrap();
    other.release(&second).await.unwrap();
    other.renew(&fourth, MINUTE, at(1000)).await.unwrap();
    assert_eq!(kind(other.renew(&second, MINUTE, at(1000)).await), FailureKind::Conflict);
}

/// Only who holds the lease writes what later runs rely on.
async fn fencing(store: &dyn StateStore, other: &dyn StateStore) {
    let (daily, winner) = (name("daily"), name("winner"));
    let write = async |store: &dyn StateStore, lease: &Lease, run: &str| {
        let rows = [ledger_row("a", "2026-03-01", run), ledger_row("b", "2026-03-01", run)];
        let ledger = store.put_ledger(&rows, lease).await;
        let decided = decision("2026-03-01", run);
        assert_eq!(store.put_decision(&daily, &winner, &decided, lease).await, ledger);
        ledger
    };
    let refused = |written: Result<(), Failure>, text: &str| {
        let failure = written.unwrap_err();
        assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Conflict, text));
    };
    let known = async || {
        let ledger = store.ledger(&daily).await.unwrap();
        let decided = store.decision_before(&daily, &winner, day("2026-03-02")).await.unwrap();
        let mut runs: Vec<_> = ledger.iter().map(|row| row.run.to_string()).collect();
        runs.extend(decided.map(|decision| decision.winner_name));
        runs
    };
    let nobody = super::fenced("daily", 1);
    refused(write(store, &nobody, "r0").await, "`daily` is not leased any more");
    assert_eq!(known().await, [""; 0]);

    let first = store.acquire("daily", "one/1/a", MINUTE, at(0)).await.unwrap();
    write(store, &first, "r1").await.unwrap();
    // Taken over while it slept.
    let second = other.acquire("daily", "two/2/b", MINUTE, at(60)).await.unwrap();
    refused(write(store, &first, "r2").await, "`daily` was taken over by `two/2/b`");
    assert_eq!(known().await, ["r1", "r1", "r1"]);
    write(other, &second, "r3").await.unwrap();
    assert_eq!(known().await, ["r3", "r3", "r3"]);
    // Given back; and taken again by the first, which does not bring its first lease back.
    other.release(&second).await.unwrap();
    refused(write(other, &second, "r4").await, "`daily` is not leased any more");
    let third = store.acquire("daily", "one/1/a", MINUTE, at(70)).await.unwrap();
    refused(write(store, &first, "r5").await, "`daily` was taken over by `one/1/a`");
    assert_eq!(known().await, ["r3", "r3", "r3"]);
    write(store, &third, "r6").await.unwrap();
    // That its time is up matters only if somebody else came.
    store.renew(&third, Duration::ZERO, at(80)).await.unwrap();
    write(store, &third, "r7").await.unwrap();
    assert_eq!(known().await, ["r7", "r7", "r7"]);
}

/// How often two race for a lease.
const RACES: i64 = 120;

/// Of two that want a free lease exactly one gets it, with a fence that nobody had before.
async fn lease_race(one: Arc<dyn StateStore>, two: Arc<dyn StateStore>) {
    let mut winners = [0, 0];
    let mut fence = 0;
    for round in 0..RACES {
        // Free because nobody had it, because it was given back, or because time is up.
        let now = at(round * 120);
        let race = |store: &Arc<dyn StateStore>, host: &'static str| {
            let (store, holder) = (Arc::clone(store), format!("{host}/{round}"));
            tokio::spawn(async move { store.acquire("daily", &holder, MINUTE, now).await })
        };
        let (first, second) = if round % 2 == 0 {
            let first = race(&one, "one/1/a");
            (first, race(&two, "two/2/b"))
        } else {
            let second = race(&two, "two/2/b");
            (race(&one, "one/1/a"), second)
        };
        let outcomes = [first.await.unwrap(), second.await.unwrap()];
        let won: Vec<usize> = (0..2).filter(|index| outcomes[*index].is_ok()).collect();
        assert_eq!(won.len(), 1, "round {round}: {outcomes:?}");
        winners[won[0]] += 1;
        let [first, second] = outcomes;
        let (lease, loser) = match (first, second) {
            (Ok(lease), Err(loser)) | (Err(loser), Ok(lease)) => (lease, loser),
            other => panic!("{other:?}"),
        };
        assert_eq!(loser.kind, FailureKind::Held);
        assert!(loser.message.contains(&format!("on host `{}`", &lease.holder[..3])), "{loser}");
        assert!(lease.fence > fence, "round {round}");
        fence = lease.fence;
        if round % 3 == 0 {
            one.release(&lease).await.unwrap();
        }
    }
    assert_eq!(winners[0] + winners[1], RACES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_state_store() {
    let folder = tempfile::tempdir().unwrap();
    state_store_contract(async |name| {
        let path = folder.path().join(format!("{name}.db"));
        let store: Arc<dyn StateStore> =
            Arc::new(SqliteStateStore::open(&path, "here").await.unwrap());
        store
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn sqlite_state_store_takes_over_from_the_dead() {
    let folder = tempfile::tempdir().unwrap();
    let host = host_name();
    let store = SqliteStateStore::open(&folder.path().join("s.db"), &host).await.unwrap();
    let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let holder = format!("{host}/{}/x", child.id());
    let first = store.acquire("daily", &holder, MINUTE, at(0)).await.unwrap();
    assert_eq!(kind(store.acquire("daily", "other/1/y", MINUTE, at(1)).await), FailureKind::Held);
    child.kill().unwrap();
    child.wait().unwrap();
    let second = store.acquire("daily", "other/1/y", MINUTE, at(1)).await.unwrap();
    assert!(second.fence > first.fence);
    // A dead process of another machine cannot be told from a living one.
    assert_eq!(kind(store.acquire("daily", &holder, MINUTE, at(2)).await), FailureKind::Held);
}
