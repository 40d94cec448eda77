//! What runs `recctl` in production: the image and the template of `docker/`. No container engine
//! takes part: what is tried is all but the building.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use stand_ins::python::{or_skip, tool};

use crate::sandbox::{DAY, Sandbox};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    std::fs::read_to_string(repository().join(file)).unwrap()
}

#[test]
fn the_template_is_accepted() {
    let Some(linter) = or_skip(tool("cfn-lint")) else { return };
    let template = repository().join("docker/recctl.yaml");
    // Remarks count too.
    let output =
        Command::new(linter).args(["--include-checks", "I", "--"]).arg(template).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.trim().is_empty(), "{told}{output:?}");
}

/// An alarm on a metric that nobody writes never goes off, or never ends.
#[test]
fn alarms_look_at_metrics_that_are_written() {
    let ran = Sandbox::prepared().run(&["run", "daily", "--date", DAY, "--metrics", "emf"]);
    let mut written = BTreeSet::new();
    for document in ran.ends_with(0).stdout.lines() {
        let document: serde_json::Value = serde_json::from_str(document).unwrap();
        let directive = &document["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Dimensions"][0], serde_json::json!(["pipeline", "target"]));
        let metrics = directive["Metrics"].as_array().unwrap();
        written.extend(metrics.iter().map(|it| it["Name"].as_str().unwrap().to_owned()));
    }
    let template = read("docker/recctl.yaml");
    let named = template.lines().filter_map(|line| line.trim().strip_prefix("MetricName: "));
    let of_ours: BTreeSet<&str> = named.filter(|name| name.starts_with("Run")).collect();
    assert_eq!(Vec::from_iter(&of_ours), [&"RunFailed", &"RunStarted", &"RunSucceeded"]);
    for name in of_ours {
        assert!(written.contains(name), "{name} is not among {written:?}");
    }
}

/// The words of the Dockerfile's instructions of one kind, continued lines joined.
fn instructions(kind: &str) -> Vec<Vec<String>> {
    let text = read("docker/Dockerfile").replace("\\\n", " ");
    let lines = text.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' '));
    lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

/// What `.dockerignore` lets through to the builder.
fn is_sent(path: &str) -> bool {
    let text = read(".dockerignore");
    assert!(text.lines().any(|line| line == "*"), "all that is not named is left out");
    let mut named = text.lines().filter_map(|line| line.strip_prefix('!'));
    named.any(|it| path == it || path.strip_prefix(it).is_some_and(|rest| rest.starts_with('/')))
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }
}

/// Goes through the stage that builds as far as cargo's first look at the files.
#[test]
fn the_image_is_built_from_files_that_are_there() {
    let context = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut copied = BTreeSet::new();
    for words in instructions("COPY").iter().filter(|words| !words[0].starts_with("--from")) {
        let (to, sources) = words.split_last().unwrap();
        for source in sources {
            assert!(is_sent(source), "{source} does not reach the builder");
            assert!(repository().join(source).exists(), "{source}");
            let is_into = to.ends_with('/');
            let name = Path::new(source).file_name().unwrap();
            let target = if is_into { Path::new(to).join(name) } else { to.into() };
            // The stage that builds comes first; later ones copy a project.
            if !["pipelines.yaml", "sql", "jobs"].contains(&source.as_str()) {
                copy(&repository().join(source), &context.path().join(target));
            }
            copied.insert(source.clone());
        }
    }
    assert!(copied.contains("Cargo.lock") && copied.contains("src"), "{copied:?}");
    let runs = instructions("RUN");
    let stubs = runs.iter().find(|words| words[0] == "mkdir").unwrap().join(" ");
    let status =
        Command::new("sh").args(["-ec", &stubs]).current_dir(context.path()).status().unwrap();
    assert!(status.success(), "{stubs}");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(context.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rust = read("rust-toolchain.toml");
    let builder = read("docker/Dockerfile");
    let version = builder.split_once("library/rust:").unwrap().1.split_once('-').unwrap().0;
    assert!(rust.contains(&format!("\"{version}.")), "the builder has the toolchain: {rust}");
}

#[test]
fn the_image_starts_the_program_without_a_shell_or_root() {
    let entry = instructions("ENTRYPOINT");
    assert_eq!(entry, [["[\"recctl\"]"]]);
    let users: Vec<String> = instructions("USER").concat();
    assert_eq!(users, ["65532:65532", "0:0"], "root is for SageMaker's image alone");
    let last = instructions("FROM").pop().unwrap();
    assert_eq!(last, ["recctl"], "what is built by default is not root's");
    assert!(read("docker/recctl.yaml").contains("User: \"65532:65532\""));
}

/// The base image has these and nothing else.
#[test]
#[cfg(target_os = "linux")]
fn the_program_needs_no_library_but_those_of_the_base_image() {
    let Ok(output) = Command::new("ldd").arg(env!("CARGO_BIN_EXE_recctl")).output() else {
        return;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let known = ["linux-vdso.", "libgcc_s.", "libm.", "libc.", "ld-linux"];
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    let names: Vec<&str> = names.map(|name| name.rsplit('/').next().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("libc.")), "{text}");
    for name in names {
        assert!(known.iter().any(|known| name.starts_with(known)), "{name}");
    }
}
