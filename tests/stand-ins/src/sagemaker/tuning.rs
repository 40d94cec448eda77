//! Hyperparameter tuning jobs.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::check::Check;
use super::fault::Fault;
use super::job::{Job, Kind, Origin, Status};
use super::page::Listing;
use super::storage::join;
use super::suggest::{Observation, TuningRequestView};
use super::{Answer, Refusal, Shared, State, invalid, not_found, now, refuse, text, training};

/// Children that have to be done before the median says that another is hopeless.
const EARLY_STOPPING_AFTER: usize = 3;

#[derive(Debug)]
pub(super) struct TuningJob {
    pub(super) name: String,
    arn: String,
    request: Value,
    view: TuningRequestView,
    created: f64,
    modified: f64,
    ended: Option<f64>,
    status: Status,
    failure: Option<String>,
    children: Vec<String>,
    stop: watch::Sender<bool>,
}

pub(super) fn create(shared: &Arc<Shared>, request: &Value) -> Answer {
    let mut view = check(request).map_err(invalid)?;
    let name = view.name.clone();
    let arn = shared.arn("hyper-parameter-tuning-job", &name);
    if shared.lock().tuning(&name).is_some() {
        return in_use(&arn);
    }
    view.inherited = inherited(&shared.lock(), request, &view)?;
    let choices = resources(&request["TrainingJobDefinition"]);
    let instance = choices.first().map(|first| text(first, "InstanceType")).unwrap_or_default();
    super::run::exceeds(shared, &name, instance)?;
    let stop = watch::Sender::new(false);
    let stopped = stop.subscribe();
    let at = now();
    let job = TuningJob {
        name: name.clone(),
        arn: arn.clone(),
        request: request.clone(),
        view,
        created: at,
        modified: at,
        ended: None,
        status: Status::InProgress,
        failure: None,
        children: Vec::new(),
        stop,
    };
    let added = shared.update(|state| {
        if state.tuning(&name).is_some() {
            return false;
        }
        state.add_tags(&arn, request);
        state.tunings.push(job);
        true
    });
    if !added {
        return in_use(&arn);
    }
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let end = search(&shared, &name, stopped).await;
        shared.update(|state| {
            let failed = state.children_of(&name).all(|child| child.status == Status::Failed);
            let any = state.children_of(&name).next().is_some();
            let Some(tuning) = state.tuning_mut(&name) else { return };
            tuning.status = end;
            if end == Status::Completed && failed && any {
                tuning.status = Status::Failed;
                let text = "All training jobs failed. Please take a look at the training jobs \
                            failures to get more details.";
                tuning.failure = Some(text.to_owned());
            }
            tuning.modified = now();
            tuning.ended = Some(now());
        });
    });
    Ok(json!({ "HyperParameterTuningJobArn": arn }))
}

fn in_use(arn: &str) -> Answer {
    let message = format!(
        "Hyperparameter tuning job names must be unique within an AWS account and region, and a \
         job with this name already exists ({arn})"
    );
    refuse("ResourceInUse", message)
}

