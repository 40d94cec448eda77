//! The ledger as one JSON object, as docs/ledger.md describes it.

use serde_json::{Value, json};

use crate::plan::ledger::{Ledger, LedgerState};

/// The version of the JSON.
const VERSION: u32 = 1;

/// The object. `open` tells of publications that a process left open.
pub fn object(ledger: &Ledger, target: &str, open: &[String]) -> Value {
    let count = |state: LedgerState| {
        let number = ledger.entries.values().filter(|entry| entry.state == state).count();
        (state.word().to_owned(), json!(number))
    };
    let counts: serde_json::Map<String, Value> = LedgerState::ALL.into_iter().map(count).collect();
    let steps: Vec<Value> = ledger
        .steps
        .iter()
        .map(|step| {
            let own = ledger.entries.iter().filter(|((of, _), _)| of == step);
            let intervals: Vec<Value> = own
                .map(|((_, partition), entry)| {
                    let mut object = json!(entry);
                    if let Some(members) = object.as_object_mut() {
                        members.insert("partition".to_owned(), json!(partition));
                        members.remove("kind");
                    }
                    object
                })
                .collect();
            let kind = ledger.entries.iter().find(|((of, _), _)| of == step);
            json!({
                "step": step,
                "kind": kind.map(|(_, entry)| entry.kind),
                "intervals": intervals,
            })
        })
        .collect();
    json!({
        "version": VERSION,
        "pipeline": ledger.pipeline,
        "target": target,
        "from": ledger.dates.first(),
        "to": ledger.dates.last(),
        "counts": counts,
        "open": open,
        "steps": steps,
    })
}
