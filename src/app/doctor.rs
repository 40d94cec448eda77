//! What looks at a target before a run.

use std::collections::BTreeMap;

use super::{App, SystemClock, unknown_pipeline, unknown_target};
use crate::adapters::aws::{AwsPreflight, AwsSession};
use crate::adapters::local::LocalPreflight;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::target::Target;
use crate::plan::permissions::{Place, checklist};
use crate::ports::{Checklist, Clock, Preflight};
use crate::run::failure::Outcome;

impl App {
    /// The target that the settings name, and one pipeline or all of the project. No service is
    /// asked for anything.
    pub async fn chosen(&self, pipeline: Option<&str>) -> Outcome<(Target, Vec<Pipeline>)> {
        let project = self.project_checked(&BTreeMap::new()).await?.project;
        let name = &self.settings.target;
        let target = project.targets.get(name).ok_or_else(|| unknown_target(name, &project))?;
        let pipelines = match pipeline {
            None => project.pipelines.values().cloned().collect(),
            Some(name) => match project.pipelines.get(name) {
                Some(pipeline) => vec![pipeline.clone()],
                None => return Err(unknown_pipeline(name, &project)),
            },
        };
        Ok((target.clone(), pipelines))
    }

    /// What looks at a target, and the list of what these pipelines need there.
    pub async fn preflight(
        &self,
        target: &Target,
        pipelines: &[&Pipeline],
    ) -> Outcome<(Box<dyn Preflight>, Checklist)> {
        match target {
            Target::Local => {
                let doctor = LocalPreflight::new(&self.settings.home(), SystemClock.now());
                Ok((Box::new(doctor), Checklist::default()))
            }
            Target::Aws(target) => {
                let session = AwsSession::open(target).await?;
                let place = Place::new(target, None, Some(session.region()));
                let list = checklist(pipelines, target, &place);
                Ok((Box::new(AwsPreflight::new(session)), list))
            }
        }
    }
}
