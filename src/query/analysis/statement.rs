//! What a statement's text says of itself.

use datafusion::error::DataFusionError;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError};

use super::words::lowered;
use super::{depth, syntax};
use crate::pipeline::query::{Mention, QueryFacts, QueryFault, QueryProblem};

/// Reads a statement: its normal form, the tables and the parameters that it names.
pub fn parse(text: &str) -> Result<QueryFacts, QueryProblem> {
    let tokens = tokens(text).map_err(|error| {
        let (line, column) = (position(error.location.line), position(error.location.column));
        syntax::fault(line, column, lowered(&error.message))
    })?;
    depth::check(&tokens)?;
    let mut statements =
        DFParser::parse_sql(text).map_err(|error| syntax::describe(&error, text, &tokens))?;
    let not_one = |at: Option<&TokenWithSpan>, message: String, hint: &str| QueryProblem {
        fault: QueryFault::NotOneQuery,
        line: at.map_or(1, |token| position(token.span.start.line)),
        column: at.map_or(1, |token| position(token.span.start.column)),
        length: at.map_or(1, |token| token.token.to_string().chars().count().max(1)),
        message,
        hint: Some(hint.to_owned()),
    };
    let says_something =
        |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_) | Token::EOF);
    let hint = "a file holds one query, which makes one table";
    let Some(statement) = statements.pop_front() else {
        return Err(not_one(None, "there is no statement in the file".to_owned(), hint));
    };
    if !statements.is_empty() {
        let mut rest = tokens.iter().skip_while(|token| token.token != Token::SemiColon);
        let second = rest.find(|token| token.token != Token::SemiColon && says_something(token));
        return Err(not_one(second, "there is more than one statement".to_owned(), hint));
    }
    if !is_query(&statement) {
        let first = tokens.iter().find(says_something);
        let word = first.map_or_else(String::new, |token| token.token.to_string());
        let hint = "begin with `SELECT` or `WITH`; pipelines.yaml says where the rows go";
        return Err(not_one(first, format!("expected a query, found `{word}`"), hint));
    }
    let (references, _) = resolve_table_references(&statement, true)
        .map_err(|error| syntax::fault(1, 1, error.strip_backtrace()))?;
    let tables = references.iter().map(|table| mention(table.table(), &tokens)).collect::<Vec<_>>();
    let mut parameters: Vec<Mention> = Vec::new();
    for token in &tokens {
        if let Token::Placeholder(name) = &token.token {
            let name = name.trim_start_matches('$');
            if !parameters.iter().any(|known| known.name == name) {
                parameters.push(at(name, token));
            }
        }
    }
    // Tokens instead of the printed tree: no query means something else for its layout, and the
    // printing of trees changes from version to version.
    let words: Vec<String> = tokens
        .iter()
        .filter(|token| {
            !matches!(token.token, Token::Whitespace(_) | Token::EOF | Token::SemiColon)
        })
        .map(|token| token.token.to_string())
        .collect();
    Ok(QueryFacts { normalized: words.join(" "), tables, parameters })
}

/// The one statement of a text that [`parse`] takes.
pub(super) fn statement(text: &str) -> Result<Statement, DataFusionError> {
    let first = DFParser::parse_sql(text)?.pop_front();
    first.ok_or_else(|| DataFusionError::Plan("there is no statement".to_owned()))
}

fn is_query(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(statement) => matches!(**statement, ast::Statement::Query(_)),
        _ => false,
    }
}

/// The words of a text.
pub(super) fn tokens(text: &str) -> Result<Vec<TokenWithSpan>, TokenizerError> {
    Tokenizer::new(&GenericDialect {}, text).tokenize_with_location()
}

pub(super) fn position(number: u64) -> usize {
    usize::try_from(number).unwrap_or(1).max(1)
}

pub(super) fn at(name: &str, token: &TokenWithSpan) -> Mention {
    Mention {
        name: name.to_owned(),
        line: position(token.span.start.line),
        column: position(token.span.start.column),
    }
}

/// Finds where a name stands as a word of the statement; its start if nowhere.
fn mention(name: &str, tokens: &[TokenWithSpan]) -> Mention {
    let is_name = |token: &&TokenWithSpan| match &token.token {
        Token::Word(word) => word.value.eq_ignore_ascii_case(name),
        _ => false,
    };
    // A table stands behind FROM or JOIN or a comma; the same word elsewhere may be a column.
    let mut behind_from = false;
    let mut first = None;
    for token in tokens {
        match &token.token {
            Token::Whitespace(_) => continue,
            Token::Word(word)
                if word.value.eq_ignore_ascii_case("from")
                    || word.value.eq_ignore_ascii_case("join") =>
            {
                behind_from = true;
                continue;
            }
            _ => {}
        }
        if is_name(&token) {
            if behind_from {
                return at(name, token);
            }
            first.get_or_insert_with(|| at(name, token));
        }
        behind_from = false;
    }
    first.unwrap_or_else(|| Mention { name: name.to_owned(), line: 1, column: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_tables_and_parameters_where_they_stand() {
        let facts = parse(
            "-- events\nWITH e AS (SELECT * FROM events WHERE ts >= $interval_start)\n\
             SELECT e.*, items.name FROM e JOIN items USING (item_id)\nWHERE ts < $interval_end;",
        )
        .unwrap();
        let tables: Vec<_> = facts.tables.iter().map(|t| (t.name.as_str(), t.line)).collect();
        assert_eq!(tables, [("events", 2), ("items", 3)]);
        let parameters: Vec<_> = facts.parameters.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(parameters, ["interval_start", "interval_end"]);
    }

    #[test]
    fn layout_and_comments_do_not_count() {
        let one = parse("SELECT a, b FROM t -- why\n").unwrap().normalized;
        let other = parse("SELECT a,\n  b\nFROM t;").unwrap().normalized;
        assert_eq!(one, other);
        assert_ne!(one, parse("SELECT b, a FROM t").unwrap().normalized);
    }

    #[test]
    fn places_syntax_errors() {
        let problem = parse("SELECT a\nFORM t x y").unwrap_err();
        assert_eq!(problem.line, 2, "{problem:?}");
        let two = parse("SELECT 1; SELECT 2").unwrap_err();
        assert_eq!((two.fault, two.line, two.column), (QueryFault::NotOneQuery, 1, 11));
        let other = parse("CREATE TABLE t AS SELECT 1").unwrap_err();
        assert_eq!(other.fault, QueryFault::NotOneQuery);
        assert!(parse("SELECT 'open").is_err());
    }
}
