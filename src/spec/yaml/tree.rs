//! The shape of a YAML file: which piece of the text is which entry.

use std::ops::Range;

use granit_parser::{Event, Parser, StructureStyle};

/// A node and where it stands, in characters of the text.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// From its first character to behind its last.
    pub range: Range<usize>,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A plain or quoted value, or an alias.
    Scalar(String),
    /// A list.
    List {
        /// Whether it is written in brackets.
        flow: bool,
        /// What is in it.
        items: Vec<Node>,
    },
    /// A mapping.
    Mapping {
        /// Whether it is written in braces.
        flow: bool,
        /// Keys and values as written.
        entries: Vec<(Node, Node)>,
    },
}

/// A list or mapping whose end is still to come.
struct Open {
    start: usize,
    flow: bool,
    mapping: bool,
    nodes: Vec<Node>,
}

impl Node {
    /// Reads a text that is YAML; `None` if it is not, or holds several documents.
    pub fn read(text: &str) -> Option<Self> {
        let mut open: Vec<Open> = Vec::new();
        let mut root = None;
        for next in Parser::new_from_str(text) {
            let (event, span) = next.ok()?;
            let range = span.start.index()..span.end.index();
            let is_flow = |style: StructureStyle| style == StructureStyle::Flow;
            let node = match event {
                Event::Scalar(value, ..) => Self { range, kind: Kind::Scalar(value.into_owned()) },
                Event::Alias(_) => Self { range, kind: Kind::Scalar(String::new()) },
                Event::SequenceStart(style, ..) => {
                    let (start, flow, nodes) = (range.start, is_flow(style), Vec::new());
                    open.push(Open { start, flow, mapping: false, nodes });
                    continue;
                }
                Event::MappingStart(style, ..) => {
                    let (start, flow, nodes) = (range.start, is_flow(style), Vec::new());
                    open.push(Open { start, flow, mapping: true, nodes });
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => open.pop()?.closed(range.end),
                _ => continue,
            };
            match open.last_mut() {
                Some(open) => open.nodes.push(node),
                None if root.is_none() => root = Some(node),
                None => return None,
            }
        }
        root
    }
}

impl Open {
    fn closed(self, end: usize) -> Node {
        let Self { start, flow, mapping, nodes } = self;
        // What is written in lines ends with the last thing in it: the parser knows of its end only
        // by what comes after.
        let last = nodes.last().map_or(start, |node| node.range.end);
        let range = start..if flow { end } else { last };
        let kind = if mapping {
            let mut entries = Vec::with_capacity(nodes.len() / 2);
            let mut nodes = nodes.into_iter();
            while let (Some(key), Some(value)) = (nodes.next(), nodes.next()) {
                entries.push((key, value));
            }
            Kind::Mapping { flow, entries }
        } else {
            Kind::List { flow, items: nodes }
        };
        Node { range, kind }
    }
}

/// Where in a file something stands: keys and numbers of items, from the outside to the inside.
pub(super) type Path = Vec<String>;

/// An entry of a mapping or an item of a list, found by a place.
#[derive(Debug)]
pub(super) struct Owner<'a> {
    /// The entry's or item's own path.
    pub path: Path,
    /// The mapping or list that it is in.
    pub of: &'a Node,
    /// Its number therein.
    pub index: usize,
}

/// What is looked for at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sought {
    /// The outermost value that begins there; if there is none, the innermost entry around it.
    Value,
    /// The entry whose key begins there.
    Key,
    /// The mapping that has a key there, or begins there and is empty.
    MappingWithKey,
}

impl Node {
    /// The entry or item that a problem at `place` (in characters) is about.
    pub fn owner(&self, place: usize, sought: Sought) -> Option<Owner<'_>> {
        let mut path = Path::new();
        let mut node = self;
        let mut around: Option<Owner<'_>> = None;
        loop {
            let (index, name, key, value) = node.child_at(place)?;
            path.push(name);
            let here = || Owner { path: path.clone(), of: node, index };
            if value.range.start == place && sought == Sought::Value {
                return Some(here());
            }
            if key.is_some_and(|key| key.range.start == place) {
                match sought {
                    Sought::Key | Sought::Value => return Some(here()),
                    Sought::MappingWithKey => return around,
                }
            }
            let empty = value.children() == 0;
            if sought == Sought::MappingWithKey && value.range.start == place && empty {
                return Some(here());
            }
            if value.child_at(place).is_none() {
                return Some(here());
            }
            around = Some(here());
            node = value;
        }
    }

    /// The number of entries or items.
    pub fn children(&self) -> usize {
        match &self.kind {
            Kind::Scalar(_) => 0,
            Kind::List { items, .. } => items.len(),
            Kind::Mapping { entries, .. } => entries.len(),
        }
    }

    /// The entry or item around a place: its number, its name, its key if it has one, its value.
    fn child_at(&self, place: usize) -> Option<(usize, String, Option<&Node>, &Node)> {
        // The last that begins at or before the place: a null value has no length of its own.
        match &self.kind {
            Kind::Scalar(_) => None,
            Kind::List { items, .. } => {
                let index = items.iter().rposition(|item| item.range.start <= place)?;
                let item = &items[index];
                (place <= item.range.end).then(|| (index, index.to_string(), None, item))
            }
            Kind::Mapping { entries, .. } => {
                let index = entries.iter().rposition(|(key, _)| key.range.start <= place)?;
                let (key, value) = &entries[index];
                let end = value.range.end.max(key.range.end);
                (place <= end).then(|| (index, key.text().to_owned(), Some(key), value))
            }
        }
    }

    /// The text of a plain value; empty for all else.
    pub fn text(&self) -> &str {
        match &self.kind {
            Kind::Scalar(text) => text,
            Kind::List { .. } | Kind::Mapping { .. } => "",
        }
    }

    /// The entry or item around the one at a path; none around the outermost.
    pub fn around(&self, path: &[String]) -> Option<Owner<'_>> {
        let (_, path) = path.split_last()?;
        let mut node = self;
        let mut found = None;
        for (depth, name) in path.iter().enumerate() {
            let (index, value) = node.child(name)?;
            found = Some(Owner { path: path[..=depth].to_vec(), of: node, index });
            node = value;
        }
        found
    }

    /// The entry or item of a name.
    fn child(&self, name: &str) -> Option<(usize, &Self)> {
        match &self.kind {
            Kind::Scalar(_) => None,
            Kind::List { items, .. } => {
                let index = name.parse().ok()?;
                items.get(index).map(|item| (index, item))
            }
            Kind::Mapping { entries, .. } => {
                let index = entries.iter().position(|(key, _)| key.text() == name)?;
                Some((index, &entries[index].1))
            }
        }
    }
}

impl<'a> Owner<'a> {
    /// The key, if it is an entry of a mapping.
    pub fn key(&self) -> Option<&'a Node> {
        match &self.of.kind {
            Kind::Mapping { entries, .. } => entries.get(self.index).map(|(key, _)| key),
            Kind::Scalar(_) | Kind::List { .. } => None,
        }
    }
}
