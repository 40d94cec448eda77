//! Checks: what must hold of a table before it becomes visible, as meant.

use std::fmt;
use std::time::Duration;

use super::name::Name;
use super::variable::Value;

/// The name under which statements of checks know the table.
pub const CHECKED_TABLE: &str = "checked";
/// The same, as rulesets of Glue have it.
pub const PRIMARY_TABLE: &str = "primary";
/// What stands in a statement for the end of the day that the data is about.
pub const INTERVAL_END: &str = "__recctl_interval_end__";
/// What stands in a statement for the number of the table's columns.
pub const COLUMNS: &str = "__recctl_columns__";

/// A condition on a finished table, and what happens where it does not hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// The condition.
    pub rule: CheckRule,
    /// Whether an offence stops the publication.
    pub severity: CheckSeverity,
    /// How many rows may break it; if not said none, or any number where they are kept aside.
    pub allowed: Option<Allowed>,
    /// What happens to the rows that break it.
    pub on_fail: OnFail,
    /// The rule of a ruleset that it is read from.
    pub written: Option<Written>,
}

/// A rule of a ruleset as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its text, on one line.
    pub text: String,
    /// The file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Length in characters of its first line.
    pub length: usize,
}

/// A condition on the whole table, in SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// A boolean expression over subqueries of [`CHECKED_TABLE`].
    pub holds: String,
    /// Expressions of what it measures, for people.
    pub observed: Vec<String>,
}

/// A condition on a finished table. In all of them a NULL breaks nothing but `NotNull`, as in SQL.
#[derive(Debug, Clone, PartialEq)]
pub enum CheckRule {
    /// The columns hold no NULL.
    NotNull(Vec<String>),
    /// The columns' values together occur once.
    Unique(Vec<String>),
    /// The column holds one of these values.
    AcceptedValues {
        /// The column.
        column: String,
        /// The values.
        values: Vec<Value>,
    },
    /// The column's values lie between bounds that belong to the range.
    Range {
        /// The column.
        column: String,
        /// The least.
        min: Option<Value>,
        /// The most.
        max: Option<Value>,
    },
    /// The partition has so many rows.
    Rows {
        /// The least.
        min: Option<u64>,
        /// The most.
        max: Option<u64>,
    },
    /// The latest time of a column is not longer before the interval's end.
    Freshness {
        /// The column.
        column: String,
        /// The longest time.
        within: Duration,
    },
    /// The columns' values together are a row of another table of the pipeline.
    References {
        /// The columns.
        columns: Vec<String>,
        /// The other table.
        table: Name,
        /// Its columns, in the same order.
        referenced: Vec<String>,
    },
    /// A boolean SQL expression over the table's columns holds in every row; NULL counts as held.
    Expression(String),
    /// A figure of the partition is like those of the ones before.
    Distribution(Distribution),
    /// A condition on the whole table.
    Statement(Statement),
}

/// A figure of a partition that is compared with those of the ones before.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// The figure.
    pub figure: Figure,
    /// How many partitions before it is compared with.
    pub runs: u32,
    /// How far it may be off.
    pub within: Tolerance,
}

/// A figure of a partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// The number of rows.
    Rows,
    /// The mean of a column's values, NULL left out.
    Mean(String),
    /// The number of different values of a column, exact, NULL left out.
    Distinct(String),
    /// The share of rows in which a column is NULL.
    NullShare(String),
}

impl Figure {
    /// The column that it is of.
    pub fn column(&self) -> Option<&str> {
        match self {
            Self::Rows => None,
            Self::Mean(column) | Self::Distinct(column) | Self::NullShare(column) => Some(column),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows => f.write_str("rows"),
            Self::Mean(column) => write!(f, "mean({column})"),
            Self::Distinct(column) => write!(f, "distinct({column})"),
            Self::NullShare(column) => write!(f, "null_share({column})"),
        }
    }
}

/// How far a figure may be from the mean of those before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// So many sample standard deviations of those before.
    Sigma(f64),
    /// So much of the mean: 0.2 is 20 %.
    Share(f64),
    /// Not more than so many times the mean, nor less than the mean through it.
    Factor(f64),
    /// So much.
    Absolute(f64),
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sigma(number) => write!(f, "{number} sigma"),
            Self::Share(share) => write!(f, "{} %", share * 100.0),
            Self::Factor(factor) => write!(f, "a factor of {factor}"),
            Self::Absolute(number) => write!(f, "{number}"),
        }
    }
}

/// Whether an offence stops the publication.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CheckSeverity {
    /// Nothing is published.
    #[default]
    Error,
    /// It is told, and the table is published.
    Warn,
}

/// What happens to the rows that break a check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFail {
    /// They stay in the table, which may be refused for them.
    #[default]
    Stop,
    /// They go to the quarantine instead of the table.
    Quarantine,
}

/// How many rows may break a check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Allowed {
    /// A number.
    Rows(u64),
    /// A share of the rows that are judged.
    Share(f64),
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(rows) => write!(f, "{rows}"),
            Self::Share(share) => write!(f, "{} %", share * 100.0),
        }
    }
}

impl Check {
    /// A check that stops the publication for every offence.
    pub fn strict(rule: CheckRule) -> Self {
        let severity = CheckSeverity::Error;
        Self { rule, severity, allowed: None, on_fail: OnFail::Stop, written: None }
    }

