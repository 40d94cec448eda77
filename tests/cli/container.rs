//! What SageMaker and ECS rely on when they start the program as a container.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::sandbox::Sandbox;

/// `IMAGE train` is all that SageMaker says.
#[test]
fn train_alone_is_job_train() {
    let sandbox = Sandbox::new();
    let root = sandbox.project().join("opt-ml");
    std::fs::create_dir_all(root.join("output")).unwrap();
    let root = root.to_str().unwrap();
    let short = sandbox.run(&["train", "--root", root]).ends_with(1);
    let long = sandbox.run(&["job", "train", "--root", root]).ends_with(1);
    assert!(long.stderr.contains("hyperparameters.json"), "{}", long.stderr);
    assert_eq!(short.stderr, long.stderr);
    let help = sandbox.run(&["train", "--help"]).ends_with(0).stdout;
    assert!(help.contains("[default: /opt/ml]"), "{help}");
}

/// A SageMaker processing job hands on what is in a file of its own.
#[test]
fn a_scoring_job_tells_its_failure_where_it_is_asked_to() {
    let sandbox = Sandbox::new();
    let root = sandbox.project().join("opt-ml");
    std::fs::create_dir_all(root.join("output")).unwrap();
    let message = root.join("message");
    let (root, file) = (root.to_str().unwrap(), message.to_str().unwrap());
    let ended = sandbox.run(&["job", "score", "--root", root, "--message", file]).ends_with(1);
    let told = std::fs::read_to_string(&message).unwrap();
    assert!(told.contains("hyperparameters.json") && !told.contains('\n'), "{told}");
    assert!(ended.stderr.contains(&told), "{} {told}", ended.stderr);
}

/// As process 1 of a container a program is not ended by a signal that it does not listen to. What
/// listens ends with a code; elsewhere the signal would have ended it.
#[test]
#[cfg(unix)]
fn a_job_ends_when_it_is_asked_to() {
    let sandbox = Sandbox::new();
    for (signal, code) in [("-TERM", 143), ("-INT", 130)] {
        let root = sandbox.project().join(signal);
        let config = root.join("input/config");
        std::fs::create_dir_all(&config).unwrap();
        // The job waits for somebody to write, and whoever opens it to write waits for the job.
        let pipe = config.join("hyperparameters.json");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let mut command = sandbox.command(&["train", "--root", root.to_str().unwrap()]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(code));
        // Held open till now, so that nothing but the signal can have ended the job.
        let _ = writer.write(b"{}");
    }
}
