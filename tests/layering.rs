//! Imports go down the layers of `src/lib.rs`, never up and never sideways.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The layers from top to bottom; modules of one line do not know each other.
const LAYERS: [&[&str]; 15] = [
    &["cli"],
    &["app"],
    &["settings"],
    &["engine", "report"],
    &["plan"],
    &["validate"],
    &["testing"],
    &["lineage"],
    &["steps"],
    &["models", "query", "sample"],
    &["adapters"],
    &["ports"],
    &["spec"],
    &["run"],
    &["pipeline"],
];

/// Modules that may use less than all that lies below them.
const NARROW: [(&str, &[&str]); 7] = [
    ("settings", &["report"]),
    ("validate", &["lineage", "models", "query", "ports", "spec", "run", "pipeline"]),
    ("lineage", &["steps", "query", "spec", "pipeline"]),
    ("models", &["pipeline"]),
    ("sample", &[]),
    ("adapters", &["ports", "run", "pipeline"]),
    ("spec", &["run", "pipeline"]),
];

/// The only module that may choose adapters.
const COMPOSITION_ROOT: &str = "app";
/// What settings may know of the report: the word on the command line.
const SETTINGS_MAY_USE: &str = "OutputMode";
const PRINTERS: [&str; 2] = ["report", "cli"];
const PRINTING: [&str; 5] = ["println", "print", "eprintln", "eprint", "dbg"];

#[test]
fn imports_go_down() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&source, &mut files);
    assert!(files.len() > 100, "found {} files only", files.len());
    let mut seen = 0;
    let mut violations = String::new();
    for file in files {
        let relative = file.strip_prefix(&source).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let found = check(relative, &text);
        seen += found.paths;
        for (line, what) in found.violations {
            let _ = writeln!(violations, "src/{}:{line}: {what}", relative.display());
        }
    }
    assert!(seen > 200, "found {seen} paths only: does the reader still see imports?");
    assert!(violations.is_empty(), "imports against the layers of src/lib.rs:\n{violations}");
}

#[test]
fn every_module_has_a_layer() {
    let text = include_str!("../src/lib.rs");
    let declared: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let listed: Vec<&str> = LAYERS.concat();
    assert_eq!(declared, listed, "src/lib.rs and this list name the layers from top to bottom");
}

#[test]
fn catches_what_it_should() {
    for (file, text, expected) in [
        ("run/record.rs", "use crate::report::Table;", Some("1: `run` may not use `report`")),
        ("query/scan.rs", "\nuse crate::models::train;", Some("2: `query` may not use `models`")),
        ("query/scan.rs", "use super::super::sample;", Some("1: `query` may not use `sample`")),
        ("query/raw/mod.rs", "use super::super::sample;", Some("1: `query` may not use `sample`")),
        (
            "engine/mod.rs",
            "fn f() { crate::report::x() }",
            Some("1: `engine` may not use `report`"),
        ),
        (
            "plan/mod.rs",
            "use crate::{\n    pipeline::name::Name,\n    engine::{run, gather},\n};",
            Some("3: `plan` may not use `engine`"),
        ),
        ("models/mod.rs", "use crate::run::failure;", Some("1: `models` may not use `run`")),
        ("spec/yaml.rs", "use crate::ports::Clock;", Some("1: `spec` may not use `ports`")),
        ("cli/run.rs", "use crate::adapters::local;", Some("1: `cli` may not use `adapters`")),
        (
            "settings/mod.rs",
            "use crate::report::Table;",
            Some("1: `settings` may use only `report::OutputMode`"),
        ),
        (
            "adapters/aws/glue.rs",
            "use crate::adapters::local::Database;",
            Some("1: `adapters::aws` may not use `adapters::local`"),
        ),
        (
            "adapters/aws/glue.rs",
            "use super::super::local::Database;",
            Some("1: `adapters::aws` may not use `adapters::local`"),
        ),
        (
            "steps/sql.rs",
            "fn f() {\n println!(\"x\");\n}",
            Some("2: `println!` is for report and cli"),
        ),
        (
            "steps/sql.rs",
            "#[cfg(test)]\nmod tests {\n    use super::super::super::cli;\n}",
            Some("3: `steps` may not use `cli`"),
        ),
        // And what is none.
        ("run/record.rs", "use crate::pipeline::name::Name;", None),
        ("steps/sql.rs", "#[cfg(test)]\nmod tests {\n    use super::super::context;\n}", None),
        ("run/record.rs", "// use crate::report::Table;\n/* crate::cli */", None),
        (
            "run/record.rs",
            "const A: &str = \"crate::cli\"; const B: &str = r#\"\"crate::cli\"#;",
            None,
        ),
        ("run/record.rs", "fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' }", None),
        ("settings/mod.rs", "use crate::report::OutputMode;", None),
        ("app/mod.rs", "use crate::adapters::local::LocalTarget;", None),
        ("adapters/local/state.rs", "use crate::adapters::local::sqlite;", None),
        ("cli/mod.rs", "fn f() { println!(\"x\"); }", None),
        ("plan/mod.rs", "fn f(s: &str) { writeln!(s, \"x\"); }", None),
    ] {
        let violations = check(Path::new(file), text).violations;
        let found: Vec<String> =
            violations.iter().map(|(line, what)| format!("{line}: {what}")).collect();
        assert_eq!(found, Vec::from_iter(expected.map(str::to_owned)), "{file}: {text}");
    }
}

struct Checked {
    paths: usize,
    violations: Vec<(usize, String)>,
}

