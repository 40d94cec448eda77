//! Tables: whether what is made has the columns and the types that catalogs, warehouses and
//! training need.

use datafusion::arrow::datatypes::{DataType, Field, Schema};

use super::Subject;
use super::at::{of_column, quoted};
use crate::pipeline::check::CheckRule;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::step::{
    Input, PARTITION_COLUMN, SqlStep, Step, StepKind, WarehouseMode, channel_columns,
};
use crate::ports::limits::redshift::RedshiftType;
use crate::ports::limits::{hive, redshift};
use crate::query::analysis::TableAnalysis;
use crate::run::failure::{Problem, Rule};

/// Judges the tables of all queries.
pub(super) fn check(subject: &Subject<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (pipeline, step) in subject.steps() {
        let analysis = subject.analyses.get(&pipeline.name);
        match &step.kind {
            StepKind::Sql(sql) => {
                let Some(table) = analysis.and_then(|known| known.tables.get(&step.name)) else {
                    continue;
                };
                problems.extend(Table { subject, pipeline, step, sql, table }.check());
            }
            StepKind::Train(train) | StepKind::Tune(train) => {
                for input in &train.inputs {
                    let schema = analysis.and_then(|known| known.schemas.get(&input.table));
                    let Some(schema) = schema else { continue };
                    problems.extend(channel(subject, pipeline, step, input, schema));
                }
            }
            StepKind::Select(_) => problems.extend(compared(subject, pipeline, step)),
            StepKind::Score(_) | StepKind::Load(_) => {}
        }
    }
    for pipeline in subject.project.pipelines.values() {
        problems.extend([false, true].into_iter().filter_map(|day| batch(subject, pipeline, day)));
    }
    problems
}

/// The tables of a day are loaded in one transaction, and so are those that are replaced whole.
fn batch(subject: &Subject<'_>, pipeline: &Pipeline, by_day: bool) -> Option<Problem> {
    let with = subject.aws().filter(|target| target.warehouse.is_some());
    let targets: Vec<&str> = with.map(|target| target.name.as_str()).collect();
    let mut copied = 0;
    let mut merged = false;
    for step in &pipeline.steps {
        let StepKind::Sql(sql) = &step.kind else { continue };
        let Some(layout) = sql.warehouse.as_ref().filter(|_| sql.partitioned == by_day) else {
            continue;
        };
        match layout.mode {
            WarehouseMode::External => continue,
            WarehouseMode::Merge { .. } => merged = true,
            WarehouseMode::Replace => {}
        }
        copied += 1;
        let needed = redshift::load_statements(copied, merged);
        if needed > redshift::BATCH && !targets.is_empty() {
            let message = format!(
                "on {}: {copied} tables are loaded at once, with `{}` the first too many: that takes {needed} statements, and Redshift takes {} in one transaction",
                quoted(targets),
                step.name,
                redshift::BATCH
            );
            let path =
                ["pipelines", pipeline.name.as_str(), "steps", step.name.as_str(), "publish"];
            let hint =
                "publish fewer tables to the warehouse, or some with `warehouse: {external: true}`";
            let problem = subject.in_project(Rule::ServiceLimit, &path, message);
            return Some(problem.with_hint(hint.to_owned()));
        }
    }
    None
}

struct Table<'a> {
    subject: &'a Subject<'a>,
    pipeline: &'a Pipeline,
    step: &'a Step,
    sql: &'a SqlStep,
    table: &'a TableAnalysis,
}

