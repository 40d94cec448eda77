//! Work that is done for the rows of each key, bucket by bucket.
//!
//! Sorting, counting or finding copies over all rows needs all of them at once, and tables that no
//! cache holds. The rows of one key are enough, and so are those of some keys: rows are spread over
//! buckets by the hash of their key, by which they are spread over the partitions too, and the work is
//! done for a few buckets after another. What does not fit into the pool goes to disk once, as it is.

mod fill;
mod join;
mod leaf;
mod rule;
mod spill;
mod store;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, SpillMetrics,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, ReplaceChildrenOptions,
};
use futures::TryStreamExt;

use self::fill::{Filling, Spread};
pub use self::join::BucketedJoinExec;
pub(crate) use self::leaf::BucketExec;
pub use self::rule::Bucketed;
pub(crate) use self::rule::groups_of;
use self::spill::Spill;
use self::store::{Room, Store, limit_of};

/// Buckets of all partitions together, if there are not more partitions than that.
const BUCKETS: usize = 128;
/// Buckets that a partition has at least.
const LEAST: usize = 16;

/// Bytes of rows that are worked on at once, where the buckets are smaller. Small enough that tables
/// over them stay in the caches of a processor.
const AT_ONCE: usize = 8 * 1024 * 1024;
/// So many times as much may be worked on in all partitions before the pool is full.
const SHARES: usize = 32;

/// Bytes of an input's rows that are spread over buckets at once: enough that the parts of a bucket are
/// no small batches.
const FILLING: usize = 32 * 1024 * 1024;
/// So many times as much may be spread of all inputs before the pool is full.
const SHARES_FILLING: usize = 16;

/// So many times the buckets that are worked on in all partitions fit into the pool. One that is larger
/// is spread over buckets itself.
const ALONE: usize = 16;

/// So much of the pool may be held before rows go to disk: others need some of it to go on.
const HELD: (usize, usize) = (3, 4);

/// Does the work of a plan for the rows of a few buckets after another.
#[derive(Debug)]
pub struct BucketedExec {
    parts: Arc<Parts>,
    properties: Arc<PlanProperties>,
}

#[derive(Debug)]
struct Parts {
    depth: Depth,
    side: Side,
    /// What is done, over a [`BucketExec`].
    work: Arc<dyn ExecutionPlan>,
    metrics: ExecutionPlanMetricsSet,
    running: Mutex<Option<Running>>,
}

/// One run of an operator, for as long as there are partitions that nobody asked for.
#[derive(Debug)]
struct Running {
    run: Arc<Run>,
    asked_for: Vec<bool>,
}

/// What the partitions of a run share: the buckets of its sides, which the first to ask for them fills.
#[derive(Default)]
struct Run {
    sides: [Mutex<Option<Filling>>; 2],
}

impl Run {
    /// The run that a partition belongs to. Asked for twice, it belongs to another.
    fn of(running: &Mutex<Option<Running>>, partition: usize, partitions: usize) -> Arc<Self> {
        let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = match running.take() {
            Some(now) if !now.asked_for[partition] => now,
            _ => Running { run: Arc::default(), asked_for: vec![false; partitions] },
        };
        now.asked_for[partition] = true;
        let run = Arc::clone(&now.run);
        if now.asked_for.contains(&false) {
            *running = Some(now);
        }
        run
    }

    fn filling(&self, side: usize, fill: impl FnOnce() -> Result<Filling>) -> Result<Filling> {
        let mut filling = self.sides[side].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(filling) = &*filling {
            return Ok(filling.clone());
        }
        Ok(filling.insert(fill()?).clone())
    }
}

/// What is done for some buckets after others.
trait Turns: Send + 'static {
    /// What comes of the next buckets.
    fn next(&mut self) -> impl Future<Output = Result<Option<SendableRecordBatchStream>>> + Send;
}

/// What comes of all buckets.
fn in_turn(
    turns: impl Turns,
    schema: SchemaRef,
    metrics: BaselineMetrics,
) -> SendableRecordBatchStream {
    let rows = futures::stream::try_unfold(turns, |mut turns| async move {
        let next = turns.next().await?;
        Ok::<_, DataFusionError>(next.map(|rows| (rows, turns)))
    });
    let counted = rows.try_flatten().inspect_ok(move |batch: &RecordBatch| {
        metrics.record_output(batch.num_rows());
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, counted))
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").finish_non_exhaustive()
    }
}

