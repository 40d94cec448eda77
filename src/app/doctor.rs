//! What looks at a target before a run.

use std::collections::BTreeMap;

use super::{App, Opening, SystemClock, unknown_pipeline, unknown_target};
use crate::adapters::aws::{AwsPreflight, AwsSession};
use crate::adapters::local::LocalPreflight;
use crate::engine::settle::{foretold, open};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::name::Name;
use crate::pipeline::target::Target;
use crate::plan::permissions::{Place, checklist};
use crate::ports::{Checklist, Clock, Finding, Preflight};
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
    /// What the next start finds half done: publications that a process left open. Changes nothing.
    pub async fn left_open(&self, pipelines: &[&Pipeline]) -> Vec<Finding> {
        const SUBJECT: &str = "publications";
        match self.told_of_open(pipelines).await {
            Ok(told) if told.is_empty() => vec![Finding::ok(SUBJECT, "none is half done")],
            Ok(told) => told
                .into_iter()
                .map(|(pipeline, told)| {
                    Finding::warn(SUBJECT, told)
                        .hint(format!("`recctl run {pipeline}` looks after it, whatever the day"))
                })
                .collect(),
            Err(failure) => vec![Finding::unknown(SUBJECT, failure.message)],
        }
    }

    async fn told_of_open<'a>(
        &self,
        pipelines: &[&'a Pipeline],
    ) -> Outcome<Vec<(&'a Name, String)>> {
        let target = self.target(Opening::Plan).await?;
        let mut told = Vec::new();
        for pipeline in pipelines {
            for (publication, standing) in open(&target.services, &pipeline.name).await? {
                // Somebody is at work on one that stands nowhere yet.
                let standing = standing.map(|standing| foretold(&publication, &standing));
                told.extend(standing.map(|text| (&pipeline.name, text)));
            }
        }
        Ok(told)
    }
}
