//! The server as its clients see it, over HTTP, with a shell script as the container.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;

use super::*;

/// What the container does is the hyperparameter (or argument) `behaviour`.
const PROGRAM: &str = r#"#!/bin/sh
set -e
for root; do :; done
is() { grep -qs "\"behaviour\": \"$1\"" "$root/input/config/hyperparameters.json"; }
if is hang; then
    echo loss=0.75
    exec sleep 600
elif is stubborn; then
    trap '' TERM
    echo ready
    while :; do sleep 600; done
elif is fail; then
    echo before >&2
    printf 'no luck' > "$root/output/failure"
    exit 7
elif is resume; then
    echo "had: $(cat "$root/checkpoints/epoch" 2>/dev/null)"
    if [ ! -f "$root/checkpoints/epoch" ]; then
        echo 1 > "$root/checkpoints/epoch"
        echo written
        exec sleep 600
    fi
    rm "$root/checkpoints/epoch"
    echo 2 > "$root/checkpoints/last"
elif is tune; then
    sed -n 's/.*"factors": "\(.*\)".*/ndcg=0.\1;/p' "$root/input/config/hyperparameters.json"
elif is score; then
    :
fi
if [ "$2" = score ]; then
    cat "$root/input/data/in/a" "$root/input/data/in/deeper/b"
    mkdir "$root/output/data/dt=1"
    echo rows > "$root/output/data/dt=1/part-1"
    exit 0
fi
cat "$root/input/data/train/a" "$root/input/data/train/deeper/b"
echo loss=0.5 loss=0.25
echo "$TRAINING_JOB_NAME $COLOUR $TRAINING_JOB_ARN" > "$root/model/weights"
"#;

struct Bench {
    server: SageMaker,
    buckets: Buckets,
    _program: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        std::fs::write(&program, PROGRAM).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let buckets = Buckets::in_memory();
        buckets.put("s3://lake/in/a", "first;").await.unwrap();
        buckets.put("s3://lake/in/deeper/b", "second").await.unwrap();
        let mut config = Config::over(program, buckets.clone());
        change(&mut config);
        let server = SageMaker::start(config).unwrap();
        Self { server, buckets, _program: folder }
    }

    async fn call(&self, operation: &str, body: Value) -> Result<Value, (u16, String, String)> {
        let address = self.server.url();
        let address = address.strip_prefix("http://").unwrap();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::post("/")
            .header("host", address)
            .header("x-amz-target", format!("SageMaker.{operation}"))
            .body(Full::new(bytes::Bytes::from(body.to_string())))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        if status == 200 {
            return Ok(body);
        }
        let text = |member: &str| body[member].as_str().unwrap().to_owned();
        Err((status, text("__type"), text("message")))
    }

    async fn code(&self, operation: &str, body: Value) -> String {
        self.call(operation, body).await.unwrap_err().1
    }

    async fn describe(&self, name: &str) -> Value {
        self.call("DescribeTrainingJob", json!({ "TrainingJobName": name })).await.unwrap()
    }

    /// Waits for something to become true of a job.
    async fn until(&self, operation: &str, request: Value, is: impl Fn(&Value) -> bool) -> Value {
        let mut version = self.server.shared.version.subscribe();
        loop {
            version.borrow_and_update();
            let found = self.call(operation, request.clone()).await.unwrap();
            if is(&found) {
                return found;
            }
            version.changed().await.unwrap();
        }
    }

    async fn ended(&self, name: &str) -> Value {
        let terminal = |job: &Value| {
            ["Completed", "Failed", "Stopped"].contains(&job["TrainingJobStatus"].as_str().unwrap())
        };
        self.until("DescribeTrainingJob", json!({ "TrainingJobName": name }), terminal).await
    }

    async fn lines(&self, group: &str, job: &str) -> Vec<String> {
        let streams = json!({ "logGroupName": group, "logStreamNamePrefix": format!("{job}/") });
        let Ok(streams) = self.call("DescribeLogStreams", streams).await else { return vec![] };
        let mut lines = Vec::new();
        for stream in streams["logStreams"].as_array().unwrap() {
            let ask = json!({ "logGroupName": group, "logStreamName": stream["logStreamName"] });
            let events = self.call("GetLogEvents", ask).await.unwrap();
            let events = events["events"].as_array().unwrap();
            lines.extend(events.iter().map(|e| e["message"].as_str().unwrap().to_owned()));
        }
        lines
    }
}

