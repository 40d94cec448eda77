//! The graph of small projects.

use std::collections::BTreeMap;

use super::{Asked, DatasetKind, Directions, Edge, Graph, Node, Placed, arrange, exposures, graph};
use crate::query::analysis::{self, analyse};
use crate::spec::compile::{Inputs, compile};

const PROJECT: &str = "\
version: 1
sources:
  events:
    path: raw/{yyyy}/{MM}/{dd}/
    format: json
    columns:
      event_id: string
      user_id: {type: string, tags: [pii]}
      item_id: string
      kind: string
      email: {type: string?, tags: [pii, contact]}
  items:
    path: raw/items.csv
    format: csv
    columns: {item_id: string, name: string}
pipelines:
  shop:
    split: {window: 8d, validation: 2d, test: 2d}
    steps:
      catalogue: {sql: sql/catalogue.sql, publish: [catalog, warehouse]}
      labels: {sql: sql/labels.sql, partition_by: [dt]}
      contacts:
        sql: sql/contacts.sql
        partition_by: [dt]
        untag: {letters: {tags: [contact], reason: a length tells nothing}}
      knn: {train: jobs/knn.yaml, inputs: {train: labels}}
      popular: {train: jobs/popular.yaml, inputs: {train: labels}}
      best: {select: {candidates: [knn], baselines: [popular], metric: ndcg@10}}
      lists: {score: {model: best, fallback: popular, top: 20}}
      serve:
        load: {from: lists, table: recs, names: {table: catalogue, key: item_id, column: name}}
";

const FILES: [(&str, &str); 5] = [
    ("sql/catalogue.sql", "SELECT item_id, trim(name) AS name FROM items"),
    (
        "sql/labels.sql",
        "SELECT
    user_id,
    item_id,
    sum(CASE WHEN kind = 'buy' THEN 2 ELSE 1 END) AS weight,
    $logical_date AS dt
FROM events
WHERE event_id IS NOT NULL
GROUP BY user_id, item_id",
    ),
    (
        "sql/contacts.sql",
        "SELECT lower(email) AS email, length(email) AS letters, count(email) OVER () AS n,
    $logical_date AS dt,
    CASE WHEN email IS NULL THEN 'filtered: nobody' ELSE 'kept' END AS _fate
FROM events",
    ),
    ("jobs/knn.yaml", "algorithm: item_knn\n"),
    ("jobs/popular.yaml", "algorithm: popularity\n"),
];

/// The graph of a project's files.
pub(crate) fn graph_of(project: &str, files: &[(&str, &str)]) -> Graph {
    let read = |path: &str| match (path, files.iter().find(|(name, _)| *name == path)) {
        ("pipelines.yaml", _) => Ok(project.to_owned()),
        (_, Some((_, text))) => Ok((*text).to_owned()),
        (_, None) => Err(std::io::ErrorKind::NotFound.into()),
    };
    let (list, given) = (|_: &str| Vec::new(), BTreeMap::new());
    let inputs = Inputs { read: &read, list: &list, analyze: &analysis::parse, given: &given };
    let project = compile(&inputs).valid().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let analyses = project
        .pipelines
        .iter()
        .map(|(name, pipeline)| (name.clone(), runtime.block_on(analyse(pipeline))));
    graph(&project, &analyses.collect())
}

/// A small project with a step of every kind.
pub(crate) fn shop() -> Graph {
    graph_of(PROJECT, &FILES)
}

fn told(graph: &Graph, edge: &Edge) -> String {
    let rows = |node: Node| if node.column.is_none() { " (rows)" } else { "" };
    let place = edge.place.as_ref();
    let place =
        place.map_or_else(String::new, |it| format!(" {}:{}:{}", it.file, it.line, it.column));
    format!(
        "{}{} → {}{} {}{}{place}{}",
        graph.name(edge.from),
        rows(edge.from),
        graph.name(edge.to),
        rows(edge.to),
        edge.how.word(),
        if edge.shows_values { "" } else { " hidden" },
        edge.expression.as_ref().map_or_else(String::new, |text| format!(" «{text}»")),
    )
}

#[test]
fn every_kind_of_step_hands_columns_on() {
    let graph = shop();
    let edges: Vec<String> = graph.edges.iter().map(|edge| told(&graph, edge)).collect();
    insta::assert_snapshot!(edges.join("\n"));
    assert_eq!(graph.unknown, []);
}

#[test]
fn what_is_served_comes_from_sources() {
    let graph = shop();
    for (served, source) in [
        ("served.recs.key", "events.user_id"),
        ("served.recs.items", "events.item_id"),
        ("served.recs.scores", "events.kind"),
        ("served.recs.names", "items.name"),
    ] {
        let Asked::Column(node) = graph.find(served).unwrap() else { panic!("{served}") };
        let up = graph.walk(&[node], Directions { up: true, down: false, depth: None });
        assert!(up.nodes.iter().any(|node| graph.name(*node) == source), "{served}");
    }
}

#[test]
fn walks_end_at_their_depth() {
    let graph = shop();
    let Asked::Column(node) = graph.find("labels.weight").unwrap() else { panic!() };
    let reached = |up, down, depth| {
        let selected = graph.walk(&[node], Directions { up, down, depth });
        let mut names: Vec<String> = selected.nodes.iter().map(|it| graph.name(*it)).collect();
        names.sort();
        names
    };
    assert_eq!(reached(true, false, None), ["events.kind", "labels.weight"]);
    let next = ["knn/train.weight", "labels.weight", "popular/train.weight"];
    assert_eq!(reached(false, true, Some(1)), next);
    assert!(reached(false, true, None).contains(&"served.recs.scores".to_owned()));
    assert_eq!(reached(true, true, Some(1)).len(), 4);
}

