//! SageMaker, with the CloudWatch Logs that its jobs write to, on one loopback port.
//!
//! Training and processing jobs really run: a program stands for the container, in a folder laid
//! out as `/opt/ml`, with its channels from the buckets and its output put there. What is refused,
//! how jobs go through their states and how they fail is as the API reference and the developer
//! guide have it; what takes SageMaker minutes (instances, images) takes no time here. Children of
//! tuning jobs start in rounds of `MaxParallelTrainingJobs`, so that a search is the same each time.

mod check;
mod container;
mod fault;
mod job;
mod logs;
mod page;
mod processing;
mod registry;
mod run;
mod storage;
mod suggest;
mod training;
mod tuning;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

pub use self::fault::{Fault, Rule};
pub use self::storage::Buckets;
pub use self::suggest::{Observation, Range, Suggest, TuningRequestView};

use self::container::Groups;
use self::fault::Rules;
use self::job::{Job, Kind};
use self::logs::Logs;
use self::page::Listing;
use self::registry::Registry;
use self::tuning::TuningJob;
use crate::http::{Handler, Request, Response, Server};
use crate::stack::REGION;

/// What a server is made of.
#[derive(Clone)]
pub struct Config {
    /// Stands for all images: `program job train --root <folder>`, or with the entry point and the
    /// arguments that a request gives.
    pub program: PathBuf,
    /// Variables that all containers get.
    pub environment: Vec<(String, String)>,
    /// The buckets.
    pub buckets: Buckets,
    /// The account, 12 digits.
    pub account: String,
    /// The region.
    pub region: String,
    /// How long a container that is told to stop may take (120 s at SageMaker).
    pub grace: Duration,
    /// Chooses hyperparameters of tuning jobs.
    pub suggest: Suggest,
}

impl Config {
    /// A server over an S3 endpoint.
    pub fn new(program: impl Into<PathBuf>, s3_endpoint: &str, access_key: &str) -> Self {
        Self::over(program, Buckets::at(s3_endpoint, access_key, REGION))
    }

    /// A server over given buckets.
    pub fn over(program: impl Into<PathBuf>, buckets: Buckets) -> Self {
        Self {
            program: program.into(),
            environment: Vec::new(),
            buckets,
            account: "123456789012".to_owned(),
            region: REGION.to_owned(),
            grace: Duration::from_secs(5),
            suggest: suggest::by_strategy(),
        }
    }
}

/// A request that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The operation, for example `CreateTrainingJob`.
    pub operation: String,
    /// The name of what it is about; empty where it is about no single thing.
    pub name: String,
    /// Whether the operation changes something when it succeeds.
    pub mutating: bool,
    /// The status of the answer.
    pub status: u16,
    /// The request's body.
    pub body: Value,
}

/// The server. Its containers and itself end when this is dropped.
#[derive(Debug)]
pub struct SageMaker {
    server: Server,
    shared: Arc<Shared>,
    _work: Work,
}

impl SageMaker {
    /// Starts a server.
    pub fn start(config: Config) -> std::io::Result<Self> {
        let work = Work::new()?;
        let shared = Arc::new(Shared {
            config,
            work: work.0.clone(),
            groups: Groups::default(),
            state: Mutex::default(),
            version: watch::Sender::new(0),
        });
        let server = Server::start(Arc::new(Service(Arc::clone(&shared))))?;
        Ok(Self { server, shared, _work: work })
    }

    /// Where it listens: the endpoint of SageMaker and of CloudWatch Logs.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// All requests so far, in order.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.lock().requests.clone()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.shared.lock().requests.clear();
    }

    /// Makes something go wrong with the next job.
    pub fn fail_next(&self, fault: Fault) {
        self.add_rule(Rule::new(fault));
    }

    /// Makes something go wrong with the jobs that a rule is for.
    pub fn add_rule(&self, rule: Rule) {
        self.shared.lock().rules.add(rule);
    }

    /// Answers the next `times` requests (of one operation, if it is named) with a
    /// `ThrottlingException`.
    pub fn throttle(&self, operation: Option<&str>, times: usize) {
        self.shared.lock().throttles.push((operation.map(str::to_owned), times));
    }

    /// How often the container of a training or processing job was started.
    pub fn starts(&self, name: &str) -> usize {
        let state = self.shared.lock();
        let kinds = [Kind::Training, Kind::Processing];
        kinds.iter().filter_map(|kind| state.job(*kind, name)).map(|job| job.starts).sum()
    }

    /// What a training job was asked for, as it came.
    pub fn asked(&self, training_job: &str) -> Option<Value> {
        self.shared.lock().job(Kind::Training, training_job).map(|job| job.request.clone())
    }
}

