//! DataFusion sessions under a stated memory limit, on threads of their own.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryPool, PeakRecordingPool, TrackConsumersPool,
};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::lake::{LAKE_URL, Lake};
use super::raw;
use super::store_error;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// What queries may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Threads that compute.
    pub threads: usize,
    /// Bytes that all queries together may take. Five eighths of them are what operators hold before
    /// they spill to disk; the rest is for what they do not count: readers, writers, rows on their way.
    pub memory: usize,
    /// Where they spill.
    pub spill: PathBuf,
}

/// Bytes of stack of every thread that parses or plans, as the main thread has on Linux: planning
/// calls itself for every level of a statement.
pub const STACK: usize = 8 * 1024 * 1024;

/// Runs queries: the lake, the limits, and the threads.
#[derive(Debug)]
pub struct QueryEngine {
    lake: Lake,
    limits: Limits,
    /// One pool for all queries: the limit is the process's, not each query's.
    pool: Arc<dyn MemoryPool>,
    runtime: Option<tokio::runtime::Runtime>,
}

/// A session and the pool that knows its peak.
pub struct QuerySession {
    /// The session.
    pub context: SessionContext,
    pool: Arc<PeakRecordingPool>,
}

impl QuerySession {
    /// Lets the session read another lake, under a URL of its own.
    pub fn add_lake(&self, url: &str, lake: &Lake) -> Outcome<()> {
        let url = Url::parse(url).map_err(|error| {
            Failure::new(FailureKind::Internal, format!("bad lake url: {error}"))
        })?;
        self.context.runtime_env().register_object_store(&url, Arc::clone(&lake.store));
        Ok(())
    }

    /// The most bytes that the operators held so far.
    pub fn peak_memory(&self) -> u64 {
        self.pool.peak_reserved() as u64
    }
}

impl QueryEngine {
    /// Starts the threads.
    pub fn new(lake: Lake, limits: Limits) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(limits.threads.max(1))
            .thread_name("query")
            .thread_stack_size(STACK)
            .enable_all()
            .build()
            .map_err(|error| {
                Failure::new(FailureKind::Exhausted, format!("cannot start threads: {error}"))
            })?;
        // The consumers are tracked so that an error says who held the memory.
        let pool: Arc<dyn MemoryPool> = Arc::new(TrackConsumersPool::new(
            FairSpillPool::new(limits.memory / 8 * 5),
            std::num::NonZeroUsize::MIN.saturating_add(4),
        ));
        Ok(Self { lake, limits, pool, runtime: Some(runtime) })
    }

    /// The lake.
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A new session with the lake registered and nothing else.
    pub fn session(&self) -> Outcome<QuerySession> {
        std::fs::create_dir_all(&self.limits.spill).map_err(|error| {
            crate::run::failure::io_failure("create", &self.limits.spill, &error)
        })?;
        let spill = DiskManagerMode::Directories(vec![self.limits.spill.clone()]);
        self.session_with(spill, self.limits.threads)
    }

    /// A new session for a few rows that are in memory: nothing is spilled, no disk is touched, and
    /// nothing is spread over threads.
    pub fn session_in_memory(&self) -> Outcome<QuerySession> {
        self.session_with(DiskManagerMode::Disabled, 1)
    }

    fn session_with(&self, spill: DiskManagerMode, partitions: usize) -> Outcome<QuerySession> {
        let pool = Arc::new(PeakRecordingPool::new(Arc::clone(&self.pool)));
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::clone(&pool) as Arc<dyn MemoryPool>)
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(spill))
            .build_arc()
            .map_err(|error| failure_of(error, "start a query session"))?;
        let url = Url::parse(LAKE_URL).map_err(|error| {
            Failure::new(FailureKind::Internal, format!("bad lake url: {error}"))
        })?;
        runtime.register_object_store(&url, Arc::clone(&self.lake.store));
        let state = SessionStateBuilder::new()
            .with_config(config(partitions))
            .with_runtime_env(runtime)
            .with_default_features()
            .with_physical_optimizer_rules(recctl_operators::physical_rules())
            .build();
        Ok(QuerySession { context: SessionContext::new_with_state(state), pool })
    }

    /// Starts a computation on the query threads. Dropping the handle aborts it.
    pub fn spawn<T, F>(&self, work: F) -> Outcome<AbortOnDropHandle<T>>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        match &self.runtime {
            Some(runtime) => Ok(AbortOnDropHandle::new(runtime.spawn(work))),
            None => Err(Failure::new(FailureKind::Internal, "the query threads have ended")),
        }
    }

    /// Runs a computation on the query threads. Dropping the future aborts it.
    pub async fn compute<T, F>(&self, work: F) -> Outcome<T>
    where
        T: Send + 'static,
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        let task = self.spawn(work)?;
        match task.await {
            Ok(outcome) => outcome,
            Err(error) if error.is_cancelled() => {
                Err(Failure::new(FailureKind::Cancelled, "the query was cancelled"))
            }
            Err(error) => {
                Err(Failure::new(FailureKind::Internal, format!("the query panicked: {error}")))
            }
        }
    }
}

