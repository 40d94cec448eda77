//! Goes on after an error of shape: what it is about is taken out of the text, and what is left is
//! read again, so that all errors of a file come at once.

use super::tree::{Kind, Node, Owner, Path};
use crate::pipeline::nearest::nearest;

/// What was taken out of a file. What refers to it, or misses it, is not at fault.
#[derive(Debug, Clone, Default)]
pub struct Lost {
    paths: Vec<Path>,
}

impl Lost {
    /// Whether nothing was taken out.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Whether the entry at a path was taken out, or was probably meant by one that was.
    pub fn has(&self, path: &[&str]) -> bool {
        self.paths.iter().any(|lost| lost == path)
    }

    /// Whether anything inside of the value at a path was taken out.
    pub fn inside(&self, path: &[&str]) -> bool {
        self.paths.iter().any(|lost| lost.len() > path.len() && starts(lost, path))
    }

    /// The names of entries that were taken out of the mapping at a path.
    pub fn names(&self, path: &[&str]) -> impl Iterator<Item = &str> {
        let inside = self.paths.iter().filter(move |lost| lost.len() == path.len() + 1);
        inside
            .filter(move |lost| starts(lost, path))
            .filter_map(|lost| lost.last())
            .map(String::as_str)
    }

    /// Takes note of an entry, and of the field that was probably meant by it.
    pub(super) fn note(&mut self, path: &Path, unknown: Option<(&str, &[&'static str])>) {
        self.paths.push(path.clone());
        if let Some((field, expected)) = unknown
            && let Some(meant) = nearest(field, expected.iter().copied())
            && let Some((_, of)) = path.split_last()
        {
            self.paths.push(of.iter().cloned().chain([meant.to_owned()]).collect());
        }
    }
}

fn starts(lost: &[String], path: &[&str]) -> bool {
    lost.iter().zip(path).all(|(one, other)| one == other) && lost.len() >= path.len()
}

/// Takes an entry or item out of a text; all else stays at its line and column. `None` if that
/// cannot be done without harm to what is around.
pub(super) fn without(text: &str, owner: &Owner<'_>) -> Option<String> {
    let mut characters: Vec<char> = text.chars().collect();
    match &owner.of.kind {
        Kind::Scalar(_) => return None,
        Kind::Mapping { flow: false, entries } => {
            let (key, value) = entries.get(owner.index)?;
            let end = match entries.get(owner.index + 1) {
                Some((next, _)) => next.range.start,
                None => end_of_entry(&characters, key, value)?,
            };
            let start = key.range.start;
            blank(&mut characters, start, end)?;
            if entries.len() == 1 {
                put(&mut characters, start, end, ['{', '}'])?;
            }
        }
        Kind::List { flow: false, items } => {
            let item = items.get(owner.index).filter(|_| items.len() > 1)?;
            let dash = dash_of(&characters, item)?;
            let end = match items.get(owner.index + 1) {
                Some(next) => dash_of(&characters, next)?,
                None => item.range.end.max(dash + 1),
            };
            blank(&mut characters, dash, end)?;
        }
        Kind::Mapping { flow: true, entries } => {
            let (key, value) = entries.get(owner.index)?;
            let end = end_of_entry(&characters, key, value)?;
            blank_in_brackets(&mut characters, key.range.start, end)?;
        }
        Kind::List { flow: true, items } => {
            let item = items.get(owner.index)?;
            blank_in_brackets(&mut characters, item.range.start, item.range.end)?;
        }
    }
    Some(characters.into_iter().collect())
}

/// Behind the value of an entry, or behind its colon if it has none.
fn end_of_entry(characters: &[char], key: &Node, value: &Node) -> Option<usize> {
    let behind_key = characters.get(key.range.end..)?;
    let colon = key.range.end + behind_key.iter().position(|it| *it == ':')?;
    let is_empty = value.children() == 0 && value.text().is_empty() && value.range.is_empty();
    Some(if is_empty { colon + 1 } else { value.range.end.max(colon + 1) })
}

/// The dash of an item that is written in lines.
fn dash_of(characters: &[char], item: &Node) -> Option<usize> {
    let before = characters.get(..item.range.start)?;
    let dash = before.iter().rposition(|it| !it.is_whitespace())?;
    (before[dash] == '-').then_some(dash)
}

/// Blanks what stands between brackets or braces, and one of the commas beside it.
fn blank_in_brackets(characters: &mut [char], start: usize, end: usize) -> Option<()> {
    let behind = characters.get(end..)?.iter().position(|it| !it.is_whitespace())? + end;
    let before = characters.get(..start)?.iter().rposition(|it| !it.is_whitespace())?;
    blank(characters, start, end)?;
    if characters[behind] == ',' {
        characters[behind] = ' ';
    } else if characters[before] == ',' {
        characters[before] = ' ';
    }
    Some(())
}

fn blank(characters: &mut [char], start: usize, end: usize) -> Option<()> {
    for character in characters.get_mut(start..end)? {
        if !matches!(character, '\n' | '\r') {
            *character = ' ';
        }
    }
    Some(())
}

/// Puts an empty mapping in the place of one that lost all entries, which would be a null.
fn put(characters: &mut [char], start: usize, end: usize, empty: [char; 2]) -> Option<()> {
    let piece = characters.get_mut(start..end.min(start + 2))?;
    let fits = piece.len() == 2 && piece.iter().all(|it| *it == ' ');
    fits.then(|| piece.copy_from_slice(&empty))
}
