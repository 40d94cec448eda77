//! The container: a process in a folder that is laid out as `/opt/ml`.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How long after its end a container's descendants may go on writing.
const DRAIN: Duration = Duration::from_secs(2);

/// Variables that the container gets, if they are set here.
const PASSED_ON: [&str; 3] = ["PATH", "HOME", "LANG"];
const PASSED_ON_PREFIXES: [&str; 2] = ["RECCTL_MEMORY", "RECCTL_THREADS"];

/// How a container ended.
#[derive(Debug)]
pub(super) enum Ended {
    Itself(ExitStatus),
    Stopped,
    RanTooLong,
    WaitedTooLong,
    Interrupted,
}

/// When a container has to end at the latest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) run: Instant,
    pub(super) wait: Option<Instant>,
    /// How long it may take to end when it is told to.
    pub(super) grace: Duration,
}

/// What to start.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) folder: PathBuf,
}

impl Launch {
    /// The program with the entry point and the arguments of a request, or with `fallback` where
    /// it has none. The program stands for the first word of an entry point; `/opt/ml` means
    /// `root`, and who does not name it gets `--root`.
    pub(super) fn new(
        program: &Path,
        specification: &Value,
        fallback: &[&str],
        folder: &Path,
        root: &Path,
    ) -> Self {
        let words = |member: &str| -> Option<Vec<String>> {
            let list = specification.get(member)?.as_array()?;
            Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        };
        let entry = words("ContainerEntrypoint");
        let given = words("ContainerArguments");
        let mut arguments: Vec<String> = match (entry, given) {
            (None, None) => fallback.iter().map(|&word| word.to_owned()).collect(),
            (entry, given) => entry
                .unwrap_or_default()
                .into_iter()
                .skip(1)
                .chain(given.unwrap_or_default())
                .collect(),
        };
        let mut named = false;
        for argument in &mut arguments {
            if let Some(path) = inside(argument, root) {
                *argument = path.display().to_string();
                named = true;
            }
        }
        if !named {
            arguments.extend(["--root".to_owned(), root.display().to_string()]);
        }
        Self {
            program: program.to_owned(),
            arguments,
            environment: Vec::new(),
            folder: folder.to_owned(),
        }
    }

    async fn spawn(&self) -> std::io::Result<Child> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| {
                name.to_str().is_some_and(|name| {
                    PASSED_ON.contains(&name)
                        || PASSED_ON_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
                })
            }))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for _ in 0..40 {
            match command.spawn() {
                // Another thread that is just starting a process holds the program open.
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                    tokio::time::sleep(Duration::from_millis(25)).await;
                }
                result => return result,
            }
        }
        command.spawn()
    }

    /// Runs the container to its end. `on_line` gets what it writes, and says whether its instance
    /// is taken away.
    pub(super) async fn run(
        &self,
        groups: &Groups,
        mut stop: watch::Receiver<bool>,
        limits: Limits,
        mut on_line: impl FnMut(&str) -> bool,
    ) -> std::io::Result<Ended> {
        let mut child = self.spawn().await?;
        let group = groups.add(child.id());
        let (send, mut lines) = mpsc::unbounded_channel();
        if let Some(pipe) = child.stdout.take() {
            tokio::spawn(read_lines(pipe, send.clone()));
        }
        if let Some(pipe) = child.stderr.take() {
            tokio::spawn(read_lines(pipe, send.clone()));
        }
        drop(send);
        let mut told: Option<(Ended, Instant)> = None;
        let status = loop {
            let kill_at = told.as_ref().map_or(limits.run, |(_, at)| *at);
            let wait = limits.wait.unwrap_or(limits.run);
            let reason = tokio::select! {
                biased;
                Some(line) = lines.recv() => {
                    if !on_line(&line) || told.is_some() { continue }
                    Ended::Interrupted
                }
                status = child.wait() => break status?,
                () = tokio::time::sleep_until(kill_at), if told.is_some() => Ended::Stopped,
                () = is_told(&mut stop), if told.is_none() => Ended::Stopped,
                () = tokio::time::sleep_until(limits.run), if told.is_none() => Ended::RanTooLong,
                () = tokio::time::sleep_until(wait), if told.is_none() && limits.wait.is_some() =>
                    Ended::WaitedTooLong,
            };
            told = match told {
                None => {
                    group.signal(libc::SIGTERM);
                    Some((reason, Instant::now() + limits.grace))
                }
                Some((first, _)) => {
                    group.signal(libc::SIGKILL);
                    Some((first, Instant::now() + DRAIN))
                }
            };
        };
        group.signal(libc::SIGKILL);
        let mut taken_away = false;
        let drained = async {
            while let Some(line) = lines.recv().await {
                taken_away |= on_line(&line);
            }
        };
        let _ = tokio::time::timeout(DRAIN, drained).await;
        // A container may end faster than its lines are read; its instance is gone all the same.
        if taken_away && told.is_none() {
            return Ok(Ended::Interrupted);
        }
        Ok(told.map_or(Ended::Itself(status), |(reason, _)| reason))
    }
}

