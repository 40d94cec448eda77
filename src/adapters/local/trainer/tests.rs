#![cfg(unix)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::pipeline::job::{MetricDefinition, Resources};
use crate::ports::JobKind;

const LONG: Duration = Duration::from_secs(60);

/// A lake with one channel of one file, and a program.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// `program` sees the job's root as `$root`, and this place as `$place`.
    fn new(program: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self { folder };
        std::fs::create_dir_all(place.path("lake/in/deeper")).unwrap();
        std::fs::write(place.path("lake/in/deeper/file"), "content").unwrap();
        let text = format!("#!/bin/sh\nroot=\"$4\"\nplace=\"$root/../../../..\"\n{program}\n");
        std::fs::write(place.path("program"), text).unwrap();
        std::fs::set_permissions(place.path("program"), std::fs::Permissions::from_mode(0o755))
            .unwrap();
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn root(&self, path: &str) -> PathBuf {
        self.path("jobs/job/opt/ml").join(path)
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    fn trainer(&self, parallel: usize) -> ProcessTrainer {
        ProcessTrainer::new(&self.path("jobs"), &self.path("lake"), &self.path("program"), parallel)
            .unwrap()
    }

    async fn run(&self, kind: JobKind) -> JobStatus {
        let trainer = self.trainer(1);
        trainer.submit(&request("job", kind)).await.unwrap();
        trainer.wait("job", LONG).await.unwrap()
    }

    /// Waits for a file that the program makes, and takes its text.
    async fn appears(&self, path: &str) -> String {
        loop {
            match std::fs::read_to_string(self.path(path)) {
                Ok(text) if text.ends_with('\n') => return text,
                _ => tokio::task::yield_now().await,
            }
        }
    }
}

fn request(name: &str, kind: JobKind) -> JobRequest {
    JobRequest {
        name: name.to_owned(),
        kind,
        hyperparameters: [("algorithm", "als"), ("factors", "32")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        channels: [("train".to_owned(), "in/".to_owned())].into(),
        output: "out/job/".to_owned(),
        metrics: Vec::new(),
        max_runtime: LONG,
        resources: Resources::default(),
    }
}

fn reason(status: JobStatus) -> String {
    match status.state {
        JobState::Failed { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

fn gone(pid: &str) -> bool {
    // A zombie is no more than a number that waits for being read.
    match std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())) {
        Ok(stat) => stat.rsplit(')').next().unwrap().trim().starts_with('Z'),
        Err(_) => true,
    }
}

async fn until_gone(pid: &str) {
    while !gone(pid) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_folder_is_that_of_a_training_container() {
    let place = Place::new(
        "echo \"$@\" > \"$place/arguments\"; env > \"$place/environment\"\n\
         find \"$root\" | sort > \"$place/listing\"\n\
         cp -r \"$root/input/config\" \"$place/config\"; pwd > \"$place/pwd\"\n\
         ls -di \"$root/input/data/train/deeper/file\" > \"$place/inode\"\n\
         mkdir \"$root/model/a\"; echo w > \"$root/model/a/weights\"; echo v > \"$root/model/version\"",
    );
    assert_eq!(place.run(JobKind::Train).await.state, JobState::Completed);
    let root = place.root("").display().to_string();
    let root = root.trim_end_matches('/');
    assert_eq!(place.text("arguments"), format!("job train --root {root}\n"));
    let listing = place.text("listing").replace(root, "");
    let listing: Vec<&str> = listing.lines().filter(|line| !line.is_empty()).collect();
    let expected = [
        "/checkpoints",
        "/input",
        "/input/config",
        "/input/config/hyperparameters.json",
        "/input/config/inputdataconfig.json",
        "/input/config/resourceconfig.json",
        "/input/data",
        "/input/data/train",
        "/input/data/train/deeper",
        "/input/data/train/deeper/file",
        "/model",
        "/output",
        "/output/data",
    ];
    assert_eq!(listing, expected);
    let json = |name: &str| -> serde_json::Value {
        serde_json::from_str(&place.text(&format!("config/{name}.json"))).unwrap()
    };
    assert_eq!(json("hyperparameters"), serde_json::json!({"algorithm": "als", "factors": "32"}));
    assert_eq!(json("inputdataconfig")["train"]["TrainingInputMode"], "File");
    assert_eq!(json("resourceconfig")["current_host"], "algo-1");
    // A link, not a copy.
    let inode = std::fs::metadata(place.path("lake/in/deeper/file")).unwrap().ino();
    assert_eq!(place.text("inode").split(' ').next().unwrap(), inode.to_string());

    let environment = place.text("environment");
    assert!(environment.contains("TRAINING_JOB_NAME=job\n"), "{environment}");
    assert!(environment.contains("PATH="), "{environment}");
    // Cargo sets many more for its tests.
    assert!(!environment.contains("CARGO"), "{environment}");

    // The archive holds the model; what is not needed any more is gone.
    let archive = std::fs::read(place.path("lake/out/job/model.tar.gz")).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive.as_slice()));
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["a/weights", "version"]);
    assert!(!place.root("input/data").exists() && !place.root("model").exists());
    assert!(place.root("input/config").exists());
    assert_eq!(place.text("lake/in/deeper/file"), "content");
}

#[tokio::test]
async fn output_goes_to_the_log_and_metrics_are_read_from_it() {
    let place = Place::new(
        "echo 'epoch=1 loss=3 loss=2'; echo 'loss=nan'; echo 'loss=-1e-3 x' ; echo 'auc: 0.7'\n\
         printf 'warn\\377\\n' >&2; printf 'no end of line'; echo x > \"$root/model/x\"",
    );
    let trainer = place.trainer(1);
    let mut job = request("job", JobKind::Train);
    job.metrics = [("loss", r"loss=(\S+)"), ("auc", r"auc: ([0-9.]+)"), ("none", r"none=(\d)")]
        .map(|(name, regex)| MetricDefinition { name: name.to_owned(), regex: regex.to_owned() })
        .into();
    trainer.submit(&job).await.unwrap();
    let status = trainer.wait("job", LONG).await.unwrap();
    let expected = [("auc".to_owned(), 0.7), ("loss".to_owned(), -1e-3)].into();
    assert_eq!(status, JobStatus { state: JobState::Completed, metrics: expected });
    let log = place.text("jobs/job/log.txt");
    for line in ["epoch=1 loss=3 loss=2\n", "warn\u{fffd}\n", "no end of line\n"] {
        assert!(log.contains(line), "{log}");
    }
}

#[tokio::test]
async fn a_metric_that_cannot_be_read_is_refused() {
    let place = Place::new("exit 0");
    let trainer = place.trainer(1);
    for regex in ["loss=.*", "loss=("] {
        let mut job = request("job", JobKind::Train);
        job.metrics = vec![MetricDefinition { name: "loss".to_owned(), regex: regex.to_owned() }];
        let failure = trainer.submit(&job).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Usage, "{failure}");
        assert!(failure.message.contains("`loss`"), "{failure}");
    }
}

