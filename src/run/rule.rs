//! The rules that a project's files are held to, by name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether a problem stops a run.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot go well: nothing is run.
    #[default]
    Error,
    /// It may be meant: it is told, and a run goes on.
    Warning,
}

impl Severity {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Declares the rules, so that the list of all and the facts of each stand in one place. The first
/// line of a rule's documentation says what holds, further lines what to do.
macro_rules! rules {
    ($(#[doc = $doc:literal] $(#[doc = $more:literal])* $variant:ident = $id:literal, $severity:ident;)+) => {
        /// What a problem is an offence against. A closed set: its names are in the output of
        /// `recctl validate` and in docs/validate.md.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[derive(Serialize, Deserialize)]
        pub enum Rule {
            $(#[doc = $doc] $(#[doc = $more])* #[serde(rename = $id)] $variant,)+
            /// A problem of a record of another version.
            #[default]
            #[serde(rename = "other", other)]
            Other,
        }

        impl Rule {
            /// All rules, in the order in which the documentation lists them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name: lower-case words with dashes.
            pub fn id(self) -> &'static str {
                match self { Self::Other => "other", $(Self::$variant => $id,)+ }
            }

            /// What it says, in one line.
            pub fn describe(self) -> &'static str {
                match self {
                    Self::Other => "a problem without a rule",
                    $(Self::$variant => $doc.trim_ascii(),)+
                }
            }

            /// What is behind it and what to do; empty where the first line says it all.
            pub fn help(self) -> &'static str {
                match self {
                    Self::Other => "",
                    $(Self::$variant => concat!($($more),*).trim_ascii(),)+
                }
            }

            /// Whether an offence stops a run.
            pub fn severity(self) -> Severity {
                match self { Self::Other => Severity::Error, $(Self::$variant => Severity::$severity,)+ }
            }
        }
    };
}

