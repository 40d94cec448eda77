//! Makes the graph of a project: sources and the tables that queries make. What is made of tables
//! then is in [`super::models`].

use std::collections::{BTreeMap, BTreeSet};

use super::tags;
use super::{Column, Dataset, DatasetKind, Edge, FilePlace, Graph, How, Node, Unknown};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::name::Name;
use crate::pipeline::source::Source;
use crate::pipeline::step::{PROJECT_FILE, QUARANTINE_TABLE, ReadFrom, SqlStep, Step, StepKind};
use crate::query::analysis::{Analysis, TableAnalysis};
use crate::query::lineage::{Influences, ROWS, Statement, TableLineage};
use crate::spec::compile::Project;

/// The lineage of a project, as far as its queries could be planned.
pub fn graph(project: &Project, analyses: &BTreeMap<Name, Analysis>) -> Graph {
    let mut builder = Builder::new(project);
    for source in project.sources.values() {
        builder.source(source);
    }
    builder.quarantine();
    for (name, pipeline) in &project.pipelines {
        let Some(analysis) = analyses.get(name) else { continue };
        builder.pipeline(pipeline, analysis);
    }
    builder.finish()
}

/// Puts a graph together.
pub(super) struct Builder {
    pub graph: Graph,
    by_name: BTreeMap<String, usize>,
    /// Names of steps that several pipelines have.
    shared: BTreeSet<String>,
    known: BTreeSet<(Node, Node, How)>,
    /// Tags that the project says a column no longer has.
    pub untagged: Vec<(Node, Vec<String>)>,
}

/// One way in which something comes into something, while the graph is made.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub how: How,
    pub shows_values: bool,
    pub expression: Option<String>,
    pub place: Option<FilePlace>,
}

impl Link {
    /// What recctl itself does, in words.
    pub fn own(how: How, what: &str) -> Self {
        let expression = (!what.is_empty()).then(|| what.to_owned());
        let shows_values = how == How::Identity || how == How::Transformation;
        Self { how, shows_values, expression, place: None }
    }
}

impl Builder {
    fn new(project: &Project) -> Self {
        let mut seen = BTreeSet::new();
        let mut shared = BTreeSet::new();
        for step in project.pipelines.values().flat_map(|pipeline| &pipeline.steps) {
            if !seen.insert(step.name.to_string()) {
                shared.insert(step.name.to_string());
            }
        }
        Self {
            graph: Graph::default(),
            by_name: BTreeMap::new(),
            shared,
            known: BTreeSet::new(),
            untagged: Vec::new(),
        }
    }

    fn finish(mut self) -> Graph {
        self.graph.edges.sort_by_key(|edge| (edge.to, edge.from, edge.how));
        tags::spread(&mut self.graph, &self.untagged);
        self.graph
    }

    /// The name of what a step makes, which tells apart steps of the same name.
    pub fn name_of(&self, pipeline: &Pipeline, step: &str) -> String {
        match self.shared.contains(step) {
            true => format!("{}/{step}", pipeline.name),
            false => step.to_owned(),
        }
    }

