//! Reading YAML so that every value knows where it stands.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
pub use serde_saphyr::Spanned;

use crate::pipeline::variable::Value;
use crate::run::failure::Problem;

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

/// Reads a file's text. The error is the first thing that is wrong.
pub fn read<T: for<'de> Deserialize<'de>>(file: &str, text: &str) -> Result<T, Box<Problem>> {
    serde_saphyr::from_str(text).map_err(|error| Box::new(describe(file, &error)))
}

fn describe(file: &str, error: &serde_saphyr::Error) -> Problem {
    use serde_saphyr::Error;
    let location = error.location();
    let number = |value: u64| usize::try_from(value).unwrap_or(1).max(1);
    let (line, column) = location.map_or((1, 1), |at| (number(at.line()), number(at.column())));
    let mut length = 1;
    let (message, hint) = match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => {
            length = field.chars().count();
            (format!("unknown field `{field}`"), one_of(field, expected))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            length = variant.chars().count();
            (format!("unknown value `{variant}`"), one_of(variant, expected))
        }
        Error::SerdeMissingField { field, .. } => (format!("missing field `{field}`"), None),
        Error::SerdeInvalidType { unexpected, expected, .. } => {
            (format!("expected {expected}, found {unexpected}"), None)
        }
        Error::SerdeInvalidValue { unexpected, expected, .. } => {
            (format!("expected {expected}, found {unexpected}"), None)
        }
        Error::InvalidScalar { ty, .. } => (format!("expected {ty}"), None),
        Error::Unexpected { expected, .. } => (format!("expected {expected}"), None),
        Error::DuplicateMappingKey { key, .. } => (
            match key {
                Some(key) => format!("`{key}` is given twice"),
                None => "a key is given twice".to_owned(),
            },
            None,
        ),
        Error::Message { msg, .. } => (msg.clone(), None),
        other => {
            let text = other.to_string();
            (text.lines().next().unwrap_or_default().to_owned(), None)
        }
    };
    Problem { file: file.to_owned(), line, column, length: length.max(1), message, hint }
}

/// A hint that names the nearest of the possible words, or all of them.
pub fn one_of(given: &str, expected: &[&str]) -> Option<String> {
    let near = expected
        .iter()
        .map(|word| (strsim::jaro_winkler(given, word), word))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, word)) => Some(format!("did you mean `{word}`?")),
        None if expected.is_empty() => None,
        None => Some(format!("expected one of `{}`", expected.join("`, `"))),
    }
}