#[tokio::test]
async fn reasons_of_failures() {
    for (program, expected) in [
        ("exit 3", "exited with status 3"),
        ("kill -9 $$", "killed by signal 9"),
        ("echo ' out of data ' > \"$root/output/failure\"; exit 1", "out of data"),
        (": > \"$root/output/failure\"; exit 1", "exited with status 1"),
        ("exit 0", "the program left no file in `model`"),
    ] {
        let status = Place::new(program).run(JobKind::Train).await;
        assert_eq!(reason(status), expected, "{program}");
    }
    let status = Place::new("exit 0").run(JobKind::Score).await;
    assert_eq!(reason(status), "the program left no file in `output/data`");

    let place = Place::new("exit 0");
    std::fs::remove_file(place.path("program")).unwrap();
    let words = reason(place.run(JobKind::Train).await);
    assert!(words.starts_with("cannot start `"), "{words}");
}

#[tokio::test]
async fn a_name_stands_for_one_request() {
    let place = Place::new("echo x > \"$root/model/x\"");
    let job = request("job", JobKind::Train);
    let mut other = job.clone();
    other.hyperparameters.insert("factors".to_owned(), "64".to_owned());
    let trainer = place.trainer(1);
    trainer.submit(&job).await.unwrap();
    // While it is under way, after it, and in another process.
    assert_eq!(trainer.submit(&other).await.unwrap_err().kind, FailureKind::Conflict);
    trainer.wait("job", LONG).await.unwrap();
    assert_eq!(trainer.submit(&other).await.unwrap_err().kind, FailureKind::Conflict);
    let failure = place.trainer(1).submit(&other).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Conflict);
    // How long it may run does not matter.
    other = JobRequest { max_runtime: Duration::from_secs(1), ..job };
    trainer.submit(&other).await.unwrap();
}

