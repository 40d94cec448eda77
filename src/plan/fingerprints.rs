//! Fingerprints of actions: each from its own definition and the fingerprints of what it reads, so
//! that a change anywhere upstream shows everywhere downstream.

use std::collections::BTreeMap;

use super::demand::{own_partition, source_reads};
use super::{Facts, TableRead};
use crate::pipeline::check::identity;
use crate::pipeline::fingerprint::{Fingerprint, SQL};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::schema::Column;
use crate::pipeline::source::Source;
use crate::pipeline::step::{SqlStep, Step, StepKind, WarehouseLayout};
use crate::run::failure::Outcome;

/// Changes when recctl makes something else from the same inputs, so that old results count as
/// made by something else.
const METHOD: &str = "1";

pub(super) struct Fingerprints<'a> {
    pipeline: &'a Pipeline,
    date: LogicalDate,
    facts: &'a Facts,
    digests: BTreeMap<(Name, Partition), String>,
}

impl<'a> Fingerprints<'a> {
    pub(super) fn new(pipeline: &'a Pipeline, date: LogicalDate, facts: &'a Facts) -> Self {
        // What is not selected is read as it was published, and so is what a person said is done
        // where nobody can make it.
        let digests = facts
            .ledger
            .iter()
            .filter(|((step, _), row)| pipeline.is_unselected(step) || row.mark.is_some())
            .map(|(key, row)| (key.clone(), row.visible_digest()))
            .collect();
        Self { pipeline, date, facts, digests }
    }

    /// The fingerprint of a step's action; those of what it reads must have been asked for before.
    pub(super) fn of(
        &mut self,
        step: &Step,
        partition: Partition,
        reads: &[TableRead],
    ) -> Outcome<Fingerprint> {
        let mut fingerprint = Fingerprint::default().with("recctl's method", METHOD);
        for read in reads {
            let mut parts = String::new();
            for part in &read.partitions {
                let digest = self.digests.get(&(read.table.clone(), *part));
                parts.push_str(&format!("{part}={}\n", digest.map_or("", String::as_str)));
            }
            fingerprint = fingerprint.with(&format!("table `{}`", read.table), parts);
        }
        fingerprint = match &step.kind {
            StepKind::Sql(sql) => self.sql(fingerprint, step, sql, partition),
            StepKind::Train(train) | StepKind::Tune(train) => fingerprint
                .with("job", format!("{:?}", train.job))
                .with("inputs", format!("{:?}", train.inputs))
                .with("split", format!("{:?}", self.pipeline.split)),
            StepKind::Select(select) => {
                let champion = self
                    .facts
                    .champions
                    .get(&(step.name.clone(), self.date))
                    .cloned()
                    .unwrap_or_default();
                fingerprint.with("rule", format!("{select:?}")).with("champion", champion)
            }
            StepKind::Score(score) => {
                fingerprint.with("length of the lists", score.top.to_string())
            }
            StepKind::Load(load) => {
                fingerprint.with("load", format!("{} {} {}", load.from, load.table, load.keep))
            }
        };
        for need in step.needs() {
            if let Some(digest) = self.digests.get(&(need.clone(), Partition::Day(self.date)))
                && !reads.iter().any(|read| read.table == *need)
            {
                fingerprint = fingerprint.with(&format!("step `{need}`"), digest);
            }
        }
        let key = (step.name.clone(), partition);
        let fingerprint =
            fingerprint.or_kept(self.facts.ledger.get(&key).map(|row| &row.fingerprint));
        self.digests.insert(key, fingerprint.digest());
        Ok(fingerprint)
    }

    fn sql(
        &self,
        fingerprint: Fingerprint,
        step: &Step,
        sql: &SqlStep,
        partition: Partition,
    ) -> Fingerprint {
        let mut fingerprint = fingerprint
            .with(SQL, &sql.normalized)
            .meaning(sql.meaning.clone())
            .with("partition", partition.key())
            .with("checks", identity(&sql.checks, &sql.unique_key))
            .with("publish", published(sql.warehouse.as_ref()));
        for parameter in &sql.parameters {
            // The day is in the partition already; a whole table is of the date it was made for.
            let value = match self.pipeline.variables.get(parameter) {
                Some(value) => value.to_string(),
                None if partition == Partition::Whole && parameter != "run_id" => {
                    self.date.to_string()
                }
                None => continue,
            };
            fingerprint = fingerprint.with(&format!("parameter `${parameter}`"), value);
        }
        for (source, part) in source_reads(self.pipeline, step, partition) {
            if let Some(declared) = self.pipeline.sources.get(&source) {
                fingerprint = fingerprint.with(
                    &format!("declaration of `{source}`"),
                    format!("{:?} {} {:?}", declared.format, columns(declared), declared.timezone),
                );
            }
            let version =
                self.facts.listings.get(&(source.clone(), part)).map(|l| l.version.as_str());
            fingerprint = fingerprint
                .with(&format!("files of `{source}` {part}"), version.unwrap_or_default());
        }
        fingerprint
    }
}

/// The columns of a source as far as they change what is read of it; tags do not.
fn columns(source: &Source) -> String {
    let each = |column: &Column| {
        let Column { name, kind, nullable, tags: _ } = column;
        format!("Column {{ name: {name:?}, kind: {kind:?}, nullable: {nullable} }}")
    };
    format!("[{}]", source.columns.iter().map(each).collect::<Vec<_>>().join(", "))
}

/// What says what a step does, apart from what it does it with.
pub(super) fn definition(pipeline: &Pipeline, step: &Step, date: LogicalDate) -> Fingerprint {
    let facts = Facts::default();
    let partition = own_partition(step, date);
    let mut fingerprints = Fingerprints::new(pipeline, date, &facts);
    // Nothing that a fingerprint is made from can be missing when it reads nothing.
    fingerprints.of(step, partition, &[]).unwrap_or_default()
}

/// Whether a component says what a step does, and not what it does it with.
pub(super) fn is_definition(pipeline: &Pipeline, component: &str) -> bool {
    let inputs = ["table `", "step `", "files of `"];
    if let Some(parameter) = component.strip_prefix("parameter `$") {
        return pipeline.variables.contains_key(parameter.trim_end_matches('`'));
    }
    !inputs.iter().any(|input| component.starts_with(input))
        && !["champion", "partition"].contains(&component)
}

/// Where a table is published to, and how it lies there.
fn published(warehouse: Option<&WarehouseLayout>) -> String {
    match warehouse {
        None => "catalog".to_owned(),
        Some(layout) if *layout == WarehouseLayout::default() => "catalog, warehouse".to_owned(),
        Some(layout) => format!("catalog, warehouse {layout:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::schema::ColumnType;
    use crate::pipeline::source::{Format, PathTemplate, Timezone};

    #[test]
    fn tags_change_no_result() {
        let source = |tags: Vec<String>| Source {
            name: Name::new("s").unwrap(),
            path: PathTemplate::new("x/").unwrap(),
            format: Format::Json,
            columns: vec![Column {
                name: "id".to_owned(),
                kind: ColumnType::Int,
                nullable: false,
                tags,
            }],
            timezone: Timezone::UTC,
            max_malformed_ratio: 1.0,
        };
        let plain = columns(&source(Vec::new()));
        assert_eq!(plain, columns(&source(vec!["pii".to_owned()])));
        assert_eq!(plain, "[Column { name: \"id\", kind: Int, nullable: false }]");
    }
}
