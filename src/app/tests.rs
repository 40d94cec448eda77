//! The unit tests of a project's queries.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::App;
use super::project::files_below;
use crate::pipeline::name::Name;
use crate::query::lake::Lake;
use crate::query::session::{Limits, QueryEngine};
use crate::run::failure::{Outcome, Problem};
use crate::spec::compile::{Project, compile_tests};
use crate::testing::{Case, Typed};
use crate::validate::Report;

/// What the test files of a project hold.
#[derive(Debug)]
pub struct Suite {
    /// The folder, relative to the project.
    pub folder: String,
    /// The test files.
    pub files: Vec<String>,
    /// Tests that can be run.
    pub cases: Vec<Case>,
    /// What is wrong with the files.
    pub problems: Vec<Problem>,
}

/// The pipelines of a project that was judged, with the columns of their tables.
pub fn typed(report: &Report) -> BTreeMap<Name, Arc<Typed>> {
    let typed = |(name, pipeline): (&Name, &crate::pipeline::graph::Pipeline)| {
        let schemas = report.analyses.get(name).map(|it| it.schemas.clone()).unwrap_or_default();
        (name.clone(), Arc::new(Typed { pipeline: pipeline.clone(), schemas }))
    };
    report.project.pipelines.iter().map(typed).collect()
}

impl App {
    /// Reads the test files of a project that was judged.
    pub fn suite(&self, report: &Report) -> Suite {
        let Project { tests: folder, .. } = &report.project;
        let typed = typed(report);
        let mut files = files_below(&self.settings.project, folder);
        files.retain(|file| file.ends_with(".yaml") || file.ends_with(".yml"));
        let (mut cases, mut problems) = (Vec::new(), Vec::new());
        for file in &files {
            let text = match self.read_project_file(file) {
                Ok(text) => text,
                Err(error) => {
                    let rule = crate::run::failure::Rule::MissingFile;
                    let message = format!("cannot read `{file}`: {error}");
                    problems.push(Problem::new(rule, file.as_str(), 1, 1, 1, message));
                    continue;
                }
            };
            let open = |path: &str| self.read_project_file(path);
            let (tests, found) = compile_tests(file, &text, &report.project, &open);
            problems.extend(found);
            cases.extend(tests.into_iter().filter_map(|test| {
                let typed = Arc::clone(typed.get(&test.pipeline)?);
                Some(Case { test, typed })
            }));
        }
        Suite { folder: folder.clone(), files, cases, problems }
    }

    /// An engine for rows that are in memory: no lake, nothing written.
    pub fn memory_engine(&self) -> Outcome<Arc<QueryEngine>> {
        let limits = Limits {
            threads: self.settings.threads(),
            memory: self.settings.memory_limit,
            // Sessions in memory spill nothing.
            spill: std::path::PathBuf::new(),
        };
        Ok(Arc::new(QueryEngine::new(Lake::nowhere(), limits)?))
    }
}
