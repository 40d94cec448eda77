//! Names of pipelines, steps, tables and sources.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name that fits every place a name goes to: a SageMaker job name is limited to 63
/// characters and carries a date and a hash beside the step's name.
pub const MAX_NAME_LENGTH: usize = 40;

/// A valid name: lower-case letters, digits and `_`, starting with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Says why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid name (expected a lower-case letter, then lower-case letters, digits or `_`, at most {MAX_NAME_LENGTH} characters)"
)]
pub struct InvalidName(pub String);

impl Name {
    /// Checks `text` and makes a name of it.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
        let text = text.into();
        let mut chars = text.chars();
        let starts_well = chars.next().is_some_and(|c| c.is_ascii_lowercase());
        let goes_on_well = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if starts_well && goes_on_well && text.len() <= MAX_NAME_LENGTH {
            Ok(Self(text))
        } else {
            Err(InvalidName(text))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_refuses() {
        for good in ["a", "clean_events", "als2"] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in ["", "2als", "Clean", "a-b", "a b", "é", "_x", &"x".repeat(41)] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }
}
