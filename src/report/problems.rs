//! Failures as text: with the source lines that they are about, or one line each.

use std::collections::BTreeSet;
use std::fmt;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
};

use super::number::counted;
use super::paint::Paint;
use crate::run::failure::{Failure, Problem, Severity};

/// Columns after which messages are wrapped.
const WIDTH: usize = 100;

/// Bytes of a line of a file above which no line is drawn: nobody would find a caret in it.
const LONGEST_LINE: usize = 2_000;

/// How a failure is shown.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Colours.
    pub paint: Paint,
    /// Whether the names of rules are told.
    pub rules: bool,
    /// Whether lines and carets may be drawn with characters beyond ASCII: off for logs, whose
    /// readers often guess the encoding.
    pub unicode: bool,
}

impl Look {
    /// For a terminal.
    pub fn terminal(colour: bool) -> Self {
        Self { paint: Paint::new(colour), rules: false, unicode: true }
    }

    /// The same with the names of rules.
    #[must_use]
    pub fn with_rules(self) -> Self {
        Self { rules: true, ..self }
    }

    /// For a file or a pipe.
    pub fn plain() -> Self {
        Self { paint: Paint::off(), rules: false, unicode: false }
    }
}

/// The whole failure for a person: its message, each place with its source line and a caret, the
/// hint, and the number of places if there are many.
pub fn graphical(failure: &Failure, read: &dyn Fn(&str) -> Option<String>, look: Look) -> String {
    let mut lines = vec![format!("{}: {}", look.paint.red("error"), failure.message)];
    lines.extend(details(failure, read, look));
    lines.join("\n")
}

/// The same without the first line.
pub(super) fn details(
    failure: &Failure,
    read: &dyn Fn(&str) -> Option<String>,
    look: Look,
) -> Vec<String> {
    let mut lines = drawings(&failure.problems, read, look);
    lines.extend(failure.hint.as_ref().map(|hint| hinted(hint, look.paint)));
    lines.extend(total(&failure.problems));
    lines
}

/// Each place with its source line and a caret.
pub(super) fn drawings(
    problems: &[Problem],
    read: &dyn Fn(&str) -> Option<String>,
    look: Look,
) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (at, problem) in problems.iter().enumerate() {
        let drawn = drawn(problem, read, look);
        if at > 0 && drawn.len() > 1 {
            lines.push(String::new());
        }
        lines.extend(drawn);
    }
    lines
}

/// One place with its source line and a caret, or in one line if the file has no such place.
pub fn drawn(problem: &Problem, read: &dyn Fn(&str) -> Option<String>, look: Look) -> Vec<String> {
    match read(&problem.file).and_then(|source| drawing(problem, source, look)) {
        Some(drawing) => drawing.lines().map(|line| line.trim_end().to_owned()).collect(),
        None => vec![format!("  {}", line(problem))],
    }
}

/// The failure in lines that `grep` and editors understand: `file:line:column: message (hint: …)`
/// for each place, and without places the message and the hint.
pub fn lines(failure: &Failure) -> Vec<String> {
    let mut lines = Vec::new();
    if failure.problems.is_empty() {
        lines.push(format!("error: {}", failure.message));
    }
    lines.extend(failure.problems.iter().map(line));
    lines.extend(failure.hint.as_ref().map(|hint| hinted(hint, Paint::off())));
    lines.extend(total(&failure.problems));
    lines
}

/// One place: `file:line:column: message (hint: …)`, with `warning: ` before the message of one.
pub fn line(problem: &Problem) -> String {
    let Problem { file, line, column, message, .. } = problem;
    let message = match problem.severity {
        Severity::Error => message.clone(),
        Severity::Warning => format!("warning: {message}"),
    };
    let hint = problem.hint.as_ref().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
    format!("{file}:{line}:{column}: {message}{hint}")
}

/// `  hint: …`, further lines under the first.
pub(super) fn hinted(hint: &str, paint: Paint) -> String {
    format!("  {}: {}", paint.cyan("hint"), hint.replace('\n', "\n        "))
}

/// `3 problems in 2 files`, if there are several.
fn total(problems: &[Problem]) -> Option<String> {
    let files: BTreeSet<&str> = problems.iter().map(|it| it.file.as_str()).collect();
    let number = problems.len() as u64;
    (number > 1).then(|| {
        format!("{} in {}", counted(number, "problem"), counted(files.len() as u64, "file"))
    })
}

/// The source line with a caret; none if the file has no such place (any more).
fn drawing(problem: &Problem, source: String, look: Look) -> Option<String> {
    let (offset, length) = extent(problem, &source)?;
    // Its neighbours are shown too.
    let near = source.lines().skip(problem.line.saturating_sub(2)).take(3);
    if near.into_iter().any(|line| line.len() > LONGEST_LINE) {
        return None;
    }
    let named = NamedSource::new(&problem.file, source);
    let message = match look.rules {
        true => format!("{} [{}]", problem.message, problem.rule),
        false => problem.message.clone(),
    };
    let placed = Placed { problem, message, source: named, offset, length };
    let theme = match (look.unicode, look.paint.is_on()) {
        (true, true) => GraphicalTheme::unicode(),
        (true, false) => GraphicalTheme::unicode_nocolor(),
        (false, _) => GraphicalTheme::none(),
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_links(false)
        .with_width(WIDTH)
        .with_context_lines(1)
        .with_break_words(false);
    let mut text = String::new();
    handler.render_report(&mut text, &placed).ok()?;
    Some(match &problem.hint {
        Some(hint) => format!("{}\n{}", text.trim_end(), hinted(hint, look.paint)),
        None => text.trim_end().to_owned(),
    })
}

/// Offset and length in bytes of a place that is told in characters.
fn extent(problem: &Problem, source: &str) -> Option<(usize, usize)> {
    let line = source.split_inclusive('\n').nth(problem.line.checked_sub(1)?)?;
    let start = line.as_ptr() as usize - source.as_ptr() as usize;
    let line = line.trim_end_matches(['\n', '\r']);
    let byte = |character: usize| {
        line.char_indices().nth(character).map_or(line.len(), |(offset, _)| offset)
    };
    let from = byte(problem.column.saturating_sub(1));
    let to = byte(problem.column.saturating_sub(1).saturating_add(problem.length.max(1)));
    Some((start + from, to.saturating_sub(from)))
}

/// A problem as miette wants it. Its own "help" is not used: the product's word is "hint".
struct Placed<'a> {
    problem: &'a Problem,
    message: String,
    source: NamedSource<String>,
    offset: usize,
    length: usize,
}

