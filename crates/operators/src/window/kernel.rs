//! Window functions over all partitions of a batch at once.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Int64Array, PrimitiveArray, PrimitiveBuilder,
    RecordBatch, UInt32Array, UInt64Array,
};
use datafusion::arrow::compute::{concat, take};
use datafusion::arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Float64Type, Int64Type, UInt64Type,
};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{EmitTo, WindowFrameUnits};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::window::{PlainAggregateWindowExpr, StandardWindowExpr, WindowExpr};
use datafusion::physical_plan::windows::WindowUDFExpr;

use crate::columns::{Segments, evaluate};

/// How the values of one window expression are computed.
#[derive(Debug)]
pub(super) struct Kernel {
    expression: Arc<dyn WindowExpr>,
    function: Function,
}

#[derive(Debug)]
enum Function {
    RowNumber,
    Rank,
    DenseRank,
    /// The value so many rows before, or behind if negative, within the partition, else NULL.
    Shift(i64),
    /// Values that are not NULL, from the partition's start.
    Count(Running),
    /// The sum of values that are not NULL, from the partition's start.
    Sum(Running),
    /// An aggregate of the whole partition in each of its rows.
    Whole(Arc<AggregateFunctionExpr>),
    /// Any other: asked partition by partition.
    Other,
}

/// Up to where a running aggregate goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Running {
    /// To the row itself.
    Row,
    /// To the last row that the order does not tell from it.
    Peers,
}

impl Kernel {
    pub(super) fn of(expression: &Arc<dyn WindowExpr>) -> Result<Self> {
        let function = standard(expression).or_else(|| aggregate(expression));
        Ok(Self {
            expression: Arc::clone(expression),
            function: function.unwrap_or(Function::Other),
        })
    }

    /// The values for the rows of whole partitions, sorted.
    pub(super) fn compute(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let keys = evaluate(self.expression.partition_by(), batch)?;
        let partitions = Segments::of_columns(&keys, batch.num_rows())?;
        match &self.function {
            Function::RowNumber => Ok(row_number(&partitions, batch.num_rows())),
            Function::Rank => Ok(rank(&partitions, &self.peers(keys, batch)?, false)),
            Function::DenseRank => Ok(rank(&partitions, &self.peers(keys, batch)?, true)),
            Function::Shift(by) => {
                let values = &self.expression.evaluate_args(batch)?[0];
                Ok(take(values, &shifted(&partitions, *by), None)?)
            }
            Function::Count(running) => {
                let values = self.expression.evaluate_args(batch)?;
                let runs = self.runs(*running, keys, batch)?;
                Ok(Arc::new(count(&partitions, runs.as_ref(), &values)))
            }
            Function::Sum(running) => {
                let values = &self.expression.evaluate_args(batch)?[0];
                let runs = self.runs(*running, keys, batch)?;
                Ok(match values.data_type() {
                    DataType::UInt64 => {
                        sum::<UInt64Type>(&partitions, runs.as_ref(), values.as_primitive())
                    }
                    DataType::Float64 => {
                        sum::<Float64Type>(&partitions, runs.as_ref(), values.as_primitive())
                    }
                    _ => sum::<Int64Type>(&partitions, runs.as_ref(), values.as_primitive()),
                })
            }
            Function::Whole(aggregate) => {
                whole(aggregate, &partitions, &self.expression.evaluate_args(batch)?)
            }
            Function::Other => {
                let values: Vec<ArrayRef> = partitions
                    .iter()
                    .map(|rows| self.expression.evaluate(&batch.slice(rows.start, rows.len())))
                    .collect::<Result<_>>()?;
                let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
                Ok(concat(&values)?)
            }
        }
    }

    /// The runs of rows that order and partition do not tell apart.
    fn peers(&self, mut keys: Vec<ArrayRef>, batch: &RecordBatch) -> Result<Segments> {
        let order: Vec<Arc<dyn PhysicalExpr>> =
            self.expression.order_by().iter().map(|one| Arc::clone(&one.expr)).collect();
        keys.extend(evaluate(&order, batch)?);
        Segments::of_columns(&keys, batch.num_rows())
    }

