//! The process of a job: started, listened to and stopped.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::layout::Job;
use crate::ports::{JobKind, JobStatus};

/// Lines of output that are kept for a failure.
const LAST_LINES: usize = 20;

/// Where longer lines are cut, so that a program that never ends its line does not fill the memory.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// How long after the program's end its descendants may go on writing.
const DRAIN: Duration = Duration::from_secs(2);

/// Variables that a job gets, if they are set. Nothing else: what a job makes should not depend on
/// a shell, and credentials are none of its business.
const PASSED_ON: [&str; 4] = ["PATH", "HOME", "LANG", "RUST_LOG"];
const PASSED_ON_PREFIXES: [&str; 2] = ["RECCTL_MEMORY", "RECCTL_THREADS"];

/// How a process ended.
#[derive(Debug)]
pub(super) enum Ended {
    Itself(ExitStatus),
    Stopped,
}

/// The number of a job's process, which leads a group; 0 while there is none. The group is killed
/// when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Group(AtomicU32);

impl Group {
    pub(super) fn kill(&self) {
        let pid = self.0.swap(0, Ordering::AcqRel);
        if pid != 0 {
            kill_group(pid);
        }
    }
}

/// Forgets, or else kills, a group: when a job's task is dropped, its process has to go too, with
/// all that it started.
pub(super) struct KillOnDrop<'a>(pub &'a Group);

impl Drop for KillOnDrop<'_> {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// Starts the program for a job.
pub(super) async fn start(program: &Path, job: &Job) -> std::io::Result<Child> {
    let mut command = Command::new(program);
    command
        .arg("job")
        .arg(match job.request.kind {
            JobKind::Train => "train",
            JobKind::Score => "score",
        })
        .arg("--root")
        .arg(&job.root)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| {
            name.to_str().is_some_and(|name| {
                PASSED_ON.contains(&name)
                    || PASSED_ON_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            })
        }))
        .env("TRAINING_JOB_NAME", &job.request.name)
        .current_dir(&job.folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // A group of its own: what the program starts is stopped along with it, and Ctrl-C at the
    // terminal reaches recctl alone, which then decides.
    #[cfg(unix)]
    command.process_group(0);
    for _ in 0..40 {
        match command.spawn() {
            // A process that another thread is just starting holds every file that we had open
            // for writing, the program among them if it was installed a moment ago.
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            result => return result,
        }
    }
    command.spawn()
}

/// Listens to the process until it ends, and stops it when asked to or when its time is up.
pub(super) async fn attend(
    child: &mut Child,
    job: &Job,
    group: &Group,
    stop: &CancellationToken,
    grace: Duration,
    listener: &mut Listener<'_>,
) -> std::io::Result<Ended> {
    let pid = child.id().unwrap_or(0);
    group.0.store(pid, Ordering::Release);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = CancellationToken::new();

    let process = async {
        let result = tokio::select! {
            biased;
            status = child.wait() => status.map(Ended::Itself),
            () = stop_or_timeout(stop, job.request.max_runtime) => {
                terminate_group(pid);
                if tokio::time::timeout(grace, child.wait()).await.is_err() {
                    kill_group(pid);
                }
                child.wait().await.map(|_| Ended::Stopped)
            }
        };
        // From now on the number may be given to another process.
        group.0.store(0, Ordering::Release);
        ended.cancel();
        result
    };
    let output = async {
        let (send, receive) = mpsc::channel(256);
        let reading = async {
            let second = send.clone();
            tokio::join!(read_lines(stdout, send), read_lines(stderr, second));
        };
        let drained = async {
            tokio::join!(reading, listener.listen(receive));
        };
        let cut_off = async {
            ended.cancelled().await;
            tokio::time::sleep(DRAIN).await;
            // Somebody of the group still holds the pipe, so the group's number is still its own.
            kill_group(pid);
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            () = drained => {}
            () = cut_off => {}
        }
    };
    let (result, ()) = tokio::join!(process, output);
    result
}

async fn stop_or_timeout(stop: &CancellationToken, time: Duration) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}

async fn read_lines(pipe: Option<impl AsyncRead + Unpin>, to: mpsc::Sender<String>) {
    let Some(pipe) = pipe else { return };
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                if to.send(text.trim_end_matches(['\n', '\r']).to_owned()).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Takes in the lines of a program: to its log, its metrics and its last words.
pub(super) struct Listener<'a> {
    job: &'a Job,
    status: &'a watch::Sender<JobStatus>,
    log: Option<File>,
    last_lines: VecDeque<String>,
}

impl<'a> Listener<'a> {
    pub(super) async fn new(job: &'a Job, status: &'a watch::Sender<JobStatus>) -> Self {
        // A job whose output cannot be logged (a full disk) goes on without.
        let log = File::create(job.folder.join("log.txt")).await.ok();
        Self { job, status, log, last_lines: VecDeque::with_capacity(LAST_LINES + 1) }
    }

    pub(super) fn last_lines(self) -> Vec<String> {
        self.last_lines.into()
    }

    async fn listen(&mut self, mut lines: mpsc::Receiver<String>) {
        let mut batch = Vec::new();
        while lines.recv_many(&mut batch, 256).await > 0 {
            let mut text = String::new();
            let mut metrics = BTreeMap::new();
            for line in batch.drain(..) {
                for (name, regex) in &self.job.metrics {
                    let numbers = regex.captures_iter(&line).filter_map(|captures| {
                        captures.get(1)?.as_str().parse::<f64>().ok().filter(|n| n.is_finite())
                    });
                    if let Some(number) = numbers.last() {
                        metrics.insert(name.clone(), number);
                    }
                }
                text.push_str(&line);
                text.push('\n');
                self.last_lines.push_back(line);
                if self.last_lines.len() > LAST_LINES {
                    self.last_lines.pop_front();
                }
            }
            if !metrics.is_empty() {
                self.status.send_modify(|status| status.metrics.extend(metrics));
            }
            if let Some(log) = &mut self.log {
                let written = log.write_all(text.as_bytes()).await;
                if written.is_err() || log.flush().await.is_err() {
                    self.log = None;
                }
            }
        }
    }
}

/// Asks all processes of a group to end.
fn terminate_group(leader: u32) {
    signal_group(leader, Signal::Terminate);
}

/// Ends all processes of a group.
pub(super) fn kill_group(leader: u32) {
    signal_group(leader, Signal::Kill);
}

#[derive(Debug, Clone, Copy)]
enum Signal {
    Terminate,
    Kill,
}

#[cfg(unix)]
fn signal_group(leader: u32, signal: Signal) {
    // 0 and 1 would mean our own group, and everybody.
    let Ok(leader @ 2..) = i32::try_from(leader) else { return };
    let signal = match signal {
        Signal::Terminate => libc::SIGTERM,
        Signal::Kill => libc::SIGKILL,
    };
    // SAFETY: kill takes two numbers and touches no memory of this process. That the group has
    // gone already is no matter.
    #[expect(unsafe_code, reason = "the standard library cannot signal a process group")]
    unsafe {
        libc::kill(-leader, signal);
    }
}

#[cfg(not(unix))]
fn signal_group(_leader: u32, _signal: Signal) {
    // Elsewhere the process alone is killed, by tokio, when its handle is dropped.
}

/// How a process ended, in words.
pub(super) fn exit_text(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("killed by signal {signal}");
    }
    match status.code() {
        Some(code) => format!("exited with status {code}"),
        None => "ended in an unknown way".to_owned(),
    }
}