/// Waits until a job is told to stop.
pub(super) async fn is_told(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

/// What a path of the container is on this machine, if it is one of `/opt/ml`.
pub(super) fn inside(path: &str, root: &Path) -> Option<PathBuf> {
    let rest = path.strip_prefix("/opt/ml")?;
    (rest.is_empty() || rest.starts_with('/')).then(|| root.join(rest.trim_start_matches('/')))
}

async fn read_lines(pipe: impl AsyncRead + Unpin, lines: mpsc::UnboundedSender<String>) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while pipe.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
        let text = String::from_utf8_lossy(&line);
        if lines.send(text.trim_end_matches(['\n', '\r']).to_owned()).is_err() {
            return;
        }
        line.clear();
    }
}

/// The process groups of all containers, so that none outlives the server.
#[derive(Debug, Default)]
pub(super) struct Groups(Mutex<(bool, BTreeSet<u32>)>);

impl Groups {
    fn lock(&self) -> MutexGuard<'_, (bool, BTreeSet<u32>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn leaders(&self) -> Vec<u32> {
        self.lock().1.iter().copied().collect()
    }

    fn add(&self, leader: Option<u32>) -> Group<'_> {
        let leader = leader.unwrap_or_default();
        let mut groups = self.lock();
        groups.1.insert(leader);
        if groups.0 {
            signal(leader, libc::SIGKILL);
        }
        Group { all: self, leader }
    }

    /// Kills all containers, and those that are just being started.
    pub(super) fn close(&self) {
        let mut groups = self.lock();
        groups.0 = true;
        for leader in &groups.1 {
            signal(*leader, libc::SIGKILL);
        }
    }
}

/// A container's process group; killed when this is dropped.
struct Group<'a> {
    all: &'a Groups,
    leader: u32,
}

impl Group<'_> {
    fn signal(&self, number: i32) {
        signal(self.leader, number);
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        self.all.lock().1.remove(&self.leader);
    }
}

fn signal(leader: u32, number: i32) {
    // 0 and 1 would mean our own group, and everybody.
    let Ok(leader @ 2..) = i32::try_from(leader) else { return };
    // SAFETY: kill takes two numbers and touches no memory of this process. That the group has
    // gone already is no matter.
    #[expect(unsafe_code, reason = "the standard library cannot signal a process group")]
    unsafe {
        libc::kill(-leader, number);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arguments(specification: &Value) -> Vec<String> {
        let root = Path::new("/tmp/x/opt/ml");
        Launch::new(Path::new("p"), specification, &["job", "train"], Path::new("/tmp"), root)
            .arguments
    }

    #[test]
    fn the_program_gets_the_words_of_the_request() {
        assert_eq!(arguments(&json!({})), ["job", "train", "--root", "/tmp/x/opt/ml"]);
        assert_eq!(
            arguments(&json!({
                "ContainerEntrypoint": ["recctl", "job", "score"],
                "ContainerArguments": ["--root", "/opt/ml/processing", "/opt/mlx"],
            })),
            ["job", "score", "--root", "/tmp/x/opt/ml/processing", "/opt/mlx"]
        );
        assert_eq!(
            arguments(&json!({ "ContainerArguments": ["train"] })),
            ["train", "--root", "/tmp/x/opt/ml"]
        );
    }
}