    fn runs(
        &self,
        running: Running,
        keys: Vec<ArrayRef>,
        batch: &RecordBatch,
    ) -> Result<Option<Segments>> {
        match running {
            Running::Row => Ok(None),
            Running::Peers => self.peers(keys, batch).map(Some),
        }
    }
}

fn standard(expression: &Arc<dyn WindowExpr>) -> Option<Function> {
    let standard = expression.as_any().downcast_ref::<StandardWindowExpr>()?;
    let function = standard.get_standard_func_expr();
    let function = function.as_any().downcast_ref::<WindowUDFExpr>()?;
    match function.fun().name() {
        "row_number" => Some(Function::RowNumber),
        "rank" => Some(Function::Rank),
        "dense_rank" => Some(Function::DenseRank),
        name @ ("lag" | "lead") => {
            // Both are private and shown by `Debug` only; if they are shown in another way one day,
            // the function is asked partition by partition.
            let is_plain =
                format!("{function:?}").ends_with("is_reversed: false, ignore_nulls: false }");
            let (by, default) = match function.args() {
                [_] => (1, None),
                [_, by] => (offset(by)?, None),
                [_, by, default] => (offset(by)?, Some(literal(default)?)),
                _ => return None,
            };
            let is_null = default.is_none_or(ScalarValue::is_null);
            (is_plain && is_null).then_some(Function::Shift(if name == "lag" { by } else { -by }))
        }
        _ => None,
    }
}

fn literal(expression: &Arc<dyn PhysicalExpr>) -> Option<&ScalarValue> {
    expression.downcast_ref::<Literal>().map(Literal::value)
}

fn offset(expression: &Arc<dyn PhysicalExpr>) -> Option<i64> {
    match literal(expression)? {
        ScalarValue::Int64(Some(by)) => i32::try_from(*by).ok().map(i64::from),
        _ => None,
    }
}

fn aggregate(expression: &Arc<dyn WindowExpr>) -> Option<Function> {
    let plain = expression.as_any().downcast_ref::<PlainAggregateWindowExpr>()?;
    let aggregate = plain.get_aggregate_expr();
    // As above: that there is no FILTER can be seen nowhere else.
    let is_plain = format!("{plain:?}").ends_with("filter: None }")
        && !aggregate.is_distinct()
        && !aggregate.ignore_nulls()
        && aggregate.order_bys().is_empty();
    let frame = expression.get_window_frame();
    if !is_plain || !frame.start_bound.is_unbounded() {
        return None;
    }
    let has_order = !expression.order_by().is_empty();
    let is_row = frame.units == WindowFrameUnits::Rows;
    if frame.end_bound.is_unbounded() || (!has_order && !is_row) {
        return aggregate
            .groups_accumulator_supported()
            .then(|| Function::Whole(Arc::new(aggregate.clone())));
    }
    if !matches!(frame.end_bound, datafusion::logical_expr::WindowFrameBound::CurrentRow) {
        return None;
    }
    let running = if is_row { Running::Row } else { Running::Peers };
    let result = aggregate.field();
    match (aggregate.fun().name(), result.data_type()) {
        ("count", DataType::Int64) => Some(Function::Count(running)),
        ("sum", DataType::Int64 | DataType::UInt64 | DataType::Float64) => {
            Some(Function::Sum(running))
        }
        _ => None,
    }
}

fn row_number(partitions: &Segments, rows: usize) -> ArrayRef {
    let mut numbers = Vec::with_capacity(rows);
    for partition in partitions.iter() {
        numbers.extend(1..=partition.len() as u64);
    }
    Arc::new(UInt64Array::from(numbers))
}

