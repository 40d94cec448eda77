//! What somebody rolled back by hand: a run neither leaves it nor undoes it without a word.

use std::collections::BTreeMap;

use super::{Action, Facts, Verdict};
use crate::pipeline::fingerprint::Fingerprint;
use crate::pipeline::interval::Partition;
use crate::pipeline::name::Name;
use crate::run::record::{LedgerRow, RolledBack, RunId};

/// Whether a table that was rolled back is made again: if it would be something else than what is
/// visible now.
pub(super) fn verdict(row: &LedgerRow, back: &RolledBack, now: &Fingerprint) -> Verdict {
    match now.digest() == back.fingerprint {
        true => Verdict::Skip(row.run.clone()),
        false => {
            Verdict::Run(format!("rolled back by hand to run {}, made from other inputs", row.run))
        }
    }
}

/// What a person should know of it.
pub(super) fn notices(actions: &[Action], facts: &Facts) -> Vec<String> {
    let mut tables: BTreeMap<(&Name, &RunId, bool), Vec<Partition>> = BTreeMap::new();
    let mut notices = Vec::new();
    for action in actions {
        let key = (action.step.clone(), action.partition);
        if let Some(back) = facts.ledger.get(&key).and_then(|row| row.rollback.as_ref()) {
            let of_table = tables.entry((&action.step, &back.by, action.runs())).or_default();
            of_table.push(action.partition);
        }
        for back in &facts.served_back {
            if back.step == action.step
                && Partition::Day(back.date) == action.partition
                && !action.runs()
            {
                notices.push(format!(
                    "`{}` serves generation {}, rolled back by hand from {}: it stays; --force loads the day anew",
                    back.table, back.visible, back.loaded
                ));
            }
        }
    }
    for ((table, by, runs), partitions) in tables {
        let told = match partitions.as_slice() {
            [one] => one.to_string(),
            [first, .., last] => format!("{first} … {last}"),
            [] => continue,
        };
        let becomes = match runs {
            true => "made again, as the project makes something else now",
            false => "as the project makes it now, so it stays",
        };
        notices.push(format!("`{table}` {told} was rolled back by hand (run {by}): {becomes}"));
    }
    notices
}
