//! What a project says of tags, beyond those of its sources: where they end, and what is served all
//! the same. Each with a reason, since nobody could tell later why it was so.

use super::super::project::StepSpec;
use super::super::yaml::{Entries, Spanned};
use super::pipeline::Compiler;
use crate::pipeline::step::{PROJECT_FILE, Untag};
use crate::run::failure::Rule;

impl Compiler<'_> {
    pub(super) fn untagged(&mut self, spec: &StepSpec) -> Vec<Untag> {
        let written = spec.untag.iter().flat_map(|untag| &untag.value.0);
        let mut untag = Vec::new();
        for (column, one) in written {
            self.reason(&one.value.reason);
            untag.push(Untag {
                column: column.value.clone(),
                tags: one.value.tags.iter().map(|tag| tag.value.clone()).collect(),
                reason: one.value.reason.value.clone(),
            });
        }
        untag
    }

    /// Tags of values that are served on purpose.
    pub(super) fn allowed(&mut self, allow: &Entries<Spanned<String>>) -> Vec<(String, String)> {
        for (_, reason) in &allow.0 {
            self.reason(reason);
        }
        allow.0.iter().map(|(tag, reason)| (tag.value.clone(), reason.value.clone())).collect()
    }

    fn reason(&mut self, reason: &Spanned<String>) {
        if reason.value.trim().is_empty() {
            let hint = "say why, in words that the next reader understands".to_owned();
            let (rule, message) = (Rule::InvalidValue, "the reason is empty");
            self.problems.at(rule, PROJECT_FILE, reason, message, Some(hint));
        }
    }
}
