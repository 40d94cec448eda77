//! Trains inside a training container: files in, files out, metrics as lines of text.
//!
//! The folder layout, the failure file and its 1,024 characters are those of SageMaker ("How Amazon
//! SageMaker runs your training image"); the local runner lays out the same folders, so one program
//! serves both.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::artifact::write_json;
use super::error::ModelError;
use super::evaluation::{Evaluation, EvaluationOptions, evaluate};
use super::interactions::Interactions;
use super::lines;
use super::model::{Epoch, Model};
use super::segments::SegmentWeights;
use crate::pipeline::job::{Algorithm, Hyperparameters};

/// Most characters of the failure file that end up in the job's FailureReason.
const FAILURE_CHARACTERS: usize = 1024;

/// What `output/data/metrics.json` holds.
#[derive(Debug, Serialize)]
struct Report<'a> {
    format_version: u32,
    algorithm: Algorithm,
    hyperparameters: &'a Hyperparameters,
    users: usize,
    items: usize,
    interactions: usize,
    fit_seconds: f64,
    peak_bytes: Option<u64>,
    /// `null` without a validation channel.
    validation: Option<Evaluation>,
}

/// Trains a model in the container folder `root` (`/opt/ml` on SageMaker).
///
/// Reads `input/config/hyperparameters.json` (an object of texts: `algorithm`, `k` for the cut-offs
/// of the metrics, such as `10` or `5,10`, and the algorithm's own),
/// `input/config/inputdataconfig.json` if there, and the channels `train`, `validation` (optional)
/// and `segments` (optional) below `input/data`. Writes the model folder `model`,
/// `output/data/metrics.json`, and on failure `output/failure`.
///
/// Prints to `out`, a line each: `epoch=1 seconds=0.12` per pass, `fit: algorithm=... users=...
/// items=... interactions=... seconds=...`, with a validation channel `validation: recall@10=...
/// ndcg@10=... map@10=... coverage@10=... recall_with_repeats@10=... ndcg_with_repeats@10=...
/// users=... unknown=...`, and `memory: peak_bytes=...` where the system says. Given again, the
/// same input overwrites with the same model.
///
/// # Errors
/// `Input` and `Hyperparameter` for what was handed in, `Fit`, `Evaluation`, `Io`, `Frame`,
/// `Output`.
pub fn train(root: &Path, out: &mut dyn Write) -> Result<(), ModelError> {
    let output = root.join("output");
    // A failure of an earlier attempt in the same folder must not be taken for this one's.
    match std::fs::remove_file(output.join("failure")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(ModelError::io("remove", &output.join("failure"))(error));
        }
        Ok(()) | Err(_) => {}
    }
    let result = train_unguarded(root, out);
    if let Err(error) = &result {
        let text: String = error.chain().chars().take(FAILURE_CHARACTERS).collect();
        // The first failure is the one to report; that this note could not be left as well must not
        // hide it.
        let _ = std::fs::create_dir_all(&output)
            .and_then(|()| std::fs::write(output.join("failure"), text));
    }
    result
}

