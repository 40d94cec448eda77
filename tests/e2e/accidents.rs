//! What fails leaves nothing visible, and the next run goes on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use recctl::ports::ServingItem;

use crate::sandbox::{NEXT_DAY, Sandbox, reference};

const RUN: [&str; 4] = ["run", "daily", "--date", NEXT_DAY];

/// All that somebody outside can see.
#[derive(Debug, PartialEq)]
struct Visible {
    catalog: BTreeMap<String, (String, String)>,
    warehouse: BTreeMap<String, i64>,
    generations: String,
    served: Vec<ServingItem>,
}

impl Visible {
    fn of(sandbox: &Sandbox) -> Self {
        Self {
            catalog: sandbox.hashes(),
            warehouse: warehouse(&sandbox.home().join("warehouse.db")),
            generations: sandbox.generations(),
            served: sandbox.served(),
        }
    }
}

/// Rows by table.
fn warehouse(file: &Path) -> BTreeMap<String, i64> {
    let database = rusqlite::Connection::open(file).unwrap();
    let mut tables =
        database.prepare("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')").unwrap();
    let names: Vec<String> =
        tables.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    assert!(names.iter().any(|name| name == "user_profiles"), "{names:?}");
    let count = |name: &String| {
        let sql = format!("SELECT count(*) FROM \"{name}\"");
        database.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    names.iter().map(|name| (name.clone(), count(name))).collect()
}

/// The next run makes what would have been made without the accident.
#[track_caller]
pub(super) fn goes_on(sandbox: &Sandbox) {
    sandbox.run(&RUN).ends_with(0);
    assert_eq!(sandbox.hashes(), reference().hashes);
    assert_eq!(sandbox.served(), reference().served);
    assert_eq!(leftovers(sandbox), Vec::<String>::new());
}

/// Files of the day that no table points to.
pub(super) fn leftovers(sandbox: &Sandbox) -> Vec<String> {
    let mut files = Vec::new();
    collect(&sandbox.lake().join("tables"), &mut files);
    let known: String = rusqlite::Connection::open(sandbox.home().join("catalog.db"))
        .unwrap()
        .query_row("SELECT group_concat(entry) FROM generations", [], |row| row.get(0))
        .unwrap();
    let paths = files.iter().map(|file| file.strip_prefix(sandbox.lake()).unwrap());
    let paths = paths.map(|path| path.to_str().unwrap().to_owned());
    paths.filter(|path| path.contains(NEXT_DAY) && !known.contains(path.as_str())).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

#[test]
fn a_check_that_fails_late_leaves_nothing_visible() {
    let sandbox = Sandbox::prepared();
    let before = Visible::of(&sandbox);
    let late = "        reads: {interactions: 8d}\n";
    let checked = format!("{late}        checks: [{{min_rows: 1000000}}]\n");
    sandbox.edit("pipelines.yaml", late, &checked);
    let ran = sandbox.run(&RUN).ends_with(3);
    let told = "`user_profiles` does not pass its checks";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    assert_eq!(Visible::of(&sandbox), before);
    sandbox.edit("pipelines.yaml", &checked, late);
    goes_on(&sandbox);
}

#[test]
fn too_many_malformed_lines_stop_the_day() {
    let sandbox = Sandbox::prepared();
    let before = Visible::of(&sandbox);
    let bad = sandbox.lake().join("raw/clickstream/2026/03/09/00/bad.json");
    std::fs::create_dir_all(bad.parent().unwrap()).unwrap();
    std::fs::write(&bad, "<html>\n".repeat(100)).unwrap();
    let ran = sandbox.run(&RUN).ends_with(3);
    let gate = "rows of `clickstream` are malformed (8.";
    let first = "raw/clickstream/2026/03/09/00/bad.json:1: not JSON";
    assert!(ran.stderr.contains(gate) && ran.stderr.contains(first), "{}", ran.stderr);
    assert_eq!(Visible::of(&sandbox), before);
    std::fs::remove_file(bad).unwrap();
    goes_on(&sandbox);
}

#[test]
fn a_cut_off_archive_is_named() {
    let sandbox = Sandbox::prepared();
    let before = Visible::of(&sandbox);
    let mut files = Vec::new();
    collect(&sandbox.lake().join("raw/clickstream/2026/03/09"), &mut files);
    let file = files.iter().max_by_key(|file| file.metadata().unwrap().len()).unwrap();
    let bytes = std::fs::read(file).unwrap();
    std::fs::rename(file, sandbox.project().join("whole.gz")).unwrap();
    std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    let ran = sandbox.run(&RUN).ends_with(1);
    let name = file.strip_prefix(sandbox.lake()).unwrap().to_str().unwrap();
    assert!(ran.stderr.contains(&format!("cannot read `{name}` after line")), "{}", ran.stderr);
    assert!(ran.stderr.contains("damaged or was cut off"), "{}", ran.stderr);
    assert_eq!(Visible::of(&sandbox), before);
    std::fs::rename(sandbox.project().join("whole.gz"), file).unwrap();
    goes_on(&sandbox);
}

#[test]
fn an_empty_day_is_an_error_of_its_own() {
    let sandbox = Sandbox::prepared();
    let ran = sandbox.run(&["run", "daily", "--date", "2026-03-10"]).ends_with(1);
    insta::assert_snapshot!(ran.stderr.trim_end(), @"
    error: source `clickstream` has no files for 2026-03-10: looked for `.recctl/lake/raw/clickstream/2026/03/10/`
      hint: the last day that has files is 2026-03-09: choose it with `--date 2026-03-09`
    ");
}