impl Drop for SageMaker {
    fn drop(&mut self) {
        self.shared.groups.close();
    }
}

/// A folder for the jobs, removed when this is dropped.
#[derive(Debug)]
struct Work(PathBuf);

impl Work {
    fn new() -> std::io::Result<Self> {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("stand-in-sagemaker-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        // Left by a process of the same number that was killed.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What all requests and jobs share.
pub(crate) struct Shared {
    config: Config,
    work: PathBuf,
    groups: Groups,
    state: Mutex<State>,
    /// Goes up with each change of the state.
    version: watch::Sender<u64>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("work", &self.work).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    /// In the order in which they were created.
    jobs: Vec<Job>,
    tunings: Vec<TuningJob>,
    registry: Registry,
    logs: Logs,
    /// By ARN.
    tags: BTreeMap<String, BTreeMap<String, String>>,
    rules: Rules,
    throttles: Vec<(Option<String>, usize)>,
    requests: Vec<Recorded>,
}

impl State {
    fn job(&self, kind: Kind, name: &str) -> Option<&Job> {
        self.jobs.iter().find(|job| job.kind == kind && job.name == name)
    }

    fn job_mut(&mut self, kind: Kind, name: &str) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.kind == kind && job.name == name)
    }

    fn tuning(&self, name: &str) -> Option<&TuningJob> {
        self.tunings.iter().find(|tuning| tuning.name == name)
    }

    fn tuning_mut(&mut self, name: &str) -> Option<&mut TuningJob> {
        self.tunings.iter_mut().find(|tuning| tuning.name == name)
    }

    fn add_tags(&mut self, arn: &str, request: &Value) {
        let given = request.get("Tags").and_then(Value::as_array).into_iter().flatten();
        let tags = self.tags.entry(arn.to_owned()).or_default();
        for tag in given {
            let text = |member: &str| tag.get(member).and_then(Value::as_str).unwrap_or_default();
            tags.insert(text("Key").to_owned(), text("Value").to_owned());
        }
    }

    fn is_throttled(&mut self, operation: &str) -> bool {
        let found = self
            .throttles
            .iter_mut()
            .find(|(own, left)| *left > 0 && own.as_deref().is_none_or(|own| own == operation));
        let Some((_, left)) = found else { return false };
        *left -= 1;
        true
    }
}

/// An error of the service.
#[derive(Debug)]
struct Refusal {
    code: &'static str,
    message: String,
}

type Answer = Result<Value, Refusal>;

fn refuse<T>(code: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, message: message.into() })
}

/// What SageMaker says of a job that there is not, for most operations.
fn not_found() -> Refusal {
    invalid("Requested resource not found.".to_owned())
}

