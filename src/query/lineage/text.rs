//! The pieces of a query's text: what is selected, each condition, each list of keys.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::influence::Place;

/// A query's text, cut into pieces, to be asked what stands at a place.
///
/// Works on tokens, since the planner keeps the places of columns and not those of expressions.
#[derive(Debug, Clone, Default)]
pub struct Statement {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
struct Piece {
    first: Place,
    last: Place,
    text: String,
    /// The name after `AS`, or a column's own.
    name: Option<String>,
    /// Whether it stands in the outermost query's list of columns.
    outermost: bool,
}

impl Statement {
    /// Cuts a statement. A text that is none has no pieces.
    pub fn new(text: &str) -> Self {
        let dialect = GenericDialect {};
        let tokens = Tokenizer::new(&dialect, text).tokenize_with_location().unwrap_or_default();
        let mut cutter = Cutter::default();
        for token in tokens {
            match &token.token {
                Token::Whitespace(_) | Token::EOF | Token::SemiColon => {}
                _ => cutter.take(token),
            }
        }
        while !cutter.frames.is_empty() {
            cutter.close();
        }
        cutter.pieces.sort_by_key(|piece| piece.first);
        Self { pieces: cutter.pieces }
    }

    /// The expression that the place is in: the smallest piece around it, without `AS …`, on one
    /// line.
    pub fn expression(&self, place: Place) -> Option<&str> {
        self.around(place).map(|piece| piece.text.as_str())
    }

    /// Whether the place is in the list of columns of the outermost query, or of one that it is
    /// united with.
    pub fn is_selected(&self, place: Place) -> bool {
        self.around(place).is_some_and(|piece| piece.outermost)
    }

    /// The smallest piece around a place: pieces are sorted by their beginning.
    fn around(&self, place: Place) -> Option<&Piece> {
        self.pieces.iter().rfind(|piece| piece.first <= place && place <= piece.last)
    }

    /// Where the statement says what a column of its result is, with the text.
    pub fn definition(&self, column: &str) -> Option<(Place, &str)> {
        let named = |piece: &&Piece| {
            piece.outermost && piece.name.as_deref().is_some_and(|name| name == column)
        };
        self.pieces.iter().find(named).map(|piece| (piece.first, piece.text.as_str()))
    }
}

/// What stands between two parentheses, or the whole.
#[derive(Debug, Default)]
struct Frame {
    /// Whether it is a query and not the arguments of a function or the like.
    is_query: bool,
    /// Whether the pieces are columns of the outermost query.
    selects: bool,
    tokens: Vec<TokenWithSpan>,
}

#[derive(Debug, Default)]
struct Cutter {
    frames: Vec<Frame>,
    pieces: Vec<Piece>,
    /// Whether a parenthesis was opened just now.
    opened: bool,
}

impl Cutter {
    fn take(&mut self, token: TokenWithSpan) {
        if self.frames.is_empty() {
            self.frames.push(Frame { is_query: true, ..Frame::default() });
        }
        let opened = std::mem::take(&mut self.opened);
        let keyword = match &token.token {
            Token::Word(word) if word.quote_style.is_none() => word.keyword,
            _ => Keyword::NoKeyword,
        };
        if opened && matches!(keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES) {
            self.top().is_query = true;
        }
        match &token.token {
            Token::LParen => {
                self.top().tokens.push(token);
                self.frames.push(Frame::default());
                self.opened = true;
            }
            Token::RParen if self.frames.len() > 1 => {
                self.close();
                self.top().tokens.push(token);
            }
            Token::Comma if self.top().is_query => self.cut(),
            _ if self.top().is_query && begins(keyword) => {
                self.cut();
                let outermost = self.frames.len() == 1;
                let top = self.top();
                match keyword {
                    Keyword::SELECT => top.selects = outermost,
                    // `DISTINCT` and `ALL` stand within the list.
                    Keyword::DISTINCT | Keyword::ALL => {}
                    _ => top.selects = false,
                }
            }
            _ => self.top().tokens.push(token),
        }
    }