impl fmt::Debug for Placed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl fmt::Display for Placed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Placed<'_> {}

impl Diagnostic for Placed<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(LabeledSpan::new(None, self.offset, self.length))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::failure::{FailureKind, Rule};

    const SOURCE: &str = "version: 1\npipelines:\n  daily:\n    stepz: {}\n    café: 1 # é\n";

    fn problem(line: usize, column: usize, length: usize, message: &str) -> Problem {
        Problem::new(Rule::UnknownField, "pipelines.yaml", line, column, length, message)
    }

    fn two() -> Failure {
        let mut first = problem(4, 5, 5, "unknown field `stepz`, expected `steps` or `schedule`");
        first.hint = Some("did you mean `steps`?".into());
        let second = problem(5, 5, 4, "unknown field `café`");
        Failure::problems("`pipelines.yaml` is not valid", vec![first, second])
    }

    fn read(file: &str) -> Option<String> {
        (file == "pipelines.yaml").then(|| SOURCE.to_owned())
    }

    #[test]
    fn places_are_drawn() {
        insta::assert_snapshot!(graphical(&two(), &read, Look::terminal(false)), @"
        error: `pipelines.yaml` is not valid
          × unknown field `stepz`, expected `steps` or `schedule`
           ╭─[pipelines.yaml:4:5]
         3 │   daily:
         4 │     stepz: {}
           ·     ─────
         5 │     café: 1 # é
           ╰────
          hint: did you mean `steps`?

          × unknown field `café`
           ╭─[pipelines.yaml:5:5]
         4 │     stepz: {}
         5 │     café: 1 # é
           ·     ────
           ╰────
        2 problems in 1 file
        ");
    }

    #[test]
    fn logs_get_ascii() {
        insta::assert_snapshot!(graphical(&two(), &read, Look::plain()), @"
        error: `pipelines.yaml` is not valid
          x unknown field `stepz`, expected `steps` or `schedule`
           ,-[pipelines.yaml:4:5]
         3 |   daily:
         4 |     stepz: {}
           :     ^^^^^
         5 |     café: 1 # é
           `----
          hint: did you mean `steps`?

          x unknown field `café`
           ,-[pipelines.yaml:5:5]
         4 |     stepz: {}
         5 |     café: 1 # é
           :     ^^^^
           `----
        2 problems in 1 file
        ");
    }

    #[test]
    fn one_line_each() {
        insta::assert_snapshot!(lines(&two()).join("\n"), @"
        pipelines.yaml:4:5: unknown field `stepz`, expected `steps` or `schedule` (hint: did you mean `steps`?)
        pipelines.yaml:5:5: unknown field `café`
        2 problems in 1 file
        ");
    }

    #[test]
    fn without_places_there_is_the_message_and_the_hint() {
        let failure = Failure::new(FailureKind::NotFound, "no pipeline `dialy`")
            .with_hint("did you mean `daily`?");
        insta::assert_snapshot!(graphical(&failure, &read, Look::plain()), @"
        error: no pipeline `dialy`
          hint: did you mean `daily`?
        ");
        assert_eq!(
            lines(&failure),
            graphical(&failure, &read, Look::plain()).lines().collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_place_that_is_gone_is_still_told() {
        let mut gone = problem(99, 1, 1, "no such column");
        let failure = |p: &Problem| Failure::problems("cannot read the query", vec![p.clone()]);
        insta::assert_snapshot!(graphical(&failure(&gone), &read, Look::plain()), @"
        error: cannot read the query
          pipelines.yaml:99:1: no such column
        ");
        gone.file = "sql/gone.sql".into();
        insta::assert_snapshot!(graphical(&failure(&gone), &read, Look::plain()), @"
        error: cannot read the query
          sql/gone.sql:99:1: no such column
        ");
    }

    #[test]
    fn a_line_without_end_is_not_drawn() {
        let read = |_: &str| Some(format!("SELECT {}1 AS x\n", "1 + ".repeat(40_000)));
        let failure = Failure::problems("cannot read it", vec![problem(1, 100_000, 3, "no")]);
        let text = graphical(&failure, &read, Look::plain());
        assert_eq!(text, "error: cannot read it\n  pipelines.yaml:1:100000: no");
    }

    #[test]
    fn places_beyond_a_line_end_stay_on_the_line() {
        assert_eq!(extent(&problem(1, 9, 50, ""), SOURCE), Some((8, 2)));
        assert_eq!(extent(&problem(1, 80, 1, ""), SOURCE), Some((10, 0)));
        assert_eq!(extent(&problem(5, 5, 4, ""), SOURCE), Some((49, 5)));
        assert_eq!(extent(&problem(usize::MAX, 1, 1, ""), SOURCE), None);
    }
}
