//! Checks of tables as meant.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::check::{
    CheckSeveritySpec, CheckSpec, ChecksSpec, DistributionSpec, OnFailSpec, RangeSpec,
    ReferencesSpec, StatisticSpec,
};
use super::super::dqdl::{self, Fault, Ruled};
use super::super::job::parse_time;
use super::super::project::StepSpec;
use super::super::schema::CHECK_RULES;
use super::super::yaml::{Scalar, Spanned, one_of};
use super::pipeline::Compiler;
use crate::pipeline::check::{
    Allowed, Check, CheckRule, CheckSeverity, Distribution, Figure, OnFail, Tolerance, Written,
};
use crate::pipeline::step::{PROJECT_FILE, Read, ReadFrom};
use crate::pipeline::variable::Value;
use crate::run::failure::{Problem, Rule};

/// More runs before than these are not kept.
pub const MOST_RUNS: u32 = 60;

impl Compiler<'_> {
    /// The checks that a step says; one that says nothing clear is told of and left out.
    pub(super) fn checks(&mut self, spec: &StepSpec) -> Vec<Check> {
        let Some(checks) = &spec.checks else { return Vec::new() };
        match &checks.value {
            ChecksSpec::Several(several) => {
                several.iter().flat_map(|check| self.any(check)).collect()
            }
            ChecksSpec::One(one) => {
                let one = one.as_ref().clone();
                self.any(&Spanned::new(one, checks.referenced, checks.defined))
            }
        }
    }

    /// What one entry says: a check, or those of a ruleset.
    fn any(&mut self, check: &Spanned<CheckSpec>) -> Vec<Check> {
        let Some(one) = self.check(check) else { return Vec::new() };
        let Some(ruleset) = &check.value.dqdl else { return vec![one] };
        let rules = self.ruleset(ruleset);
        let aside = |rule: &CheckRule| match rule.is_of_rows() {
            true => one.on_fail,
            false => OnFail::Stop,
        };
        rules
            .into_iter()
            .map(|check| Check { severity: one.severity, on_fail: aside(&check.rule), ..check })
            .collect()
    }

    /// The checks of a ruleset: of a file, or of the text itself.
    fn ruleset(&mut self, ruleset: &Spanned<String>) -> Vec<Check> {
        let place = match ruleset.value.contains('[') {
            true => self.inline(ruleset),
            false => match self.file(ruleset) {
                Some(text) => Place { file: ruleset.value.clone(), text, line: 0, column: 0 },
                None => return Vec::new(),
            },
        };
        let (rules, faults) = dqdl::read(&place.text);
        for Fault { start, end, message, hint } in faults {
            let (line, column, length) = place.of(start, end);
            let problem = Problem::new(Rule::Check, &place.file, line, column, length, message);
            self.problems.push(problem.with_hint(Some(hint).filter(|hint| !hint.is_empty())));
        }
        let mut checks = Vec::new();
        for Ruled { rule, text, start, end, share } in rules {
            let (line, column, length) = place.of(start, end);
            if let CheckRule::References { table, .. } = &rule
                && self
                    .steps
                    .get(table.as_str())
                    .is_none_or(|known| known.spec.is_some_and(|step| step.sql.is_none()))
            {
                let tables: Vec<&str> = self.steps.keys().copied().collect();
                let message = format!("`{table}` is no table that a query of the pipeline makes");
                let problem = Problem::new(Rule::Check, &place.file, line, column, length, message);
                self.problems.push(problem.with_hint(one_of(table.as_str(), &tables)));
                continue;
            }
            let written = Written { text, file: place.file.clone(), line, column, length };
            let allowed = share.filter(|share| *share > 0.0).map(Allowed::Share);
            checks.push(Check { allowed, written: Some(written), ..Check::strict(rule) });
        }
        checks
    }

    /// A ruleset in the project's own file, and where its text begins there.
    fn inline(&self, ruleset: &Spanned<String>) -> Place {
        let number = |value: u64| usize::try_from(value).unwrap_or(1).max(1);
        let line = number(ruleset.referenced.line());
        let text = ruleset.value.clone();
        // A text in quotes begins behind them.
        let project = (self.inputs.read)(PROJECT_FILE).unwrap_or_default();
        let column = number(ruleset.referenced.column());
        let first = project.lines().nth(line - 1).and_then(|line| line.chars().nth(column - 1));
        let column = if matches!(first, Some('"' | '\'')) { column } else { column - 1 };
        Place { file: PROJECT_FILE.to_owned(), text, line: line - 1, column }
    }

    fn check(&mut self, check: &Spanned<CheckSpec>) -> Option<Check> {
        let spec = &check.value;
        let given = [
            spec.not_null.is_some(),
            spec.unique.is_some(),
            spec.accepted_values.is_some(),
            spec.range.is_some(),
            spec.rows.is_some(),
            spec.min_rows.is_some(),
            spec.freshness.is_some(),
            spec.references.is_some(),
            spec.expression.is_some(),
            spec.distribution.is_some(),
            spec.dqdl.is_some(),
        ];
        if given.iter().filter(|is| **is).count() != 1 {
            let hint = format!("expected exactly one of `{}`", CHECK_RULES.join("`, `"));
            let (rule, message) = (Rule::Check, "a check says one thing");
            self.problems.at(rule, PROJECT_FILE, check, message, Some(hint));
            return None;
        }
        let rule = self.rule(check)?;
        let allowed = self.threshold(spec);
        let on_fail = match spec.on_fail.as_ref().map(|it| it.value) {
            Some(OnFailSpec::Quarantine) => OnFail::Quarantine,
            Some(OnFailSpec::Stop) | None => OnFail::Stop,
        };
        let is_ruleset = spec.dqdl.is_some();
        if let Some(written) = &spec.on_fail
            && !(rule.is_of_rows() || is_ruleset)
        {
            let message = "`on_fail` means nothing for a check of the whole table";
            let hint = "it is for `not_null`, `accepted_values`, `range`, `references` and `expression`, which judge each row alone";
            self.problems.at(Rule::Check, PROJECT_FILE, written, message, Some(hint.to_owned()));
        }
        if !rule.counts_rows() && (spec.max.is_some() || spec.max_share.is_some()) {
            let message = "`max` and `max_share` mean nothing for a check that counts no rows";
            let hint = "a tolerance is part of the check itself".to_owned();
            self.problems.at(Rule::Check, PROJECT_FILE, check, message, Some(hint));
        }
        let severity = match spec.severity {
            Some(CheckSeveritySpec::Warn) => CheckSeverity::Warn,
            Some(CheckSeveritySpec::Error) | None => CheckSeverity::Error,
        };
        Some(Check { rule, severity, allowed, on_fail, written: None })
    }

    fn threshold(&mut self, spec: &CheckSpec) -> Option<Allowed> {
        if let (Some(_), Some(share)) = (&spec.max, &spec.max_share) {
            let message = "`max` and `max_share` say the same thing in two ways";
            let hint = Some("leave one out".to_owned());
            self.problems.at(Rule::Check, PROJECT_FILE, share, message, hint);
        }
        if let Some(share) = &spec.max_share
            && !(0.0..=1.0).contains(&share.value)
        {
            let message = format!("`{}` is no share", share.value);
            let hint = Some("expected 0 to 1; 0.001 is one row of a thousand".to_owned());
            self.problems.at(Rule::InvalidValue, PROJECT_FILE, share, message, hint);
        }
        let share = spec.max_share.as_ref().map(|share| Allowed::Share(share.value));
        spec.max.as_ref().map(|rows| Allowed::Rows(rows.value)).or(share)
    }

    fn rule(&mut self, check: &Spanned<CheckSpec>) -> Option<CheckRule> {
        let spec = &check.value;
        if let Some(columns) = &spec.not_null {
            return Some(CheckRule::NotNull(names(columns)));
        }
        if let Some(columns) = &spec.unique {
            if columns.is_empty() {
                self.missing(check, "`unique` names no column");
                return None;
            }
            return Some(CheckRule::Unique(names(columns)));
        }
        if let Some(accepted) = &spec.accepted_values {
            if accepted.values.value.is_empty() {
                self.missing(&accepted.values, "there are no accepted values");
                return None;
            }
            let values = accepted.values.value.iter().map(|value| value.value.0.clone()).collect();
            return Some(CheckRule::AcceptedValues {
                column: accepted.column.value.clone(),
                values,
            });
        }
        if let Some(range) = &spec.range {
            return self.range(range);
        }
        if let Some(rows) = &spec.rows {
            let max = rows.max.as_ref().map(|max| max.value);
            if rows.min.is_none() && max.is_none() {
                self.missing(check, "`rows` has neither `min` nor `max`");
                return None;
            }
            if let (Some(min), Some(max)) = (rows.min, &rows.max)
                && min > max.value
            {
                let message = format!("no table has at least {min} and at most {} rows", max.value);
                self.problems.at(Rule::InvalidValue, PROJECT_FILE, max, message, None);
            }
            return Some(CheckRule::Rows { min: rows.min, max });
        }
        if let Some(rows) = spec.min_rows {
            return Some(CheckRule::Rows { min: Some(rows), max: None });
        }
        if let Some(freshness) = &spec.freshness {
            let within = self.time(&freshness.within)?;
            return Some(CheckRule::Freshness { column: freshness.column.value.clone(), within });
        }
        if let Some(references) = &spec.references {
            return self.references(references);
        }
        if let Some(distribution) = &spec.distribution {
            return self.distribution(distribution).map(CheckRule::Distribution);
        }
        if spec.dqdl.is_some() {
            // Its rules take the place of this.
            return Some(CheckRule::Rows { min: None, max: None });
        }
        spec.expression.as_ref().map(|expression| CheckRule::Expression(expression.value.clone()))
    }

    fn missing<T>(&mut self, at: &Spanned<T>, message: &str) {
        self.problems.at(Rule::Check, PROJECT_FILE, at, message, None);
    }

    fn time(&mut self, text: &Spanned<String>) -> Option<Duration> {
        let time = parse_time(&text.value);
        if time.is_none() {
            let message = format!("`{}` is not a length of time", text.value);
            let hint = Some("expected `26h` or `90m`".to_owned());
            self.problems.at(Rule::InvalidValue, PROJECT_FILE, text, message, hint);
        }
        time
    }

    fn range(&mut self, range: &RangeSpec) -> Option<CheckRule> {
        let RangeSpec { column, min, max } = range;
        if min.is_none() && max.is_none() {
            self.missing(column, "`range` has neither `min` nor `max`");
            return None;
        }
        for bound in [min, max].into_iter().flatten() {
            let is_endless = matches!(bound.value.0, Value::Double(bound) if !bound.is_finite());
            if is_endless || matches!(bound.value.0, Value::Boolean(_)) {
                let message = format!("`{}` is no bound", bound.value.0);
                let hint = Some("expected a number, or a date or time as text".to_owned());
                self.problems.at(Rule::InvalidValue, PROJECT_FILE, bound, message, hint);
                return None;
            }
        }
        let number = |value: &Option<Spanned<Scalar>>| match &value.as_ref()?.value.0 {
            #[expect(clippy::cast_precision_loss, reason = "compared with another bound only")]
            Value::Int(number) => Some(*number as f64),
            Value::Double(number) => Some(*number),
            Value::String(_) | Value::Boolean(_) => None,
        };
        if let (Some(least), Some(most), Some(at)) = (number(min), number(max), max)
            && least > most
        {
            let message = format!("no value is at least {least} and at most {most}");
            self.problems.at(Rule::InvalidValue, PROJECT_FILE, at, message, None);
        }
        let value = |bound: &Option<Spanned<Scalar>>| bound.as_ref().map(|it| it.value.0.clone());
        Some(CheckRule::Range { column: column.value.clone(), min: value(min), max: value(max) })
    }

    fn references(&mut self, spec: &ReferencesSpec) -> Option<CheckRule> {
        let columns = names(&spec.columns.value);
        let referenced = spec.keys.as_ref().map_or_else(|| columns.clone(), |it| names(&it.value));
        if columns.is_empty() {
            self.missing(&spec.columns, "`references` names no column");
            return None;
        }
        if columns.len() != referenced.len() {
            let at = spec.keys.as_ref().unwrap_or(&spec.columns);
            let message = format!("{} columns cannot refer to {}", columns.len(), referenced.len());
            let hint = Some("name as many `keys` as `columns`".to_owned());
            self.problems.at(Rule::Check, PROJECT_FILE, at, message, hint);
            return None;
        }
        let table = self.step_ref(&spec.table, &["sql"])?;
        Some(CheckRule::References { columns, table, referenced })
    }

    fn distribution(&mut self, spec: &DistributionSpec) -> Option<Distribution> {
        let column = spec.column.as_ref().map(|column| column.value.clone());
        let figure = match (spec.statistic.value, column) {
            (StatisticSpec::Rows, None) => Figure::Rows,
            (StatisticSpec::Mean, Some(column)) => Figure::Mean(column),
            (StatisticSpec::Distinct, Some(column)) => Figure::Distinct(column),
            (StatisticSpec::NullShare, Some(column)) => Figure::NullShare(column),
            (StatisticSpec::Rows, Some(_)) => {
                let message = "the number of rows is of no column";
                let hint = Some("leave `column` out".to_owned());
                self.problems.at(Rule::Check, PROJECT_FILE, &spec.statistic, message, hint);
                return None;
            }
            (_, None) => {
                self.missing(&spec.statistic, "`distribution` names no `column`");
                return None;
            }
        };
        let runs = runs(&spec.against.value.0);
        if runs.is_none() {
            let message = format!("`{}` is no number of runs", spec.against.value.0);
            let hint = Some(format!("expected 1 to {MOST_RUNS} runs, as in `7 runs`"));
            self.problems.at(Rule::InvalidValue, PROJECT_FILE, &spec.against, message, hint);
        }
        let within = tolerance(&spec.within.value.0);
        if within.is_none() {
            let message = format!("`{}` is no tolerance", spec.within.value.0);
            let hint = "expected `3 sigma`, `20%`, `factor 2`, or a number that is not negative";
            let hint = Some(hint.to_owned());
            self.problems.at(Rule::InvalidValue, PROJECT_FILE, &spec.within, message, hint);
        }
        Some(Distribution { figure, runs: runs?, within: within? })
    }

    /// The tables that checks look into and the query does not read.
    pub(super) fn referenced(
        &self,
        checks: &[Check],
        reads: &[Read],
        windows: &BTreeMap<&str, u32>,
    ) -> Vec<Read> {
        let mut referenced: Vec<Read> = Vec::new();
        for check in checks {
            let CheckRule::References { table, .. } = &check.rule else { continue };
            let is_known = |read: &Read| read.name == *table;
            if reads.iter().any(is_known) || referenced.iter().any(is_known) {
                continue;
            }
            let days = windows.get(table.as_str()).copied().unwrap_or(1);
            referenced.push(Read { name: table.clone(), from: ReadFrom::Table, days });
        }
        referenced
    }
}

