use super::*;

fn result(name: &str, verdict: Verdict) -> TestResult {
    TestResult {
        name: name.to_owned(),
        file: "tests/clean.yaml".to_owned(),
        line: 3,
        column: 5,
        table: "clean".to_owned(),
        seconds: 0.0042,
        verdict,
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn results() -> Vec<TestResult> {
    let cell = |row, key: &str, column: &str, expected, actual| CellDiffers {
        key: vec![some(key)],
        row,
        line: row + 10,
        column: column.to_owned(),
        expected,
        actual,
    };
    let differ = RowsDiffer {
        cte: None,
        expected_rows: 3,
        actual_rows: 4,
        key: vec!["event_id".to_owned()],
        columns: vec!["event_id".to_owned(), "device".to_owned(), "price".to_owned()],
        cells: vec![
            cell(1, "e1", "device", some("mobile"), some("Mobile")),
            cell(1, "e1", "price", None, some("")),
            cell(2, "e2", "price", some("1.5"), some("2.5")),
        ],
        missing: vec![RowShown { line: Some(13), values: vec![some("e3"), some("tv"), None] }],
        extra: vec![RowShown { line: None, values: vec![some("e4\n"), some("tv"), some("1")] }],
    };
    let refused = Mismatch::Refused {
        message: "`clean` does not pass its checks: 1 rows".to_owned(),
        hint: Some("nothing was published; …".to_owned()),
    };
    let broken = Problem::new(
        crate::run::failure::Rule::UnknownColumn,
        "tests/clean.yaml",
        4,
        7,
        3,
        "`clean` has no column `<x>`",
    );
    vec![
        result("ids are unique", Verdict::Passed),
        result("bots & copies", Verdict::Failed(vec![Mismatch::Rows(differ), refused])),
        result("prices", Verdict::Broken(vec![broken])),
    ]
}

#[test]
fn people_see_what_differs() {
    let results = results();
    let told = Told { results: &results, problems: &[], not_run: 2, seconds: 0.1 };
    let text = human(&told, &|_| None, Look::plain(), 100).join("\n");
    insta::assert_snapshot!(text, @r#"
    ✗  clean  3 tests, 1 failed, 1 do not fit  13 ms

    ✗ clean: bots & copies
      tests/clean.yaml:3:5
      3 cells of 2 rows differ, 1 row missing, 1 row extra, 3 rows expected, 4 came
        line  event_id  column  expected  actual
          11  e1        device  mobile    Mobile
                        price   NULL      ''
          12  e2        price   1.5       2.5
      missing, expected and did not come
        line  event_id  device
        13    e3        tv
      extra, came and was not expected
        event_id  device  price
        e4\n      tv      1
      a run would fail: `clean` does not pass its checks: 1 rows

    ✗ clean: prices
      tests/clean.yaml:3:5
      tests/clean.yaml:4:7: `clean` has no column `<x>`

    ✗ 3 tests in 0.1 s: 1 passed, 1 failed, 1 do not fit their query, 2 not run
    "#);
}

#[test]
fn machines_get_all_of_it() {
    let results = results();
    let told = Told { results: &results, problems: &[], not_run: 0, seconds: 0.1 };
    insta::assert_snapshot!(junit(&told), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="recctl test" tests="3" failures="1" errors="1" time="0.100">
      <testsuite name="tests/clean.yaml" tests="3" failures="1" errors="1" time="0.013">
        <testcase name="ids are unique" classname="clean" file="tests/clean.yaml" line="3" time="0.004"/>
        <testcase name="bots &amp; copies" classname="clean" file="tests/clean.yaml" line="3" time="0.004">
          <failure message="3 cells of 2 rows differ, 1 row missing, 1 row extra, 3 rows expected, 4 came">  3 cells of 2 rows differ, 1 row missing, 1 row extra, 3 rows expected, 4 came
        line  event_id  column  expected  actual
          11  e1        device  mobile    Mobile
                        price   NULL      ''
          12  e2        price   1.5       2.5
      missing, expected and did not come
        line  event_id  device
        13    e3        tv
      extra, came and was not expected
        event_id  device  price
        e4\n      tv      1
      a run would fail: `clean` does not pass its checks: 1 rows</failure>
        </testcase>
        <testcase name="prices" classname="clean" file="tests/clean.yaml" line="3" time="0.004">
          <error message="the test does not fit its query">tests/clean.yaml:4:7: `clean` has no column `&lt;x&gt;`</error>
        </testcase>
      </testsuite>
    </testsuites>
    "#);
    let document: serde_json::Value = serde_json::from_str(&json(&told)).unwrap();
    assert_eq!(document["failed"], 1);
    assert_eq!(
        document["tests"][1]["mismatches"][0]["rows"]["cells"][1]["expected"],
        serde_json::Value::Null
    );
}
