//! The project's files, compiled and judged.

use std::collections::BTreeMap;
use std::path::Path;

use super::{App, invalid};
use crate::query::analysis;
use crate::report::problems::line;
use crate::run::failure::Outcome;
use crate::spec::compile::{Compiled, Inputs, compile};
use crate::validate::{Report, validate};

impl App {
    /// Compiles as much of the project's files as can be.
    pub fn compiled(&self, given: &BTreeMap<String, String>) -> Compiled {
        compile(&Inputs {
            read: &|path| self.read_project_file(path),
            list: &|folder| files_below(&self.settings.project, folder),
            analyze: &analysis::parse,
            given,
        })
    }

    /// Judges the project: what `recctl validate` tells.
    pub async fn validated(&self, given: &BTreeMap<String, String>) -> Report {
        validate(self.compiled(given)).await
    }

    /// The project with the analyses of its queries, for commands that need all of it to be right.
    /// Errors: all that `recctl validate` calls an error. Warnings are logged.
    pub async fn project_checked(&self, given: &BTreeMap<String, String>) -> Outcome<Report> {
        let report = self.validated(given).await;
        if report.errors().next().is_some() {
            return Err(invalid(report.problems));
        }
        for warning in &report.problems {
            tracing::warn!("{}", line(warning));
        }
        Ok(report)
    }
}

/// Files below a folder of the project, by path relative to the project, in order. What cannot be
/// listed is empty: a missing folder is no mistake.
pub(super) fn files_below(project: &Path, folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(project.join(folder)) else { return found };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{folder}/{name}");
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(project, &path)),
            Ok(_) => found.push(path),
            Err(_) => {}
        }
    }
    found.sort();
    found
}