impl Table<'_> {
    fn check(&self) -> Vec<Problem> {
        let mut problems = self.in_catalog();
        problems.extend(self.in_warehouse());
        problems.extend(self.merged());
        problems
    }

    fn at(&self, rule: Rule, column: &str, message: String) -> Problem {
        of_column(rule, self.sql, column, message)
    }

    /// What Glue, Athena and Spectrum cannot hold.
    fn in_catalog(&self) -> Vec<Problem> {
        let targets: Vec<&str> = self.subject.aws().map(|target| target.name.as_str()).collect();
        let mut problems = Vec::new();
        if targets.is_empty() {
            return problems;
        }
        let on = quoted(targets);
        let fields = self.table.schema.fields();
        for (at, field) in fields.iter().enumerate() {
            let name = field.name();
            // What the warehouse refuses as well is told once, as its own.
            if let (Err(hint), false) = (hive::of(field.data_type()), self.is_refused(field)) {
                let message = format!(
                    "on {on}: column `{name}` is {}, which Athena and Redshift cannot read",
                    field.data_type()
                );
                let problem = self.at(Rule::CatalogType, name, message);
                problems.push(problem.with_hint(hint.to_owned()));
            }
            let same =
                |other: &&std::sync::Arc<Field>| other.name().to_lowercase() == name.to_lowercase();
            if let Some(other) = fields.iter().take(at).find(same) {
                let message =
                    format!("on {on}: columns `{}` and `{name}` are one in Glue", other.name());
                let hint = "rename one of them: names of columns have no case there".to_owned();
                problems.push(self.at(Rule::CatalogType, name, message).with_hint(hint));
            }
            if name.len() > hive::NAME_BYTES {
                problems.push(self.too_long(&on, name, "Glue", hive::NAME_BYTES));
            }
        }
        problems
    }

    /// Whether COPY would refuse a column.
    fn is_refused(&self, field: &Field) -> bool {
        !self.warehouses().is_empty() && RedshiftType::of(field.data_type()).is_err()
    }

    /// The targets whose warehouse gets a copy of the table.
    fn warehouses(&self) -> Vec<&str> {
        let copied = |mode: &WarehouseMode| match mode {
            WarehouseMode::Replace | WarehouseMode::Merge { .. } => true,
            WarehouseMode::External => false,
        };
        if !self.sql.warehouse.as_ref().is_some_and(|layout| copied(&layout.mode)) {
            return Vec::new();
        }
        let with = self.subject.aws().filter(|target| target.warehouse.is_some());
        with.map(|target| target.name.as_str()).collect()
    }

    fn too_long(&self, on: &str, name: &str, service: &str, most: usize) -> Problem {
        let start: String = name.chars().take(20).collect();
        let message = format!(
            "on {on}: the name of column `{start}…` has {} bytes, and {service} takes {most}",
            name.len()
        );
        self.at(Rule::ServiceLimit, name, message).with_hint("give it an alias".to_owned())
    }

    /// What COPY cannot load.
    fn in_warehouse(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let targets = self.warehouses();
        if targets.is_empty() {
            return problems;
        }
        let on = quoted(targets);
        let fields = self.table.schema.fields();
        for field in fields {
            let name = field.name();
            match RedshiftType::of(field.data_type()) {
                Ok(RedshiftType::Super) => problems.extend(self.nested_key(name)),
                Ok(_) => {}
                Err(hint) => {
                    let message = format!(
                        "on {on}: column `{name}` is {}, which COPY cannot load into Redshift",
                        field.data_type()
                    );
                    let problem = self.at(Rule::WarehouseType, name, message);
                    problems.push(problem.with_hint(hint.to_owned()));
                }
            }
            if name.len() > redshift::NAME_BYTES {
                problems.push(self.too_long(&on, name, "Redshift", redshift::NAME_BYTES));
            }
        }
        if fields.len() > redshift::MOST_COLUMNS {
            let message = format!(
                "on {on}: {} columns, and a table of Redshift has {} at most",
                fields.len(),
                redshift::MOST_COLUMNS
            );
            problems.push(self.at_step(&["sql"], Rule::ServiceLimit, message));
        }
        problems
    }

    fn at_step(&self, field: &[&str], rule: Rule, message: String) -> Problem {
        let mut path =
            vec!["pipelines", self.pipeline.name.as_str(), "steps", self.step.name.as_str()];
        path.extend(field);
        self.subject.in_project(rule, &path, message)
    }

    /// A column of lists or structs cannot spread, sort or merge rows.
    fn nested_key(&self, column: &str) -> Option<Problem> {
        let layout = self.sql.warehouse.as_ref()?;
        layout.columns().find(|named| *named == column).map(|_| {
            let message = format!("column `{column}` is nested, so it can be no key in Redshift");
            self.at_step(&["warehouse"], Rule::WarehouseType, message)
                .with_hint("take a column of plain values".to_owned())
        })
    }

    /// A NULL equals nothing, so a row without a key is never replaced.
    fn merged(&self) -> Vec<Problem> {
        let Some(WarehouseMode::Merge { on }) = self.sql.warehouse.as_ref().map(|it| &it.mode)
        else {
            return Vec::new();
        };
        let checked = |column: &String| {
            self.sql.checks.iter().any(|check| match &check.rule {
                CheckRule::NotNull(columns) => check.is_certain() && columns.contains(column),
                _ => false,
            })
        };
        // The table's own schema says that all may be NULL; the plan knows better.
        let plan = self.table.plan.schema();
        let may_be_null = |column: &String| {
            plan.field_with_unqualified_name(column).is_ok_and(|field| field.is_nullable())
        };
        let mut problems = Vec::new();
        for column in on.iter().filter(|column| may_be_null(column) && !checked(column)) {
            let message = format!(
                "the key column `{column}` may be NULL, and such rows are never replaced but added again"
            );
            let hint = format!("add the check `not_null: [{column}]`");
            let problem = self.at_step(&["warehouse", "merge_on"], Rule::NullableKey, message);
            problems.push(problem.with_hint(hint));
        }
        problems
    }
}