#[tokio::test]
async fn a_completed_job_outlives_its_trainer_unless_its_output_is_gone() {
    let place = Place::new("echo 1 >> \"$place/starts\"; echo x > \"$root/model/x\"; echo loss=1");
    let mut job = request("job", JobKind::Train);
    job.metrics = vec![MetricDefinition { name: "loss".to_owned(), regex: "loss=(.*)".to_owned() }];
    for output_removed in [false, false, true] {
        if output_removed {
            std::fs::remove_file(place.path("lake/out/job/model.tar.gz")).unwrap();
        }
        let trainer = place.trainer(1);
        trainer.submit(&job).await.unwrap();
        let status = trainer.wait("job", LONG).await.unwrap();
        assert_eq!(status.state, JobState::Completed);
        assert_eq!(status.metrics, [("loss".to_owned(), 1.0)].into());
        assert!(place.path("lake/out/job/model.tar.gz").exists());
        assert_eq!(place.text("starts").lines().count(), 1 + usize::from(output_removed));
    }
    // Seen without a submit, too.
    assert_eq!(place.trainer(1).status("job").await.unwrap().state, JobState::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_trainer_attaches_to_a_job_under_way_and_takes_over_a_dead_one() {
    let place = Place::new(
        "echo $$ > \"$place/pid\"\n\
         test -e \"$place/second\" && echo x > \"$root/model/x\" && exit 0\n\
         exec sleep 600",
    );
    let job = request("job", JobKind::Train);
    let (one, two) = (place.trainer(1), place.trainer(1));
    one.submit(&job).await.unwrap();
    let pid = place.appears("pid").await;
    two.submit(&job).await.unwrap();
    assert_eq!(two.status("job").await.unwrap().state, JobState::InProgress);
    let waited = two.wait("job", Duration::from_millis(1)).await.unwrap();
    assert_eq!(waited.state, JobState::InProgress);
    assert_eq!(two.cancel("job").await.unwrap_err().kind, FailureKind::Conflict);
    assert!(!gone(&pid));

    // Dropped, a trainer takes its jobs along, and others see that.
    drop(one);
    until_gone(&pid).await;
    loop {
        let status = two.status("job").await.unwrap();
        if status.state != JobState::InProgress {
            assert_eq!(reason(status), "the process that ran the job has died");
            break;
        }
        tokio::task::yield_now().await;
    }
    std::fs::write(place.path("second"), "").unwrap();
    two.submit(&job).await.unwrap();
    assert_eq!(two.wait("job", LONG).await.unwrap().state, JobState::Completed);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_that_a_killed_trainer_left_is_ended_before_the_job_starts_anew() {
    use std::os::unix::process::CommandExt;
    let place = Place::new("echo x > \"$root/model/x\"");
    let job = request("job", JobKind::Train);
    // As if our predecessor had been killed by SIGKILL while the job ran.
    let root = place.root("").display().to_string();
    let mut orphan = std::process::Command::new("sh")
        .args(["-c", "sleep 600; true", "sh", &root])
        .process_group(0)
        .spawn()
        .unwrap();
    let trainer = place.trainer(1);
    std::fs::create_dir_all(place.path("jobs/job")).unwrap();
    let mut record = JobRecord::new("other digest");
    record.pid = Some(orphan.id());
    record.write(&place.path("jobs/job")).unwrap();
    trainer.submit(&job).await.unwrap();
    assert_eq!(trainer.wait("job", LONG).await.unwrap().state, JobState::Completed);
    assert_eq!(process::exit_text(orphan.wait().unwrap()), "killed by signal 9");
}

#[tokio::test]
async fn a_program_that_does_not_listen_is_killed_with_all_that_it_started() {
    let place = Place::new(
        "trap '' TERM\nsleep 600 &\necho $! > \"$place/child\"\necho $$ > \"$place/pid\"\n\
         while :; do wait; done",
    );
    let trainer = place.trainer(1).with_grace(Duration::from_millis(200));
    trainer.submit(&request("job", JobKind::Train)).await.unwrap();
    let (pid, child) = (place.appears("pid").await, place.appears("child").await);
    trainer.cancel("job").await.unwrap();
    assert_eq!(trainer.wait("job", LONG).await.unwrap().state, JobState::Stopped);
    assert!(gone(&pid));
    until_gone(&child).await;
}

#[tokio::test]
async fn a_program_may_tidy_up_when_it_is_stopped() {
    let place = Place::new(
        "trap 'echo bye; echo x > \"$root/model/x\"; exit 0' TERM\necho 1 > \"$place/ready\"\n\
         while :; do sleep 0.02; done",
    );
    let trainer = place.trainer(1);
    trainer.submit(&request("job", JobKind::Train)).await.unwrap();
    place.appears("ready").await;
    trainer.cancel("job").await.unwrap();
    // Stopped all the same, and nothing of it is in the lake.
    assert_eq!(trainer.wait("job", LONG).await.unwrap().state, JobState::Stopped);
    // The shell may have a word of its own for its `sleep`, which is stopped with it.
    assert!(place.text("jobs/job/log.txt").contains("bye\n"));
    assert!(!place.path("lake/out").exists());
}

#[tokio::test]
async fn a_descendant_that_holds_the_output_does_not_hold_the_job() {
    let place = Place::new("sleep 600 &\necho $! > \"$place/child\"; echo x > \"$root/model/x\"");
    assert_eq!(place.run(JobKind::Train).await.state, JobState::Completed);
    until_gone(&place.appears("child").await).await;
}

#[tokio::test]
async fn no_more_run_at_once_than_said() {
    let place = Place::new(
        "echo $TRAINING_JOB_NAME >> \"$place/started\"\n\
         while ! test -e \"$place/go\"; do sleep 0.02; done\necho x > \"$root/model/x\"",
    );
    let trainer = place.trainer(2);
    for name in ["a", "b", "c", "d"] {
        let job = JobRequest { output: format!("out/{name}/"), ..request(name, JobKind::Train) };
        trainer.submit(&job).await.unwrap();
        assert_eq!(trainer.status(name).await.unwrap().state, JobState::InProgress);
    }
    // Without the yield the second job would never get a turn on the one thread.
    while place.appears("started").await.lines().count() < 2 {
        tokio::task::yield_now().await;
    }
    // One that waits is stopped without having started.
    trainer.cancel("c").await.unwrap();
    assert_eq!(trainer.wait("c", LONG).await.unwrap().state, JobState::Stopped);
    assert_eq!(place.text("started").lines().count(), 2);
    std::fs::write(place.path("go"), "").unwrap();
    for name in ["a", "b", "d"] {
        assert_eq!(trainer.wait(name, LONG).await.unwrap().state, JobState::Completed, "{name}");
    }
    let mut started: Vec<String> = place.text("started").lines().map(str::to_owned).collect();
    assert_eq!(started.pop().as_deref(), Some("d"));
    started.sort();
    assert_eq!(started, ["a", "b"]);
}

#[tokio::test]
async fn places_outside_the_lake_are_refused() {
    let place = Place::new("exit 0");
    let trainer = place.trainer(1);
    for folder in ["../in/", "/in/", "in", ""] {
        let mut job = request("job", JobKind::Train);
        job.channels.insert("train".to_owned(), folder.to_owned());
        assert_eq!(trainer.submit(&job).await.unwrap_err().kind, FailureKind::Usage, "{folder}");
        let job = JobRequest { output: folder.to_owned(), ..request("job", JobKind::Train) };
        assert_eq!(trainer.submit(&job).await.unwrap_err().kind, FailureKind::Usage, "{folder}");
    }
}
