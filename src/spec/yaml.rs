//! Reading YAML so that every value knows where it stands.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
pub use serde_saphyr::Spanned;

use crate::pipeline::nearest::nearest;
use crate::pipeline::variable::Value;
use crate::run::failure::{Problem, Rule};

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

/// Reads a file's text. The error is the first thing that is wrong.
pub fn read<T: for<'de> Deserialize<'de>>(file: &str, text: &str) -> Result<T, Box<Problem>> {
    serde_saphyr::from_str(text).map_err(|error| Box::new(describe(file, text, &error)))
}

fn describe(file: &str, text: &str, error: &serde_saphyr::Error) -> Problem {
    use serde_saphyr::Error;
    let at = |line: usize, message: &str, hint: &str| {
        Problem::new(Rule::YamlSyntax, file, line, 1, 1, message).with_hint(hint.to_owned())
    };
    if text.trim().is_empty() {
        return at(1, "the file is empty", "`recctl` needs to be told what to do in it");
    }
    let location = error.location();
    let number = |value: u64| usize::try_from(value).unwrap_or(1).max(1);
    let (line, column) = location.map_or((1, 1), |at| (number(at.line()), number(at.column())));
    let mut length = 1;
    let (rule, message, hint) = match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => {
            length = field.chars().count();
            (Rule::UnknownField, format!("unknown field `{field}`"), one_of(field, expected))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            length = variant.chars().count();
            (Rule::UnknownValue, format!("unknown value `{variant}`"), one_of(variant, expected))
        }
        Error::SerdeMissingField { field, .. } => {
            (Rule::MissingField, format!("missing field `{field}`"), None)
        }
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            let message = format!("expected {}, found {unexpected}", kind_of(expected));
            (Rule::WrongType, message, None)
        }
        Error::InvalidScalar { ty, .. } => {
            let found = scalar_at(text, line, column);
            length = found.chars().count();
            (Rule::WrongType, format!("expected {}, found `{found}`", kind_of(ty)), None)
        }
        Error::Unexpected { expected, .. } => {
            let found = scalar_at(text, line, column);
            let hint = match *expected {
                "sequence start" => Some(format!("write `[{found}]`")),
                _ => None,
            };
            length = found.chars().count();
            (Rule::WrongType, format!("expected {}", kind_of(expected)), hint)
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            length = key.chars().count();
            (Rule::DuplicateKey, format!("`{key}` is given twice"), None)
        }
        Error::DuplicateMappingKey { key: None, .. } => {
            (Rule::DuplicateKey, "a key is given twice".to_owned(), None)
        }
        Error::Message { msg, .. } => (Rule::InvalidValue, msg.clone(), None),
        other => {
            // What the parser says last of such a place is often far from where it went wrong.
            if let Some(tab) = text.lines().skip(line - 1).position(has_tab) {
                let message = "the line is indented with a tab";
                return at(line + tab, message, "YAML is indented with spaces");
            }
            let text = other.to_string();
            let what = text.lines().next().unwrap_or_default();
            let what = what.rsplit_once(" at line ").map_or(what, |(what, _)| what);
            let hint = "is a bracket, a brace or a quote before it left open?";
            (Rule::YamlSyntax, what.to_owned(), Some(hint.to_owned()))
        }
    };
    Problem::new(rule, file, line, column, length, message).with_hint(hint)
}

/// A word for a type of YAML or Rust that somebody who writes YAML knows.
fn kind_of(expected: &str) -> &str {
    match expected {
        "u16" | "u32" | "u64" | "usize" | "i64" => "a whole number",
        "f64" => "a number",
        "bool" | "boolean" => "`true` or `false`",
        "string" => "a text",
        "sequence start" => "a list",
        "mapping start" => "a mapping",
        other => other,
    }
}

/// The plain value that begins at a place.
fn scalar_at(text: &str, line: usize, column: usize) -> String {
    let line = text.lines().nth(line - 1).unwrap_or_default();
    let value: String = line.chars().skip(column - 1).collect();
    let end = value.find([',', ']', '}', '#']).unwrap_or(value.len());
    value[..end].trim().to_owned()
}

fn has_tab(line: &str) -> bool {
    line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t')
}

/// A hint that names the nearest of the possible words, or all of them.
pub fn one_of(given: &str, expected: &[&str]) -> Option<String> {
    match nearest(given, expected.iter().copied()) {
        Some(word) => Some(format!("did you mean `{word}`?")),
        None if expected.is_empty() => None,
        None => Some(format!("expected one of `{}`", expected.join("`, `"))),
    }
}
