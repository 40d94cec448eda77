//! From files as written to pipelines as meant. Pure: what it reads comes through closures.

mod retries;
mod source;
mod sql;
mod tags;
mod test;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::retries::compile_retries;
use self::source::compile_source;
pub use self::test::compile_tests;
use super::job;
use super::places::Places;
use super::problems::Problems;
use super::project::{ChampionSpec, PipelineSpec, ProjectSpec, StepSpec};
use super::target;
use super::yaml::{Entries, Spanned, one_of, read};
use crate::pipeline::definition::Definition;
use crate::pipeline::graph::{Cycle, Pipeline, Split, in_order};
use crate::pipeline::interval::parse_days;
use crate::pipeline::name::{MAX_NAME_LENGTH, Name};
use crate::pipeline::query::{Mention, QueryFacts, QueryFault, QueryProblem};
use crate::pipeline::source::Source;
use crate::pipeline::step::{
    ChampionRule, Check, Input, ItemNames, LoadStep, PARTITION_COLUMN, PROJECT_FILE,
    QUARANTINE_TABLE, Read, ReadFrom, ScoreStep, SelectStep, SqlStep, Step, StepKind, Times,
    TrainStep, WarehouseLayout, WarehouseMode, fallback_table,
};
use crate::pipeline::target::{LOCAL, Target};
use crate::pipeline::variable::{BUILT_IN_PARAMETERS, Variables};
use crate::run::failure::{Problem, Rule};

const DEFAULT_KEEP: usize = 3;
/// What a training job may be given.
const CHANNELS: [&str; 2] = ["train", "segments"];
/// Where tests are where the project does not say.
const DEFAULT_TESTS: &str = "tests";
/// What `split` is where a pipeline does not say.
const DEFAULT_SPLIT: Split = Split { window: 28, validation: 4, test: 4 };

/// A project: everything that its files say.
#[derive(Debug, Clone)]
pub struct Project {
    /// Pipelines by name.
    pub pipelines: BTreeMap<Name, Pipeline>,
    /// All sources, used or not.
    pub sources: BTreeMap<Name, Source>,
    /// Targets by name; the embedded one is always there.
    pub targets: BTreeMap<String, Target>,
    /// The folder of the unit tests of queries, relative to the project, without a slash at its end.
    pub tests: String,
}

/// What compiling needs of the world.
pub struct Inputs<'a> {
    /// Reads a file of the project.
    pub read: &'a dyn Fn(&str) -> std::io::Result<String>,
    /// The paths of the project's files below one of its folders; none if there is no such folder.
    pub list: &'a dyn Fn(&str) -> Vec<String>,
    /// Reads a statement.
    pub analyze: &'a dyn Fn(&str) -> Result<QueryFacts, QueryProblem>,
    /// Values given for variables, by name.
    pub given: &'a BTreeMap<String, String>,
}

/// What could be made of a project's files, and all that is wrong with them.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// What could be made: steps, sources and targets with an error are left out. It is a valid
    /// project only if no problem is an error.
    pub project: Project,
    /// All that is wrong, by file and place.
    pub problems: Vec<Problem>,
    /// The names of steps that were left out, by pipeline. What refers to them is not at fault.
    pub broken: BTreeMap<Name, BTreeSet<String>>,
    /// Where values stand in the YAML files that could be read, by file.
    pub places: BTreeMap<String, Places>,
}

impl Compiled {
    /// The project. Errors: all that is wrong with its files, warnings too, if one of it is an
    /// error.
    pub fn valid(self) -> Result<Project, Vec<Problem>> {
        match self.problems.iter().any(Problem::is_error) {
            true => Err(self.problems),
            false => Ok(self.project),
        }
    }

    /// Of a project whose file says nothing that can be read.
    fn unreadable(problem: Problem) -> Self {
        let targets = BTreeMap::from([(LOCAL.to_owned(), Target::Local)]);
        let (pipelines, sources) = (BTreeMap::new(), BTreeMap::new());
        let tests = DEFAULT_TESTS.to_owned();
        let project = Project { pipelines, sources, targets, tests };
        Self { project, problems: vec![problem], broken: BTreeMap::new(), places: BTreeMap::new() }
    }
}

