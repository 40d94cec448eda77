//! How a table's new columns relate to the old ones.

use super::catalog::{ColumnEntry, TableEntry};
use crate::pipeline::step::SchemaChange;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// What became of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnChange {
    /// It is new; old files read as NULL.
    Added(String),
    /// Its type now holds more, and all that it held before.
    Widened {
        /// Column.
        column: String,
        /// The type before.
        from: String,
        /// The type now.
        to: String,
    },
    /// It is gone: what readers ask for is no longer there.
    Removed(String),
    /// Its type no longer holds what it held.
    Retyped {
        /// Column.
        column: String,
        /// The type before.
        from: String,
        /// The type now.
        to: String,
    },
}

impl ColumnChange {
    /// Whether readers of the old table may fail.
    pub fn is_breaking(&self) -> bool {
        match self {
            Self::Added(_) | Self::Widened { .. } => false,
            Self::Removed(_) | Self::Retyped { .. } => true,
        }
    }
}

/// What changed from `old` to `new`, in the order of the old columns, then the new ones.
pub fn changes(old: &[ColumnEntry], new: &[ColumnEntry]) -> Vec<ColumnChange> {
    let mut changes = Vec::new();
    for before in old {
        let column = before.name.clone();
        match new.iter().find(|after| after.name == before.name) {
            None => changes.push(ColumnChange::Removed(column)),
            Some(after) if same(&before.kind, &after.kind) => {}
            Some(after) => {
                let (from, to) = (before.kind.clone(), after.kind.clone());
                changes.push(match widens(&from, &to) {
                    true => ColumnChange::Widened { column, from, to },
                    false => ColumnChange::Retyped { column, from, to },
                });
            }
        }
    }
    for after in new {
        if old.iter().all(|before| before.name != after.name) {
            changes.push(ColumnChange::Added(after.name.clone()));
        }
    }
    changes
}

/// Refuses a new definition that breaks readers of the old one, unless it is allowed to.
///
/// Errors: `Usage`, naming every column that is gone or no longer fits.
pub fn check(old: &TableEntry, new: &TableEntry) -> Outcome<()> {
    if new.schema_change == SchemaChange::Allow {
        return Ok(());
    }
    let mut broken = Vec::new();
    if old.by_day != new.by_day {
        broken.push(match new.by_day {
            true => "it would be partitioned by day".to_owned(),
            false => "it would no longer be partitioned by day".to_owned(),
        });
    }
    for change in changes(&old.columns, &new.columns) {
        match change {
            ColumnChange::Removed(column) => broken.push(format!("column `{column}` is gone")),
            ColumnChange::Retyped { column, from, to } => {
                broken.push(format!("column `{column}` changes from {from} to {to}"));
            }
            ColumnChange::Added(_) | ColumnChange::Widened { .. } => {}
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    let message =
        format!("table `{}` would break for those who read it: {}", new.name, broken.join(", "));
    Err(Failure::new(FailureKind::Usage, message).with_hint(
        "keep what is published, or say `schema_change: allow` at the step if no reader needs it",
    ))
}

/// Texts in one of Arrow's three layouts are the same to every reader.
fn same(one: &str, other: &str) -> bool {
    let plain = |kind: &str| match kind {
        "LargeUtf8" | "Utf8View" => "Utf8".to_owned(),
        "LargeBinary" | "BinaryView" => "Binary".to_owned(),
        other => other.to_owned(),
    };
    plain(one) == plain(other)
}

/// Whether `to` holds every value of `from`, read by Hive-like readers from the old files too.
fn widens(from: &str, to: &str) -> bool {
    const WHOLE: [&str; 4] = ["Int8", "Int16", "Int32", "Int64"];
    let rank = |kind: &str| WHOLE.iter().position(|known| *known == kind);
    if let (Some(from), Some(to)) = (rank(from), rank(to)) {
        return from < to;
    }
    if (from, to) == ("Float32", "Float64") {
        return true;
    }
    match (decimal(from), decimal(to)) {
        (Some((from, from_scale)), Some((to, to_scale))) => to >= from && to_scale == from_scale,
        _ => false,
    }
}

/// Precision and scale of `Decimal128(p, s)`.
fn decimal(kind: &str) -> Option<(u8, i8)> {
    let inside = kind.strip_prefix("Decimal128(")?.strip_suffix(')')?;
    let (precision, scale) = inside.split_once(", ")?;
    Some((precision.parse().ok()?, scale.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(kinds: &[(&str, &str)]) -> Vec<ColumnEntry> {
        let entry = |(name, kind): &(&str, &str)| ColumnEntry {
            name: (*name).to_owned(),
            kind: (*kind).to_owned(),
            nullable: true,
        };
        kinds.iter().map(entry).collect()
    }

    #[test]
    fn changes_are_told_apart() {
        let old = columns(&[
            ("a", "Int32"),
            ("b", "Utf8"),
            ("c", "Int64"),
            ("d", "Utf8"),
            ("e", "Decimal128(10, 2)"),
        ]);
        let new = columns(&[
            ("a", "Int64"),
            ("c", "Int32"),
            ("d", "Utf8View"),
            ("e", "Decimal128(12, 2)"),
            ("f", "Date32"),
        ]);
        let found = changes(&old, &new);
        let breaking: Vec<bool> = found.iter().map(ColumnChange::is_breaking).collect();
        assert_eq!(breaking, [false, true, true, false, false], "{found:?}");
        assert_eq!(found[1], ColumnChange::Removed("b".to_owned()));
        assert_eq!(found[4], ColumnChange::Added("f".to_owned()));
        assert_eq!(changes(&old, &old), []);
    }

    #[test]
    fn a_breaking_change_is_refused_unless_allowed() {
        let entry = |kinds: &[(&str, &str)], by_day, schema_change| TableEntry {
            name: "t".to_owned(),
            columns: columns(kinds),
            by_day,
            schema_change,
        };
        let old = entry(&[("a", "Int64"), ("b", "Utf8")], true, SchemaChange::Stop);
        let failure = check(&old, &entry(&[("a", "Int32")], false, SchemaChange::Stop));
        assert_eq!(
            failure.unwrap_err().message,
            "table `t` would break for those who read it: it would no longer be partitioned by day, \
             column `a` changes from Int64 to Int32, column `b` is gone"
        );
        assert_eq!(check(&old, &entry(&[("a", "Int32")], false, SchemaChange::Allow)), Ok(()));
        let wider =
            entry(&[("b", "Utf8"), ("a", "Int64"), ("c", "Int8")], true, SchemaChange::Stop);
        assert_eq!(check(&old, &wider), Ok(()));
    }
}