#[test]
fn names_lead_to_datasets_and_columns() {
    let graph = shop();
    let hint = |text: &str| {
        let missing = graph.find(text).unwrap_err();
        format!("{} ({})", missing.message, missing.hint)
    };
    assert!(matches!(graph.find("served.recs"), Ok(Asked::Dataset(_))));
    assert!(matches!(graph.find("warehouse.catalogue.name"), Ok(Asked::Column(_))));
    assert!(matches!(graph.find("knn/train.user_id"), Ok(Asked::Column(_))));
    assert_eq!(hint("lable.weight"), "there is no table `lable` (did you mean `labels`?)");
    assert_eq!(hint("labels.wieght"), "`labels` has no column `wieght` (did you mean `weight`?)");
    assert!(hint("zzz").starts_with("there is no table `zzz` (there is `"), "{}", hint("zzz"));
}

#[test]
fn tags_go_where_values_can_be_read() {
    let graph = shop();
    let tags = |name: &str| {
        let Asked::Column(node) = graph.find(name).unwrap() else { panic!("{name}") };
        graph.column(node).unwrap().tags.join(" ")
    };
    assert_eq!(tags("contacts.email"), "contact pii");
    assert_eq!(tags("contacts.letters"), "pii");
    assert_eq!(tags("contacts.n"), "");
    assert_eq!(tags("labels.weight"), "");
    assert_eq!(tags("knn.users"), "pii");
    assert_eq!(tags("served.recs.key"), "pii");
    assert_eq!(tags("served.recs.items"), "");
    assert_eq!(tags("quarantine.raw"), "contact pii");
    assert_eq!(tags("quarantine.reason"), "");
    let found = exposures(&graph, "pii", DatasetKind::Served);
    let [one] = found.as_slice() else { panic!("{found:?}") };
    let path: Vec<String> = one.path.iter().map(|edge| graph.name(edge.to)).collect();
    assert_eq!(graph.name(one.source), "events.user_id");
    let way = ["labels.user_id", "knn/train.user_id", "knn.users", "best.users", "lists.user_id"];
    assert_eq!(path, [&way[..], &["served.recs.key"]].concat());
}

#[test]
fn steps_of_the_same_name_are_told_apart() {
    let two = PROJECT.replace(
        "  shop:\n",
        "  first:\n    steps:\n      labels: {sql: sql/labels.sql, partition_by: [dt]}\n  shop:\n",
    );
    let graph = graph_of(&two, &FILES);
    assert!(graph.dataset("first/labels").is_some());
    assert!(graph.dataset("shop/labels").is_some());
    let Asked::Column(node) = graph.find("knn/train.weight").unwrap() else { panic!() };
    let from: Vec<String> = graph.coming_into(node).map(|edge| graph.name(edge.from)).collect();
    assert_eq!(from, ["shop/labels.weight"]);
}

/// Tables in a row of layers, each with columns from some of the layer before and some further back.
fn large(tables: usize) -> Graph {
    let mut graph = Graph::default();
    for table in 0..tables {
        let columns = (0..3 + table % 17).map(|column| super::Column {
            name: format!("column_{column}"),
            kind: "Utf8".to_owned(),
            tags: Vec::new(),
            expression: None,
            place: None,
        });
        graph.datasets.push(super::Dataset {
            name: format!("table_{table:03}"),
            kind: DatasetKind::Table,
            pipeline: None,
            file: None,
            columns: columns.collect(),
        });
        for back in [table % 7 + 3, table % 11 + 9, 31] {
            if back <= table {
                let node = |dataset: usize| Node { dataset, column: Some(table % 3) };
                graph.edges.push(Edge {
                    from: node(table - back),
                    to: node(table),
                    how: super::How::Identity,
                    shows_values: true,
                    expression: None,
                    place: None,
                });
            }
        }
    }
    graph
}

#[test]
fn boxes_lie_apart_and_lines_go_to_the_right() {
    for graph in [shop(), large(120), Graph::default()] {
        let drawing = arrange(&graph);
        assert_eq!(drawing.boxes.len(), graph.datasets.len());
        let apart = |a: &Placed, b: &Placed| {
            a.x + a.width < b.x
                || b.x + b.width < a.x
                || a.y + a.height < b.y
                || b.y + b.height < a.y
        };
        for (index, one) in drawing.boxes.iter().enumerate() {
            assert!(one.x >= 0.0 && one.x + one.width <= drawing.width);
            assert!(one.y >= 0.0 && one.y + one.height <= drawing.height + 1.0);
            for other in &drawing.boxes[index + 1..] {
                assert!(apart(one, other), "{one:?} {other:?}");
            }
        }
        for route in &drawing.routes {
            let (from, to) = (drawing.boxes[route.from], drawing.boxes[route.to]);
            assert!(from.layer < to.layer);
            assert_eq!(route.joints.len(), 2 * (to.layer - from.layer - 1));
            // No line runs through a box.
            for joint in route.joints.chunks(2) {
                let hit = drawing.boxes.iter().find(|it| {
                    it.x < joint[1].0
                        && joint[0].0 < it.x + it.width
                        && it.y < joint[0].1
                        && joint[0].1 < it.y + it.height
                });
                assert_eq!(hit, None);
            }
        }
        assert_eq!(arrange(&graph), drawing);
    }
}
