//! Lineage as one page with all that it needs: no network, no file beside it. The drawing's places
//! are computed here; the page's script only shows them.

use serde::Serialize;
use serde_json::json;

use crate::lineage::{Asked, Edge, FilePlace, Graph, HEAD, How, MOST_ROWS, ROW, arrange};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// A dataset as the page's script reads it; one-letter names, as there may be thousands of columns.
#[derive(Serialize)]
struct Dataset<'a> {
    n: &'a str,
    k: &'static str,
    p: Option<&'a str>,
    f: Option<&'a str>,
    x: f64,
    y: f64,
    w: f64,
    h: f64,
    c: Vec<Column<'a>>,
}

#[derive(Serialize)]
struct Column<'a> {
    n: &'a str,
    t: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    g: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    l: Option<String>,
}

/// Draws a whole project; what was asked for is shown first.
pub fn html(graph: &Graph, asked: Asked) -> String {
    let drawing = arrange(graph);
    let datasets: Vec<Dataset<'_>> = graph
        .datasets
        .iter()
        .zip(&drawing.boxes)
        .map(|(it, placed)| Dataset {
            n: &it.name,
            k: it.kind.word(),
            p: it.pipeline.as_deref(),
            f: it.file.as_deref(),
            x: placed.x,
            y: placed.y,
            w: placed.width,
            h: placed.height,
            c: it
                .columns
                .iter()
                .map(|column| Column {
                    n: &column.name,
                    t: &column.kind,
                    g: &column.tags,
                    e: column.expression.as_deref(),
                    l: column.place.as_ref().map(place),
                })
                .collect(),
        })
        .collect();
    let routes: Vec<_> =
        drawing.routes.iter().map(|it| json!([it.from, it.to, it.joints])).collect();
    let edges: Vec<_> = graph.edges.iter().map(edge).collect();
    let asked = match asked {
        Asked::Everything => None,
        Asked::Dataset(dataset) => graph.datasets.get(dataset).map(|it| it.name.clone()),
        Asked::Column(node) => Some(graph.name(node)),
    };
    let data = json!({
        "asked": asked,
        "width": drawing.width,
        "height": drawing.height,
        "head": HEAD,
        "row": ROW,
        "most": MOST_ROWS,
        "datasets": datasets,
        "routes": routes,
        "edges": edges,
        "unknown": graph.unknown,
    });
    // Within a script element nothing may look like its end.
    let data = data.to_string().replace('<', "\\u003c");
    let columns: usize = graph.datasets.iter().map(|it| it.columns.len()).sum();
    let counts = format!("{} datasets, {columns} columns", graph.datasets.len());
    PAGE.replace("/*style*/", STYLE)
        .replace("<!--counts-->", &counts)
        .replace("/*script*/", SCRIPT)
        .replace("/*data*/", &data)
}

/// From, to, how, whether it is direct, expression, place. Rows are -1.
fn edge(edge: &Edge) -> serde_json::Value {
    let column = |column: Option<usize>| column.map_or(json!(-1), |column| json!(column));
    let direct = u8::from(How::is_direct(edge.how));
    json!([
        edge.from.dataset,
        column(edge.from.column),
        edge.to.dataset,
        column(edge.to.column),
        edge.how.word(),
        direct,
        edge.expression,
        edge.place.as_ref().map(place),
    ])
}

fn place(place: &FilePlace) -> String {
    format!("{}:{}", place.file, place.line)
}
