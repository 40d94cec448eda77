//! `pipelines.yaml` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::ChecksSpec;
use super::schema;
use super::target::TargetSpec;
use super::yaml::{Entries, Scalar, Spanned, text_or_mapping};
use crate::pipeline::step::SchemaChange;

/// The whole file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectSpec {
    /// Version of the file format; 1. Needed, as are `sources` and `pipelines`: that one of them is
    /// missing is told with all else.
    #[serde(default)]
    #[schemars(extend("const" = 1))]
    pub version: Option<Spanned<u32>>,
    /// Where pipelines may run.
    #[serde(default)]
    pub targets: Entries<TargetSpec>,
    /// Variables with their defaults, for paths (`{name}`) and SQL (`$name`).
    #[serde(default)]
    pub vars: Entries<Spanned<Scalar>>,
    /// Raw input.
    #[serde(default)]
    #[schemars(extend("propertyNames" = schema::names()))]
    pub sources: Option<Entries<SourceSpec>>,
    /// Pipelines.
    #[serde(default)]
    #[schemars(extend("propertyNames" = schema::names()))]
    pub pipelines: Option<Entries<PipelineSpec>>,
    /// The folder of the unit tests of queries; `tests/` if not said.
    #[serde(default)]
    pub tests: Option<Spanned<String>>,
}

/// Raw input.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// What it is, for people.
    #[serde(default)]
    #[expect(dead_code, reason = "documentation in the file, checked to be text")]
    pub description: Option<String>,
    /// Where its files lie.
    pub path: Spanned<String>,
    /// How they are written.
    pub format: FormatSpec,
    /// Byte between the fields of a CSV file; a comma if not said.
    #[serde(default)]
    #[schemars(extend("default" = ","))]
    pub delimiter: Option<Spanned<String>>,
    /// Regular expression of the lines of a log, with a named group `(?<column>…)` for each column.
    #[serde(default)]
    pub pattern: Option<Spanned<String>>,
    /// Zone of timestamps without an offset; UTC if not said.
    #[serde(default)]
    #[schemars(extend("default" = "UTC"))]
    pub timezone: Option<Spanned<String>>,
    /// Columns with their types.
    pub columns: Entries<Spanned<ColumnSpec>>,
    /// What happens to rows that cannot be read.
    #[serde(default)]
    pub malformed: MalformedSpec,
}

/// A column: its type alone, or its type with more that is known of it.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub enum ColumnSpec {
    /// `string`.
    Short(#[schemars(extend("pattern" = schema::column_types()))] String),
    /// `{type: string, tags: [pii]}`.
    Long(LongColumnSpec),
}

/// A column with more than its type.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LongColumnSpec {
    /// The type, with `?` behind it if a row may lack the value.
    #[serde(rename = "type")]
    #[schemars(extend("pattern" = schema::column_types()))]
    pub kind: Spanned<String>,
    /// What is to be known of its values: `pii` for what tells who somebody is.
    #[serde(default)]
    pub tags: Vec<Spanned<String>>,
}

impl<'de> Deserialize<'de> for ColumnSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a type such as `string`, or `{type: …, tags: […]}`";
        text_or_mapping(deserializer, expected, Self::Short, Self::Long)
    }
}

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FormatSpec {
    /// JSON lines.
    Json,
    /// Comma-separated values.
    Csv,
    /// Lines by a pattern, as access logs have them.
    Log,
}

/// What happens to rows that cannot be read.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MalformedSpec {
    /// The share of rows, 0 to 1, above which the step fails; 0.01 if not said.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1), extend("default" = super::compile::DEFAULT_MAX_RATIO))]
    pub max_ratio: Option<Spanned<f64>>,
}

/// A pipeline.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineSpec {
    /// What it is, for people.
    #[serde(default)]
    #[expect(dead_code, reason = "documentation in the file, checked to be text")]
    pub description: Option<String>,
    /// The days that training reads and how they are split.
    #[serde(default)]
    pub split: Option<SplitSpec>,
    /// When failed steps are tried again.
    #[serde(default)]
    pub retries: Option<RetriesSpec>,
    /// Days before its own whose tables a run looks at again (`3d`), for files that came late; none
    /// if not said.
    #[serde(default)]
    #[schemars(extend("pattern" = schema::DAYS))]
    pub lookback: Option<Spanned<String>>,
    /// When it runs, once a day for the day before: for deadlines, and for what yesterday is.
    #[serde(default)]
    pub schedule: Option<ScheduleSpec>,
    /// By when a run has to be done; the first of these that comes counts.
    #[serde(default)]
    pub deadline: Option<Spanned<DeadlineSpec>>,
    /// Steps by name.
    #[schemars(extend("propertyNames" = schema::names()))]
    pub steps: Entries<Spanned<StepSpec>>,
}

