//! Lineage as a Mermaid flowchart, for pages that draw these: whole datasets, or columns.

use std::collections::{BTreeMap, BTreeSet};

use crate::lineage::{Asked, DatasetKind, Graph, Node, Selected};

/// Draws a part of a graph: columns if one was asked for, whole datasets otherwise.
pub fn mermaid(graph: &Graph, asked: Asked, selected: &Selected) -> String {
    let mut lines = vec!["flowchart LR".to_owned()];
    match asked {
        Asked::Everything | Asked::Dataset(_) => datasets(graph, selected, &mut lines),
        Asked::Column(node) => columns(graph, node, selected, &mut lines),
    }
    lines.push(String::new());
    lines.join("\n")
}

fn datasets(graph: &Graph, selected: &Selected, lines: &mut Vec<String>) {
    let chosen: BTreeSet<usize> = selected.nodes.iter().map(|node| node.dataset).collect();
    for index in &chosen {
        let Some(dataset) = graph.datasets.get(*index) else { continue };
        let name = escaped(&dataset.name);
        lines.push(match dataset.kind {
            DatasetKind::Source => format!("  d{index}[/\"{name}\"/]"),
            DatasetKind::Table | DatasetKind::Scores | DatasetKind::Channel => {
                format!("  d{index}[\"{name}\"]")
            }
            DatasetKind::Warehouse | DatasetKind::Served | DatasetKind::Quarantine => {
                format!("  d{index}[(\"{name}\")]")
            }
            DatasetKind::Model | DatasetKind::Selection => format!("  d{index}([\"{name}\"])"),
        });
    }
    let pairs: BTreeSet<(usize, usize)> = selected
        .edges
        .iter()
        .filter_map(|edge| graph.edges.get(*edge))
        .map(|edge| (edge.from.dataset, edge.to.dataset))
        .collect();
    for (from, to) in pairs {
        lines.push(format!("  d{from} --> d{to}"));
    }
}

fn columns(graph: &Graph, asked: Node, selected: &Selected, lines: &mut Vec<String>) {
    let id = |node: Node| match node.column {
        Some(column) => format!("d{}c{column}", node.dataset),
        None => format!("d{}rows", node.dataset),
    };
    let mut by_dataset: BTreeMap<usize, Vec<Node>> = BTreeMap::new();
    for node in &selected.nodes {
        by_dataset.entry(node.dataset).or_default().push(*node);
    }
    for (index, nodes) in by_dataset {
        let Some(dataset) = graph.datasets.get(index) else { continue };
        lines.push(format!("  subgraph d{index}[\"{}\"]", escaped(&dataset.name)));
        for node in nodes {
            let name = graph.column(node).map_or("(rows)", |column| column.name.as_str());
            lines.push(format!("    {}[\"{}\"]", id(node), escaped(name)));
        }
        lines.push("  end".to_owned());
    }
    let edges = selected.edges.iter().filter_map(|edge| graph.edges.get(*edge));
    let mut links: BTreeMap<(Node, Node), Vec<_>> = BTreeMap::new();
    for edge in edges {
        links.entry((edge.from, edge.to)).or_default().push(edge.how);
    }
    for ((from, to), hows) in links {
        let arrow = if hows.iter().any(|how| how.is_direct()) { "-->" } else { "-.->" };
        let hows: Vec<&str> = hows.iter().map(|how| how.word()).collect();
        lines.push(format!("  {} {arrow}|{}| {}", id(from), hows.join(", "), id(to)));
    }
    lines.push(format!("  style {} stroke-width:3px", id(asked)));
}

/// Text in quotes may hold anything but quotes, and entities begin with `#`.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '"' => escaped.push_str("#quot;"),
            '#' => escaped.push_str("#35;"),
            '<' => escaped.push_str("#lt;"),
            '>' => escaped.push_str("#gt;"),
            '&' => escaped.push_str("#amp;"),
            '`' => escaped.push_str("#96;"),
            '\n' | '\r' => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}
