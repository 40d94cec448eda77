use super::*;

fn one(rule: &str) -> CheckRule {
    let (mut rules, faults) = read(&format!("Rules = [ {rule} ]"));
    assert!(faults.is_empty(), "{rule}: {faults:?}");
    assert_eq!(rules.len(), 1, "{rule}");
    rules.remove(0).rule
}

fn fault(rule: &str) -> String {
    let text = format!("Rules = [\n  {rule}\n]");
    let (_, faults) = read(&text);
    let [Fault { start, end, message, hint }] = faults.as_slice() else {
        return format!("{rule}: {faults:?}");
    };
    let (line, column) = position(&text, *start);
    let piece = text.get(*start..*end).unwrap_or("?");
    format!("{line}:{column} «{piece}» {message} ({hint})")
}

#[test]
fn rules_are_the_checks_that_there_are() {
    assert_eq!(one("IsComplete \"a\""), CheckRule::NotNull(vec!["a".to_owned()]));
    let CheckRule::References { columns, table, referenced } =
        one("ReferentialIntegrity \"a, b\" \"other.{c,d}\" = 1.0")
    else {
        panic!("no reference");
    };
    assert_eq!(
        (columns.join(" "), table.as_str(), referenced.join(" ")),
        ("a b".into(), "other", "c d".into())
    );
    let expression = |rule: &str| match one(rule) {
        CheckRule::Expression(expression) => expression,
        other => panic!("{other:?}"),
    };
    insta::assert_snapshot!(expression("ColumnValues \"a\" between 1 and 5"), @r#"coalesce("a" > 1 AND "a" < 5, false)"#);
    insta::assert_snapshot!(expression("ColumnValues \"a\" != 2.5"), @r#"coalesce(NOT ("a" = 2.5), true)"#);
    insta::assert_snapshot!(expression("ColumnValues \"a\" in [\"x\", NULL, EMPTY]"), @r#"(coalesce("a" = 'x', false) OR coalesce("a" IS NULL, false) OR coalesce("a" = '', false))"#);
    insta::assert_snapshot!(expression("ColumnValues \"a\" not in [\"it's\"]"), @r#"NOT (coalesce("a" = 'it''s', false))"#);
    insta::assert_snapshot!(expression("ColumnValues \"a\" matches \"[a-z]+\" where \"b > 1\""), @r#"CASE WHEN (b > 1) THEN (coalesce(regexp_match("a", '([a-z]+)')[1] <> '', false)) ELSE true END"#);
    insta::assert_snapshot!(expression("ColumnLength \"a\" <= 8"), @r#"coalesce(length(coalesce("a", '')) <= 8, false)"#);
}

#[test]
fn rules_on_the_whole_table_are_one_condition() {
    let holds = |rule: &str| match one(rule) {
        CheckRule::Statement(statement) => statement.holds,
        other => panic!("{other:?}"),
    };
    insta::assert_snapshot!(holds("RowCount > 100"), @"coalesce((SELECT count(*) FROM checked) > 100, false)");
    insta::assert_snapshot!(holds("Completeness \"a\" >= 0.95 where \"b = 1\""), @r#"coalesce((SELECT avg(CASE WHEN "a" IS NOT NULL THEN 1.0 ELSE 0.0 END) FROM checked WHERE (b = 1)) >= 0.95, false)"#);
    insta::assert_snapshot!(holds("(IsUnique \"a\") and ((RowCount > 0) or (IsComplete \"b\"))"), @r#"((SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) AS n FROM checked WHERE ("a" IS NOT NULL) GROUP BY "a")) = 0) and ((coalesce((SELECT count(*) FROM checked) > 0, false)) or ((SELECT count(*) FROM checked WHERE NOT ("b" IS NOT NULL)) = 0))"#);
    insta::assert_snapshot!(holds("ColumnValues \"a\" > 1 with threshold > 0.9"), @r#"coalesce((SELECT avg(CASE WHEN coalesce("a" > 1, false) THEN 1.0 ELSE 0.0 END) FROM checked) > 0.9, false)"#);
}

#[test]
fn every_known_rule_is_read() {
    let text = r#"
        # as Glue has it
        Rules = [
            RowCount between 1 and 1000000,
            ColumnCount = 5, ColumnExists "a", Completeness "a" > 0.95, IsComplete "a",
            Uniqueness "a" "b" > 0.9, IsUnique "a", IsPrimaryKey "a" "b", UniqueValueRatio "a" >= 0.5,
            DistinctValuesCount "a" not between 3 and 4, ColumnValues "a" = NULL, ColumnLength "a" > 0,
            Mean "a" > -1.5, Sum "a" < 10, StandardDeviation "a" < 3, Entropy "a" > 0,
            ColumnCorrelation "a" "b" > 0.1, DataFreshness "t" <= 24 hours,
            ReferentialIntegrity "a" "other.a" > 0.98,
            CustomSql "select count(*) from primary where a > 1" between 10 and 20
                labels=["team"="x"],
            ColumnValues "t" > (now() - 3 days)
        ]
        Analyzers = [ RowCount, Completeness "a" ]
    "#;
    let (rules, faults) = read(text);
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(rules.len(), rules::KNOWN.len() + 1);
    for rule in &rules {
        assert!(text.replace('\n', " ").contains(rule.text.split(' ').next().unwrap()));
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    let faults: Vec<String> = [
        "IsCompleted \"a\"",
        "DetectAnomalies \"RowCount\"",
        "Variance \"a\" > 1",
        "IsComplete",
        "RowCount",
        "RowCount > last(3)",
        "ColumnValues \"a\" in []",
        "ColumnValues \"a\" matches \"[\"",
        "ColumnValues \"a\" between 1 5",
        "RowCount > 1 IsComplete \"a\"",
        "(RowCount > 1) and (RowCount > 2) or (RowCount > 3)",
        "Mean \"a\" > 1 with threshold > 0.5",
        "CustomSql \"select 1\"",
        "DataFreshness \"a\" < 5",
        "ReferentialIntegrity \"a\" \"other\" = 1.0",
        "IsComplete \"a",
        "ColumnValues \"a\" > 1..2",
        "IsComplete 'a'",
    ]
    .into_iter()
    .map(fault)
    .collect();
    insta::assert_snapshot!(faults.join("\n"));
    insta::assert_snapshot!(format!("{:?}", read("")), @r#"([], [Fault { start: 0, end: 1, message: "there are no rules", hint: "a ruleset is `Rules = [ … ]`" }])"#);
}

/// Pieces of rulesets in any order, whole and cut: nothing may end but in a value.
#[test]
fn no_text_breaks_the_reader() {
    let pieces = [
        "Rules",
        "=",
        "[",
        "]",
        "(",
        ")",
        ",",
        "IsComplete",
        "\"a\"",
        "\"",
        "and",
        "or",
        "not",
        "between",
        "in",
        "matches",
        "1",
        "1.5.2",
        "-",
        "+",
        "now",
        "()",
        "days",
        "NULL",
        "where",
        "with",
        "threshold",
        ">",
        "!=",
        "labels",
        "Analyzers",
        "#",
        "\n",
        "ü",
        "\u{0}",
        "🙂",
        "\\\"",
        "ReferentialIntegrity",
        "\"other.{a\"",
        "CustomSql",
        "\"select\"",
        "RowCount",
        "((((",
    ];
    let mut state = 1_u64;
    let mut next = |bound: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % bound
    };
    let mut read_whole = 0;
    for _ in 0..20_000 {
        let mut text = if next(2) == 0 { "Rules = [ ".to_owned() } else { String::new() };
        for _ in 0..next(14) {
            text.push_str(pieces[next(pieces.len())]);
            if next(3) > 0 {
                text.push(' ');
            }
        }
        let (rules, faults) = read(&text);
        read_whole += usize::from(faults.is_empty() && !rules.is_empty());
        for Fault { start, end, .. } in faults {
            assert!(start < end && start <= text.len(), "{text:?}");
            position(&text, start);
        }
    }
    let deep = format!("Rules = [ {}", "(".repeat(100_000));
    assert_eq!(read(&deep).1.len(), 1);
    let _ = read_whole;
}