fn check(file: &Path, text: &str) -> Checked {
    let own = module_of(file);
    let mut checked = Checked { paths: 0, violations: Vec::new() };
    // `main.rs` and `lib.rs` stand above all layers.
    let Some(module) = own.first().cloned() else { return checked };
    let tokens = tokens(text);
    for (line, path) in paths(&tokens, &own) {
        checked.paths += 1;
        if let Some(what) = judge(&own, &module, &path) {
            checked.violations.push((line, what));
        }
    }
    for pair in tokens.windows(2) {
        let word = pair[0].text.as_str();
        if PRINTING.contains(&word) && pair[1].text == "!" && !PRINTERS.contains(&module.as_str()) {
            checked.violations.push((pair[0].line, format!("`{word}!` is for report and cli")));
        }
    }
    checked.violations.sort();
    checked.violations.dedup();
    checked
}

fn judge(own: &[String], from: &str, path: &[String]) -> Option<String> {
    let to = path.first()?.as_str();
    let rank = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let to_rank = rank(to)?;
    if from == to {
        if from == "adapters"
            && let (Some(mine), Some(other)) = (own.get(1), path.get(1))
            && mine != other
        {
            return Some(format!("`adapters::{mine}` may not use `adapters::{other}`"));
        }
        return None;
    }
    let refused = Some(format!("`{from}` may not use `{to}`"));
    let Some(from_rank) = rank(from) else { return Some(format!("`{from}` has no layer")) };
    if to_rank <= from_rank || (to == "adapters" && from != COMPOSITION_ROOT) {
        return refused;
    }
    if let Some((_, may)) = NARROW.iter().find(|(module, _)| *module == from)
        && !may.contains(&to)
    {
        return refused;
    }
    if from == "settings" && path.get(1).is_none_or(|what| what != SETTINGS_MAY_USE) {
        return Some(format!("`settings` may use only `report::{SETTINGS_MAY_USE}`"));
    }
    None
}

/// The module that a file is: `query/raw/mod.rs` is `query::raw`.
fn module_of(file: &Path) -> Vec<String> {
    let mut module: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

/// Absolute paths that begin with `crate` or `super`, at most two segments each, with their lines.
fn paths(tokens: &[Token], own: &[String]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    // Modules that are written within the file, each with the depth of braces that it ends at.
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        let text = tokens[at].text.as_str();
        let next = |n: usize| tokens.get(at + n).map_or("", |token| token.text.as_str());
        match text {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inline.last().is_some_and(|(_, end)| *end == depth) {
                    inline.pop();
                }
            }
            "mod" if next(2) == "{" => inline.push((next(1).to_owned(), depth)),
            "crate" | "super" if next(1) == "::" && (at == 0 || tokens[at - 1].text != "::") => {
                let mut base: Vec<String> = Vec::new();
                let mut rest = at;
                if text == "super" {
                    base = own.to_vec();
                    base.extend(inline.iter().map(|(name, _)| name.clone()));
                    while tokens.get(rest).is_some_and(|token| token.text == "super") {
                        base.pop();
                        rest += 2;
                    }
                } else {
                    rest += 2;
                }
                branches(tokens, rest, &base, &mut found);
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Follows a path, through braces, until it is two segments long.
fn branches(tokens: &[Token], at: usize, base: &[String], found: &mut Vec<(usize, Vec<String>)>) {
    let Some(token) = tokens.get(at) else { return };
    if token.text == "{" {
        let mut depth = 0;
        let mut starts = true;
        for (offset, inner) in tokens[at..].iter().enumerate() {
            match inner.text.as_str() {
                "{" => {
                    depth += 1;
                    starts = depth == 1;
                    continue;
                }
                "}" if depth == 1 => return,
                "}" => depth -= 1,
                "," if depth == 1 => {
                    starts = true;
                    continue;
                }
                _ if depth == 1 && starts => branches(tokens, at + offset, base, found),
                _ => {}
            }
            starts = false;
        }
        return;
    }
    let mut path = base.to_vec();
    path.push(token.text.clone());
    let goes_on = tokens.get(at + 1).is_some_and(|next| next.text == "::");
    if path.len() < 2 && goes_on {
        branches(tokens, at + 2, &path, found);
    } else {
        found.push((token.line, path));
    }
}

#[derive(Debug)]
struct Token {
    text: String,
    line: usize,
}

/// Words, `::` and single characters; comments, strings and characters are left out.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    while at < chars.len() {
        let rest = &chars[at..];
        let length = match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['"', ..] => string(rest),
            ['r', '"', ..] | ['r', '#', '"', ..] | ['r', '#', '#', ..] => raw_string(rest),
            ['b', 'r', '"', ..] | ['b', 'r', '#', ..] => 1 + raw_string(&rest[1..]),
            ['\'', '\\', ..] => 3 + rest[3..].iter().position(|c| *c == '\'').unwrap_or(0),
            // Otherwise it is a lifetime.
            ['\'', _, '\'', ..] => 3,
            _ => 0,
        };
        if length > 0 {
            line += rest[..length].iter().filter(|c| **c == '\n').count();
            at += length;
            continue;
        }
        let c = chars[at];
        let length = match c {
            c if is_word(c) => rest.iter().position(|c| !is_word(*c)).unwrap_or(rest.len()),
            ':' if rest.get(1) == Some(&':') => 2,
            _ => 1,
        };
        if !c.is_whitespace() {
            tokens.push(Token { text: rest[..length].iter().collect(), line });
        }
        line += usize::from(c == '\n');
        at += length;
    }
    tokens
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    // A raw identifier such as `r#type` is a word.
    if rest.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = 2 + hashes;
    let found = rest[body..].windows(end.len()).position(|window| window == end);
    found.map_or(rest.len(), |found| body + found + end.len())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
