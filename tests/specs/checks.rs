//! Mistakes in checks.

use super::{CATALOGUE, Mistake, PROJECT, mistake, told};

const CHECKS: &[Mistake] = &[
    mistake("two rules in one check", PROJECT, "weight > 0", "weight > 0\n            min_rows: 1"),
    mistake("severity alone", PROJECT, "- expression: weight > 0", "- {severity: warn}"),
    mistake(
        "unknown severity",
        PROJECT,
        "- expression: weight > 0",
        "- {expression: weight > 0, severity: warning}",
    ),
    mistake(
        "share above one",
        PROJECT,
        "- expression: weight > 0",
        "- {expression: weight > 0, max_share: 1.5}",
    ),
    mistake(
        "two thresholds",
        PROJECT,
        "- expression: weight > 0",
        "- {expression: weight > 0, max: 10, max_share: 0.1}",
    ),
    mistake(
        "rows of a whole table put aside",
        PROJECT,
        "- expression: weight > 0",
        "- {unique: [user_id, item_id], on_fail: quarantine}",
    ),
    mistake(
        "threshold of what counts no rows",
        PROJECT,
        "- expression: weight > 0",
        "- {rows: {min: 1}, max: 10}",
    ),
    mistake("no row at all", PROJECT, "- expression: weight > 0", "- rows: {min: 5, max: 1}"),
    mistake(
        "unique over a missing column",
        PROJECT,
        "- expression: weight > 0",
        "- unique: [user_id, item]",
    ),
    mistake(
        "accepted values of a missing column",
        PROJECT,
        "- expression: weight > 0",
        "- accepted_values: {column: kind, values: [a, b]}",
    ),
    mistake(
        "accepted numbers of a text",
        PROJECT,
        "- expression: weight > 0",
        "- accepted_values: {column: user_id, values: [u1, 2]}",
    ),
    mistake(
        "no accepted values",
        PROJECT,
        "- expression: weight > 0",
        "- accepted_values: {column: user_id, values: []}",
    ),
    mistake(
        "range of a text",
        PROJECT,
        "- expression: weight > 0",
        "- range: {column: item_id, min: 0}",
    ),
    mistake(
        "range with a text for a number",
        PROJECT,
        "- expression: weight > 0",
        "- range: {column: weight, min: \"0\"}",
    ),
    mistake(
        "range with a date that is none",
        PROJECT,
        "- expression: weight > 0",
        "- range: {column: dt, min: 2026-13-01}",
    ),
    mistake(
        "range upside down",
        PROJECT,
        "- expression: weight > 0",
        "- range: {column: weight, min: 5, max: 1}",
    ),
    mistake(
        "range without bounds",
        PROJECT,
        "- expression: weight > 0",
        "- range: {column: weight}",
    ),
    mistake(
        "freshness of what is no time",
        PROJECT,
        "- expression: weight > 0",
        "- freshness: {column: weight, within: 26h}",
    ),
    mistake(
        "freshness within no time",
        PROJECT,
        "- expression: weight > 0",
        "- freshness: {column: dt, within: a day}",
    ),
    mistake(
        "reference to an unknown table",
        PROJECT,
        "- expression: weight > 0",
        "- references: {columns: [item_id], table: catalog}",
    ),
    mistake(
        "reference to a source",
        PROJECT,
        "- expression: weight > 0",
        "- references: {columns: [item_id], table: items}",
    ),
    mistake(
        "reference to a missing column",
        PROJECT,
        "- expression: weight > 0",
        "- references: {columns: [item_id], table: catalogue, keys: [id]}",
    ),
    mistake(
        "reference to a column of another type",
        PROJECT,
        "- expression: weight > 0",
        "- references: {columns: [item_id], table: catalogue, keys: [price]}",
    ),
    mistake(
        "reference of two columns to one",
        PROJECT,
        "- expression: weight > 0",
        "- references: {columns: [item_id, user_id], table: catalogue, keys: [item_id]}",
    ),
    mistake(
        "reference in a circle",
        PROJECT,
        "- not_null: [item_id, name]",
        "- references: {columns: [item_id], table: labels}",
    ),
    mistake(
        "mean of a text",
        PROJECT,
        "- expression: weight > 0",
        "- distribution: {column: item_id, statistic: mean, against: 7 runs, within: 3 sigma}",
    ),
    mistake(
        "figure of no column",
        PROJECT,
        "- expression: weight > 0",
        "- distribution: {statistic: mean, against: 7 runs, within: 3 sigma}",
    ),
    mistake(
        "figure that there is not",
        PROJECT,
        "- expression: weight > 0",
        "- distribution: {column: weight, statistic: median, against: 7 runs, within: 3 sigma}",
    ),
    mistake(
        "against no runs, within no tolerance",
        PROJECT,
        "- expression: weight > 0",
        "- distribution: {column: weight, statistic: mean, against: a week, within: a bit}",
    ),
    mistake(
        "check of a column that another name has",
        CATALOGUE,
        "SELECT item_id, name, price",
        "SELECT item_id, name AS title, price",
    ),
    mistake(
        "ruleset with an unknown rule",
        PROJECT,
        "        checks:\n          - expression: weight > 0",
        "        checks:\n          dqdl: |\n            Rules = [\n              IsCompleted \"user_id\",\n              RowCount > 5\n            ]",
    ),
    mistake(
        "ruleset over a missing column",
        PROJECT,
        "- expression: weight > 0",
        "- dqdl: 'Rules = [ Mean \"wait\" > 1, ColumnExists \"user\", ColumnValues \"wait\" > 1 ]'",
    ),
    mistake(
        "ruleset that has no end",
        PROJECT,
        "- expression: weight > 0",
        "- dqdl: |\n              Rules = [ IsComplete \"user_id\"",
    ),
    mistake(
        "ruleset that looks into no table",
        PROJECT,
        "- expression: weight > 0",
        "- dqdl: 'Rules = [ ReferentialIntegrity \"item_id\" \"catalog.item_id\" = 1.0 ]'",
    ),
    mistake(
        "ruleset of a missing file",
        PROJECT,
        "- expression: weight > 0",
        "- {dqdl: checks/labels.dqdl, severity: warn}",
    ),
    mistake(
        "ruleset with a threshold",
        PROJECT,
        "- expression: weight > 0",
        "- {dqdl: 'Rules = [ RowCount > 0 ]', max: 5}",
    ),
];

#[test]
fn mistakes_in_checks() {
    insta::assert_snapshot!(told(CHECKS));
}
