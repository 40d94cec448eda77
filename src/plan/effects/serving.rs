//! Loads into the serving store.

use super::{Amount, Effect, Generation, Listing};
use crate::pipeline::step::{LoadStep, StepKind};
use crate::pipeline::target::Removal;
use crate::plan::Action;

/// Lists that are put at once; as the step does.
const LISTS_PER_CALL: u64 = 2_000;
/// Bytes of a list beside its items: keys, names of attributes. With [`ITEM_BYTES`] this makes the
/// 1.1 KB of fifty items of eight bytes that the adapter of DynamoDB measured.
const LIST_BYTES: u64 = 90;
/// Bytes of an item of a list with its score.
const ITEM_BYTES: u64 = 21;
/// Bytes of a write unit.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html>
const WRITE_UNIT: u64 = 1_024;

impl Listing<'_> {
    /// A generation is loaded and becomes visible; the oldest go.
    pub(super) fn load(&mut self, index: usize, _: &Action, load: &LoadStep) -> Vec<Effect> {
        let serving = self.aws().and_then(|aws| aws.serving.clone());
        let is_aws = self.aws().is_some();
        let prefix = serving.as_ref().map_or("", |serving| serving.table_prefix.as_str());
        let table = format!("{prefix}{}", load.table);
        let expire = serving.as_ref().is_some_and(|it| it.removal == Removal::Expire);
        let mut effects = Vec::new();
        let generations = self.there.served.get(load.table.as_str()).cloned();
        if is_aws && generations.is_none() {
            effects.push(Effect::ServedTableMade {
                table: table.clone(),
                number: if self.there_is_known { Amount::AtMost(1) } else { Amount::ONE },
            });
        }
        let items = Amount::about(self.guess[index].rows_out);
        let score = self.grounds.pipeline.step(load.from.as_str());
        let (top, has_fallback) = match score.map(|step| &step.kind) {
            Some(StepKind::Score(score)) => (score.top as u64, score.fallback.is_some()),
            _ => (1, false),
        };
        let units = (LIST_BYTES + ITEM_BYTES * top).div_ceil(WRITE_UNIT);
        // The lists of known users and those of others come one after the other.
        let checkpoints =
            items.in_groups_of(LISTS_PER_CALL) + Amount::Exactly(u64::from(has_fallback));
        let checkpoints = if items == Amount::Unknown { Amount::Unknown } else { checkpoints };
        effects.push(Effect::Generation(Generation {
            table: table.clone(),
            items,
            write_units: is_aws.then(|| items.times(units)),
            checkpoints,
            expire,
        }));
        let mut generations = generations.unwrap_or_default();
        generations.push(self.guess[index].rows_out);
        let old = generations.len().saturating_sub(load.keep.max(1));
        let gone: Vec<Option<u64>> = generations.drain(..old).collect();
        self.there.served.insert(load.table.to_string(), generations);
        if !gone.is_empty() {
            effects.push(Effect::GenerationsRemoved {
                table,
                keep: load.keep,
                generations: Amount::Exactly(gone.len() as u64),
                items: match expire {
                    true => Amount::NONE,
                    false => Amount::about(gone.iter().copied().sum()),
                },
                expire,
            });
        }
        effects
    }
}
