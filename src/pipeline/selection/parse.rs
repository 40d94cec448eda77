//! From what was written to expressions. Never panics, whatever the text.

use super::{Atom, Depth, Expression, Method, Part, Pattern, Place, Reach, SelectionError};
use super::{State, Term, wrong};
use crate::pipeline::nearest::nearest;
use crate::pipeline::step::STEP_KINDS;

const METHODS: [&str; 7] = ["name", "tag", "path", "kind", "changed", "stale", "failed"];

/// Reads an expression: terms with spaces between.
pub(super) fn expression(option: Part, text: &str) -> Result<Expression, SelectionError> {
    let characters: Vec<char> = text.chars().collect();
    let mut terms = Vec::new();
    for (start, end) in pieces(&characters, 0, characters.len(), char::is_whitespace) {
        if start < end {
            terms.push(term(option, &characters, start, end)?);
        }
    }
    if terms.is_empty() {
        let hint = "name steps, for example `+interactions`; without the option all are selected";
        let place = Place { start: 0, length: characters.len() };
        return Err(wrong(option, place, "the expression is empty", Some(hint.to_owned())));
    }
    Ok(Expression { option, text: text.to_owned(), terms })
}

/// Splits a range at the characters of a kind.
fn pieces(
    characters: &[char],
    start: usize,
    end: usize,
    splits: impl Fn(char) -> bool,
) -> Vec<(usize, usize)> {
    let mut pieces = Vec::new();
    let mut from = start;
    for (at, character) in characters.iter().enumerate().take(end).skip(start) {
        if splits(*character) {
            pieces.push((from, at));
            from = at + 1;
        }
    }
    pieces.push((from, end));
    pieces
}

fn term(
    option: Part,
    characters: &[char],
    start: usize,
    end: usize,
) -> Result<Term, SelectionError> {
    let mut atoms = Vec::new();
    for (from, to) in pieces(characters, start, end, |c| c == ',') {
        if from == to {
            let place = Place { start: from, length: 1 };
            let hint = "a comma stands between two things that must both hold, without spaces: `tag:nightly,kind:sql`";
            let message = "nothing stands on one side of the comma";
            return Err(wrong(option, place, message, Some(hint.to_owned())));
        }
        atoms.push(atom(option, characters, from, to)?);
    }
    Ok(Term { place: Place { start, length: end - start }, atoms })
}

/// Reads `[@ | [depth]+] [method:]value [+[depth]]`.
fn atom(
    option: Part,
    characters: &[char],
    start: usize,
    end: usize,
) -> Result<Atom, SelectionError> {
    let place = Place { start, length: end - start };
    let mut from = start;
    let mut to = end;
    let closed = characters[from] == '@';
    let mut up = None;
    let mut down = None;
    if closed {
        from += 1;
    } else if let Some(plus) = (from..to).find(|at| !characters[*at].is_ascii_digit())
        && characters[plus] == '+'
    {
        up = Some(depth(option, characters, from, plus)?);
        from = plus + 1;
    }
    let digits = (from..to).rev().take_while(|at| characters[*at].is_ascii_digit()).count();
    if let Some(plus) = (to - digits).checked_sub(1)
        && plus >= from
        && characters[plus] == '+'
    {
        down = Some(depth(option, characters, plus + 1, to)?);
        to = plus;
    }
    if closed && down.is_some() {
        let hint = "`@name` takes in all that is made from it already";
        let message = "`@` and `+` do not go together";
        return Err(wrong(option, place, message, Some(hint.to_owned())));
    }
    let body = Place { start: from, length: to - from };
    if from >= to {
        let hint = "write the step's name beside it, for example `+interactions`";
        return Err(wrong(option, place, "no step is named", Some(hint.to_owned())));
    }
    let method = method(option, characters, body)?;
    let reach = if closed { Reach::Closed } else { Reach::Around { up, down } };
    Ok(Atom { place: body, method, reach })
}

fn depth(
    option: Part,
    characters: &[char],
    start: usize,
    end: usize,
) -> Result<Depth, SelectionError> {
    if start == end {
        return Ok(Depth::Any);
    }
    let digits: String = characters[start..end].iter().collect();
    digits.parse().map(Depth::AtMost).map_err(|_| {
        let place = Place { start, length: end - start };
        let hint = "leave the number away for all of them";
        wrong(option, place, &format!("`{digits}` is too many steps"), Some(hint.to_owned()))
    })
}

fn method(option: Part, characters: &[char], body: Place) -> Result<Method, SelectionError> {
    let end = body.start + body.length;
    let text = |from: usize, to: usize| -> String { characters[from..to].iter().collect() };
    let Some(colon) = (body.start..end).find(|at| characters[*at] == ':') else {
        return pattern(option, text(body.start, end), body).map(Method::Name);
    };
    let word = text(body.start, colon);
    let value = text(colon + 1, end);
    let at = Place { start: colon + 1, length: (end - colon - 1).max(1) };
    let needed = |example: &str| {
        let place = Place { start: body.start, length: body.length };
        let hint = format!("for example `{example}`");
        wrong(option, place, &format!("`{word}:` needs a value"), Some(hint))
    };
    match word.as_str() {
        "name" | "tag" | "path" | "kind" if value.is_empty() => Err(needed(match word.as_str() {
            "name" => "name:*_events",
            "tag" => "tag:nightly",
            "path" => "path:sql/daily",
            _ => "kind:train",
        })),
        "name" => pattern(option, value, at).map(Method::Name),
        "tag" => pattern(option, value, at).map(Method::Tag),
        "path" => pattern(option, value, at).map(Method::Path),
        "kind" if STEP_KINDS.contains(&value.as_str()) => Ok(Method::Kind(value)),
        "kind" => {
            let hint = match nearest(&value, STEP_KINDS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("expected one of `{}`", STEP_KINDS.join("`, `")),
            };
            Err(wrong(option, at, &format!("unknown kind `{value}`"), Some(hint)))
        }
        "changed" if value.is_empty() => Ok(Method::State(State::Changed(None))),
        "changed" => Ok(Method::State(State::Changed(Some(value)))),
        "stale" | "failed" if !value.is_empty() => {
            let hint = format!("write `{word}:`; with other conditions, `{word}:,tag:nightly`");
            Err(wrong(option, at, &format!("`{word}:` takes no value"), Some(hint)))
        }
        "stale" => Ok(Method::State(State::Stale)),
        "failed" => Ok(Method::State(State::Failed)),
        other => {
            let hint = match nearest(other, METHODS) {
                Some(near) => format!("did you mean `{near}:`?"),
                None => format!("expected one of `{}:`", METHODS.join(":`, `")),
            };
            Err(wrong(option, body, &format!("unknown method `{other}:`"), Some(hint)))
        }
    }
}

fn pattern(option: Part, text: String, place: Place) -> Result<Pattern, SelectionError> {
    let glob = match text.contains(['*', '?', '[']) {
        false => None,
        true => Some(glob::Pattern::new(&text).map_err(|error| {
            let at = Place { start: place.start + error.pos, length: 1 };
            let hint = "`*` is any text, `?` one character, `[abc]` one of these";
            let message = format!("`{text}` is no pattern: {}", error.msg);
            wrong(option, at, &message, Some(hint.to_owned()))
        })?),
    };
    Ok(Pattern { text, glob })
}
