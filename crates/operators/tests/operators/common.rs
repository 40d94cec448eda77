//! Random tables, and contexts with and without our rules.

use std::sync::Arc;

use datafusion::arrow::array::{
    Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::displayable;
use datafusion::prelude::{SessionConfig, SessionContext};

/// Numbers that look random and are the same each time (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(8) > 0).then(|| value(self))
    }
}

/// Rows with an id each, keys that repeat, ties in the order, and NULL everywhere else.
pub fn table(random: &mut Random, rows: i64) -> Vec<RecordBatch> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("k", DataType::Utf8, true),
        Field::new("l", DataType::Int64, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("n", DataType::Int64, true),
        Field::new("x", DataType::Float64, true),
        Field::new("s", DataType::Utf8, true),
    ]));
    let mut batches = Vec::new();
    let mut from = 0;
    while from < rows {
        let to = (from + 1 + random.below(40) as i64).min(rows);
        let range = from..to;
        let ids: Int64Array = range.clone().map(Some).collect();
        let k: StringArray =
            range.clone().map(|_| random.maybe(|r| format!("k{}", r.below(9)))).collect();
        let l: Int64Array = range.clone().map(|_| random.maybe(|r| r.below(3) as i64)).collect();
        let ts: TimestampMicrosecondArray =
            range.clone().map(|_| random.maybe(|r| r.below(30) as i64)).collect();
        let n: Int64Array =
            range.clone().map(|_| random.maybe(|r| r.below(100) as i64 - 50)).collect();
        let x: Float64Array =
            range.clone().map(|_| random.maybe(|r| r.below(1_000) as f64 / 8.0)).collect();
        let s: StringArray = range.map(|_| random.maybe(|r| format!("s{}", r.below(5)))).collect();
        let columns: Vec<datafusion::arrow::array::ArrayRef> = vec![
            Arc::new(ids),
            Arc::new(k),
            Arc::new(l),
            Arc::new(ts),
            Arc::new(n),
            Arc::new(x),
            Arc::new(s),
        ];
        batches.push(RecordBatch::try_new(Arc::clone(&schema), columns).unwrap());
        from = to;
    }
    batches
}

/// A context with the table `t`, with DataFusion's rules or with ours too, and with so many bytes of
/// memory; the table has two partitions.
pub fn context(batches: &[RecordBatch], ours: bool, memory: Option<usize>) -> SessionContext {
    let (first, second) = batches.split_at(batches.len() / 2);
    context_of(&[first, second], ours, memory)
}

/// The same with these partitions.
pub fn context_of(parts: &[&[RecordBatch]], ours: bool, memory: Option<usize>) -> SessionContext {
    let rules = match ours {
        true => recctl_operators::physical_rules(),
        false => PhysicalOptimizer::new().rules,
    };
    let mut runtime = RuntimeEnvBuilder::new();
    if let Some(memory) = memory {
        runtime = runtime.with_memory_pool(Arc::new(FairSpillPool::new(memory)));
    }
    let mut config = SessionConfig::new().with_target_partitions(3).with_batch_size(64);
    // Joins are partitioned however small they are, and rows stay where a part of a key brought them.
    let optimizer = &mut config.options_mut().optimizer;
    optimizer.subset_repartition_threshold = 2;
    optimizer.hash_join_single_partition_threshold = 0;
    optimizer.hash_join_single_partition_threshold_rows = 0;
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_runtime_env(runtime.build_arc().unwrap())
        .with_physical_optimizer_rules(rules)
        .build();
    let context = SessionContext::new_with_state(state);
    let schema = parts.iter().find_map(|part| part.first()).unwrap().schema();
    let parts = parts.iter().map(|part| part.to_vec()).collect();
    let table = MemTable::try_new(schema, parts).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    context
}

/// The rows of a query as text, and its plan.
pub async fn rows(context: &SessionContext, query: &str) -> (String, String) {
    let frame = context.sql(query).await.unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    let shown = displayable(plan.as_ref()).indent(false).to_string();
    let batches = datafusion::physical_plan::collect(plan, context.task_ctx()).await.unwrap();
    let rows = match batches.first() {
        Some(first) => concat_batches(&first.schema(), &batches).unwrap(),
        None => return (String::new(), shown),
    };
    (pretty_format_batches(&[rows]).unwrap().to_string(), shown)
}
