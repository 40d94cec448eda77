//! A fault in every call of every port in turn: the run goes on to the end, or it stops in a way
//! that the next one goes on from. Either way the day ends as one that nothing happened to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use recctl::app::{App, Opening};
use recctl::engine::settle::settle;
use recctl::engine::{RunOptions, gather, run};
use recctl::pipeline::graph::Pipeline;
use recctl::pipeline::retries::{Retries, RetryPolicy};
use recctl::plan::plan;
use recctl::ports::Clock;
use recctl::run::event::{EventSink, RunEvent};
use recctl::run::failure::{Failure, FailureKind, Outcome};
use recctl::run::record::{RunId, Status};
use recctl::settings::Settings;
use recctl::steps::context::Services;
use tokio_util::sync::CancellationToken;

use super::faulty::{Call, FAULTS, Fault, Gate, gated};
use crate::sandbox::{DAY, NEXT_DAY, Sandbox};

/// How many of the faults a test run tries; all of them where this variable is `1`, and the second
/// quarter of them where it is `2/4`.
const ALL: &str = "RECCTL_TEST_ALL_FAULTS";
const SOME: usize = 14;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
}

#[derive(Default)]
pub struct Heard(pub std::sync::Mutex<Vec<RunEvent>>);

impl EventSink for Heard {
    fn emit(&self, event: RunEvent) {
        self.0.lock().unwrap().push(event);
    }
}

impl Heard {
    /// What people were told.
    pub fn notices(&self) -> Vec<String> {
        let events = self.0.lock().unwrap();
        let notices = events.iter().filter_map(|event| match event {
            RunEvent::Noticed { message } => Some(message.clone()),
            _ => None,
        });
        notices.collect()
    }

    /// Whether a step ended with this failure.
    fn told_of(&self, failure: &Failure) -> bool {
        let events = self.0.lock().unwrap();
        events.iter().any(|event| match event {
            RunEvent::StepFinished { failure: Some(told), .. } => told == failure,
            _ => false,
        })
    }

    fn retries(&self) -> usize {
        let events = self.0.lock().unwrap();
        events.iter().filter(|event| matches!(event, RunEvent::StepRetried { .. })).count()
    }
}

