//! What the project declares of a target, without opening it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{App, invalid, unknown_target};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::selection::{State, States};
use crate::pipeline::target::{LOCAL, Target};
use crate::run::failure::{Failure, FailureKind, Outcome, io_failure};

/// What the SDKs look at for the region of a target that says none, in their order.
const REGION_VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

impl App {
    /// The target that the settings name, as it is declared. No service is asked for anything.
    pub fn declared_target(&self) -> Outcome<Target> {
        if self.settings.target == LOCAL {
            return Ok(Target::Local);
        }
        // Only targets matter here: variables may be given to a command that does not say them, and
        // a mistake elsewhere keeps nobody from looking.
        let compiled = self.compiled(&BTreeMap::new());
        let name = &self.settings.target;
        match compiled.project.targets.get(name) {
            Some(target) => Ok(target.clone()),
            None => match compiled.valid() {
                Ok(project) => Err(unknown_target(name, &project)),
                Err(problems) => Err(invalid(problems)),
            },
        }
    }

    /// The steps of a pipeline that changed since git revisions, which nobody has to be asked for.
    ///
    /// Errors: `Usage` for states that only the target knows.
    pub async fn declared_states(
        &self,
        pipeline: &Pipeline,
        asks: &BTreeSet<State>,
    ) -> Outcome<States> {
        let mut states = States::new();
        for state in asks {
            let State::Changed(Some(reference)) = state else {
                let text = "the selection asks what was done on the target, and nobody is asked";
                return Err(Failure::new(FailureKind::Usage, text)
                    .with_hint("add --online, or select steps by name"));
            };
            let comparison = self.against(reference, pipeline, None).await?;
            states.insert(state.clone(), comparison.changed());
        }
        Ok(states)
    }

    /// The region of a target, as it or the environment says.
    pub fn declared_region(&self, target: &Target) -> Option<String> {
        let Target::Aws(target) = target else { return None };
        let variable = |name: &&str| std::env::var(name).ok().filter(|value| !value.is_empty());
        target.region.clone().or_else(|| REGION_VARIABLES.iter().find_map(variable))
    }
}

/// A folder of this machine that goes away with the value: a plan leaves nothing behind.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one among the system's temporary files.
    pub(super) fn new() -> Outcome<Self> {
        let name = format!("recctl-plan-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder)
            .map_err(|error| io_failure("create the folder", &folder, &error))?;
        Ok(Self(folder))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "could not remove scratch files");
        }
    }
}
