//! Where the values of a YAML file stand, by the names that lead to them. What is meant has no
//! places; rules that judge it look them up here.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Location;

use super::yaml::Spanned;

/// The places of a file's values.
#[derive(Debug, Clone)]
pub struct Places {
    file: String,
    root: Node,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Length in characters; at least 1.
    pub length: usize,
}

impl Place {
    const START: Self = Self { line: 1, column: 1, length: 1 };

    fn of(location: Location) -> Self {
        let number = |value: u64| usize::try_from(value).unwrap_or(1).max(1);
        let length = usize::try_from(location.span().len()).unwrap_or(1).max(1);
        Self { line: number(location.line()), column: number(location.column()), length }
    }
}

/// A value without what it says: only where it stands is asked for. Unlike the shape of the text
/// (`yaml`), which says what can be cut out, aliases and merged keys stand for what they name.
#[derive(Debug, Clone, Default)]
enum Node {
    #[default]
    Leaf,
    Mapping(Vec<(Spanned<String>, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
}

impl Places {
    /// Reads the places of a file; none for a text that is not YAML.
    pub fn read(file: &str, text: &str) -> Self {
        let root = serde_saphyr::from_str(text).unwrap_or_default();
        Self { file: file.to_owned(), root }
    }

    /// The file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Where the value at the end of a path stands; elements of lists go by their position. Where
    /// there is no such value, the key of the last part that there is.
    pub fn value(&self, path: &[&str]) -> Place {
        self.find(path, false)
    }

    /// Where the last name of a path stands.
    pub fn key(&self, path: &[&str]) -> Place {
        self.find(path, true)
    }

    fn find(&self, path: &[&str], key: bool) -> Place {
        let mut node = &self.root;
        let mut place = Place::START;
        for (at, part) in path.iter().enumerate() {
            let Some((name, child)) = node.child(part) else { return place };
            let value = Place::of(child.referenced);
            let own = name.map_or(value, |name| Place::of(name.referenced));
            let is_last = at + 1 == path.len();
            // What is more than one value is pointed at by its name.
            let is_leaf = matches!(child.value, Node::Leaf);
            place = if is_last && is_leaf && !key { value } else { own };
            node = &child.value;
        }
        place
    }
}

impl Node {
    fn child(&self, part: &str) -> Option<(Option<&Spanned<String>>, &Spanned<Node>)> {
        match self {
            Self::Leaf => None,
            Self::Mapping(entries) => {
                let found = entries.iter().find(|(name, _)| name.value == part);
                found.map(|(name, value)| (Some(name), value))
            }
            Self::List(items) => items.get(part.parse::<usize>().ok()?).map(|item| (None, item)),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::default())
            }
            fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
                Ok(Node::default())
            }
            fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
                Ok(Node::default())
            }
            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::default())
            }
            fn visit_str<E>(self, _: &str) -> Result<Node, E> {
                Ok(Node::default())
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Node::Mapping(entries))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "version: 1\ntargets:\n  aws:\n    lake: s3://acme\n    trainer: {sagemaker: {role: \"r\", spot: true}}\nsteps:\n  - {name: a, regex: 'x=(1)'}\n  - name: b\nempty:\n";

    #[test]
    fn values_and_keys_are_found_where_they_stand() {
        let places = Places::read("a.yaml", TEXT);
        let at = |place: Place| (place.line, place.column, place.length);
        assert_eq!(at(places.value(&["version"])), (1, 10, 1));
        assert_eq!(at(places.value(&["targets", "aws", "lake"])), (4, 11, 9));
        assert_eq!(at(places.key(&["targets", "aws", "lake"])), (4, 5, 4));
        assert_eq!(at(places.key(&["targets", "aws"])), (3, 3, 3));
        assert_eq!(at(places.value(&["targets", "aws", "trainer", "sagemaker", "role"])).0, 5);
        assert_eq!(at(places.value(&["steps", "0", "regex"])), (7, 22, 7));
        assert_eq!(places.value(&["steps", "1", "name"]).line, 8);
    }

    #[test]
    fn what_is_missing_is_at_what_it_is_missing_in() {
        let places = Places::read("a.yaml", TEXT);
        assert_eq!(places.value(&["targets", "aws", "region"]), places.key(&["targets", "aws"]));
        assert_eq!(places.value(&["targets", "aws", "lake", "x"]).line, 4);
        assert_eq!(places.key(&["empty"]).line, 9);
        assert_eq!(Places::read("a.yaml", "a: [").value(&["a"]), Place::START);
    }
}