/// Compiles as much of a project as can be. Each pipeline keeps the files that were read.
pub fn compile(inputs: &Inputs<'_>) -> Compiled {
    let files = RefCell::new(BTreeMap::new());
    let read = |path: &str| {
        let text = (inputs.read)(path)?;
        files.borrow_mut().insert(path.to_owned(), text.clone());
        Ok(text)
    };
    let mut compiled = compile_files(&Inputs { read: &read, ..*inputs });
    let definition = Arc::new(Definition::new(files.take(), inputs.given.clone()));
    for pipeline in compiled.project.pipelines.values_mut() {
        pipeline.definition = Arc::clone(&definition);
    }
    compiled
}

fn compile_files(inputs: &Inputs<'_>) -> Compiled {
    let mut problems = Problems::default();
    let text = match (inputs.read)(PROJECT_FILE) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("cannot read `{PROJECT_FILE}`: {error}");
            let hint = "run recctl in a project's folder, or name it with --project".to_owned();
            let problem = Problem::new(Rule::MissingFile, PROJECT_FILE, 1, 1, 1, message);
            return Compiled::unreadable(problem.with_hint(hint));
        }
    };
    let spec: ProjectSpec = match read(PROJECT_FILE, &text) {
        Ok(spec) => spec,
        Err(problem) => return Compiled::unreadable(*problem),
    };
    if spec.version.value != 1 {
        let message = format!("version {} is not known to this recctl", spec.version.value);
        let hint = Some("expected `version: 1`".to_owned());
        problems.at(Rule::UnknownVersion, PROJECT_FILE, &spec.version, message, hint);
    }
    let targets = target::compile(&spec.targets, &mut problems);
    let variables = variables(&spec, inputs.given, &mut problems);
    let mut sources = BTreeMap::new();
    for (name, source) in &spec.sources.0 {
        if let Some(name) = valid_name(name, &mut problems)
            && let Some(source) = compile_source(name.clone(), source, &variables, &mut problems)
        {
            sources.insert(name, source);
        }
    }
    let declared: BTreeSet<String> =
        spec.sources.0.iter().map(|(name, _)| name.value.clone()).collect();
    let (mut pipelines, mut broken) = (BTreeMap::new(), BTreeMap::new());
    let places = places(inputs, &text, &spec);
    for (name, pipeline) in &spec.pipelines.0 {
        let Some(name) = valid_name(name, &mut problems) else { continue };
        let mut compiler = Compiler {
            inputs,
            problems: &mut problems,
            sources: &sources,
            declared: &declared,
            variables: &variables,
            steps: pipeline
                .steps
                .0
                .iter()
                .map(|(name, step)| (name.value.as_str(), &step.value))
                .collect(),
        };
        let compiled = compiler.pipeline(name.clone(), pipeline);
        let made: BTreeSet<&str> = compiled.steps.iter().map(|step| step.name.as_str()).collect();
        let names = pipeline.steps.0.iter().map(|(name, _)| name.value.as_str());
        let left_out = names.filter(|name| !made.contains(name)).map(str::to_owned).collect();
        broken.insert(name.clone(), left_out);
        pipelines.insert(name, compiled);
    }
    check_services(&spec, &targets, &mut problems);
    let tests = tests_folder(&spec);
    let project = Project { pipelines, sources, targets, tests };
    Compiled { project, problems: problems.into_sorted(), broken, places }
}

/// Where values stand in the project's file and those of its jobs.
fn places(inputs: &Inputs<'_>, text: &str, spec: &ProjectSpec) -> BTreeMap<String, Places> {
    let mut places = BTreeMap::from([(PROJECT_FILE.to_owned(), Places::read(PROJECT_FILE, text))]);
    let steps = spec.pipelines.0.iter().flat_map(|(_, pipeline)| &pipeline.steps.0);
    for file in steps.filter_map(|(_, step)| step.value.train.as_ref().or(step.value.tune.as_ref()))
    {
        if let (false, Ok(text)) = (places.contains_key(&file.value), (inputs.read)(&file.value)) {
            places.insert(file.value.clone(), Places::read(&file.value, &text));
        }
    }
    places
}

