use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::pipeline::graph::{Pipeline, Split, in_order};
use crate::pipeline::retries::RetryPolicy;
use crate::pipeline::step::{LoadStep, Step, StepKind};

fn step(name: &str, after: &[&str], tags: &[&str]) -> Step {
    Step {
        name: Name::new(name).unwrap(),
        kind: StepKind::Load(LoadStep {
            from: Name::new("outside").unwrap(),
            table: Name::new("t").unwrap(),
            keep: 1,
            names: None,
            allow: Vec::new(),
        }),
        mentions: Vec::new(),
        after: after.iter().map(|name| Name::new(*name).unwrap()).collect(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
    }
}

fn pipeline(steps: Vec<Step>) -> Pipeline {
    Pipeline {
        name: Name::new("daily").unwrap(),
        steps: in_order(steps).unwrap(),
        unselected: Vec::new(),
        foreseen: BTreeSet::new(),
        sources: BTreeMap::new(),
        variables: BTreeMap::new(),
        split: Split { window: 3, validation: 1, test: 1 },
        definition: Default::default(),
        lookback: 0,
        schedule: None,
        deadline: None,
        retries: RetryPolicy::default(),
    }
}

/// raw → clean → sessions → labels → model; catalogue → labels; clean → report.
fn daily() -> Pipeline {
    pipeline(vec![
        step("raw", &[], &["nightly"]),
        step("catalogue", &[], &["nightly", "gold"]),
        step("clean", &["raw"], &[]),
        step("sessions", &["clean"], &[]),
        step("labels", &["sessions", "catalogue"], &["gold"]),
        step("report", &["clean"], &[]),
        step("model", &["labels"], &["ml-2"]),
    ])
}

fn texts(one: &str) -> Vec<String> {
    if one.is_empty() { Vec::new() } else { vec![one.to_owned()] }
}

fn selected(select: &str, exclude: &str) -> Result<String, SelectionError> {
    let mut states = States::new();
    let set = |names: &[&str]| names.iter().map(|name| Name::new(*name).unwrap()).collect();
    states.insert(State::Changed(Some("main".to_owned())), set(&["clean"]));
    states.insert(State::Changed(None), set(&["report"]));
    states.insert(State::Failed, set(&["labels", "model"]));
    let steps = Selection::parse(&texts(select), &texts(exclude))?.of(&daily(), &states)?;
    let names: Vec<&str> = steps.iter().map(Name::as_str).collect();
    Ok(names.join(" "))
}

#[test]
fn what_is_selected() {
    for (select, exclude, expected) in [
        ("", "", "catalogue clean labels model raw report sessions"),
        ("labels", "", "labels"),
        ("name:labels", "", "labels"),
        ("+labels", "", "catalogue clean labels raw sessions"),
        ("labels+", "", "labels model"),
        ("+labels+", "", "catalogue clean labels model raw sessions"),
        ("1+labels", "", "catalogue labels sessions"),
        ("2+labels+1", "", "catalogue clean labels model sessions"),
        ("0+labels+0", "", "labels"),
        ("clean+1", "", "clean report sessions"),
        ("@report", "", "clean raw report"),
        ("@sessions", "", "catalogue clean labels model raw sessions"),
        ("raw catalogue", "", "catalogue raw"),
        ("  raw \t catalogue ", "", "catalogue raw"),
        ("+report,+labels", "", "clean raw"),
        ("+report,+labels model", "", "clean model raw"),
        ("tag:nightly", "", "catalogue raw"),
        ("tag:nightly,tag:gold", "", "catalogue"),
        ("tag:gold+", "", "catalogue labels model"),
        ("tag:ml-?", "", "model"),
        ("*e*", "", "catalogue clean labels model report sessions"),
        ("[lr]*", "", "labels raw report"),
        ("kind:load,r*", "", "raw report"),
        ("changed:main", "", "clean"),
        ("1+changed:main+", "", "clean labels model raw report sessions"),
        ("changed:", "", "report"),
        ("failed:,tag:gold", "", "labels"),
        ("", "tag:nightly", "clean labels model report sessions"),
        ("+labels", "raw catalogue", "clean labels sessions"),
        ("clean+", "@report", "labels model sessions"),
        ("raw model", "labels", "model raw"),
    ] {
        let found = selected(select, exclude);
        assert_eq!(found.as_deref(), Ok(expected), "--select '{select}' --exclude '{exclude}'");
    }
}

#[test]
fn what_is_told_of_mistakes() {
    let mut told = String::new();
    for (select, exclude) in [
        ("raw lables", ""),
        ("+lables+", ""),
        ("tag:nightli", ""),
        ("tags:nightly", ""),
        ("path:", ""),
        ("kind:trian", ""),
        ("kind:job", ""),
        ("stale:main", ""),
        ("raw,", ""),
        ("raw, clean", ""),
        (",raw", ""),
        ("+", ""),
        ("3+", ""),
        ("@", ""),
        ("@raw+", ""),
        ("@+raw", ""),
        ("99999999999+raw", ""),
        ("[raw", ""),
        ("clean ra[w", ""),
        (" ", ""),
        ("raw", "cleen"),
        ("raw,clean", ""),
        ("x*", ""),
        ("stale: path:sql", ""),
        ("changed:v1", ""),
        ("@report,model", ""),
        ("raw", "raw"),
        ("", "*"),
        ("größe", ""),
    ] {
        let error = selected(select, exclude).unwrap_err();
        let hint = error.hint.as_deref().unwrap_or("-");
        writeln!(told, "[{select}] [{exclude}]\n  {error}\n  {hint}").unwrap();
    }
    insta::assert_snapshot!(told);
}

#[test]
fn what_must_be_known_first() {
    let select = ["+changed:main tag:x".to_owned(), "stale:".to_owned()];
    let selection = Selection::parse(&select, &["failed:+".to_owned()]).unwrap();
    let asked: Vec<String> = selection.asks().iter().map(|state| format!("{state:?}")).collect();
    assert_eq!(asked, ["Changed(Some(\"main\"))", "Stale", "Failed"]);
}

#[test]
fn paths_are_files_folders_and_globs() {
    let fits = |pattern: &str, file: &str| {
        let selection = Selection::parse(&[format!("path:{pattern}")], &[]).unwrap();
        match &selection.select[0].terms[0].atoms[0].method {
            Method::Path(pattern) => pattern.holds_file(file),
            other => panic!("{other:?}"),
        }
    };
    for pattern in ["sql", "sql/", "./sql/daily", "sql/daily/users.sql", "sql/*/users.sql", "*.sql"]
    {
        assert!(fits(pattern, "sql/daily/users.sql"), "{pattern}");
    }
    for pattern in ["sq", "sql/dail", "users.sql", "jobs", "sql/daily/*.yaml"] {
        assert!(!fits(pattern, "sql/daily/users.sql"), "{pattern}");
    }
}

/// No text makes it panic, and what is wrong lies inside of the text.
#[test]
fn any_text_is_read_or_refused() {
    let pieces = [
        "+",
        "@",
        ",",
        " ",
        ":",
        "*",
        "?",
        "[",
        "]",
        "!",
        "-",
        "0",
        "7",
        "99999999999",
        "raw",
        "clean",
        "tag",
        "changed",
        "kind",
        "stale:",
        "name:",
        "ä",
        "\u{1f600}",
        "\t",
        "~^{}",
    ];
    let mut random = StdRng::seed_from_u64(1);
    let pipeline = daily();
    let mut read = 0;
    for _ in 0..20_000 {
        let length = random.random_range(0..9);
        let text: String =
            (0..length).map(|_| pieces[random.random_range(0..pieces.len())]).collect();
        match Selection::parse(std::slice::from_ref(&text), &[]) {
            Ok(selection) => {
                read += 1;
                let _ = selection.of(&pipeline, &States::new());
            }
            Err(error) => {
                let column = error.message.split("column ").nth(1).unwrap();
                let column: usize = column.split(':').next().unwrap().parse().unwrap();
                assert!((1..=text.chars().count() + 1).contains(&column), "{text:?}: {error}");
            }
        }
    }
    assert!(read > 1_000, "{read}");
}

/// A graph as a matrix: reachability by squaring it, which shares nothing with what is tested.
struct Model {
    names: Vec<String>,
    needs: Vec<Vec<bool>>,
}

type Set = BTreeSet<usize>;

impl Model {
    fn random(random: &mut StdRng) -> Self {
        let size = random.random_range(1..12);
        let names = (0..size).map(|index| format!("s{index}")).collect();
        let mut needs = vec![vec![false; size]; size];
        for (to, row) in needs.iter_mut().enumerate() {
            for from in row.iter_mut().take(to) {
                *from = random.random_bool(0.3);
            }
        }
        Self { names, needs }
    }

    fn pipeline(&self) -> Pipeline {
        let steps = self.needs.iter().enumerate().map(|(index, row)| {
            let after: Vec<&str> =
                (0..row.len()).filter(|from| row[*from]).map(|from| &*self.names[from]).collect();
            step(&self.names[index], &after, &[])
        });
        pipeline(steps.collect())
    }

    /// Whether `to` needs `from` over at most so many edges.
    fn reaches(&self, from: usize, to: usize, edges: usize) -> bool {
        from == to
            || edges > 0
                && (0..self.names.len())
                    .any(|via| self.needs[to][via] && self.reaches(from, via, edges - 1))
    }

    /// A random atom and what it means.
    fn atom(&self, random: &mut StdRng) -> (String, Set) {
        let center = random.random_range(0..self.names.len());
        let name = &self.names[center];
        let all = 0..self.names.len();
        let most = self.names.len();
        let up = random.random_range(0..4);
        let down = random.random_range(0..4);
        match random.random_range(0..6) {
            0 => (name.clone(), Set::from([center])),
            1 => (format!("+{name}"), all.filter(|s| self.reaches(*s, center, most)).collect()),
            2 => (format!("{name}+"), all.filter(|s| self.reaches(center, *s, most)).collect()),
            3 => {
                let near =
                    |s: &usize| self.reaches(*s, center, up) || self.reaches(center, *s, down);
                (format!("{up}+{name}+{down}"), all.filter(near).collect())
            }
            4 => {
                let below: Set = all.clone().filter(|s| self.reaches(center, *s, most)).collect();
                let closed = all.filter(|s| below.iter().any(|b| self.reaches(*s, *b, most)));
                (format!("@{name}"), closed.collect())
            }
            _ => ("s?".to_owned(), all.filter(|s| *s < 10).collect()),
        }
    }

    fn term(&self, random: &mut StdRng) -> (String, Set) {
        let (mut text, mut set) = self.atom(random);
        for _ in 0..random.random_range(0..3) {
            let (more, other) = self.atom(random);
            text = format!("{text},{more}");
            set = set.intersection(&other).copied().collect();
        }
        (text, set)
    }

    fn expression(&self, random: &mut StdRng) -> (String, Set) {
        let (mut text, mut set) = self.term(random);
        for _ in 0..random.random_range(0..3) {
            let (more, other) = self.term(random);
            text = format!("{text} {more}");
            set.extend(other);
        }
        (text, set)
    }

    fn evaluated(&self, select: &[String], exclude: &[String]) -> Set {
        let selection = Selection::parse(select, exclude).unwrap();
        match selection.of(&self.pipeline(), &States::new()) {
            Ok(steps) => (0..self.names.len())
                .filter(|index| steps.iter().any(|step| step.as_str() == self.names[*index]))
                .collect(),
            Err(_) => Set::new(),
        }
    }
}

#[test]
fn it_means_what_sets_mean() {
    let mut random = StdRng::seed_from_u64(2);
    let mut nothing = 0;
    for _ in 0..1_500 {
        let model = Model::random(&mut random);
        let (a, in_a) = model.expression(&mut random);
        let (b, in_b) = model.expression(&mut random);
        let (x, in_x) = model.expression(&mut random);
        let told = format!("{:?} [{a}] [{b}] -[{x}]", model.needs);
        assert_eq!(model.evaluated(std::slice::from_ref(&a), &[]), in_a, "{told}");
        let both: Set = in_a.union(&in_b).copied().collect();
        let together = [a.clone(), b.clone()];
        assert_eq!(model.evaluated(&together, &[]), both, "several options are a union: {told}");
        let joined = [format!("{a} {b}")];
        assert_eq!(model.evaluated(&joined, &[]), both, "so is a space: {told}");
        let less: Set = both.difference(&in_x).copied().collect();
        assert_eq!(model.evaluated(&together, std::slice::from_ref(&x)), less, "{told}");
        assert_eq!(model.evaluated(&[b, a], &[x]), less, "in any order: {told}");
        nothing += usize::from(less.is_empty());
    }
    assert!((10..1_000).contains(&nothing), "{nothing}");
}
