//! A join whose build side need not fit into memory.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};

use super::fill::Filling;
use super::leaf::BucketExec;
use super::{Depth, Run, Running, Side, Sizes, Turns, in_turn, of_one_partition};

/// So many times a left side fits into the pool that is joined as a whole: its rows are there, once
/// more as one batch, and in a table, while other operators hold theirs.
const FITS: usize = 8;
/// So many times what is held of a side in memory fits into the pool, of which the join needs some.
const SIDE: usize = 4;

/// Joins with a hash table of all of its left side if that is small, and bucket by bucket if not.
///
/// The left side is spread over buckets first. If it is too large for one table the right side is
/// spread too, and what of both has the same hashes is joined, a few buckets after another. The order
/// of rows is lost.
#[derive(Debug)]
pub struct BucketedJoinExec {
    parts: Arc<Parts>,
    properties: Arc<PlanProperties>,
}

#[derive(Debug)]
struct Parts {
    depth: Depth,
    /// The operator of DataFusion that this one stands for, which joins the rows of buckets.
    join: Arc<dyn ExecutionPlan>,
    left: Side,
    right: Side,
    metrics: ExecutionPlanMetricsSet,
    running: Mutex<Option<Running>>,
}

impl BucketedJoinExec {
    /// A join in place of another. Rows of the right side are in the partition of their keys' hash;
    /// `across` says whether those of the left side have to be brought there.
    pub(super) fn in_place_of(
        join: &HashJoinExec,
        left: Arc<dyn ExecutionPlan>,
        right: Arc<dyn ExecutionPlan>,
        across: bool,
    ) -> Result<Self> {
        let mut equivalences = join.properties().eq_properties.clone();
        equivalences.clear_orderings();
        let properties = PlanProperties::clone(join.properties());
        let properties = Arc::new(properties.with_eq_properties(equivalences));
        let (left_key, right_key) = join.on().iter().cloned().unzip();
        Ok(Self::new(
            Depth::default(),
            join.builder().build_exec()?,
            Side { input: left, key: left_key, across },
            Side { input: right, key: right_key, across: false },
            properties,
        ))
    }

    fn new(
        depth: Depth,
        join: Arc<dyn ExecutionPlan>,
        left: Side,
        right: Side,
        properties: Arc<PlanProperties>,
    ) -> Self {
        let metrics = ExecutionPlanMetricsSet::new();
        let parts = Parts { depth, join, left, right, metrics, running: Mutex::new(None) };
        Self { parts: Arc::new(parts), properties }
    }
}

impl DisplayAs for BucketedJoinExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BucketedJoinExec: work=")?;
        self.parts.join.fmt_as(format, f)
    }
}

impl ExecutionPlan for BucketedJoinExec {
    fn name(&self) -> &'static str {
        "BucketedJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.parts.left.input, &self.parts.right.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.parts.join.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [left, right] = &children[..] else { return internal_err!("a join has two sides") };
        Ok(Arc::new(Self::new(
            self.parts.depth,
            Arc::clone(&self.parts.join),
            Side { input: Arc::clone(left), ..self.parts.left.clone() },
            Side { input: Arc::clone(right), ..self.parts.right.clone() },
            Arc::clone(&self.properties),
        )))
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
        let joined = Joined {
            run: Run::of(&self.parts.running, partition, sizes.partitions),
            parts: Arc::clone(&self.parts),
            partition,
            sizes,
            context,
            left: sizes.of_partition(partition),
        };
        let metrics = BaselineMetrics::new(&self.parts.metrics, partition);
        Ok(in_turn(joined, self.schema(), metrics))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.parts.metrics.clone_inner())
    }
}

/// The join of one partition.
struct Joined {
    run: Arc<Run>,
    parts: Arc<Parts>,
    partition: usize,
    sizes: Sizes,
    context: Arc<TaskContext>,
    /// Buckets that are to be joined.
    left: Range<usize>,
}

impl Turns for Joined {
    /// Joins all of the partition if the left side is small enough, and the next buckets if not.
    async fn next(&mut self) -> Result<Option<SendableRecordBatchStream>> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let sizes = self.sizes;
        let lefts = self.filling(0)?;
        if lefts.done().await?.is_some_and(|bytes| bytes <= sizes.limit / FITS) {
            let left = lefts.store().take(std::mem::replace(&mut self.left, 0..0));
            let right = &self.parts.right.input;
            let right = right.execute(self.partition, Arc::clone(&self.context))?;
            return self.join(left, right, None).map(Some);
        }
        let rights = self.filling(1)?;
        rights.done().await?;
        let (left, right, deeper) = {
            let (mut lefts, mut rights) = (lefts.store(), rights.store());
            let size = |at| lefts.size(at) + rights.size(at);
            let Some(next) = sizes.next(&mut self.left, size) else { return Ok(None) };
            // A left side that is small enough would be joined as a whole anyway.
            let deeper = sizes.deeper(&next, &lefts, FITS);
            (lefts.take(next.clone()), rights.take(next), deeper)
        };
        self.join(left, right, deeper).map(Some)
    }
}

impl Joined {
    /// The buckets of a side: 0 is the left one.
    fn filling(&self, side: usize) -> Result<Filling> {
        let (parts, most) = (&self.parts, self.sizes.limit / SIDE);
        let of = if side == 0 { &parts.left } else { &parts.right };
        self.run.filling(side, || self.sizes.fill(of, most, &self.context, &parts.metrics))
    }

    fn join(
        &self,
        left: SendableRecordBatchStream,
        right: SendableRecordBatchStream,
        deeper: Option<Depth>,
    ) -> Result<SendableRecordBatchStream> {
        let (left, right) = (Arc::new(BucketExec::of(left)), Arc::new(BucketExec::of(right)));
        let (parts, context) = (&self.parts, Arc::clone(&self.context));
        let Some(depth) = deeper else {
            let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            let join = Arc::clone(&parts.join).replace_children(vec![left, right], options)?;
            return join.reset_state()?.execute(0, context);
        };
        let side = |side: &Side, input| Side { input, key: side.key.clone(), across: false };
        let (left, right) = (side(&parts.left, left), side(&parts.right, right));
        let properties = of_one_partition(parts.join.schema());
        BucketedJoinExec::new(depth, Arc::clone(&parts.join), left, right, properties)
            .execute(0, context)
    }
}