/// When a pipeline runs, once a day for the day before. What starts it is not recctl's.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// The time on the clock (`"03:00"`).
    #[schemars(extend("pattern" = schema::CLOCK))]
    pub at: Spanned<String>,
    /// Whose clock (`Europe/Berlin`); UTC if not said.
    #[serde(default)]
    #[schemars(extend("default" = "UTC"))]
    pub timezone: Option<Spanned<String>>,
}

/// By when a run has to be done; the first of these that comes counts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadlineSpec {
    /// A time on the schedule's clock (`"06:00"`), the first one after the scheduled start.
    #[serde(default)]
    #[schemars(extend("pattern" = schema::CLOCK))]
    pub at: Option<Spanned<String>>,
    /// Time from the scheduled start on (`3h`).
    #[serde(default)]
    #[schemars(extend("pattern" = schema::TIME))]
    pub after_schedule: Option<Spanned<String>>,
    /// Time from the run's own start on (`2h`).
    #[serde(default)]
    #[schemars(extend("pattern" = schema::TIME))]
    pub after_start: Option<Spanned<String>>,
    /// A multiple of what the last runs took.
    #[serde(default)]
    pub average: Option<AverageSpec>,
    /// The share of the time from the start until then after which a warning is given; 0.8 if not
    /// said.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1), extend("default" = super::compile::DEFAULT_WARN_AT))]
    pub warn_at: Option<Spanned<f64>>,
    /// What happens to a run that is not done by then.
    #[serde(default)]
    #[schemars(extend("default" = "stop"))]
    pub missed: MissedSpec,
}

/// A multiple of what the last runs took that succeeded and did as much.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AverageSpec {
    /// How many runs; with fewer there is no such deadline. 7 if not said.
    #[serde(default)]
    #[schemars(range(min = 1, max = 30), extend("default" = super::compile::DEFAULT_AVERAGE_RUNS))]
    pub runs: Option<Spanned<usize>>,
    /// The multiple.
    #[schemars(range(min = 1, max = 100))]
    pub factor: Spanned<f64>,
}

/// What happens to a run that is not done by its deadline.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MissedSpec {
    /// It is stopped as if somebody had asked it to, and ends with exit code 6; running again goes
    /// on.
    #[default]
    Stop,
    /// It goes on, and is told of.
    Warn,
}

/// The days that training reads and how they are split, by time.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitSpec {
    /// Days in all (`28d`).
    #[schemars(extend("pattern" = schema::DAYS))]
    pub window: Spanned<String>,
    /// Days on which tuning compares trials.
    #[schemars(extend("pattern" = schema::DAYS))]
    pub validation: Spanned<String>,
    /// Last days, on which models are compared.
    #[schemars(extend("pattern" = schema::DAYS))]
    pub test: Spanned<String>,
}

/// A step; exactly one of `sql`, `train`, `tune`, `select`, `score` and `load` says of what kind.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = schema::step)]
pub struct StepSpec {
    /// What it is, for people.
    #[serde(default)]
    #[expect(dead_code, reason = "documentation in the file, checked to be text")]
    pub description: Option<String>,
    /// Kind: a query's file.
    #[serde(default)]
    pub sql: Option<Spanned<String>>,
    /// Kind: a training job's file.
    #[serde(default)]
    pub train: Option<Spanned<String>>,
    /// Kind: a tuning job's file.
    #[serde(default)]
    pub tune: Option<Spanned<String>>,
    /// Kind: a comparison of models.
    #[serde(default)]
    pub select: Option<Spanned<SelectSpec>>,
    /// Kind: recommendations for all users.
    #[serde(default)]
    pub score: Option<Spanned<ScoreSpec>>,
    /// Kind: a load into the serving store.
    #[serde(default)]
    pub load: Option<Spanned<LoadSpec>>,
    /// For `sql`: `[dt]` for one partition a day.
    #[serde(default)]
    #[schemars(extend("items" = schema::one_of(&["dt"])))]
    pub partition_by: Option<Spanned<Vec<Spanned<String>>>>,
    /// For `sql`: columns that together are unique within a partition.
    #[serde(default)]
    pub unique_key: Option<Spanned<Vec<Spanned<String>>>>,
    /// For `sql`: `catalog`, and `warehouse` if it is loaded there too.
    #[serde(default)]
    #[schemars(extend("items" = schema::one_of(&["catalog", "warehouse"]), "default" = ["catalog"]))]
    pub publish: Option<Spanned<Vec<Spanned<String>>>>,
    /// For `sql` steps that publish to the warehouse: how the table lies there.
    #[serde(default)]
    pub warehouse: Option<Spanned<LayoutSpec>>,
    /// For `sql`: what happens where the columns no longer fit the published table.
    #[serde(default)]
    pub schema_change: Option<Spanned<SchemaChange>>,
    /// For `sql`: days that are read of a partitioned input, up to and with the step's own.
    #[serde(default)]
    pub reads: Option<Spanned<Entries<Spanned<String>>>>,
    /// For `sql` whose rows are examples to learn from: the columns with the time of the label and
    /// with the times of what is known of it, none of which may be later.
    #[serde(default)]
    pub times: Option<Spanned<TimesSpec>>,
    /// For `sql`: what must hold before the table becomes visible.
    #[serde(default)]
    pub checks: Option<Spanned<ChecksSpec>>,
    /// For `sql`: tags that columns do not have, though what they are made from does.
    #[serde(default)]
    pub untag: Option<Spanned<Entries<Spanned<UntagSpec>>>>,
    /// For `train` and `tune`: tables by channel.
    #[serde(default)]
    pub inputs: Option<Spanned<Entries<Spanned<String>>>>,
    /// Steps that must be done before, beyond those that it reads from.
    #[serde(default)]
    pub after: Vec<Spanned<String>>,
    /// Words by which selections find it: `--select tag:nightly`.
    #[serde(default)]
    pub tags: Vec<Spanned<String>>,
    /// When it is tried again after it failed, where that is not as the pipeline says.
    #[serde(default)]
    pub retries: Option<RetriesSpec>,
}

