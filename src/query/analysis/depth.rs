//! How deep a statement is. Parser and planner call themselves for every level, so that one without
//! end would end the program for want of stack.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::statement::position;
use crate::pipeline::query::{QueryFault, QueryProblem};

/// Operators of one expression: each is a level. In a build without optimisation a thousand of them
/// fit into the 8 MiB of stack that every thread has here.
const OPERATORS: usize = 400;
/// Queries that are joined by UNION and the like: each is several levels.
const SET_OPERATIONS: usize = 100;

/// Refuses a statement that is too deep, at the place where it becomes so.
pub(super) fn check(tokens: &[TokenWithSpan]) -> Result<(), QueryProblem> {
    let mut sets = 0;
    // Operators so far, of the expression at hand and of those around it.
    let mut chains = vec![0];
    for token in tokens {
        let chain = chains.len() - 1;
        match &token.token {
            Token::LParen | Token::LBracket => chains.push(0),
            Token::RParen | Token::RBracket if chain > 0 => _ = chains.pop(),
            Token::Comma | Token::SemiColon => chains[chain] = 0,
            Token::Word(word) => match word.value.to_ascii_uppercase().as_str() {
                "UNION" | "EXCEPT" | "INTERSECT" => sets += 1,
                "AND" | "OR" => chains[chain] += 1,
                "SELECT" | "FROM" | "WHERE" | "HAVING" | "ON" | "WHEN" | "THEN" | "ELSE" => {
                    chains[chain] = 0;
                }
                _ => {}
            },
            Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::StringConcat => chains[chain] += 1,
            _ => {}
        }
        let deepest = chains.last().copied().unwrap_or_default();
        let (message, hint) = if deepest > OPERATORS {
            let message = format!("an expression of more than {OPERATORS} operators is too deep");
            (message, "write `IN (…)` for many comparisons, or make it in steps, in a CTE each")
        } else if sets > SET_OPERATIONS {
            let message = format!("more than {SET_OPERATIONS} set operations are too deep");
            (message, "read the parts as one source, or put some of them together in other steps")
        } else {
            continue;
        };
        return Err(QueryProblem {
            fault: QueryFault::Syntax,
            line: position(token.span.start.line),
            column: position(token.span.start.column),
            length: token.token.to_string().chars().count().max(1),
            message,
            hint: Some(hint.to_owned()),
        });
    }
    Ok(())
}
