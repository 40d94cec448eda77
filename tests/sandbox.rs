//! A project of its own for a test, and the program run in it: no home, no settings and no time
//! zone of whoever runs the tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use recctl::adapters::local::{LocalTarget, SqliteStateStore, host_name};
use recctl::ports::{ServingItem, ServingStore};
use recctl::sample::{SampleOptions, SampleSummary, generate};
use recctl::steps::load::{segment_key, user_key};
use tempfile::TempDir;

/// The day that the prepared project was run for.
pub const DAY: &str = "2026-03-08";
/// The day after, for which it has raw input but was not run.
pub const NEXT_DAY: &str = "2026-03-09";
/// The days that the prepared project has tables of.
pub const DAYS: usize = 8;

pub struct Sandbox {
    folder: TempDir,
}

/// How a run of the program ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

impl Sandbox {
    /// The repository's own project with a split that fits a few days; no data.
    pub fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::create_dir(folder.path().join("home")).unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        for name in ["pipelines.yaml", "sql", "jobs"] {
            copy(&repository.join(name), &folder.path().join("project").join(name), false);
        }
        let sandbox = Self { folder };
        for (file, wide, narrow) in [
            (
                "pipelines.yaml",
                "{window: 21d, validation: 3d, test: 3d}",
                "{window: 8d, validation: 2d, test: 2d}",
            ),
            ("pipelines.yaml", "reads: {interactions: 21d}", "reads: {interactions: 8d}"),
            ("jobs/als.yaml", "iterations: 10", "iterations: 3"),
            ("jobs/als.yaml", "trials: 6", "trials: 2"),
            // One after the other: a service that tunes by itself need not wait for whole rounds.
            ("jobs/als.yaml", "parallel: 2", "parallel: 1"),
            ("jobs/item_knn.yaml", "parallel: 2", "parallel: 1"),
            ("jobs/item_knn.yaml", "trials: 4", "trials: 2"),
            ("jobs/item_knn.yaml", "[\"50\", \"200\"]", "[\"50\"]"),
        ] {
            sandbox.edit(file, wide, narrow);
        }
        sandbox
    }

    /// An example project as it stands in the repository; no data.
    pub fn example(name: &str) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::create_dir(folder.path().join("home")).unwrap();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
        for part in ["pipelines.yaml", "sql", "jobs"] {
            copy(&example.join(part), &folder.path().join("project").join(part), false);
        }
        Self { folder }
    }

    /// A copy of the project that was run for [`DAY`].
    pub fn prepared() -> Self {
        let sandbox = Self::new();
        copy(&prepared().folder.join("project/.recctl"), &sandbox.home(), false);
        sandbox
    }

    /// A copy of this project and all that belongs to it.
    pub fn copied(&self) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        copy(self.folder.path(), folder.path(), false);
        Self { folder }
    }

    pub fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// The folder of the embedded target.
    pub fn home(&self) -> PathBuf {
        self.project().join(".recctl")
    }

    pub fn lake(&self) -> PathBuf {
        self.home().join("lake")
    }

    /// Replaces a piece of a project's file that stands there once.
    #[track_caller]
    pub fn edit(&self, file: &str, right: &str, wrong: &str) {
        let path = self.project().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches(right).count(), 1, "`{right}` stands once in {file}");
        std::fs::write(path, text.replace(right, wrong)).unwrap();
    }

    /// The program with arguments, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        command(self.folder.path(), arguments)
    }

    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments))
    }

    /// The program in another project's folder.
    #[track_caller]
    pub fn run_in(&self, project: &Path, arguments: &[&str]) -> Ran {
        ran(command_in(self.folder.path(), project, arguments))
    }

    /// The catalog as `recctl tables` has it: rows and content hash of each table.
    pub fn hashes(&self) -> BTreeMap<String, (String, String)> {
        let ran = self.run(&["tables"]).ends_with(0);
        let mut hashes = BTreeMap::new();
        for line in ran.stdout.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (table, hash) = (words[0].to_owned(), words[words.len() - 1].to_owned());
            // Days are missing for tables without; rows and bytes come before the hash.
            let partitions_and_rows = format!("{} {}", words[1], words[words.len() - 4]);
            hashes.insert(table, (partitions_and_rows, hash));
        }
        assert!(hashes.contains_key("recs") && hashes.contains_key("quarantine"), "{hashes:?}");
        hashes
    }

    /// Lists that are served to known users and to visitors whom nobody knows, without what names
    /// the generation.
    pub fn served(&self) -> Vec<ServingItem> {
        let database = rusqlite::Connection::open(self.home().join("warehouse.db")).unwrap();
        let mut users = database.prepare("SELECT user_id FROM users ORDER BY 1 LIMIT 200").unwrap();
        let users = users.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let mut keys: Vec<String> = users.map(|user| user_key(&user.unwrap())).collect();
        keys.push(segment_key(None, None));
        keys.push(segment_key(Some("DE"), Some("mobile")));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let lists: Vec<ServingItem> = runtime.block_on(async {
            let store = LocalTarget::open(&self.home()).unwrap().serving_store().await.unwrap();
            let mut lists = Vec::new();
            for key in keys {
                lists.extend(
                    store.get("recommendations", &key).await.unwrap().map(|list| list.item),
                );
            }
            lists
        });
        assert!(lists.len() > 20, "{} lists of 202 keys", lists.len());
        lists
    }

    /// The generations of the served table.
    pub fn generations(&self) -> String {
        self.run(&["rollback", "recommendations", "--list"]).ends_with(0).stdout
    }

    /// Rows of a query as JSON.
    #[track_caller]
    pub fn query(&self, sql: &str) -> Vec<serde_json::Value> {
        let ran = self.run(&["query", "--format", "json", sql]).ends_with(0);
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub async fn state(&self) -> SqliteStateStore {
        LocalTarget::open(&self.home()).unwrap().state_store(&host_name()).await.unwrap()
    }
}

