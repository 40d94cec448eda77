//! What pipelines use of a target.

use crate::pipeline::graph::Pipeline;
use crate::pipeline::job::Job;
use crate::pipeline::name::Name;
use crate::pipeline::source::{PathTemplate, Source};
use crate::pipeline::step::{LoadStep, QUARANTINE_TABLE, StepKind, WarehouseMode, fallback_table};
use crate::pipeline::target::{AwsTarget, S3Location};
use crate::ports::preflight::{JobClass, JobNeeds};
use crate::steps::{job_prefix, search_prefix};

/// What pipelines use of a target.
#[derive(Debug, Default)]
pub struct Uses<'a> {
    /// Raw input.
    pub sources: Vec<&'a Source>,
    /// Tables of the catalog.
    pub tables: Vec<String>,
    /// Whether tables are published to the warehouse.
    pub warehouse: bool,
    /// Whether the warehouse reads tables where they lie.
    pub external: bool,
    /// Steps whose work is a remote job.
    pub jobs: Vec<RemoteStep<'a>>,
    /// Pipeline and step of selections, whose winners are registered.
    pub selections: Vec<(&'a Name, &'a Name)>,
    /// Loads into the serving store.
    pub served: Vec<&'a LoadStep>,
}

/// A step whose work is a remote job.
#[derive(Debug, Clone, Copy)]
pub struct RemoteStep<'a> {
    /// The step.
    pub name: &'a Name,
    /// What its job is made of; none for scoring.
    pub job: Option<&'a Job>,
    /// Whether hyperparameters are searched.
    pub tuned: bool,
}

impl RemoteStep<'_> {
    /// What the names of its jobs begin with.
    pub(super) fn jobs(&self) -> String {
        format!("{}*", job_prefix(self.name))
    }

    /// What the names of its searches and of their trials begin with.
    pub(super) fn searches(&self) -> String {
        format!("{}*", search_prefix(self.name))
    }
}

impl<'a> Uses<'a> {
    /// Looks through the steps of the pipelines.
    pub fn of(pipelines: &[&'a Pipeline]) -> Self {
        let mut uses = Self::default();
        for pipeline in pipelines {
            for source in pipeline.sources.values() {
                if !uses.sources.contains(&source) {
                    uses.sources.push(source);
                }
            }
            for step in &pipeline.steps {
                let remote = |job, tuned| RemoteStep { name: &step.name, job, tuned };
                match &step.kind {
                    StepKind::Sql(sql) => {
                        uses.table(step.name.to_string());
                        if let Some(layout) = &sql.warehouse {
                            uses.warehouse = true;
                            uses.external |= layout.mode == WarehouseMode::External;
                        }
                    }
                    StepKind::Train(train) => uses.jobs.push(remote(Some(&train.job), false)),
                    StepKind::Tune(train) => uses.jobs.push(remote(Some(&train.job), true)),
                    StepKind::Select(_) => uses.selections.push((&pipeline.name, &step.name)),
                    StepKind::Score(_) => {
                        uses.table(step.name.to_string());
                        uses.table(fallback_table(step.name.as_str()));
                        uses.jobs.push(remote(None, false));
                    }
                    StepKind::Load(load) => uses.served.push(load),
                }
            }
        }
        if !uses.tables.is_empty() {
            uses.table(QUARANTINE_TABLE.to_owned());
        }
        uses
    }

    fn table(&mut self, name: String) {
        if !self.tables.contains(&name) {
            self.tables.push(name);
        }
    }

    /// Buckets of sources other than the lake's.
    pub(super) fn buckets(&self, target: &AwsTarget) -> Vec<String> {
        let mut buckets: Vec<String> = Vec::new();
        for place in
            self.sources.iter().filter_map(|source| S3Location::parse(source.path.as_str()))
        {
            if place.bucket != target.lake.bucket && !buckets.contains(&place.bucket) {
                buckets.push(place.bucket);
            }
        }
        buckets
    }

    /// What remote jobs run on.
    pub(super) fn jobs(&self, target: &AwsTarget) -> Vec<JobNeeds> {
        let Some(trainer) = &target.trainer else { return Vec::new() };
        let needs = self.jobs.iter().map(|step| {
            let resources = step.job.map(|job| &job.resources);
            let spot = resources.and_then(|it| it.spot).unwrap_or(trainer.spot);
            let trials = step.job.and_then(|job| job.tuning.as_ref()).filter(|_| step.tuned);
            let parallel = trials.map_or(1, |tuning| u32::try_from(tuning.parallel).unwrap_or(1));
            let instances = resources.map(|it| it.instances.clone()).unwrap_or_default();
            JobNeeds {
                step: step.name.to_string(),
                kind: match (step.job, spot) {
                    (None, _) => JobClass::Processing,
                    (Some(_), true) => JobClass::SpotTraining,
                    (Some(_), false) => JobClass::Training,
                },
                image: resources
                    .and_then(|it| it.image.clone())
                    .unwrap_or_else(|| trainer.image.clone()),
                instances: match instances.is_empty() {
                    true => trainer.instances.clone(),
                    false => instances,
                },
                count: resources.and_then(|it| it.count).unwrap_or(1).saturating_mul(parallel),
            }
        });
        needs.collect()
    }
}

/// Bucket and key pattern of a source's files on AWS; none if it lies on the machine.
pub(super) fn objects(path: &PathTemplate, target: &AwsTarget) -> Option<(String, String)> {
    let text = path.as_str();
    if ["/", "./", "../"].iter().any(|prefix| text.starts_with(prefix)) {
        return None;
    }
    let (bucket, key) = match text.strip_prefix("s3://") {
        Some(rest) => {
            rest.split_once('/').map(|(bucket, key)| (bucket.to_owned(), key.to_owned()))?
        }
        None => (target.lake.bucket.clone(), target.lake.key(text)),
    };
    let fixed = key.split('{').next().unwrap_or_default();
    Some(match fixed == key && !key.ends_with('/') {
        true => (bucket, key),
        false => (bucket, format!("{fixed}*")),
    })
}
