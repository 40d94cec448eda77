//! Steps: what a pipeline does, as meant.

use serde::{Deserialize, Serialize};

use super::check::{Check, OnFail};
use super::fingerprint::Meaning;
use super::job::Job;
use super::name::Name;
use super::query::Mention;

/// The file that says what a project is.
pub const PROJECT_FILE: &str = "pipelines.yaml";
/// The column that partitions a table by day.
pub const PARTITION_COLUMN: &str = "dt";
/// The column by which a query says what becomes of each row that it read; it is never stored.
pub const FATE_COLUMN: &str = "_fate";
/// The catalog table that holds what could not be read or was refused.
pub const QUARANTINE_TABLE: &str = "quarantine";

/// One node of a pipeline's graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The step's name; for SQL and scoring steps also the name of the table that it makes.
    pub name: Name,
    /// What it does.
    pub kind: StepKind,
    /// Steps that must be done before, beyond those that it reads from.
    pub after: Vec<Name>,
    /// Words by which selections find it.
    pub tags: Vec<String>,
    /// Columns and conditions that the project's file names of the step, and last its own name, and
    /// where, for messages.
    pub mentions: Vec<Mention>,
}

impl Step {
    /// The file that says what the step does, relative to the project, if it has one of its own.
    pub fn file(&self) -> Option<&str> {
        match &self.kind {
            StepKind::Sql(sql) => Some(&sql.file),
            StepKind::Train(train) | StepKind::Tune(train) => Some(&train.file),
            StepKind::Select(_) | StepKind::Score(_) | StepKind::Load(_) => None,
        }
    }

    /// The query, if the step makes a table by one.
    pub fn sql(&self) -> Option<&SqlStep> {
        match &self.kind {
            StepKind::Sql(sql) => Some(sql),
            StepKind::Train(_)
            | StepKind::Tune(_)
            | StepKind::Select(_)
            | StepKind::Score(_)
            | StepKind::Load(_) => None,
        }
    }
}

/// The words for the kinds of steps.
pub const STEP_KINDS: [&str; 6] = ["sql", "train", "tune", "select", "score", "load"];

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum StepKind {
    /// Makes a table by a query.
    Sql(SqlStep),
    /// Fits one model.
    Train(TrainStep),
    /// Searches hyperparameters, then fits a model with the best.
    Tune(TrainStep),
    /// Compares candidates, baselines and the champion.
    Select(SelectStep),
    /// Makes recommendations with the selected model.
    Score(ScoreStep),
    /// Loads recommendations into the serving store.
    Load(LoadStep),
}

impl StepKind {
    /// The word for the kind, as in `pipelines.yaml`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Sql(_) => "sql",
            Self::Train(_) => "train",
            Self::Tune(_) => "tune",
            Self::Select(_) => "select",
            Self::Score(_) => "score",
            Self::Load(_) => "load",
        }
    }
}

/// A table made by a query.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlStep {
    /// The query's file, relative to the project, for messages.
    pub file: String,
    /// The query's text.
    pub text: String,
    /// The query with comments and layout taken away, so that those do not count as a change.
    pub normalized: String,
    /// What the query means however it is written, where that is known: it takes types to say.
    pub meaning: Option<Meaning>,
    /// The tables and sources that the query names.
    pub reads: Vec<Read>,
    /// Whether the table has one partition a day, in the column `dt`.
    pub partitioned: bool,
    /// Columns whose values together may occur only once in a partition; empty for no check.
    pub unique_key: Vec<String>,
    /// What must hold before the table becomes visible.
    pub checks: Vec<Check>,
    /// Tables that checks look into and the query does not read.
    pub referenced: Vec<Read>,
    /// The times of its rows, where they are examples to learn from.
    pub times: Option<Times>,
    /// How the table comes into the warehouse; `None` if it does not.
    pub warehouse: Option<WarehouseLayout>,
    /// What happens where the query's columns no longer fit the published table.
    pub schema_change: SchemaChange,
    /// The parameters that the query uses, without the `$`.
    pub parameters: Vec<String>,
    /// Tags that columns lose here, as the project says.
    pub untag: Vec<Untag>,
}

impl SqlStep {
    /// Whether the query or a check may put rows into the quarantine.
    pub fn refuses_rows(&self) -> bool {
        self.normalized.contains(FATE_COLUMN)
            || self.checks.iter().any(|check| check.on_fail == OnFail::Quarantine)
    }

    /// What it reads of tables: its query, then its checks.
    pub fn table_reads(&self) -> impl Iterator<Item = &Read> {
        let tables = self.reads.iter().filter(|read| read.from == ReadFrom::Table);
        tables.chain(&self.referenced)
    }
}