/// A table that fills a channel has the columns that training reads.
fn channel(
    subject: &Subject<'_>,
    pipeline: &Pipeline,
    step: &Step,
    input: &Input,
    schema: &Schema,
) -> Vec<Problem> {
    let Input { channel, table } = input;
    let path =
        ["pipelines", pipeline.name.as_str(), "steps", step.name.as_str(), "inputs", channel];
    let problem = |message: String, hint: String| {
        subject.in_project(Rule::TrainingColumn, &path, message).with_hint(hint)
    };
    let names = quoted(schema.fields().iter().map(|field| field.name().as_str()));
    let mut problems = Vec::new();
    for column in channel_columns(channel) {
        let Some((_, field)) = schema.column_with_name(column) else {
            let message = format!(
                "table `{table}` has no column `{column}`, which channel `{channel}` needs"
            );
            problems.push(problem(message, format!("it has {names}")));
            continue;
        };
        if *column == "weight" && !is_number(field.data_type()) {
            let message = format!("column `weight` of table `{table}` is {}", field.data_type());
            problems.push(problem(message, "training needs a number".to_owned()));
        }
    }
    match schema.column_with_name(PARTITION_COLUMN) {
        Some((_, day)) if is_day(day.data_type()) => {}
        Some((_, day)) => {
            let message = format!("column `dt` of table `{table}` is {}", day.data_type());
            problems.push(problem(message, "training cuts by it: make it a date".to_owned()));
        }
        None => {
            let message = format!(
                "table `{table}` has no column `dt`, so models are fitted on the days that they are tested on"
            );
            let hint = "training cannot be cut by time without it: make the table by day with `partition_by: [dt]`, or select the day of each row as `dt`";
            let problem = subject.in_project(Rule::SplitOverlap, &path, message);
            problems.push(problem.with_hint(hint.to_owned()));
        }
    }
    problems
}

fn is_number(kind: &DataType) -> bool {
    kind.is_numeric() || *kind == DataType::Boolean
}

fn is_day(kind: &DataType) -> bool {
    matches!(kind, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..))
}

/// Models that are compared learn from one table.
fn compared(subject: &Subject<'_>, pipeline: &Pipeline, step: &Step) -> Option<Problem> {
    let StepKind::Select(select) = &step.kind else { return None };
    let mut first = None;
    let all = select.candidates.iter().map(|name| ("candidates", name));
    for (list, name) in all.chain(select.baselines.iter().map(|name| ("baselines", name))) {
        let (StepKind::Train(train) | StepKind::Tune(train)) = &pipeline.step(name.as_str())?.kind
        else {
            continue;
        };
        let Some(input) = train.inputs.iter().find(|input| input.channel == "train") else {
            continue;
        };
        let (known, table) = *first.get_or_insert((name, &input.table));
        if *table != input.table {
            let message =
                format!("`{known}` is trained on `{table}`, but `{name}` on `{}`", input.table);
            let path =
                ["pipelines", pipeline.name.as_str(), "steps", step.name.as_str(), "select", list];
            let problem = subject.in_project(Rule::Comparison, &path, message);
            return Some(problem.with_hint("models can only be compared on one table".to_owned()));
        }
    }
    None
}
