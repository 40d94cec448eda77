//! An AWS target's services.

use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

use super::{App, Opening, Scratch, Target};
use crate::adapters::absent::Absent;
use crate::adapters::aws::{
    AwsSession, DynamoDbServingStore, DynamoDbStateStore, GlueCatalog, RedshiftWarehouse,
    SageMakerModelRegistry, SageMakerTrainer, lake_store, s3_store,
};
use crate::adapters::local::{LocalTarget, SystemClock, host_name};
use crate::pipeline::target::AwsTarget;
use crate::ports::{Clock, ModelRegistry, ServingStore, StateStore, Trainer, Warehouse};
use crate::query::lake::{Buckets, Lake};
use crate::query::session::{Limits, QueryEngine};
use crate::run::failure::{FailureKind, Outcome, io_failure};
use crate::steps::context::Services;

impl App {
    /// Opens an AWS target. What is on this machine's disk is scratch: a run on another one goes on
    /// without it.
    pub(super) async fn aws_target(&self, target: &AwsTarget, opening: Opening) -> Outcome<Target> {
        let session = AwsSession::open(target).await?;
        let scratch = match opening {
            Opening::Plan => Some(Scratch::new()?),
            Opening::Create | Opening::Existing => None,
        };
        let tmp = match &scratch {
            Some(scratch) => scratch.path().to_owned(),
            None => self.settings.home().join("tmp"),
        };
        std::fs::create_dir_all(&tmp)
            .map_err(|error| io_failure("create the folder", &tmp, &error))?;
        let store = lake_store(&session)?;
        let project = std::path::absolute(&self.settings.project)
            .map_err(|error| io_failure("find", &self.settings.project, &error))?;
        let lake = Lake {
            store: Arc::clone(&store),
            files: Arc::new(LocalFileSystem::new()),
            buckets: Arc::new(S3Buckets(session.clone())),
            project,
            shown: target.lake.url(""),
        };
        let limits = Limits {
            threads: self.settings.threads(),
            memory: self.settings.memory_limit,
            spill: tmp.join("spill"),
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let warehouse: Arc<dyn Warehouse> = match target.warehouse {
            Some(_) => Arc::new(RedshiftWarehouse::new(&session, store)?),
            None => Arc::new(Absent::new(&target.name, "warehouse")),
        };
        let trainer: Arc<dyn Trainer> = match target.trainer {
            Some(_) => Arc::new(SageMakerTrainer::new(&session)?),
            None => Arc::new(Absent::new(&target.name, "trainer")),
        };
        let registry = SageMakerModelRegistry::new(&session);
        let registry = registry.map(|registry| Arc::new(registry) as Arc<dyn ModelRegistry>);
        let serving: Arc<dyn ServingStore> = match target.serving {
            Some(_) => Arc::new(DynamoDbServingStore::new(&session, Arc::clone(&clock))?),
            None => Arc::new(Absent::new(&target.name, "serving")),
        };
        let services = Services {
            catalog: Arc::new(GlueCatalog::new(&session)?),
            warehouse,
            trainer,
            registry,
            serving,
            state: state(&session, &tmp, opening).await?,
            clock,
            query: Arc::new(QueryEngine::new(lake, limits)?),
            scratch: tmp.join("runs"),
        };
        Ok(Target { services: Arc::new(services), local: None, _scratch: scratch })
    }
}

/// The target's state. A plan of what was never run is made from an empty one, and makes no table.
async fn state(session: &AwsSession, tmp: &Path, opening: Opening) -> Outcome<Arc<dyn StateStore>> {
    match opening {
        Opening::Create => Ok(Arc::new(DynamoDbStateStore::create(session).await?)),
        Opening::Existing => Ok(Arc::new(DynamoDbStateStore::open(session).await?)),
        Opening::Plan => match DynamoDbStateStore::open(session).await {
            Err(failure) if failure.kind == FailureKind::NotFound => {
                let empty = LocalTarget::open(&tmp.join("no-state"))?;
                Ok(Arc::new(empty.state_store(&host_name()).await?))
            }
            opened => Ok(Arc::new(opened?)),
        },
    }
}

/// Buckets beside the lake's, with the same credentials.
#[derive(Debug)]
struct S3Buckets(AwsSession);

impl Buckets for S3Buckets {
    fn bucket<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Outcome<Arc<dyn ObjectStore>>> {
        std::future::ready(s3_store(&self.0, name)).boxed()
    }
}