fn train_unguarded(root: &Path, out: &mut dyn Write) -> Result<(), ModelError> {
    let job = Job::read(root)?;
    // Before the data is read, which may take minutes.
    job.algorithm.check(&job.hyperparameters).map_err(ModelError::Hyperparameter)?;
    let interactions = Interactions::read(&job.channels.train)?;
    let validation = job.channels.validation.as_deref().map(Interactions::read).transpose()?;
    let segments = job.channels.segments.as_deref().map(SegmentWeights::read).transpose()?;

    let started = Instant::now();
    let mut printed = Ok(());
    let mut on_epoch = |epoch: Epoch| {
        let line = writeln!(out, "{}", lines::epoch(epoch)).and_then(|()| out.flush());
        if printed.is_ok() {
            printed = line;
        }
    };
    let model = Model::fit(
        job.algorithm,
        &interactions,
        segments.as_ref(),
        &job.hyperparameters,
        &mut on_epoch,
    )?;
    printed.map_err(ModelError::Output)?;
    let fit_seconds = started.elapsed().as_secs_f64();
    let (users, items) = (model.users().len(), model.items().len());
    let line = lines::fit(job.algorithm, (users, items), model.interactions(), fit_seconds);
    writeln!(out, "{line}").map_err(ModelError::Output)?;
    model.save(&root.join("model"))?;

    let validation = match &validation {
        None => None,
        Some(test) => {
            let options = EvaluationOptions { ks: job.ks.clone(), ..EvaluationOptions::default() };
            let found = evaluate(&model, &interactions, test, &options)?.summary();
            writeln!(out, "{}", lines::validation(&found, &job.ks)).map_err(ModelError::Output)?;
            Some(found)
        }
    };
    let peak_bytes = peak_bytes();
    if peak_bytes.is_some() {
        report_peak_memory(out)?;
    }
    let folder = root.join("output").join("data");
    std::fs::create_dir_all(&folder).map_err(ModelError::io("create", &folder))?;
    write_json(
        &folder.join("metrics.json"),
        &Report {
            format_version: 1,
            algorithm: job.algorithm,
            hyperparameters: model.hyperparameters(),
            users,
            items,
            interactions: model.interactions(),
            fit_seconds,
            peak_bytes,
            validation,
        },
    )?;
    out.flush().map_err(ModelError::Output)
}

/// Prints `memory: peak_bytes=...` where the system says how much memory the process held at most.
///
/// # Errors
/// `Output`.
pub fn report_peak_memory(out: &mut dyn Write) -> Result<(), ModelError> {
    match peak_bytes() {
        Some(bytes) => writeln!(out, "{}", lines::memory(bytes)).map_err(ModelError::Output),
        None => Ok(()),
    }
}

/// Returns the most memory the process has held, in bytes; `None` where there is no Linux `/proc`.
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What the configuration files ask for.
#[derive(Debug)]
struct Job {
    algorithm: Algorithm,
    hyperparameters: Hyperparameters,
    ks: Vec<usize>,
    channels: Channels,
}

impl Job {
    fn read(root: &Path) -> Result<Self, ModelError> {
        let config = root.join("input").join("config");
        let path = config.join("hyperparameters.json");
        let text = std::fs::read_to_string(&path).map_err(ModelError::io("read", &path))?;
        let mut hyperparameters: Hyperparameters =
            serde_json::from_str(&text).map_err(|error| {
                ModelError::input(&path, format!("is not an object of texts ({error})"))
            })?;
        // SageMaker adds its own, such as `_tuning_objective_metric` in tuning jobs.
        hyperparameters.retain(|name, _| !name.starts_with('_') && !name.starts_with("sagemaker_"));
        let algorithm = hyperparameters
            .remove("algorithm")
            .ok_or_else(|| ModelError::input(&path, "key `algorithm` is missing"))?;
        let ks = match hyperparameters.remove("k") {
            None => vec![10],
            Some(list) => cut_offs(&list).ok_or_else(|| {
                ModelError::input(
                    &path,
                    format!(
                        "key `k` is `{list}`, expected whole numbers from 1 with commas between"
                    ),
                )
            })?,
        };
        let algorithm: Algorithm = algorithm.parse()?;
        Ok(Self { algorithm, hyperparameters, ks, channels: Channels::find(root)? })
    }
}

fn cut_offs(list: &str) -> Option<Vec<usize>> {
    let mut ks = list
        .split(',')
        .map(|k| k.trim().parse().ok().filter(|k| *k > 0))
        .collect::<Option<Vec<usize>>>()?;
    ks.sort_unstable();
    ks.dedup();
    Some(ks)
}

/// One channel as `inputdataconfig.json` describes it; the other keys do not matter here.
#[derive(Debug, Deserialize)]
struct ChannelConfig {
    #[serde(rename = "TrainingInputMode")]
    mode: Option<String>,
}

#[derive(Debug)]
struct Channels {
    train: std::path::PathBuf,
    validation: Option<std::path::PathBuf>,
    segments: Option<std::path::PathBuf>,
}

