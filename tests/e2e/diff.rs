//! How tables differ: between days, generations, and targets.

use crate::sandbox::{DAY, Ran, Sandbox};

fn diff(sandbox: &Sandbox, more: &[&str]) -> Ran {
    let mut arguments = vec!["diff"];
    arguments.extend(more);
    sandbox.run(&arguments)
}

#[test]
fn days_are_compared_by_the_step_s_key() {
    let sandbox = Sandbox::prepared();
    let days = ["--date", "2026-03-07", "--date", DAY];
    let told = diff(&sandbox, &[&["interactions"][..], &days].concat()).ends_with(0).stdout;
    insta::assert_snapshot!(told);
    let wide = told.lines().map(|line| line.chars().count()).max();
    assert!(wide <= Some(110), "{wide:?}");
    let json = ["interactions", "--format", "json", "--fail"];
    let ran = diff(&sandbox, &[&json[..], &days].concat()).ends_with(3);
    let object: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&object["version"], &object["differs"]), (&1.into(), &true.into()));
    assert_eq!(object["content"]["keyed"]["key"], serde_json::json!(["user_id", "item_id"]));
    let rows = |day: &str| {
        let sql = format!("SELECT count(*) AS n FROM interactions WHERE dt = '{day}'");
        sandbox.query(&sql)[0]["n"].clone()
    };
    assert_eq!(object["rows"], serde_json::json!([rows("2026-03-07"), rows(DAY)]));
}

#[test]
fn generations_and_homes_are_compared() {
    let (sandbox, other) = (Sandbox::prepared(), Sandbox::prepared());
    let home = other.home().display().to_string();
    let with_other = ["interactions", "--against-home", &home, "--fail"];
    let same = diff(&sandbox, &with_other).ends_with(0).stdout;
    assert!(same.contains("nothing differs") && same.contains("by user_id, item_id, dt"), "{same}");
    let before = sandbox.run(&["runs"]).ends_with(0).stdout;
    let before = before.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    sandbox.edit("sql/daily/interactions.sql", "least(sum(weight), 20)", "least(sum(weight), 2)");
    sandbox.run(&["run", "daily", "--date", DAY, "--select", "interactions"]).ends_with(0);
    let told = diff(&sandbox, &["interactions", "--date", DAY, "--run", &before]).ends_with(0);
    assert!(told.stdout.contains("0 only in a, 0 only in b"), "{}", told.stdout);
    assert!(told.stdout.contains("of which "), "{}", told.stdout);
    let weight = told.stdout.lines().find(|line| line.starts_with("weight")).unwrap().to_owned();
    assert!(weight.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() > 0, "{weight}");
    diff(&sandbox, &with_other).ends_with(3);
    let whole = ["quarantine", "--against-home", &home, "--fail"];
    let whole = diff(&sandbox, &whole).ends_with(0).stdout;
    assert!(whole.contains("whole rows: "), "{whole}");
}

#[test]
fn what_cannot_be_compared() {
    let sandbox = Sandbox::prepared();
    for (arguments, told) in [
        (&["interactions"][..], "it is not clear what to compare"),
        (&["interaction", "--date", DAY, "--date", DAY], "no table `interaction`"),
        (
            &["interactions", "--date", DAY, "--date", "2026-04-01"],
            "has no partition for 2026-04-01",
        ),
        (&["products", "--date", DAY, "--date", DAY], "`products` is not by day"),
        (&["products", "--generation", "r9"], "`products` has no generation `r9`"),
        (&["products", "--against-home", "nowhere"], "there is no `nowhere` yet"),
    ] {
        let ran = diff(&sandbox, arguments).ends_with(2);
        assert!(ran.stderr.contains(told) && ran.stderr.contains("hint: "), "{}", ran.stderr);
    }
}
