//! Processes that end with the test process, however that ends.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a process may take until it answers, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often a start is tried: a port that was free may be taken by the time the process binds it.
const TRIES: usize = 3;

/// What a supervisor runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Task {
    /// Run one after the other; all but the last must succeed. `{scratch}` stands for the scratch folder.
    pub commands: Vec<Vec<OsString>>,
    /// The whole environment of the commands.
    pub environment: Vec<(String, OsString)>,
    /// Where everything they print goes.
    pub log: PathBuf,
    /// The signal that ends them; SIGKILL follows where it does not.
    pub stop: i32,
    /// A folder in which the commands get one of their own, removed when they end.
    pub scratch: Option<PathBuf>,
    /// The folder of packages with programs that refuse to run as root.
    pub unprivileged: Option<PathBuf>,
    /// The folders in there that they need.
    pub parts: Vec<&'static str>,
    /// Whether they may get a user namespace, in place of copies for another user.
    pub namespaces: bool,
}

impl Task {
    /// One command, with an environment that holds nothing of the developer's but the path.
    pub fn new(command: Vec<OsString>, folder: &Path, log: PathBuf) -> Self {
        let environment = vec![
            ("PATH".to_owned(), std::env::var_os("PATH").unwrap_or_default()),
            ("HOME".to_owned(), folder.into()),
            ("TMPDIR".to_owned(), folder.into()),
            ("LC_ALL".to_owned(), "C.UTF-8".into()),
            ("PYTHONUNBUFFERED".to_owned(), "1".into()),
        ];
        Self {
            commands: vec![command],
            environment,
            log,
            // They keep nothing, and politeness would wait for clients that hold connections open.
            stop: libc::SIGKILL,
            namespaces: true,
            ..Self::default()
        }
    }

    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    fn to_json(&self) -> Value {
        let text = |value: &OsString| value.to_string_lossy().into_owned();
        json!({
            "commands": self.commands.iter()
                .map(|command| command.iter().map(text).collect())
                .collect::<Vec<Vec<String>>>(),
            "environment": self.environment.iter()
                .map(|(name, value)| (name.clone(), Value::from(text(value))))
                .collect::<serde_json::Map<_, _>>(),
            "log": self.log,
            "stop": self.stop,
            "scratch": self.scratch,
            "unprivileged": self.unprivileged,
            "parts": self.parts,
            "namespaces": self.namespaces,
        })
    }
}

/// A task and its supervisor: a process that waits for the end of a pipe whose other end this holds.
///
/// A signal at the death of the parent would not do: Linux ties it to the thread that forked, and test
/// threads end before the test process does.
#[derive(Debug)]
pub(crate) struct Supervised {
    supervisor: Child,
    lifeline: Option<ChildStdin>,
}

impl Supervised {
    pub fn spawn(python: &Path, task: &Task) -> std::io::Result<Self> {
        let mut supervisor = Command::new(python)
            // Nothing of the developer's settings, and no search for packages: it starts faster.
            .args(["-I", "-S", "-c", include_str!("supervise.py")])
            .arg(task.to_json().to_string())
            .stdin(Stdio::piped())
            // A supervisor that outlives the tests for a moment must not hold a terminal or a pipe open.
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(&task.log)?)
            .spawn()?;
        let lifeline = supervisor.stdin.take();
        Ok(Self { supervisor, lifeline })
    }

    /// Waits for the end of the last command.
    pub fn wait(mut self) -> std::io::Result<ExitStatus> {
        // Not the child's `wait`, which would close the pipe first.
        loop {
            if let Some(status) = self.supervisor.try_wait()? {
                return Ok(status);
            }
            pause();
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.supervisor.try_wait().ok().flatten()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let _ = self.supervisor.wait();
    }
}