fn tests_folder(spec: &ProjectSpec) -> String {
    let folder = spec.tests.as_ref().map_or(DEFAULT_TESTS, |folder| folder.value.as_str());
    folder.trim_start_matches("./").trim_end_matches('/').to_owned()
}

/// A target has to have the services that the pipelines' steps need.
fn check_services(spec: &ProjectSpec, targets: &BTreeMap<String, Target>, problems: &mut Problems) {
    for (name, _) in &spec.targets.0 {
        let Some(Target::Aws(target)) = targets.get(&name.value) else { continue };
        let steps = || spec.pipelines.0.iter().flat_map(|(_, pipeline)| &pipeline.steps.0);
        let mut need = |service: &str, absent: bool, needs: &dyn Fn(&StepSpec) -> bool| {
            if let (true, Some((step, _))) = (absent, steps().find(|(_, step)| needs(&step.value)))
            {
                let message = format!("target `{}` has no `{service}`", name.value);
                let hint = format!("step `{}` needs it", step.value);
                problems.at(Rule::MissingService, PROJECT_FILE, name, message, Some(hint));
            }
        };
        need("warehouse", target.warehouse.is_none(), &|step| {
            let publish = step.publish.iter().flat_map(|publish| &publish.value);
            publish.into_iter().any(|to| to.value == "warehouse")
        });
        need("trainer", target.trainer.is_none(), &|step| {
            step.train.is_some() || step.tune.is_some() || step.score.is_some()
        });
        need("serving", target.serving.is_none(), &|step| step.load.is_some());
    }
}

fn valid_name(name: &Spanned<String>, problems: &mut Problems) -> Option<Name> {
    match Name::new(name.value.as_str()) {
        Ok(valid) => Some(valid),
        Err(error) => {
            problems.at(Rule::InvalidName, PROJECT_FILE, name, error.to_string(), None);
            None
        }
    }
}

fn variables(
    spec: &ProjectSpec,
    given: &BTreeMap<String, String>,
    problems: &mut Problems,
) -> Variables {
    let mut variables = Variables::new();
    for (name, default) in &spec.vars.0 {
        if BUILT_IN_PARAMETERS.contains(&name.value.as_str()) {
            let message = format!("`{}` is a parameter that every query has", name.value);
            problems.at(
                Rule::NameTaken,
                PROJECT_FILE,
                name,
                message,
                Some("choose another name".to_owned()),
            );
        }
        let mut value = default.value.0.clone();
        if let Some(text) = given.get(&name.value) {
            match value.parse_like(text) {
                Some(parsed) => value = parsed,
                None => problems.at(
                    Rule::Variable,
                    PROJECT_FILE,
                    default,
                    format!("`{text}` was given for `{}`, expected {}", name.value, value.kind()),
                    None,
                ),
            }
        }
        variables.insert(name.value.clone(), value);
    }
    for name in given.keys() {
        if !variables.contains_key(name) {
            let known: Vec<&str> = variables.keys().map(String::as_str).collect();
            let message = format!("a value was given for `{name}`, which is not under `vars`");
            let problem = Problem::new(Rule::Variable, PROJECT_FILE, 1, 1, 1, message);
            problems.push(problem.with_hint(one_of(name, &known)));
        }
    }
    variables
}

struct Compiler<'a> {
    inputs: &'a Inputs<'a>,
    problems: &'a mut Problems,
    sources: &'a BTreeMap<Name, Source>,
    declared: &'a BTreeSet<String>,
    variables: &'a Variables,
    steps: BTreeMap<&'a str, &'a StepSpec>,
}

