//! Help texts, their examples, and completions.

use crate::sandbox::Sandbox;

const COMMANDS: [&[&str]; 31] = [
    &[],
    &["run"],
    &["plan"],
    &["backfill"],
    &["validate"],
    &["sample"],
    &["recommend"],
    &["rollback"],
    &["gc"],
    &["runs"],
    &["runs", "show"],
    &["ledger"],
    &["ledger", "mark"],
    &["why"],
    &["tables"],
    &["query"],
    &["quarantine"],
    &["quarantine", "show"],
    &["quarantine", "replay"],
    &["diff"],
    &["test"],
    &["test", "new"],
    &["lineage"],
    &["preview"],
    &["init"],
    &["doctor"],
    &["iam"],
    &["schema"],
    &["completions"],
    &["job"],
    &["job", "train"],
];

#[test]
fn help_of_every_command_has_examples() {
    let sandbox = Sandbox::new();
    for command in COMMANDS {
        let mut arguments = command.to_vec();
        arguments.push("--help");
        let ran = sandbox.run(&arguments).ends_with(0);
        assert_eq!(ran.stderr, "", "help that was asked for is data");
        assert!(ran.stdout.contains("Usage: recctl"), "{command:?}:\n{}", ran.stdout);
        // Those of a command's own commands stand at the command.
        if command.len() < 2 {
            let examples = ran.stdout.split("\nExamples:\n").nth(1).unwrap_or_default();
            let first = examples.lines().next().unwrap_or_default();
            assert!(first.starts_with("  recctl "), "{command:?}:\n{}", ran.stdout);
        }
    }
    let help = sandbox.run(&["--help"]).ends_with(0).stdout;
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let listed: Vec<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let mut known: Vec<&str> =
        COMMANDS.iter().filter_map(|command| command.first().copied()).collect();
    known.dedup();
    known.push("help");
    assert_eq!(listed, known, "this test knows every command");
}

#[test]
fn examples_are_command_lines() {
    let sandbox = Sandbox::new();
    for command in COMMANDS.iter().filter(|command| command.len() == 1) {
        let help = sandbox.run(&[command[0], "--help"]).stdout;
        let examples = help.split("\nExamples:\n").nth(1).unwrap().lines();
        for example in examples.filter(|line| line.starts_with("  recctl ")) {
            // What stands before the flag is read first, and nothing is done.
            let mut arguments = words(example);
            arguments.push("--no-such-flag".to_owned());
            let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
            let ran = sandbox.run(&arguments).ends_with(2);
            let told = "unexpected argument '--no-such-flag'";
            assert!(ran.stderr.contains(told), "`{example}`: {}", ran.stderr);
        }
    }
}

/// The words of an example; what follows two spaces is a remark, what follows `>` the shell's.
fn words(example: &str) -> Vec<String> {
    let line = example.trim().split("  ").next().unwrap().split(" > ").next().unwrap();
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

#[test]
fn completions_are_a_script() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&["completions", "bash"]).ends_with(0);
    assert!(ran.stdout.contains("complete -F _recctl"), "{}", ran.stdout);
    let script = sandbox.project().join("completions.bash");
    std::fs::write(&script, &ran.stdout).unwrap();
    let checked = std::process::Command::new("bash").arg("-n").arg(&script).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn the_version_is_that_of_the_package() {
    let ran = Sandbox::new().run(&["--version"]).ends_with(0);
    assert_eq!(ran.stdout, concat!("recctl ", env!("CARGO_PKG_VERSION"), "\n"));
}