fn check(request: &Value) -> Result<TuningRequestView, String> {
    let mut check = Check::new(request);
    check.name("/HyperParameterTuningJobName", 32);
    let config = |rest: &str| format!("/HyperParameterTuningJobConfig/{rest}");
    check.required(&config("Strategy"));
    check.one_of(&config("Strategy"), &["Bayesian", "Random", "Hyperband", "Grid"]);
    check.required(&config("ResourceLimits/MaxParallelTrainingJobs"));
    check.number(&config("ResourceLimits/MaxParallelTrainingJobs"), 1, 100);
    let strategy = request.pointer(&config("Strategy")).and_then(Value::as_str);
    let most = if strategy == Some("Random") { 10_000 } else { 750 };
    check.number(&config("ResourceLimits/MaxNumberOfTrainingJobs"), 1, most);
    check.number(&config("ResourceLimits/MaxRuntimeInSeconds"), 120, 15_768_000);
    let objective = |rest: &str| config(&format!("HyperParameterTuningJobObjective/{rest}"));
    check.required(&objective("Type"));
    check.one_of(&objective("Type"), &["Maximize", "Minimize"]);
    check.required(&objective("MetricName"));
    check.number(&config("RandomSeed"), 0, i64::from(i32::MAX));
    check.one_of(&config("TrainingJobEarlyStoppingType"), &["Off", "Auto"]);
    let early = request.pointer(&config("TrainingJobEarlyStoppingType")).and_then(Value::as_str);
    check.refuse_if(
        strategy == Some("Hyperband") && early == Some("Auto"),
        "TrainingJobEarlyStoppingType must be Off when the strategy is Hyperband",
    );
    check.refuse_if(
        strategy != Some("Hyperband") && request.pointer(&config("StrategyConfig")).is_some(),
        "StrategyConfig is only for the strategy Hyperband",
    );
    check.required("/TrainingJobDefinition");
    let definition = &request["TrainingJobDefinition"];
    check.training("/TrainingJobDefinition");
    check.map("/TrainingJobDefinition/StaticHyperParameters", 100, (256, ".*"), 2_500);
    check.required("/TrainingJobDefinition/RoleArn");
    let resources = match definition.get("HyperParameterTuningResourceConfig") {
        Some(config) if config.get("InstanceConfigs").is_some() => {
            "/TrainingJobDefinition/HyperParameterTuningResourceConfig/InstanceConfigs/0"
        }
        Some(_) => "/TrainingJobDefinition/HyperParameterTuningResourceConfig",
        None => "/TrainingJobDefinition/ResourceConfig",
    };
    if !resources.ends_with('0') {
        check.resources(resources);
    }
    let wanted = request.pointer(&objective("MetricName"));
    let metrics = definition["AlgorithmSpecification"].get("MetricDefinitions");
    let metrics = metrics.and_then(Value::as_array);
    check.refuse_if(
        !metrics.into_iter().flatten().any(|metric| metric.get("Name") == wanted),
        "The objective metric must be one of the MetricDefinitions of the training job",
    );
    check.tags();
    let view = TuningRequestView::new(request);
    if let Err(problem) = &view {
        check.refuse_if(true, problem);
    }
    let fixed = definition.get("StaticHyperParameters").and_then(Value::as_object);
    let tuned = view.as_ref().map(|view| view.ranges.clone()).unwrap_or_default();
    check.refuse_if(
        fixed.into_iter().flatten().any(|(name, _)| tuned.contains_key(name)),
        "A hyperparameter cannot be static and have a range",
    );
    check.finish()?;
    view
}

/// What the parents of a warm start have seen.
fn inherited(
    state: &State,
    request: &Value,
    view: &TuningRequestView,
) -> Result<Vec<Observation>, Refusal> {
    let Some(config) = request.get("WarmStartConfig").filter(|config| !config.is_null()) else {
        return Ok(Vec::new());
    };
    let mut check = Check::new(config);
    check.required("/WarmStartType");
    check.one_of("/WarmStartType", &["IdenticalDataAndAlgorithm", "TransferLearning"]);
    check.required("/ParentHyperParameterTuningJobs");
    check.length("/ParentHyperParameterTuningJobs", 1, 5);
    check.finish().map_err(invalid)?;
    let count = |request: &Value, view: &TuningRequestView| {
        let fixed = request.pointer("/TrainingJobDefinition/StaticHyperParameters");
        fixed.and_then(Value::as_object).map_or(0, |map| map.len()) + view.ranges.len()
    };
    let mut inherited = Vec::new();
    for parent in config["ParentHyperParameterTuningJobs"].as_array().into_iter().flatten() {
        let name = text(parent, "HyperParameterTuningJobName");
        let wrong = |what: &str| Err(invalid(format!("Parent tuning job {name} {what}")));
        let Some(parent) = state.tuning(name) else { return wrong("does not exist") };
        if !parent.status.is_terminal() {
            return wrong("is not in a terminal state");
        }
        if (&parent.view.metric, parent.view.maximize) != (&view.metric, view.maximize) {
            return wrong("has another objective");
        }
        if count(&parent.request, &parent.view) != count(request, view) {
            return wrong("has another number of hyperparameters");
        }
        inherited.extend(parent.view.inherited.iter().cloned());
        inherited.extend(observations(state, name));
    }
    Ok(inherited)
}

