//! The composition root: from settings to services. The only place that knows adapters.

mod aws;
mod doctor;
mod local;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

pub use crate::adapters::local::LocalTarget;
use crate::adapters::local::{SystemClock, host_name};
use crate::pipeline;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::nearest::nearest;
use crate::pipeline::step::PROJECT_FILE;
use crate::pipeline::target::LOCAL;
use crate::ports::Clock;
use crate::query::analysis;
use crate::report::OutputMode;
use crate::report::emf::Emf;
use crate::report::{Setup, choose};
use crate::run::event::EventSink;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::settings::{Metrics, Settings};
use crate::spec::compile::{Inputs, Project, compile};
use crate::steps::context::Services;

pub use tables::open_tables;

/// Everything that subcommands work with.
pub struct App {
    /// Settings.
    pub settings: Settings,
    /// How progress is told.
    pub mode: OutputMode,
    /// Whether standard error is coloured.
    pub colour: bool,
}

/// What opening a target is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Work: what keeps the state is made if it is missing.
    Create,
    /// Looking: a target on which nothing was run yet is an error.
    Existing,
    /// Planning: a target on which nothing was run yet is an empty one.
    Plan,
}

/// An opened target.
pub struct Target {
    /// Ports and the query engine.
    pub services: Arc<Services>,
    /// The embedded target's places, if it is that one.
    pub local: Option<LocalTarget>,
}

impl App {
    /// Takes the settings and looks at the terminal.
    pub fn new(settings: Settings) -> Self {
        use std::io::IsTerminal;
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        let no_color = std::env::var("NO_COLOR").is_ok_and(|value| !value.is_empty());
        let is_terminal = std::io::stderr().is_terminal() && !dumb;
        let (mode, colour) = choose(settings.log_format, is_terminal, no_color);
        Self { settings, mode, colour }
    }

    /// Reads a file of the project.
    pub fn read_project_file(&self, path: &str) -> std::io::Result<String> {
        std::fs::read_to_string(self.settings.project.join(path))
    }

    /// The time.
    pub fn now() -> DateTime<Utc> {
        SystemClock.now()
    }

    /// A reporter to standard error, and of metrics to standard output where they are asked for.
    pub fn reporter(&self) -> Arc<dyn EventSink> {
        let project = self.settings.project.clone();
        let mut setup = Setup::new(self.mode, self.colour, Box::new(Self::now));
        setup.quiet = self.settings.quiet;
        setup.read = Box::new(move |path| std::fs::read_to_string(project.join(path)).ok());
        let told = crate::report::reporter(setup);
        match self.settings.metrics {
            None => told,
            Some(Metrics::Emf) => {
                Arc::new(Emf::new(told, Box::new(Self::now), Box::new(std::io::stdout())))
            }
        }
    }

    /// Compiles the project's files. Errors: all that is wrong with them.
    pub fn project(&self, given: &BTreeMap<String, String>) -> Outcome<Project> {
        let inputs =
            Inputs { read: &|path| self.read_project_file(path), analyze: &analysis::parse, given };
        compile(&inputs)
            .map_err(|problems| Failure::problems("the project's files are not valid", problems))
    }

    /// Compiles the project, type-checks all its queries, and returns one pipeline.
    pub async fn pipeline(
        &self,
        name: &str,
        given: &BTreeMap<String, String>,
    ) -> Outcome<Arc<Pipeline>> {
        let project = self.project(given)?;
        let mut problems = Vec::new();
        for pipeline in project.pipelines.values() {
            problems.extend(analysis::check(pipeline).await.err().unwrap_or_default());
        }
        if !problems.is_empty() {
            return Err(Failure::problems("the project's queries are not valid", problems));
        }
        match project.pipelines.get(name) {
            Some(pipeline) => Ok(Arc::new(pipeline.clone())),
            None => Err(unknown_pipeline(name, &project)),
        }
    }

    /// Opens the target that the settings name.
    pub async fn target(&self, opening: Opening) -> Outcome<Target> {
        if self.settings.target == LOCAL {
            return self.local_target(opening).await;
        }
        // Only targets matter here: variables may be given to a command that does not say them.
        let project = self.project(&BTreeMap::new())?;
        match project.targets.get(&self.settings.target) {
            Some(pipeline::target::Target::Local) => self.local_target(opening).await,
            Some(pipeline::target::Target::Aws(target)) => self.aws_target(target, opening).await,
            None => Err(unknown_target(&self.settings.target, &project)),
        }
    }

    /// Who holds leases: machine, process, and a number that tells apart processes of one id.
    pub fn holder() -> String {
        format!("{}/{}/{:x}", host_name(), std::process::id(), rand::random::<u32>())
    }
}

/// A pipeline that `pipelines.yaml` does not have.
fn unknown_pipeline(name: &str, project: &Project) -> Failure {
    let names: Vec<&str> = project.pipelines.keys().map(|name| name.as_str()).collect();
    let failure = Failure::new(FailureKind::Usage, format!("unknown pipeline `{name}`"));
    failure.with_hint(match nearest(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("{PROJECT_FILE} has `{}`", names.join("`, `")),
    })
}

/// A target that `pipelines.yaml` does not have.
fn unknown_target(name: &str, project: &Project) -> Failure {
    let failure = Failure::new(FailureKind::Usage, format!("unknown target `{name}`"));
    let known: Vec<&str> = project.targets.keys().map(String::as_str).collect();
    failure.with_hint(match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("{PROJECT_FILE} has `{}`", known.join("`, `")),
    })
}
