//! Lineage over a whole project: from the columns of sources through tables, training channels,
//! models and selections to what is served. Pure data, made from the project's files alone.

mod build;
mod layout;
mod models;
mod tags;
mod walk;

use serde::Serialize;

pub use self::build::graph;
pub use self::layout::{Arrangement, HEAD, MOST_ROWS, Placed, ROW, Route, arrange};
pub use self::tags::{Exposure, exposures};
pub use self::walk::{Asked, Directions, NotFound, Selected, Way};
pub use crate::query::lineage::How;

/// What a dataset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetKind {
    /// Raw input.
    Source,
    /// A table of the catalog that a query makes.
    Table,
    /// A table's copy in the warehouse.
    Warehouse,
    /// What could not be read or was refused.
    Quarantine,
    /// What a training job is given.
    Channel,
    /// A fitted model.
    Model,
    /// The model that won.
    Selection,
    /// A table of recommendations.
    Scores,
    /// What the serving store holds.
    Served,
}

impl DatasetKind {
    /// The word for it, as in the JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Table => "table",
            Self::Warehouse => "warehouse",
            Self::Quarantine => "quarantine",
            Self::Channel => "channel",
            Self::Model => "model",
            Self::Selection => "selection",
            Self::Scores => "scores",
            Self::Served => "served",
        }
    }
}

/// Something with columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Its name, which no other dataset has.
    pub name: String,
    /// What it is.
    pub kind: DatasetKind,
    /// The pipeline whose step makes it; none for what all of them share.
    pub pipeline: Option<String>,
    /// The file that says how it is made.
    pub file: Option<String>,
    /// Its columns, in order.
    pub columns: Vec<Column>,
}

/// A column of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, in the words of the engine or of the source; empty where there is none.
    pub kind: String,
    /// What is known of its values, its own tags and those that come with values.
    pub tags: Vec<String>,
    /// What it is, as the query says it.
    pub expression: Option<String>,
    /// Where the query says so.
    pub place: Option<FilePlace>,
}

/// A place in a file of the project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FilePlace {
    /// The file, relative to the project.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// A column of a dataset, or the rows of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Index among the graph's datasets.
    pub dataset: usize,
    /// Index among the dataset's columns; none for which rows there are.
    pub column: Option<usize>,
}

/// One way in which one column comes into another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// What it comes from. Rows stand for their number.
    pub from: Node,
    /// What it comes into. Rows stand for all columns of the dataset.
    pub to: Node,
    /// How.
    pub how: How,
    /// Whether values of the one can be read in the other.
    pub shows_values: bool,
    /// The expression in which it does.
    pub expression: Option<String>,
    /// Where that stands.
    pub place: Option<FilePlace>,
}

/// The lineage of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    /// Datasets; each comes after all that it is made from.
    pub datasets: Vec<Dataset>,
    /// Edges, in the order of what they come into.
    pub edges: Vec<Edge>,
    /// What could not be followed, in words.
    pub unknown: Vec<Unknown>,
}

/// Something that could not be followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// The dataset.
    pub dataset: String,
    /// The column; none for which rows there are, or for all.
    pub column: Option<String>,
    /// Why.
    pub reason: String,
}

impl Graph {
    /// The index of a dataset.
    pub fn dataset(&self, name: &str) -> Option<usize> {
        self.datasets.iter().position(|dataset| dataset.name == name)
    }

    /// What a query of a pipeline knows by a name: a source, or a table of the same pipeline.
    pub fn of_table(&self, pipeline: &str, table: &str) -> Option<&Dataset> {
        let own = format!("{pipeline}/{table}");
        self.datasets.iter().find(|dataset| {
            dataset.pipeline.as_ref().is_none_or(|of| of == pipeline)
                && (dataset.name == table || dataset.name == own)
        })
    }

    /// The name of a node: `table.column`, or `table` for rows.
    pub fn name(&self, node: Node) -> String {
        let Some(dataset) = self.datasets.get(node.dataset) else { return String::new() };
        match node.column.and_then(|column| dataset.columns.get(column)) {
            Some(column) => format!("{}.{}", dataset.name, column.name),
            None => dataset.name.clone(),
        }
    }

    /// The column that a node is; none for rows.
    pub fn column(&self, node: Node) -> Option<&Column> {
        self.datasets.get(node.dataset)?.columns.get(node.column?)
    }

    /// Edges that come into a node.
    pub fn coming_into(&self, node: Node) -> impl Iterator<Item = &Edge> {
        let first = self.edges.partition_point(|edge| edge.to < node);
        self.edges[first..].iter().take_while(move |edge| edge.to == node)
    }
}

#[cfg(test)]
pub(crate) mod tests;
