//! Fingerprints: what a result was made from, so that unchanged work is not done again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Named components, each the digest of one thing that the result depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    components: BTreeMap<String, String>,
}

impl Fingerprint {
    /// Adds a component. Its text goes in as a digest, so it may be of any size.
    #[must_use]
    pub fn with(mut self, component: &str, text: impl AsRef<[u8]>) -> Self {
        self.components.insert(component.to_owned(), digest(text.as_ref()));
        self
    }

    /// The digest over all components: 16 hexadecimal digits.
    pub fn digest(&self) -> String {
        let mut all = String::new();
        for (name, value) in &self.components {
            all.push_str(name);
            all.push('=');
            all.push_str(value);
            all.push('\n');
        }
        digest(all.as_bytes())
    }

    /// The first component, in the order of their names, that differs from `other`.
    pub fn first_difference<'a>(&'a self, other: &'a Self) -> Option<&'a str> {
        self.differences(other).first().copied()
    }

    /// The components that differ from `other`, in the order of their names.
    pub fn differences<'a>(&'a self, other: &'a Self) -> BTreeSet<&'a str> {
        let names = self.components.keys().chain(other.components.keys());
        names
            .filter(|name| self.components.get(*name) != other.components.get(*name))
            .map(String::as_str)
            .collect()
    }
}

/// The first 64 bits of SHA-256 as hexadecimal digits: enough for telling versions apart.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_component_that_differs() {
        let one = Fingerprint::default().with("sql", "select 1").with("vars", "");
        let other = Fingerprint::default().with("sql", "select 1").with("vars", "x=1");
        assert_eq!(one.first_difference(&other), Some("vars"));
        assert_eq!(one.first_difference(&one), None);
        assert_ne!(one.digest(), other.digest());
        assert_eq!(one.digest().len(), 16);
    }
}