impl State {
    fn children_of(&self, tuning: &str) -> impl Iterator<Item = &Job> {
        let names = self.tuning(tuning).map(|tuning| tuning.children.as_slice());
        names.unwrap_or_default().iter().filter_map(|name| self.job(Kind::Training, name))
    }
}

fn observations(state: &State, tuning: &str) -> Vec<Observation> {
    state
        .children_of(tuning)
        .map(|child| Observation {
            hyperparameters: child.origin.as_ref().map(|o| o.tuned.clone()).unwrap_or_default(),
            value: child.objective().filter(|_| is_observed(child)),
        })
        .collect()
}

/// Whether a child's objective counts: it ended by itself, or was stopped early.
fn is_observed(child: &Job) -> bool {
    matches!(child.status, Status::Completed | Status::Stopped)
}

async fn search(shared: &Arc<Shared>, name: &str, mut stop: watch::Receiver<bool>) -> Status {
    let Some((view, request)) =
        shared.lock().tuning(name).map(|job| (job.view.clone(), job.request.clone()))
    else {
        return Status::Failed;
    };
    let limit = request
        .pointer("/HyperParameterTuningJobConfig/ResourceLimits/MaxRuntimeInSeconds")
        .and_then(Value::as_u64)
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut version = shared.version.subscribe();
    loop {
        let started = start_round(shared, &view, &request);
        if started == 0 {
            return Status::Completed;
        }
        loop {
            version.borrow_and_update();
            if *stop.borrow() || limit.is_some_and(|limit| Instant::now() >= limit) {
                stop_children(shared, name);
            } else {
                stop_hopeless(shared, &view, &request);
            }
            if shared.lock().children_of(name).all(|child| child.status.is_terminal()) {
                break;
            }
            tokio::select! {
                _ = version.changed() => {}
                _ = stop.changed() => {}
            }
        }
        if *stop.borrow() || limit.is_some_and(|limit| Instant::now() >= limit) {
            return Status::Stopped;
        }
        if is_good_enough(&observations(&shared.lock(), name), &view, &request) {
            return Status::Completed;
        }
    }
}

/// Starts as many children as may run at a time; returns how many.
fn start_round(shared: &Arc<Shared>, view: &TuningRequestView, request: &Value) -> usize {
    let mut tried = observations(&shared.lock(), &view.name);
    let room = view.parallel.min(view.max_jobs.saturating_sub(tried.len()));
    for started in 0..room {
        let Some(hyperparameters) = (shared.config.suggest)(view, &tried) else { return started };
        let child = child_name(&view.name, tried.len() + 1);
        let definition = &request["TrainingJobDefinition"];
        let resources = allocate(shared, &child, resources(definition));
        let asked = child_request(view, definition, &child, &hyperparameters, resources);
        let origin = Origin {
            arn: shared.arn("hyper-parameter-tuning-job", &view.name),
            tuned: hyperparameters.clone(),
            metric: view.metric.clone(),
            goal: if view.maximize { "Maximize" } else { "Minimize" }.to_owned(),
        };
        training::submit(shared, &child, asked, Some(origin));
        shared.update(|state| {
            if let Some(tuning) = state.tuning_mut(&view.name) {
                tuning.children.push(child);
                tuning.modified = now();
            }
        });
        tried.push(Observation { hyperparameters, value: None });
    }
    room
}

fn child_name(tuning: &str, number: usize) -> String {
    let mut hasher = DefaultHasher::new();
    (tuning, number).hash(&mut hasher);
    format!("{tuning}-{number:03}-{:08x}", hasher.finish() & 0xffff_ffff)
}

