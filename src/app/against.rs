//! The project as it was at a revision or in a run, and what changed since.

use std::collections::{BTreeMap, BTreeSet};

use super::project::validated_as_kept;
use super::{App, Target};
use crate::adapters::local::GitRevision;
use crate::pipeline::definition::Definition;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::name::Name;
use crate::pipeline::step::{PROJECT_FILE, StepKind};
use crate::plan::changes::{Comparison, Side, compare};
use crate::query::analysis::{self, Analysis, keeps_columns};
use crate::run::failure::{Failure, FailureKind, Outcome, Problem};
use crate::run::record::RunId;
use crate::spec::compile::{Inputs, compile};

/// Whether a text is the id of a run: pipeline, day, time and four digits.
pub fn is_run(text: &str) -> bool {
    let parts: Vec<&str> = text.rsplitn(4, '-').collect();
    let [salt, started, day, pipeline] = parts.as_slice() else { return false };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    salt.len() == 4
        && salt.bytes().all(|byte| byte.is_ascii_hexdigit())
        && started.len() == 15
        && started.split_once('T').is_some_and(|(day, time)| digits(day) && digits(time))
        && day.len() == 8
        && digits(day)
        && Name::new(*pipeline).is_ok()
}

/// A project as it was.
struct Earlier {
    /// How it is called: `main (3f2a9c1)` or a run.
    said: String,
    pipeline: Option<Pipeline>,
    analysis: Analysis,
    errors: usize,
}

impl App {
    /// Compares a pipeline, of which all steps count, with what it was at a git revision or in a run.
    /// Runs are looked up on the target.
    ///
    /// Errors: `Usage` for what is neither, `NotFound` for a run or a project that is not there.
    pub async fn against(
        &self,
        reference: &str,
        pipeline: &Pipeline,
        target: Option<&Target>,
    ) -> Outcome<Comparison> {
        let earlier = match target {
            Some(target) if is_run(reference) => {
                let id = RunId::from_text(reference);
                let definition = crate::engine::definition::of_run(&target.services, &id).await?;
                earlier_definition(format!("run {id}"), definition, &pipeline.name).await
            }
            None if is_run(reference) => {
                let text = format!("`{reference}` is a run, and the target is not asked");
                return Err(Failure::new(FailureKind::Usage, text)
                    .with_hint("add --online, or name a git revision"));
            }
            _ => self.earlier_revision(reference, pipeline).await?,
        };
        let analysis = analysis::analyse(pipeline).await;
        let mut kept = BTreeSet::new();
        for step in &pipeline.steps {
            if let Some(was) = &earlier.pipeline
                && keeps(step.name.as_str(), (was, &earlier.analysis), (pipeline, &analysis)).await
            {
                kept.insert(step.name.clone());
            }
        }
        let old = earlier
            .pipeline
            .as_ref()
            .map(|pipeline| Side { pipeline, schemas: &earlier.analysis.schemas });
        let new = Side { pipeline, schemas: &analysis.schemas };
        let mut comparison = compare(earlier.said, old, new, &kept);
        if earlier.errors > 0 {
            comparison.notices.push(format!(
                "the project had {} then: steps that could not be read count as added",
                match earlier.errors {
                    1 => "an error".to_owned(),
                    errors => format!("{errors} errors"),
                }
            ));
        }
        Ok(comparison)
    }

    async fn earlier_revision(&self, revision: &str, now: &Pipeline) -> Outcome<Earlier> {
        let project = self.settings.project.clone();
        let (revision, given) = (revision.to_owned(), now.definition.given.clone());
        let name = now.name.clone();
        // Git is another process, and waiting for it holds a thread.
        let read = tokio::task::spawn_blocking(move || {
            let found = GitRevision::find(&project, &revision)?;
            let mut files = BTreeMap::new();
            if let Err(error) = found.read(PROJECT_FILE) {
                let text = format!("cannot read `{PROJECT_FILE}` at `{revision}`: {error}");
                return Err(Failure::new(FailureKind::NotFound, text).with_hint(
                    "the project's folder has to be in that revision under the same path",
                ));
            }
            let nothing = BTreeMap::new();
            let compiled = compile(&Inputs {
                read: &|path| found.read(path),
                list: &|_| Vec::new(),
                analyze: &analysis::parse,
                given: &nothing,
            });
            // Values are given for variables of today; then there may have been others.
            let mut values = given;
            for pipeline in compiled.project.pipelines.values() {
                files.extend(pipeline.definition.files.clone());
                values.retain(|name, _| pipeline.variables.contains_key(name));
            }
            if let Ok(text) = found.read(PROJECT_FILE) {
                files.insert(PROJECT_FILE.to_owned(), text);
            }
            Ok((format!("{revision} ({})", found.short()), Definition::new(files, values)))
        });
        let (said, definition) = read.await.map_err(|error| {
            Failure::new(FailureKind::Internal, format!("reading a revision panicked: {error}"))
        })??;
        Ok(earlier_definition(said, definition, &name).await)
    }
}

/// Compiles a project as it was.
async fn earlier_definition(said: String, definition: Definition, name: &Name) -> Earlier {
    let mut report = validated_as_kept(&definition).await;
    Earlier {
        said,
        errors: report.problems.iter().filter(|problem| Problem::is_error(problem)).count(),
        pipeline: report.project.pipelines.remove(name),
        analysis: report.analyses.remove(name).unwrap_or_default(),
    }
}

/// Whether a query still makes the rows and columns that it made, and at most more columns.
async fn keeps(
    step: &str,
    (was, analysis): (&Pipeline, &Analysis),
    (is, now): (&Pipeline, &Analysis),
) -> bool {
    let query = |pipeline: &Pipeline| match pipeline.step(step).map(|step| step.kind.clone()) {
        Some(StepKind::Sql(sql)) => Some(sql),
        _ => None,
    };
    let (Some(old), Some(new)) = (query(was), query(is)) else { return false };
    keeps_columns((&old, &analysis.schemas), (&new, &now.schemas), &is.variables).await
}

#[cfg(test)]
mod tests {
    use super::is_run;

    #[test]
    fn runs_are_told_from_revisions() {
        assert!(is_run("daily-20260301-20260302T031500-9f3a"));
        for revision in ["main", "HEAD~1", "v1.2-20260301", "daily-20260301-x-9f3a", "a-b-c-d", ""]
        {
            assert!(!is_run(revision), "{revision}");
        }
    }
}