/// The prepared project with one quick model in place of all.
pub fn project() -> Sandbox {
    let sandbox = Sandbox::prepared();
    let path = sandbox.project().join("pipelines.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("      als:\n").unwrap();
    let (_, after) = rest.split_once("      popularity:\n").unwrap();
    let (popularity, rest) = after.split_once("      buy_again:\n").unwrap();
    let (_, after) = rest.split_once("      recs:\n").unwrap();
    let after = after.replace("model: winner", "model: popularity");
    let text = format!("{before}      popularity:\n{popularity}      recs:\n{after}");
    std::fs::write(&path, text).unwrap();
    sandbox
}

pub fn app(sandbox: &Sandbox) -> App {
    let project = sandbox.project().to_str().unwrap().to_owned();
    App::new(Arguments::parse_from(["recctl", "--project", &project, "--threads", "2"]).settings)
}

pub async fn pipeline(app: &App, delay: Duration) -> Arc<Pipeline> {
    let pipeline = app.pipeline("daily", &BTreeMap::new()).await.unwrap();
    let default = Retries { attempts: 3, delay, max_delay: delay };
    let retries = RetryPolicy { default, ..RetryPolicy::default() };
    Arc::new(Pipeline { retries, ..Pipeline::clone(&pipeline) })
}

pub async fn services(app: &App, gate: &Arc<Gate>) -> Services {
    let target = app.target(Opening::Create).await.unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_recctl"));
    let trainer = target.local.as_ref().unwrap().trainer(program, 2).unwrap();
    let services =
        Services { trainer: Arc::new(trainer), ..gated(&target.services, &Gate::open()) };
    gated(&services, gate)
}

/// Runs the day behind a gate.
pub async fn attempt(
    app: &App,
    pipeline: &Arc<Pipeline>,
    date: &str,
    gate: &Arc<Gate>,
    heard: &Arc<Heard>,
) -> Outcome<(Status, Option<Failure>)> {
    attempt_at(app, pipeline, date, gate, heard, None).await
}

/// The same by another clock.
pub async fn attempt_at(
    app: &App,
    pipeline: &Arc<Pipeline>,
    date: &str,
    gate: &Arc<Gate>,
    heard: &Arc<Heard>,
    clock: Option<Arc<dyn Clock>>,
) -> Outcome<(Status, Option<Failure>)> {
    let mut services = services(app, gate).await;
    services.clock = clock.unwrap_or(services.clock);
    let services = Arc::new(services);
    settle(&services, Some(&pipeline.name), &App::holder(), heard.as_ref()).await?;
    let date = date.parse().unwrap();
    let facts = gather(&services, pipeline, &[date], false).await?;
    let plan = plan(pipeline, date, &facts)?;
    let id = RunId::new(&pipeline.name, date, services.clock.now(), rand::random());
    let options = RunOptions {
        parallel: 1,
        target: "local".to_owned(),
        holder: App::holder(),
        forced: false,
        serve: false,
        deadline: true,
        places: None,
        stop_timeout: Duration::from_secs(5),
    };
    let events = Arc::clone(heard) as Arc<dyn EventSink>;
    run(services, Arc::clone(pipeline), plan, id, options, events, CancellationToken::new()).await
}

/// What somebody outside sees of the day, without what names the run.
#[derive(Debug, PartialEq)]
pub struct Seen {
    tables: BTreeMap<(String, String), (u64, String)>,
    warehouse: BTreeMap<String, i64>,
    served: Vec<recctl::ports::ServingItem>,
    ledger: usize,
}

pub async fn seen(app: &App, sandbox: &Sandbox, pipeline: &Pipeline) -> Seen {
    let services = services(app, &Gate::open()).await;
    let mut tables = BTreeMap::new();
    for table in services.catalog.tables().await.unwrap() {
        for entry in services.catalog.partitions(&table.name).await.unwrap() {
            for file in &entry.files {
                assert!(
                    services.query.lake().holds(&file.path, file.bytes).await.unwrap(),
                    "{file:?}"
                );
            }
            tables.insert((entry.table, entry.key), (entry.rows, entry.content_hash));
        }
    }
    let warehouse = rusqlite::Connection::open(sandbox.home().join("warehouse.db")).unwrap();
    let mut names = warehouse
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'recctl%'")
        .unwrap();
    let names: Vec<String> =
        names.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    let count = |name: &String| {
        let sql = format!("SELECT count(*) FROM \"{name}\"");
        warehouse.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    let warehouse = names.iter().map(|name| (name.clone(), count(name))).collect();
    let generations = services.serving.generations("recommendations").await.unwrap();
    assert_eq!(generations.iter().filter(|one| one.visible).count(), 1, "{generations:?}");
    let mut served = Vec::new();
    for user in (1..=200).map(|user| format!("user#u{user:07}")) {
        let list = services.serving.get("recommendations", &user).await.unwrap();
        served.extend(list.map(|list| list.item));
    }
    assert!(served.len() > 20, "{} lists", served.len());
    let ledger = services.state.ledger(&pipeline.name).await.unwrap().len();
    Seen { tables, warehouse, served, ledger }
}

/// Number of generations of the served table, whole or not.
async fn generations(app: &App) -> usize {
    let services = services(app, &Gate::open()).await;
    services.serving.generations("recommendations").await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_in_any_call_ends_well_or_can_be_gone_on_from() {
    let sandbox = project();
    let app_of = app(&sandbox);
    let pipeline = pipeline(&app_of, Duration::from_millis(1)).await;
    let gate = Gate::open();
    let ended = attempt(&app_of, &pipeline, NEXT_DAY, &gate, &Arc::default()).await.unwrap();
    assert_eq!(ended.0, Status::Succeeded, "{:?}", ended.1);
    let undisturbed = seen(&app_of, &sandbox, &pipeline).await;
    let calls: Vec<Call> = gate
        .calls()
        .into_iter()
        // How often a training is asked for its state, and a lease is renewed, is up to the clock.
        .map(|(name, count)| match name {
            "trainer.wait" | "state.renew" => (name, 1),
            _ => (name, count),
        })
        .flat_map(|(name, count)| (0..count).map(move |at| (name, at)))
        .collect();
    let mut faults: Vec<(Call, Fault)> =
        calls.iter().flat_map(|call| FAULTS.map(|fault| (*call, fault))).collect();
    assert!(faults.len() > 100, "{calls:?}");
    match std::env::var(ALL) {
        Err(_) => {
            // Others at each step of the count, so that every port and every kind is among them.
            let step = faults.len().div_ceil(SOME);
            let step = if step.is_multiple_of(FAULTS.len()) { step + 1 } else { step };
            faults = faults.into_iter().step_by(step).collect();
        }
        Ok(part) => {
            let (part, of) = part.split_once('/').unwrap_or((&part, "1"));
            let (part, of): (usize, usize) = (part.parse().unwrap(), of.parse().unwrap());
            println!("part {part} of {of} of {} faults in {} calls", faults.len(), calls.len());
            let size = faults.len().div_ceil(of);
            faults = faults.into_iter().skip((part - 1) * size).take(size).collect();
        }
    }
    let (mut straight, mut stopped) = (0, 0);
    let number = faults.len();
    for (at, (call, fault)) in faults.into_iter().enumerate() {
        println!("{} of {number}: {fault:?} {call:?}", at + 1);
        let sandbox = project();
        let app = app(&sandbox);
        let what = format!("{fault:?} {call:?}");
        let heard = Arc::new(Heard::default());
        let gate = Gate::failing(call, fault);
        let ended = attempt(&app, &pipeline, NEXT_DAY, &gate, &heard).await;
        // Who called tells of what no step told.
        let is_of_a_step = ended.is_ok();
        match ended {
            Ok((Status::Succeeded, _)) => straight += 1,
            Ok((Status::Failed, Some(failure))) | Err(failure) => {
                stopped += 1;
                assert_eq!(heard.told_of(&failure), is_of_a_step, "{what}: {failure:?}");
                let kind = match fault {
                    Fault::Busy | Fault::LostAnswer => FailureKind::Transient,
                    Fault::Denied => FailureKind::Denied,
                };
                assert_eq!(failure.kind, kind, "{what}: {failure:?}");
                assert!(failure.message.contains(call.0), "{what}: {failure:?}");
                let gate = Gate::open();
                let ended = attempt(&app, &pipeline, NEXT_DAY, &gate, &heard).await.unwrap();
                // Where the fault came last, all may have been done.
                let done = [Status::Succeeded, Status::Unchanged];
                assert!(done.contains(&ended.0), "{what}, then: {ended:?}");
            }
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(seen(&app, &sandbox, &pipeline).await, undisturbed, "{what}");
        assert_eq!(generations(&app).await, 2, "{what}: the day before and this day, once");
        let again = attempt(&app, &pipeline, NEXT_DAY, &Gate::open(), &heard).await.unwrap();
        assert_eq!(again.0, Status::Unchanged, "{what}, at last");
    }
    assert!(straight > 0 && stopped > 0, "{straight} {stopped}");
    println!("{straight} runs went on by themselves, {stopped} were gone on from");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_is_tried_as_often_as_it_may_and_no_more() {
    let sandbox = project();
    let app = app(&sandbox);
    let pipeline = pipeline(&app, Duration::from_millis(1)).await;
    let heard = Arc::new(Heard::default());
    let gate = Gate::failing(("warehouse.load", 0), Fault::Busy);
    let ended = attempt(&app, &pipeline, NEXT_DAY, &gate, &heard).await.unwrap();
    assert_eq!((ended.0, heard.retries()), (Status::Succeeded, 1));
    let state = sandbox.state().await;
    let run = recctl::ports::StateStore::runs(&state, 1).await.unwrap().remove(0);
    let steps = recctl::ports::StateStore::steps(&state, &run.id).await.unwrap();
    let tried: Vec<_> = steps.iter().filter(|step| !step.earlier.is_empty()).collect();
    assert_eq!(tried.len(), 1, "{tried:?}");
    assert_eq!(tried[0].earlier[0].failure.message, "too busy for `warehouse.load`");
    assert_eq!((tried[0].action.as_str(), tried[0].status), ("publish", Status::Succeeded));

    let none = RetryPolicy { budget: 0, ..pipeline.retries.clone() };
    let once = Arc::new(Pipeline { retries: none, ..Pipeline::clone(&pipeline) });
    let heard = Arc::new(Heard::default());
    let gate = Gate::failing(("warehouse.load", 0), Fault::Busy);
    std::fs::remove_file(sandbox.home().join("catalog.db")).unwrap();
    let ended = attempt(&app, &once, DAY, &gate, &heard).await.unwrap();
    assert_eq!((ended.0, heard.retries()), (Status::Failed, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_stopped_waits_for_no_retry() {
    let sandbox = project();
    let app = app(&sandbox);
    let pipeline = pipeline(&app, Duration::from_secs(3_600)).await;
    let gate = Gate::failing(("serving.begin", 0), Fault::Busy);
    let services = Arc::new(services(&app, &gate).await);
    let date = NEXT_DAY.parse().unwrap();
    let facts = gather(&services, &pipeline, &[date], false).await.unwrap();
    let plan = plan(&pipeline, date, &facts).unwrap();
    let id = RunId::new(&pipeline.name, date, services.clock.now(), 7);
    let options = RunOptions {
        parallel: 2,
        target: "local".to_owned(),
        holder: App::holder(),
        forced: false,
        serve: false,
        deadline: true,
        places: None,
        stop_timeout: Duration::from_secs(5),
    };
    let stop = CancellationToken::new();
    let heard = Arc::new(StopsAtRetry(stop.clone()));
    let ended = run(services, pipeline, plan, id, options, heard, stop);
    let ended = tokio::time::timeout(Duration::from_secs(120), ended).await.unwrap().unwrap();
    // It says what went wrong, not only that it was stopped.
    assert_eq!(ended.1.unwrap().message, "too busy for `serving.begin`");
}

struct StopsAtRetry(CancellationToken);

impl EventSink for StopsAtRetry {
    fn emit(&self, event: RunEvent) {
        if let RunEvent::StepRetried { .. } = event {
            self.0.cancel();
        }
    }
}

/// What was told of deadlines, in order.
#[derive(Default)]
struct Deadlines(std::sync::Mutex<Vec<String>>);

impl EventSink for Deadlines {
    fn emit(&self, event: RunEvent) {
        let told = match event {
            RunEvent::DeadlineNeared { .. } => "neared".to_owned(),
            RunEvent::DeadlineMissed { stops, .. } => format!("missed, stops: {stops}"),
            _ => return,
        };
        self.0.lock().unwrap().push(told);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_late_is_stopped_or_told_of() {
    use recctl::pipeline::schedule::{Deadline, Missed};
    let sandbox = project();
    let app = app(&sandbox);
    let pipeline = pipeline(&app, Duration::from_secs(3_600)).await;
    for (missed, told) in
        [(Missed::Stop, "missed, stops: true"), (Missed::Warn, "missed, stops: false")]
    {
        let deadline = Deadline {
            at: None,
            after_schedule: None,
            after_start: Some(Duration::from_millis(100)),
            average: None,
            warn_at: 0.5,
            missed,
        };
        let pipeline =
            Arc::new(Pipeline { deadline: Some(deadline), ..Pipeline::clone(&pipeline) });
        let services = Arc::new(services(&app, &Gate::open()).await);
        let date = NEXT_DAY.parse().unwrap();
        let facts = gather(&services, &pipeline, &[date], false).await.unwrap();
        let plan = plan(&pipeline, date, &facts).unwrap();
        let id = RunId::new(&pipeline.name, date, services.clock.now(), rand::random());
        let options = RunOptions {
            parallel: 1,
            places: None,
            target: "local".to_owned(),
            holder: App::holder(),
            forced: false,
            serve: false,
            deadline: true,
            stop_timeout: Duration::from_secs(20),
        };
        let heard = Arc::new(Deadlines::default());
        let events = Arc::clone(&heard) as Arc<dyn EventSink>;
        let stop = CancellationToken::new();
        let (status, failure) =
            run(services, pipeline, plan, id, options, events, stop.clone()).await.unwrap();
        assert_eq!(*heard.0.lock().unwrap(), ["neared", told]);
        assert!(!stop.is_cancelled(), "the run alone was stopped");
        match missed {
            Missed::Stop => {
                assert_eq!(status, Status::Failed);
                assert_eq!(failure.unwrap().kind, FailureKind::Exceeded);
            }
            // It goes on where the one that was stopped ended.
            Missed::Warn => assert_eq!((status, failure), (Status::Succeeded, None)),
        }
    }
}