/// The tables that a step's checks look into, as written.
pub(super) fn looked_into(spec: &StepSpec) -> impl Iterator<Item = &Spanned<String>> {
    written(spec).filter_map(|check| Some(&check.references.as_ref()?.table))
}

/// The entries of a step's checks.
pub(super) fn written(spec: &StepSpec) -> impl Iterator<Item = &CheckSpec> {
    let (several, one) = match spec.checks.as_ref().map(|checks| &checks.value) {
        Some(ChecksSpec::Several(several)) => (several.as_slice(), None),
        Some(ChecksSpec::One(one)) => (&[][..], Some(one.as_ref())),
        None => (&[][..], None),
    };
    several.iter().map(|check| &check.value).chain(one)
}

/// A ruleset's text, and what stands before it in its file: lines, and characters of a line.
struct Place {
    file: String,
    text: String,
    line: usize,
    column: usize,
}

impl Place {
    /// Line, column and length of a piece of it.
    fn of(&self, start: usize, end: usize) -> (usize, usize, usize) {
        let (line, column) = dqdl::position(&self.text, start);
        let piece = self.text.get(start..end).unwrap_or_default();
        let length = piece.lines().next().map_or(1, |line| line.chars().count()).max(1);
        (self.line + line, self.column + column, length)
    }
}

