//! What happened: runs, steps, row counts and decisions, as plain serialisable facts.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use crate::pipeline::estimate::Estimate;
use crate::pipeline::fingerprint::Fingerprint;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;

/// Identity of a run: pipeline, logical date, start time and a few random digits, for example
/// `daily-20260301-20260302T031500-9f3a`. It sorts by date, then by start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId(String);

impl RunId {
    /// Makes an identity. `salt` tells apart runs that start in the same second.
    pub fn new(pipeline: &Name, date: LogicalDate, start: DateTime<Utc>, salt: u16) -> Self {
        let day = date.day().format("%Y%m%d");
        Self(format!("{pipeline}-{day}-{}-{salt:04x}", start.format("%Y%m%dT%H%M%S")))
    }

    /// Takes a text for an identity, as when a person names a run.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// When the run started, to the second; `None` if the text is no identity of a run.
    pub fn started(&self) -> Option<DateTime<Utc>> {
        let (before_salt, _) = self.0.rsplit_once('-')?;
        let (_, start) = before_salt.rsplit_once('-')?;
        NaiveDateTime::parse_from_str(start, "%Y%m%dT%H%M%S").ok().map(|start| start.and_utc())
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How a run or a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is under way, or its process died.
    Running,
    /// It is done.
    Succeeded,
    /// It was done before from the same inputs.
    Unchanged,
    /// It failed.
    Failed,
    /// Something that it needs failed.
    UpstreamFailed,
    /// A person or the system asked to stop.
    Cancelled,
    /// Its process died: nobody holds its lease, and it never said how it ended.
    Interrupted,
}

impl Status {
    /// The word for the status.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
            Self::UpstreamFailed => "upstream failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What a run was about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// A pipeline was carried out.
    #[default]
    Pipeline,
    /// A person set part of the ledger.
    Mark,
    /// A person made an earlier state visible again.
    Rollback,
}

impl RunKind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pipeline => "run",
            Self::Mark => "mark",
            Self::Rollback => "rollback",
        }
    }

    fn is_pipeline(&self) -> bool {
        *self == Self::Pipeline
    }
}

/// One run of a pipeline for a logical date.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Identity.
    pub id: RunId,
    /// Pipeline.
    pub pipeline: Name,
    /// The day that the data is about.
    pub date: LogicalDate,
    /// How it stands.
    pub status: Status,
    /// When it started.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub finished: Option<DateTime<Utc>>,
    /// The program's version.
    pub version: String,
    /// The first failure.
    pub failure: Option<Failure>,
    /// The address of the definition that it carried out, in the lake; not known of runs of an older
    /// recctl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// How many units of each step it had to do.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub planned: BTreeMap<Name, u64>,
    /// What it was about.
    #[serde(default, skip_serializing_if = "RunKind::is_pipeline")]
    pub kind: RunKind,
    /// Who held its lease: a run that is under way and whose lease another holds is dead. Not known
    /// of runs of an older recctl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// A line for people: what was done by hand, why and by whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What became of the rows that a step took in. Every row has one fate:
/// `read = kept + quarantined + filtered + duplicates`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// Which rows these are of.
    #[serde(default, skip_serializing_if = "RowsOf::is_raw")]
    pub of: RowsOf,
    /// Rows in all: lines of raw input that were read, or rows that the query returned.
    pub read: u64,
    /// Rows that the table holds.
    pub kept: u64,
    /// Rows that could not be read or were refused, kept aside with the reason.
    pub quarantined: u64,
    /// Rows that the query leaves out on purpose.
    pub filtered: u64,
    /// Rows that came before.
    pub duplicates: u64,
}

/// Which rows are accounted for. A join or an aggregation of tables makes other rows of those that
/// it reads, so that none of these has a fate of its own: there, what the query returns is
/// accounted for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowsOf {
    /// Lines of raw input, for steps that read a source.
    #[default]
    Raw,
    /// Rows that the query returned, for steps that read tables only.
    Query,
}