/// The instances of a definition, in the order of their priority.
fn resources(definition: &Value) -> Vec<Value> {
    let Some(tuning) = definition.get("HyperParameterTuningResourceConfig") else {
        return definition.get("ResourceConfig").cloned().into_iter().collect();
    };
    let several = tuning.get("InstanceConfigs").and_then(Value::as_array).cloned();
    let choices = several.unwrap_or_else(|| vec![tuning.clone()]);
    let resource = |choice: &Value| {
        let mut resources = json!({});
        for member in ["InstanceType", "InstanceCount", "VolumeSizeInGB", "VolumeKmsKeyId"] {
            if let Some(value) = choice.get(member).or(tuning.get(member)) {
                resources[member] = value.clone();
            }
        }
        resources
    };
    choices.iter().map(resource).collect()
}

/// The first instance that has capacity for a child; the last one fails by itself.
fn allocate(shared: &Shared, child: &str, mut choices: Vec<Value>) -> Value {
    let mut state = shared.lock();
    while choices.len() > 1 {
        let instance = text(&choices[0], "InstanceType");
        if state.rules.take(child, instance, |fault| *fault == Fault::Capacity).is_none() {
            break;
        }
        choices.remove(0);
    }
    choices.into_iter().next().unwrap_or_default()
}

fn child_request(
    view: &TuningRequestView,
    definition: &Value,
    name: &str,
    tuned: &BTreeMap<String, String>,
    resources: Value,
) -> Value {
    let mut request = json!({ "TrainingJobName": name });
    for member in [
        "AlgorithmSpecification",
        "RoleArn",
        "InputDataConfig",
        "OutputDataConfig",
        "VpcConfig",
        "StoppingCondition",
        "EnableManagedSpotTraining",
        "EnableNetworkIsolation",
        "EnableInterContainerTrafficEncryption",
        "CheckpointConfig",
        "RetryStrategy",
        "Environment",
    ] {
        if let Some(value) = definition.get(member) {
            request[member] = value.clone();
        }
    }
    request["ResourceConfig"] = resources;
    // Children must not share their checkpoints.
    let checkpoints = definition.pointer("/CheckpointConfig/S3Uri").and_then(Value::as_str);
    if let Some(uri) = checkpoints {
        request["CheckpointConfig"]["S3Uri"] = json!(join(uri, name));
    }
    let mut hyperparameters =
        definition.get("StaticHyperParameters").cloned().unwrap_or_else(|| json!({}));
    for (name, value) in tuned {
        hyperparameters[name] = json!(value);
    }
    hyperparameters["_tuning_objective_metric"] = json!(view.metric);
    request["HyperParameters"] = hyperparameters;
    request
}

fn stop_children(shared: &Shared, name: &str) {
    let mut state = shared.lock();
    let children = state.tuning(name).map(|tuning| tuning.children.clone()).unwrap_or_default();
    for child in children {
        stop_child(&mut state, &child);
    }
}

fn stop_child(state: &mut State, child: &str) {
    if let Some(job) = state.job_mut(Kind::Training, child)
        && job.status == Status::InProgress
    {
        job.status = Status::Stopping;
        job.stop.send_replace(true);
    }
}

/// Early stopping: a child whose objective is worse than the median of the running averages of
/// those that are done, at the same step.
fn stop_hopeless(shared: &Shared, view: &TuningRequestView, request: &Value) {
    let config = &request["HyperParameterTuningJobConfig"];
    if text(config, "TrainingJobEarlyStoppingType") != "Auto" {
        return;
    }
    let mut state = shared.lock();
    let mut hopeless = Vec::new();
    for child in state.children_of(&view.name) {
        let (steps, Some(last)) = (child.history.len(), child.history.last()) else { continue };
        if child.status != Status::InProgress {
            continue;
        }
        let mut averages: Vec<f64> = state
            .children_of(&view.name)
            .filter(|other| other.status == Status::Completed)
            .filter_map(|other| other.history.get(..steps))
            .map(|values| values.iter().sum::<f64>() / values.len() as f64)
            .collect();
        averages.sort_by(f64::total_cmp);
        let median = averages.get(averages.len() / 2);
        if averages.len() >= EARLY_STOPPING_AFTER
            && median.is_some_and(|median| view.is_better(*median, *last))
        {
            hopeless.push(child.name.clone());
        }
    }
    for child in hopeless {
        stop_child(&mut state, &child);
    }
}

