//! What `recctl doctor` found.

use super::number::counted;
use super::paint::Paint;
use super::table::clean;
use crate::ports::{Finding, FindingState};

/// One line each, what to do below it, and a last line that counts.
pub fn lines(findings: &[Finding], paint: Paint) -> Vec<String> {
    let width = FindingState::Unknown.word().len();
    let mut lines = Vec::new();
    for finding in findings {
        let word = format!("{:width$}", finding.state.word());
        let word = match finding.state {
            FindingState::Ok => paint.green(word),
            FindingState::Unknown => paint.dim(word),
            FindingState::Warn => paint.yellow(word),
            FindingState::Fail => paint.red(word),
        };
        lines.push(format!("{word}  {}: {}", clean(&finding.subject), clean(&finding.what)));
        if let Some(hint) = &finding.hint {
            lines.push(format!("{}{}: {}", " ".repeat(width + 4), paint.cyan("hint"), clean(hint)));
        }
    }
    lines.push(total(findings));
    lines
}

/// `3 ok, 1 to look at, 2 unknown, 1 failed`.
fn total(findings: &[Finding]) -> String {
    let number = |state| findings.iter().filter(|it| it.state == state).count() as u64;
    let mut parts = vec![counted(findings.len() as u64, "check")];
    for (state, word) in [
        (FindingState::Ok, "ok"),
        (FindingState::Warn, "to look at"),
        (FindingState::Unknown, "unknown"),
        (FindingState::Fail, "failed"),
    ] {
        if number(state) > 0 {
            parts.push(format!("{} {word}", number(state)));
        }
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_lines() {
        let findings = [
            Finding::ok("identity", "`arn:aws:iam::1:role/x`"),
            Finding::warn("bucket b", "keeps\nversions").hint("add a rule"),
            Finding::unknown("warehouse rec", "nobody asked"),
            Finding::fail("role x", "does not trust").hint("trust it"),
        ];
        insta::assert_snapshot!(lines(&findings, Paint::off()).join("\n"), @r"
        ok       identity: `arn:aws:iam::1:role/x`
        warn     bucket b: keeps\nversions
                   hint: add a rule
        unknown  warehouse rec: nobody asked
        fail     role x: does not trust
                   hint: trust it
        4 checks, 1 ok, 1 to look at, 1 unknown, 1 failed
        ");
        let coloured = lines(&findings, Paint::new(true));
        assert!(coloured[0].starts_with("\u{1b}[32mok     \u{1b}[0m  identity"), "{coloured:?}");
    }
}
