//! Problems at the places that names lead to.

use super::Subject;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::step::{PROJECT_FILE, SqlStep, Step};
use crate::pipeline::target::{AwsTarget, Target};
use crate::query::lineage::Statement;
use crate::run::failure::{Problem, Rule};
use crate::spec::places::{Place, Places};

impl<'a> Subject<'a> {
    /// The AWS targets, by name.
    pub(super) fn aws(&self) -> impl Iterator<Item = &'a AwsTarget> + use<'a> {
        self.project.targets.values().filter_map(|target| match target {
            Target::Aws(target) => Some(target.as_ref()),
            Target::Local => None,
        })
    }

    /// All steps with their pipelines.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&'a Pipeline, &'a Step)> + use<'a> {
        let pipelines = self.project.pipelines.values();
        pipelines.flat_map(|pipeline| pipeline.steps.iter().map(move |step| (pipeline, step)))
    }

    /// A problem of the value that a path of names leads to in a file.
    pub(super) fn problem(
        &self,
        rule: Rule,
        file: &str,
        path: &[&str],
        message: impl Into<String>,
    ) -> Problem {
        at(rule, file, self.place(file, |places| places.value(path)), message)
    }

    /// A problem of a value of the project's file.
    pub(super) fn in_project(
        &self,
        rule: Rule,
        path: &[&str],
        message: impl Into<String>,
    ) -> Problem {
        self.problem(rule, PROJECT_FILE, path, message)
    }

    fn place(&self, file: &str, find: impl FnOnce(&Places) -> Place) -> Place {
        self.places.get(file).map_or(Place { line: 1, column: 1, length: 1 }, find)
    }
}

/// A problem of a column that a query makes, where the query says it.
pub(super) fn of_column(
    rule: Rule,
    sql: &SqlStep,
    column: &str,
    message: impl Into<String>,
) -> Problem {
    let statement = Statement::new(&sql.text);
    let (line, column, length) = match statement.definition(column) {
        Some((place, text)) => (place.line, place.column, text.chars().count()),
        None => (1, 1, 1),
    };
    Problem::new(rule, sql.file.as_str(), line, column, length, message)
}

fn at(rule: Rule, file: &str, place: Place, message: impl Into<String>) -> Problem {
    Problem::new(rule, file, place.line, place.column, place.length, message)
}

/// Names in backticks with commas between.
pub(super) fn quoted<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
