//! The Python environment that the stand-ins from packages run in.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::process::{Supervised, Task, tail};

const REQUIREMENTS: &str = include_str!("../requirements.txt");
/// The file that is written last, so that an interrupted installation is seen as such.
const COMPLETE: &str = "complete";

/// Why tests cannot run here.
#[derive(Debug, Clone)]
pub struct Skip {
    /// What is missing.
    pub reason: String,
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped: {}", self.reason)
    }
}

/// What a test goes on with, or nothing and a printed reason; where the variable `CI` is set a test
/// must not be skipped, so there it panics.
#[track_caller]
pub fn or_skip<T>(result: Result<T, Skip>) -> Option<T> {
    let skip = match result {
        Ok(value) => return Some(value),
        Err(skip) => skip,
    };
    must_not_skip(&skip);
    // Not by the macro, whose words the test runner keeps to itself as long as the test passes.
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    let _ = std::io::stderr().write_all(format!("{test} {skip}\n").as_bytes());
    None
}

#[track_caller]
#[expect(clippy::panic, reason = "that is how a test fails")]
fn must_not_skip(skip: &Skip) {
    if insists(std::env::var_os("CI").as_deref()) {
        panic!("{skip}, which CI must not");
    }
}

fn insists(ci: Option<&OsStr>) -> bool {
    ci.is_some_and(|value| !value.is_empty())
}

/// A virtual environment with the pinned packages.
#[derive(Debug)]
pub struct Environment {
    folder: PathBuf,
    /// How long the installation took, if it was now.
    pub installed_in: Option<Duration>,
}

impl Environment {
    /// A program of the environment, for example `cfn-lint`.
    pub fn tool(&self, name: &str) -> PathBuf {
        self.folder.join("venv/bin").join(name)
    }

    /// The folder of the installed packages.
    pub(crate) fn packages(&self) -> Option<PathBuf> {
        let mut versions = std::fs::read_dir(self.folder.join("venv/lib")).ok()?;
        versions.find_map(|python| {
            Some(python.ok()?.path().join("site-packages")).filter(|packages| packages.exists())
        })
    }
}

/// A program of the environment, for example `cfn-lint`; makes the environment first where needed.
pub fn tool(name: &str) -> Result<PathBuf, Skip> {
    Ok(environment()?.tool(name))
}

/// The environment, made by whoever asks first: threads and other test processes wait.
pub fn environment() -> Result<&'static Environment, Skip> {
    static ENVIRONMENT: OnceLock<Result<Environment, Skip>> = OnceLock::new();
    ENVIRONMENT
        .get_or_init(|| make(&folder()).map_err(|reason| Skip { reason }))
        .as_ref()
        .map_err(Clone::clone)
}

/// Where everything of this crate lives: in the target folder, which is two above the folder of the
/// test's program, wherever cargo was told to put it.
pub(crate) fn folder() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let profile = program.ancestors().find(|path| path.ends_with("deps")).and_then(Path::parent);
    let target = profile.and_then(Path::parent);
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    target.map_or_else(default, Path::to_owned).join("stand-ins")
}

fn make(folder: &Path) -> Result<Environment, String> {
    let version = python_version()?;
    let mut hasher = DefaultHasher::new();
    (REQUIREMENTS, &version).hash(&mut hasher);
    let name = format!("{:016x}", hasher.finish());
    let io = |error: std::io::Error| format!("`{}`: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(io)?;

    // The system gives the lock back when its holder ends, so none is ever left over.
    let lock = File::create(folder.join(format!("{name}.lock"))).map_err(io)?;
    lock.lock().map_err(io)?;
    let folder = folder.join(name);
    // Its programs name the folder they were made in, so one that was moved is no good.
    let mark = folder.to_string_lossy().into_owned();
    if std::fs::read_to_string(folder.join(COMPLETE)).is_ok_and(|found| found == mark) {
        return Ok(Environment { folder, installed_in: None });
    }
    let begin = Instant::now();
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).map_err(io)?;
    let requirements = folder.join("requirements.txt");
    std::fs::write(&requirements, REQUIREMENTS).map_err(io)?;
    let venv = folder.join("venv");
    let log = folder.join("install.log");
    let words = |words: &[&str], last: &Path| -> Vec<OsString> {
        words.iter().map(OsString::from).chain([last.into()]).collect()
    };
    let pip = venv.join("bin/pip").to_string_lossy().into_owned();
    let task = Task {
        commands: vec![
            words(&["python3", "-m", "venv"], &venv),
            words(
                &[&pip, "install", "--no-input", "--disable-pip-version-check", "-r"],
                &requirements,
            ),
        ],
        // Unlike the servers, pip needs the developer's settings: mirrors, certificates, proxies.
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect(),
        log: log.clone(),
        stop: libc::SIGTERM,
        ..Task::default()
    };
    let status =
        Supervised::spawn(Path::new("python3"), &task).and_then(Supervised::wait).map_err(io)?;
    if !status.success() {
        return Err(format!("the Python environment was not made: {}", why(&log)));
    }
    std::fs::write(folder.join(COMPLETE), mark).map_err(io)?;
    Ok(Environment { folder, installed_in: Some(begin.elapsed()) })
}

/// What pip says went wrong, in one line, as every test says it again.
fn why(log: &Path) -> String {
    let end = tail(log);
    let errors: Vec<_> = end.lines().filter(|line| line.starts_with("ERROR")).collect();
    let why = if errors.is_empty() {
        end.lines().next_back().unwrap_or_default().to_owned()
    } else {
        errors.join("; ")
    };
    format!("{why} (more in {})", log.display())
}

/// Which Python there is; an environment does not outlive a change of it.
fn python_version() -> Result<String, String> {
    let output = Command::new("python3")
        .args(["-I", "-S", "-c", "import sys; print(sys.version, sys.executable)"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("no `python3`: {error}"))?;
    if !output.status.success() {
        return Err(format!("`python3` does not run: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ci_insists() {
        assert!(!insists(None));
        assert!(!insists(Some(OsStr::new(""))));
        assert!(insists(Some(OsStr::new("true"))));
    }

    #[test]
    fn tools_are_installed_once_and_run() {
        let Some(lint) = or_skip(tool("cfn-lint")) else { return };
        let version = Command::new(lint).arg("--version").output().unwrap();
        let pin = REQUIREMENTS.lines().find_map(|line| line.strip_prefix("cfn-lint==")).unwrap();
        assert_eq!(String::from_utf8_lossy(&version.stdout).trim(), format!("cfn-lint {pin}"));
        assert!(make(&folder()).unwrap().installed_in.is_none(), "made twice");
    }
}
