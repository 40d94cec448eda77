//! `--select` and `--exclude`, which several commands take.

use std::sync::Arc;

use crate::app::{App, Target};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::selection::{Selection, SelectionError};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Which steps a command is about.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct SelectionArgs {
    /// Only these steps: `name`, `+name` with what it is made from, `name+` with what is made from
    /// it, `tag:`, `path:`, `kind:`, `changed:`, `stale:`, `failed:`; a space for either, a comma
    /// for both. May be given several times
    #[arg(long, value_name = "STEPS")]
    select: Vec<String>,
    /// Not these steps, in the same words
    #[arg(long, value_name = "STEPS")]
    exclude: Vec<String>,
}

impl SelectionArgs {
    /// Reads the options, and applies them as far as nothing but the pipeline has to be known.
    pub(super) fn of(&self, pipeline: Arc<Pipeline>) -> Outcome<Selected> {
        let selection = Selection::parse(&self.select, &self.exclude).map_err(failure)?;
        if selection.is_everything() {
            return Ok(Selected::Done(pipeline));
        }
        if selection.asks().is_empty() {
            let steps = selection.of(&pipeline, &Default::default()).map_err(failure)?;
            return Ok(Selected::Done(Arc::new(Pipeline::clone(&pipeline).restricted_to(&steps))));
        }
        Ok(Selected::Asks(pipeline, selection))
    }
}

/// A pipeline of which steps are selected, or what has to be known for that.
pub(super) enum Selected {
    Done(Arc<Pipeline>),
    Asks(Arc<Pipeline>, Selection),
}

impl Selected {
    /// The pipeline; its steps may yet have to be selected.
    pub(super) fn pipeline(&self) -> &Pipeline {
        match self {
            Self::Done(pipeline) | Self::Asks(pipeline, _) => pipeline,
        }
    }

    /// The pipeline with its steps selected; asks the target what the selection wants to know.
    pub(super) async fn finish(
        self,
        app: &App,
        target: &Target,
        date: LogicalDate,
    ) -> Outcome<Arc<Pipeline>> {
        match self {
            Self::Done(pipeline) => Ok(pipeline),
            Self::Asks(pipeline, selection) => {
                let states = app.states(target, &pipeline, date, &selection.asks()).await?;
                let steps = selection.of(&pipeline, &states).map_err(failure)?;
                Ok(Arc::new(Pipeline::clone(&pipeline).restricted_to(&steps)))
            }
        }
    }
}

impl Selected {
    /// The same where the target is not asked: only what changed since a git revision can be told.
    ///
    /// Errors: `Usage` if the selection wants to know more.
    pub(super) async fn finish_declared(self, app: &App) -> Outcome<Arc<Pipeline>> {
        match self {
            Self::Done(pipeline) => Ok(pipeline),
            Self::Asks(pipeline, selection) => {
                let states = app.declared_states(&pipeline, &selection.asks()).await?;
                let steps = selection.of(&pipeline, &states).map_err(failure)?;
                Ok(Arc::new(Pipeline::clone(&pipeline).restricted_to(&steps)))
            }
        }
    }
}

fn failure(error: SelectionError) -> Failure {
    let failure = Failure::new(FailureKind::Usage, error.message);
    match error.hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}
