//! Access logs, by a pattern, to a table with its account.

use std::fs;
use std::io::Write;

use serde_json::json;

use crate::sandbox::Sandbox;

const PROJECT: &str = r#"version: 1
sources:
  access:
    path: raw/access/{yyyy}/{MM}/{dd}/
    format: log
    pattern: '(?<client>\S+) - (?<member>\S+) \[(?<at>[^\]]+)\] "(?<request>[^"]*)" (?<status>\d+) (?<bytes>\S+)'
    columns:
      member: string?
      at: timestamp
      request: string
      status: int
      bytes: int?
    malformed: {max_ratio: 0.5}
pipelines:
  web:
    steps:
      hits:
        sql: sql/hits.sql
        partition_by: [dt]
"#;

const LOG: &str = r#"#Version: 1.0
10.0.0.7 - ann [2026-03-01T08:00:00Z] "GET /cart HTTP/1.1" 200 512
10.0.0.8 - - [2026-03-01T08:00:01+02:00] "GET / HTTP/1.1" 304 -
10.0.0.9 - bob [yesterday] "GET / HTTP/1.1" 200 17
10.0.0.9 - bob [2026-03-01T08:00:03Z] "GET /" broken
"#;

#[test]
fn a_log_is_read_by_its_pattern() {
    let sandbox = Sandbox::new();
    let query = "SELECT member, at, request, status, bytes, $logical_date AS dt FROM access";
    fs::write(sandbox.project().join("pipelines.yaml"), PROJECT).unwrap();
    fs::write(sandbox.project().join("sql/hits.sql"), query).unwrap();
    let folder = sandbox.lake().join("raw/access/2026/03/01");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("a.log"), LOG).unwrap();
    let packed = fs::File::create(folder.join("b.log.gz")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
    packed.write_all(LOG.as_bytes()).unwrap();
    packed.finish().unwrap();

    let ran = sandbox.run(&["run", "web", "--date", "2026-03-01"]).ends_with(0);
    assert!(ran.stderr.contains("rows read 8 = kept 4 + quarantined 4"), "{}", ran.stderr);
    let rows = sandbox.query(
        "SELECT member, CAST(at AS VARCHAR) AS at, status, bytes, count(*) AS n FROM hits
         GROUP BY ALL ORDER BY at DESC",
    );
    let expected = [
        json!({"member": "ann", "at": "2026-03-01T08:00:00Z", "status": 200, "bytes": 512, "n": 2}),
        json!({"member": null, "at": "2026-03-01T06:00:01Z", "status": 304, "bytes": null, "n": 2}),
    ];
    assert_eq!(rows, expected);
    let aside = sandbox
        .query("SELECT line, reason, count(*) AS n FROM quarantine GROUP BY ALL ORDER BY line");
    let lines: Vec<_> = aside.iter().map(|row| (&row["line"], &row["n"])).collect();
    assert_eq!(lines, [(&json!(4), &json!(2)), (&json!(5), &json!(2))], "{aside:?}");
}
