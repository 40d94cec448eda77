//! Leakage: whether what models learn from knows of what they are tested on.
//!
//! Judged are the queries that the tables of training channels are made by, down to the sources.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::datatypes::{DataType, Schema};

use super::Subject;
use super::at::{of_column, quoted};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::step::{PARTITION_COLUMN, Read, ReadFrom, SqlStep, Step, StepKind, Times};
use crate::query::analysis::{Analysis, TableAnalysis, Unchecked};
use crate::query::lineage::TableLineage;
use crate::query::time::{Bounds, Mixing, MixingKind, Order, bounds, mixing, order};
use crate::run::failure::{Problem, Rule};

/// Judges the queries below all training steps.
pub(super) fn check(subject: &Subject<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for pipeline in subject.project.pipelines.values() {
        let Some(analysis) = subject.analyses.get(&pipeline.name) else { continue };
        let taught = taught(pipeline);
        for step in &pipeline.steps {
            let StepKind::Sql(sql) = &step.kind else { continue };
            let Some(table) = analysis.tables.get(&step.name) else { continue };
            let found = Found { subject, pipeline, analysis, step, sql, table };
            if let Some(times) = &sql.times {
                problems.extend(found.declared(times));
            }
            if taught.contains(step.name.as_str()) {
                problems.extend(found.days());
            }
        }
    }
    problems
}

/// What of the queries below training steps cannot be judged.
pub(super) fn unchecked(subject: &Subject<'_>) -> Vec<Unchecked> {
    let mut unchecked = Vec::new();
    for pipeline in subject.project.pipelines.values() {
        let Some(analysis) = subject.analyses.get(&pipeline.name) else { continue };
        for step in &pipeline.steps {
            let StepKind::Sql(sql) = &step.kind else { continue };
            let (Some(times), Some(table)) = (&sql.times, analysis.tables.get(&step.name)) else {
                continue;
            };
            for feature in &times.features {
                if order(&table.plan, feature, &times.label) == Order::Unknown
                    && table.schema.column_with_name(feature).is_some()
                {
                    unchecked.push(Unchecked {
                        what: format!("times of `{feature}` in {}", sql.file),
                        why: format!(
                            "`{feature}` or `{}` is computed, or comes through a UNION",
                            times.label
                        ),
                    });
                }
            }
        }
    }
    unchecked
}

/// The steps whose tables fill a channel of training, and those that they read.
fn taught(pipeline: &Pipeline) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    // Steps stand after what they need, so one pass from the end finds all.
    for step in pipeline.steps.iter().rev() {
        match &step.kind {
            StepKind::Train(train) | StepKind::Tune(train) => {
                names.extend(train.inputs.iter().map(|input| input.table.as_str()));
            }
            StepKind::Sql(sql) if names.contains(step.name.as_str()) => {
                let tables = sql.reads.iter().filter(|read| read.from == ReadFrom::Table);
                names.extend(tables.map(|read| read.name.as_str()));
            }
            StepKind::Sql(_) | StepKind::Select(_) | StepKind::Score(_) | StepKind::Load(_) => {}
        }
    }
    names
}

struct Found<'a> {
    subject: &'a Subject<'a>,
    pipeline: &'a Pipeline,
    analysis: &'a Analysis,
    step: &'a Step,
    sql: &'a SqlStep,
    table: &'a TableAnalysis,
}

