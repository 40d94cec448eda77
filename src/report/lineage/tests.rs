//! What people and programs see of lineage.

use serde_json::Value;

use super::{html, json, mermaid, text};
use crate::lineage::tests::{graph_of, shop};
use crate::lineage::{Asked, Directions, Graph};
use crate::report::paint::Paint;

const BOTH: Directions = Directions { up: true, down: true, depth: None };

fn told(graph: &Graph, name: &str, directions: Directions) -> String {
    text(graph, graph.find(name).unwrap(), directions, Paint::off())
}

#[test]
fn a_column_as_a_tree() {
    insta::assert_snapshot!(told(&shop(), "labels.weight", BOTH));
}

#[test]
fn a_table_column_by_column() {
    insta::assert_snapshot!(told(&shop(), "contacts", BOTH));
}

#[test]
fn a_project_as_a_list() {
    insta::assert_snapshot!(text(&shop(), Asked::Everything, BOTH, Paint::off()));
}

#[test]
fn one_way_and_a_depth() {
    let up = Directions { up: true, down: false, depth: Some(2) };
    let text = told(&shop(), "served.recs.key", up);
    insta::assert_snapshot!(text, @"
    served.recs.key  text  pii

    made from
    ├─ lists.user_id  transformation  `user#` and the id; `pk` in DynamoDB
    │  └─ best.users  identity
    ├─ lists_fallback.location  transformation  `segment#`, location and device; `pk` in DynamoDB
    └─ lists_fallback.device  transformation  `segment#`, location and device; `pk` in DynamoDB
    ");
}

#[test]
fn json_names_what_its_edges_join() {
    let graph = shop();
    for (asked, name) in
        [(Asked::Everything, None), (graph.find("labels").unwrap(), Some("labels"))]
    {
        let text = json(&graph, name, &graph.select(asked, BOTH));
        let whole: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&whole["version"], whole["asked"].as_str()), (&Value::from(1), name));
        let known = |end: &Value| {
            let datasets = whole["datasets"].as_array().unwrap();
            let dataset = datasets.iter().find(|it| it["name"] == end["dataset"]);
            let columns = dataset.unwrap()["columns"].as_array().unwrap();
            end["column"].is_null() || columns.iter().any(|it| it["name"] == end["column"])
        };
        let edges = whole["edges"].as_array().unwrap();
        assert!(edges.len() > 10);
        assert!(edges.iter().all(|edge| known(&edge["from"]) && known(&edge["to"])));
    }
}

#[test]
fn json_of_a_column() {
    let graph = shop();
    let up = Directions { up: true, down: false, depth: None };
    let selected = graph.select(graph.find("labels.weight").unwrap(), up);
    insta::assert_snapshot!(json(&graph, Some("labels.weight"), &selected));
}

#[test]
fn mermaid_of_a_column_and_of_tables() {
    let graph = shop();
    let asked = graph.find("labels.weight").unwrap();
    let depth = Directions { depth: Some(2), ..BOTH };
    insta::assert_snapshot!(mermaid(&graph, asked, &graph.select(asked, depth)));
    let asked = Asked::Everything;
    insta::assert_snapshot!(
        "mermaid_of_tables",
        mermaid(&graph, asked, &graph.select(asked, BOTH))
    );
}

/// A column whose name is trouble wherever it is not escaped.
const TROUBLE: &str = "a\\\"b</script>&#x;`c";

fn trouble() -> Graph {
    let project = format!(
        "version: 1\nsources:\n  s:\n    path: raw/s.csv\n    format: csv\n    columns: {{\"{TROUBLE}\": string}}\n\
         pipelines:\n  p:\n    steps:\n      t: {{sql: sql/t.sql}}\n"
    );
    graph_of(&project, &[("sql/t.sql", "SELECT * FROM s")])
}

#[test]
fn strange_names_are_escaped() {
    let graph = trouble();
    let asked = graph.find("t.a\"b</script>&#x;`c").unwrap();
    let drawn = mermaid(&graph, asked, &graph.select(asked, BOTH));
    assert!(drawn.contains("[\"a#quot;b#lt;/script#gt;#amp;#35;x;#96;c\"]"), "{drawn}");
    let page = html(&graph, asked);
    assert_eq!(page.matches("</script>").count(), 2, "the data's end and the script's");
    assert_eq!(data(&page)["datasets"][0]["c"][0]["n"], "a\"b</script>&#x;`c");
}

fn data(page: &str) -> Value {
    let begins = "<script type=\"application/json\" id=\"data\">";
    let (_, rest) = page.split_once(begins).unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn the_page_holds_all_and_needs_nothing() {
    let graph = shop();
    let page = html(&graph, graph.find("labels.weight").unwrap());
    let data = data(&page);
    assert_eq!(data["asked"], "labels.weight");
    assert_eq!(data["datasets"].as_array().unwrap().len(), graph.datasets.len());
    assert_eq!(data["edges"].as_array().unwrap().len(), graph.edges.len());
    // The one address is the name of a namespace, which nobody opens.
    let addresses: Vec<_> =
        page.match_indices("://").map(|(at, _)| &page[at - 5..at + 20]).collect();
    assert!(addresses.iter().all(|it| it.contains("://www.w3.org/2000")), "{addresses:?}");
    for outside in
        ["src=", "href=", "@import", "url(h", "fetch(", "/*style*/", "/*script*/", "/*data*/"]
    {
        assert!(!page.contains(outside), "{outside}");
    }
}
