//! From files as written to pipelines as meant. Pure: what it reads comes through closures.

mod checks;
mod pipeline;
mod retries;
mod schedule;
mod source;
mod sql;
mod step;
mod tags;
mod test;
mod unused;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::pipeline::{Compiler, Known};
pub(super) use self::schedule::{DEFAULT_AVERAGE_RUNS, DEFAULT_WARN_AT};
pub(super) use self::source::DEFAULT_MAX_RATIO;
use self::source::compile_source;
pub(super) use self::step::DEFAULT_KEEP;
pub use self::test::compile_tests;
use super::places::Places;
use super::problems::Problems;
use super::project::{ProjectSpec, StepSpec};
use super::target;
use super::yaml::{Entries, Lost, Reading, Spanned, one_of, read};
use crate::pipeline::definition::Definition;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::name::Name;
use crate::pipeline::query::{QueryFacts, QueryProblem};
use crate::pipeline::source::Source;
use crate::pipeline::step::PROJECT_FILE;
use crate::pipeline::target::{LOCAL, Target};
use crate::pipeline::variable::{BUILT_IN_PARAMETERS, Variables};
use crate::run::failure::{Problem, Rule};

/// Where tests are where the project does not say.
const DEFAULT_TESTS: &str = "tests";

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
    /// How many steps with a query are written, by pipeline.
    pub queries: BTreeMap<Name, usize>,
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
    fn unreadable(problems: Vec<Problem>) -> Self {
        let targets = BTreeMap::from([(LOCAL.to_owned(), Target::Local)]);
        let (pipelines, sources) = (BTreeMap::new(), BTreeMap::new());
        let tests = DEFAULT_TESTS.to_owned();
        let project = Project { pipelines, sources, targets, tests };
        let (broken, queries, places) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { project, problems, broken, queries, places }
    }
}

/// Compiles as much of a project as can be. Each pipeline keeps the files that were read for it.
pub fn compile(inputs: &Inputs<'_>) -> Compiled {
    let files = RefCell::new(BTreeMap::new());
    let read = |path: &str| {
        let text = (inputs.read)(path)?;
        files.borrow_mut().insert(path.to_owned(), text.clone());
        Ok(text)
    };
    let mut compiled = compile_files(&Inputs { read: &read, ..*inputs }, inputs);
    let definition = Arc::new(Definition::new(files.take(), inputs.given.clone()));
    for pipeline in compiled.project.pipelines.values_mut() {
        pipeline.definition = Arc::clone(&definition);
    }
    compiled
}

/// Compiles what `inputs` read, and looks through `all` for what is not used.
fn compile_files(inputs: &Inputs<'_>, all: &Inputs<'_>) -> Compiled {
    let mut problems = Problems::default();
    let text = match (inputs.read)(PROJECT_FILE) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("cannot read `{PROJECT_FILE}`: {error}");
            let hint = "run recctl in a project's folder, or name it with --project".to_owned();
            let problem = Problem::new(Rule::MissingFile, PROJECT_FILE, 1, 1, 1, message);
            return Compiled::unreadable(vec![problem.with_hint(hint)]);
        }
    };
    let Some(Reading { value: spec, lost }) = read(PROJECT_FILE, &text, &mut problems) else {
        return Compiled::unreadable(problems.into_sorted());
    };
    let spec: ProjectSpec = spec;
    check_root(&spec, &lost, &mut problems);
    let targets = targets(&spec, &lost, &mut problems);
    let variables = variables(&spec, inputs.given, &mut problems);
    let (sources, declared) = sources(&spec, &lost, &variables, &mut problems);
    let (mut pipelines, mut broken) = (BTreeMap::new(), BTreeMap::new());
    let mut queries = BTreeMap::new();
    for (name, pipeline) in entries(&spec.pipelines) {
        let Some(valid) = valid_name(name, &mut problems) else { continue };
        let at = ["pipelines", &name.value, "steps"];
        let known = pipeline.steps.0.iter().map(|(name, step)| {
            let whole = !lost.inside(&[&at[..], &[&name.value]].concat());
            (name.value.as_str(), Known { spec: Some(&step.value), whole })
        });
        let gone = lost.names(&at).map(|name| (name, Known { spec: None, whole: false }));
        let mut compiler = Compiler {
            inputs,
            problems: &mut problems,
            sources: &sources,
            declared: &declared,
            all_declared: !lost.has(&["sources"]),
            variables: &variables,
            steps: gone.chain(known).collect(),
        };
        let compiled = compiler.pipeline(valid.clone(), pipeline);
        let made: BTreeSet<&str> = compiled.steps.iter().map(|step| step.name.as_str()).collect();
        let names = compiler.steps.keys().filter(|name| !made.contains(*name));
        broken.insert(valid.clone(), names.map(|name| (*name).to_owned()).collect());
        let written = pipeline.steps.0.iter().filter(|(_, step)| step.value.sql.is_some());
        queries.insert(valid.clone(), written.count());
        pipelines.insert(valid, compiled);
    }
    check_services(&spec, &targets, &mut problems);
    let places = places(inputs, &text, &spec);
    // Where a step is not known wholly, a file that seems unused may be what it means.
    let known = !lost.has(&["pipelines"]) && !lost.inside(&["pipelines"]);
    if known && !problems.any(&[Rule::MissingFile, Rule::StepKind, Rule::MissingField]) {
        unused::check(&spec, all, &mut problems);
    }
    let tests = tests_folder(&spec);
    let project = Project { pipelines, sources, targets, tests };
    Compiled { project, problems: problems.into_sorted(), broken, queries, places }
}