impl BucketedExec {
    /// Work in place of an operator that did it for whole partitions; `across` says whether rows have
    /// to be brought to their partition. The order of rows is lost.
    fn in_place_of(
        replaced: &Arc<dyn ExecutionPlan>,
        input: Arc<dyn ExecutionPlan>,
        key: Vec<Arc<dyn PhysicalExpr>>,
        across: bool,
        work: Arc<dyn ExecutionPlan>,
    ) -> Self {
        let mut equivalences = replaced.equivalence_properties().clone();
        equivalences.clear_orderings();
        let properties = Arc::new(PlanProperties::new(
            equivalences,
            replaced.output_partitioning().clone(),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        Self::new(Depth::default(), Side { input, key, across }, work, properties)
    }

    fn new(
        depth: Depth,
        side: Side,
        work: Arc<dyn ExecutionPlan>,
        properties: Arc<PlanProperties>,
    ) -> Self {
        let (metrics, running) = (ExecutionPlanMetricsSet::new(), Mutex::new(None));
        Self { parts: Arc::new(Parts { depth, side, work, metrics, running }), properties }
    }
}

/// Where an operator is that works on the rows of one bucket of another.
#[derive(Debug, Clone, Copy)]
struct Depth {
    /// What of the hash is the same in all of its rows: the buckets that they were spread over.
    spent: u64,
    /// How many operators share the pool.
    share: usize,
}

impl Default for Depth {
    fn default() -> Self {
        Self { spent: 1, share: 1 }
    }
}

impl Depth {
    /// In a bucket of an operator that is here.
    fn below(self, sizes: Sizes) -> Self {
        let buckets = (sizes.partitions * sizes.buckets) as u64;
        Self { spent: self.spent.saturating_mul(buckets), share: self.share * sizes.partitions }
    }

    /// Whether rows of a bucket can be told apart by what is left of their hash.
    fn goes_on(self, bucket: usize, all: usize) -> bool {
        // If nearly all rows are in one bucket they have nearly all the same key.
        self.spent == 1 || (self.spent < 1 << 40 && bucket < all / 8 * 7)
    }
}

/// The properties of an operator over a bucket.
fn of_one_partition(schema: SchemaRef) -> Arc<PlanProperties> {
    Arc::new(PlanProperties::new(
        EquivalenceProperties::new(schema),
        Partitioning::UnknownPartitioning(1),
        EmissionType::Final,
        Boundedness::Bounded,
    ))
}

/// How an operator uses buckets.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    partitions: usize,
    /// Buckets of a partition.
    buckets: usize,
    /// Bytes of rows that are worked on at once, where the buckets are smaller.
    at_once: usize,
    /// Bytes of the operator's share of the pool.
    limit: usize,
    depth: Depth,
}

impl Sizes {
    fn of(partitions: usize, depth: Depth, context: &TaskContext) -> Self {
        let limit = limit_of(context.memory_pool().as_ref()) / depth.share;
        let at_once = AT_ONCE.min(limit / SHARES / partitions);
        Self { partitions, buckets: (BUCKETS / partitions).max(LEAST), at_once, limit, depth }
    }

    /// The depth of an operator for one bucket, if those that are worked on in all partitions do not
    /// fit into the pool so many times.
    fn deeper(self, next: &Range<usize>, store: &Store, times: usize) -> Option<Depth> {
        let bytes = store.size(next.start);
        let is_large = next.len() == 1 && bytes > self.limit / times / self.partitions;
        (is_large && self.depth.goes_on(bytes, store.all())).then(|| self.depth.below(self))
    }

    /// The buckets of a partition.
    fn of_partition(self, partition: usize) -> Range<usize> {
        partition * self.buckets..(partition + 1) * self.buckets
    }

    /// The next buckets that are worked on, taken from those that are left.
    fn next(self, left: &mut Range<usize>, size: impl Fn(usize) -> usize) -> Option<Range<usize>> {
        left.start = left.clone().find(|bucket| size(*bucket) > 0).unwrap_or(left.end);
        let (first, mut bytes) = (left.start, 0);
        for bucket in left.clone() {
            if bytes > 0 && bytes + size(bucket) > self.at_once {
                break;
            }
            bytes += size(bucket);
            left.start = bucket + 1;
        }
        (bytes > 0).then_some(first..left.start)
    }

