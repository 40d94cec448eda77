//! How results are printed.

/// For people, or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    #[value(aliases = ["text", "table"])]
    Human,
    /// One JSON object
    Json,
}
