//! What a query's text says of itself, without any schema.

/// Facts of one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryFacts {
    /// The statement with comments and layout taken away.
    pub normalized: String,
    /// Tables that it names, each where it stands first.
    pub tables: Vec<Mention>,
    /// Parameters that it names, without the `$`, each where it stands first.
    pub parameters: Vec<Mention>,
}

/// A name and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// The name.
    pub name: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// Why a text is not a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryProblem {
    /// What kind of fault it is.
    pub fault: QueryFault,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Length in characters of the piece that is meant.
    pub length: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What keeps a text from being a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryFault {
    /// It does not parse.
    Syntax,
    /// It is none, several, or a statement that is no query.
    NotOneQuery,
}
