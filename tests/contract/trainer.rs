use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use recctl::adapters::local::ProcessTrainer;
use recctl::pipeline::job::{MetricDefinition, Resources};
use recctl::ports::{JobKind, JobRequest, JobState, JobStatus, Trainer};
use recctl::run::failure::FailureKind;

use super::kind;

/// A trainer with the lake that its jobs read and write.
///
/// Its program does what the hyperparameter `behaviour` says:
/// * `succeed`: prints `loss=0.5`, `loss=0.25;` and `noise`, and leaves one file;
/// * `fail`: prints the lines `line 1` to `line 30`, leaves 2,000 times `é` as its words, and fails;
/// * `break`: fails without a word;
/// * `hang`: prints `loss=0.75` and goes on until it is stopped.
///
/// Each start adds one to `starts`.
#[async_trait]
pub trait TrainerTarget {
    /// Opens a handle.
    async fn open(&self) -> Arc<dyn Trainer>;
    /// Puts a file into the lake.
    async fn put_file(&self, path: &str, text: &str);
    /// Files of the lake below a folder, relative to it.
    async fn files(&self, folder: &str) -> Vec<String>;
    /// How often a job's program was started.
    async fn starts(&self, name: &str) -> usize;
    /// How many characters of the program's own words reach a failure.
    fn longest_reason(&self) -> usize {
        1_024
    }
}

const LONG: Duration = Duration::from_secs(60);

/// A job that does what `behaviour` says.
pub fn request(name: &str, kind: JobKind, behaviour: &str) -> JobRequest {
    JobRequest {
        name: name.to_owned(),
        kind,
        hyperparameters: [("behaviour".to_owned(), behaviour.to_owned())].into(),
        channels: [("train".to_owned(), "in/".to_owned())].into(),
        output: format!("out/{name}/"),
        metrics: vec![MetricDefinition {
            name: "loss".to_owned(),
            regex: "loss=([0-9.]+)".to_owned(),
        }],
        max_runtime: LONG,
        resources: Resources::default(),
    }
}

fn metric(value: f64) -> BTreeMap<String, f64> {
    [("loss".to_owned(), value)].into()
}

fn completed() -> JobStatus {
    JobStatus { state: JobState::Completed, metrics: metric(0.25) }
}

pub async fn trainer_contract(target: &dyn TrainerTarget) {
    target.put_file("in/part-1", "1").await;
    target.put_file("in/deeper/part-2", "2").await;
    let trainer = &*target.open().await;
    unknown(trainer).await;
    refused(target, trainer).await;
    succeeds(target, trainer).await;
    scores(target, trainer).await;
    fails(target, trainer).await;
    is_stopped(target, trainer).await;
    takes_too_long(trainer).await;
}

async fn unknown(trainer: &dyn Trainer) {
    assert_eq!(kind(trainer.status("nobody").await), FailureKind::NotFound);
    assert_eq!(kind(trainer.cancel("nobody").await), FailureKind::NotFound);
    assert_eq!(kind(trainer.wait("nobody", LONG).await), FailureKind::NotFound);
}

async fn refused(target: &dyn TrainerTarget, trainer: &dyn Trainer) {
    for name in ["", "Upper", "under_score", "a/b", "..", &"x".repeat(64)] {
        let submitted = trainer.submit(&request(name, JobKind::Train, "succeed")).await;
        assert_eq!(kind(submitted), FailureKind::Usage, "{name}");
    }
    let mut job = request("no-input", JobKind::Train, "succeed");
    job.channels.insert("other".to_owned(), "nowhere/".to_owned());
    assert_eq!(kind(trainer.submit(&job).await), FailureKind::Input);
    assert_eq!(kind(trainer.status("no-input").await), FailureKind::NotFound);
    assert_eq!(target.starts("no-input").await, 0);
    // With the files there, it goes.
    target.put_file("nowhere/file", "").await;
    trainer.submit(&job).await.unwrap();
    assert_eq!(trainer.wait("no-input", LONG).await, Ok(completed()));
}

async fn succeeds(target: &dyn TrainerTarget, trainer: &dyn Trainer) {
    let name = &"x".repeat(63);
    let job = request(name, JobKind::Train, "succeed");
    trainer.submit(&job).await.unwrap();
    assert_eq!(trainer.wait(name, LONG).await, Ok(completed()));
    assert_eq!(trainer.status(name).await, Ok(completed()));
    assert_eq!(target.files(&job.output).await, ["model.tar.gz"]);
    // Attached to, not done again; and not to be stopped any more.
    trainer.submit(&job).await.unwrap();
    trainer.cancel(name).await.unwrap();
    assert_eq!(trainer.wait(name, LONG).await, Ok(completed()));
    let other = target.open().await;
    other.submit(&job).await.unwrap();
    assert_eq!(other.status(name).await, Ok(completed()));
    assert_eq!(target.starts(name).await, 1);
}

async fn scores(target: &dyn TrainerTarget, trainer: &dyn Trainer) {
    let job = request("score", JobKind::Score, "succeed");
    trainer.submit(&job).await.unwrap();
    assert_eq!(trainer.wait("score", LONG).await, Ok(completed()));
    assert_eq!(target.files(&job.output).await, ["dt=1/part-1"]);
}