    /// Spreads the rows of an input over buckets, and holds at most so many bytes in memory.
    fn fill(
        self,
        side: &Side,
        most: usize,
        context: &Arc<TaskContext>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Filling> {
        let schema = side.input.schema();
        let inputs = (0..side.input.output_partitioning().partition_count())
            .map(|partition| {
                let (env, schema) = (context.runtime_env(), Arc::clone(&schema));
                let spill = Spill::new(env, schema, SpillMetrics::new(metrics, partition));
                Ok((side.input.execute(partition, Arc::clone(context))?, spill))
            })
            .collect::<Result<Vec<_>>>()?;
        let reservation = MemoryConsumer::new("BucketedExec")
            .with_can_spill(true)
            .register(context.memory_pool());
        let spread = Spread {
            key: side.key.clone(),
            partitions: self.partitions,
            buckets: self.buckets,
            across: side.across,
            spent: self.depth.spent,
            at_once: (self.limit / SHARES_FILLING / inputs.len()).min(FILLING),
            time: BaselineMetrics::new(metrics, 0).elapsed_compute().clone(),
            pool: Arc::clone(context.memory_pool()),
        };
        let room = Room { pool: Arc::clone(context.memory_pool()), reservation, most };
        let store = Store::new(schema, self.partitions * self.buckets, room);
        Ok(Filling::start(inputs, &spread, store))
    }
}

/// What is spread over buckets, and by what.
#[derive(Debug, Clone)]
struct Side {
    input: Arc<dyn ExecutionPlan>,
    key: Vec<Arc<dyn PhysicalExpr>>,
    /// Whether rows go to other partitions.
    across: bool,
}

/// A plan over the rows of a bucket.
fn over(
    work: &Arc<dyn ExecutionPlan>,
    rows: SendableRecordBatchStream,
) -> Result<Arc<dyn ExecutionPlan>> {
    let leaf: Arc<dyn ExecutionPlan> = Arc::new(BucketExec::of(rows));
    let replaced = Arc::clone(work).transform_up(|node| {
        Ok(match node.is::<BucketExec>() {
            true => Transformed::yes(Arc::clone(&leaf)),
            false => Transformed::no(node),
        })
    });
    Ok(replaced?.data)
}

impl DisplayAs for BucketedExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key: Vec<String> = self.parts.side.key.iter().map(ToString::to_string).collect();
        write!(f, "BucketedExec: key=[{}], work=", key.join(", "))?;
        self.parts.work.fmt_as(format, f)
    }
}

impl ExecutionPlan for BucketedExec {
    fn name(&self) -> &'static str {
        "BucketedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.parts.side.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for expression in &self.parts.side.key {
            if f(expression)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        self.parts.work.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let side = Side { input: children.swap_remove(0), ..self.parts.side.clone() };
        let work = Arc::clone(&self.parts.work);
        Ok(Arc::new(Self::new(self.parts.depth, side, work, Arc::clone(&self.properties))))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let sizes =
            Sizes::of(self.properties.partitioning.partition_count(), self.parts.depth, &context);
        let work = Work {
            run: Run::of(&self.parts.running, partition, sizes.partitions),
            parts: Arc::clone(&self.parts),
            sizes,
            left: sizes.of_partition(partition),
            context,
        };
        let metrics = BaselineMetrics::new(&self.parts.metrics, partition);
        Ok(in_turn(work, self.schema(), metrics))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.parts.metrics.clone_inner())
    }
}

/// The work of one partition.
struct Work {
    run: Arc<Run>,
    parts: Arc<Parts>,
    sizes: Sizes,
    /// Buckets that are to be worked on.
    left: Range<usize>,
    context: Arc<TaskContext>,
}

impl Turns for Work {
    async fn next(&mut self) -> Result<Option<SendableRecordBatchStream>> {
        let (parts, sizes) = (Arc::clone(&self.parts), self.sizes);
        let filling = self.run.filling(0, || {
            let most = sizes.limit / HELD.1 * HELD.0;
            sizes.fill(&parts.side, most, &self.context, &parts.metrics)
        })?;
        filling.done().await?;
        let (rows, deeper) = {
            let mut store = filling.store();
            let Some(next) = sizes.next(&mut self.left, |at| store.size(at)) else {
                return Ok(None);
            };
            let deeper = sizes.deeper(&next, &store, ALONE);
            (store.take(next), deeper)
        };
        let work = match deeper {
            None => over(&parts.work, rows)?,
            Some(depth) => {
                let input = Arc::new(BucketExec::of(rows));
                let side = Side { input, key: parts.side.key.clone(), across: false };
                let properties = of_one_partition(parts.work.schema());
                Arc::new(BucketedExec::new(depth, side, Arc::clone(&parts.work), properties))
            }
        };
        work.execute(0, Arc::clone(&self.context)).map(Some)
    }
}
