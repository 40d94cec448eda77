use std::str::FromStr;

use super::error::ModelError;
use crate::pipeline::job::{Algorithm, HyperparameterProblem, Hyperparameters};

/// Holds checked hyperparameters, every one of the algorithm's present, and hands them out typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    algorithm: Algorithm,
    values: Hyperparameters,
}

impl Settings {
    /// # Errors
    /// `Hyperparameter` with everything that the algorithm refuses.
    pub fn new(algorithm: Algorithm, given: &Hyperparameters) -> Result<Self, ModelError> {
        algorithm.check(given).map_err(ModelError::Hyperparameter)?;
        Ok(Self { algorithm, values: algorithm.with_defaults(given) })
    }

    pub fn values(&self) -> &Hyperparameters {
        &self.values
    }

    pub fn text(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    pub fn number<T: FromStr>(&self, name: &str) -> Result<T, ModelError> {
        let value = self.text(name);
        // The check has been passed, so this is about declarations wider than the type asked for
        // here.
        value.parse().map_err(|_| {
            ModelError::Hyperparameter(vec![HyperparameterProblem::Invalid {
                name: name.to_owned(),
                value: value.to_owned(),
                expected: format!("a number that `{}` can use", self.algorithm),
            }])
        })
    }
}
