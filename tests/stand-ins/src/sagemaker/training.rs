//! Training jobs.

use std::path::Path;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::check::Check;
use super::container::{Ended, Launch};
use super::job::{Job, Kind, Origin, Status};
use super::run::{End, Running, exceeds, start};
use super::storage::{files_below, join};
use super::{Answer, Shared, invalid, now, refuse, text};

/// The longest reason of a failure, in characters.
const MAX_REASON: usize = 1_024;

pub(super) async fn create(shared: &Arc<Shared>, request: &Value) -> Answer {
    let mut check = Check::new(request);
    check.name("/TrainingJobName", 63);
    check.required("/AlgorithmSpecification");
    check.role();
    check.map("/HyperParameters", 100, (256, ".*"), 2_500);
    check.training("");
    check.required("/ResourceConfig");
    check.resources("/ResourceConfig");
    check.length("/AlgorithmSpecification/ContainerEntrypoint", 1, 100);
    check.length("/AlgorithmSpecification/ContainerArguments", 1, 100);
    check.refuse_if(
        request.pointer("/AlgorithmSpecification/TrainingImage").is_none(),
        "AlgorithmSpecification must have a TrainingImage or an AlgorithmName",
    );
    check.tags();
    check.finish().map_err(invalid)?;
    let name = text(request, "TrainingJobName");
    let arn = shared.arn(Kind::Training.arn_word(), name);
    if shared.lock().job(Kind::Training, name).is_some() {
        return in_use(&arn);
    }
    for uri in input_uris(request) {
        let objects = shared.config.buckets.list(uri).await;
        if !objects.is_ok_and(|objects| !objects.is_empty()) {
            return Err(invalid(no_objects(uri)));
        }
    }
    exceeds(shared, name, text(&request["ResourceConfig"], "InstanceType"))?;
    if !submit(shared, name, request.clone(), None) {
        return in_use(&arn);
    }
    Ok(json!({ "TrainingJobArn": arn }))
}

fn in_use(arn: &str) -> Answer {
    let message = format!(
        "Training job names must be unique within an AWS account and region, and a training job \
         with this name already exists ({arn})"
    );
    refuse("ResourceInUse", message)
}

fn input_uris(request: &Value) -> impl Iterator<Item = &str> {
    let channels = request.get("InputDataConfig").and_then(Value::as_array);
    channels
        .into_iter()
        .flatten()
        .filter_map(|channel| channel.pointer("/DataSource/S3DataSource/S3Uri")?.as_str())
}

pub(super) fn no_objects(uri: &str) -> String {
    format!(
        "No S3 objects found under S3 URL \"{uri}\" given in input data source. Please ensure that \
         the bucket exists in the selected region, that objects exist under that S3 prefix, and \
         that the role has \"s3:ListBucket\" permissions on the bucket."
    )
}

/// Adds a job and starts it, unless there is one of its name.
pub(super) fn submit(
    shared: &Arc<Shared>,
    name: &str,
    request: Value,
    origin: Option<Origin>,
) -> bool {
    let arn = shared.arn(Kind::Training.arn_word(), name);
    let mut job = Job::new(Kind::Training, name, arn, request, now());
    job.origin = origin;
    start(shared, job, work)
}

async fn work(mut running: Running) -> End {
    if let Some(end) = running.provision().await {
        return end;
    }
    let deadline = Instant::now() + running.max_runtime();
    loop {
        let root = running.folder.join("opt/ml");
        if *running.stop.borrow() {
            return End::stopped("Stopped");
        }
        running.enter("Downloading", "Downloading input data");
        if let Err(reason) = lay_out(&running, &root).await {
            return End::failed(format!("ClientError: {reason}"));
        }
        running.enter("Training", "Training image download completed. Training in progress.");
        let launch = launch(&running, &root);
        let ended = running.contain(&launch, deadline).await;
        if let Some(uri) = running.asked("/CheckpointConfig/S3Uri") {
            let folder = checkpoints(&running, &root);
            if let Err(reason) = running.shared.config.buckets.mirror(&folder, uri).await {
                return End::failed(format!("ClientError: {reason}"));
            }
        }
        match ended {
            Err(error) => {
                return End::failed(format!("InternalServerError: cannot start: {error}"));
            }
            Ok(Ended::Interrupted) => {
                running.enter("Interrupted", "The spot instance was interrupted");
                running.enter("Restarting", "Restarting on another instance");
            }
            Ok(ended) => return finish(&running, &root, ended).await,
        }
    }
}

