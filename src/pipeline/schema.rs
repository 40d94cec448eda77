//! The types that a source's columns can have.

pub use recctl_raw::types::ColumnType;

/// A column that a source declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name in the file and in SQL.
    pub name: String,
    /// Type.
    pub kind: ColumnType,
    /// Whether a row may lack it (`string?`).
    pub nullable: bool,
    /// What is to be known of its values; [`PII`] for what tells who somebody is.
    pub tags: Vec<String>,
}

/// The tag of a column whose values tell who somebody is.
pub const PII: &str = "pii";
