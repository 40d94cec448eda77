//! `recctl job`: the training container's entry.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::Ended;
use crate::models::{ModelError, ScoreOptions, score, train, unpack};
use crate::run::failure::{Failure, FailureKind};

/// Run a training or scoring job in a folder laid out as /opt/ml (what containers start)
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl job train                         in a SageMaker training container
  recctl job train --root ./opt/ml         in a folder laid out the same")]
pub struct Args {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Fit a model on the channels and write it to model/
    Train(Root),
    /// Make recommendations with the model in the channel `model`
    Score(Score),
}

#[derive(Debug, clap::Args)]
struct Score {
    #[command(flatten)]
    root: Root,
    /// Where a failure is told as well, such as /opt/ml/output/message in a SageMaker processing job
    #[arg(long, value_name = "FILE")]
    message: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Root {
    /// The folder
    #[arg(long, value_name = "DIR", default_value = "/opt/ml")]
    root: PathBuf,
}

impl Args {
    /// Those of `job train`.
    pub(super) fn train(root: Root) -> Self {
        Self { kind: Kind::Train(root) }
    }
}

pub(super) async fn run(args: Args) -> Ended {
    // On this thread, whose stack is the largest.
    let done = tokio::task::block_in_place(|| {
        let mut out = std::io::stdout().lock();
        match &args.kind {
            Kind::Train(Root { root }) => train(root, &mut out),
            Kind::Score(Score { root: Root { root }, message }) => {
                score_in(root, message.as_deref(), &mut out)
            }
        }
    });
    done.map(|()| 0).map_err(|error| {
        let kind = match error {
            ModelError::Input { .. } => FailureKind::Input,
            _ => FailureKind::Step,
        };
        Failure::new(kind, error.chain())
    })
}

/// Scores by the container's layout; a failure's text goes to `output/failure`, and to `message`.
fn score_in(
    root: &Path,
    message: Option<&Path>,
    out: &mut dyn std::io::Write,
) -> Result<(), ModelError> {
    let done = score_unguarded(root, out);
    if let Err(error) = &done {
        let text: String = error.chain().chars().take(1_024).collect();
        // That this note cannot be left must not hide the failure itself.
        let _ = std::fs::write(root.join("output/failure"), &text);
        if let Some(message) = message {
            let _ = std::fs::write(message, &text);
        }
    }
    done
}

fn score_unguarded(root: &Path, out: &mut dyn std::io::Write) -> Result<(), ModelError> {
    let data = root.join("input/data");
    let unpacked = |channel: &str| -> Result<Option<PathBuf>, ModelError> {
        let archive = data.join(channel).join("model.tar.gz");
        if !archive.is_file() {
            return Ok(None);
        }
        let folder = root.join("input/unpacked").join(channel);
        unpack(&archive, &folder)?;
        Ok(Some(folder))
    };
    let input = |what: String| ModelError::Input {
        file: "input/config/hyperparameters.json".to_owned(),
        what,
    };
    let text = std::fs::read_to_string(root.join("input/config/hyperparameters.json"))
        .map_err(|error| input(error.to_string()))?;
    let given: std::collections::BTreeMap<String, String> =
        serde_json::from_str(&text).map_err(|error| input(error.to_string()))?;
    let top = given.get("top").and_then(|top| top.parse().ok()).filter(|top| *top > 0);
    let exclude = data.join("exclude");
    let options = ScoreOptions {
        model: unpacked("model")?.ok_or_else(|| ModelError::Input {
            file: "input/data/model".to_owned(),
            what: "holds no `model.tar.gz`".to_owned(),
        })?,
        fallback: unpacked("fallback")?,
        exclude: exclude.is_dir().then_some(exclude),
        output: root.join("output/data"),
        top: top.ok_or_else(|| input("`top` is not a positive number".to_owned()))?,
    };
    score(&options, out)?;
    crate::models::report_peak_memory(out)
}