    /// What it is called: `range(price)`, or the rule of a ruleset.
    pub fn name(&self) -> String {
        self.written.as_ref().map_or_else(|| self.rule.to_string(), |it| it.text.clone())
    }

    /// What fingerprints are made from. As long as nothing is said but a rule that there was from
    /// the beginning, the text is that of then, so that a new recctl does not make all again.
    pub fn identity(&self) -> String {
        let Self { rule, severity, allowed, on_fail, written: _ } = self;
        let strict = Self { written: self.written.clone(), ..Self::strict(rule.clone()) };
        let rule = match rule {
            CheckRule::Rows { min: Some(rows), max: None } => format!("MinRows({rows})"),
            other => format!("{other:?}"),
        };
        if *self == strict {
            return rule;
        }
        format!("{rule} {severity:?} {allowed:?} {on_fail:?}")
    }

    /// Whether no row of a published table breaks it.
    pub fn is_certain(&self) -> bool {
        let none = match self.allowed {
            None | Some(Allowed::Rows(0)) => true,
            Some(Allowed::Share(share)) => share <= 0.0,
            Some(Allowed::Rows(_)) => false,
        };
        self.on_fail == OnFail::Quarantine || (self.severity == CheckSeverity::Error && none)
    }

    /// Whether so many offences of so many rows are more than it allows.
    pub fn is_broken(&self, offences: u64, of: u64) -> bool {
        match (self.allowed, self.on_fail) {
            (Some(Allowed::Rows(rows)), _) => offences > rows,
            #[expect(clippy::cast_precision_loss, reason = "a share of rows for a comparison")]
            (Some(Allowed::Share(share)), _) => offences as f64 > share * of as f64,
            (None, OnFail::Stop) => offences > 0,
            (None, OnFail::Quarantine) => false,
        }
    }
}

impl CheckRule {
    /// Whether it judges each row alone.
    pub fn is_of_rows(&self) -> bool {
        match self {
            Self::NotNull(_)
            | Self::AcceptedValues { .. }
            | Self::Range { .. }
            | Self::References { .. }
            | Self::Expression(_) => true,
            Self::Unique(_)
            | Self::Rows { .. }
            | Self::Freshness { .. }
            | Self::Distribution(_)
            | Self::Statement(_) => false,
        }
    }

    /// Whether it counts rows that break it.
    pub fn counts_rows(&self) -> bool {
        self.is_of_rows() || matches!(self, Self::Unique(_))
    }

    /// The columns of its own table that it names.
    pub fn columns(&self) -> Vec<&str> {
        match self {
            Self::NotNull(columns) | Self::Unique(columns) | Self::References { columns, .. } => {
                columns.iter().map(String::as_str).collect()
            }
            Self::AcceptedValues { column, .. }
            | Self::Range { column, .. }
            | Self::Freshness { column, .. } => vec![column],
            Self::Distribution(distribution) => distribution.figure.column().into_iter().collect(),
            Self::Rows { .. } | Self::Expression(_) | Self::Statement(_) => Vec::new(),
        }
    }
}

/// What a check is called: `range(price)`.
impl fmt::Display for CheckRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNull(columns) => write!(f, "not_null({})", columns.join(", ")),
            Self::Unique(columns) => write!(f, "unique({})", columns.join(", ")),
            Self::AcceptedValues { column, .. } => write!(f, "accepted_values({column})"),
            Self::Range { column, .. } => write!(f, "range({column})"),
            Self::Rows { .. } => f.write_str("rows"),
            Self::Freshness { column, .. } => write!(f, "freshness({column})"),
            Self::References { columns, table, .. } => {
                write!(f, "references({} in {table})", columns.join(", "))
            }
            Self::Expression(expression) => write!(f, "expression({expression})"),
            Self::Distribution(distribution) => write!(f, "distribution({})", distribution.figure),
            Self::Statement(statement) => f.write_str(&statement.holds),
        }
    }
}

/// The text of all checks of a step for its fingerprint.
pub fn identity(checks: &[Check], unique_key: &[String]) -> String {
    let each: Vec<String> = checks.iter().map(Check::identity).collect();
    format!("[{}] {unique_key:?}", each.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_checked_before_has_the_same_identity() {
        let checks = [
            Check::strict(CheckRule::NotNull(vec!["a".to_owned()])),
            Check::strict(CheckRule::Rows { min: Some(1), max: None }),
            Check::strict(CheckRule::Expression("a > 0".to_owned())),
        ];
        assert_eq!(
            identity(&checks, &["a".to_owned()]),
            r#"[NotNull(["a"]), MinRows(1), Expression("a > 0")] ["a"]"#
        );
        let mut warned = checks[0].clone();
        warned.severity = CheckSeverity::Warn;
        assert_ne!(warned.identity(), checks[0].identity());
    }

    #[test]
    fn thresholds_at_their_borders() {
        let mut check = Check::strict(CheckRule::NotNull(vec!["a".to_owned()]));
        assert!(!check.is_broken(0, 0) && check.is_broken(1, 1));
        check.allowed = Some(Allowed::Rows(10));
        assert!(!check.is_broken(10, 10) && check.is_broken(11, 1_000_000));
        check.allowed = Some(Allowed::Share(0.001));
        assert!(!check.is_broken(1, 1_000) && check.is_broken(2, 1_000) && !check.is_broken(0, 0));
        check.allowed = None;
        check.on_fail = OnFail::Quarantine;
        assert!(!check.is_broken(u64::MAX, u64::MAX) && check.is_certain());
    }
}