    fn top(&mut self) -> &mut Frame {
        if self.frames.is_empty() {
            self.frames.push(Frame::default());
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    /// Ends a frame. What is no query belongs to the piece around it.
    fn close(&mut self) {
        if self.top().is_query {
            self.cut();
            self.frames.pop();
        } else if let Some(frame) = self.frames.pop()
            && !self.frames.is_empty()
        {
            self.top().tokens.extend(frame.tokens);
        }
    }

    /// Ends a piece.
    fn cut(&mut self) {
        let outermost = self.top().selects;
        let mut tokens = std::mem::take(&mut self.top().tokens);
        let mut name = None;
        let as_at = tokens.len().wrapping_sub(2);
        if let [.., before, last] = tokens.as_slice()
            && matches!(&before.token, Token::Word(word) if word.keyword == Keyword::AS)
        {
            name = word(last);
            if name.is_some() {
                tokens.truncate(as_at);
            }
        }
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return };
        let name = name.or_else(|| word(last));
        let number = |number: u64| usize::try_from(number).unwrap_or(1).max(1);
        let place = |at: datafusion::sql::sqlparser::tokenizer::Location| Place {
            line: number(at.line),
            column: number(at.column),
        };
        let (first, last) = (place(first.span.start), place(last.span.end));
        self.pieces.push(Piece { first, last, text: on_one_line(&tokens), name, outermost });
    }
}

fn word(token: &TokenWithSpan) -> Option<String> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_some() => Some(word.value.clone()),
        // As the planner reads names that are not quoted.
        Token::Word(word) => Some(word.value.to_lowercase()),
        _ => None,
    }
}

/// Whether a new piece begins after the keyword.
fn begins(keyword: Keyword) -> bool {
    use Keyword as K;
    matches!(
        keyword,
        K::SELECT
            | K::DISTINCT
            | K::ALL
            | K::FROM
            | K::WHERE
            | K::GROUP
            | K::HAVING
            | K::QUALIFY
            | K::ORDER
            | K::BY
            | K::JOIN
            | K::INNER
            | K::LEFT
            | K::RIGHT
            | K::FULL
            | K::CROSS
            | K::OUTER
            | K::NATURAL
            | K::ON
            | K::USING
            | K::LIMIT
            | K::OFFSET
            | K::UNION
            | K::INTERSECT
            | K::EXCEPT
            | K::WINDOW
            | K::WITH
            | K::RECURSIVE
            | K::VALUES
    )
}

/// The tokens with a space wherever there was any layout or comment between two.
fn on_one_line(tokens: &[TokenWithSpan]) -> String {
    let mut text = String::new();
    for (index, token) in tokens.iter().enumerate() {
        if index > 0 && tokens[index - 1].span.end != token.span.start {
            text.push(' ');
        }
        text.push_str(&token.token.to_string());
    }
    text.replace("( ", "(").replace(" )", ")")
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = "\
WITH gaps AS (
    SELECT *, ts - lag(ts) OVER (PARTITION BY visitor ORDER BY ts, id) AS gap -- why
    FROM events
)
SELECT DISTINCT
    visitor,
    e.item AS thing,
    sum(CASE
        WHEN kind IN ('a', 'b') THEN 1 -- one
        ELSE coalesce(n, 1)
    END) AS n,
    (SELECT max(x) FROM other WHERE other.id = e.id) AS most,
    \"Quoted\"
FROM gaps AS e JOIN items ON items.id = e.item AND items.on_sale
WHERE gap > 3
GROUP BY visitor, lower(thing)
";

    fn at(needle: &str) -> Place {
        let offset = QUERY.find(needle).unwrap();
        let before = &QUERY[..offset];
        let line = before.matches('\n').count() + 1;
        let column = offset - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
        Place { line, column }
    }

    #[test]
    fn says_what_a_place_is_in() {
        let statement = Statement::new(QUERY);
        for (needle, expected) in [
            ("ts) OVER", "ts - lag(ts) OVER (PARTITION BY visitor ORDER BY ts, id)"),
            ("e.item AS", "e.item"),
            ("kind IN", "sum(CASE WHEN kind IN ('a', 'b') THEN 1 ELSE coalesce(n, 1) END)"),
            ("x) FROM", "max(x)"),
            ("e.id) AS", "other.id = e.id"),
            ("items.on_sale", "items.id = e.item AND items.on_sale"),
            ("gap > 3", "gap > 3"),
            ("thing)\n", "lower(thing)"),
        ] {
            assert_eq!(statement.expression(at(needle)), Some(expected), "{needle}");
        }
    }

    #[test]
    fn finds_what_columns_of_the_result_are() {
        let statement = Statement::new(QUERY);
        let text = |column| statement.definition(column).map(|(place, text)| (place.line, text));
        assert_eq!(text("thing"), Some((7, "e.item")));
        assert_eq!(text("visitor"), Some((6, "visitor")));
        assert_eq!(text("Quoted"), Some((13, "\"Quoted\"")));
        assert_eq!(text("gap"), None);
        assert_eq!(text("most").map(|(line, _)| line), Some(12));
        assert_eq!(Statement::new("'open").definition("a"), None);
        assert!(statement.is_selected(at("e.item AS")));
        assert!(!statement.is_selected(at("thing)\n")));
    }
}
