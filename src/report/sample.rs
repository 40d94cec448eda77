//! Runs for the tests of this folder: made up, but of the shape that the engine gives.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};

use super::{Now, OutputMode, Setup, reporter};
use crate::pipeline::estimate::Estimate;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::run::event::{
    EventSink, FinishedUnit, PlannedUnit, Progress, RunEvent, RunSummary, Served, Unit,
};
use crate::run::failure::{Failure, FailureKind, Problem, Rule};
use crate::run::record::{
    Decision, ModelRecord, ModelResult, RowCounts, RowsOf, RunId, Status, StepReport,
};

/// Days before the run's own.
pub const HISTORY: u32 = 3;

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub fn date() -> LogicalDate {
    "2026-03-01".parse().unwrap()
}

pub fn run() -> RunId {
    RunId::from_text("daily-20260301-20260302T031500-9f3a")
}

pub fn unit(step: &str, action: &'static str, partition: Partition) -> Unit {
    Unit { step: name(step), action, partition }
}

pub fn planned(unit: Unit, reason: &str) -> PlannedUnit {
    PlannedUnit { unit, reason: reason.to_owned() }
}

pub fn clean_report(scale: u64) -> StepReport {
    let counts = RowCounts {
        of: RowsOf::Raw,
        read: 41_240 * scale,
        kept: 40_112 * scale,
        quarantined: 41 * scale,
        filtered: 262 * scale,
        duplicates: 825 * scale,
    };
    StepReport {
        rows_in: counts.read,
        rows_out: counts.kept,
        bytes_in: 12_000_000,
        counts: Some(counts),
        reasons: BTreeMap::from([
            ("bot traffic".to_owned(), 200 * scale),
            ("no user".to_owned(), 62 * scale),
            ("not JSON".to_owned(), 30 * scale),
            ("ts is not a time".to_owned(), 11 * scale),
        ]),
        peak_memory: Some(212_000_000),
        ..StepReport::default()
    }
}

fn rows(rows_in: u64, rows_out: u64) -> StepReport {
    StepReport { rows_in, rows_out, peak_memory: Some(96_000_000), ..StepReport::default() }
}

/// A step of the timeline: seconds to wait, then the event.
pub type Moment = (f64, RunEvent);

/// Collects a run: its events and what its summary says.
struct Builder {
    moments: Vec<Moment>,
    summary: RunSummary,
    seconds: f64,
}

impl Builder {
    fn wait(&mut self, seconds: f64, event: RunEvent) {
        self.seconds += seconds;
        self.moments.push((seconds, event));
    }

    fn start(&mut self, unit: &Unit) {
        self.wait(0.0, RunEvent::StepStarted { unit: unit.clone() });
    }

    fn end(
        &mut self,
        unit: Unit,
        status: Status,
        seconds: f64,
        report: StepReport,
        why: Option<Failure>,
    ) {
        self.summary.units.push(FinishedUnit {
            unit: unit.clone(),
            status,
            seconds,
            report: report.clone(),
        });
        self.wait(
            seconds,
            RunEvent::StepFinished {
                unit,
                status,
                seconds,
                report: Box::new(report),
                failure: why,
            },
        );
    }

    fn whole(&mut self, unit: Unit, seconds: f64, report: StepReport) {
        self.start(&unit);
        self.end(unit, Status::Succeeded, seconds, report, None);
    }

    fn finish(mut self, status: Status) -> Vec<Moment> {
        self.summary.peak_memory = Some(412_000_000);
        let (seconds, summary) = (self.seconds, Box::new(self.summary));
        self.moments.push((0.0, RunEvent::RunFinished { run: run(), status, seconds, summary }));
        self.moments
    }
}