rules! {
    /// a file is YAML: indentation, brackets, quotes
    YamlSyntax = "yaml-syntax", Error;
    /// a field is one of those that the format knows
    UnknownField = "unknown-field", Error;
    /// fields that are always needed are there
    MissingField = "missing-field", Error;
    /// nothing is given twice
    DuplicateKey = "duplicate-key", Error;
    /// a value has the type that its field takes
    WrongType = "wrong-type", Error;
    /// a value that is one of a few words is one of them
    UnknownValue = "unknown-value", Error;
    /// a value is within its range or of its form
    InvalidValue = "invalid-value", Error;
    /// the file's version is known to this recctl
    UnknownVersion = "unknown-version", Error;
    /// a name is made of lower-case letters, digits and `_`, and not too long
    InvalidName = "invalid-name", Error;
    /// no two things that need names of their own have the same one
    NameTaken = "name-taken", Error;
    /// a value that is given on the command line belongs to a declared variable and fits it
    Variable = "variable", Error;
    /// a file that is named exists and can be read
    MissingFile = "missing-file", Error;
    /// every file below `sql/` and `jobs/` is used by a step
    UnusedFile = "unused-file", Warning;
    /// a step is of exactly one kind
    StepKind = "step-kind", Error;
    /// a field stands where it means something
    MisplacedField = "misplaced-field", Error;
    /// a step that is named exists
    UnknownStep = "unknown-step", Error;
    /// a step that is named is of a kind that fits
    WrongStepKind = "wrong-step-kind", Error;
    /// steps do not need each other in a circle
    Cycle = "cycle", Error;
    /// a table by day is made by day, and what is not by day reads nothing that is
    Partitioning = "partitioning", Error;
    /// a training step has the channels that a job takes
    Channel = "channel", Error;
    /// a target says all that it needs, and nothing that contradicts itself
    Target = "target", Error;
    /// a target has the services that the pipelines need
    MissingService = "missing-service", Error;
    /// SQL parses
    SqlSyntax = "sql-syntax", Error;
    /// a file holds one query, which reads and changes nothing
    OneQuery = "one-query", Error;
    /// a table that is read is a source or made by a step
    UnknownTable = "unknown-table", Error;
    /// a CTE that a test names is one of the query's
    UnknownCte = "unknown-cte", Error;
    /// a parameter is built in or declared under `vars`
    UnknownParameter = "unknown-parameter", Error;
    /// a column that is read exists
    UnknownColumn = "unknown-column", Error;
    /// a column's name means one column
    AmbiguousColumn = "ambiguous-column", Error;
    /// a function exists
    UnknownFunction = "unknown-function", Error;
    /// operators and functions get values of types that they take
    TypeMismatch = "type-mismatch", Error;
    /// the query engine can plan the query
    InvalidQuery = "invalid-query", Error;
    /// a query makes the column that its table is partitioned by, as a date
    PartitionColumn = "partition-column", Error;
    /// `_fate` is text
    FateColumn = "fate-column", Error;
    /// keys, layouts and served names are columns that exist
    MissingColumn = "missing-column", Error;
    /// a check is about columns that exist and is a condition
    Check = "check", Error;
    /// no two columns of a query have the same name
    /// Catalogs and warehouses tell no capitals from small letters.
    DuplicateColumn = "duplicate-column", Error;
    /// every column of a query has a name of its own
    /// Without `AS` a column is called after its expression, which changes with it.
    UnnamedColumn = "unnamed-column", Warning;
    /// a query gives the same rows whenever it runs: it asks neither the clock nor chance
    /// Use `$logical_date`, `$interval_start` and `$interval_end`: a day that is made again must
    /// come out the same.
    NotRepeatable = "not-repeatable", Warning;
    /// a job names a built-in algorithm
    UnknownAlgorithm = "unknown-algorithm", Error;
    /// hyperparameters exist, and have values that the algorithm takes
    Hyperparameter = "hyperparameter", Error;
    /// a search has ranges, trials and a strategy that fit together
    Tuning = "tuning", Error;
    /// a metric's regex captures one number, and an objective is a metric
    Metric = "metric", Error;
    /// no column tagged `pii` reaches what is served, but for what the project allows with a reason
    PiiServed = "pii-served", Error;
    /// a metric's regex finds a number in what the job prints
    SampleLog = "sample-log", Error;
    /// names, ARNs, images, buckets and keys of a target have the form that its services take
    TargetForm = "target-form", Error;
    /// names, counts and sizes are within what the services of a target take
    ServiceLimit = "service-limit", Error;
    /// what accounts have a quota of is within the usual one
    ServiceQuota = "service-quota", Warning;
    /// nothing is paid for that has no effect
    WastedResource = "wasted-resource", Warning;
    /// columns have types and names that Glue, Athena and Spectrum know
    CatalogType = "catalog-type", Error;
    /// columns that go to Redshift have types that COPY loads
    WarehouseType = "warehouse-type", Error;
    /// columns of a merge's key are never NULL
    NullableKey = "nullable-key", Warning;
    /// tables that training reads have the columns and types that it needs
    TrainingColumn = "training-column", Error;
    /// models that are compared learn from one table
    Comparison = "comparison", Error;
    /// lists fit into one item of the serving store
    ItemSize = "item-size", Warning;
    /// what models are tested on is not among what they are fitted on
    SplitOverlap = "split-overlap", Error;
    /// the rows of a day hold that day only, so that test days hold no training days
    RollingLabels = "rolling-labels", Warning;
    /// what a row of training knows is not later than what it is to foretell
    LabelLeakage = "label-leakage", Error;
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_kebab_case_and_differ() {
        let ids: BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.id()).collect();
        assert_eq!(ids.len(), Rule::ALL.len());
        for rule in Rule::ALL {
            let id = rule.id();
            assert!(id.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{id}");
            assert!(!rule.describe().is_empty() && !rule.describe().ends_with('.'), "{id}");
            assert_eq!(serde_json::to_value(rule).unwrap(), serde_json::json!(id));
        }
    }

    #[test]
    fn a_rule_of_another_version_is_read() {
        let rule: Rule = serde_json::from_str("\"of-tomorrow\"").unwrap();
        assert_eq!(rule, Rule::Other);
    }
}