/// The columns that a check names, its own table's first.
pub(super) fn columns_of(check: &CheckSpec) -> Vec<&Spanned<String>> {
    let mut columns: Vec<&Spanned<String>> = Vec::new();
    columns.extend(check.not_null.iter().chain(&check.unique).flatten());
    columns.extend(check.accepted_values.iter().map(|it| &it.column));
    columns.extend(check.range.iter().map(|it| &it.column));
    columns.extend(check.freshness.iter().map(|it| &it.column));
    columns.extend(check.distribution.iter().filter_map(|it| it.column.as_ref()));
    if let Some(references) = &check.references {
        columns.extend(&references.columns.value);
        columns.extend(references.keys.iter().flat_map(|keys| &keys.value));
    }
    columns
}

fn names(columns: &[Spanned<String>]) -> Vec<String> {
    columns.iter().map(|column| column.value.clone()).collect()
}

/// Reads `7`, `7 runs` or `7 days`.
fn runs(value: &Value) -> Option<u32> {
    let runs = match value {
        Value::Int(runs) => u32::try_from(*runs).ok()?,
        Value::String(text) => {
            let (number, word) = text.trim().split_once(char::is_whitespace)?;
            let is_word = ["run", "runs", "day", "days"].contains(&word.trim());
            is_word.then(|| number.parse().ok())??
        }
        Value::Double(_) | Value::Boolean(_) => return None,
    };
    (1..=MOST_RUNS).contains(&runs).then_some(runs)
}

