//! The serving store: recommendations by key, one generation visible at a time.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::state::Lease;
use crate::run::failure::Outcome;

/// One served item: a key and its list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServingItem {
    /// `user#<id>` or `segment#<location>#<device>`, where an empty part means any.
    pub key: String,
    /// The list, best first.
    pub items: Vec<RecommendedItem>,
}

/// One recommendation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecommendedItem {
    /// Item.
    pub item: String,
    /// The model's score; comparable within one list only.
    pub score: f64,
}

/// A version of a served table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationEntry {
    /// Served table.
    pub table: String,
    /// Identity: sorts by age.
    pub generation: String,
    /// The model that made it, in words.
    pub model: String,
    /// When its load began.
    pub created: DateTime<Utc>,
    /// Items in it; 0 until it is sealed.
    pub items: u64,
    /// Whether it is complete, so that it can be made visible.
    pub sealed: bool,
    /// Whether readers see it.
    pub visible: bool,
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq)]
pub struct ServedList {
    /// The generation that it is from.
    pub generation: GenerationEntry,
    /// The item.
    pub item: ServingItem,
}

/// Serves recommendations.
#[async_trait]
pub trait ServingStore: Send + Sync {
    /// Begins a generation, or goes on with one that was begun and not sealed. Returns how many
    /// items, in the order of the load, the last checkpoint named: a load that goes on may begin
    /// with the next.
    ///
    /// Errors: `Conflict` if it is sealed already.
    async fn begin(
        &self,
        table: &str,
        generation: &str,
        model: &str,
        now: DateTime<Utc>,
    ) -> Outcome<u64>;

    /// Writes items into a generation that is not sealed; an item of the same key is replaced.
    /// Everything is durable when the call returns.
    ///
    /// Errors: `NotFound` if the generation was not begun, `Conflict` if it is sealed, `Usage` if
    /// an item is larger than the store takes, `Quality` for a score that is not finite; then none
    /// of the call's items is written.
    async fn put(&self, table: &str, generation: &str, items: &[ServingItem]) -> Outcome<()>;

    /// Remembers that the first `items` items of the load were put, for a load that goes on.
    /// Errors: as [`ServingStore::put`].
    async fn checkpoint(&self, table: &str, generation: &str, items: u64) -> Outcome<()>;

    /// Closes a generation and makes it visible at once, instead of the one before.
    ///
    /// Sealing the visible generation again changes nothing. Errors: `Quality` if it does not hold
    /// `items` items, `Conflict` if a later holder of the lease has made one visible or has set a
    /// fence ([`ServingStore::fence`]); then it stays invisible.
    async fn seal_and_flip(
        &self,
        table: &str,
        generation: &str,
        items: u64,
        lease: &Lease,
    ) -> Outcome<()>;

    /// Makes another sealed generation visible. Errors: `NotFound` if there is no such sealed one,
    /// `Conflict` as for [`ServingStore::seal_and_flip`].
    async fn flip(&self, table: &str, generation: &str, lease: &Lease) -> Outcome<()>;

    /// Refuses from now on that earlier holders of the lease make a generation of the table visible.
    /// Setting it again changes nothing.
    ///
    /// Errors: `Conflict` if a later holder of the lease was here.
    async fn fence(&self, table: &str, lease: &Lease) -> Outcome<()>;

    /// Generations of a table, newest first.
    async fn generations(&self, table: &str) -> Outcome<Vec<GenerationEntry>>;

    /// Names of the tables that have a generation, visible or not.
    async fn tables(&self) -> Outcome<Vec<String>>;

    /// The list of a key in the visible generation; `None` if the key is not in it.
    /// Errors: `NotFound` if the table has no visible generation.
    async fn get(&self, table: &str, key: &str) -> Outcome<Option<ServedList>>;

    /// Removes a generation that is not visible, sealed or not; says whether it is gone.
    async fn discard(&self, table: &str, generation: &str) -> Outcome<bool>;

    /// Removes all generations but the newest `keep` sealed ones; never the visible one, nor one
    /// that is younger than the visible one. Returns the number removed.
    async fn prune(&self, table: &str, keep: usize) -> Outcome<usize>;
}