impl Channels {
    fn find(root: &Path) -> Result<Self, ModelError> {
        let config = root.join("input").join("config").join("inputdataconfig.json");
        let data = root.join("input").join("data");
        let described: Option<BTreeMap<String, ChannelConfig>> =
            match std::fs::read_to_string(&config) {
                Ok(text) => Some(serde_json::from_str(&text).map_err(|error| {
                    ModelError::input(&config, format!("is not an object of channels ({error})"))
                })?),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => return Err(ModelError::io("read", &config)(error)),
            };
        for (name, channel) in described.iter().flatten() {
            if channel.mode.as_deref() == Some("Pipe") {
                return Err(ModelError::input(
                    &config,
                    format!("channel `{name}` is in Pipe mode, expected File or FastFile"),
                ));
            }
        }
        // A channel that was asked for must be there; without the list, a folder that is there is a
        // channel.
        let find = |name: &str| {
            let folder = data.join(name);
            let announced = described.as_ref().is_some_and(|channels| channels.contains_key(name));
            (announced || folder.is_dir()).then_some(folder)
        };
        let train =
            find("train").ok_or_else(|| ModelError::input(&data, "channel `train` is missing"))?;
        Ok(Self { train, validation: find("validation"), segments: find("segments") })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs::File;

    use polars::prelude::{Column, DataFrame, ParquetWriter};

    use super::*;
    use crate::models::tests::planted_rows;

    pub(crate) fn write_interactions(folder: &Path, interactions: &Interactions) {
        let (mut users, mut items, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for user in 0..interactions.users().len() {
            for (item, weight) in interactions.by_user().row(user) {
                users.push(interactions.users().id(user as u32));
                items.push(interactions.items().id(item));
                weights.push(f64::from(weight));
            }
        }
        let mut frame = DataFrame::new_infer_height(vec![
            Column::new("user_id".into(), users),
            Column::new("item_id".into(), items),
            Column::new("weight".into(), weights),
        ])
        .unwrap();
        std::fs::create_dir_all(folder).unwrap();
        ParquetWriter::new(File::create(folder.join("part-0.parquet")).unwrap())
            .finish(&mut frame)
            .unwrap();
    }

    fn container(hyperparameters: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let (train, test) = planted_rows(60, 20, 5, 3);
        write_interactions(&root.path().join("input/data/train"), &train);
        write_interactions(&root.path().join("input/data/validation"), &test);
        std::fs::create_dir_all(root.path().join("input/config")).unwrap();
        std::fs::write(root.path().join("input/config/hyperparameters.json"), hyperparameters)
            .unwrap();
        root
    }

    fn metric(line: &str, name: &str) -> f64 {
        let pattern = regex::Regex::new(&format!("{}=([0-9.]+)", regex::escape(name))).unwrap();
        pattern.captures(line).unwrap()[1].parse().unwrap()
    }

    #[test]
    fn a_job_leaves_model_metrics_and_readable_lines() {
        let root = container(
            r#"{"algorithm":"als","factors":"4","iterations":"3","k":"10, 5","_tuning_objective_metric":"ndcg@10"}"#,
        );
        let mut out = Vec::new();
        train(root.path(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("epoch=1 seconds=0.") && lines[2].starts_with("epoch=3 "),
            "{text}"
        );
        assert!(lines[3].starts_with("fit: algorithm=als users=60 items=20 "), "{text}");
        assert!(
            lines[4].starts_with("validation: recall@5=")
                && lines[4].ends_with(" users=60 unknown=0"),
            "{text}"
        );
        assert!(!cfg!(target_os = "linux") || metric(&text, "peak_bytes") > 1e6);
        let model = Model::load(&root.path().join("model")).unwrap();
        assert_eq!(model.hyperparameters()["factors"], "4");
        let report: serde_json::Value = serde_json::from_slice(
            &std::fs::read(root.path().join("output/data/metrics.json")).unwrap(),
        )
        .unwrap();
        let stored = report["validation"]["metrics"]["recall@10"]["value"].as_f64().unwrap();
        assert!(
            stored > 0.3 && (stored - metric(lines[4], "recall@10")).abs() < 1e-6,
            "{stored} {text}"
        );
        assert_eq!(report["validation"].get("new_items"), None);
        assert!(!root.path().join("output/failure").exists());
    }

    #[test]
    fn sample_lines_are_such_as_a_job_prints() {
        // Figures differ from run to run; what stands around them does not.
        let shape = |line: &str| line.replace(|c: char| c.is_ascii_digit() || c == '.', "");
        for algorithm in Algorithm::ALL {
            let root = container(&format!(r#"{{"algorithm":"{algorithm}","k":"5,10"}}"#));
            let mut out = Vec::new();
            train(root.path(), &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            let mut printed: Vec<String> = text.lines().map(shape).collect();
            printed.dedup();
            let sample: Vec<String> =
                lines::sample(algorithm, &[5, 10]).iter().map(|line| shape(line)).collect();
            let known = printed.len();
            assert_eq!(printed, sample[..known], "{algorithm}");
            assert!(known == sample.len() || !cfg!(target_os = "linux"), "{algorithm}: {text}");
        }
    }

    fn failure(root: &Path) -> (String, String) {
        let error = train(root, &mut Vec::new()).unwrap_err();
        let left = std::fs::read_to_string(root.join("output/failure")).unwrap();
        (error.to_string().replace(&root.display().to_string(), "ROOT"), left)
    }

    #[test]
    fn failures_are_told_in_the_failure_file() {
        let root = container(r#"{"algorithm":"als","factor":"4","alpha":"-1"}"#);
        let (text, left) = failure(root.path());
        assert_eq!(
            text,
            "hyperparameter `alpha` is `-1`, expected a number from 0 to 1000000; \
             unknown hyperparameter `factor` of `als`, did you mean `factors`?"
        );
        assert_eq!(left, text);
        let config = root.path().join("input/config/hyperparameters.json");
        std::fs::write(config, r#"{"algorithm":"popularity"}"#).unwrap();
        train(root.path(), &mut Vec::new()).unwrap();
        assert!(!root.path().join("output/failure").exists(), "left from the first attempt");
        let long = container(&format!(r#"{{"algorithm":"{}"}}"#, "ä".repeat(3000)));
        assert_eq!(failure(long.path()).1.chars().count(), 1024);
    }

    #[test]
    fn configuration_errors_name_the_file() {
        let told = |hyperparameters: &str| failure(container(hyperparameters).path()).0;
        assert_eq!(
            told("{}"),
            "input `ROOT/input/config/hyperparameters.json`: key `algorithm` is missing"
        );
        assert_eq!(
            told(r#"{"algorithm":"als","k":"0"}"#),
            "input `ROOT/input/config/hyperparameters.json`: key `k` is `0`, expected whole numbers from 1 with commas between"
        );
        assert!(told(r#"{"algorithm":"als","factors":4}"#).contains("is not an object of texts"));
        let root = container(r#"{"algorithm":"popularity"}"#);
        std::fs::remove_file(root.path().join("input/config/hyperparameters.json")).unwrap();
        let (text, left) = failure(root.path());
        assert_eq!(text, "could not read `ROOT/input/config/hyperparameters.json`");
        assert!(left.ends_with("No such file or directory (os error 2)"), "{left}");
    }

    #[test]
    fn announced_channels_must_be_there_and_be_files() {
        let root = container(r#"{"algorithm":"popularity"}"#);
        let config = root.path().join("input/config/inputdataconfig.json");
        std::fs::write(&config, r#"{"train":{"TrainingInputMode":"File"},"segments":{}}"#).unwrap();
        assert_eq!(failure(root.path()).0, "could not list `ROOT/input/data/segments`");
        std::fs::write(&config, r#"{"train":{"TrainingInputMode":"Pipe"}}"#).unwrap();
        assert!(
            failure(root.path())
                .0
                .ends_with("channel `train` is in Pipe mode, expected File or FastFile")
        );
        std::fs::remove_file(&config).unwrap();
        std::fs::remove_dir_all(root.path().join("input/data/train")).unwrap();
        assert_eq!(failure(root.path()).0, "input `ROOT/input/data`: channel `train` is missing");
    }
}
