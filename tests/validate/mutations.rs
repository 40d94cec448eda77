//! Whatever stands in the files, nothing panics, and every place that is told is in its file.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use recctl::query::analysis;
use recctl::run::failure::Problem;

use crate::specs::{Files, base, problems_of};

/// Pieces that readers trip over.
const ODD: [&str; 40] = [
    "\0",
    "\u{feff}",
    "\r\n",
    "\r",
    "\t",
    "🦀",
    "é\u{301}",
    "\u{2028}",
    "&a ",
    "*a",
    "<<: *a",
    "!!str ",
    "!x ",
    "{",
    "}",
    "[",
    "]",
    "- ",
    "? ",
    ": ",
    "#",
    "|\n",
    ">-\n  x",
    "\"",
    "'",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "~",
    "null",
    "99999999999999999999999999",
    "-1",
    "1e999",
    ".nan",
    "0x10",
    "$",
    "$1",
    ";",
    "--",
    "/*",
];

#[test]
fn mutated_projects_never_panic() {
    let originals = base();
    let mut random = StdRng::seed_from_u64(7);
    for round in 0..400 {
        let mut files = originals.clone();
        let names: Vec<&String> = originals.keys().collect();
        let name = names[random.random_range(0..names.len())];
        let mut text = files[name].clone();
        for _ in 0..random.random_range(1..4) {
            text = mutated(&text, &mut random);
        }
        files.insert(name.clone(), text);
        holds(&files, &format!("round {round}, {name}"));
    }
}

#[test]
fn extreme_files_never_panic() {
    // The stack that the program gives every thread which parses; those of tests are smaller.
    let thread = std::thread::Builder::new().stack_size(recctl::query::session::STACK);
    thread.spawn(extreme_files).unwrap().join().unwrap();
}

fn extreme_files() {
    let bomb = "a: &a [x, x, x, x, x, x, x, x]\n".to_owned()
        + &(b'b'..=b'k')
            .map(|c| {
                let (c, before) = (char::from(c), char::from(c - 1));
                format!("{c}: &{c} [{}]\n", vec![format!("*{before}"); 8].join(", "))
            })
            .collect::<String>();
    let deep = |open: &str, close: &str, times| open.repeat(times) + "x" + &close.repeat(times);
    let yaml = [
        bomb,
        deep("[", "]", 5_000),
        deep("{a: ", "}", 5_000),
        (0..3_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect(),
        "version: 1\r\nsources: {}\r\npipelinez: {}\r\n".to_owned(),
        "\u{feff}version: 1\nsourcez: {}\n".to_owned(),
        "version: 1\rsourcez: 2\r".to_owned(),
        "\0".to_owned(),
        "x".repeat(200_000),
        "? [a]\n: b\n".to_owned(),
        "version: 1\nversion: 1\nversion: 1\n".to_owned(),
        "a: &a\n  b: *a\n".to_owned(),
        "--- 1\n--- 2\n".to_owned(),
    ];
    for text in &yaml {
        for name in ["pipelines.yaml", "jobs/als.yaml"] {
            let mut files = base();
            files.insert(name.to_owned(), text.clone());
            holds(&files, &text.chars().take(40).collect::<String>());
        }
    }
    let sql = [
        format!("SELECT {} AS x", deep("(", ")", 40)),
        format!("SELECT {} AS x", deep("(", ")", 4_000)),
        format!("SELECT {}1 AS x", "1 + ".repeat(390)),
        format!("SELECT {}1 AS x", "1 + ".repeat(30_000)),
        format!("SELECT {} AS x", ["true"; 390].join(" AND ")),
        format!("SELECT {} AS x", "- ".repeat(40)),
        format!("SELECT {} AS x", "NOT ".repeat(4_000)),
        format!("SELECT 1 AS x {}", "UNION ALL SELECT 1 ".repeat(95)),
        format!("SELECT 1 AS x {}", "UNION ALL SELECT 1 ".repeat(10_000)),
        format!("SELECT * FROM {}", deep("(SELECT * FROM ", ")", 20)),
        format!("SELECT * FROM {}", deep("(SELECT * FROM ", ")", 10_000)),
        format!("SELECT {} FROM items", vec!["item_id"; 5_000].join(", ")),
        "SELECT 1e400, 99999999999999999999999999999999999999999999".to_owned(),
        "\u{feff}SELECT nosuch FROM items".to_owned(),
        "SELECT\r\n  nosuch\r\nFROM items\r\n".to_owned(),
        "SELECT '🦀', nosuch FROM items".to_owned(),
        "SELECT \"\" FROM items".to_owned(),
        "SELECT nosuch\tFROM items".to_owned(),
    ];
    for text in &sql {
        let mut files = base();
        files.insert("sql/catalogue.sql".to_owned(), text.clone());
        holds(&files, &text.chars().take(40).collect::<String>());
    }
}

#[test]
fn statements_never_panic_the_parser() {
    let mut random = StdRng::seed_from_u64(11);
    let originals = base();
    for (name, original) in originals.iter().filter(|(name, _)| name.ends_with(".sql")) {
        for round in 0..500 {
            let text = mutated(original, &mut random);
            let parsed = catch_unwind(AssertUnwindSafe(|| analysis::parse(&text)));
            let parsed = parsed.unwrap_or_else(|_| panic!("{name}, round {round}: {text:?}"));
            if let Err(problem) = parsed {
                let lines = text.split('\n').count();
                assert!(problem.line <= lines, "{name}, round {round}: {problem:?} in {text:?}");
            }
        }
    }
}

/// Validates and looks at every place that is told.
fn holds(files: &Files, what: &str) {
    let found = catch_unwind(AssertUnwindSafe(|| problems_of(files, &BTreeMap::new())));
    let problems = found.unwrap_or_else(|_| panic!("{what}: it panics"));
    for problem in &problems {
        assert!(is_inside(files, problem), "{what}: {problem:?}");
    }
}

/// Whether a place is in its file; the place behind the last character of a line is.
fn is_inside(files: &Files, problem: &Problem) -> bool {
    let Some(text) = files.get(&problem.file) else { return false };
    let Some(line) = text.split('\n').nth(problem.line - 1) else { return false };
    let width = line.chars().count();
    problem.column <= width + 1 && problem.length >= 1
}

/// One accident: something is cut, doubled, moved, or put in.
fn mutated(text: &str, random: &mut StdRng) -> String {
    let characters: Vec<char> = text.chars().collect();
    let at = random.random_range(0..=characters.len());
    let to = (at + random.random_range(0..12)).min(characters.len());
    let (before, piece, after) = (&characters[..at], &characters[at..to], &characters[to..]);
    let join = |parts: &[&[char]]| parts.concat().into_iter().collect::<String>();
    let odd: Vec<char> = ODD[random.random_range(0..ODD.len())].chars().collect();
    match random.random_range(0..6) {
        0 => join(&[before, after]),
        1 => join(&[before, piece, piece, after]),
        2 => join(&[before, &odd, piece, after]),
        3 => join(&[before, &odd, after]),
        4 => join(&[before]),
        _ => {
            let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
            if lines.len() > 1 {
                let (one, other) =
                    (random.random_range(0..lines.len()), random.random_range(0..lines.len()));
                lines.swap(one, other);
            }
            lines.concat()
        }
    }
}