impl RowsOf {
    /// Whether they are lines of raw input.
    pub fn is_raw(&self) -> bool {
        *self == Self::Raw
    }
}

impl RowCounts {
    /// Whether every row read has exactly one fate.
    pub fn conserved(&self) -> bool {
        self.read == self.kept + self.quarantined + self.filtered + self.duplicates
    }

    /// Adds the counts of another partition.
    pub fn add(&mut self, other: &Self) {
        self.of = other.of;
        self.read += other.read;
        self.kept += other.kept;
        self.quarantined += other.quarantined;
        self.filtered += other.filtered;
        self.duplicates += other.duplicates;
    }
}

/// One execution of one action of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: Name,
    /// The word for what was done: `sql`, `publish`, `train`, …
    pub action: String,
    /// The part of the table.
    pub partition: Partition,
    /// How it stands.
    pub status: Status,
    /// When it started.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub finished: Option<DateTime<Utc>>,
    /// What it did.
    pub report: StepReport,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Attempts of the same run before this one, each of which failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Attempt>,
}

/// An attempt that failed and was followed by another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended.
    pub ended: DateTime<Utc>,
    /// How long it took.
    pub seconds: f64,
    /// Why it failed.
    pub failure: Failure,
}

/// What a step did, as far as it applies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Rows that came in (of tables and sources).
    pub rows_in: u64,
    /// Rows that went out.
    pub rows_out: u64,
    /// Bytes of raw input, as stored.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Fates of rows, for steps that make a table by a query.
    pub counts: Option<RowCounts>,
    /// Rows that came in, by table and source.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, u64>,
    /// Checks that are worth a word; one that held in every row is only counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckOutcome>,
    /// Checks that held in every row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub checks_passed: u64,
    /// Rows left out or quarantined, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<String, u64>,
    /// The most memory that the step held, in bytes: of the query engine's pool, or of the job's
    /// process.
    pub peak_memory: Option<u64>,
    /// Order-independent hash of the rows that went out, 32 hexadecimal digits.
    pub content_hash: Option<String>,
    /// A line for people, for example the winner and its figures.
    pub note: Option<String>,
    /// Figures by name, for example `ndcg@10`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// The generation that was published or loaded.
    pub generation: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckOutcome {
    /// What it is called: `range(price)`.
    pub check: String,
    /// How it ended.
    pub result: CheckResult,
    /// Rows that break it.
    pub rows: u64,
    /// Rows that were judged; 0 for a check of the whole table.
    pub of: u64,
    /// The words.
    pub told: String,
}

impl CheckOutcome {
    /// Whether it does not hold and was published all the same.
    pub fn is_warning(&self) -> bool {
        self.result == CheckResult::Warned
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckResult {
    /// It holds, or no more rows break it than it allows.
    Passed,
    /// The rows that break it went to the quarantine.
    Quarantined,
    /// It does not hold, and that is only told.
    Warned,
    /// It does not hold, and nothing was published.
    Failed,
    /// There is not enough to judge it by.
    NotJudged,
}

impl CheckResult {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Quarantined => "quarantined",
            Self::Warned => "warned",
            Self::Failed => "failed",
            Self::NotJudged => "not judged",
        }
    }
}

/// Figures of a table that those of later runs are compared with: what the ledger keeps of a query.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptFigures {
    /// By the day that the data is about. A table by day has its own day here, one that is replaced
    /// whole the last few.
    pub figures: BTreeMap<LogicalDate, BTreeMap<String, f64>>,
}

/// That a step is done for a partition, and what from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// Pipeline.
    pub pipeline: Name,
    /// Step, or `publish` for the joint publication of a partition.
    pub step: Name,
    /// Part of the table.
    pub partition: Partition,
    /// What it was made from.
    pub fingerprint: Fingerprint,
    /// The run that made it.
    pub run: RunId,
    /// When it was done.
    pub done: DateTime<Utc>,
    /// What later steps need of it, as JSON: for a model its place, for a selection the decision.
    pub output: serde_json::Value,
    /// What it was made from, for people: the fingerprint has digests only. Not known of rows of an
    /// older recctl.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// That a person set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// That a person made an earlier generation visible again; `run` is the one that made that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RolledBack>,
}

