//! Parts of a graph: what somebody asks for, and what it comes from and goes into.

use std::collections::{BTreeSet, VecDeque};

use super::{Edge, Graph, Node};
use crate::pipeline::nearest::nearest;

/// What somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The whole project.
    Everything,
    /// A dataset, by its index.
    Dataset(usize),
    /// A column.
    Column(Node),
}

/// A name that is nobody's, with what may have been meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFound {
    /// What there is not.
    pub message: String,
    /// What there is.
    pub hint: String,
}

/// A way to walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To what it comes from.
    Up,
    /// To what it goes into.
    Down,
}

/// Which ways, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directions {
    /// Whether to what it comes from.
    pub up: bool,
    /// Whether to what it goes into.
    pub down: bool,
    /// Edges in a row at most; no limit if absent.
    pub depth: Option<usize>,
}

/// A part of a graph.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selected {
    /// The nodes, the asked ones too.
    pub nodes: BTreeSet<Node>,
    /// The edges between them that were walked, as indices.
    pub edges: BTreeSet<usize>,
}

impl Graph {
    /// Finds `dataset` or `dataset.column`.
    pub fn find(&self, text: &str) -> Result<Asked, NotFound> {
        if let Some(dataset) = self.dataset(text) {
            return Ok(Asked::Dataset(dataset));
        }
        let names = || self.datasets.iter().map(|dataset| dataset.name.as_str());
        let parts = text.rsplit_once('.');
        let Some((dataset, column)) = parts.and_then(|(d, c)| Some((self.dataset(d)?, c))) else {
            let table = parts.map_or(text, |(table, _)| table);
            return Err(NotFound {
                message: format!("there is no table `{table}`"),
                hint: match nearest(table, names()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there is `{}`", names().collect::<Vec<_>>().join("`, `")),
                },
            });
        };
        let columns = &self.datasets[dataset].columns;
        if let Some(index) = columns.iter().position(|known| known.name == column) {
            return Ok(Asked::Column(Node { dataset, column: Some(index) }));
        }
        let known = || columns.iter().map(|column| column.name.as_str());
        Err(NotFound {
            message: format!("`{}` has no column `{column}`", self.datasets[dataset].name),
            hint: match nearest(column, known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it has `{}`", known().collect::<Vec<_>>().join("`, `")),
            },
        })
    }

    /// The part that somebody asks for.
    pub fn select(&self, asked: Asked, directions: Directions) -> Selected {
        match asked {
            Asked::Everything => Selected {
                nodes: (0..self.datasets.len()).flat_map(|it| self.nodes_of(it)).collect(),
                edges: (0..self.edges.len()).collect(),
            },
            Asked::Dataset(dataset) => self.walk(&self.nodes_of(dataset), directions),
            Asked::Column(node) => self.walk(&[node], directions),
        }
    }

    /// What a walk reaches from some nodes.
    pub fn walk(&self, from: &[Node], directions: Directions) -> Selected {
        let mut selected =
            Selected { nodes: from.iter().copied().collect(), edges: BTreeSet::new() };
        for (way, wanted) in [(Way::Up, directions.up), (Way::Down, directions.down)] {
            if wanted {
                self.walk_one_way(from, way, directions.depth, &mut selected);
            }
        }
        selected
    }

    fn walk_one_way(&self, from: &[Node], way: Way, depth: Option<usize>, into: &mut Selected) {
        let mut seen: BTreeSet<Node> = from.iter().copied().collect();
        let mut queue: VecDeque<(Node, usize)> = from.iter().map(|node| (*node, 0)).collect();
        while let Some((node, steps)) = queue.pop_front() {
            into.nodes.insert(node);
            if depth == Some(steps) {
                continue;
            }
            for (index, next) in self.next(node, way) {
                into.edges.insert(index);
                if seen.insert(next) {
                    queue.push_back((next, steps + 1));
                }
            }
        }
    }

    /// The edges that a walk takes from a node, each with its index and the node that it comes to.
    /// What decides on rows is an edge to the rows of a dataset, and so not on the way of a column.
    pub fn next(&self, node: Node, way: Way) -> impl Iterator<Item = (usize, Node)> {
        let edges = self.edges.iter().enumerate();
        edges.filter_map(move |(index, edge): (usize, &Edge)| match way {
            Way::Up => (edge.to == node).then_some((index, edge.from)),
            Way::Down => (edge.from == node).then_some((index, edge.to)),
        })
    }

    /// The columns of a dataset and its rows.
    pub fn nodes_of(&self, dataset: usize) -> Vec<Node> {
        let columns = self.datasets.get(dataset).map_or(0, |it| it.columns.len());
        let columns = (0..columns).map(Some).chain([None]);
        columns.map(|column| Node { dataset, column }).collect()
    }
}