fn training(name: &str, behaviour: &str) -> Value {
    json!({
        "TrainingJobName": name,
        "HyperParameters": { "behaviour": behaviour },
        "AlgorithmSpecification": {
            "TrainingImage": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/recctl:1",
            "TrainingInputMode": "File",
            "MetricDefinitions": [{ "Name": "loss", "Regex": "loss=([0-9.]+)" }],
        },
        "RoleArn": "arn:aws:iam::123456789012:role/training",
        "InputDataConfig": [{
            "ChannelName": "train",
            "DataSource": { "S3DataSource": { "S3DataType": "S3Prefix", "S3Uri": "s3://lake/in/" } },
        }],
        "OutputDataConfig": { "S3OutputPath": "s3://lake/models/" },
        "ResourceConfig":
            { "InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10 },
        "StoppingCondition": { "MaxRuntimeInSeconds": 60 },
        "Environment": { "COLOUR": "blue" },
        "Tags": [{ "Key": "team", "Value": "rec" }],
    })
}

fn spot(name: &str, behaviour: &str) -> Value {
    let mut request = training(name, behaviour);
    request["EnableManagedSpotTraining"] = json!(true);
    request["StoppingCondition"]["MaxWaitTimeInSeconds"] = json!(60);
    request["CheckpointConfig"] = json!({ "S3Uri": "s3://lake/checkpoints/x" });
    request
}

fn secondary(job: &Value) -> Vec<&str> {
    let transitions = job["SecondaryStatusTransitions"].as_array().unwrap();
    transitions.iter().map(|t| t["Status"].as_str().unwrap()).collect()
}

fn entries(archive: &[u8]) -> BTreeMap<String, String> {
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
        (entry.path().unwrap().display().to_string(), text)
    };
    tar.entries().unwrap().map(read).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_training_job_runs_its_container() {
    let bench = Bench::new().await;
    let created = bench.call("CreateTrainingJob", training("Job-1", "succeed")).await.unwrap();
    let arn = created["TrainingJobArn"].as_str().unwrap();
    assert_eq!(arn, "arn:aws:sagemaker:eu-central-1:123456789012:training-job/job-1");
    let job = bench.ended("Job-1").await;
    assert_eq!(job["TrainingJobStatus"], "Completed", "{job}");
    assert_eq!(secondary(&job), ["Starting", "Downloading", "Training", "Uploading", "Completed"]);
    assert_eq!(job["FinalMetricDataList"][0]["Value"], 0.25);
    assert_eq!(job["BillableTimeInSeconds"], 1);
    assert!(job["CreationTime"].is_f64() && job.get("Tags").is_none());
    let artifacts = job["ModelArtifacts"]["S3ModelArtifacts"].as_str().unwrap();
    assert_eq!(artifacts, "s3://lake/models/Job-1/output/model.tar.gz");
    let model = entries(&bench.buckets.get(artifacts).await.unwrap());
    assert_eq!(model, [("weights".to_owned(), format!("Job-1 blue {arn}\n"))].into());
    let lines = bench.lines("/aws/sagemaker/TrainingJobs", "Job-1").await;
    assert_eq!(lines, ["first;secondloss=0.5 loss=0.25"]);
    let tags = bench.call("ListTags", json!({ "ResourceArn": arn })).await.unwrap();
    assert_eq!(tags["Tags"], json!([{ "Key": "team", "Value": "rec" }]));
    // The name is taken, even by the same request; what has ended cannot be stopped.
    let again = bench.code("CreateTrainingJob", training("Job-1", "succeed")).await;
    assert_eq!(again, "ResourceInUse");
    let stop = json!({ "TrainingJobName": "Job-1" });
    assert_eq!(bench.code("StopTrainingJob", stop).await, "ValidationException");
    assert_eq!(bench.server.starts("Job-1"), 1);
    let left = std::fs::read_dir(bench.server.shared.work.join("TrainingJob")).unwrap();
    assert_eq!(left.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_refused_and_recorded() {
    let bench = Bench::new().await;
    let (status, code, message) =
        bench.call("DescribeTrainingJob", json!({ "TrainingJobName": "x" })).await.unwrap_err();
    assert_eq!((status, code.as_str()), (400, "ValidationException"));
    assert_eq!(message, "Requested resource not found.");
    assert_eq!(bench.code("CreateEverything", json!({})).await, "UnknownOperationException");
    for (path, value) in [
        ("/TrainingJobName", json!("under_score")),
        ("/TrainingJobName", json!("x".repeat(64))),
        ("/RoleArn", json!("role")),
        ("/AlgorithmSpecification/TrainingInputMode", json!("Files")),
        ("/HyperParameters/behaviour", json!(1)),
        ("/ResourceConfig/InstanceCount", json!(0)),
        ("/ResourceConfig/InstanceType", json!("m5.large")),
        ("/StoppingCondition", Value::Null),
        ("/StoppingCondition/MaxRuntimeInSeconds", json!(0)),
        ("/InputDataConfig/0/DataSource/S3DataSource/S3Uri", json!("s3://lake/nothing/")),
    ] {
        let mut request = training("bad", "succeed");
        *request.pointer_mut(path).unwrap() = value;
        let code = bench.code("CreateTrainingJob", request).await;
        assert_eq!(code, "ValidationException", "{path}");
    }
    bench.server.throttle(Some("ListTrainingJobs"), 2);
    for _ in 0..2 {
        assert_eq!(bench.code("ListTrainingJobs", json!({})).await, "ThrottlingException");
    }
    let list = bench.call("ListTrainingJobs", json!({})).await.unwrap();
    assert_eq!(list, json!({ "TrainingJobSummaries": [] }));
    bench.server.fail_next(Fault::ResourceLimit);
    let created = bench.code("CreateTrainingJob", training("a", "succeed")).await;
    assert_eq!(created, "ResourceLimitExceeded");
    bench.call("CreateTrainingJob", training("a", "succeed")).await.unwrap();
    let last = bench.server.requests().pop().unwrap();
    let shown = (last.operation.as_str(), last.name.as_str(), last.mutating, last.status);
    assert_eq!(shown, ("CreateTrainingJob", "a", true, 200));
    assert!(!bench.server.requests()[0].mutating);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_fail_in_their_own_words() {
    let bench = Bench::new().await;
    bench.call("CreateTrainingJob", training("fail", "fail")).await.unwrap();
    let job = bench.ended("fail").await;
    assert_eq!(job["TrainingJobStatus"], "Failed");
    assert_eq!(job["FailureReason"], "AlgorithmError: no luck, exit code: 7");
    assert_eq!(bench.lines("/aws/sagemaker/TrainingJobs", "fail").await, ["before"]);
    bench.server.add_rule(Rule::new(Fault::Capacity).instance("ml.m5.large"));
    bench.call("CreateTrainingJob", training("short", "succeed")).await.unwrap();
    let job = bench.ended("short").await;
    assert!(job["FailureReason"].as_str().unwrap().starts_with("CapacityError: "), "{job}");
    assert_eq!(bench.server.starts("short"), 0);
    let list = json!({ "StatusEquals": "Failed", "SortBy": "Name" });
    let list = bench.call("ListTrainingJobs", list).await.unwrap();
    assert_eq!(list["TrainingJobSummaries"][1]["TrainingJobName"], "short");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_stopped() {
    let bench = Bench::with(|config| config.grace = std::time::Duration::from_millis(50)).await;
    for (name, line) in [("hang", "loss=0.75"), ("stubborn", "ready")] {
        bench.call("CreateTrainingJob", training(name, name)).await.unwrap();
        // Its line says that it is under way.
        let group = "/aws/sagemaker/TrainingJobs";
        let mut version = bench.server.shared.version.subscribe();
        while bench.lines(group, name).await != [line] {
            version.changed().await.unwrap();
        }
        let stop = json!({ "TrainingJobName": name });
        bench.call("StopTrainingJob", stop).await.unwrap();
        let job = bench.ended(name).await;
        assert_eq!(job["TrainingJobStatus"], "Stopped");
        assert_eq!(secondary(&job).last(), Some(&"Stopped"));
    }
    let mut request = training("long", "hang");
    request["StoppingCondition"]["MaxRuntimeInSeconds"] = json!(1);
    bench.call("CreateTrainingJob", request).await.unwrap();
    let job = bench.ended("long").await;
    assert_eq!(
        (&job["TrainingJobStatus"], &job["SecondaryStatus"]),
        (&json!("Stopped"), &json!("MaxRuntimeExceeded"))
    );
    bench.server.fail_next(Fault::Stuck);
    bench.call("CreateTrainingJob", training("stuck", "succeed")).await.unwrap();
    assert_eq!(bench.describe("stuck").await["SecondaryStatus"], "Starting");
    bench.call("StopTrainingJob", json!({ "TrainingJobName": "stuck" })).await.unwrap();
    assert_eq!(bench.ended("stuck").await["TrainingJobStatus"], "Stopped");
    assert_eq!(bench.server.starts("stuck"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spot_job_goes_on_from_its_checkpoint() {
    let bench = Bench::new().await;
    bench.server.fail_next(Fault::SpotInterruption { after_lines: 2 });
    bench.call("CreateTrainingJob", spot("spot", "resume")).await.unwrap();
    let job = bench.ended("spot").await;
    assert_eq!(job["TrainingJobStatus"], "Completed", "{job}");
    assert_eq!(
        secondary(&job),
        [
            "Starting",
            "Downloading",
            "Training",
            "Interrupted",
            "Restarting",
            "Downloading",
            "Training",
            "Uploading",
            "Completed"
        ]
    );
    let lines = bench.lines("/aws/sagemaker/TrainingJobs", "spot").await;
    assert_eq!(lines[..3], ["had: ", "written", "had: 1"]);
    // What the container deleted is gone.
    let left = bench.buckets.list("s3://lake/checkpoints/").await.unwrap();
    assert_eq!(left, ["s3://lake/checkpoints/x/last"]);
    assert_eq!(bench.server.starts("spot"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_processing_job_reads_and_writes_where_it_says() {
    let bench = Bench::new().await;
    let mut request = json!({
        "ProcessingJobName": "score",
        "RoleArn": "arn:aws:iam::123456789012:role/training",
        "AppSpecification": {
            "ImageUri": "recctl:1",
            "ContainerEntrypoint": ["recctl", "job", "score"],
            "ContainerArguments": ["--root", "/opt/ml/processing"],
        },
        "ProcessingResources": { "ClusterConfig":
            { "InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10 } },
        "ProcessingInputs": [{ "InputName": "in", "S3Input": {
            "S3Uri": "s3://lake/in/", "LocalPath": "/opt/ml/processing/input/data/in",
            "S3DataType": "S3Prefix", "S3InputMode": "File",
        }}],
        "ProcessingOutputConfig": { "Outputs": [{ "OutputName": "data", "S3Output": {
            "S3Uri": "s3://lake/recs", "LocalPath": "/opt/ml/processing/output/data",
            "S3UploadMode": "EndOfJob",
        }}]},
    });
    bench.call("CreateProcessingJob", request.clone()).await.unwrap();
    let ended = |job: &Value| job["ProcessingJobStatus"] != "InProgress";
    let name = json!({ "ProcessingJobName": "score" });
    let job = bench.until("DescribeProcessingJob", name, ended).await;
    assert_eq!(job["ProcessingJobStatus"], "Completed", "{job}");
    assert_eq!(bench.buckets.list("s3://lake/recs").await.unwrap(), ["s3://lake/recs/dt=1/part-1"]);
    let lines = bench.lines("/aws/sagemaker/ProcessingJobs", "score").await;
    assert_eq!(lines, ["first;second"]);
    assert_eq!(bench.code("CreateProcessingJob", request.clone()).await, "ResourceInUse");
    request["ProcessingInputs"][0]["S3Input"]["LocalPath"] = json!("/opt/ml/input");
    assert_eq!(bench.code("CreateProcessingJob", request.clone()).await, "ValidationException");
    // The container's own failure.
    request["ProcessingJobName"] = json!("fails");
    request["ProcessingInputs"][0]["S3Input"]["LocalPath"] = json!("/opt/ml/processing/x");
    request["AppSpecification"]["ContainerArguments"] = json!(["--root", "/opt/ml/nowhere"]);
    bench.call("CreateProcessingJob", request).await.unwrap();
    let job =
        bench.until("DescribeProcessingJob", json!({ "ProcessingJobName": "fails" }), ended).await;
    assert_eq!(job["FailureReason"], "AlgorithmError: See job logs for more information");
}

fn tuning(name: &str) -> Value {
    let mut definition = training("x", "tune");
    for member in ["TrainingJobName", "HyperParameters", "Tags"] {
        definition.as_object_mut().unwrap().remove(member);
    }
    definition["StaticHyperParameters"] = json!({ "behaviour": "tune" });
    definition["AlgorithmSpecification"]["MetricDefinitions"] =
        json!([{ "Name": "ndcg@10", "Regex": "ndcg=([0-9.]+);" }]);
    json!({
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Grid",
            "HyperParameterTuningJobObjective": { "Type": "Maximize", "MetricName": "ndcg@10" },
            "ResourceLimits": { "MaxParallelTrainingJobs": 2 },
            "ParameterRanges": { "CategoricalParameterRanges":
                [{ "Name": "factors", "Values": ["16", "64", "32"] }] },
        },
        "TrainingJobDefinition": definition,
    })
}

impl Bench {
    async fn tuned(&self, name: &str) -> Value {
        let ended = |job: &Value| {
            let status = job["HyperParameterTuningJobStatus"].as_str().unwrap();
            status != "InProgress" && status != "Stopping"
        };
        let request = json!({ "HyperParameterTuningJobName": name });
        self.until("DescribeHyperParameterTuningJob", request, ended).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tuning_job_finds_the_best_of_its_children() {
    let bench = Bench::new().await;
    bench.call("CreateHyperParameterTuningJob", tuning("t")).await.unwrap();
    let job = bench.tuned("t").await;
    assert_eq!(job["HyperParameterTuningJobStatus"], "Completed", "{job}");
    assert_eq!(job["TrainingJobStatusCounters"]["Completed"], 3);
    assert_eq!(
        job["ObjectiveStatusCounters"],
        json!({ "Succeeded": 3, "Pending": 0, "Failed": 0 })
    );
    let best = &job["BestTrainingJob"];
    assert_eq!(best["TunedHyperParameters"], json!({ "factors": "64" }));
    assert_eq!(best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"], 0.64);
    let child = best["TrainingJobName"].as_str().unwrap();
    assert!(child.starts_with("t-002-") && child.len() == "t-002-".len() + 8, "{child}");
    let asked = bench.server.asked(child).unwrap();
    assert_eq!(
        asked["HyperParameters"],
        json!({ "behaviour": "tune", "factors": "64", "_tuning_objective_metric": "ndcg@10" })
    );
    let mut request = json!({
        "HyperParameterTuningJobName": "t", "MaxResults": 2,
        "SortBy": "FinalObjectiveMetricValue", "SortOrder": "Descending",
    });
    let first =
        bench.call("ListTrainingJobsForHyperParameterTuningJob", request.clone()).await.unwrap();
    request["NextToken"] = first["NextToken"].clone();
    let rest = bench.call("ListTrainingJobsForHyperParameterTuningJob", request).await.unwrap();
    let tried = |page: &Value, at: usize| {
        page["TrainingJobSummaries"][at]["TunedHyperParameters"]["factors"].clone()
    };
    assert_eq!([tried(&first, 0), tried(&first, 1), tried(&rest, 0)], ["64", "32", "16"]);
    assert!(rest.get("NextToken").is_none());

    // A warm start from it, and what is refused.
    let mut warm = tuning("warm");
    warm["WarmStartConfig"] = json!({
        "WarmStartType": "IdenticalDataAndAlgorithm",
        "ParentHyperParameterTuningJobs": [{ "HyperParameterTuningJobName": "t" }],
    });
    let mut other = warm.clone();
    other["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]["Type"] =
        json!("Minimize");
    let refused = bench.code("CreateHyperParameterTuningJob", other).await;
    assert_eq!(refused, "ValidationException");
    warm["HyperParameterTuningJobConfig"]["ParameterRanges"]["CategoricalParameterRanges"][0]["Values"] =
        json!(["10", "20"]);
    bench.call("CreateHyperParameterTuningJob", warm.clone()).await.unwrap();
    let job = bench.tuned("warm").await;
    assert_eq!(job["BestTrainingJob"]["TunedHyperParameters"]["factors"], "20");
    assert_eq!(job["OverallBestTrainingJob"]["TunedHyperParameters"]["factors"], "64");
    assert_eq!(bench.code("CreateHyperParameterTuningJob", warm).await, "ResourceInUse");
    let mut hyperband = tuning("h");
    hyperband["HyperParameterTuningJobConfig"]["Strategy"] = json!("Hyperband");
    hyperband["HyperParameterTuningJobConfig"]["TrainingJobEarlyStoppingType"] = json!("Auto");
    assert_eq!(bench.code("CreateHyperParameterTuningJob", hyperband).await, "ValidationException");
    let long = tuning(&"x".repeat(33));
    assert_eq!(bench.code("CreateHyperParameterTuningJob", long).await, "ValidationException");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tuning_jobs_end_without_a_best_child_or_early() {
    let bench = Bench::with(|config| {
        config.suggest = Arc::new(|view, tried| {
            let behaviour = match view.name.as_str() {
                "silent" => "succeed",
                "failing" => "fail",
                _ => "hang",
            };
            (tried.len() < view.max_jobs)
                .then(|| [("factors".to_owned(), behaviour.to_owned())].into())
        });
    })
    .await;
    let request = |name: &str| {
        let mut request = tuning(name);
        request["TrainingJobDefinition"]["StaticHyperParameters"] = json!({});
        let ranges = json!([{ "Name": "factors", "Values": ["a"] }]);
        request["HyperParameterTuningJobConfig"]["ParameterRanges"]["CategoricalParameterRanges"] =
            ranges;
        request["HyperParameterTuningJobConfig"]["Strategy"] = json!("Random");
        request["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"] =
            json!(2);
        request
    };
    bench.call("CreateHyperParameterTuningJob", request("silent")).await.unwrap();
    let job = bench.tuned("silent").await;
    assert_eq!(job["HyperParameterTuningJobStatus"], "Completed");
    assert!(job.get("BestTrainingJob").is_none());
    assert_eq!(job["ObjectiveStatusCounters"]["Failed"], 2);
    bench.server.add_rule(Rule::new(Fault::Failure("no".to_owned())).name("failing-").times(2));
    bench.call("CreateHyperParameterTuningJob", request("failing")).await.unwrap();
    let job = bench.tuned("failing").await;
    assert_eq!(job["HyperParameterTuningJobStatus"], "Failed");
    assert_eq!(job["TrainingJobStatusCounters"]["NonRetryableError"], 2);
    bench.server.add_rule(Rule::new(Fault::Stuck).name("stopped-").times(2));
    bench.call("CreateHyperParameterTuningJob", request("stopped")).await.unwrap();
    let name = json!({ "HyperParameterTuningJobName": "stopped" });
    bench.call("StopHyperParameterTuningJob", name).await.unwrap();
    let job = bench.tuned("stopped").await;
    assert_eq!(job["HyperParameterTuningJobStatus"], "Stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_are_registered_in_versions() {
    let bench = Bench::new().await;
    let package = |token: &str| {
        json!({
            "ModelPackageGroupName": "Recs", "ClientToken": token,
            "ModelApprovalStatus": "PendingManualApproval",
            "InferenceSpecification": { "Containers":
                [{ "Image": "recctl:1", "ModelDataUrl": "s3://lake/model.tar.gz" }] },
            "CustomerMetadataProperties": { "run": "1", "old": "x" },
        })
    };
    assert_eq!(bench.code("CreateModelPackage", package("a")).await, "ValidationException");
    let group = json!({ "ModelPackageGroupName": "Recs" });
    assert_eq!(bench.code("DescribeModelPackageGroup", group.clone()).await, "ValidationException");
    bench.call("CreateModelPackageGroup", group.clone()).await.unwrap();
    assert_eq!(bench.code("CreateModelPackageGroup", group.clone()).await, "ValidationException");
    bench.call("DescribeModelPackageGroup", group.clone()).await.unwrap();
    let first = bench.call("CreateModelPackage", package("a")).await.unwrap();
    assert_eq!(first, bench.call("CreateModelPackage", package("a")).await.unwrap());
    let arn = first["ModelPackageArn"].clone();
    assert_eq!(arn, "arn:aws:sagemaker:eu-central-1:123456789012:model-package/recs/1");
    bench.call("CreateModelPackage", package("b")).await.unwrap();
    let update = json!({
        "ModelPackageArn": arn, "ModelApprovalStatus": "Approved",
        "CustomerMetadataProperties": { "score": "0.5" },
        "CustomerMetadataPropertiesToRemove": ["old"],
    });
    bench.call("UpdateModelPackage", update).await.unwrap();
    let described =
        bench.call("DescribeModelPackage", json!({ "ModelPackageName": arn })).await.unwrap();
    assert_eq!(described["ModelApprovalStatus"], "Approved");
    assert_eq!(described["CustomerMetadataProperties"], json!({ "run": "1", "score": "0.5" }));
    let list = json!({ "ModelPackageGroupName": "Recs", "ModelApprovalStatus": "Approved" });
    let list = bench.call("ListModelPackages", list).await.unwrap();
    assert_eq!(list["ModelPackageSummaryList"].as_array().unwrap().len(), 1);
    assert_eq!(list["ModelPackageSummaryList"][0]["ModelPackageVersion"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_end_with_the_server() {
    let bench = Bench::new().await;
    bench.call("CreateTrainingJob", training("hang", "hang")).await.unwrap();
    let started = |job: &Value| job.get("FinalMetricDataList").is_some();
    bench.until("DescribeTrainingJob", json!({ "TrainingJobName": "hang" }), started).await;
    let shared = Arc::clone(&bench.server.shared);
    let leaders = shared.groups.leaders();
    assert_eq!(leaders.len(), 1);
    drop(bench);
    // Killed, or a zombie that its parent has yet to ask for.
    let stat = format!("/proc/{}/stat", leaders[0]);
    let is_gone = || {
        let stat = std::fs::read_to_string(&stat).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ")
    };
    let gone = async {
        while !is_gone() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
}
