//! Reading YAML so that every value knows where it stands, and so that one error hides no other.

mod describe;
mod mend;
mod tree;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use self::describe::{Fault, describe};
pub use self::mend::Lost;
use self::mend::without;
use self::tree::{Node, Owner};
use super::problems::Problems;
use serde_saphyr::Location;

use crate::pipeline::nearest::nearest;
use crate::pipeline::variable::Value;
use crate::run::failure::{Problem, Rule};

/// A value and where it stands. The reader's own type with a schema: that of the value.
#[derive(Debug, Clone)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it is used.
    pub referenced: Location,
    /// Where it is defined, if that is elsewhere: behind an anchor.
    pub defined: Location,
}

impl<T> Spanned<T> {
    /// A value at a place.
    pub const fn new(value: T, referenced: Location, defined: Location) -> Self {
        Self { value, referenced, defined }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let serde_saphyr::Spanned { value, referenced, defined } =
            serde_saphyr::Spanned::deserialize(deserializer)?;
        Ok(Self { value, referenced, defined })
    }
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A mapping in the order in which it is written, with the place of each key.
#[derive(Debug, Clone)]
pub struct Entries<T>(pub Vec<(Spanned<String>, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Entries<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
            fn visit_unit<E>(self) -> Result<Entries<T>, E> {
                Ok(Entries::default())
            }
        }
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("EntriesOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let values = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "additionalProperties": values })
    }
}

/// A number, a boolean or a text.
#[derive(Debug, Clone)]
pub struct Scalar(pub Value);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyScalar;
        impl Visitor<'_> for AnyScalar {
            type Value = Scalar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number or a boolean")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(Value::Boolean(value)))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(Value::Int(value)))
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Scalar, E> {
                let value = i64::try_from(value)
                    .map_err(|_| E::custom(format!("`{value}` is too large for an integer")))?;
                Ok(Scalar(Value::Int(value)))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar(Value::Double(value)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(Value::String(text.to_owned())))
            }
        }
        deserializer.deserialize_any(AnyScalar)
    }
}

/// Reads a value that is either a text or a mapping. Unlike an untagged enum this keeps the places of
/// what is in the mapping.
pub fn text_or_mapping<'de, D, T, M>(
    deserializer: D,
    expected: &'static str,
    of_text: fn(String) -> T,
    of_mapping: fn(M) -> T,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    M: Deserialize<'de>,
{
    struct Either<T, M> {
        expected: &'static str,
        of_text: fn(String) -> T,
        of_mapping: fn(M) -> T,
    }
    impl<'de, T, M: Deserialize<'de>> Visitor<'de> for Either<T, M> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.expected)
        }
        fn visit_str<E>(self, text: &str) -> Result<T, E> {
            Ok((self.of_text)(text.to_owned()))
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            M::deserialize(MapAccessDeserializer::new(map)).map(self.of_mapping)
        }
    }
    deserializer.deserialize_any(Either { expected, of_text, of_mapping })
}

/// Reads a value that is either a list or a mapping, with the places of what is in it.
pub fn list_or_mapping<'de, D, T, I, M>(
    deserializer: D,
    expected: &'static str,
    of_list: fn(Vec<I>) -> T,
    of_mapping: fn(M) -> T,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    I: Deserialize<'de>,
    M: Deserialize<'de>,
{
    struct Either<T, I, M> {
        expected: &'static str,
        of_list: fn(Vec<I>) -> T,
        of_mapping: fn(M) -> T,
    }
    impl<'de, T, I: Deserialize<'de>, M: Deserialize<'de>> Visitor<'de> for Either<T, I, M> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.expected)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
            Vec::<I>::deserialize(SeqAccessDeserializer::new(list)).map(self.of_list)
        }
        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            M::deserialize(MapAccessDeserializer::new(map)).map(self.of_mapping)
        }
    }
    deserializer.deserialize_any(Either { expected, of_list, of_mapping })
}

/// What could be read of a file.
#[derive(Debug)]
pub struct Reading<T> {
    /// What the file says, without what was wrong.
    pub value: T,
    /// What was wrong, and is not in the value.
    pub lost: Lost,
}

/// Entries that are taken out of a file at most before it is given up.
const MOST_LOST: usize = 200;

impl JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