/// A project that was run once; tests get copies.
pub struct Prepared {
    folder: PathBuf,
    /// What the generator says that it made, [`NEXT_DAY`] included.
    pub sample: SampleSummary,
    /// How the run ended.
    pub ran: Ran,
}

pub fn prepared() -> &'static Prepared {
    static PREPARED: OnceLock<Prepared> = OnceLock::new();
    PREPARED.get_or_init(|| {
        let folder = claimed_folder();
        let fresh = Sandbox::new();
        copy(fresh.folder.path(), &folder, false);
        let sample = sample_into(&folder.join("project/.recctl/lake"));
        let ran = ran(command(&folder, &["run", "daily", "--date", DAY, "--threads", "2"]));
        Prepared { folder, sample, ran: ran.ends_with(0) }
    })
}

/// What the prepared project looks like once it was run for [`NEXT_DAY`] without any accident.
pub struct Reference {
    pub hashes: BTreeMap<String, (String, String)>,
    pub served: Vec<ServingItem>,
    /// Standard error, as JSON lines.
    pub log: String,
}

pub fn reference() -> &'static Reference {
    static REFERENCE: OnceLock<Reference> = OnceLock::new();
    REFERENCE.get_or_init(|| {
        let sandbox = Sandbox::prepared();
        let ran = sandbox
            .run(&["run", "daily", "--date", NEXT_DAY, "--threads", "2", "--log-format", "json"])
            .ends_with(0);
        assert_eq!(ran.stdout, "", "what a run tells is talk");
        Reference { hashes: sandbox.hashes(), served: sandbox.served(), log: ran.stderr }
    })
}

/// Makes raw input for nine days.
fn sample_into(lake: &Path) -> SampleSummary {
    let options = SampleOptions {
        events: 10_000,
        days: 9,
        last_day: NEXT_DAY.parse().unwrap(),
        seed: 7,
        users: None,
        items: None,
        threads: 2,
        output: lake.to_path_buf(),
    };
    std::fs::create_dir_all(lake).unwrap();
    generate(&options, &|_| {}, &|| false).unwrap()
}

/// A folder that lives as long as this process; those of processes that are gone are removed, as
/// statics are never dropped.
fn claimed_folder() -> PathBuf {
    const PREFIX: &str = "prepared-";
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for entry in std::fs::read_dir(parent).unwrap() {
        let path = entry.unwrap().path();
        let owner = path.file_name().and_then(|name| name.to_str()?.strip_prefix(PREFIX));
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            // Another process of these tests may be removing it too.
            let _ = std::fs::remove_dir_all(path);
        }
    }
    let folder = parent.join(format!("{PREFIX}{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).unwrap();
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    command_in(folder, &folder.join("project"), arguments)
}

fn command_in(folder: &Path, project: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recctl"));
    command
        .args(arguments)
        .arg("--project")
        .arg(project)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder.join("home"))
        .env("TZ", "UTC")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    command
}

#[track_caller]
pub fn ran(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran {
        code: output.status.code().expect("an exit code, not a signal"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Copies a file or a folder. Files of the lake are linked: nobody changes them in place, and the
/// version of a raw file is told by its inode and time, which a copy would change.
fn copy(from: &Path, to: &Path, is_lake: bool) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let is_lake = is_lake || entry.file_name() == "lake";
            copy(&entry.path(), &to.join(entry.file_name()), is_lake);
        }
    } else if is_lake {
        std::fs::hard_link(from, to).unwrap();
    } else {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }
}