/// The run up to the end of its SQL steps.
fn begun() -> Builder {
    let mut to_do = Vec::new();
    for day in date().window(HISTORY + 1) {
        let day = Partition::Day(day);
        for step in ["clean_events", "interactions"] {
            to_do.push(planned(unit(step, "sql", day), "missing"));
        }
        to_do.push(planned(unit("publish", "publish", day), "missing"));
    }
    for (step, action) in [
        ("als", "tune"),
        ("item_knn", "train"),
        ("winner", "select"),
        ("recs", "score"),
        ("serve", "load"),
    ] {
        to_do.push(planned(unit(step, action, Partition::Whole), "inputs changed"));
    }
    let days: Vec<PlannedUnit> = to_do.clone();
    let mut run_ = Builder { moments: Vec::new(), summary: RunSummary::default(), seconds: 0.0 };
    run_.wait(0.0, RunEvent::Noticed { message: "no data yet: making a sample".into() });
    for done in [0, 400_000, 1_000_000] {
        run_.wait(1.1, RunEvent::SampleProgressed { done, total: 1_000_000 });
    }
    run_.wait(
        0.0,
        RunEvent::RunStarted {
            run: run(),
            pipeline: name("daily"),
            date: date(),
            target: "local".into(),
            to_do,
            unchanged: 2,
        },
    );
    for PlannedUnit { unit, .. } in days {
        let own = unit.partition.date() == Some(date());
        match (unit.partition, unit.step.as_str()) {
            (Partition::Whole, _) => {}
            (_, "clean_events") => {
                run_.start(&unit);
                if own {
                    for step in 1..=3 {
                        let progress = Progress {
                            rows: 411_000 * step,
                            bytes: 170_000_000 * step,
                            total_bytes: 512_000_000,
                            ..Progress::default()
                        };
                        run_.wait(1.0, RunEvent::StepProgressed { unit: unit.clone(), progress });
                    }
                }
                run_.end(
                    unit,
                    Status::Succeeded,
                    0.84,
                    clean_report(if own { 1 } else { 10 }),
                    None,
                );
            }
            (_, "interactions") => run_.whole(unit, 0.31, rows(40_112, 38_044)),
            (_, _) => run_.whole(unit, 0.05, StepReport::default()),
        }
    }
    run_
}

fn trial(number: usize, result: Result<f64, String>) -> RunEvent {
    RunEvent::TrialFinished {
        unit: unit("als", "tune", Partition::Whole),
        trial: number,
        of: 4,
        hyperparameters: format!("factors={}", 16 << number),
        result,
        metric: "ndcg@10".into(),
    }
}

pub fn decision() -> Decision {
    let model = |step: &str| ModelRecord {
        step: name(step),
        algorithm: "als".into(),
        hyperparameters: BTreeMap::new(),
        artifact: "models/model.tar.gz".into(),
        tuned_by: None,
    };
    let result = |step: &str, role: &str, value: f64| ModelResult {
        name: step.into(),
        role: role.into(),
        model: model(if step == "champion" { "item_knn" } else { step }),
        metrics: BTreeMap::from([
            ("coverage".to_owned(), Estimate { value: 0.31, low: 0.3, high: 0.32 }),
            ("ndcg@10".to_owned(), Estimate { value, low: value - 0.0022, high: value + 0.0023 }),
        ]),
    };
    Decision {
        date: date(),
        metric: "ndcg@10".into(),
        winner: model("als"),
        winner_name: "als".into(),
        reason: "ndcg@10 0.0712 beats the champion's 0.0651, and the intervals do not meet".into(),
        results: vec![
            result("als", "candidate", 0.0712),
            result("champion", "champion", 0.0651),
            result("popularity", "baseline", 0.0423),
        ],
        users: 4_812,
        test_days: (date().minus(6), date()),
    }
}

/// Three days of history, the run's own day, a tuned model and a load.
pub fn good_run() -> Vec<Moment> {
    let mut run_ = begun();
    let als = unit("als", "tune", Partition::Whole);
    run_.start(&als);
    let knn = unit("item_knn", "train", Partition::Whole);
    run_.start(&knn);
    for (number, result) in
        [(1, Ok(0.0655)), (2, Ok(0.0712)), (3, Err("out of memory".to_owned())), (4, Ok(0.0698))]
    {
        run_.wait(3.0, trial(number, result));
        if number == 2 {
            run_.end(knn.clone(), Status::Succeeded, 6.0, rows(152_176, 0), None);
        }
    }
    let progress = Progress { rows: 900_000, ..Progress::default() };
    run_.wait(11.0, RunEvent::StepProgressed { unit: als.clone(), progress });
    let report = StepReport {
        metrics: BTreeMap::from([("ndcg@10".to_owned(), 0.0712)]),
        peak_memory: Some(388_000_000),
        ..rows(152_176, 0)
    };
    run_.end(als, Status::Succeeded, 12.4, report, None);
    let note =
        StepReport { note: Some("als wins with ndcg@10 0.0712".into()), ..StepReport::default() };
    run_.whole(unit("winner", "select", Partition::Whole), 1.2, note);
    run_.whole(unit("recs", "score", Partition::Whole), 2.0, rows(38_044, 240_600));
    let load = StepReport { generation: Some("20260301-9f3a".into()), ..rows(240_600, 4_812) };
    run_.whole(unit("serve", "load", Partition::Whole), 0.7, load);
    run_.summary.decision = Some(decision());
    run_.summary.served = vec![Served {
        table: "recommendations".into(),
        generation: "20260301-9f3a".into(),
        items: 4_812,
    }];
    run_.finish(Status::Succeeded)
}

