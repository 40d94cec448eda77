//! Tags travel with values: from a column that has one to every column in which its values can be
//! read. A count or a sum shows no values; whatever else is made of a value keeps its tags, a hash
//! too, until the project says otherwise.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{DatasetKind, Edge, Graph, Node};

/// Gives every column the tags of what its values are made from, but for those that the project says
/// it does not have.
pub(super) fn spread(graph: &mut Graph, untagged: &[(Node, Vec<String>)]) {
    let mut all: BTreeMap<Node, BTreeSet<String>> = BTreeMap::new();
    for (dataset, it) in graph.datasets.iter().enumerate() {
        for (column, it) in it.columns.iter().enumerate() {
            let node = Node { dataset, column: Some(column) };
            all.insert(node, it.tags.iter().cloned().collect());
        }
    }
    let removed = |node: Node, tag: &String| {
        untagged.iter().any(|(known, tags)| *known == node && tags.contains(tag))
    };
    // Edges are in the order of what they come into, and datasets mostly stand after what they are
    // made from: one or two rounds find all.
    let mut grows = true;
    while grows {
        grows = false;
        for edge in graph.edges.iter().filter(|edge| carries(edge)) {
            let passed: Vec<String> = all.get(&edge.from).into_iter().flatten().cloned().collect();
            let own = all.entry(edge.to).or_default();
            for tag in passed.into_iter().filter(|tag| !removed(edge.to, tag)) {
                grows |= own.insert(tag);
            }
        }
    }
    for (node, tags) in all {
        let Some(dataset) = graph.datasets.get_mut(node.dataset) else { continue };
        if let Some(column) = node.column.and_then(|column| dataset.columns.get_mut(column)) {
            column.tags = tags.into_iter().collect();
        }
    }
}

fn carries(edge: &Edge) -> bool {
    edge.shows_values && edge.how.is_direct() && edge.from.column.is_some()
}

/// A tagged column of a source whose values can be read in a column elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// The tagged column.
    pub source: Node,
    /// The column in which its values can be read.
    pub column: Node,
    /// The shortest way from the one to the other.
    pub path: Vec<Edge>,
}

/// Where values with a tag can be read in datasets of a kind: for each column there every source's
/// column that they come from.
pub fn exposures(graph: &Graph, tag: &str, kind: DatasetKind) -> Vec<Exposure> {
    let has = |node: Node| {
        graph.column(node).is_some_and(|column| column.tags.iter().any(|own| own == tag))
    };
    let mut found = Vec::new();
    for (dataset, it) in graph.datasets.iter().enumerate().filter(|(_, it)| it.kind == kind) {
        for column in 0..it.columns.len() {
            let column = Node { dataset, column: Some(column) };
            if has(column) {
                found.extend(back(graph, column, &has));
            }
        }
    }
    found
}

/// Follows tagged values back from a column to sources, nearest first.
fn back(graph: &Graph, column: Node, has: &dyn Fn(Node) -> bool) -> Vec<Exposure> {
    let mut found = Vec::new();
    let mut next: BTreeMap<Node, Edge> = BTreeMap::new();
    let mut seen = BTreeSet::from([column]);
    let mut queue = VecDeque::from([column]);
    while let Some(node) = queue.pop_front() {
        let is_source =
            graph.datasets.get(node.dataset).is_some_and(|it| it.kind == DatasetKind::Source);
        if is_source {
            let mut path = Vec::new();
            let mut at = node;
            while let Some(edge) = next.get(&at) {
                path.push(edge.clone());
                at = edge.to;
            }
            found.push(Exposure { source: node, column, path });
        }
        for edge in graph.coming_into(node).filter(|edge| carries(edge) && has(edge.from)) {
            if seen.insert(edge.from) {
                next.insert(edge.from, edge.clone());
                queue.push_back(edge.from);
            }
        }
    }
    found
}
