//! Which steps of a pipeline a command is about: `+interactions`, `tag:nightly`, `changed:main+`.
//!
//! The syntax is that of dbt, so that nobody learns another: a space is a union, a comma an
//! intersection, `+` before a step takes in what it is made from, `+` behind it what is made from
//! it. docs/selection.md is the reference.

mod evaluate;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::name::Name;

/// What is selected, and what is left out of that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Expressions of which each adds steps; all steps are selected if there is none.
    select: Vec<Expression>,
    /// Expressions of which each takes steps away.
    exclude: Vec<Expression>,
}

/// A union of intersections.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expression {
    /// The option that it was given to, for messages.
    option: Part,
    text: String,
    terms: Vec<Term>,
}

/// An intersection.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    place: Place,
    atoms: Vec<Atom>,
}

/// A method with what is taken in around the steps that it finds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Atom {
    place: Place,
    method: Method,
    reach: Reach,
}

/// How steps are found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Method {
    Name(Pattern),
    Tag(Pattern),
    Path(Pattern),
    Kind(String),
    State(State),
}

/// What is true of steps at a time, which the pipeline's files do not say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// The step means something else than it did at a revision, or than it did when it was last
    /// carried out.
    Changed(Option<String>),
    /// Some of its partitions are missing, or are made from something else than now.
    Stale,
    /// It failed in the last run, or that run did not get to it.
    Failed,
}

/// A text, or a glob with `*`, `?`, `[abc]`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    text: String,
    glob: Option<glob::Pattern>,
}

/// How far the neighbours of what was found are taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// `2+name+1`: so many steps up and down; `None` for no neighbour.
    Around { up: Option<Depth>, down: Option<Depth> },
    /// `@name`: all that is made from it, and all that that is made from.
    Closed,
}

/// A number of edges of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    AtMost(u32),
    Any,
}

/// A piece of an expression, in characters from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    start: usize,
    length: usize,
}

/// The option that an expression was given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Select,
    Exclude,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Select => "--select",
            Self::Exclude => "--exclude",
        })
    }
}

/// Which steps are in the states that a selection asks for.
pub type States = BTreeMap<State, BTreeSet<Name>>;

/// Why a selection selects nothing, or cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SelectionError {
    /// What is wrong: a lower-case fragment with the option and the column.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Selection {
    /// Reads what was given to `--select` and `--exclude`.
    pub fn parse(select: &[String], exclude: &[String]) -> Result<Self, SelectionError> {
        let read = |option: Part, texts: &[String]| {
            texts.iter().map(|text| parse::expression(option, text)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self { select: read(Part::Select, select)?, exclude: read(Part::Exclude, exclude)? })
    }

    /// Whether nothing is asked for: every step is selected.
    pub fn is_everything(&self) -> bool {
        self.select.is_empty() && self.exclude.is_empty()
    }

    /// The states that have to be known before the selection can be made.
    pub fn asks(&self) -> BTreeSet<State> {
        let expressions = self.select.iter().chain(&self.exclude);
        let atoms = expressions.flat_map(|one| &one.terms).flat_map(|term| &term.atoms);
        let states = atoms.filter_map(|atom| match &atom.method {
            Method::State(state) => Some(state.clone()),
            Method::Name(_) | Method::Tag(_) | Method::Path(_) | Method::Kind(_) => None,
        });
        states.collect()
    }
}

/// Points at a piece of an expression.
fn wrong(option: Part, place: Place, message: &str, hint: Option<String>) -> SelectionError {
    let message = format!("`{option}`, column {}: {message}", place.start + 1);
    SelectionError { message, hint }
}