async fn finish(running: &Running, root: &Path, ended: Ended) -> End {
    let (mut end, saves_model) = match ended {
        Ended::Itself(status) if status.success() => {
            let text = "Training job completed".to_owned();
            (End { status: Status::Completed, secondary: "Completed", text }, true)
        }
        Ended::Itself(status) => (End::failed(failure(root, status)), false),
        // Artifacts of a job that was stopped are kept, if there are any.
        stopped => {
            let secondary = match stopped {
                Ended::RanTooLong => "MaxRuntimeExceeded",
                Ended::WaitedTooLong => "MaxWaitTimeExceeded",
                _ => "Stopped",
            };
            (End::stopped(secondary), !files_below(&root.join("model")).is_empty())
        }
    };
    running.enter("Uploading", "Uploading generated training model");
    let path = running.asked("/OutputDataConfig/S3OutputPath").unwrap_or_default();
    let place = join(&join(path, &running.name), "output");
    let mut archives = Vec::new();
    if saves_model {
        archives.push(("model", "model.tar.gz"));
    }
    if !files_below(&root.join("output/data")).is_empty() {
        archives.push(("output/data", "output.tar.gz"));
    }
    for (folder, archive) in archives {
        let put = match pack(&root.join(folder)) {
            Ok(bytes) => running.shared.config.buckets.put(&join(&place, archive), bytes).await,
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = put {
            end = End::failed(format!("ClientError: Artifact upload failed: {reason}"));
        }
    }
    if saves_model && end.status != Status::Failed {
        running.change(|job| job.artifacts = Some(join(&place, "model.tar.gz")));
    }
    // What was trained is in the bucket now; what was read is a copy.
    let _ = std::fs::remove_dir_all(&running.folder);
    end
}

/// The program's own words between what SageMaker says, cut to what it returns.
fn failure(root: &Path, status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    let words = std::fs::read(root.join("output/failure")).unwrap_or_default();
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    let (before, after) = ("AlgorithmError: ", format!(", exit code: {code}"));
    let room = MAX_REASON - before.len() - after.len();
    let words: String = words.chars().take(room).collect();
    format!("{before}{words}{after}")
}

fn checkpoints(running: &Running, root: &Path) -> std::path::PathBuf {
    let path = running.asked("/CheckpointConfig/LocalPath").unwrap_or("/opt/ml/checkpoints");
    super::container::inside(path, root).unwrap_or_else(|| root.join("checkpoints"))
}

async fn lay_out(running: &Running, root: &Path) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let _ = std::fs::remove_dir_all(&running.folder);
    for folder in ["input/config", "input/data", "model", "output/data", "checkpoints"] {
        std::fs::create_dir_all(root.join(folder)).map_err(text)?;
    }
    let buckets = &running.shared.config.buckets;
    if let Some(uri) = running.asked("/CheckpointConfig/S3Uri") {
        let folder = checkpoints(running, root);
        std::fs::create_dir_all(&folder).map_err(text)?;
        buckets.download(&join(uri, ""), &folder).await?;
    }
    let mut channels = Map::new();
    for channel in running.list("/InputDataConfig") {
        let name = super::text(channel, "ChannelName");
        let source = &channel["DataSource"]["S3DataSource"];
        if super::text(source, "S3DataType") != "S3Prefix" {
            return Err(format!("channel `{name}`: only S3Prefix is known here"));
        }
        let uri = super::text(source, "S3Uri");
        let folder = root.join("input/data").join(name);
        std::fs::create_dir_all(&folder).map_err(text)?;
        if buckets.download(uri, &folder).await? == 0 {
            return Err(no_objects(uri));
        }
        let of_job = running.asked("/AlgorithmSpecification/TrainingInputMode");
        let mode = channel.get("InputMode").and_then(Value::as_str).or(of_job);
        let distribution = source.get("S3DataDistributionType").and_then(Value::as_str);
        channels.insert(
            name.to_owned(),
            json!({
                "TrainingInputMode": mode,
                "S3DistributionType": distribution.unwrap_or("FullyReplicated"),
                "RecordWrapperType": "None",
            }),
        );
    }
    let instance = running.asked("/ResourceConfig/InstanceType");
    let resources = json!({
        "current_host": "algo-1",
        "hosts": ["algo-1"],
        "current_instance_type": instance,
        "current_group_name": "homogeneousCluster",
        "instance_groups": [{
            "instance_group_name": "homogeneousCluster",
            "instance_type": instance,
            "hosts": ["algo-1"],
        }],
        "network_interface_name": "eth0",
    });
    let hyperparameters = running.request.get("HyperParameters").cloned();
    for (file, value) in [
        ("hyperparameters.json", hyperparameters.unwrap_or_else(|| json!({}))),
        ("inputdataconfig.json", Value::Object(channels)),
        ("resourceconfig.json", resources),
    ] {
        std::fs::write(root.join("input/config").join(file), format!("{value:#}")).map_err(text)?;
    }
    Ok(())
}

fn launch(running: &Running, root: &Path) -> Launch {
    let Shared { config, .. } = &*running.shared;
    let specification = &running.request["AlgorithmSpecification"];
    let mut launch =
        Launch::new(&config.program, specification, &["job", "train"], &running.folder, root);
    launch.environment = running.environment();
    let arn = running.shared.arn(Kind::Training.arn_word(), &running.name);
    launch.environment.extend([
        ("TRAINING_JOB_NAME".to_owned(), running.name.clone()),
        ("TRAINING_JOB_ARN".to_owned(), arn),
    ]);
    launch
}

fn pack(folder: &Path) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for file in files_below(folder) {
        tar.append_path_with_name(folder.join(&file), &file)?;
    }
    tar.into_inner()?.finish()
}
