use crate::report::{OutputMode, sample};

#[test]
fn a_run_with_history_leaves_this() {
    insta::assert_snapshot!(sample::play(OutputMode::Terminal, false, sample::good_run()), @r#"
    • no data yet: making a sample
    ✓ sample data: 1,000,000 events made in 2.2 s
    daily 2026-03-01 on local  run daily-20260301-20260302T031500-9f3a
      clean_events  sql      4 days 2026-02-26 … 2026-03-01  (missing)
      interactions  sql      4 days 2026-02-26 … 2026-03-01  (missing)
      publish       publish  4 days 2026-02-26 … 2026-03-01  (missing)
      als           tune                                     (inputs changed)
      item_knn      train                                    (inputs changed)
      winner        select                                   (inputs changed)
      recs          score                                    (inputs changed)
      serve         load                                     (inputs changed)
      2 units unchanged

    ✓ history: 3 days × 2 steps, 9 units in 3.6 s
    ✓ clean_events  sql      2026-03-01      0.8 s  40,112 rows kept of 41,240, 41 quarantined
    ✓ interactions  sql      2026-03-01      0.3 s  38,044 rows from 40,112
    ✓ publish       publish  2026-03-01      50 ms
    ✓ item_knn      train                    6.0 s  152,176 rows read
    • als: trial 3/4 failed: out of memory
    ✓ als           tune                    12.4 s  152,176 rows read, ndcg@10 0.0712
    ✓ winner        select                   1.2 s  als wins with ndcg@10 0.0712
    ✓ recs          score                    2.0 s  240,600 rows from 38,044
    ✓ serve         load                     0.7 s  4,812 rows from 240,600, generation 20260301-9f3a

       step          action   days    rows in   rows out    time  memory
    ✓  clean_events  sql         4  1,278,440  1,243,472   3.4 s  212 MB
    ✓  interactions  sql         4    160,448    152,176   1.2 s   96 MB
    ✓  publish       publish     4                         0.2 s
    ✓  item_knn      train            152,176              6.0 s   96 MB
    ✓  als           tune             152,176             12.4 s  388 MB
    ✓  winner        select                                1.2 s
    ✓  recs          score             38,044    240,600   2.0 s   96 MB
    ✓  serve         load             240,600      4,812   0.7 s   96 MB

    rows of clean_events
      2026-03-01  rows read    41,240 = kept    40,112 + quarantined    41 + filtered   262 + duplicates    825  ✓
      4 days      rows read 1,278,440 = kept 1,243,472 + quarantined 1,271 + filtered 8,122 + duplicates 25,575  ✓
      bot traffic 6,200, no user 1,922, not JSON 930, and 1 other reason
      1,271 rows in quarantine:
      recctl quarantine show

    models  tested on 2026-02-23 … 2026-03-01, 4,812 users
       role       model                ndcg@10 ▼                coverage
    ★  candidate  als                  0.0712 [0.0690, 0.0735]  0.3100 [0.3000, 0.3200]
       champion   champion (item_knn)  0.0651 [0.0629, 0.0674]  0.3100 [0.3000, 0.3200]
       baseline   popularity           0.0423 [0.0401, 0.0446]  0.3100 [0.3000, 0.3200]
    ★ als serves: ndcg@10 0.0712 beats the champion's 0.0651, and the intervals do not meet

    serving now
      recommendations  generation 20260301-9f3a  4,812 items
      recctl recommend --user …

    ✓ daily 2026-03-01 succeeded in 56.4 s (peak memory 412 MB)  run daily-20260301-20260302T031500-9f3a
    "#);
}

#[test]
fn a_run_that_fails_leaves_this() {
    insta::assert_snapshot!(sample::play(OutputMode::Terminal, false, sample::failing_run()), @r#"
    • no data yet: making a sample
    ✓ sample data: 1,000,000 events made in 2.2 s
    daily 2026-03-01 on local  run daily-20260301-20260302T031500-9f3a
      clean_events  sql      4 days 2026-02-26 … 2026-03-01  (missing)
      interactions  sql      4 days 2026-02-26 … 2026-03-01  (missing)
      publish       publish  4 days 2026-02-26 … 2026-03-01  (missing)
      als           tune                                     (inputs changed)
      item_knn      train                                    (inputs changed)
      winner        select                                   (inputs changed)
      recs          score                                    (inputs changed)
      serve         load                                     (inputs changed)
      2 units unchanged

    ✗ clean_events  sql      2026-02-28      0.8 s  the query cannot be planned
      × no column `user_idd`
       ╭─[sql/clean_events.sql:2:3]
     1 │ SELECT
     2 │   user_idd,
       ·   ───────
     3 │   ts
       ╰────
      hint: did you mean `user_id`?
    ✗ history: 3 days × 2 steps, 9 units, 1 failed, 2 not run in 3.6 s
    ✓ clean_events  sql      2026-03-01      0.8 s  40,112 rows kept of 41,240, 41 quarantined
    ✓ interactions  sql      2026-03-01      0.3 s  38,044 rows from 40,112
    ✓ publish       publish  2026-03-01      50 ms
    ✗ als           tune                     3.0 s  the training process was killed (signal 9)
      hint: give it more memory or fewer `factors`
    ✓ item_knn      train                    2.0 s  152,176 rows read
    ↷ winner        select                          not run: something it needs failed
    ↷ recs          score                           not run: something it needs failed
    ↷ serve         load                            not run: something it needs failed

       step          action   days  rows in  rows out   time  memory
    ✗  clean_events  sql       3/4  866,040   842,352  3.4 s  212 MB
    ↷  interactions  sql       3/4  120,336   114,132  0.9 s   96 MB
    ↷  publish       publish   3/4                     0.2 s
    ✗  als           tune                              3.0 s
    ✓  item_knn      train          152,176            2.0 s   96 MB
    ↷  winner        select
    ↷  recs          score
    ↷  serve         load

    rows of clean_events
      2026-03-01  rows read  41,240 = kept  40,112 + quarantined  41 + filtered   262 + duplicates    825  ✓
      3 days      rows read 866,040 = kept 842,352 + quarantined 861 + filtered 5,502 + duplicates 17,325  ✓
      bot traffic 4,200, no user 1,302, not JSON 630, and 1 other reason
      861 rows in quarantine:
      recctl quarantine show

    ✗ clean_events 2026-02-28: the query cannot be planned
      sql/clean_events.sql:2:3: no column `user_idd` (hint: did you mean `user_id`?)
    ✗ als: the training process was killed (signal 9)
      hint: give it more memory or fewer `factors`
    ↷ not run: interactions, publish, winner, recs, serve

    ✗ daily 2026-03-01 failed in 16.1 s (peak memory 412 MB)  run daily-20260301-20260302T031500-9f3a
    "#);
}

#[test]
fn a_run_without_work_leaves_this() {
    insta::assert_snapshot!(sample::play(OutputMode::Terminal, false, sample::idle_run()), @"
    daily 2026-03-01 on local  run daily-20260301-20260302T031500-9f3a
    nothing to do: 7 steps, unchanged since run daily-20260301-20260302T031500-9f3a

    ✓ daily 2026-03-01 succeeded in 40 ms (peak memory 38 MB)  run daily-20260301-20260302T031500-9f3a
    ");
}

#[test]
fn quiet_leaves_failures_and_the_end() {
    insta::assert_snapshot!(sample::play(OutputMode::Terminal, true, sample::good_run()), @"✓ daily 2026-03-01 succeeded in 56.4 s (peak memory 412 MB)  run daily-20260301-20260302T031500-9f3a");
    insta::assert_snapshot!(sample::play(OutputMode::Terminal, true, sample::failing_run()), @"
    ✗ clean_events  sql      2026-02-28      0.8 s  the query cannot be planned
      × no column `user_idd`
       ╭─[sql/clean_events.sql:2:3]
     1 │ SELECT
     2 │   user_idd,
       ·   ───────
     3 │   ts
       ╰────
      hint: did you mean `user_id`?
    ✗ als           tune                     3.0 s  the training process was killed (signal 9)
      hint: give it more memory or fewer `factors`
    ✗ daily 2026-03-01 failed in 16.1 s (peak memory 412 MB)  run daily-20260301-20260302T031500-9f3a
    ");
}
