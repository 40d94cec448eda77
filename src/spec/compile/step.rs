//! Steps as meant.

use super::super::job::{self, JobFile};
use super::super::project::{ChampionSpec, StepSpec};
use super::super::yaml::{Entries, Spanned, one_of};
use super::pipeline::Compiler;
use super::valid_name;
use crate::pipeline::name::{MAX_NAME_LENGTH, Name};
use crate::pipeline::nearest::nearest;
use crate::pipeline::step::{
    ChampionRule, Input, ItemNames, LoadStep, PROJECT_FILE, ScoreStep, SelectStep, StepKind,
    TrainStep, fallback_table,
};
use crate::run::failure::Rule;

pub const DEFAULT_KEEP: usize = 3;
/// What a training job may be given.
const CHANNELS: [&str; 2] = ["train", "segments"];

impl Compiler<'_> {
    pub(super) fn kind(
        &mut self,
        name: &Spanned<String>,
        step: &Spanned<StepSpec>,
    ) -> Option<StepKind> {
        let spec = &step.value;
        let kinds = [
            ("sql", spec.sql.is_some()),
            ("train", spec.train.is_some()),
            ("tune", spec.tune.is_some()),
            ("select", spec.select.is_some()),
            ("score", spec.score.is_some()),
            ("load", spec.load.is_some()),
        ];
        let given: Vec<&str> = kinds.iter().filter(|(_, is)| *is).map(|(word, _)| *word).collect();
        let [kind] = given.as_slice() else {
            let message = match given.as_slice() {
                [] => format!("step `{}` does not say what it is", name.value),
                many => format!("step `{}` is both {}", name.value, many.join(" and ")),
            };
            let hint = "expected exactly one of `sql`, `train`, `tune`, `select`, `score`, `load`";
            self.problems.at(Rule::StepKind, PROJECT_FILE, name, message, Some(hint.to_owned()));
            return None;
        };
        let kind = *kind;
        for (field, places, applies) in [
            ("partition_by", spec.partition_by.as_ref().map(place), kind == "sql"),
            ("unique_key", spec.unique_key.as_ref().map(place), kind == "sql"),
            ("publish", spec.publish.as_ref().map(place), kind == "sql"),
            ("warehouse", spec.warehouse.as_ref().map(place), kind == "sql"),
            ("schema_change", spec.schema_change.as_ref().map(place), kind == "sql"),
            ("reads", spec.reads.as_ref().map(place), kind == "sql"),
            ("times", spec.times.as_ref().map(place), kind == "sql"),
            ("untag", spec.untag.as_ref().map(place), kind == "sql"),
            ("checks", spec.checks.as_ref().map(place), kind == "sql"),
            ("inputs", spec.inputs.as_ref().map(place), kind == "train" || kind == "tune"),
        ] {
            if let Some(place) = places
                && !applies
            {
                let message = format!("`{field}` means nothing for a `{kind}` step");
                let kinds = if field == "inputs" { "`train` and `tune`" } else { "`sql`" };
                let hint = format!("it is for {kinds} steps");
                self.problems.at(Rule::MisplacedField, PROJECT_FILE, &place, message, Some(hint));
            }
        }
        if let Some(file) = &spec.sql {
            return self.sql(file, spec).map(StepKind::Sql);
        }
        if let Some(file) = &spec.train {
            return self.train(file, spec, name, false).map(StepKind::Train);
        }
        if let Some(file) = &spec.tune {
            return self.train(file, spec, name, true).map(StepKind::Tune);
        }
        if let Some(select) = &spec.select {
            let mut refs = |names: &[Spanned<String>]| -> Vec<Name> {
                names.iter().filter_map(|name| self.step_ref(name, &["train", "tune"])).collect()
            };
            let candidates = refs(&select.value.candidates);
            let baselines = refs(&select.value.baselines);
            if select.value.candidates.is_empty() {
                self.problems.at(
                    Rule::MissingField,
                    PROJECT_FILE,
                    select,
                    "there are no candidates",
                    None,
                );
            }
            let metric = select.value.metric.value.clone();
            let known = metric.split_once('@').is_some_and(|(word, k)| {
                ["recall", "ndcg", "map"].contains(&word)
                    && k.parse::<usize>().is_ok_and(|k| (1..=1_000).contains(&k))
            });
            if !known {
                let message = format!("unknown metric `{metric}`");
                let hint = "expected `recall@k`, `ndcg@k` or `map@k`, for example `ndcg@10`";
                self.problems.at(
                    Rule::UnknownValue,
                    PROJECT_FILE,
                    &select.value.metric,
                    message,
                    Some(hint.to_owned()),
                );
            }
            let champion = match select.value.champion {
                ChampionSpec::KeepUnlessBeaten => ChampionRule::KeepUnlessBeaten,
                ChampionSpec::BestWins => ChampionRule::BestWins,
            };
            return Some(StepKind::Select(SelectStep { candidates, baselines, metric, champion }));
        }
        if let Some(score) = &spec.score {
            let model = self.step_ref(&score.value.model, &["select", "train", "tune"]);
            let fallback = match &score.value.fallback {
                Some(name) => Some(self.step_ref(name, &["train"])?),
                None => None,
            };
            if !(1..=1_000).contains(&score.value.top.value) {
                self.problems.at(
                    Rule::InvalidValue,
                    PROJECT_FILE,
                    &score.value.top,
                    "expected 1 to 1000",
                    None,
                );
            }
            if score.value.fallback.is_some() {
                self.check_fallback(name);
            }
            return Some(StepKind::Score(ScoreStep {
                model: model?,
                fallback,
                top: score.value.top.value,
            }));
        }
        let load = spec.load.as_ref()?;
        let from = self.step_ref(&load.value.from, &["score"]);
        let table = valid_name(&load.value.table, self.problems);
        let names = match &load.value.names {
            Some(names) => Some(ItemNames {
                table: self.step_ref(&names.table, &["sql"])?,
                key: names.key.value.clone(),
                column: names.column.value.clone(),
            }),
            None => None,
        };
        let keep = load.value.keep.as_ref().map_or(DEFAULT_KEEP, |keep| keep.value.max(1));
        let allow = self.allowed(&load.value.allow);
        Some(StepKind::Load(LoadStep { from: from?, table: table?, keep, names, allow }))
    }

    fn train(
        &mut self,
        file: &Spanned<String>,
        spec: &StepSpec,
        name: &Spanned<String>,
        tune: bool,
    ) -> Option<TrainStep> {
        let text = self.file(file)?;
        let mut inputs = Vec::new();
        let entries: &[(Spanned<String>, Spanned<String>)] =
            spec.inputs.as_ref().map_or(&[], |inputs| {
                let Entries(entries) = &inputs.value;
                entries
            });
        for (channel, table) in entries {
            if !CHANNELS.contains(&channel.value.as_str()) {
                let message = format!("unknown channel `{}`", channel.value);
                let hint = one_of(&channel.value, &CHANNELS);
                self.problems.at(Rule::Channel, PROJECT_FILE, channel, message, hint);
            }
            if let Some(table) = self.step_ref(table, &["sql"]) {
                inputs.push(Input { channel: channel.value.clone(), table });
            }
        }
        // A channel that nobody knows is probably this one, and has been told of.
        let all_known =
            entries.iter().all(|(channel, _)| CHANNELS.contains(&channel.value.as_str()));
        if all_known && !entries.iter().any(|(channel, _)| channel.value == "train") {
            let message = format!("step `{}` has no input for the channel `train`", name.value);
            let hint = "say which table: `inputs: {train: interactions}`".to_owned();
            self.problems.at(Rule::Channel, PROJECT_FILE, name, message, Some(hint));
        }
        let JobFile { job, sample_log } = job::compile(&file.value, &text, self.problems)?;
        if tune && (job.tuning.is_none() || job.objective.is_none()) {
            let missing = if job.tuning.is_none() { "tuning" } else { "objective" };
            let message = format!("`{}` has no `{missing}`, which a `tune` step needs", file.value);
            self.problems.at(Rule::Tuning, PROJECT_FILE, file, message, None);
            return None;
        }
        Some(TrainStep { file: file.value.clone(), job, sample_log, inputs })
    }

    pub(super) fn file(&mut self, file: &Spanned<String>) -> Option<String> {
        match (self.inputs.read)(&file.value) {
            Ok(text) => Some(text),
            Err(error) => {
                let message = match error.kind() {
                    std::io::ErrorKind::NotFound => format!("there is no file `{}`", file.value),
                    _ => format!("cannot read `{}`: {error}", file.value),
                };
                let folder = file.value.split('/').next().unwrap_or_default();
                let there = (self.inputs.list)(folder);
                let hint = match nearest(&file.value, there.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "paths are relative to the project's folder".to_owned(),
                };
                self.problems.at(Rule::MissingFile, PROJECT_FILE, file, message, Some(hint));
                None
            }
        }
    }

    /// Resolves the name of a step, of one of the kinds if any are given.
    pub(super) fn step_ref(&mut self, name: &Spanned<String>, kinds: &[&str]) -> Option<Name> {
        let Some(step) = self.steps.get(name.value.as_str()) else {
            let known: Vec<&str> = self.steps.keys().copied().collect();
            let hint = one_of(&name.value, &known);
            self.problems.at(
                Rule::UnknownStep,
                PROJECT_FILE,
                name,
                format!("unknown step `{}`", name.value),
                hint,
            );
            return None;
        };
        // A step that does not say what it is has been told of.
        let kind = kind_word(step.spec?)?;
        if !kinds.is_empty() && !kinds.contains(&kind) {
            let message = format!("`{}` is a `{kind}` step", name.value);
            let hint = format!("expected a step of kind `{}`", kinds.join("` or `"));
            self.problems.at(Rule::WrongStepKind, PROJECT_FILE, name, message, Some(hint));
            return None;
        }
        Name::new(name.value.as_str()).ok()
    }

    /// The lists for unknown visitors are a table too, named after the step.
    fn check_fallback(&mut self, name: &Spanned<String>) {
        let table = fallback_table(&name.value);
        if Name::new(table.as_str()).is_err() {
            let message =
                format!("step `{}` makes a table `{table}`, which is too long a name", name.value);
            let hint = format!("at most {MAX_NAME_LENGTH} characters; rename the step");
            self.problems.at(Rule::InvalidName, PROJECT_FILE, name, message, Some(hint));
        } else if self.steps.contains_key(table.as_str()) || self.declared.contains(&table) {
            let message = format!("step `{}` makes a table `{table}` too", name.value);
            self.problems.at(
                Rule::NameTaken,
                PROJECT_FILE,
                name,
                message,
                Some("rename one of the two".to_owned()),
            );
        }
    }
}

fn place<T>(value: &Spanned<T>) -> Spanned<()> {
    Spanned::new((), value.referenced, value.defined)
}

/// The word for what a step is; none if it does not say.
fn kind_word(step: &StepSpec) -> Option<&'static str> {
    Some(match step {
        StepSpec { sql: Some(_), .. } => "sql",
        StepSpec { train: Some(_), .. } => "train",
        StepSpec { tune: Some(_), .. } => "tune",
        StepSpec { select: Some(_), .. } => "select",
        StepSpec { score: Some(_), .. } => "score",
        StepSpec { load: Some(_), .. } => "load",
        _ => return None,
    })
}
