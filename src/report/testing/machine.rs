//! Results of tests for programs: JSON, and the XML that CI services read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Told, mismatched};
use crate::report::paint::Paint;
use crate::report::problems;
use crate::run::failure::Problem;
use crate::run::testing::{TestResult, Verdict};

/// One JSON document: the sums, the problems of the files, and all tests.
pub fn json(told: &Told<'_>) -> String {
    let tests: Vec<serde_json::Value> = told
        .results
        .iter()
        .map(|result| {
            let TestResult { name, file, line, column, table, seconds, verdict } = result;
            let (mismatches, problems) = match verdict {
                Verdict::Passed => (serde_json::json!([]), serde_json::json!([])),
                Verdict::Failed(mismatches) => {
                    (serde_json::json!(mismatches), serde_json::json!([]))
                }
                Verdict::Broken(problems) => (serde_json::json!([]), serde_json::json!(problems)),
            };
            serde_json::json!({
                "name": name, "file": file, "line": line, "column": column, "table": table,
                "seconds": seconds, "verdict": verdict.word(), "mismatches": mismatches,
                "problems": problems,
            })
        })
        .collect();
    let document = serde_json::json!({
        "version": 1,
        "passed": told.number("passed"),
        "failed": told.number("failed"),
        "broken": told.number("broken"),
        "not_run": told.not_run,
        "seconds": told.seconds,
        "problems": told.problems,
        "tests": tests,
    });
    document.to_string()
}

/// The XML that CI services know as JUnit's: a suite a file, a case a test.
pub fn junit(told: &Told<'_>) -> String {
    let mut suites: BTreeMap<&str, Vec<&TestResult>> = BTreeMap::new();
    for result in told.results {
        suites.entry(&result.file).or_default().push(result);
    }
    let failures = told.number("failed");
    let errors = told.number("broken") + told.problems.len();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let tests = told.results.len() + told.problems.len();
    let _ = writeln!(
        xml,
        "<testsuites name=\"recctl test\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{:.3}\">",
        told.seconds
    );
    for (file, results) in suites {
        let number = |word| results.iter().filter(|it| it.verdict.word() == word).count();
        let seconds: f64 = results.iter().map(|result| result.seconds).sum();
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{seconds:.3}\">",
            escaped(file),
            results.len(),
            number("failed"),
            number("broken"),
        );
        for result in results {
            case(&mut xml, result);
        }
        xml.push_str("  </testsuite>\n");
    }
    if !told.problems.is_empty() {
        let number = told.problems.len();
        let _ = writeln!(
            xml,
            "  <testsuite name=\"test files\" tests=\"{number}\" failures=\"0\" errors=\"{number}\" time=\"0.000\">"
        );
        for problem in told.problems {
            let Problem { file, line, message, .. } = problem;
            let _ = writeln!(
                xml,
                "    <testcase name=\"{0}\" classname=\"{0}\" file=\"{0}\" line=\"{line}\" time=\"0.000\">\n      <error message=\"{1}\"/>\n    </testcase>",
                escaped(file),
                escaped(message)
            );
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn case(xml: &mut String, result: &TestResult) {
    let TestResult { name, file, line, table, seconds, .. } = result;
    let _ = write!(
        xml,
        "    <testcase name=\"{}\" classname=\"{}\" file=\"{}\" line=\"{line}\" time=\"{seconds:.3}\"",
        escaped(name),
        escaped(table),
        escaped(file),
    );
    let (element, message, text) = match &result.verdict {
        Verdict::Passed => {
            xml.push_str("/>\n");
            return;
        }
        Verdict::Failed(mismatches) => {
            let text = mismatches.iter().flat_map(|it| mismatched(it, Paint::off(), usize::MAX));
            let text: Vec<String> = text.collect();
            let first = text.first().map(|line| line.trim().to_owned()).unwrap_or_default();
            ("failure", first, text.join("\n"))
        }
        Verdict::Broken(problems) => {
            let text: Vec<String> = problems.iter().map(problems::line).collect();
            ("error", "the test does not fit its query".to_owned(), text.join("\n"))
        }
    };
    let _ = writeln!(
        xml,
        ">\n      <{element} message=\"{}\">{}</{element}>\n    </testcase>",
        escaped(&message),
        escaped(&text)
    );
}

/// Text for XML, without the characters that it cannot hold.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                escaped.extend(c.escape_default());
            }
            c => escaped.push(c),
        }
    }
    escaped
}
