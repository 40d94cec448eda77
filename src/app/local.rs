//! The embedded target's services.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

use super::{App, Opening, Scratch, Target};
use crate::adapters::local::{LocalTarget, SystemClock, host_name};
use crate::query::lake::{Buckets, Lake};
use crate::query::session::{Limits, QueryEngine};
use crate::run::failure::{Failure, FailureKind, Outcome, io_failure};
use crate::steps::context::Services;

impl App {
    /// Opens the embedded target.
    pub(super) async fn local_target(&self, opening: Opening) -> Outcome<Target> {
        let home = self.settings.home();
        if opening == Opening::Existing && !home.is_dir() {
            let failure = Failure::new(
                FailureKind::NotFound,
                format!("there is no `{}` yet", home.display()),
            );
            return Err(failure.with_hint("run a pipeline first, for example `recctl run daily`"));
        }
        let (local, scratch) = match opening {
            Opening::Plan => {
                let scratch = Scratch::new()?;
                (LocalTarget::look(&home, scratch.path())?, Some(scratch))
            }
            Opening::Create | Opening::Existing => (LocalTarget::open(&home)?, None),
        };
        let program = std::env::current_exe().map_err(|error| {
            Failure::new(FailureKind::Internal, format!("cannot find the running program: {error}"))
        })?;
        let threads = self.settings.threads();
        let lake = self.local_lake(&local)?;
        let limits =
            Limits { threads, memory: self.settings.memory_limit, spill: local.tmp.join("spill") };
        let services = Services {
            catalog: Arc::new(local.catalog().await?),
            warehouse: Arc::new(local.warehouse().await?),
            trainer: Arc::new(local.trainer(&program, threads)?),
            registry: Some(Arc::new(local.model_registry().await?)),
            serving: Arc::new(local.serving_store().await?),
            state: Arc::new(local.state_store(&host_name()).await?),
            clock: Arc::new(SystemClock),
            query: Arc::new(QueryEngine::new(lake, limits)?),
            scratch: local.tmp.join("runs"),
        };
        Ok(Target { services: Arc::new(services), local: Some(local), _scratch: scratch })
    }

    fn local_lake(&self, local: &LocalTarget) -> Outcome<Lake> {
        let failed = |error: object_store::Error| {
            Failure::new(FailureKind::Input, format!("cannot open the lake: {error}"))
        };
        let project = std::path::absolute(&self.settings.project)
            .map_err(|error| io_failure("find", &self.settings.project, &error))?;
        let shown = match local.lake.strip_prefix(&project) {
            Ok(relative) => relative.to_path_buf(),
            Err(_) => local.lake.clone(),
        };
        Ok(Lake {
            // A folder goes with its last file, as in a bucket.
            store: Arc::new(
                LocalFileSystem::new_with_prefix(&local.lake)
                    .map_err(failed)?
                    .with_automatic_cleanup(true),
            ),
            files: Arc::new(LocalFileSystem::new()),
            buckets: Arc::new(NoBuckets),
            project,
            shown: format!("{}/", shown.display()),
        })
    }
}

/// The embedded target reads no buckets: it needs no account.
#[derive(Debug)]
struct NoBuckets;

impl Buckets for NoBuckets {
    fn bucket<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Outcome<Arc<dyn ObjectStore>>> {
        let failure = Failure::new(
            FailureKind::Usage,
            format!("the embedded target cannot read the bucket `{name}`"),
        );
        let hint = "run on a target with an account, or copy the files below .recctl/lake/";
        std::future::ready(Err(failure.with_hint(hint))).boxed()
    }
}