    /// Adds a dataset, or finds it.
    pub fn dataset(
        &mut self,
        name: String,
        kind: DatasetKind,
        pipeline: Option<&Pipeline>,
        file: Option<&str>,
    ) -> usize {
        if let Some(index) = self.by_name.get(&name) {
            return *index;
        }
        let index = self.graph.datasets.len();
        self.by_name.insert(name.clone(), index);
        self.graph.datasets.push(Dataset {
            name,
            kind,
            pipeline: pipeline.map(|pipeline| pipeline.name.to_string()),
            file: file.map(str::to_owned),
            columns: Vec::new(),
        });
        index
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Adds a column, or finds it.
    pub fn column(&mut self, dataset: usize, name: &str, kind: &str) -> Node {
        let columns = &mut self.graph.datasets[dataset].columns;
        let index = columns.iter().position(|column| column.name == name).unwrap_or_else(|| {
            columns.push(Column {
                name: name.to_owned(),
                kind: kind.to_owned(),
                tags: Vec::new(),
                expression: None,
                place: None,
            });
            columns.len() - 1
        });
        Node { dataset, column: Some(index) }
    }

    /// The column of that name, if the dataset has it.
    pub fn existing(&self, dataset: usize, name: &str) -> Option<Node> {
        let columns = &self.graph.datasets.get(dataset)?.columns;
        let index = columns.iter().position(|column| column.name == name)?;
        Some(Node { dataset, column: Some(index) })
    }

    pub fn link(&mut self, from: Node, to: Node, link: Link) {
        if self.known.insert((from, to, link.how)) {
            let Link { how, shows_values, expression, place } = link;
            self.graph.edges.push(Edge { from, to, how, shows_values, expression, place });
        }
    }

    fn source(&mut self, source: &Source) {
        let file = Some(PROJECT_FILE);
        let index = self.dataset(source.name.to_string(), DatasetKind::Source, None, file);
        for column in &source.columns {
            let suffix = if column.nullable { "?" } else { "" };
            let node = self.column(index, &column.name, &format!("{}{suffix}", column.kind));
            let added = node.column.and_then(|at| self.graph.datasets[index].columns.get_mut(at));
            if let Some(added) = added {
                added.tags.clone_from(&column.tags);
            }
        }
    }

    fn quarantine(&mut self) {
        let name = QUARANTINE_TABLE.to_owned();
        let index = self.dataset(name, DatasetKind::Quarantine, None, None);
        self.column(index, "raw", "Utf8");
        self.column(index, "reason", "Utf8");
    }

    fn pipeline(&mut self, pipeline: &Pipeline, analysis: &Analysis) {
        for step in &pipeline.steps {
            match &step.kind {
                StepKind::Sql(sql) => match analysis.tables.get(&step.name) {
                    Some(table) => self.table(pipeline, step, sql, table),
                    None => {
                        let name = self.name_of(pipeline, step.name.as_str());
                        self.dataset(
                            name.clone(),
                            DatasetKind::Table,
                            Some(pipeline),
                            Some(&sql.file),
                        );
                        let reason = format!("`{}` could not be planned", sql.file);
                        self.graph.unknown.push(Unknown { dataset: name, column: None, reason });
                    }
                },
                StepKind::Train(train) | StepKind::Tune(train) => {
                    self.model(pipeline, step, train, analysis);
                }
                StepKind::Select(select) => self.selection(pipeline, step, select),
                StepKind::Score(score) => self.scores(pipeline, step, score),
                StepKind::Load(load) => self.served(pipeline, load),
            }
        }
    }

    fn table(&mut self, pipeline: &Pipeline, step: &Step, sql: &SqlStep, table: &TableAnalysis) {
        let name = self.name_of(pipeline, step.name.as_str());
        let index = self.dataset(name, DatasetKind::Table, Some(pipeline), Some(&sql.file));
        let lineage = TableLineage::of_table(&table.plan, &table.schema);
        let statement = Statement::new(&sql.text);
        let query = Query { pipeline, sql, statement };
        for (column, field) in lineage.columns.iter().zip(table.schema.fields()) {
            let node = self.column(index, &column.name, &field.data_type().to_string());
            let defined = query.statement.definition(&column.name);
            if let (Some((place, text)), Some(at)) = (defined, node.column) {
                let added = &mut self.graph.datasets[index].columns[at];
                added.expression = Some(text.to_owned());
                added.place = Some(query.at(place.line, place.column));
            }
            self.influences(&query, &column.from, node);
        }
        self.influences(&query, &lineage.rows, Node { dataset: index, column: None });
        self.refused(&query, &lineage);
        if sql.warehouse.is_some() {
            self.warehouse(pipeline, index);
        }
        for (column, tags) in untagged(sql) {
            if let Some(node) = self.existing(index, column) {
                self.untagged.push((node, tags));
            }
        }
    }

    fn influences(&mut self, query: &Query<'_>, from: &Influences, to: Node) {
        for (origin, one) in from.iter() {
            let is_source =
                query.sql.reads.iter().any(|read| {
                    read.from == ReadFrom::Source && read.name.as_str() == origin.table
                });
            let table = match is_source {
                true => origin.table.clone(),
                false => self.name_of(query.pipeline, &origin.table),
            };
            let Some(dataset) = self.find(&table) else { continue };
            let node = match origin.column.as_str() {
                ROWS => Node { dataset, column: None },
                // The columns that the reader adds to a source are there once somebody uses them.
                column => self.column(dataset, column, ""),
            };
            // What a query groups by and selects is known where it is grouped by; people look for it
            // where it is selected.
            let selected = one.place.is_some_and(|place| query.statement.is_selected(place));
            let name = self.graph.column(to).map(|column| column.name.as_str());
            let defined = name.and_then(|name| query.statement.definition(name));
            let place = match defined {
                Some((place, _)) if one.how == How::Identity && !selected => Some(place),
                Some(_) | None => one.place,
            };
            let expression = place.and_then(|place| query.statement.expression(place));
            let place = place.map(|place| query.at(place.line, place.column));
            self.link(
                node,
                to,
                Link {
                    how: one.how,
                    shows_values: one.shows_values,
                    expression: expression.map(str::to_owned),
                    place,
                },
            );
        }
        for reason in from.unknown() {
            let dataset = self.graph.datasets[to.dataset].name.clone();
            let column = self.graph.column(to).map(|column| column.name.clone());
            self.graph.unknown.push(Unknown { dataset, column, reason: reason.to_owned() });
        }
    }

    /// Lines that cannot be read, and rows that the query refuses, are kept as they came.
    fn refused(&mut self, query: &Query<'_>, lineage: &TableLineage) {
        let sources = query.sql.reads.iter().filter(|read| read.from == ReadFrom::Source);
        let sources: Vec<usize> =
            sources.filter_map(|read| self.find(read.name.as_str())).collect();
        let Some(quarantine) = self.find(QUARANTINE_TABLE) else { return };
        let raw = self.column(quarantine, "raw", "");
        for source in sources {
            for index in 0..self.graph.datasets[source].columns.len() {
                let name = self.graph.datasets[source].columns[index].name.clone();
                if !name.starts_with('_') {
                    let from = Node { dataset: source, column: Some(index) };
                    self.link(from, raw, Link::own(How::Transformation, "the line as it came"));
                }
            }
        }
        if let Some(fate) = lineage.fate.as_ref() {
            let reason = self.column(quarantine, "reason", "");
            self.influences(query, fate, reason);
        }
    }

    fn warehouse(&mut self, pipeline: &Pipeline, table: usize) {
        let Dataset { name, file, columns, .. } = self.graph.datasets[table].clone();
        let copy = self.dataset(
            format!("warehouse.{name}"),
            DatasetKind::Warehouse,
            Some(pipeline),
            file.as_deref(),
        );
        for (index, column) in columns.iter().enumerate() {
            let to = self.column(copy, &column.name, &column.kind);
            let from = Node { dataset: table, column: Some(index) };
            self.link(from, to, Link::own(How::Identity, "copied into the warehouse"));
        }
    }
}

struct Query<'a> {
    pipeline: &'a Pipeline,
    sql: &'a SqlStep,
    statement: Statement,
}

impl Query<'_> {
    fn at(&self, line: usize, column: usize) -> FilePlace {
        FilePlace { file: self.sql.file.clone(), line, column }
    }
}

/// The tags that a step says its columns do not have.
fn untagged(sql: &SqlStep) -> impl Iterator<Item = (&str, Vec<String>)> {
    sql.untag.iter().map(|untag| (untag.column.as_str(), untag.tags.clone()))
}