async fn fails(target: &dyn TrainerTarget, trainer: &dyn Trainer) {
    let job = request("fail", JobKind::Train, "fail");
    for attempt in 1..=2 {
        trainer.submit(&job).await.unwrap();
        let status = trainer.wait("fail", LONG).await.unwrap();
        let JobState::Failed { reason, last_lines } = status.state else { panic!("{status:?}") };
        assert_eq!(reason, "é".repeat(target.longest_reason()));
        let expected: Vec<String> = (11..=30).map(|n| format!("line {n}")).collect();
        assert_eq!(last_lines, expected);
        assert_eq!(target.starts("fail").await, attempt);
    }
    assert_eq!(target.files(&job.output).await, [""; 0]);
    // Of its own will it says how its process ended.
    trainer.submit(&request("break", JobKind::Score, "break")).await.unwrap();
    let status = trainer.wait("break", LONG).await.unwrap();
    let JobState::Failed { reason, last_lines } = status.state else { panic!("{status:?}") };
    assert!(!reason.is_empty());
    assert_eq!(last_lines, [""; 0]);
    // Stopping what has ended changes nothing.
    trainer.cancel("break").await.unwrap();
    assert!(matches!(trainer.status("break").await.unwrap().state, JobState::Failed { .. }));
}

async fn is_stopped(target: &dyn TrainerTarget, trainer: &dyn Trainer) {
    let job = request("hang", JobKind::Train, "hang");
    for attempt in 1..=2 {
        trainer.submit(&job).await.unwrap();
        trainer.submit(&job).await.unwrap();
        let waited = trainer.wait("hang", Duration::from_millis(1)).await.unwrap();
        assert_eq!(waited.state, JobState::InProgress);
        assert_eq!(trainer.wait("hang", Duration::ZERO).await.unwrap().state, JobState::InProgress);
        // Whoever asks finds it by the beginning of its name, where it goes on without this process.
        let heads = |head: &str| [head.to_owned()];
        let found = trainer.under_way(&heads("ha"), &[]).await.unwrap();
        // A later attempt has a name of its own that begins so.
        assert!(found.iter().all(|job| job.name.starts_with("hang")), "{found:?}");
        assert_eq!(found.len(), usize::from(trainer.outlives_the_run()), "{found:?}");
        assert_eq!(trainer.under_way(&heads("ang"), &heads("ha")).await, Ok(Vec::new()));
        // Metrics are seen as they come.
        while trainer.status("hang").await.unwrap().metrics != metric(0.75) {
            tokio::task::yield_now().await;
        }
        trainer.cancel("hang").await.unwrap();
        trainer.cancel("hang").await.unwrap();
        let status = trainer.wait("hang", LONG).await.unwrap();
        assert_eq!(status, JobStatus { state: JobState::Stopped, metrics: metric(0.75) });
        trainer.cancel("hang").await.unwrap();
        assert_eq!(target.starts("hang").await, attempt);
    }
    assert_eq!(target.files(&job.output).await, [""; 0]);
}

async fn takes_too_long(trainer: &dyn Trainer) {
    let mut job = request("long", JobKind::Train, "hang");
    job.max_runtime = Duration::from_secs(1);
    trainer.submit(&job).await.unwrap();
    assert_eq!(trainer.wait("long", LONG).await.unwrap().state, JobState::Stopped);
}

/// The program, as a shell script.
pub const PROGRAM: &str = r#"#!/bin/sh
root="$4"
echo started >> "$root/../../../../starts-$TRAINING_JOB_NAME"
behaviour() { grep -q "\"behaviour\": \"$1\"" "$root/input/config/hyperparameters.json"; }
if behaviour hang; then
    echo loss=0.75
    exec sleep 600
elif behaviour fail; then
    n=1
    while [ $n -le 30 ]; do echo "line $n"; n=$((n + 1)); done
    n=1
    while [ $n -le 2000 ]; do printf 'é'; n=$((n + 1)); done > "$root/output/failure"
    exit 1
elif behaviour break; then
    exit 3
fi
test -f "$root/input/data/train/deeper/part-2" || exit 4
echo loss=0.5
echo "loss=0.25;"
echo noise >&2
if [ "$2" = train ]; then
    echo weights > "$root/model/weights"
else
    mkdir "$root/output/data/dt=1"
    echo rows > "$root/output/data/dt=1/part-1"
fi
"#;

struct ProcessTarget {
    folder: tempfile::TempDir,
    program: PathBuf,
}

#[cfg(unix)]
impl ProcessTarget {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        std::fs::write(&program, PROGRAM).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, program }
    }

    fn lake(&self) -> PathBuf {
        self.folder.path().join("lake")
    }
}

#[async_trait]
impl TrainerTarget for ProcessTarget {
    async fn open(&self) -> Arc<dyn Trainer> {
        let jobs = self.folder.path().join("jobs");
        Arc::new(ProcessTrainer::new(&jobs, &self.lake(), &self.program, 2).unwrap())
    }

    async fn put_file(&self, path: &str, text: &str) {
        let path = self.lake().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    async fn files(&self, folder: &str) -> Vec<String> {
        fn list(folder: &std::path::Path, prefix: &str, files: &mut Vec<String>) {
            let Ok(entries) = std::fs::read_dir(folder) else { return };
            for entry in entries.map(Result::unwrap) {
                let name = format!("{prefix}{}", entry.file_name().display());
                if entry.path().is_dir() {
                    list(&entry.path(), &format!("{name}/"), files);
                } else {
                    files.push(name);
                }
            }
        }
        let mut files = Vec::new();
        list(&self.lake().join(folder), "", &mut files);
        files.sort();
        files
    }

    async fn starts(&self, name: &str) -> usize {
        let starts = std::fs::read_to_string(self.folder.path().join(format!("starts-{name}")));
        starts.map_or(0, |text| text.lines().count())
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_trainer() {
    trainer_contract(&ProcessTarget::new()).await;
}
