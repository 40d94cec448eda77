//! What happened: identities, events, statuses and failures. Plain facts, no behaviour.

pub mod event;
pub mod failure;
pub mod record;
pub mod rule;
pub mod testing;
