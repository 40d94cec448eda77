use super::*;
use crate::pipeline::interval::Partition;
use crate::report::sample::{clean_report, date, decision, planned, run, unit};
use crate::run::event::{FinishedUnit, PlannedUnit};
use crate::run::record::{RowCounts, StepReport};

fn days(step: &str, action: &'static str, days: u32, reason: &str) -> Vec<PlannedUnit> {
    date()
        .window(days)
        .map(|day| planned(unit(step, action, Partition::Day(day)), reason))
        .collect()
}

fn finished(step: &str, back: u32, status: Status, report: StepReport) -> FinishedUnit {
    let unit = unit(step, "sql", Partition::Day(date().minus(back)));
    FinishedUnit { unit, status, seconds: 0.5, report }
}

#[test]
fn a_plan_groups_days() {
    let mut plan = days("clean_events", "sql", 28, "missing");
    plan.extend(days("interactions", "sql", 1, "query changed"));
    plan.push(planned(unit("interactions", "sql", Partition::Day(date().minus(3))), "missing"));
    plan.push(planned(unit("interactions", "sql", Partition::Day(date().minus(5))), "missing"));
    plan.push(planned(unit("als", "tune", Partition::Whole), "inputs changed"));
    insta::assert_snapshot!(plan_lines(&plan, 12, Paint::off()).join("\n"), @"
    clean_events  sql   28 days 2026-02-02 … 2026-03-01    (missing)
    interactions  sql   2026-03-01                         (query changed)
    interactions  sql   2 days in 2026-02-24 … 2026-02-26  (missing)
    als           tune                                     (inputs changed)
    12 units unchanged
    ");
}

#[test]
fn many_reasons_share_a_line() {
    let reasons = (0..9).flat_map(|back| {
        let unit = unit("clean_events", "sql", Partition::Day(date().minus(back)));
        [planned(unit, &format!("raw/{back}.json changed"))]
    });
    let plan: Vec<PlannedUnit> = reasons.collect();
    insta::assert_snapshot!(plan_lines(&plan, 0, Paint::off()).join("\n"), @"  clean_events  sql  9 days 2026-02-21 … 2026-03-01  (raw/0.json changed, and 8 other reasons)");
    assert_eq!(plan_lines(&[], 5, Paint::off()), Vec::<String>::new());
}

#[test]
fn nothing_to_do_tells_the_reasons() {
    let mut unchanged = days("clean_events", "sql", 3, "same inputs as run a");
    unchanged.push(planned(unit("als", "tune", Partition::Whole), "same inputs as run a"));
    insta::assert_snapshot!(nothing_to_do(&unchanged, Paint::off()).join("\n"), @"nothing to do: 2 steps, same inputs as run a");
    unchanged.push(planned(unit("serve", "load", Partition::Whole), "same inputs as run b"));
    insta::assert_snapshot!(nothing_to_do(&unchanged, Paint::off()).join("\n"), @"
    nothing to do: 3 steps unchanged
      clean_events, als (same inputs as run a)
      serve (same inputs as run b)
    ");
}

#[test]
fn every_row_is_accounted_for() {
    let units = [
        finished("clean_events", 1, Status::Succeeded, clean_report(10)),
        finished("clean_events", 0, Status::Succeeded, clean_report(1)),
    ];
    insta::assert_snapshot!(row_lines(&units, Some(date()), Paint::off()).join("\n"), @r#"
    rows of clean_events
      2026-03-01  rows read  41,240 = kept  40,112 + quarantined  41 + filtered   262 + duplicates   825  ✓
      2 days      rows read 453,640 = kept 441,232 + quarantined 451 + filtered 2,882 + duplicates 9,075  ✓
      bot traffic 2,200, no user 682, not JSON 330, and 1 other reason
      451 rows in quarantine:
      recctl quarantine show
    "#);
}

#[test]
fn a_lost_row_is_told() {
    let counts = RowCounts { read: 10, kept: 8, filtered: 1, ..RowCounts::default() };
    let report = StepReport { counts: Some(counts), ..StepReport::default() };
    let units = [finished("orders", 0, Status::Succeeded, report)];
    insta::assert_snapshot!(row_lines(&units, Some(date()), Paint::off()).join("\n"), @"
    rows of orders
      2026-03-01  rows read 10 = kept 8 + quarantined 0 + filtered 1 + duplicates 0  ✗ off by 1
    ");
    assert!(row_lines(&[], Some(date()), Paint::off()).is_empty());
}

#[test]
fn partly_failed_steps_show_how_many_days_are_done() {
    let units = [
        finished("clean_events", 1, Status::Succeeded, clean_report(1)),
        finished("clean_events", 0, Status::Failed, StepReport::default()),
        finished("interactions", 0, Status::UpstreamFailed, StepReport::default()),
    ];
    insta::assert_snapshot!(step_lines(&units, Paint::off()).join("\n"), @"
       step          action  days  rows in  rows out   time  memory
    ✗  clean_events  sql      1/2   41,240    40,112  1.0 s  212 MB
    ↷  interactions  sql      0/1                     0.5 s
    ");
}

#[test]
fn models_stand_best_first_with_the_deciding_metric_in_front() {
    insta::assert_snapshot!(model_lines(&decision(), Paint::off()).join("\n"), @"
    models  tested on 2026-02-23 … 2026-03-01, 4,812 users
       role       model                ndcg@10 ▼                coverage
    ★  candidate  als                  0.0712 [0.0690, 0.0735]  0.3100 [0.3000, 0.3200]
       champion   champion (item_knn)  0.0651 [0.0629, 0.0674]  0.3100 [0.3000, 0.3200]
       baseline   popularity           0.0423 [0.0401, 0.0446]  0.3100 [0.3000, 0.3200]
    ★ als serves: ndcg@10 0.0712 beats the champion's 0.0651, and the intervals do not meet
    ");
}

#[test]
fn a_run_that_never_began_still_has_a_last_line() {
    let (run, summary) = (run(), RunSummary::default());
    let closing = Closing {
        run: &run,
        about: None,
        status: Status::Cancelled,
        seconds: 0.0,
        summary: &summary,
        failures: &[],
    };
    assert!(closing_lines(&closing, Paint::off()).is_empty());
    insta::assert_snapshot!(status_line(&closing, Paint::off()), @"↷ run cancelled in 0 ms  run daily-20260301-20260302T031500-9f3a");
}