/// A place in a query of the sample project.
pub fn broken_query() -> Problem {
    let (file, message) = ("sql/clean_events.sql", "no column `user_idd`");
    Problem::new(Rule::UnknownColumn, file, 2, 3, 7, message)
        .with_hint("did you mean `user_id`?".to_owned())
}

/// One day of history and the tuning fail; what needs them is left out.
pub fn failing_run() -> Vec<Moment> {
    let mut run_ = begun();
    let broken = unit("clean_events", "sql", Partition::Day(date().minus(1)));
    for (_, event) in &mut run_.moments {
        if let RunEvent::StepFinished { unit, status, failure, .. } = event {
            if *unit == broken {
                *status = Status::Failed;
                *failure =
                    Some(Failure::problems("the query cannot be planned", vec![broken_query()]));
            } else if unit.partition == broken.partition {
                *status = Status::UpstreamFailed;
            }
        }
    }
    for it in &mut run_.summary.units {
        if it.unit.partition == broken.partition {
            let failed = it.unit == broken;
            it.status = if failed { Status::Failed } else { Status::UpstreamFailed };
            it.report = StepReport::default();
            it.seconds = if failed { it.seconds } else { 0.0 };
        }
    }
    let als = unit("als", "tune", Partition::Whole);
    run_.start(&als);
    let failure =
        Failure::new(FailureKind::Exhausted, "the training process was killed (signal 9)")
            .with_hint("give it more memory or fewer `factors`");
    run_.end(als, Status::Failed, 3.0, StepReport::default(), Some(failure));
    run_.whole(unit("item_knn", "train", Partition::Whole), 2.0, rows(152_176, 0));
    for (step, action) in [("winner", "select"), ("recs", "score"), ("serve", "load")] {
        let unit = unit(step, action, Partition::Whole);
        run_.end(unit, Status::UpstreamFailed, 0.0, StepReport::default(), None);
    }
    run_.finish(Status::Failed)
}

/// A second run of the same day.
pub fn idle_run() -> Vec<Moment> {
    let mut summary = RunSummary { peak_memory: Some(38_000_000), ..RunSummary::default() };
    for step in ["clean_events", "interactions", "publish", "als", "winner", "recs", "serve"] {
        let unit = unit(step, "sql", Partition::Day(date()));
        summary
            .unchanged
            .push(planned(unit, "unchanged since run daily-20260301-20260302T031500-9f3a"));
    }
    let started = RunEvent::RunStarted {
        run: run(),
        pipeline: name("daily"),
        date: date(),
        target: "local".into(),
        to_do: Vec::new(),
        unchanged: 7,
    };
    let finished = RunEvent::RunFinished {
        run: run(),
        status: Status::Succeeded,
        seconds: 0.04,
        summary: Box::new(summary),
    };
    vec![(0.0, started), (0.04, finished)]
}

fn start() -> DateTime<Utc> {
    "2026-03-02T03:15:00Z".parse().unwrap()
}

fn read(file: &str) -> Option<String> {
    (file == "sql/clean_events.sql").then(|| "SELECT\n  user_idd,\n  ts\nFROM raw\n".to_owned())
}

/// What a mode writes of a run, its clock moved by the run's own times.
pub fn play(mode: OutputMode, quiet: bool, moments: Vec<Moment>) -> String {
    play_to(moments, |now, out| {
        let setup = Setup::new(mode, false, now);
        reporter(Setup { quiet, read: Box::new(read), out: Some(out), ..setup })
    })
}

/// What a receiver writes of a run, its clock moved by the run's own times.
pub fn play_to(
    moments: Vec<Moment>,
    receiver: impl FnOnce(Now, Box<dyn Write + Send>) -> Arc<dyn EventSink>,
) -> String {
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);
    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let paper = Paper::default();
    let millis = Arc::new(AtomicU64::new(0));
    let clock = millis.clone();
    let now = move || start() + TimeDelta::milliseconds(clock.load(Ordering::SeqCst) as i64);
    let sink = receiver(Box::new(now), Box::new(paper.clone()));
    for (seconds, event) in moments {
        millis.fetch_add((seconds * 1_000.0) as u64, Ordering::SeqCst);
        sink.emit(event);
    }
    String::from_utf8(paper.0.lock().unwrap().clone()).unwrap()
}
