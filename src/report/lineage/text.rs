//! Lineage as an indented tree.

use std::collections::{BTreeMap, BTreeSet};

use crate::lineage::{Asked, Directions, Edge, FilePlace, Graph, Node, Way};
use crate::report::paint::Paint;
use crate::report::table::Table;

/// Characters of an expression that are shown.
const MOST_CHARACTERS: usize = 64;

/// Tells what somebody asks for.
pub fn text(graph: &Graph, asked: Asked, directions: Directions, paint: Paint) -> String {
    let mut teller = Teller { graph, paint, lines: Vec::new() };
    match asked {
        Asked::Everything => teller.everything(),
        Asked::Dataset(dataset) => teller.dataset(dataset, directions),
        Asked::Column(node) => teller.column(node, directions),
    }
    teller.unknown(asked);
    let mut text = teller.lines.join("\n");
    text.push('\n');
    text
}

struct Teller<'a> {
    graph: &'a Graph,
    paint: Paint,
    lines: Vec<String>,
}

impl Teller<'_> {
    fn everything(&mut self) {
        let mut table = Table::new(["dataset", "kind", "columns", "made from"]).right(&[2]);
        for (index, dataset) in self.graph.datasets.iter().enumerate() {
            let inputs: BTreeSet<usize> = self
                .graph
                .edges
                .iter()
                .filter(|edge| edge.to.dataset == index)
                .map(|edge| edge.from.dataset)
                .collect();
            let inputs: Vec<&str> =
                inputs.iter().map(|input| self.graph.datasets[*input].name.as_str()).collect();
            table.push([
                dataset.name.clone(),
                dataset.kind.word().to_owned(),
                dataset.columns.len().to_string(),
                inputs.join(", "),
            ]);
        }
        self.lines.extend(table.lines());
    }

    fn dataset(&mut self, index: usize, directions: Directions) {
        let Some(dataset) = self.graph.datasets.get(index) else { return };
        let file = dataset.file.as_deref().unwrap_or_default();
        let head = format!("{}  {}  {file}", self.paint.bold(&dataset.name), dataset.kind.word());
        self.lines.push(head.trim_end().to_owned());
        if directions.up {
            let depth = Directions { depth: directions.depth.or(Some(1)), ..directions };
            for column in 0..dataset.columns.len() {
                let node = Node { dataset: index, column: Some(column) };
                self.lines.push(String::new());
                self.lines.push(self.definition(node));
                self.tree(node, Way::Up, depth);
            }
            self.rows(index);
        }
        if directions.down {
            self.readers(index);
        }
    }

    fn column(&mut self, node: Node, directions: Directions) {
        let head = self.definition(node);
        self.lines.push(head);
        for (way, wanted, title) in
            [(Way::Up, directions.up, "made from"), (Way::Down, directions.down, "goes into")]
        {
            if !wanted {
                continue;
            }
            self.lines.push(String::new());
            let before = self.lines.len();
            self.tree(node, way, directions);
            let none = if self.lines.len() == before { ": nothing" } else { "" };
            self.lines.insert(before, format!("{}{none}", self.paint.bold(title)));
            if way == Way::Up {
                self.rows(node.dataset);
            }
        }
    }

    /// A column with what the query says that it is.
    fn definition(&self, node: Node) -> String {
        let mut line = self.paint.bold(self.graph.name(node));
        if let Some(column) = self.graph.column(node) {
            if !column.kind.is_empty() {
                line.push_str(&format!("  {}", column.kind));
            }
            if !column.tags.is_empty() {
                line.push_str(&format!("  {}", self.paint.yellow(column.tags.join(", "))));
            }
            let said = column.expression.as_deref().filter(|text| !is_name(text, &column.name));
            line.push_str(&self.aside(said, column.place.as_ref()));
        }
        line
    }

    fn tree(&mut self, node: Node, way: Way, directions: Directions) {
        let mut told = BTreeSet::from([node]);
        self.branches(node, way, directions.depth, "", &mut told);
    }

    fn branches(
        &mut self,
        node: Node,
        way: Way,
        depth: Option<usize>,
        indent: &str,
        told: &mut BTreeSet<Node>,
    ) {
        if depth == Some(0) {
            return;
        }
        let branches = self.neighbours(node, way);
        let count = branches.len();
        for (at, (next, edges)) in branches.into_iter().enumerate() {
            let last = at + 1 == count;
            let again = !told.insert(next) && self.graph.next(next, way).next().is_some();
            let goes_on = depth != Some(1);
            let branch = if last { "└─ " } else { "├─ " };
            let more =
                if again && goes_on { self.paint.dim("  (told above)") } else { String::new() };
            let told_so = format!("{indent}{branch}{}{more}", self.branch(next, &edges));
            self.lines.push(told_so);
            // What comes of rows is of all columns of a table, and told there.
            if !again && next.column.is_some() {
                let inner = format!("{indent}{}", if last { "   " } else { "│  " });
                self.branches(next, way, depth.map(|depth| depth - 1), &inner, told);
            }
        }
    }

    /// The nodes beside a node with the edges to them; those with direct edges first.
    fn neighbours(&self, node: Node, way: Way) -> Vec<(Node, Vec<usize>)> {
        let mut all: BTreeMap<Node, Vec<usize>> = BTreeMap::new();
        for (edge, next) in self.graph.next(node, way) {
            all.entry(next).or_default().push(edge);
        }
        let mut all: Vec<_> = all.into_iter().collect();
        let rank = |edges: &[usize]| edges.iter().map(|edge| self.graph.edges[*edge].how).min();
        all.sort_by_key(|(next, edges)| {
            let direct = rank(edges).is_some_and(|how| how.is_direct());
            (next.column.is_none(), !direct, *next)
        });
        all
    }

    fn branch(&self, node: Node, edges: &[usize]) -> String {
        let edges: Vec<&Edge> = edges.iter().map(|edge| &self.graph.edges[*edge]).collect();
        let hows: Vec<&str> = edges.iter().map(|edge| edge.how.word()).collect();
        let name = match node.column {
            Some(_) => self.graph.name(node),
            None => format!("rows of {}", self.graph.name(node)),
        };
        // The first direct use tells most.
        let first = edges.first();
        let own = self.graph.column(node).map_or("", |column| column.name.as_str());
        let said = first.and_then(|edge| edge.expression.as_deref());
        let said = said.filter(|text| !is_name(text, own));
        let aside = self.aside(said, first.and_then(|edge| edge.place.as_ref()));
        format!("{name}  {}{aside}", self.paint.cyan(hows.join(", ")))
    }

    fn aside(&self, expression: Option<&str>, place: Option<&FilePlace>) -> String {
        let place = place.map(|place| format!("{}:{}", place.file, place.line));
        let parts: Vec<String> = expression.map(shortened).into_iter().chain(place).collect();
        match parts.is_empty() {
            true => String::new(),
            false => format!("  {}", self.paint.dim(parts.join("  "))),
        }
    }

    /// What decides which rows a dataset has.
    fn rows(&mut self, dataset: usize) {
        let rows = Node { dataset, column: None };
        let branches = self.neighbours(rows, Way::Up);
        if branches.is_empty() {
            return;
        }
        self.lines.push(String::new());
        let title = format!("which rows {} has", self.graph.name(rows));
        self.lines.push(self.paint.bold(title));
        self.tree(rows, Way::Up, Directions { up: true, down: false, depth: Some(1) });
    }

    /// The datasets that a dataset goes into, each with the columns that it takes.
    fn readers(&mut self, dataset: usize) {
        let mut readers: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
        for edge in self.graph.edges.iter().filter(|edge| edge.from.dataset == dataset) {
            let columns = readers.entry(edge.to.dataset).or_default();
            columns.extend(self.graph.column(edge.from).map(|column| column.name.as_str()));
        }
        self.lines.push(String::new());
        let none = if readers.is_empty() { ": nothing" } else { "" };
        self.lines.push(format!("{}{none}", self.paint.bold("goes into")));
        let count = readers.len();
        for (at, (reader, columns)) in readers.into_iter().enumerate() {
            let branch = if at + 1 == count { "└─ " } else { "├─ " };
            let columns: Vec<&str> = columns.into_iter().collect();
            let reader = &self.graph.datasets[reader];
            let (kind, columns) = (reader.kind.word(), self.paint.dim(columns.join(", ")));
            self.lines.push(format!("{branch}{}  {kind}  {columns}", reader.name));
        }
    }

    fn unknown(&mut self, asked: Asked) {
        let about = match asked {
            Asked::Everything => None,
            Asked::Dataset(dataset) | Asked::Column(Node { dataset, .. }) => {
                Some(&self.graph.datasets[dataset].name)
            }
        };
        let unknown = self.graph.unknown.iter();
        for one in unknown.filter(|one| about.is_none_or(|name| *name == one.dataset)) {
            let column = one.column.as_ref().map_or_else(String::new, |name| format!(".{name}"));
            let line = format!("not followed: {}{column}: {}", one.dataset, one.reason);
            self.lines.push(self.paint.yellow(line));
        }
    }
}

/// Whether an expression is no more than the column's name.
fn is_name(expression: &str, column: &str) -> bool {
    let (table, name) = expression.rsplit_once('.').unwrap_or(("", expression));
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '"';
    name.trim_matches('"') == column && table.chars().all(is_word)
}

fn shortened(text: &str) -> String {
    match text.chars().count() > MOST_CHARACTERS {
        true => text.chars().take(MOST_CHARACTERS - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}
