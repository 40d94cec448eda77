//! Processing jobs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::check::Check;
use super::container::{Ended, Launch, inside};
use super::job::{Job, Kind, Status};
use super::run::{End, Running, exceeds, start};
use super::training::no_objects;
use super::{Answer, Shared, invalid, now, refuse, text};

pub(super) fn create(shared: &Arc<Shared>, request: &Value) -> Answer {
    let mut check = Check::new(request);
    check.name("/ProcessingJobName", 63);
    check.role();
    check.required("/AppSpecification/ImageUri");
    check.text("/AppSpecification/ImageUri", 255, ".*");
    check.length("/AppSpecification/ContainerEntrypoint", 1, 100);
    check.length("/AppSpecification/ContainerArguments", 1, 100);
    check.required("/ProcessingResources/ClusterConfig");
    check.resources("/ProcessingResources/ClusterConfig");
    check.number("/StoppingCondition/MaxRuntimeInSeconds", 1, 777_600);
    check.map("/Environment", 100, (256, "^[a-zA-Z_][a-zA-Z0-9_]*$"), 256);
    check.vpc("/NetworkConfig/VpcConfig");
    check.length("/ProcessingInputs", 0, 10);
    for at in 0..list(request, "/ProcessingInputs").count() {
        let path = |rest: &str| format!("/ProcessingInputs/{at}/{rest}");
        check.required(&path("InputName"));
        check.required(&path("S3Input/S3Uri"));
        check.uri(&path("S3Input/S3Uri"));
        check.required(&path("S3Input/S3DataType"));
        check.one_of(&path("S3Input/S3DataType"), &["ManifestFile", "S3Prefix"]);
        check.one_of(&path("S3Input/S3InputMode"), &["Pipe", "File"]);
        check.required(&path("S3Input/S3InputMode"));
        // "Must begin with /opt/ml/processing/" (API reference, ProcessingS3Input).
        check.required(&path("S3Input/LocalPath"));
        check.text(&path("S3Input/LocalPath"), 256, "^/opt/ml/processing/.+");
    }
    check.length("/ProcessingOutputConfig/Outputs", 0, 10);
    for at in 0..list(request, "/ProcessingOutputConfig/Outputs").count() {
        let path = |rest: &str| format!("/ProcessingOutputConfig/Outputs/{at}/{rest}");
        check.required(&path("OutputName"));
        check.required(&path("S3Output/S3Uri"));
        check.uri(&path("S3Output/S3Uri"));
        check.required(&path("S3Output/LocalPath"));
        check.text(&path("S3Output/LocalPath"), 256, "^/opt/ml/processing/.+");
        check.required(&path("S3Output/S3UploadMode"));
        check.one_of(&path("S3Output/S3UploadMode"), &["Continuous", "EndOfJob"]);
    }
    check.tags();
    check.finish().map_err(invalid)?;
    let name = text(request, "ProcessingJobName");
    let arn = shared.arn(Kind::Processing.arn_word(), name);
    let taken = || {
        let message = format!(
            "Job name must be unique within an AWS account and region, and a job with this name \
             already exists ({arn})"
        );
        refuse("ResourceInUse", message)
    };
    if shared.lock().job(Kind::Processing, name).is_some() {
        return taken();
    }
    exceeds(shared, name, text(&request["ProcessingResources"]["ClusterConfig"], "InstanceType"))?;
    let job = Job::new(Kind::Processing, name, arn.clone(), request.clone(), now());
    if !start(shared, job, work) {
        return taken();
    }
    Ok(json!({ "ProcessingJobArn": arn }))
}

fn list<'a>(request: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    request.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

async fn work(mut running: Running) -> End {
    if let Some(end) = running.provision().await {
        return end;
    }
    let root = running.folder.join("opt/ml");
    if let Err(reason) = lay_out(&running, &root).await {
        return End::failed(format!("ClientError: {reason}"));
    }
    let launch = launch(&running, &root);
    let deadline = Instant::now() + running.max_runtime();
    let end = match running.contain(&launch, deadline).await {
        Err(error) => End::failed(format!("InternalServerError: cannot start: {error}")),
        Ok(Ended::Itself(status)) if status.success() => match upload(&running, &root).await {
            Ok(()) => End {
                status: Status::Completed,
                secondary: "Completed",
                text: "Completed".to_owned(),
            },
            Err(reason) => End::failed(format!("ClientError: Artifact upload failed: {reason}")),
        },
        Ok(Ended::Itself(_)) => End::failed("AlgorithmError: See job logs for more information"),
        Ok(_) => End::stopped("Stopped"),
    };
    if let Ok(message) = std::fs::read(root.join("output/message")) {
        let message: String = String::from_utf8_lossy(&message).chars().take(1_024).collect();
        running.change(|job| job.exit_message = Some(message));
    }
    let _ = std::fs::remove_dir_all(&running.folder);
    end
}

async fn lay_out(running: &Running, root: &Path) -> Result<(), String> {
    let _ = std::fs::remove_dir_all(&running.folder);
    let create = |folder: PathBuf| -> Result<PathBuf, String> {
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        Ok(folder)
    };
    let config = create(root.join("config"))?;
    create(root.join("output"))?;
    let resources = json!({ "current_host": "algo-1", "hosts": ["algo-1"] });
    for (file, value) in
        [("processingjobconfig.json", &running.request), ("resourceconfig.json", &resources)]
    {
        std::fs::write(config.join(file), format!("{value:#}")).map_err(|e| e.to_string())?;
    }
    for input in running.list("/ProcessingInputs") {
        let input = &input["S3Input"];
        let uri = text(input, "S3Uri");
        let Some(folder) = inside(text(input, "LocalPath"), root) else { continue };
        if running.shared.config.buckets.download(uri, &create(folder)?).await? == 0 {
            return Err(no_objects(uri));
        }
    }
    for output in running.list("/ProcessingOutputConfig/Outputs") {
        if let Some(folder) = inside(text(&output["S3Output"], "LocalPath"), root) {
            create(folder)?;
        }
    }
    Ok(())
}

fn launch(running: &Running, root: &Path) -> Launch {
    let specification = &running.request["AppSpecification"];
    let program = &running.shared.config.program;
    let mut launch = Launch::new(program, specification, &[], &running.folder, root);
    launch.environment = running.environment();
    let arn = running.shared.arn(Kind::Processing.arn_word(), &running.name);
    launch.environment.push(("PROCESSING_JOB_ARN".to_owned(), arn));
    launch
}

async fn upload(running: &Running, root: &Path) -> Result<(), String> {
    for output in running.list("/ProcessingOutputConfig/Outputs") {
        let output = &output["S3Output"];
        if let Some(folder) = inside(text(output, "LocalPath"), root) {
            running.shared.config.buckets.upload(&folder, text(output, "S3Uri")).await?;
        }
    }
    Ok(())
}
