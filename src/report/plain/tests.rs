use crate::report::{OutputMode, sample};

#[test]
fn a_run_with_history() {
    insta::assert_snapshot!(sample::play(OutputMode::Plain, false, sample::good_run()), @r#"
    2026-03-02T03:15:00Z INFO  no data yet: making a sample
    2026-03-02T03:15:03Z INFO  sample data: 1,000,000 events made in 2.2 s
    2026-03-02T03:15:03Z INFO  daily 2026-03-01 on local, run daily-20260301-20260302T031500-9f3a
    2026-03-02T03:15:03Z INFO    clean_events  sql      4 days 2026-02-26 … 2026-03-01  (missing)
    2026-03-02T03:15:03Z INFO    interactions  sql      4 days 2026-02-26 … 2026-03-01  (missing)
    2026-03-02T03:15:03Z INFO    publish       publish  4 days 2026-02-26 … 2026-03-01  (missing)
    2026-03-02T03:15:03Z INFO    als           tune                                     (inputs changed)
    2026-03-02T03:15:03Z INFO    item_knn      train                                    (inputs changed)
    2026-03-02T03:15:03Z INFO    winner        select                                   (inputs changed)
    2026-03-02T03:15:03Z INFO    recs          score                                    (inputs changed)
    2026-03-02T03:15:03Z INFO    serve         load                                     (inputs changed)
    2026-03-02T03:15:03Z INFO    2 units unchanged
    2026-03-02T03:15:04Z INFO  history 2026-02-26: 3 units, 410 rows quarantined in 1.2 s
    2026-03-02T03:15:05Z INFO  history 2026-02-27: 3 units, 410 rows quarantined in 1.2 s
    2026-03-02T03:15:06Z INFO  history 2026-02-28: 3 units, 410 rows quarantined in 1.2 s
    2026-03-02T03:15:10Z INFO  clean_events 2026-03-01: 40,112 rows kept of 41,240, 41 quarantined in 0.8 s
    2026-03-02T03:15:11Z INFO  interactions 2026-03-01: 38,044 rows from 40,112 in 0.3 s
    2026-03-02T03:15:11Z INFO  publish 2026-03-01: done in 50 ms
    2026-03-02T03:15:14Z INFO  als: trial 1/4, ndcg@10 0.0655 (factors=32)
    2026-03-02T03:15:17Z INFO  als: trial 2/4, ndcg@10 0.0712 (factors=64)
    2026-03-02T03:15:23Z INFO  item_knn: 152,176 rows read in 6.0 s
    2026-03-02T03:15:26Z WARN  als: trial 3/4 failed: out of memory (factors=128)
    2026-03-02T03:15:29Z INFO  als: trial 4/4, ndcg@10 0.0698 (factors=256)
    2026-03-02T03:15:40Z INFO  als: running for 29.0 s, 900,000 rows, 31k rows/s
    2026-03-02T03:15:52Z INFO  als: 152,176 rows read, ndcg@10 0.0712 in 12.4 s
    2026-03-02T03:15:53Z INFO  winner: als wins with ndcg@10 0.0712 in 1.2 s
    2026-03-02T03:15:55Z INFO  recs: 240,600 rows from 38,044 in 2.0 s
    2026-03-02T03:15:56Z INFO  serve: 4,812 rows from 240,600, generation 20260301-9f3a in 0.7 s
    2026-03-02T03:15:56Z INFO  history: 3 days × 2 steps, 9 units in 3.6 s
    2026-03-02T03:15:56Z INFO     step          action   days    rows in   rows out    time  memory
    2026-03-02T03:15:56Z INFO  ✓  clean_events  sql         4  1,278,440  1,243,472   3.4 s  212 MB
    2026-03-02T03:15:56Z INFO  ✓  interactions  sql         4    160,448    152,176   1.2 s   96 MB
    2026-03-02T03:15:56Z INFO  ✓  publish       publish     4                         0.2 s
    2026-03-02T03:15:56Z INFO  ✓  item_knn      train            152,176              6.0 s   96 MB
    2026-03-02T03:15:56Z INFO  ✓  als           tune             152,176             12.4 s  388 MB
    2026-03-02T03:15:56Z INFO  ✓  winner        select                                1.2 s
    2026-03-02T03:15:56Z INFO  ✓  recs          score             38,044    240,600   2.0 s   96 MB
    2026-03-02T03:15:56Z INFO  ✓  serve         load             240,600      4,812   0.7 s   96 MB
    2026-03-02T03:15:56Z INFO  rows of clean_events
    2026-03-02T03:15:56Z INFO    2026-03-01  rows read    41,240 = kept    40,112 + quarantined    41 + filtered   262 + duplicates    825  ✓
    2026-03-02T03:15:56Z INFO    4 days      rows read 1,278,440 = kept 1,243,472 + quarantined 1,271 + filtered 8,122 + duplicates 25,575  ✓
    2026-03-02T03:15:56Z INFO    bot traffic 6,200, no user 1,922, not JSON 930, and 1 other reason
    2026-03-02T03:15:56Z INFO    1,271 rows in quarantine:
    2026-03-02T03:15:56Z INFO    recctl quarantine show
    2026-03-02T03:15:56Z INFO  models  tested on 2026-02-23 … 2026-03-01, 4,812 users
    2026-03-02T03:15:56Z INFO     role       model                ndcg@10 ▼                coverage
    2026-03-02T03:15:56Z INFO  ★  candidate  als                  0.0712 [0.0690, 0.0735]  0.3100 [0.3000, 0.3200]
    2026-03-02T03:15:56Z INFO     champion   champion (item_knn)  0.0651 [0.0629, 0.0674]  0.3100 [0.3000, 0.3200]
    2026-03-02T03:15:56Z INFO     baseline   popularity           0.0423 [0.0401, 0.0446]  0.3100 [0.3000, 0.3200]
    2026-03-02T03:15:56Z INFO  ★ als serves: ndcg@10 0.0712 beats the champion's 0.0651, and the intervals do not meet
    2026-03-02T03:15:56Z INFO  serving now
    2026-03-02T03:15:56Z INFO    recommendations  generation 20260301-9f3a  4,812 items
    2026-03-02T03:15:56Z INFO    recctl recommend --user …
    2026-03-02T03:15:56Z INFO  ✓ daily 2026-03-01 succeeded in 56.4 s (peak memory 412 MB)  run daily-20260301-20260302T031500-9f3a
    "#);
}

#[test]
fn a_run_that_fails() {
    insta::assert_snapshot!(sample::play(OutputMode::Plain, false, sample::failing_run()), @r#"
    2026-03-02T03:15:00Z INFO  no data yet: making a sample
    2026-03-02T03:15:03Z INFO  sample data: 1,000,000 events made in 2.2 s
    2026-03-02T03:15:03Z INFO  daily 2026-03-01 on local, run daily-20260301-20260302T031500-9f3a
    2026-03-02T03:15:03Z INFO    clean_events  sql      4 days 2026-02-26 … 2026-03-01  (missing)
    2026-03-02T03:15:03Z INFO    interactions  sql      4 days 2026-02-26 … 2026-03-01  (missing)
    2026-03-02T03:15:03Z INFO    publish       publish  4 days 2026-02-26 … 2026-03-01  (missing)
    2026-03-02T03:15:03Z INFO    als           tune                                     (inputs changed)
    2026-03-02T03:15:03Z INFO    item_knn      train                                    (inputs changed)
    2026-03-02T03:15:03Z INFO    winner        select                                   (inputs changed)
    2026-03-02T03:15:03Z INFO    recs          score                                    (inputs changed)
    2026-03-02T03:15:03Z INFO    serve         load                                     (inputs changed)
    2026-03-02T03:15:03Z INFO    2 units unchanged
    2026-03-02T03:15:04Z INFO  history 2026-02-26: 3 units, 410 rows quarantined in 1.2 s
    2026-03-02T03:15:05Z INFO  history 2026-02-27: 3 units, 410 rows quarantined in 1.2 s
    2026-03-02T03:15:06Z ERROR clean_events 2026-02-28 failed after 0.8 s: [usage] the query cannot be planned
    2026-03-02T03:15:06Z ERROR   sql/clean_events.sql:2:3: no column `user_idd` (hint: did you mean `user_id`?)
    2026-03-02T03:15:06Z WARN  history 2026-02-28: 3 units, 1 failed, 2 not run, 410 rows quarantined in 1.2 s
    2026-03-02T03:15:10Z INFO  clean_events 2026-03-01: 40,112 rows kept of 41,240, 41 quarantined in 0.8 s
    2026-03-02T03:15:11Z INFO  interactions 2026-03-01: 38,044 rows from 40,112 in 0.3 s
    2026-03-02T03:15:11Z INFO  publish 2026-03-01: done in 50 ms
    2026-03-02T03:15:14Z ERROR als failed after 3.0 s: [exhausted] the training process was killed (signal 9)
    2026-03-02T03:15:14Z ERROR   hint: give it more memory or fewer `factors`
    2026-03-02T03:15:16Z INFO  item_knn: 152,176 rows read in 2.0 s
    2026-03-02T03:15:16Z WARN  winner: not run: something it needs failed
    2026-03-02T03:15:16Z WARN  recs: not run: something it needs failed
    2026-03-02T03:15:16Z WARN  serve: not run: something it needs failed
    2026-03-02T03:15:16Z INFO  history: 3 days × 2 steps, 9 units, 1 failed, 2 not run in 3.6 s
    2026-03-02T03:15:16Z INFO     step          action   days  rows in  rows out   time  memory
    2026-03-02T03:15:16Z INFO  ✗  clean_events  sql       3/4  866,040   842,352  3.4 s  212 MB
    2026-03-02T03:15:16Z INFO  ↷  interactions  sql       3/4  120,336   114,132  0.9 s   96 MB
    2026-03-02T03:15:16Z INFO  ↷  publish       publish   3/4                     0.2 s
    2026-03-02T03:15:16Z INFO  ✗  als           tune                              3.0 s
    2026-03-02T03:15:16Z INFO  ✓  item_knn      train          152,176            2.0 s   96 MB
    2026-03-02T03:15:16Z INFO  ↷  winner        select
    2026-03-02T03:15:16Z INFO  ↷  recs          score
    2026-03-02T03:15:16Z INFO  ↷  serve         load
    2026-03-02T03:15:16Z INFO  rows of clean_events
    2026-03-02T03:15:16Z INFO    2026-03-01  rows read  41,240 = kept  40,112 + quarantined  41 + filtered   262 + duplicates    825  ✓
    2026-03-02T03:15:16Z INFO    3 days      rows read 866,040 = kept 842,352 + quarantined 861 + filtered 5,502 + duplicates 17,325  ✓
    2026-03-02T03:15:16Z INFO    bot traffic 4,200, no user 1,302, not JSON 630, and 1 other reason
    2026-03-02T03:15:16Z INFO    861 rows in quarantine:
    2026-03-02T03:15:16Z INFO    recctl quarantine show
    2026-03-02T03:15:16Z INFO  ↷ not run: interactions, publish, winner, recs, serve
    2026-03-02T03:15:16Z ERROR ✗ daily 2026-03-01 failed in 16.1 s (peak memory 412 MB)  run daily-20260301-20260302T031500-9f3a
    "#);
}

#[test]
fn a_run_without_work() {
    insta::assert_snapshot!(sample::play(OutputMode::Plain, false, sample::idle_run()), @"
    2026-03-02T03:15:00Z INFO  daily 2026-03-01 on local, run daily-20260301-20260302T031500-9f3a
    2026-03-02T03:15:00Z INFO  nothing to do: 7 steps, unchanged since run daily-20260301-20260302T031500-9f3a
    2026-03-02T03:15:00Z INFO  ✓ daily 2026-03-01 succeeded in 40 ms (peak memory 38 MB)  run daily-20260301-20260302T031500-9f3a
    ");
}

#[test]
fn quiet() {
    insta::assert_snapshot!(sample::play(OutputMode::Plain, true, sample::good_run()), @"
    2026-03-02T03:15:26Z WARN  als: trial 3/4 failed: out of memory (factors=128)
    2026-03-02T03:15:56Z INFO  ✓ daily 2026-03-01 succeeded in 56.4 s (peak memory 412 MB)  run daily-20260301-20260302T031500-9f3a
    ");
    insta::assert_snapshot!(sample::play(OutputMode::Plain, true, sample::failing_run()), @"
    2026-03-02T03:15:06Z ERROR clean_events 2026-02-28 failed after 0.8 s: [usage] the query cannot be planned
    2026-03-02T03:15:06Z ERROR   sql/clean_events.sql:2:3: no column `user_idd` (hint: did you mean `user_id`?)
    2026-03-02T03:15:06Z WARN  history 2026-02-28: 3 units, 1 failed, 2 not run, 410 rows quarantined in 1.2 s
    2026-03-02T03:15:14Z ERROR als failed after 3.0 s: [exhausted] the training process was killed (signal 9)
    2026-03-02T03:15:14Z ERROR   hint: give it more memory or fewer `factors`
    2026-03-02T03:15:16Z WARN  winner: not run: something it needs failed
    2026-03-02T03:15:16Z WARN  recs: not run: something it needs failed
    2026-03-02T03:15:16Z WARN  serve: not run: something it needs failed
    2026-03-02T03:15:16Z ERROR ✗ daily 2026-03-01 failed in 16.1 s (peak memory 412 MB)  run daily-20260301-20260302T031500-9f3a
    ");
}
