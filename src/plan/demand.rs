//! Which partitions of which tables and sources a run for a date needs.

use std::collections::BTreeSet;

use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::step::{ReadFrom, SqlStep, Step, StepKind};

/// What a run needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demand {
    /// Partitions of tables made by SQL.
    pub tables: BTreeSet<(Name, Partition)>,
    /// Partitions of sources.
    pub sources: BTreeSet<(Name, Partition)>,
}

impl Demand {
    /// What a run for `date` needs: each step for that day, tables for the days that are looked back
    /// at too, what other runs will read, and for each of those what it reads.
    pub fn of(pipeline: &Pipeline, date: LogicalDate) -> Self {
        Self::looking_back(pipeline, date, pipeline.lookback)
    }

    /// The same with another number of days before `date` that are looked at again.
    pub(super) fn looking_back(pipeline: &Pipeline, date: LogicalDate, days: u32) -> Self {
        let mut demand = Self::default();
        for step in &pipeline.steps {
            if let StepKind::Sql(_) = step.kind {
                let own = date.window(days.saturating_add(1));
                let own = own.map(|day| (step.name.clone(), own_partition(step, day)));
                demand.tables.extend(own);
            }
        }
        let foreseen = pipeline.foreseen.iter().filter(|(name, _)| !pipeline.is_unselected(name));
        demand.tables.extend(foreseen.cloned());
        // Steps stand after what they need, so one pass from the end finds all.
        for step in pipeline.steps.iter().rev() {
            let partitions: Vec<Partition> = match step.kind {
                StepKind::Sql(_) => demand
                    .tables
                    .iter()
                    .filter(|(name, _)| *name == step.name)
                    .map(|(_, partition)| *partition)
                    .collect(),
                _ => vec![Partition::Day(date)],
            };
            for partition in partitions {
                for (table, parts) in reads_of(pipeline, step, partition, date) {
                    demand.tables.extend(parts.into_iter().map(|part| (table.clone(), part)));
                }
                for (source, part) in source_reads(pipeline, step, partition) {
                    demand.sources.insert((source, part));
                }
            }
        }
        demand
    }

    /// The demanded partitions of tables that can be made, given which partitions of sources have
    /// files: those of which every input of their own day is there; and those that are given, as
    /// they were published.
    pub fn with_input(
        &self,
        pipeline: &Pipeline,
        has_files: &dyn Fn(&Name, Partition) -> bool,
        is_given: &dyn Fn(&Name, Partition) -> bool,
    ) -> BTreeSet<(Name, Partition)> {
        let given = self.tables.iter().filter(|(name, partition)| is_given(name, *partition));
        let mut made: BTreeSet<(Name, Partition)> = given.cloned().collect();
        for step in &pipeline.steps {
            let StepKind::Sql(sql) = &step.kind else { continue };
            let demanded = self.tables.iter().filter(|(name, _)| *name == step.name);
            for (_, partition) in demanded {
                if has_inputs(pipeline, sql, *partition, has_files, &made) {
                    made.insert((step.name.clone(), *partition));
                }
            }
        }
        made
    }
}

/// Whether every input of a partition's own day is there.
pub(super) fn has_inputs(
    pipeline: &Pipeline,
    sql: &SqlStep,
    partition: Partition,
    has_files: &dyn Fn(&Name, Partition) -> bool,
    made: &BTreeSet<(Name, Partition)>,
) -> bool {
    sql.reads.iter().chain(&sql.referenced).all(|read| match read.from {
        ReadFrom::Source => {
            has_files(&read.name, source_partition(pipeline, &read.name, partition))
        }
        ReadFrom::Table => {
            let part = table_partition(pipeline, &read.name, partition);
            made.contains(&(read.name.clone(), part))
        }
    })
}

/// The partition of a step's own table for a date.
pub fn own_partition(step: &Step, date: LogicalDate) -> Partition {
    match &step.kind {
        StepKind::Sql(sql) if !sql.partitioned => Partition::Whole,
        _ => Partition::Day(date),
    }
}

fn is_partitioned(pipeline: &Pipeline, table: &Name) -> bool {
    pipeline
        .step(table.as_str())
        .is_some_and(|step| matches!(&step.kind, StepKind::Sql(sql) if sql.partitioned))
}

pub(super) fn table_partition(pipeline: &Pipeline, table: &Name, at: Partition) -> Partition {
    if is_partitioned(pipeline, table) { at } else { Partition::Whole }
}

fn source_partition(pipeline: &Pipeline, source: &Name, at: Partition) -> Partition {
    match pipeline.sources.get(source) {
        Some(source) if source.path.is_dated() => at,
        _ => Partition::Whole,
    }
}

/// The partitions of tables that a step reads for one of its partitions.
pub fn reads_of(
    pipeline: &Pipeline,
    step: &Step,
    partition: Partition,
    date: LogicalDate,
) -> Vec<(Name, Vec<Partition>)> {
    let window = |table: &Name, last: Partition, days: u32| match last.date() {
        Some(last) if is_partitioned(pipeline, table) => {
            last.window(days).map(Partition::Day).collect()
        }
        _ => vec![Partition::Whole],
    };
    match &step.kind {
        StepKind::Sql(sql) => sql
            .table_reads()
            .map(|read| (read.name.clone(), window(&read.name, partition, read.days)))
            .collect(),
        StepKind::Train(train) | StepKind::Tune(train) => train
            .inputs
            .iter()
            .map(|input| {
                let parts = window(&input.table, Partition::Day(date), pipeline.split.window);
                (input.table.clone(), parts)
            })
            .collect(),
        // Comparing and scoring fit models too, each on what its training step reads.
        StepKind::Select(_) | StepKind::Score(_) => {
            let mut reads: Vec<(Name, Vec<Partition>)> = Vec::new();
            for other in pipeline.all_steps() {
                if let StepKind::Train(_) | StepKind::Tune(_) = other.kind {
                    for read in reads_of(pipeline, other, partition, date) {
                        if !reads.contains(&read) {
                            reads.push(read);
                        }
                    }
                }
            }
            reads
        }
        // The names of items are looked up when a person asks for a list, not when it is loaded.
        StepKind::Load(_) => Vec::new(),
    }
}

/// The partitions of sources that a step reads for one of its partitions.
pub fn source_reads(
    pipeline: &Pipeline,
    step: &Step,
    partition: Partition,
) -> Vec<(Name, Partition)> {
    let StepKind::Sql(sql) = &step.kind else { return Vec::new() };
    let mut reads = Vec::new();
    for read in sql.reads.iter().filter(|read| read.from == ReadFrom::Source) {
        match source_partition(pipeline, &read.name, partition) {
            Partition::Whole => reads.push((read.name.clone(), Partition::Whole)),
            Partition::Day(day) => {
                reads.extend(
                    day.window(read.days).map(|day| (read.name.clone(), Partition::Day(day))),
                );
            }
        }
    }
    reads
}
