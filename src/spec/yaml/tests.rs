use serde::Deserialize;

use super::*;
use crate::run::failure::{Problem, Rule};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "some fields are only read from files")]
struct Shop {
    name: Option<Spanned<String>>,
    #[serde(default)]
    shelves: Entries<Shelf>,
    #[serde(default)]
    notes: Vec<Spanned<Note>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "some fields are only read from files")]
struct Shelf {
    width: Spanned<u32>,
    colour: Colour,
    #[serde(default)]
    tags: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Colour {
    Red,
    Green,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "some fields are only read from files")]
struct Note {
    #[serde(default)]
    text: Option<String>,
}

fn all(text: &str) -> (Option<Reading<Shop>>, Vec<Problem>) {
    let mut problems = Problems::default();
    let reading = read::<Shop>("shop.yaml", text, &mut problems);
    (reading, problems.into_sorted())
}

fn told(text: &str) -> String {
    let (reading, problems) = all(text);
    let mut lines: Vec<String> = problems
        .iter()
        .map(|it| {
            let line = text.split('\n').nth(it.line - 1).unwrap_or_default();
            let piece: String = line.chars().skip(it.column - 1).take(it.length).collect();
            format!("{}:{}: {} «{piece}»", it.line, it.column, it.message)
        })
        .collect();
    match reading {
        Some(reading) => {
            let left = reading.value.shelves.0.iter().map(|(name, _)| name.value.clone());
            lines.push(format!("left: {}", left.collect::<Vec<_>>().join(" ")));
        }
        None => lines.push("nothing left".to_owned()),
    }
    lines.join("\n")
}

#[test]
fn all_errors_of_shape_come_at_once() {
    let text = "\
nme: corner
shelves:
  top:
    width: wide
    colour: red
  middle:
    width: 3
    colour: blue
    tags: [a, [b], c]
  low: {width: 2, colour: green, hight: 4}
  floor:
    colour: green
    widht: 7
  last:
    colour: green
notes:
  - text: one
  - txt: two
  - three
";
    insta::assert_snapshot!(told(text));
}

#[test]
fn what_is_left_stands_where_it_stood() {
    let text = "nme: x\nshelves:\n  a: {hight: 1, width: 2, colour: red} # é\n  b: {width: 3, colour: red, x: [1, 2]}\n";
    let (reading, problems) = all(text);
    assert_eq!(problems.len(), 3, "{problems:#?}");
    let reading = reading.unwrap();
    let places: Vec<_> = reading
        .value
        .shelves
        .0
        .iter()
        .map(|(_, shelf)| (shelf.width.referenced.line(), shelf.width.referenced.column()))
        .collect();
    assert_eq!(places, [(3, 24), (4, 14)]);
    assert!(reading.lost.inside(&["shelves", "a"]) && reading.lost.has(&["name"]));
    assert!(!reading.lost.inside(&["notes"]));
    assert_eq!(reading.lost.names(&["shelves", "b"]).collect::<Vec<_>>(), ["x"]);
}

#[test]
fn lists_and_mappings_that_lose_everything_are_empty() {
    for text in [
        "notes:\n  - txt: two\n",
        "notes: [{txt: two}]\n",
        "notes:\n- three\n",
        "notes: [three]\n",
        "shelves:\n  a:\n    hight: 2\n",
        "shelves: {a: {hight: 2}}\n",
        "shelves: three\n",
        "notes: {}\n",
        "nme:\n",
    ] {
        let (reading, problems) = all(text);
        assert!(reading.is_some() && !problems.is_empty(), "{text}: {problems:#?}");
    }
}

#[test]
fn given_twice_is_told_once_and_the_first_stays() {
    let text = "shelves:\n  a: {width: 1, colour: red}\n  a: {width: 2, colour: red}\nname: x\n";
    insta::assert_snapshot!(told(text));
}

#[test]
fn errors_of_syntax_end_it() {
    insta::assert_snapshot!(told("shelves: {a: [1\nnme: x\n"));
    // A list that an alias names is gone: that is no error of syntax by the writer.
    let text = "shelves:\n  a: &a {hight: 1}\n  b: *a\n";
    let (_, problems) = all(text);
    assert!(problems.iter().all(|it| it.rule != Rule::YamlSyntax), "{problems:#?}");
}