impl Drop for QueryEngine {
    fn drop(&mut self) {
        // A runtime must not be dropped where it would block an async task.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The settings of all sessions, planning and running alike.
pub fn config(threads: usize) -> SessionConfig {
    let mut config =
        SessionConfig::new().with_target_partitions(threads.max(1)).with_information_schema(false);
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    // Text as plain Utf8: views keep whole buffers alive, which costs several times the memory
    // where rows are held for sorting.
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.parquet.schema_force_view_types = false;
    // Groups are put together in buckets, which costs little: counting first is for keys that come
    // more than twice.
    options.execution.skip_partial_aggregation_probe_ratio_threshold = 0.5;
    // Rows that are together by a part of a key need not go to other partitions for the rest of it.
    // Those of a single partition are spread, so that all threads have some.
    options.optimizer.subset_repartition_threshold = 2;
    options.execution.time_zone = Some("UTC".to_owned());
    config
}

/// Makes a [`Failure`] of a DataFusion error, by its kind.
pub fn failure_of(error: DataFusionError, doing: &str) -> Failure {
    let root = error.find_root();
    if let DataFusionError::External(inner) = root
        && let Some(failure) = raw::inner_failure(inner.as_ref())
    {
        return failure;
    }
    if let Some((kind, words)) = of_store(root) {
        return Failure::new(kind, format!("cannot {doing}: {words}"));
    }
    let kind = match root {
        DataFusionError::ResourcesExhausted(_) => FailureKind::Exhausted,
        DataFusionError::Plan(_) | DataFusionError::SchemaError(..) | DataFusionError::SQL(..) => {
            FailureKind::Usage
        }
        DataFusionError::Internal(_) => FailureKind::Internal,
        DataFusionError::IoError(_) => FailureKind::Transient,
        _ => FailureKind::Step,
    };
    let root = root.message().into_owned();
    let words = match kind {
        // Who held the memory is in the lines that follow.
        FailureKind::Exhausted => root.split_whitespace().collect::<Vec<_>>().join(" "),
        _ => first_line(&root).to_owned(),
    };
    let failure = Failure::new(kind, format!("cannot {doing}: {words}"));
    match kind {
        FailureKind::Exhausted => failure.with_hint(
            "raise RECCTL_MEMORY_LIMIT, or make the query hold less (narrow columns, smaller joins)",
        ),
        _ => failure,
    }
}

/// What a store said, wherever in an error it is: that of a Parquet file's pages holds it, that of its
/// metadata has only its words.
fn of_store(error: &DataFusionError) -> Option<(FailureKind, String)> {
    match (store_error::cause(error), error) {
        (Some(cause), _) => Some((store_error::kind(cause), store_error::words_with_file(cause))),
        (None, DataFusionError::ParquetError(error)) => store_error::told_in(&error.to_string()),
        (None, _) => None,
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text)
}