fn invalid(message: String) -> Refusal {
    Refusal { code: "ValidationException", message }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and tells those who wait for changes.
    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.version.send_modify(|version| *version += 1);
        result
    }

    fn arn(&self, kind: &str, name: &str) -> String {
        let Config { region, account, .. } = &self.config;
        format!("arn:aws:sagemaker:{region}:{account}:{kind}/{}", name.to_lowercase())
    }

    async fn answer(self: &Arc<Self>, operation: &str, request: &Value) -> Answer {
        match operation {
            "CreateTrainingJob" => training::create(self, request).await,
            "CreateProcessingJob" => processing::create(self, request),
            "DescribeTrainingJob" => self.describe(Kind::Training, request),
            "DescribeProcessingJob" => self.describe(Kind::Processing, request),
            "StopTrainingJob" => self.stop(Kind::Training, request),
            "StopProcessingJob" => self.stop(Kind::Processing, request),
            "ListTrainingJobs" => self.list(Kind::Training, request),
            "ListProcessingJobs" => self.list(Kind::Processing, request),
            "CreateHyperParameterTuningJob" => tuning::create(self, request),
            "DescribeHyperParameterTuningJob" => tuning::describe(self, request),
            "StopHyperParameterTuningJob" => tuning::stop(self, request),
            "ListHyperParameterTuningJobs" => tuning::list(self, request),
            "ListTrainingJobsForHyperParameterTuningJob" => tuning::children(self, request),
            "AddTags" => self.add_tags(request),
            "ListTags" => self.list_tags(request),
            "DescribeLogStreams" => self.lock().logs.streams(request),
            "GetLogEvents" => self.lock().logs.events(request),
            operation => registry::answer(self, operation, request),
        }
    }

    fn describe(&self, kind: Kind, request: &Value) -> Answer {
        let name = text(request, &format!("{}Name", kind.word()));
        self.lock().job(kind, name).map(Job::describe).ok_or_else(not_found)
    }

    fn stop(&self, kind: Kind, request: &Value) -> Answer {
        let name = text(request, &format!("{}Name", kind.word()));
        self.update(|state| {
            let job = state.job_mut(kind, name).ok_or_else(not_found)?;
            if job.status.is_terminal() {
                return refuse(
                    "ValidationException",
                    format!(
                        "The request was rejected because the job is in status {}.",
                        job.status.word()
                    ),
                );
            }
            job.status = job::Status::Stopping;
            job.stop.send_replace(true);
            Ok(json!({}))
        })
    }

    fn list(&self, kind: Kind, request: &Value) -> Answer {
        let word = kind.word();
        let (list, name, status) =
            (format!("{word}Summaries"), format!("{word}Name"), format!("{word}Status"));
        let state = self.lock();
        let items = state.jobs.iter().filter(|job| job.kind == kind).map(Job::summary).collect();
        Listing { list: &list, name: &name, status: &status }
            .answer(request, items, |_, _| None)
            .map_err(invalid)
    }

    fn add_tags(&self, request: &Value) -> Answer {
        let mut check = check::Check::new(request);
        check.required("/ResourceArn");
        check.tags();
        check.finish().map_err(invalid)?;
        self.update(|state| state.add_tags(text(request, "ResourceArn"), request));
        self.list_tags(request)
    }

    fn list_tags(&self, request: &Value) -> Answer {
        let state = self.lock();
        let tags = state.tags.get(text(request, "ResourceArn"));
        let tags: Vec<Value> = tags
            .into_iter()
            .flatten()
            .map(|(key, value)| json!({ "Key": key, "Value": value }))
            .collect();
        Ok(json!({ "Tags": tags }))
    }
}

struct Service(Arc<Shared>);

impl Handler for Service {
    fn handle(
        self: Arc<Self>,
        request: Request,
    ) -> Pin<Box<dyn Future<Output = Response> + Send + 'static>> {
        Box::pin(async move {
            let operation = request.operation().unwrap_or_default().to_owned();
            let body = request.json();
            let throttled = self.0.lock().is_throttled(&operation);
            let answer = if throttled {
                refuse("ThrottlingException", "Rate exceeded")
            } else {
                self.0.answer(&operation, &body).await
            };
            let response = match answer {
                Ok(body) => Response::json(&body),
                Err(Refusal { code, message }) => Response::error(400, code, &message),
            };
            let recorded = Recorded {
                mutating: !["Describe", "List", "Get"]
                    .iter()
                    .any(|reading| operation.starts_with(reading)),
                name: subject(&operation, &body),
                operation,
                status: response.status.as_u16(),
                body,
            };
            self.0.lock().requests.push(recorded);
            response
        })
    }
}

/// The name of what a request is about.
fn subject(operation: &str, body: &Value) -> String {
    let thing = ["Create", "Describe", "Stop", "Update", "Delete"]
        .iter()
        .find_map(|verb| operation.strip_prefix(verb))
        .unwrap_or(operation);
    let members = [
        format!("{thing}Name"),
        format!("{thing}Arn"),
        "HyperParameterTuningJobName".to_owned(),
        "ModelPackageGroupName".to_owned(),
        "ResourceArn".to_owned(),
        "logStreamName".to_owned(),
    ];
    let found = members.iter().find_map(|member| body.get(member)?.as_str());
    found.unwrap_or_default().to_owned()
}

/// A member that holds text; empty if it is missing.
fn text<'a>(request: &'a Value, member: &str) -> &'a str {
    request.get(member).and_then(Value::as_str).unwrap_or_default()
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a server says what time it is")]
fn now() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = now.map_or(0, |since| since.as_millis());
    #[expect(clippy::cast_precision_loss, reason = "milliseconds fit until the year 287396")]
    let seconds = millis as f64 / 1_000.0;
    seconds
}