impl LedgerRow {
    /// Whether it says that the work is done; a person may have said that it is not.
    pub fn is_done(&self) -> bool {
        self.mark.as_ref().is_none_or(|mark| mark.set == MarkedAs::Done)
    }

    /// The digest of what was made from which readers see.
    pub fn visible_digest(&self) -> String {
        match &self.rollback {
            Some(back) => back.fingerprint.clone(),
            None => self.fingerprint.digest(),
        }
    }
}

/// Something that a result was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Input {
    /// Files of a source.
    Files {
        /// The source.
        source: Name,
        /// Its part.
        partition: Partition,
        /// How many files there were.
        files: u64,
        /// Their bytes, as stored.
        bytes: u64,
    },
    /// A part of a table.
    Table {
        /// The table.
        table: Name,
        /// Its part.
        partition: Partition,
        /// The run that made it.
        generation: String,
        /// The digest of what it was made from.
        fingerprint: String,
    },
    /// What another step made for the same day: a model, a decision, recommendations.
    Step {
        /// The step.
        step: Name,
        /// The run that made it.
        generation: String,
        /// The digest of what it was made from.
        fingerprint: String,
    },
}

/// What a person said of a row of the ledger. In which run is in the row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// What it was set to.
    pub set: MarkedAs,
    /// Who did, as `user@machine`.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Why.
    pub reason: String,
    /// The generation that was visible then and is taken for what was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
}

/// What a row of the ledger can be set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkedAs {
    /// What is there counts as made from what there is now.
    Done,
    /// It is to be made again, whatever is there.
    Missing,
}

impl MarkedAs {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Missing => "missing",
        }
    }
}

/// That a person made an earlier generation visible again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledBack {
    /// As which run it is on record.
    pub by: RunId,
    /// The digest of what the visible generation was made from.
    pub fingerprint: String,
}

/// A model: how it was fitted and where it lies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// The step that proposed it.
    pub step: Name,
    /// The algorithm.
    pub algorithm: String,
    /// Hyperparameters.
    pub hyperparameters: BTreeMap<String, String>,
    /// The archive `model.tar.gz` in the lake.
    pub artifact: String,
    /// The search of a tuning service that found the hyperparameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuned_by: Option<String>,
}

/// How one model did on the test days.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelResult {
    /// Step name, or `champion`.
    pub name: String,
    /// `candidate`, `baseline` or `champion`.
    pub role: String,
    /// How it was fitted for the comparison.
    pub model: ModelRecord,
    /// Figures by metric.
    pub metrics: BTreeMap<String, Estimate>,
}

/// Which model serves, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The day of the decision.
    pub date: LogicalDate,
    /// The metric that decided.
    pub metric: String,
    /// The winner, fitted again on all days.
    pub winner: ModelRecord,
    /// `champion` if the last winner stays, else the candidate's step.
    pub winner_name: String,
    /// Why, in words, with the figures.
    pub reason: String,
    /// All that was compared, best first.
    pub results: Vec<ModelResult>,
    /// Users over which the figures are.
    pub users: u64,
    /// First and last day of the test.
    pub test_days: (LogicalDate, LogicalDate),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_says_when_it_started() {
        let start = "2026-03-02T03:15:00Z".parse().unwrap();
        let pipeline = Name::new("daily_2").unwrap();
        let id = RunId::new(&pipeline, "2026-03-01".parse().unwrap(), start, 0x9f3a);
        assert_eq!(id.as_str(), "daily_2-20260301-20260302T031500-9f3a");
        assert_eq!(id.started(), Some(start));
        for other in ["", "r1", "daily-20260301", "a-b-c-d"] {
            assert_eq!(RunId::from_text(other).started(), None, "{other}");
        }
    }
}