impl Compiler<'_> {
    fn pipeline(&mut self, name: Name, spec: &PipelineSpec) -> Pipeline {
        let split = self.split(spec);
        let retries = compile_retries(spec, self.problems);
        let mut steps = Vec::new();
        for (name, step) in &spec.steps.0 {
            let valid = valid_name(name, self.problems);
            let taken = self.declared.contains(&name.value) || name.value == QUARANTINE_TABLE;
            if taken {
                let message =
                    format!("`{}` is the name of a source or of the quarantine too", name.value);
                let hint = Some("rename the step".to_owned());
                self.problems.at(Rule::NameTaken, PROJECT_FILE, name, message, hint);
            }
            let after =
                step.value.after.iter().filter_map(|after| self.step_ref(after, &[])).collect();
            let kind = self.kind(name, step);
            let tags = self.tags(&step.value);
            if let (Some(valid), Some(kind), false) = (valid, kind, taken) {
                let mentions = mentions(name, &step.value);
                steps.push(Step { name: valid, kind, after, tags, mentions });
            }
        }
        let steps = self.ordered(steps, spec);
        self.check_partitions(&steps, spec);
        let (sources, variables) = (self.sources.clone(), self.variables.clone());
        Pipeline {
            name,
            steps,
            unselected: Vec::new(),
            sources,
            variables,
            split,
            retries,
            definition: Arc::default(),
        }
    }

    /// Puts steps into order. Those that stand in a circle are left out, each circle told once.
    fn ordered(&mut self, mut steps: Vec<Step>, spec: &PipelineSpec) -> Vec<Step> {
        loop {
            let Cycle(path) = match in_order(steps.clone()) {
                Ok(ordered) => return ordered,
                Err(cycle) => cycle,
            };
            let told: Vec<String> = path.iter().map(|name| format!("`{name}`")).collect();
            let first = path.first().map(Name::as_str).unwrap_or_default();
            if let Some((name, _)) = spec.steps.0.iter().find(|(name, _)| name.value == first) {
                let message = format!("steps need each other in a circle: {}", told.join(" → "));
                let hint = Some("each step may only read what is made before it".to_owned());
                self.problems.at(Rule::Cycle, PROJECT_FILE, name, message, hint);
            }
            steps.retain(|step| !path.contains(&step.name));
        }
    }

    /// Words that selections can be written with.
    fn tags(&mut self, step: &StepSpec) -> Vec<String> {
        for tag in &step.tags {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c);
            if tag.value.is_empty() || !tag.value.chars().all(plain) {
                let message = format!("`{}` is not a valid tag", tag.value);
                let hint = "expected lower-case letters, digits, `_`, `-` or `.`".to_owned();
                self.problems.at(Rule::InvalidValue, PROJECT_FILE, tag, message, Some(hint));
            }
        }
        step.tags.iter().map(|tag| tag.value.clone()).collect()
    }

    fn split(&mut self, spec: &PipelineSpec) -> Split {
        let Some(split) = &spec.split else { return DEFAULT_SPLIT };
        let window = self.days(&split.window);
        let validation = self.days(&split.validation);
        let test = self.days(&split.test);
        if validation + test >= window {
            self.problems.at(Rule::InvalidValue,
            PROJECT_FILE,
                &split.window,
                format!("a window of {window} days leaves none for training beside {validation} of validation and {test} of test"),
                Some("make the window longer".to_owned()),
            );
        }
        Split { window, validation, test }
    }

    fn days(&mut self, text: &Spanned<String>) -> u32 {
        parse_days(&text.value).unwrap_or_else(|| {
            let message = format!("`{}` is not a number of days", text.value);
            self.problems.at(
                Rule::InvalidValue,
                PROJECT_FILE,
                text,
                message,
                Some("expected `28d` or `4w`".to_owned()),
            );
            1
        })
    }

    fn kind(&mut self, name: &Spanned<String>, step: &Spanned<StepSpec>) -> Option<StepKind> {
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
            ("checks", spec.checks.as_ref().map(place), kind == "sql"),
            ("untag", spec.untag.as_ref().map(place), kind == "sql"),
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
        let job = job::compile(&file.value, &text, self.problems)?;
        if tune && (job.tuning.is_none() || job.objective.is_none()) {
            let missing = if job.tuning.is_none() { "tuning" } else { "objective" };
            let message = format!("`{}` has no `{missing}`, which a `tune` step needs", file.value);
            self.problems.at(Rule::Tuning, PROJECT_FILE, file, message, None);
            return None;
        }
        Some(TrainStep { file: file.value.clone(), job, inputs })
    }

    fn file(&mut self, file: &Spanned<String>) -> Option<String> {
        match (self.inputs.read)(&file.value) {
            Ok(text) => Some(text),
            Err(error) => {
                let message = match error.kind() {
                    std::io::ErrorKind::NotFound => format!("there is no file `{}`", file.value),
                    _ => format!("cannot read `{}`: {error}", file.value),
                };
                let hint = "paths are relative to the project's folder".to_owned();
                self.problems.at(Rule::MissingFile, PROJECT_FILE, file, message, Some(hint));
                None
            }
        }
    }

    /// Resolves the name of a step, of one of the kinds if any are given.
    fn step_ref(&mut self, name: &Spanned<String>, kinds: &[&str]) -> Option<Name> {
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
        let kind = kind_word(step);
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

    /// A table that is replaced whole cannot be made of one that grows by the day: which of its
    /// days would it be made of?
    fn check_partitions(&mut self, steps: &[Step], spec: &PipelineSpec) {
        for step in steps {
            let StepKind::Sql(sql) = &step.kind else { continue };
            if sql.partitioned {
                continue;
            }
            for read in &sql.reads {
                let by_day = match read.from {
                    ReadFrom::Source => {
                        self.sources.get(&read.name).is_some_and(|s| s.path.is_dated())
                    }
                    ReadFrom::Table => steps.iter().any(|other| {
                        other.name == read.name
                            && matches!(&other.kind, StepKind::Sql(sql) if sql.partitioned)
                    }),
                };
                let written =
                    spec.steps.0.iter().find(|(name, _)| name.value == step.name.as_str());
                if let (true, Some((name, _))) = (by_day, written) {
                    self.problems.at(
                        Rule::Partitioning,
                        PROJECT_FILE,
                        name,
                        format!(
                            "`{}` is not partitioned, but reads `{}`, which is by day",
                            step.name, read.name
                        ),
                        Some("add `partition_by: [dt]`".to_owned()),
                    );
                }
            }
        }
    }
}