impl TuningRequestView {
    fn is_better(&self, a: f64, b: f64) -> bool {
        if self.maximize { a > b } else { a < b }
    }
}

/// The completion criteria.
fn is_good_enough(tried: &[Observation], view: &TuningRequestView, request: &Value) -> bool {
    let criteria = &request["HyperParameterTuningJobConfig"]["TuningJobCompletionCriteria"];
    let mut best: Option<(usize, f64)> = None;
    for (at, value) in tried.iter().enumerate().filter_map(|(at, o)| Some((at, o.value?))) {
        if best.is_none_or(|(_, known)| view.is_better(value, known)) {
            best = Some((at, value));
        }
    }
    let Some((at, best)) = best else { return false };
    let target = criteria.get("TargetObjectiveMetricValue").and_then(Value::as_f64);
    let patience = criteria
        .pointer("/BestObjectiveNotImproving/MaxNumberOfTrainingJobsNotImproving")
        .and_then(Value::as_u64)
        .and_then(|jobs| usize::try_from(jobs).ok());
    target.is_some_and(|target| !view.is_better(target, best))
        || patience.is_some_and(|jobs| tried.len() - at > jobs)
}

pub(super) fn stop(shared: &Shared, request: &Value) -> Answer {
    shared.update(|state| {
        let name = text(request, "HyperParameterTuningJobName");
        let tuning = state.tuning_mut(name).ok_or_else(not_found)?;
        if tuning.status.is_terminal() {
            return Err(invalid(format!(
                "The request was rejected because the tuning job is in status {}.",
                tuning.status.word()
            )));
        }
        tuning.status = Status::Stopping;
        tuning.stop.send_replace(true);
        Ok(json!({}))
    })
}

pub(super) fn describe(shared: &Shared, request: &Value) -> Answer {
    let state = shared.lock();
    let tuning =
        state.tuning(text(request, "HyperParameterTuningJobName")).ok_or_else(not_found)?;
    let mut answer = tuning.request.clone();
    if let Some(members) = answer.as_object_mut() {
        members.remove("Tags");
    }
    answer["HyperParameterTuningJobArn"] = json!(tuning.arn);
    answer["HyperParameterTuningJobStatus"] = json!(tuning.status.word());
    answer["CreationTime"] = json!(tuning.created);
    answer["LastModifiedTime"] = json!(tuning.modified);
    if let Some(ended) = tuning.ended {
        answer["HyperParameterTuningEndTime"] = json!(ended);
    }
    if let Some(reason) = &tuning.failure {
        answer["FailureReason"] = json!(reason);
    }
    let count = |is: &dyn Fn(&Job) -> bool| {
        state.children_of(&tuning.name).filter(|child| is(child)).count()
    };
    answer["TrainingJobStatusCounters"] = json!({
        "Completed": count(&|child| child.status == Status::Completed),
        "InProgress": count(&|child| !child.status.is_terminal()),
        "RetryableError": 0,
        "NonRetryableError": count(&|child| child.status == Status::Failed),
        "Stopped": count(&|child| child.status == Status::Stopped),
    });
    answer["ObjectiveStatusCounters"] = json!({
        "Succeeded": count(&|child| objective_status(child) == "Succeeded"),
        "Pending": count(&|child| objective_status(child) == "Pending"),
        "Failed": count(&|child| objective_status(child) == "Failed"),
    });
    let own = best(state.children_of(&tuning.name), &tuning.view);
    if let Some(best) = own {
        answer["BestTrainingJob"] = child_summary(best);
    }
    if text(&tuning.request["WarmStartConfig"], "WarmStartType") == "IdenticalDataAndAlgorithm" {
        let parents = tuning.request.pointer("/WarmStartConfig/ParentHyperParameterTuningJobs");
        let parents = parents.and_then(Value::as_array).into_iter().flatten();
        let names = parents.map(|parent| text(parent, "HyperParameterTuningJobName"));
        let all = names.flat_map(|name| state.children_of(name)).chain(own);
        if let Some(best) = best(all, &tuning.view) {
            answer["OverallBestTrainingJob"] = child_summary(best);
        }
    }
    Ok(answer)
}

