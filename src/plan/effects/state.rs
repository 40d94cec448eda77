//! What recctl writes down: lease, run, steps, ledger, decisions.

use super::{Amount, Content, Effect, Files, Listing, Record, Writer};
use crate::pipeline::target::Target;
use crate::plan::ActionKind;
use crate::plan::forecast::Guess;

/// How often a lease is prolonged, in seconds; as the engine does.
const RENEWED_EVERY: u64 = 15;

fn record(record: Record, writes: Amount) -> Effect {
    Effect::State { record, writes }
}

/// What is written down of one action.
pub(super) fn of_action(kind: ActionKind) -> Vec<Effect> {
    let step = record(Record::Step, Amount::ONE);
    let ledger = || record(Record::Ledger, Amount::ONE);
    match kind {
        // The ledger gets its row when the table is visible, by the publication.
        ActionKind::Sql => vec![step],
        ActionKind::Publish
        | ActionKind::Train
        | ActionKind::Tune
        | ActionKind::Score
        | ActionKind::Load => vec![ledger(), step],
        ActionKind::Select => vec![record(Record::Decision, Amount::ONE), ledger(), step],
    }
}

impl Listing<'_> {
    /// What is written down of the run itself.
    pub(super) fn state_of_the_run(&self) -> Vec<Effect> {
        let mut effects = Vec::new();
        match self.grounds.target {
            Target::Local => {}
            Target::Aws(_) if self.there.state => {}
            Target::Aws(_) => effects.push(record(Record::Table, Amount::ONE)),
        }
        effects.push(record(Record::Lease, Amount::Exactly(2)));
        let wall = Guess::wall(self.plan, &self.guess);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds of a run"
        )]
        let renewals = match wall.unknown {
            0 => Amount::About(wall.seconds as u64 / RENEWED_EVERY),
            _ => Amount::Unknown,
        };
        effects.push(record(Record::LeaseRenewal, renewals));
        effects.push(Effect::Files(Files {
            content: Content::Definition,
            folder: "_recctl/definitions/".to_owned(),
            files: Amount::ONE,
            bytes: Amount::Unknown,
            by: Writer::Run,
        }));
        effects.push(record(Record::Run, Amount::Exactly(2)));
        effects
    }
}