/// Where values stand in the project's file and those of its jobs.
fn places(inputs: &Inputs<'_>, text: &str, spec: &ProjectSpec) -> BTreeMap<String, Places> {
    let mut places = BTreeMap::from([(PROJECT_FILE.to_owned(), Places::read(PROJECT_FILE, text))]);
    let steps = entries(&spec.pipelines).iter().flat_map(|(_, pipeline)| &pipeline.steps.0);
    for file in steps.filter_map(|(_, step)| step.value.train.as_ref().or(step.value.tune.as_ref()))
    {
        if let (false, Ok(text)) = (places.contains_key(&file.value), (inputs.read)(&file.value)) {
            places.insert(file.value.clone(), Places::read(&file.value, &text));
        }
    }
    places
}

/// The entries of a part that may be missing.
fn entries<T>(part: &Option<Entries<T>>) -> &[(Spanned<String>, T)] {
    part.as_ref().map_or(&[], |entries| &entries.0)
}

/// The fields that every project needs.
fn check_root(spec: &ProjectSpec, lost: &Lost, problems: &mut Problems) {
    if let Some(version) = &spec.version
        && version.value != 1
    {
        let message = format!("version {} is not known to this recctl", version.value);
        let hint = Some("expected `version: 1`".to_owned());
        problems.at(Rule::UnknownVersion, PROJECT_FILE, version, message, hint);
    }
    for (field, is_there) in [
        ("version", spec.version.is_some()),
        ("sources", spec.sources.is_some()),
        ("pipelines", spec.pipelines.is_some()),
    ] {
        if !is_there && !lost.has(&[field]) {
            let message = format!("missing field `{field}`");
            let problem = Problem::new(Rule::MissingField, PROJECT_FILE, 1, 1, 1, message);
            let hint = "a project has `version: 1`, `sources` and `pipelines`".to_owned();
            problems.push(problem.with_hint(hint));
        }
    }
}

/// Targets; one of which a part was lost is left out.
fn targets(spec: &ProjectSpec, lost: &Lost, problems: &mut Problems) -> BTreeMap<String, Target> {
    let mut targets = target::compile(&spec.targets, lost, problems);
    targets.retain(|name, _| !lost.inside(&["targets", name]));
    targets
}

/// Sources by name, and the names of all that are written: one with errors is left out.
fn sources(
    spec: &ProjectSpec,
    lost: &Lost,
    variables: &Variables,
    problems: &mut Problems,
) -> (BTreeMap<Name, Source>, BTreeSet<String>) {
    let mut sources = BTreeMap::new();
    let mut declared: BTreeSet<String> = lost.names(&["sources"]).map(str::to_owned).collect();
    for (name, source) in entries(&spec.sources) {
        declared.insert(name.value.clone());
        let told = problems.count();
        let whole = !lost.inside(&["sources", &name.value]);
        let Some(name) = valid_name(name, problems) else { continue };
        let source = compile_source(name.clone(), source, variables, problems);
        if let (Some(source), true) = (source, whole) {
            sources.insert(name, source);
        } else if !whole {
            problems.keep_since(told, |problem| problem.rule != Rule::MissingField);
        }
    }
    (sources, declared)
}

fn tests_folder(spec: &ProjectSpec) -> String {
    let folder = spec.tests.as_ref().map_or(DEFAULT_TESTS, |folder| folder.value.as_str());
    folder.trim_start_matches("./").trim_end_matches('/').to_owned()
}

/// A target has to have the services that the pipelines' steps need.
fn check_services(spec: &ProjectSpec, targets: &BTreeMap<String, Target>, problems: &mut Problems) {
    for (name, _) in &spec.targets.0 {
        let Some(Target::Aws(target)) = targets.get(&name.value) else { continue };
        let steps = || entries(&spec.pipelines).iter().flat_map(|(_, pipeline)| &pipeline.steps.0);
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