fn best<'a>(children: impl Iterator<Item = &'a Job>, view: &TuningRequestView) -> Option<&'a Job> {
    let mut best: Option<(&Job, f64)> = None;
    for child in children.filter(|child| is_observed(child)) {
        if let Some(value) = child.objective()
            && best.is_none_or(|(_, known)| view.is_better(value, known))
        {
            best = Some((child, value));
        }
    }
    best.map(|(child, _)| child)
}

fn objective_status(child: &Job) -> &'static str {
    match (child.status.is_terminal(), is_observed(child) && child.objective().is_some()) {
        (false, _) => "Pending",
        (true, true) => "Succeeded",
        (true, false) => "Failed",
    }
}

fn child_summary(child: &Job) -> Value {
    let mut summary = json!({
        "TrainingJobName": child.name,
        "TrainingJobArn": child.arn,
        "CreationTime": child.created,
        "TrainingJobStatus": child.status.word(),
        "ObjectiveStatus": objective_status(child),
    });
    for (member, time) in [("TrainingStartTime", child.started), ("TrainingEndTime", child.ended)] {
        if let Some(time) = time {
            summary[member] = json!(time);
        }
    }
    if let Some(reason) = &child.failure {
        summary["FailureReason"] = json!(reason);
    }
    if let Some(origin) = &child.origin {
        summary["TunedHyperParameters"] = json!(origin.tuned);
        if objective_status(child) == "Succeeded" {
            summary["FinalHyperParameterTuningJobObjectiveMetric"] = json!({
                "Type": origin.goal,
                "MetricName": origin.metric,
                "Value": child.objective(),
            });
        }
    }
    summary
}

pub(super) fn list(shared: &Shared, request: &Value) -> Answer {
    let state = shared.lock();
    let items = state.tunings.iter().map(|tuning| {
        let counters = json!({ "Completed": tuning.children.len() });
        json!({
            "HyperParameterTuningJobName": tuning.name,
            "HyperParameterTuningJobArn": tuning.arn,
            "HyperParameterTuningJobStatus": tuning.status.word(),
            "Strategy": tuning.view.strategy,
            "CreationTime": tuning.created,
            "LastModifiedTime": tuning.modified,
            "TrainingJobStatusCounters": counters,
            "ObjectiveStatusCounters": {},
        })
    });
    let listing = Listing {
        list: "HyperParameterTuningJobSummaries",
        name: "HyperParameterTuningJobName",
        status: "HyperParameterTuningJobStatus",
    };
    listing.answer(request, items.collect(), |_, _| None).map_err(invalid)
}

pub(super) fn children(shared: &Shared, request: &Value) -> Answer {
    let state = shared.lock();
    let name = text(request, "HyperParameterTuningJobName");
    state.tuning(name).ok_or_else(not_found)?;
    let items = state.children_of(name).map(child_summary).collect();
    let listing = Listing {
        list: "TrainingJobSummaries",
        name: "TrainingJobName",
        status: "TrainingJobStatus",
    };
    listing
        .answer(request, items, |sort, item| match sort {
            "FinalObjectiveMetricValue" => {
                item.pointer("/FinalHyperParameterTuningJobObjectiveMetric/Value")?.as_f64()
            }
            _ => None,
        })
        .map_err(invalid)
}