/// Tags that a column of a table does not have, though what it is made from does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untag {
    /// The column.
    pub column: String,
    /// The tags.
    pub tags: Vec<String>,
    /// Why not, for people.
    pub reason: String,
}

/// The times of a row that is an example to learn from; none of a feature may be later than the
/// label's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    /// The column with the label's.
    pub label: String,
    /// The columns with the features'.
    pub features: Vec<String>,
}

/// How a table comes into the warehouse.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarehouseLayout {
    /// How its rows get there.
    pub mode: WarehouseMode,
    /// The column by which rows are spread over nodes; the warehouse's choice if absent.
    pub dist_key: Option<String>,
    /// The columns by which rows are sorted.
    pub sort_keys: Vec<String>,
}

impl WarehouseLayout {
    /// The columns that it names.
    pub fn columns(&self) -> impl Iterator<Item = &String> {
        let key = match &self.mode {
            WarehouseMode::Merge { on } => on.as_slice(),
            WarehouseMode::Replace | WarehouseMode::External => &[],
        };
        self.dist_key.iter().chain(&self.sort_keys).chain(key)
    }
}

/// How rows get into the warehouse.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarehouseMode {
    /// The day (or all) is replaced.
    #[default]
    Replace,
    /// Rows of the same key are replaced, all others stay.
    Merge {
        /// The columns that are the key.
        on: Vec<String>,
    },
    /// Nothing is copied: the warehouse reads the catalog's table where it lies. A warehouse that
    /// cannot do so replaces.
    External,
}

/// What happens where a query's columns no longer fit the published table: a column is gone or has
/// a type that does not hold the old values. Added and widened columns are always taken.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SchemaChange {
    /// Nothing is published.
    #[default]
    Stop,
    /// The table takes the new columns; files of older days may no longer be readable.
    Allow,
}

/// A table or source that a query reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The name in SQL.
    pub name: Name,
    /// What the name stands for.
    pub from: ReadFrom,
    /// The number of days up to and with the step's own that are read of a partitioned input.
    pub days: u32,
}

/// What a name in a query stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// Raw input.
    Source,
    /// A table that another step makes.
    Table,
}

/// A model to fit, with or without a search.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainStep {
    /// The job's file, relative to the project.
    pub file: String,
    /// The job, read from that file.
    pub job: Job,
    /// Lines that the job prints, for a program that recctl does not know. Only judged by: another
    /// sample makes no other model.
    pub sample_log: Vec<String>,
    /// Which table goes into which channel.
    pub inputs: Vec<Input>,
}

/// A channel of a training job and the table that fills it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The channel (`train`, `segments`, …).
    pub channel: String,
    /// The table.
    pub table: Name,
}

/// The columns that a table needs to fill a channel, beside `dt` by which it is cut.
pub fn channel_columns(channel: &str) -> &'static [&'static str] {
    match channel {
        "segments" => &["location", "device", "item_id", "weight"],
        _ => &["user_id", "item_id", "weight"],
    }
}

/// A comparison of models.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectStep {
    /// Steps whose models may win.
    pub candidates: Vec<Name>,
    /// Steps whose models are only compared with.
    pub baselines: Vec<Name>,
    /// The metric that decides, for example `ndcg@10`.
    pub metric: String,
    /// What happens to the model that won last time.
    pub champion: ChampionRule,
}

/// What happens to the model that won last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChampionRule {
    /// It stays unless a candidate is better and the interval of the difference excludes zero.
    KeepUnlessBeaten,
    /// The candidate with the highest metric wins.
    BestWins,
}

/// Recommendations for every known user.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreStep {
    /// The selecting or training step whose model is used.
    pub model: Name,
    /// The training step of the popularity model that serves visitors whom nobody knows.
    pub fallback: Option<Name>,
    /// Length of each list.
    pub top: usize,
}

/// A load into the serving store.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadStep {
    /// The scoring step.
    pub from: Name,
    /// The served table.
    pub table: Name,
    /// Number of generations kept for rollback, the visible one among them.
    pub keep: usize,
    /// Where the names of items are, for people who look a list up.
    pub names: Option<ItemNames>,
    /// Tags of values that are served on purpose, each with the reason.
    pub allow: Vec<(String, String)>,
}

/// Where the names of items are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemNames {
    /// The table.
    pub table: Name,
    /// Its column with the item's id.
    pub key: String,
    /// Its column with the item's name.
    pub column: String,
}

/// The table of the lists for unknown visitors that a scoring step makes beside its own.
pub fn fallback_table(step: &str) -> String {
    format!("{step}_fallback")
}
