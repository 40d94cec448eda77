//! The project's files, compiled and judged.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{App, invalid, unknown_pipeline};
use crate::pipeline::definition::Definition;
use crate::pipeline::graph::Pipeline;
use crate::query::analysis::{self, Unchecked};
use crate::run::failure::{Failure, FailureKind, Outcome, Problem};
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

    /// The same with the files of tests, but queries of these pipelines only; of all if none is
    /// named. What is wrong with the files themselves is told in any case. Errors: a pipeline that
    /// the project does not have.
    pub async fn validated_of(
        &self,
        pipelines: &[String],
        given: &BTreeMap<String, String>,
    ) -> Outcome<Report> {
        let mut compiled = self.compiled(given);
        let known = &mut compiled.project.pipelines;
        if !known.is_empty()
            && let Some(unknown) =
                pipelines.iter().find(|name| !known.keys().any(|it| it.as_str() == *name))
        {
            return Err(unknown_pipeline(unknown, &compiled.project));
        }
        if !pipelines.is_empty() {
            known.retain(|name, _| pipelines.iter().any(|wanted| wanted == name.as_str()));
        }
        let mut report = validate(compiled).await;
        self.judge_tests(&mut report, pipelines.is_empty());
        Ok(report)
    }

    /// Adds what is wrong with the files of tests. A run does not mind those: a broken test breaks
    /// no table.
    fn judge_tests(&self, report: &mut Report, of_all_pipelines: bool) {
        let has_errors = report.errors().next().is_some();
        let suite = self.suite(report);
        if suite.files.is_empty() {
            return;
        }
        // Tests name tables and columns: what is not there because of a mistake elsewhere, or was
        // not asked for, is no mistake of theirs.
        let why = match (has_errors, of_all_pipelines) {
            (true, _) => "they are about what has errors",
            (false, false) => "only some pipelines were asked for",
            (false, true) => {
                report.problems.extend(suite.problems);
                Problem::sort(&mut report.problems);
                return;
            }
        };
        let what = format!("tests below `{}/`", suite.folder);
        report.coverage.unchecked.push(Unchecked { what, why: why.to_owned() });
    }

    /// The pipeline that is meant: the one that was named, or the only one that the project has.
    ///
    /// Errors: `Usage` if none was named and there are several.
    pub fn pipeline_name(
        &self,
        named: Option<&str>,
        given: &BTreeMap<String, String>,
    ) -> Outcome<String> {
        if let Some(named) = named {
            return Ok(named.to_owned());
        }
        let compiled = self.compiled(given);
        let names: Vec<&str> =
            compiled.project.pipelines.keys().map(|name| name.as_str()).collect();
        match names.as_slice() {
            [only] => Ok((*only).to_owned()),
            // What is wrong with the files is told by who compiles the pipeline.
            [] => Ok(String::new()),
            several => {
                let text = format!("the project has {} pipelines", several.len());
                let hint = format!("name one of `{}`", several.join("`, `"));
                Err(Failure::new(FailureKind::Usage, text).with_hint(hint))
            }
        }
    }

    /// A pipeline of a project as it was kept of a run. Errors: `Usage` if this recctl cannot read it
    /// any more, or if it has no such pipeline.
    pub async fn kept_pipeline(
        &self,
        definition: Definition,
        name: &str,
    ) -> Outcome<Arc<Pipeline>> {
        let report = validated_as_kept(&definition).await;
        if let Some(problem) = report.errors().next() {
            let text = format!("the kept definition is not valid any more: {}", problem.message);
            return Err(Failure::new(FailureKind::Usage, text).with_hint(
                "run the project's files as they are now, with `--definition current`",
            ));
        }
        match report.project.pipelines.get(name) {
            Some(pipeline) => Ok(Arc::new(pipeline.clone())),
            None => Err(unknown_pipeline(name, &report.project)),
        }
    }

    /// What stands before paths of the project where other tools look for files: the project's
    /// folder from the working folder, with a slash; empty if they are the same.
    pub fn path_prefix(&self) -> String {
        let project = &self.settings.project;
        let here = std::env::current_dir().ok();
        let relative = here.and_then(|here| project.strip_prefix(here).ok()).unwrap_or(project);
        let parts = relative.components().filter(|part| *part != std::path::Component::CurDir);
        let path: std::path::PathBuf = parts.collect();
        match path.to_string_lossy().replace('\\', "/") {
            path if path.is_empty() => path,
            path => format!("{path}/"),
        }
    }

    /// The project with the analyses of its queries, for commands that need all of it to be right.
    /// Errors: all that `recctl validate` calls an error. The report's problems are warnings then.
    pub async fn project_checked(&self, given: &BTreeMap<String, String>) -> Outcome<Report> {
        let report = self.validated(given).await;
        if report.errors().next().is_some() {
            return Err(invalid(report.problems));
        }
        Ok(report)
    }
}

/// Judges a project as it was kept, with nothing but the files that its definition holds.
pub(super) async fn validated_as_kept(definition: &Definition) -> Report {
    let read = |path: &str| {
        definition.files.get(path).cloned().ok_or_else(|| std::io::ErrorKind::NotFound.into())
    };
    let compiled = compile(&Inputs {
        read: &read,
        list: &|_| Vec::new(),
        analyze: &analysis::parse,
        given: &definition.given,
    });
    validate(compiled).await
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