/// When a step, or all steps of a pipeline, are tried again after they failed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetriesSpec {
    /// Tries of a step in all, the first among them; 3 if not said.
    #[serde(default)]
    pub attempts: Option<Spanned<u32>>,
    /// The wait after the first failure (`10s`), doubled with each further one.
    #[serde(default)]
    #[schemars(extend("pattern" = schema::TIME))]
    pub delay: Option<Spanned<String>>,
    /// The longest wait (`5m`).
    #[serde(default)]
    #[schemars(extend("pattern" = schema::TIME))]
    pub max_delay: Option<Spanned<String>>,
    /// Of a pipeline: retries of all steps of a run together; 20 if not said.
    #[serde(default)]
    pub budget: Option<Spanned<u32>>,
}

/// Tags that a column does not have.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UntagSpec {
    /// The tags.
    pub tags: Vec<Spanned<String>>,
    /// Why not.
    pub reason: Spanned<String>,
}

/// The times of a row that is an example to learn from.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimesSpec {
    /// The column with the time of what is to be foretold.
    pub label: Spanned<String>,
    /// The columns with the times of what is known.
    pub features: Vec<Spanned<String>>,
}

/// How a table lies in the warehouse.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LayoutSpec {
    /// The column by which rows are spread over nodes.
    #[serde(default)]
    pub dist_key: Option<Spanned<String>>,
    /// The columns by which rows are sorted.
    #[serde(default)]
    pub sort_key: Vec<Spanned<String>>,
    /// The key by which rows are replaced, instead of the whole day.
    #[serde(default)]
    pub merge_on: Option<Spanned<Vec<Spanned<String>>>>,
    /// Whether the warehouse reads the catalog's table where it lies, instead of a copy.
    #[serde(default)]
    pub external: bool,
}

/// A comparison of models.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SelectSpec {
    /// Training and tuning steps that may win.
    pub candidates: Vec<Spanned<String>>,
    /// Training steps to compare with.
    #[serde(default)]
    pub baselines: Vec<Spanned<String>>,
    /// The metric that decides.
    #[schemars(extend("pattern" = "^(recall|ndcg|map)@[0-9]+$"))]
    pub metric: Spanned<String>,
    /// What happens to the last winner.
    #[serde(default)]
    #[schemars(extend("default" = "keep_unless_beaten"))]
    pub champion: ChampionSpec,
}

/// What happens to the last winner.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChampionSpec {
    /// It stays unless it is beaten.
    #[default]
    KeepUnlessBeaten,
    /// The best model wins.
    BestWins,
}

/// Recommendations for all users.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoreSpec {
    /// The selecting or training step.
    pub model: Spanned<String>,
    /// The training step of the popularity model for unknown visitors.
    #[serde(default)]
    pub fallback: Option<Spanned<String>>,
    /// Length of each list.
    #[schemars(range(min = 1, max = 1000))]
    pub top: Spanned<usize>,
}

/// A load into the serving store.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadSpec {
    /// The scoring step.
    pub from: Spanned<String>,
    /// The served table.
    pub table: Spanned<String>,
    /// Generations kept; 3 if not said.
    #[serde(default)]
    #[schemars(range(min = 1), extend("default" = super::compile::DEFAULT_KEEP))]
    pub keep: Option<Spanned<usize>>,
    /// Where the names of items are.
    #[serde(default)]
    pub names: Option<NamesSpec>,
    /// Tags of values that are served on purpose, each with the reason.
    #[serde(default)]
    pub allow: Entries<Spanned<String>>,
}

/// Where the names of items are.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamesSpec {
    /// Table.
    pub table: Spanned<String>,
    /// Column with the item's id.
    pub key: Spanned<String>,
    /// Column with the item's name.
    pub column: Spanned<String>,
}