/// Where a step names columns and conditions, which only the types of its query can judge; last the
/// step's own name.
fn mentions(name: &Spanned<String>, step: &StepSpec) -> Vec<Mention> {
    let mut words: Vec<&Spanned<String>> = Vec::new();
    words.extend(step.unique_key.iter().flat_map(|key| &key.value));
    if let Some(layout) = &step.warehouse {
        words.extend(&layout.value.dist_key);
        words.extend(&layout.value.sort_key);
        words.extend(layout.value.merge_on.iter().flat_map(|key| &key.value));
    }
    for check in step.checks.iter().flat_map(|checks| &checks.value) {
        words.extend(check.value.not_null.iter().flatten());
        words.extend(&check.value.expression);
    }
    if let Some(names) = step.load.as_ref().and_then(|load| load.value.names.as_ref()) {
        words.extend([&names.key, &names.column]);
    }
    let untagged = step.untag.iter().flat_map(|untag| &untag.value.0);
    words.extend(untagged.map(|(column, _)| column));
    words.extend(step.load.iter().flat_map(|load| &load.value.allow.0).map(|(tag, _)| tag));
    words.push(name);
    let number = |value: u64| usize::try_from(value).unwrap_or(1).max(1);
    let mention = |word: &Spanned<String>| Mention {
        name: word.value.clone(),
        line: number(word.referenced.line()),
        column: number(word.referenced.column()),
    };
    words.into_iter().map(mention).collect()
}

fn has_no_kind(step: &StepSpec) -> bool {
    let StepSpec {
        sql: None, train: None, tune: None, select: None, score: None, load: None, ..
    } = step
    else {
        return false;
    };
    true
}

fn place<T>(value: &Spanned<T>) -> Spanned<()> {
    Spanned::new((), value.referenced, value.defined)
}

fn kind_word(step: &StepSpec) -> &'static str {
    match step {
        StepSpec { sql: Some(_), .. } => "sql",
        StepSpec { train: Some(_), .. } => "train",
        StepSpec { tune: Some(_), .. } => "tune",
        StepSpec { select: Some(_), .. } => "select",
        StepSpec { score: Some(_), .. } => "score",
        _ => "load",
    }
}
