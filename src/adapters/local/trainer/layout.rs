//! The folder of a job, laid out as SageMaker lays out `/opt/ml`.
//!
//! Source of names and formats: docs.aws.amazon.com, "How Amazon SageMaker provides training
//! information".

use std::path::{Component, Path, PathBuf};

use regex::Regex;
use serde_json::json;

use super::record::{JobLock, JobRecord};
use crate::pipeline::fingerprint::digest;
use crate::ports::{JobKind, JobRequest};
use crate::run::failure::{Failure, FailureKind, Outcome, io_failure};

/// A request that is valid, with its places.
#[derive(Debug)]
pub(super) struct Job {
    pub request: JobRequest,
    pub digest: String,
    pub metrics: Vec<(String, Regex)>,
    /// All jobs.
    pub jobs: PathBuf,
    pub lake: PathBuf,
    /// This job.
    pub folder: PathBuf,
    /// What is `/opt/ml` in a container.
    pub root: PathBuf,
}

/// What a submit comes to.
#[derive(Debug)]
pub(super) enum Claim {
    /// The job is under way elsewhere, or completed.
    Attached,
    /// The job is laid out and ours to run.
    Start(JobLock),
}

impl Job {
    /// Checks a request. Errors: `Usage`.
    pub(super) fn new(request: &JobRequest, jobs: &Path, lake: &Path) -> Outcome<Self> {
        let usage = |text: String| Err(Failure::new(FailureKind::Usage, text));
        let name = &request.name;
        if !is_job_name(name) {
            return usage(format!(
                "`{name}` is not a job name (expected 1 to 63 of `a` to `z`, `0` to `9` and `-`)"
            ));
        }
        for folder in request.channels.values().chain([&request.output]) {
            if !is_lake_folder(folder) {
                return usage(format!("`{folder}` of job `{name}` is not a folder of the lake"));
            }
        }
        if let Some(channel) = request.channels.keys().find(|channel| !is_channel(channel)) {
            return usage(format!("`{channel}` of job `{name}` cannot be the name of a channel"));
        }
        let mut metrics = Vec::with_capacity(request.metrics.len());
        for metric in &request.metrics {
            match Regex::new(&metric.regex) {
                Ok(regex) if regex.captures_len() > 1 => metrics.push((metric.name.clone(), regex)),
                Ok(_) => {
                    let text = format!("the regex of metric `{}` has no group", metric.name);
                    return Err(Failure::new(FailureKind::Usage, text)
                        .with_hint("put the number in parentheses, as in `ndcg=([0-9.]+)`"));
                }
                Err(error) => {
                    return usage(format!("the regex of metric `{}`: {error}", metric.name));
                }
            }
        }
        let folder = jobs.join(name);
        Ok(Self {
            digest: request_digest(request),
            request: request.clone(),
            metrics,
            jobs: jobs.to_owned(),
            lake: lake.to_owned(),
            root: folder.join("opt/ml"),
            folder,
        })
    }

    /// Attaches to the job, or lays it out anew.
    ///
    /// Errors: `Conflict` if a job of this name asks for something else, `Input` if a channel has
    /// no file.
    pub(super) fn claim(&self) -> Outcome<Claim> {
        let Some(lock) = JobLock::take(&self.jobs, &self.request.name)? else {
            if let Some(record) = JobRecord::read(&self.folder)? {
                self.check_digest(&record.digest)?;
            }
            return Ok(Claim::Attached);
        };
        if let Some(record) = JobRecord::read(&self.folder)? {
            if record.is_completed() {
                self.check_digest(&record.digest)?;
                // A model that was pruned from the lake has to be made again.
                if record.outputs.iter().all(|path| self.lake.join(path).is_file()) {
                    return Ok(Claim::Attached);
                }
            }
            self.clear_up(&record)?;
        }
        self.lay_out()?;
        JobRecord::new(&self.digest).write(&self.folder)?;
        Ok(Claim::Start(lock))
    }

    /// Fails if a job of the same name asks for something else.
    pub(super) fn check_digest(&self, other: &str) -> Outcome<()> {
        if self.digest == other {
            return Ok(());
        }
        let text =
            format!("another job of the name `{}` asks for something else", self.request.name);
        Err(Failure::new(FailureKind::Conflict, text))
    }

    /// Removes what an attempt has left that did not end well.
    fn clear_up(&self, record: &JobRecord) -> Outcome<()> {
        if let Some(pid) = record.pid.filter(|_| record.is_in_progress()) {
            // Its trainer was killed. A number may have been given to another process since.
            let commands = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let root = self.root.display().to_string();
            if String::from_utf8_lossy(&commands).contains(&root) {
                super::process::kill_group(pid);
            }
        }
        for path in record.outputs.iter().filter(|path| is_lake_file(path)) {
            remove(&self.lake.join(path), |path| std::fs::remove_file(path))?;
        }
        Ok(())
    }

