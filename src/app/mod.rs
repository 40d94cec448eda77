//! The composition root: from settings to services. The only place that knows adapters.

mod against;
mod aws;
mod declared;
mod doctor;
mod local;
mod project;
mod tables;
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};

pub use crate::adapters::local::LocalTarget;
use crate::adapters::local::{SystemClock, host_name};
use crate::pipeline;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::nearest::nearest;
use crate::pipeline::selection::{State, States};
use crate::pipeline::step::PROJECT_FILE;
use crate::ports::Clock;
use crate::report::OutputMode;
use crate::report::backfill::Teller;
use crate::report::emf::Emf;
use crate::report::problems::line;
use crate::report::{Setup, choose};
use crate::run::event::EventSink;
use crate::run::failure::{Failure, FailureKind, Outcome, Problem, Rule};
use crate::settings::{Metrics, Settings};
use crate::spec::compile::Project;
use crate::steps::context::Services;
use crate::validate::Report;

pub use against::is_run;
pub use declared::Scratch;
pub use tables::open_tables;
pub use tests::{Suite, typed};

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
    /// Where a plan keeps what it needs meanwhile.
    _scratch: Option<Scratch>,
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

    /// What tells of a backfill, on standard error.
    pub fn teller(&self) -> Teller {
        let mut setup = Setup::new(self.mode, self.colour, Box::new(Self::now));
        setup.quiet = self.settings.quiet;
        Teller::new(setup)
    }

    /// The same with another target, or the embedded target in another folder.
    #[must_use]
    pub fn elsewhere(&self, target: Option<&str>, home: Option<&Path>) -> Self {
        let mut settings = self.settings.clone();
        if let Some(target) = target {
            target.clone_into(&mut settings.target);
        }
        if let Some(home) = home {
            settings.home = Some(home.to_owned());
        }
        Self { settings, mode: self.mode, colour: self.colour }
    }

    /// Judges the project and returns one of its pipelines. Warnings that a run has to do with are
    /// logged.
    pub async fn pipeline(
        &self,
        name: &str,
        given: &BTreeMap<String, String>,
    ) -> Outcome<Arc<Pipeline>> {
        let Report { project, problems, .. } = self.project_checked(given).await?;
        for warning in problems.iter().filter(|problem| problem.rule != Rule::UnusedFile) {
            tracing::warn!("{}", line(warning));
        }
        match project.pipelines.get(name) {
            Some(pipeline) => Ok(Arc::new(pipeline.clone())),
            None => Err(unknown_pipeline(name, &project)),
        }
    }

    /// Opens the target that the settings name.
    pub async fn target(&self, opening: Opening) -> Outcome<Target> {
        match self.declared_target()? {
            pipeline::target::Target::Local => self.local_target(opening).await,
            pipeline::target::Target::Aws(target) => self.aws_target(&target, opening).await,
        }
    }

    /// The steps of a pipeline that are in the states which a selection asks for.
    pub async fn states(
        &self,
        target: &Target,
        pipeline: &Pipeline,
        date: LogicalDate,
        asks: &BTreeSet<State>,
    ) -> Outcome<States> {
        let mut states = crate::engine::states(&target.services, pipeline, date, asks).await?;
        for state in asks {
            if let State::Changed(Some(reference)) = state {
                let comparison = self.against(reference, pipeline, Some(target)).await?;
                states.insert(state.clone(), comparison.changed());
            }
        }
        Ok(states)
    }

    /// Who is at the keyboard, for what is kept on record: `user@machine`.
    pub fn person() -> String {
        let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
        let user = user.filter(|user| !user.is_empty());
        format!("{}@{}", user.as_deref().unwrap_or("somebody"), host_name())
    }

    /// Who holds leases: machine, process, and a number that tells apart processes of one id.
    pub fn holder() -> String {
        format!("{}/{}/{:x}", host_name(), std::process::id(), rand::random::<u32>())
    }
}

/// Files that are not valid.
fn invalid(problems: Vec<Problem>) -> Failure {
    let errors = problems.into_iter().filter(Problem::is_error).collect();
    Failure::problems("the project's files are not valid", errors)
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
