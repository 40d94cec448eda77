use std::io;
use std::path::Path;

use polars::prelude::PolarsError;

use crate::pipeline::job::{Algorithm, HyperparameterProblem, UnknownAlgorithm};

/// Says why training, evaluating, tuning or scoring failed; one variant per kind.
///
/// `Io`, `Frame` and `Output` may pass when tried again; the others will not before somebody
/// changes the input.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Data or configuration that was handed in is missing or not of the agreed shape.
    #[error("input `{file}`: {what}")]
    Input { file: String, what: String },
    #[error(transparent)]
    Algorithm(#[from] UnknownAlgorithm),
    /// Hyperparameters that the algorithm does not take; never empty.
    #[error("{}", join(.0))]
    Hyperparameter(Vec<HyperparameterProblem>),
    /// Training ended without a usable model.
    #[error("training `{algorithm}` {what}")]
    Fit { algorithm: Algorithm, what: String },
    /// A search that cannot be carried out as described.
    #[error("tuning: {what}")]
    Tuning { what: String },
    /// An evaluation that would be over nothing, or a comparison of unlike things.
    #[error("evaluation: {what}")]
    Evaluation { what: String },
    /// A model folder or archive that was not written by a matching recctl, or is damaged.
    #[error("artifact `{path}`: {what}")]
    Artifact { path: String, what: String },
    #[error("could not {action} `{path}`")]
    Io { action: &'static str, path: String, source: io::Error },
    /// Parquet that cannot be read or written.
    #[error("could not {action} `{path}`")]
    Frame { action: &'static str, path: String, source: PolarsError },
    /// The stream that takes progress lines is gone.
    #[error("could not write progress")]
    Output(#[source] io::Error),
}

impl ModelError {
    pub(crate) fn input(file: &Path, what: impl Into<String>) -> Self {
        Self::Input { file: file.display().to_string(), what: what.into() }
    }

    pub(crate) fn artifact(path: &Path, what: impl Into<String>) -> Self {
        Self::Artifact { path: path.display().to_string(), what: what.into() }
    }

    /// Returns an adapter for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io { action, path, source }
    }

    /// Returns an adapter for `map_err`.
    pub(crate) fn frame(action: &'static str, path: &Path) -> impl FnOnce(PolarsError) -> Self {
        let path = path.display().to_string();
        move |source| Self::Frame { action, path, source }
    }

    /// Writes the error and its sources on one line, for places that hold nothing but text.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }
}

fn join(problems: &[HyperparameterProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
