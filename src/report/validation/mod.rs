//! What `recctl validate` tells, in each of its formats.

mod github;
mod json;
mod sarif;

pub use self::github::github;
pub use self::json::json;
pub use self::sarif::sarif;
use super::number::counted;
use super::problems::{Look, drawings};
use crate::run::failure::Problem;
use crate::validate::{Coverage, Report};

/// For a person: each place with its source line, then what was judged and what was not.
pub fn human(report: &Report, read: &dyn Fn(&str) -> Option<String>, look: Look) -> String {
    let mut lines = drawings(&report.problems, read, look.with_rules());
    if !lines.is_empty() {
        lines.push(String::new());
    }
    let not_judged = &report.coverage.unchecked;
    if !not_judged.is_empty() {
        lines.push("not checked:".to_owned());
        let told = not_judged.iter().map(|it| format!("  {}: {}", it.what, it.why));
        lines.extend(told.map(|line| look.paint.dim(line)));
    }
    lines.push(closing(report, look));
    lines.join("\n")
}

/// The last line: `ok: …` or what was found, and how much was judged.
fn closing(report: &Report, look: Look) -> String {
    let (errors, warnings) = tally(&report.problems);
    let found: Vec<String> = [(errors, "error"), (warnings, "warning")]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| counted(number, noun))
        .collect();
    let project = &report.project;
    let steps: usize = project.pipelines.values().map(|pipeline| pipeline.steps.len()).sum();
    let typed = typed(&report.coverage);
    if found.is_empty() {
        let judged = [
            counted(project.pipelines.len() as u64, "pipeline"),
            counted(steps as u64, "step"),
            counted(project.sources.len() as u64, "source"),
            typed,
        ];
        return format!("{}: {}", look.paint.green("ok"), judged.join(", "));
    }
    let found = found.join(" and ");
    let found = if errors > 0 { look.paint.red(found) } else { look.paint.yellow(found) };
    format!("{found}; {typed}")
}

/// `12 of 13 statements fully typed`.
fn typed(coverage: &Coverage) -> String {
    let Coverage { statements, typed, .. } = coverage;
    format!("{typed} of {} fully typed", counted(*statements as u64, "statement"))
}

/// Numbers of errors and warnings.
fn tally(problems: &[Problem]) -> (u64, u64) {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    (errors as u64, (problems.len() - errors) as u64)
}

/// A problem's path from where tools look for files.
fn path(prefix: &str, problem: &Problem) -> String {
    format!("{prefix}{}", problem.file)
}

/// A problem's message and hint in one line.
fn text(problem: &Problem) -> String {
    match &problem.hint {
        Some(hint) => format!("{} (hint: {hint})", problem.message),
        None => problem.message.clone(),
    }
}

#[cfg(test)]
mod tests;