    fn lay_out(&self) -> Outcome<()> {
        let mut channels = Vec::with_capacity(self.request.channels.len());
        for (channel, folder) in &self.request.channels {
            let from = self.lake.join(folder);
            let files = match files_below(&from) {
                Ok(files) => files,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(io_failure("list", &from, &error)),
            };
            if files.is_empty() {
                return Err(Failure::new(
                    FailureKind::Input,
                    format!("the channel `{channel}` has no file in `{folder}`"),
                ));
            }
            channels.push((channel, from, files));
        }

        remove(&self.folder, |path| std::fs::remove_dir_all(path))?;
        let config = self.root.join("input/config");
        for folder in [
            &config,
            &self.root.join("input/data"),
            &self.root.join("model"),
            &self.root.join("output/data"),
            &self.root.join("checkpoints"),
        ] {
            create_folder(folder)?;
        }
        let channel_config: serde_json::Map<String, serde_json::Value> = self
            .request
            .channels
            .keys()
            .map(|channel| {
                let config = json!({
                    "TrainingInputMode": "File",
                    "S3DistributionType": "FullyReplicated",
                    "RecordWrapperType": "None",
                });
                (channel.clone(), config)
            })
            .collect();
        let resources = json!({
            "current_host": "algo-1",
            "hosts": ["algo-1"],
            "current_instance_type": "local",
            "current_group_name": "homogeneousCluster",
            "instance_groups": [
                {"instance_group_name": "homogeneousCluster", "instance_type": "local", "hosts": ["algo-1"]}
            ],
            "network_interface_name": "lo",
        });
        for (name, value) in [
            ("hyperparameters.json", json!(self.request.hyperparameters)),
            ("inputdataconfig.json", channel_config.into()),
            ("resourceconfig.json", resources),
        ] {
            let path = config.join(name);
            std::fs::write(&path, format!("{value:#}\n"))
                .map_err(|error| io_failure("write", &path, &error))?;
        }
        for (channel, from, files) in channels {
            let to = self.root.join("input/data").join(channel);
            for file in files {
                link(&from.join(&file), &to.join(&file))?;
            }
        }
        Ok(())
    }
}

/// Hard links a file, or copies it where that cannot be done.
///
/// Links to folders are no way: a program that tidies its input up would tidy up the lake.
fn link(from: &Path, to: &Path) -> Outcome<()> {
    if let Some(folder) = to.parent() {
        create_folder(folder)?;
    }
    if std::fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    std::fs::copy(from, to).map(drop).map_err(|error| io_failure("copy", from, &error))
}

pub(super) fn create_folder(folder: &Path) -> Outcome<()> {
    std::fs::create_dir_all(folder).map_err(|error| io_failure("create the folder", folder, &error))
}

/// Removes a file or a folder that may be missing.
pub(super) fn remove(path: &Path, how: impl FnOnce(&Path) -> std::io::Result<()>) -> Outcome<()> {
    match how(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(io_failure("remove", path, &error))
        }
        _ => Ok(()),
    }
}

/// Files below a folder, relative to it and sorted. Links to folders are not followed.
pub(super) fn files_below(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(relative) = folders.pop() {
        for entry in std::fs::read_dir(folder.join(&relative))? {
            let entry = entry?;
            let path = relative.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() || folder.join(&path).is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn request_digest(request: &JobRequest) -> String {
    let kind = match request.kind {
        JobKind::Train => "train",
        JobKind::Score => "score",
    };
    let metrics: Vec<(&str, &str)> = request
        .metrics
        .iter()
        .map(|metric| (metric.name.as_str(), metric.regex.as_str()))
        .collect();
    // How long it may run is not part of what it makes.
    let all = json!([kind, request.hyperparameters, request.channels, request.output, metrics]);
    digest(all.to_string().as_bytes())
}

pub(super) fn is_job_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_channel(channel: &str) -> bool {
    !channel.is_empty()
        && !channel.starts_with('.')
        && channel.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

fn is_lake_folder(path: &str) -> bool {
    path.ends_with('/') && is_lake_file(path)
}

fn is_lake_file(path: &str) -> bool {
    let mut parts = Path::new(path).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_lake() {
        for good in ["a/", "a/b=1/"] {
            assert!(is_lake_folder(good), "{good}");
        }
        for bad in ["", "/", "a", "/a/", "../a/", "a/../../b/", "./"] {
            assert!(!is_lake_folder(bad), "{bad}");
        }
    }

    #[test]
    fn names() {
        assert!(is_job_name("a-1") && is_job_name(&"x".repeat(63)));
        for bad in ["", "A", "a_b", "a/b", "..", &"x".repeat(64)] {
            assert!(!is_job_name(bad), "{bad}");
        }
        for bad in ["", ".", "..", "a/b", ".hidden"] {
            assert!(!is_channel(bad), "{bad}");
        }
    }
}