/// Reads `3 sigma`, `20%`, `factor 2` or `0.5`.
fn tolerance(value: &Value) -> Option<Tolerance> {
    let number = |text: &str| -> Option<f64> {
        text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
    };
    match value {
        Value::Int(_) | Value::Double(_) => number(&value.to_string()).map(Tolerance::Absolute),
        Value::String(text) => {
            let text = text.trim();
            if let Some(sigma) = text.strip_suffix("sigma") {
                number(sigma).map(Tolerance::Sigma)
            } else if let Some(percent) = text.strip_suffix('%') {
                number(percent).map(|percent| Tolerance::Share(percent / 100.0))
            } else if let Some(factor) = text.strip_prefix("factor") {
                number(factor).filter(|factor| *factor >= 1.0).map(Tolerance::Factor)
            } else {
                None
            }
        }
        Value::Boolean(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    #[test]
    fn runs_and_tolerances_are_read() {
        assert_eq!(runs(&Value::Int(7)), Some(7));
        assert_eq!(runs(&text("7 runs")), Some(7));
        assert_eq!(runs(&text("1 day")), Some(1));
        for bad in [text("7"), text("seven runs"), text("7 weeks"), text("0 runs"), text("61 runs")]
        {
            assert_eq!(runs(&bad), None, "{bad}");
        }
        assert_eq!(runs(&Value::Int(-1)), None);
        assert_eq!(tolerance(&text("3 sigma")), Some(Tolerance::Sigma(3.0)));
        assert_eq!(tolerance(&text("20%")), Some(Tolerance::Share(0.2)));
        assert_eq!(tolerance(&text("factor 2")), Some(Tolerance::Factor(2.0)));
        assert_eq!(tolerance(&Value::Double(0.05)), Some(Tolerance::Absolute(0.05)));
        for bad in ["sigma", "factor 0.5", "-1%", "NaN sigma", "inf%", "some"] {
            assert_eq!(tolerance(&text(bad)), None, "{bad}");
        }
        assert_eq!(tolerance(&Value::Double(-1.0)), None);
    }
}
