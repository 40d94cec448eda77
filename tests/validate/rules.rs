//! docs/validate.md lists every rule.

use recctl::run::failure::Rule;

#[test]
fn the_documentation_lists_every_rule() {
    let text = include_str!("../../docs/validate.md");
    let listed: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = Rule::ALL
        .iter()
        .map(|rule| {
            format!("| `{}` | {} | {} |", rule.id(), rule.severity().word(), rule.describe())
        })
        .collect();
    assert_eq!(listed, expected, "docs/validate.md has a row for each rule, in the same order");
}
