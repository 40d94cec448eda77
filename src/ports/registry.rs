//! The model registry: which models served, with their figures.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::run::failure::Outcome;

/// A model that is to be registered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelEntry {
    /// What it is a version of, for example `daily-winner`; at most 63 characters of `[a-z0-9-]`.
    pub group: String,
    /// The archive `model.tar.gz` in the lake; the identity of the version.
    pub artifact: String,
    /// The algorithm.
    pub algorithm: String,
    /// Hyperparameters.
    pub hyperparameters: BTreeMap<String, String>,
    /// Figures by metric.
    pub metrics: BTreeMap<String, f64>,
    /// Why it was chosen, in words.
    pub reason: String,
    /// The run that chose it.
    pub run: String,
    /// When.
    pub registered: DateTime<Utc>,
}

/// A model that is registered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// Counts from 1 within the group.
    pub version: u32,
    /// Whether it may serve.
    pub approval: Approval,
    /// The model.
    pub entry: ModelEntry,
}

/// Whether a model may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// A person has to look at it.
    Pending,
    /// It may.
    Approved,
    /// It may not.
    Rejected,
}

/// Knows the models that were chosen to serve.
#[async_trait]
pub trait ModelRegistry: Send + Sync {
    /// Registers a model and returns its version. Registering the same artifact in the same group
    /// again returns the version that it has, and changes nothing.
    async fn register(&self, model: &ModelEntry) -> Outcome<ModelVersion>;

    /// The newest versions of a group, newest first; empty if there is no such group.
    async fn versions(&self, group: &str, limit: usize) -> Outcome<Vec<ModelVersion>>;
}
