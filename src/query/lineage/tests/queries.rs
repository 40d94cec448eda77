//! What is said of single queries.

use super::super::{How, TableLineage, Use};
use super::influence_on_data::{QUERIES, plan_of};

/// `column ← table.column how, …` for each column, then what decides on rows.
fn told(sql: &str) -> String {
    let lineage = TableLineage::of_plan(&plan_of(sql));
    let uses = |influences: &super::super::Influences| {
        let mut words: Vec<String> = influences
            .iter()
            .map(|(origin, one)| format!("{}.{} {}", origin.table, origin.column, word(one)))
            .collect();
        words.extend(influences.unknown().map(|why| format!("unknown: {why}")));
        words.join(", ")
    };
    let mut text: String = lineage
        .columns
        .iter()
        .map(|column| format!("{} ← {}\n", column.name, uses(&column.from)))
        .collect();
    if lineage.rows.iter().next().is_some() {
        text.push_str(&format!("rows ← {}\n", uses(&lineage.rows)));
    }
    text
}

fn word(one: &Use) -> String {
    let place = one.place.map_or_else(String::new, |at| format!("@{}:{}", at.line, at.column));
    format!("{}{place}", one.how.word())
}

#[test]
fn every_kind_of_query() {
    let all: String = QUERIES
        .iter()
        .map(|sql| format!("{sql}\n{}\n", told(sql).replace("← \n", "←\n")))
        .collect();
    insta::assert_snapshot!(all);
}

#[test]
fn nothing_is_left_unknown_in_what_queries_can_say() {
    for sql in QUERIES {
        assert!(!told(sql).contains("unknown"), "{sql}\n{}", told(sql));
    }
}

#[test]
fn what_cannot_be_followed_is_said() {
    let text = told("EXPLAIN SELECT a FROM t");
    assert!(text.contains("unknown: a plan node `Explain`"), "{text}");
}

#[test]
fn figures_show_no_values_and_extremes_do() {
    let shows = |sql: &str| {
        let lineage = TableLineage::of_plan(&plan_of(sql));
        let from = &lineage.columns[0].from;
        from.iter().any(|(origin, one)| origin.column == "s" && one.shows_values)
    };
    for sql in [
        "SELECT s FROM t",
        "SELECT concat('x', upper(s)) FROM t",
        "SELECT max(s) FROM t",
        "SELECT first_value(s ORDER BY a) FROM t",
        "SELECT string_agg(s, ',') FROM t",
        "SELECT lag(s) OVER (ORDER BY a) FROM t",
        "SELECT CASE WHEN a = 1 THEN s END FROM t",
        "SELECT (SELECT max(s) FROM t)",
        "WITH x AS (SELECT lower(s) AS y FROM t) SELECT min(y) FROM x",
    ] {
        assert!(shows(sql), "{sql}");
    }
    for sql in [
        "SELECT count(s) FROM t",
        "SELECT count(DISTINCT s) + 1 FROM t",
        "SELECT sum(length(s)) FROM t",
        "SELECT CASE WHEN s = 'x' THEN 1 END FROM t",
        "SELECT a FROM t ORDER BY s",
        "SELECT row_number() OVER (ORDER BY s) FROM t",
        "WITH x AS (SELECT count(s) AS y FROM t) SELECT max(y) FROM x",
    ] {
        assert!(!shows(sql), "{sql}");
    }
}

#[test]
fn hows_have_the_words_of_the_facet() {
    let word = |how: How| serde_json::to_value(how).unwrap();
    for how in [How::Identity, How::GroupBy, How::Conditional, How::Window] {
        assert_eq!(word(how), how.word());
    }
}