/// Ranks of rows; `peers` are the runs of the same rank.
fn rank(partitions: &Segments, peers: &Segments, is_dense: bool) -> ArrayRef {
    let mut ranks: Vec<u64> = Vec::new();
    let mut peers = peers.iter().peekable();
    for partition in partitions.iter() {
        let mut rank = 0;
        while let Some(run) = peers.next_if(|run| run.start < partition.end) {
            rank = match is_dense {
                true => rank + 1,
                false => (run.start - partition.start) as u64 + 1,
            };
            ranks.extend(std::iter::repeat_n(rank, run.len()));
        }
    }
    Arc::new(UInt64Array::from(ranks))
}

/// The row that each row looks at; NULL outside of its partition.
fn shifted(partitions: &Segments, by: i64) -> UInt32Array {
    let index = |row: usize| u32::try_from(row).ok();
    let rows = partitions.iter().flat_map(|partition| {
        let (start, end) = (partition.start as i64, partition.end as i64);
        partition.map(move |row| {
            let from = row as i64 - by;
            (start <= from && from < end).then_some(from).and_then(|from| index(from as usize))
        })
    });
    rows.collect()
}

/// Writes a value for each row: the running one, or the one at the end of its run.
fn running<T>(
    partitions: &Segments,
    runs: Option<&Segments>,
    mut begin: impl FnMut(),
    mut step: impl FnMut(usize) -> T,
    mut write: impl FnMut(usize, &T),
) {
    match runs {
        None => {
            for partition in partitions.iter() {
                begin();
                for row in partition {
                    let value = step(row);
                    write(1, &value);
                }
            }
        }
        Some(runs) => {
            let mut runs = runs.iter().peekable();
            for partition in partitions.iter() {
                begin();
                while let Some(run) = runs.next_if(|run| run.start < partition.end) {
                    let length = run.len();
                    if let Some(value) = run.map(&mut step).last() {
                        write(length, &value);
                    }
                }
            }
        }
    }
}

fn count(partitions: &Segments, runs: Option<&Segments>, values: &[ArrayRef]) -> Int64Array {
    let nulls: Vec<_> = values.iter().filter_map(|values| values.logical_nulls()).collect();
    let so_far = std::cell::Cell::new(0_i64);
    let mut counts = Vec::with_capacity(values.first().map_or(0, |values| values.len()));
    running(
        partitions,
        runs,
        || so_far.set(0),
        |row| {
            let counts = nulls.iter().all(|nulls| nulls.is_valid(row));
            so_far.set(so_far.get() + i64::from(counts));
            so_far.get()
        },
        |rows, value| counts.extend(std::iter::repeat_n(*value, rows)),
    );
    Int64Array::from(counts)
}

fn sum<T: ArrowPrimitiveType>(
    partitions: &Segments,
    runs: Option<&Segments>,
    values: &PrimitiveArray<T>,
) -> ArrayRef {
    let so_far = std::cell::Cell::new(None);
    let mut sums = PrimitiveBuilder::<T>::with_capacity(values.len());
    running(
        partitions,
        runs,
        || so_far.set(None),
        |row| {
            if values.is_valid(row) {
                let value = values.value(row);
                let before: Option<T::Native> = so_far.get();
                so_far.set(Some(before.map_or(value, |before| before.add_wrapping(value))));
            }
            so_far.get()
        },
        |rows, value| (0..rows).for_each(|_| sums.append_option(*value)),
    );
    Arc::new(sums.finish())
}

fn whole(
    aggregate: &AggregateFunctionExpr,
    partitions: &Segments,
    values: &[ArrayRef],
) -> Result<ArrayRef> {
    let mut groups = Vec::with_capacity(values.first().map_or(0, |values| values.len()));
    for (group, partition) in partitions.iter().enumerate() {
        groups.extend(std::iter::repeat_n(group, partition.len()));
    }
    let mut accumulator = aggregate.create_groups_accumulator()?;
    accumulator.update_batch(values, &groups, None, partitions.len())?;
    let results = accumulator.evaluate(EmitTo::All)?;
    let rows: UInt64Array = groups.into_iter().map(|group| group as u64).collect();
    Ok(take(&results, &rows, None)?)
}
