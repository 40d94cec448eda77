//! The tables that a scoring step makes.

/// The type of a column of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListType {
    /// Text.
    Text,
    /// A place in a list, from 1; 32 bits.
    Rank,
    /// A score; 64-bit floating point.
    Score,
}

/// Columns of the lists of known users.
pub const RECOMMENDATIONS: [(&str, ListType); 5] = [
    ("user_id", ListType::Text),
    ("rank", ListType::Rank),
    ("item_id", ListType::Text),
    ("score", ListType::Score),
    ("source", ListType::Text),
];

/// Columns of the lists for unknown visitors.
pub const FALLBACK: [(&str, ListType); 5] = [
    ("location", ListType::Text),
    ("device", ListType::Text),
    ("rank", ListType::Rank),
    ("item_id", ListType::Text),
    ("score", ListType::Score),
];