/// Reads a file's text. All that is wrong with its shape goes to `problems`; what is left is
/// returned, if anything can be.
pub fn read<T: for<'de> Deserialize<'de>>(
    file: &str,
    text: &str,
    problems: &mut Problems,
) -> Option<Reading<T>> {
    if let Some(problem) = unfit(file, text) {
        problems.push(problem);
        return None;
    }
    let mut left = text.to_owned();
    let mut lost = Lost::default();
    for _ in 0..MOST_LOST {
        match serde_saphyr::from_str(&left) {
            Ok(value) => return Some(Reading { value, lost }),
            Err(error) => left = mended(file, text, &left, &error, &mut lost, problems)?,
        }
    }
    None
}

/// Reads a text that is right as a whole. Errors: the first thing that is wrong.
pub fn read_whole<T: for<'de> Deserialize<'de>>(file: &str, text: &str) -> Result<T, Box<Problem>> {
    let mut problems = Problems::default();
    let reading = read(file, text, &mut problems);
    match (problems.into_sorted().into_iter().next(), reading) {
        (None, Some(Reading { value, .. })) => Ok(value),
        (Some(problem), _) => Err(Box::new(problem)),
        (None, None) => {
            let message = "the file cannot be read";
            Err(Box::new(Problem::new(Rule::YamlSyntax, file, 1, 1, 1, message)))
        }
    }
}

/// Why a text is not looked at any further.
fn unfit(file: &str, text: &str) -> Option<Problem> {
    let problem = |line: usize, message: &str, hint: &str| {
        let problem = Problem::new(Rule::YamlSyntax, file, line, 1, 1, message);
        Some(problem.with_hint(hint.to_owned()))
    };
    if text.trim().is_empty() {
        let hint = "`recctl` needs to be told what to do in it";
        return problem(1, "the file is empty", hint);
    }
    // For YAML it ends a line, for editors and for all that shows places it does not.
    let lone = |line: &str| line.strip_suffix('\r').unwrap_or(line).contains('\r');
    if let Some(line) = text.split('\n').position(lone) {
        let hint = "save the file with the line ends of Unix or Windows";
        return problem(line + 1, "the line has a carriage return without a line feed", hint);
    }
    None
}

/// Tells an error, unless it only follows from another, and takes what it is about out of the text
/// that is left. `None` if there is nothing to go on with.
fn mended(
    file: &str,
    text: &str,
    left: &str,
    error: &serde_saphyr::Error,
    lost: &mut Lost,
    problems: &mut Problems,
) -> Option<String> {
    let Fault { mut problem, sought, missing, unknown } = describe(file, text, error);
    let Some(sought) = sought else {
        // What is no YAML only after something was taken out was none of the writer's doing.
        if lost.is_empty() {
            problems.push(problem);
        }
        return None;
    };
    let tree = Node::read(left);
    let place = place_of(left, problem.line, problem.column);
    let mut owner = tree.as_ref().and_then(|tree| tree.owner(place, sought));
    let path: Vec<&str> = owner.iter().flat_map(|owner| &owner.path).map(String::as_str).collect();
    let follows = match missing {
        Some(field) => {
            if let Some(key) = owner.as_ref().and_then(Owner::key) {
                // The mapping is at fault, not what happens to stand in it.
                (problem.line, problem.column) = position(left, key.range.start);
                problem.length = key.range.len().max(1);
            }
            lost.has(&[&path[..], &[field]].concat())
        }
        None => owner.is_some() && lost.inside(&path),
    };
    if !follows {
        problems.push(problem);
    }
    let tree = tree.as_ref()?;
    // What cannot be taken out alone goes with what is around it.
    let mut unknown = unknown.as_ref().map(|(field, known)| (field.as_str(), known.as_slice()));
    while let Some(it) = owner {
        lost.note(&it.path, unknown.take());
        if let Some(left) = without(left, &it) {
            return Some(left);
        }
        owner = tree.around(&it.path);
    }
    None
}

/// The number of the character at a line and column.
fn place_of(text: &str, line: usize, column: usize) -> usize {
    let before: usize =
        text.split_inclusive('\n').take(line - 1).map(|line| line.chars().count()).sum();
    before + column - 1
}

/// Line and column, from 1, of a character.
fn position(text: &str, place: usize) -> (usize, usize) {
    let (mut line, mut column) = (1, 1);
    for character in text.chars().take(place) {
        if character == '\n' {
            (line, column) = (line + 1, 1);
        } else {
            column += 1;
        }
    }
    (line, column)
}

/// A hint that names the nearest of the possible words, or all of them.
pub fn one_of(given: &str, expected: &[&str]) -> Option<String> {
    match nearest(given, expected.iter().copied()) {
        Some(word) => Some(format!("did you mean `{word}`?")),
        None if expected.is_empty() => None,
        None => Some(format!("expected one of `{}`", expected.join("`, `"))),
    }
}

#[cfg(test)]
mod tests;
