//! What pipelines were compiled from, so that it can be compiled again when the files have changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The format's version.
const VERSION: u32 = 1;

/// The project's files as they were read, and the values that were given for variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Version of this format.
    version: u32,
    /// Texts of the files that say what the pipelines do, by path relative to the project.
    pub files: BTreeMap<String, String>,
    /// Values given for variables, by name.
    pub given: BTreeMap<String, String>,
}

/// Why bytes are not a definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDefinition {
    /// They are not in the format.
    #[error("it is not a definition: {0}")]
    Format(String),
    /// A newer recctl wrote them.
    #[error("a newer recctl wrote it, in version {0} of the format")]
    Newer(u32),
    /// They are not those that the digest is of.
    #[error("its content is not what it was written with")]
    Content,
}

impl Definition {
    /// The definition that consists of these files and values.
    pub fn new(files: BTreeMap<String, String>, given: BTreeMap<String, String>) -> Self {
        Self { version: VERSION, files, given }
    }

    /// As JSON, the same for the same definition.
    pub fn to_json(&self) -> String {
        // Maps of texts cannot fail to serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The address: SHA-256 of the JSON, 64 hexadecimal digits.
    pub fn digest(&self) -> String {
        digest(self.to_json().as_bytes())
    }

    /// Reads what [`to_json`](Self::to_json) wrote under that digest.
    pub fn from_json(json: &[u8], address: &str) -> Result<Self, InvalidDefinition> {
        if digest(json) != address {
            return Err(InvalidDefinition::Content);
        }
        let read: Self = serde_json::from_slice(json)
            .map_err(|error| InvalidDefinition::Format(error.to_string()))?;
        if read.version > VERSION {
            return Err(InvalidDefinition::Newer(read.version));
        }
        Ok(read)
    }
}

impl Default for Definition {
    fn default() -> Self {
        Self::new(BTreeMap::new(), BTreeMap::new())
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_back_by_its_digest_alone() {
        let files = BTreeMap::from([("sql/a.sql".to_owned(), "SELECT 1 -- ü".to_owned())]);
        let one = Definition::new(files, BTreeMap::from([("x".to_owned(), "1".to_owned())]));
        let (json, address) = (one.to_json(), one.digest());
        assert_eq!(Definition::from_json(json.as_bytes(), &address), Ok(one));
        let other = json.replace("SELECT 1", "SELECT 2");
        let read = Definition::from_json(other.as_bytes(), &address);
        assert_eq!(read, Err(InvalidDefinition::Content));
        let newer = json.replace("\"version\":1", "\"version\":2");
        let read = Definition::from_json(newer.as_bytes(), &digest(newer.as_bytes()));
        assert_eq!(read, Err(InvalidDefinition::Newer(2)));
    }
}
