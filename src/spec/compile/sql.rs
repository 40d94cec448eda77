//! SQL steps as meant.

use std::collections::BTreeMap;

use super::super::project::StepSpec;
use super::super::yaml::{Spanned, one_of};
use super::checks::looked_into;
use super::pipeline::Compiler;
use crate::pipeline::name::Name;
use crate::pipeline::query::{QueryFault, QueryProblem};
use crate::pipeline::step::{
    PARTITION_COLUMN, PROJECT_FILE, Read, ReadFrom, SqlStep, Times, WarehouseLayout, WarehouseMode,
};
use crate::pipeline::variable::BUILT_IN_PARAMETERS;
use crate::run::failure::{Problem, Rule};

impl Compiler<'_> {
    pub(super) fn sql(&mut self, file: &Spanned<String>, spec: &StepSpec) -> Option<SqlStep> {
        let text = self.file(file)?;
        let mut unknown = false;
        let facts = match (self.inputs.analyze)(&text) {
            Ok(facts) => facts,
            Err(problem) => {
                self.problems.push(in_file(&file.value, problem));
                return None;
            }
        };
        let mut windows = BTreeMap::new();
        for (name, days) in spec.reads.as_ref().map_or(&[][..], |reads| &reads.value.0) {
            let is_looked_into = looked_into(spec).any(|table| table.value == name.value);
            if !is_looked_into && !facts.tables.iter().any(|table| table.name == name.value) {
                let tables: Vec<&str> = facts.tables.iter().map(|t| t.name.as_str()).collect();
                let message = format!("`{}` does not read `{}`", file.value, name.value);
                self.problems.at(
                    Rule::UnknownTable,
                    PROJECT_FILE,
                    name,
                    message,
                    one_of(&name.value, &tables),
                );
            }
            if let Some(days) = self.days(days) {
                windows.insert(name.value.as_str(), days);
            }
        }
        let mut reads = Vec::new();
        for table in &facts.tables {
            let step = self.steps.get(table.name.as_str());
            let is_table = step.map(|known| match known.spec {
                Some(step) => !makes_none(step),
                None => true,
            });
            let from = match (is_table, self.declared.contains(&table.name)) {
                (Some(true), _) => ReadFrom::Table,
                (_, true) => ReadFrom::Source,
                (None, false) if !self.all_declared => ReadFrom::Source,
                (is_table, false) => {
                    let makes = |step: &StepSpec| step.sql.is_some() || step.score.is_some();
                    let tables =
                        self.steps.iter().filter(|(_, known)| known.spec.is_some_and(makes));
                    let known: Vec<&str> = tables
                        .map(|(name, _)| *name)
                        .chain(self.declared.iter().map(String::as_str))
                        .collect();
                    let (rule, message) = match is_table {
                        Some(_) => {
                            (Rule::WrongStepKind, format!("step `{}` makes no table", table.name))
                        }
                        None => (Rule::UnknownTable, format!("unknown table `{}`", table.name)),
                    };
                    let length = table.name.chars().count();
                    let (line, column) = (table.line, table.column);
                    let problem = Problem::new(rule, &file.value, line, column, length, message);
                    self.problems.push(problem.with_hint(one_of(&table.name, &known)));
                    unknown = true;
                    continue;
                }
            };
            if let Ok(name) = Name::new(table.name.as_str()) {
                let days = windows.get(table.name.as_str()).copied().unwrap_or(1);
                reads.push(Read { name, from, days });
            }
        }
        let mut known: Vec<&str> = self.variables.keys().map(String::as_str).collect();
        known.extend(BUILT_IN_PARAMETERS);
        for parameter in &facts.parameters {
            if !known.contains(&parameter.name.as_str()) {
                let message = format!("unknown parameter `${}`", parameter.name);
                let length = parameter.name.chars().count() + 1;
                let (line, column) = (parameter.line, parameter.column);
                let rule = Rule::UnknownParameter;
                let problem = Problem::new(rule, &file.value, line, column, length, message);
                self.problems.push(problem.with_hint(one_of(&parameter.name, &known)));
            }
        }
        let partitioned = match &spec.partition_by {
            None => false,
            Some(columns) => {
                let names: Vec<&str> = columns.value.iter().map(|c| c.value.as_str()).collect();
                if names != [PARTITION_COLUMN] {
                    self.problems.at(
                        Rule::Partitioning,
                        PROJECT_FILE,
                        columns,
                        format!("cannot partition by `{}`", names.join("`, `")),
                        Some("expected `[dt]`, one partition a day".to_owned()),
                    );
                }
                true
            }
        };
        let mut warehouse = false;
        for target in spec.publish.as_ref().map_or(&[][..], |publish| &publish.value) {
            match target.value.as_str() {
                "catalog" => {}
                "warehouse" => warehouse = true,
                other => {
                    let hint = one_of(other, &["catalog", "warehouse"]);
                    self.problems.at(
                        Rule::UnknownValue,
                        PROJECT_FILE,
                        target,
                        format!("cannot publish to `{other}`"),
                        hint,
                    );
                }
            }
        }
        let checks = self.checks(spec);
        let referenced = self.referenced(&checks, &reads, &windows);
        let layout = self.layout(spec, warehouse);
        let untag = self.untagged(spec);
        // What is read of a table that nobody knows cannot be judged.
        (!unknown).then(|| SqlStep {
            file: file.value.clone(),
            text,
            normalized: facts.normalized,
            meaning: None,
            reads,
            partitioned,
            unique_key: spec
                .unique_key
                .as_ref()
                .map_or_else(Vec::new, |key| key.value.iter().map(|c| c.value.clone()).collect()),
            checks,
            referenced,
            times: spec.times.as_ref().map(|times| Times {
                label: times.value.label.value.clone(),
                features: times.value.features.iter().map(|it| it.value.clone()).collect(),
            }),
            warehouse: layout,
            schema_change: spec.schema_change.as_ref().map_or_else(Default::default, |c| c.value),
            parameters: facts.parameters.into_iter().map(|parameter| parameter.name).collect(),
            untag,
        })
    }

    /// How the table lies in the warehouse, if it is published there.
    fn layout(&mut self, spec: &StepSpec, published: bool) -> Option<WarehouseLayout> {
        let Some(written) = &spec.warehouse else {
            return published.then(WarehouseLayout::default);
        };
        if !published {
            let message = "`warehouse` means nothing for a table that is not published there";
            let hint = "add `warehouse` to `publish`".to_owned();
            self.problems.at(Rule::MisplacedField, PROJECT_FILE, written, message, Some(hint));
        }
        let layout = &written.value;
        let mode = match (&layout.merge_on, layout.external) {
            (Some(on), true) => {
                let message = "an external table cannot be merged into: nothing is copied";
                self.problems.at(Rule::InvalidValue, PROJECT_FILE, on, message, None);
                WarehouseMode::External
            }
            (Some(on), false) if on.value.is_empty() => {
                self.problems.at(
                    Rule::MissingField,
                    PROJECT_FILE,
                    on,
                    "`merge_on` names no column",
                    None,
                );
                WarehouseMode::Replace
            }
            (Some(on), false) => {
                WarehouseMode::Merge { on: on.value.iter().map(|c| c.value.clone()).collect() }
            }
            (None, true) => WarehouseMode::External,
            (None, false) => WarehouseMode::Replace,
        };
        Some(WarehouseLayout {
            mode,
            dist_key: layout.dist_key.as_ref().map(|column| column.value.clone()),
            sort_keys: layout.sort_key.iter().map(|column| column.value.clone()).collect(),
        })
    }
}

/// A fault of a query's text as a problem of its file.
pub(super) fn in_file(file: &str, problem: QueryProblem) -> Problem {
    let QueryProblem { fault, line, column, length, message, hint } = problem;
    let rule = match fault {
        QueryFault::Syntax => Rule::SqlSyntax,
        QueryFault::NotOneQuery => Rule::OneQuery,
    };
    Problem::new(rule, file, line, column, length, message).with_hint(hint)
}

/// Whether a step is of a kind that makes no table. One that does not say what it is may make one.
fn makes_none(step: &StepSpec) -> bool {
    let StepSpec { sql, train, tune, select, score, load, .. } = step;
    sql.is_none()
        && score.is_none()
        && (train.is_some() || tune.is_some() || select.is_some() || load.is_some())
}
