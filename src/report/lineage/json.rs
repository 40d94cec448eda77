//! Lineage for programs. The shape is in docs/lineage.md; a change that breaks readers gets another
//! version.

use serde::Serialize;

use crate::lineage::{DatasetKind, FilePlace, Graph, How, Node, Selected, Unknown};

const VERSION: u32 = 1;

#[derive(Serialize)]
struct Whole<'a> {
    version: u32,
    asked: Option<&'a str>,
    datasets: Vec<Dataset<'a>>,
    edges: Vec<Edge<'a>>,
    unknown: Vec<&'a Unknown>,
}

#[derive(Serialize)]
struct Dataset<'a> {
    name: &'a str,
    kind: DatasetKind,
    pipeline: Option<&'a str>,
    file: Option<&'a str>,
    columns: Vec<Column<'a>>,
}

#[derive(Serialize)]
struct Column<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    tags: &'a [String],
    expression: Option<&'a str>,
    place: Option<&'a FilePlace>,
}

#[derive(Serialize)]
struct Edge<'a> {
    from: End<'a>,
    to: End<'a>,
    how: How,
    direct: bool,
    shows_values: bool,
    expression: Option<&'a str>,
    place: Option<&'a FilePlace>,
}

/// A column, or the rows of a dataset.
#[derive(Serialize)]
struct End<'a> {
    dataset: &'a str,
    column: Option<&'a str>,
}

/// Writes a part of a graph as JSON. `asked` is what was asked for, as it was written.
pub fn json(graph: &Graph, asked: Option<&str>, selected: &Selected) -> String {
    let end = |node: Node| End {
        dataset: graph.datasets[node.dataset].name.as_str(),
        column: graph.column(node).map(|column| column.name.as_str()),
    };
    let datasets: Vec<Dataset<'_>> = graph
        .datasets
        .iter()
        .enumerate()
        .filter(|(index, _)| selected.nodes.iter().any(|node| node.dataset == *index))
        .map(|(dataset, it)| {
            let wanted =
                |column: usize| selected.nodes.contains(&Node { dataset, column: Some(column) });
            let columns = it.columns.iter().enumerate().filter(|(column, _)| wanted(*column));
            let columns = columns.map(|(_, column)| Column {
                name: &column.name,
                kind: &column.kind,
                tags: &column.tags,
                expression: column.expression.as_deref(),
                place: column.place.as_ref(),
            });
            Dataset {
                name: &it.name,
                kind: it.kind,
                pipeline: it.pipeline.as_deref(),
                file: it.file.as_deref(),
                columns: columns.collect(),
            }
        })
        .collect();
    let edges = selected.edges.iter().filter_map(|edge| graph.edges.get(*edge));
    let edges = edges.map(|edge| Edge {
        from: end(edge.from),
        to: end(edge.to),
        how: edge.how,
        direct: edge.how.is_direct(),
        shows_values: edge.shows_values,
        expression: edge.expression.as_deref(),
        place: edge.place.as_ref(),
    });
    let unknown = graph.unknown.iter();
    let unknown = unknown.filter(|one| datasets.iter().any(|it| it.name == one.dataset)).collect();
    let whole = Whole { version: VERSION, asked, edges: edges.collect(), datasets, unknown };
    serde_json::to_string_pretty(&whole).unwrap_or_default()
}