impl Found<'_> {
    fn in_project(&self, rule: Rule, field: &[&str], message: String) -> Problem {
        let mut path =
            vec!["pipelines", self.pipeline.name.as_str(), "steps", self.step.name.as_str()];
        path.extend(field);
        self.subject.in_project(rule, &path, message)
    }

    /// No declared time of a feature is later than the label's.
    fn declared(&self, times: &Times) -> Vec<Problem> {
        let mut problems = Vec::new();
        let label = &times.label;
        let mut named = vec![(vec!["times", "label"], label)];
        let places: Vec<String> = (0..times.features.len()).map(|at| at.to_string()).collect();
        named.extend(
            places
                .iter()
                .zip(&times.features)
                .map(|(at, name)| (vec!["times", "features", at], name)),
        );
        for (path, name) in &named {
            problems.extend(self.no_time(path, name));
        }
        if !problems.is_empty() {
            return problems;
        }
        for (path, feature) in &named[1..] {
            let message = match order(&self.table.plan, feature, label) {
                Order::NotLater | Order::Unknown => continue,
                Order::Later => {
                    format!("the query asks for `{feature}` to be later than the label's `{label}`")
                }
                Order::Open => format!(
                    "nothing in `{}` keeps `{feature}` from being later than the label's `{label}`",
                    self.sql.file
                ),
            };
            let hint =
                format!("add a condition such as `{feature} <= {label}` to its join or `WHERE`");
            problems.push(self.in_project(Rule::LabelLeakage, path, message).with_hint(hint));
        }
        problems
    }

    fn no_time(&self, path: &[&str], name: &str) -> Option<Problem> {
        let schema = &self.table.schema;
        let Some((_, field)) = schema.column_with_name(name) else {
            let message =
                format!("`times` names column `{name}`, which `{}` does not make", self.sql.file);
            let names = quoted(schema.fields().iter().map(|field| field.name().as_str()));
            let problem = self.in_project(Rule::MissingColumn, path, message);
            return Some(problem.with_hint(format!("it makes {names}")));
        };
        (!is_time(field.data_type())).then(|| {
            let message = format!("column `{name}` is {}, expected a time", field.data_type());
            self.in_project(Rule::LabelLeakage, path, message)
        })
    }

    /// Rows of a day hold that day and nothing later.
    fn days(&self) -> Vec<Problem> {
        if !self.sql.partitioned {
            return self.mixed();
        }
        let (by_day, whole): (Vec<&Read>, Vec<&Read>) =
            self.sql.reads.iter().partition(|read| self.is_by_day(read));
        let mut problems: Vec<Problem> =
            by_day.iter().filter_map(|read| self.rolling(read)).collect();
        if by_day.is_empty() {
            problems.extend(self.untied(&whole));
        }
        problems
    }

    fn is_by_day(&self, read: &Read) -> bool {
        match read.from {
            ReadFrom::Source => {
                let source = self.pipeline.sources.get(&read.name);
                source.is_some_and(|source| source.path.is_dated())
            }
            ReadFrom::Table => match self.pipeline.step(read.name.as_str()).map(|it| &it.kind) {
                Some(StepKind::Sql(sql)) => sql.partitioned,
                Some(StepKind::Score(_)) => true,
                _ => false,
            },
        }
    }

    /// A day that holds others too: its rows are tested on while older ones of them are fitted on.
    fn rolling(&self, read: &Read) -> Option<Problem> {
        if read.days < 2 {
            return None;
        }
        let (name, days, step) = (&read.name, read.days, &self.step.name);
        let message = format!(
            "each day of `{step}` holds {days} days of `{name}`, so the days that models are tested on hold days that they are fitted on"
        );
        let hint = "let training read a table of single days: the `window` of `split` is what puts days together";
        let path = ["reads", name.as_str()];
        Some(self.in_project(Rule::RollingLabels, &path, message).with_hint(hint.to_owned()))
    }

    /// A table by day that reads nothing by day has to say itself what belongs to the day.
    fn untied(&self, whole: &[&Read]) -> Option<Problem> {
        if whole.is_empty() {
            return None;
        }
        let names = quoted(whole.iter().map(|read| read.name.as_str()));
        let step = &self.step.name;
        let (rule, message) = match bounds(&self.table.plan) {
            Bounds::Day => return None,
            Bounds::None => (
                Rule::SplitOverlap,
                format!(
                    "every day of `{step}` holds the same rows: nothing ties those of {names} to the day"
                ),
            ),
            Bounds::Open => (
                Rule::LabelLeakage,
                format!("a day of `{step}` holds rows of later days: those of {names} have no end"),
            ),
            Bounds::Late => (
                Rule::LabelLeakage,
                format!(
                    "a day of `{step}` holds rows of later days: those of {names} end after it"
                ),
            ),
        };
        let hint =
            "add `WHERE ts >= $interval_start AND ts < $interval_end`, or a condition on a date";
        let problem = of_column(rule, self.sql, PARTITION_COLUMN, message);
        Some(problem.with_hint(hint.to_owned()))
    }

    /// A table of all days must not let a day know of later ones.
    fn mixed(&self) -> Vec<Problem> {
        let days = self.day_columns();
        mixing(&self.table.plan, &days).into_iter().map(|one| self.mixing(one)).collect()
    }

    fn mixing(&self, Mixing { kind, place }: Mixing) -> Problem {
        let step = &self.step.name;
        let (what, hint) = match kind {
            MixingKind::Aggregate => (
                "an aggregate is over all days",
                "group by the day too, or join rows of earlier days only",
            ),
            MixingKind::Window => (
                "a window reaches over later days",
                "partition it by the day, or order it by time and end its frame with the current row",
            ),
            MixingKind::Join => (
                "rows of all days are joined, whichever is earlier",
                "add a condition on their days, such as `earlier.dt < later.dt`",
            ),
        };
        let message = format!("{what}: rows of `{step}` know what only the test days tell");
        let place = place.map(|place| (place.line, place.column));
        let (line, column) = match kind {
            MixingKind::Aggregate | MixingKind::Window => place,
            // Conditions of joins have no places.
            MixingKind::Join => place.or_else(|| word_place(&self.sql.text, "join")),
        }
        .unwrap_or((1, 1));
        let file = self.sql.file.as_str();
        let length = word_length(&self.sql.text, line, column);
        Problem::new(Rule::LabelLeakage, file, line, column, length, message)
            .with_hint(hint.to_owned())
    }

    /// The columns that tell the days of rows, by what is read: `dt` of tables, and of sources what
    /// the query makes its own `dt` from.
    fn day_columns(&self) -> BTreeMap<String, BTreeSet<String>> {
        let lineage = TableLineage::of_plan(&self.table.plan);
        let own = lineage.column(PARTITION_COLUMN);
        let mut days: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for read in &self.sql.reads {
            let Some(schema) = self.analysis.schemas.get(&read.name) else { continue };
            let name = read.name.as_str();
            let mut columns = BTreeSet::new();
            match read.from {
                ReadFrom::Table if has_day(schema) => {
                    columns.insert(PARTITION_COLUMN.to_owned());
                }
                ReadFrom::Table => {}
                ReadFrom::Source => {
                    let origins = own.into_iter().flat_map(|own| own.from.iter());
                    let times = origins.filter(|(origin, used)| {
                        origin.table == name
                            && used.how.is_direct()
                            && schema
                                .column_with_name(&origin.column)
                                .is_some_and(|(_, field)| is_time(field.data_type()))
                    });
                    columns.extend(times.map(|(origin, _)| origin.column.clone()));
                }
            }
            if !columns.is_empty() {
                days.insert(name.to_owned(), columns);
            }
        }
        days
    }
}

fn has_day(schema: &Schema) -> bool {
    schema.column_with_name(PARTITION_COLUMN).is_some()
}

fn is_time(kind: &DataType) -> bool {
    matches!(kind, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..))
}

/// Where a word stands first, comments aside.
fn word_place(text: &str, word: &str) -> Option<(usize, usize)> {
    text.lines().enumerate().find_map(|(at, line)| {
        let code = line.split("--").next().unwrap_or_default().to_lowercase();
        let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        let mut start = 0;
        for found in words {
            if found == word {
                return Some((at + 1, code.get(..start)?.chars().count() + 1));
            }
            start += found.len() + 1;
        }
        None
    })
}

/// The length of the word that stands at a place.
fn word_length(text: &str, line: usize, column: usize) -> usize {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let rest = line.chars().skip(column.saturating_sub(1));
    rest.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '"')).count().max(1)
}
