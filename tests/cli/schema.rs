//! `recctl schema`: what it prints is what the repository keeps, and an independent validator takes
//! the repository's files by it and refuses mistakes.

use std::path::{Path, PathBuf};
use std::process::Command;

use recctl::spec::schema::File;
use stand_ins::python::{or_skip, tool};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_kept_schemas_are_those_of_the_types() {
    for file in File::ALL {
        let path = repository().join("schema").join(file.file_name());
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == file.schema(),
            "{} is stale: run `cargo run -- schema --write schema`",
            path.display()
        );
    }
}

/// Holds JSON files against a schema; prints for each what is wrong, or `ok`.
const VALIDATE: &str = r#"
import json, sys
from jsonschema import Draft202012Validator as Validator

schema = json.load(open(sys.argv[1]))
Validator.check_schema(schema)
for path in sys.argv[2:]:
    found = list(Validator(schema).iter_errors(json.load(open(path))))
    print("; ".join(error.message.replace("\n", " ")[:120] for error in found) or "ok")
"#;

/// What the validator says of texts of YAML.
fn verdicts(python: &Path, of: File, texts: &[String]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let write = |(at, text): (usize, &String)| {
        let value: serde_json::Value = serde_saphyr::from_str(text).unwrap();
        let path = folder.path().join(format!("{at}.json"));
        std::fs::write(&path, value.to_string()).unwrap();
        path
    };
    let files: Vec<PathBuf> = texts.iter().enumerate().map(write).collect();
    let schema = repository().join("schema").join(of.file_name());
    let output =
        Command::new(python).args(["-c", VALIDATE]).arg(schema).args(files).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

#[test]
fn a_validator_takes_the_repository_s_files() {
    let Some(python) = or_skip(tool("python3")) else { return };
    let projects = ["", "examples/online-retail", "tests/specs/valid/base"];
    let below = |name: &str| -> Vec<PathBuf> {
        let folders = projects.iter().map(|project| repository().join(project).join(name));
        folders.flat_map(|folder| yaml_files(&folder)).collect()
    };
    let pipelines =
        projects.iter().map(|project| repository().join(project).join("pipelines.yaml"));
    for (of, files) in [
        (File::Pipelines, pipelines.collect()),
        (File::Job, below("jobs")),
        (File::Tests, below("sql/tests")),
    ] {
        assert!(!files.is_empty(), "{of:?}");
        let texts: Vec<String> =
            files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        let told = verdicts(&python, of, &texts);
        assert_eq!(told.len(), files.len());
        for (file, told) in files.iter().zip(told) {
            assert_eq!(told, "ok", "{}", file.display());
        }
    }
}

#[test]
fn a_validator_refuses_mistakes() {
    let Some(python) = or_skip(tool("python3")) else { return };
    let base = repository().join("tests/specs/valid/base");
    let project = std::fs::read_to_string(base.join("pipelines.yaml")).unwrap();
    let job = std::fs::read_to_string(base.join("jobs/als.yaml")).unwrap();
    for (of, text, mistakes) in [
        (
            File::Pipelines,
            project,
            &[
                ("pipelines:\n", "pipeline:\n"),
                ("    format: csv", "    format: parquet"),
                ("        unique_key: [event_id]", "        unique_keys: [event_id]"),
                ("unique_key: [event_id]", "unique_key: event_id"),
                ("max_ratio: 0.02", "max_ratio: 2"),
                ("      price: double\n", "      price: float\n"),
                ("      weekly:\n", "      week-ly:\n"),
                ("metric: ndcg@10", "metric: ndcg"),
                ("window: 8d", "window: eight"),
                ("publish: [catalog, warehouse]", "publish: [catalogue]"),
                ("fallback: popularity, top: 20", "fallback: popularity, top: 2000"),
                (
                    "        sql: sql/clean.sql\n",
                    "        sql: sql/clean.sql\n        train: jobs/als.yaml\n",
                ),
                (
                    "        tune: jobs/als.yaml\n",
                    "        tune: jobs/als.yaml\n        unique_key: [user_id]\n",
                ),
                ("s3://shop-lake/rec", "gs://shop-lake/rec"),
                ("endpoints: {s3:", "endpoints: {s4:"),
                ("version: 1", "version: 2"),
            ][..],
        ),
        (
            File::Job,
            job,
            &[
                ("algorithm: als", "algorithm: asl"),
                ("objective:", "objectiv:"),
                ("strategy: bayesian", "strategy: bayes"),
                ("trials: 4", "trials: 0"),
                ("min: 0.5, max: 20.0, scale: log", "min: 0.5, max: 20.0, scale: logarithmic"),
                ("factors: {categorical", "factors: {category"),
                ("objective:", "resources: {max_runtime: 6}\nobjective:"),
            ][..],
        ),
    ] {
        let edited = mistakes.iter().map(|(right, wrong)| {
            assert!(text.contains(right), "{right}");
            text.replacen(right, wrong, 1)
        });
        let texts: Vec<String> = edited.collect();
        for (told, (_, wrong)) in verdicts(&python, of, &texts).iter().zip(mistakes) {
            assert_ne!(told, "ok", "nobody minds: {wrong}");
        }
    }
}