/// How to know that a server is ready.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ready {
    /// It answers 200 to a GET of this path.
    Http(&'static str),
    /// It lets this user in.
    Postgres(&'static str),
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Service {
    /// The port of 127.0.0.1 that it listens on.
    pub port: u16,
    /// From the first attempt to the first answer.
    pub started_in: Duration,
    _process: Supervised,
}

impl Service {
    /// Starts a server on a free port and waits until it is ready. The error quotes its log.
    pub fn start(
        python: &Path,
        name: &str,
        ready: Ready,
        task: impl Fn(u16) -> Task,
    ) -> Result<Self, String> {
        let begin = Instant::now();
        let mut last = String::new();
        for _ in 0..TRIES {
            let port = free_port().map_err(|error| format!("no free port for {name}: {error}"))?;
            let task = task(port);
            let mut process = Supervised::spawn(python, &task)
                .map_err(|error| format!("{name} did not start: {error}"))?;
            let outcome = until(PATIENCE, || {
                // First whether it lives: what answers at the port may be another's.
                if let Some(status) = process.ended() {
                    return Some(Err(format!("it ended with {status}")));
                }
                answers(port, ready).then_some(Ok(()))
            });
            match outcome {
                Some(Ok(())) if process.ended().is_none() => {
                    return Ok(Self { port, started_in: begin.elapsed(), _process: process });
                }
                Some(Err(why)) => last = failure(name, &why, &task.log),
                Some(Ok(())) => last = failure(name, "another server has its port", &task.log),
                None => {
                    return Err(failure(name, &format!("no answer in {PATIENCE:?}"), &task.log));
                }
            }
        }
        Err(last)
    }

    /// Where it listens, for example `http://127.0.0.1:24321`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn failure(name: &str, why: &str, log: &Path) -> String {
    format!("{name} did not start: {why}; the end of {}:\n{}", log.display(), tail(log))
}

/// The harness itself is broken: the test fails.
#[track_caller]
#[expect(clippy::panic, reason = "that is how a test fails")]
pub(crate) fn must<T>(result: Result<T, String>) -> T {
    result.unwrap_or_else(|why| panic!("{why}"))
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// A port that is free now and that the system hands to nobody who asks it for just any: between the
/// look and the moment the server binds it, a port from the system's own range could go to an outgoing
/// connection of another test.
fn free_port() -> std::io::Result<u16> {
    use std::hash::{BuildHasher, RandomState};

    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let low = range.ok().and_then(|range| range.split_whitespace().next()?.parse::<u16>().ok());
    // The range of Linux as shipped, where it cannot be read.
    let low = low.unwrap_or(32_768);
    const FIRST: u16 = 10_000;
    if low > FIRST + 2_000 {
        for _ in 0..100 {
            let dice = RandomState::new().hash_one(0_u8);
            let port = FIRST + u16::try_from(dice % u64::from(low - FIRST)).unwrap_or_default();
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(port);
            }
        }
    }
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn answers(port: u16, ready: Ready) -> bool {
    let ask = || -> std::io::Result<bool> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let (request, good) = match ready {
            Ready::Http(path) => (
                format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
                    .into_bytes(),
                b"HTTP/1.1 200".as_slice(),
            ),
            // `R` asks for authentication or says that none is needed; while it starts it says `E`.
            Ready::Postgres(user) => (postgres_startup(user), b"R".as_slice()),
        };
        stream.write_all(&request)?;
        let mut answer = vec![0; good.len()];
        stream.read_exact(&mut answer)?;
        Ok(answer == good)
    };
    ask().unwrap_or(false)
}

/// The first message to a PostgreSQL server: its length, version 3.0 of the protocol, settings.
fn postgres_startup(user: &str) -> Vec<u8> {
    let settings = format!("user\0{user}\0database\0postgres\0\0");
    let length = u32::try_from(8 + settings.len()).unwrap_or_default();
    let mut message = Vec::with_capacity(8 + settings.len());
    message.extend(length.to_be_bytes());
    message.extend(196_608_u32.to_be_bytes());
    message.extend(settings.as_bytes());
    message
}

/// A request to a stand-in by the harness itself, and the body of its good answer.
pub(crate) fn call(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<String, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\
             Content-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        write!(stream, "{request}\r\n{body}")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = ask().map_err(|error| format!("{method} {path}: {error}"))?;
    let (head, answered) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default().to_owned();
    if !status.contains(" 20") {
        return Err(format!("{method} {path} of {body}: {status}: {answered}"));
    }
    Ok(answered.to_owned())
}

/// Asks again and again until there is an answer or the time is up.
pub(crate) fn until<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if begin.elapsed() > patience {
            return None;
        }
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "a foreign process tells nobody when it is ready")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
