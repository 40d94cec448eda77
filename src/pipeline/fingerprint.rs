//! Fingerprints: what a result was made from, so that unchanged work is not done again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Named components, each the digest of one thing that the result depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    components: BTreeMap<String, String>,
    /// Beside the components, and not part of the digest: another way of writing the same query
    /// leaves what was made of it as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    meaning: Option<Meaning>,
}

/// What a query means, apart from how it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meaning {
    /// What normalised the query: meanings of different engines cannot be compared.
    pub engine: String,
    /// Digest of its normal form.
    pub plan: String,
}

/// The component that holds a query as it is written.
pub const SQL: &str = "sql";

impl Fingerprint {
    /// Adds a component. Its text goes in as a digest, so it may be of any size.
    #[must_use]
    pub fn with(mut self, component: &str, text: impl AsRef<[u8]>) -> Self {
        self.components.insert(component.to_owned(), digest(text.as_ref()));
        self
    }

    /// Adds what the query means whose text is the component [`SQL`].
    #[must_use]
    pub fn meaning(mut self, meaning: Option<Meaning>) -> Self {
        self.meaning = meaning;
        self
    }

    /// This fingerprint, or the one that was kept of the same work: that is written the same way as
    /// before, so that its digest is what later work was made from.
    #[must_use]
    pub fn or_kept(self, kept: Option<&Self>) -> Self {
        match kept {
            Some(kept) if self.differences(kept).is_empty() => {
                Self { components: kept.components.clone(), meaning: self.meaning }
            }
            _ => self,
        }
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

    /// The components that differ from `other`, in the order of their names. A query that is known
    /// to mean the same does not.
    pub fn differences<'a>(&'a self, other: &'a Self) -> BTreeSet<&'a str> {
        let names = self.components.keys().chain(other.components.keys());
        let means_the_same = self.meaning.is_some() && self.meaning == other.meaning;
        names
            .filter(|name| self.components.get(*name) != other.components.get(*name))
            .filter(|name| *name != SQL || !means_the_same)
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

    fn written(sql: &str, engine: &str, plan: &str) -> Fingerprint {
        let meaning = Meaning { engine: engine.to_owned(), plan: plan.to_owned() };
        Fingerprint::default().with(SQL, sql).with("checks", "").meaning(Some(meaning))
    }

    #[test]
    fn another_writing_of_the_same_is_no_difference() {
        let kept = written("select a as b", "e1", "p");
        let other = written("select a b", "e1", "p");
        assert_eq!(other.first_difference(&kept), None);
        assert_ne!(other.digest(), kept.digest(), "it is written otherwise");
        assert_eq!(other.clone().or_kept(Some(&kept)).digest(), kept.digest());
        assert_eq!(written("select c", "e1", "q").first_difference(&kept), Some(SQL));
        // Another engine: only the text can be compared.
        assert_eq!(written("select a b", "e2", "p").first_difference(&kept), Some(SQL));
        assert_eq!(written("select a as b", "e2", "r").first_difference(&kept), None);
        let changed = other.with("checks", "x");
        assert_eq!(changed.first_difference(&kept), Some("checks"));
        assert_eq!(changed.clone().or_kept(Some(&kept)), changed);
    }

    #[test]
    fn what_an_older_recctl_kept_is_read() {
        let kept = Fingerprint::default().with(SQL, "select 1");
        let text = serde_json::to_string(&kept).unwrap();
        assert!(!text.contains("meaning"), "{text}");
        let read: Fingerprint = serde_json::from_str(&text).unwrap();
        let now = written("select 1", "e", "p");
        assert_eq!(now.differences(&read).into_iter().collect::<Vec<_>>(), ["checks"]);
    }
}
