//! Files of a project as they were at a revision, asked of the program `git`.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::run::failure::{Failure, FailureKind, Outcome};

/// A commit of the repository that a project lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitRevision {
    project: PathBuf,
    commit: String,
}

impl GitRevision {
    /// Finds the commit of a branch, a tag or whatever else git knows as a revision. Reads only.
    ///
    /// Errors: `Usage` without git, outside of a repository, and for what is no revision.
    pub fn find(project: &Path, revision: &str) -> Outcome<Self> {
        let wrong =
            |text: String, hint: &str| Err(Failure::new(FailureKind::Usage, text).with_hint(hint));
        let inside = match run(project, &["rev-parse", "--is-inside-work-tree"]) {
            Ok(output) => output,
            Err(error) => {
                let text = format!("cannot run `git` to find `{revision}`: {error}");
                return wrong(text, "install git, or name a run (`recctl runs` lists them)");
            }
        };
        if !inside.status.success() {
            let told = first_line(&inside.stderr);
            let text = format!("cannot find `{revision}` in `{}`: {told}", project.display());
            return wrong(text, "name a run instead (`recctl runs` lists them)");
        }
        let commit = format!("{revision}^{{commit}}");
        let found =
            run(project, &["rev-parse", "--verify", "--quiet", "--end-of-options", &commit]);
        match found {
            Ok(found) if found.status.success() => {
                let commit = String::from_utf8_lossy(&found.stdout).trim().to_owned();
                Ok(Self { project: project.to_owned(), commit })
            }
            _ => wrong(
                format!("git knows no revision `{revision}`"),
                "`git fetch` brings branches of a remote (`origin/main`); a clone with --depth has few commits",
            ),
        }
    }

    /// The first digits of the commit.
    pub fn short(&self) -> &str {
        self.commit.get(..9).unwrap_or(&self.commit)
    }

    /// Reads a file by its path relative to the project.
    pub fn read(&self, path: &str) -> std::io::Result<String> {
        // With a dot in front git takes the path from the project's folder, not the repository's.
        let object = format!("{}:./{path}", self.commit);
        let output = run(&self.project, &["show", "--end-of-options", &object])?;
        if !output.status.success() {
            let text = format!("it is not in {}", self.short());
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        String::from_utf8(output.stdout)
            .map_err(|_| Error::new(ErrorKind::InvalidData, "it is not UTF-8"))
    }
}

fn run(project: &Path, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new("git").arg("-C").arg(project).args(arguments).stdin(Stdio::null()).output()
}

fn first_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("fatal: ")
        .to_owned()
}
