//! Cuts SQL into tokens, as Redshift reads it: `\` escapes inside of texts, and quoted names fold to
//! lower case like others.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword or a name without quotes.
    Word,
    /// A name in double quotes.
    Quoted,
    /// A text in single quotes.
    Text,
    /// A number.
    Number,
    /// Any other character.
    Symbol,
}

/// A token; what lies between tokens is one space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    /// Whether white space or a comment comes before it.
    pub spaced: bool,
}

impl Token<'_> {
    /// Whether it is this keyword.
    pub fn is(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether it is this character.
    pub fn symbol(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }

    /// The name that it stands for, folded as Redshift does.
    pub fn name(&self) -> Option<String> {
        match self.kind {
            Kind::Word => Some(self.text.to_lowercase()),
            Kind::Quoted => {
                Some(self.text[1..self.text.len() - 1].replace("\"\"", "\"").to_lowercase())
            }
            Kind::Text | Kind::Number | Kind::Symbol => None,
        }
    }

    /// The value of a text.
    pub fn value(&self) -> Option<String> {
        if self.kind != Kind::Text {
            return None;
        }
        let mut value = String::new();
        let mut rest = self.text[1..self.text.len() - 1].chars();
        while let Some(c) = rest.next() {
            match c {
                '\'' | '\\' => value.extend(rest.next()),
                other => value.push(other),
            }
        }
        Some(value)
    }
}

/// The tokens of a statement, without comments and without semicolons at its end.
pub(super) fn tokens(sql: &str) -> Result<Vec<Token<'_>>, String> {
    let mut found = Vec::new();
    let mut rest = sql;
    let mut spaced = false;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_whitespace() {
            first.len_utf8()
        } else if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map(|end| end + 2).ok_or("ERROR: unterminated /* comment")?
        } else {
            let (kind, length) = token(rest, first)?;
            found.push(Token { kind, text: &rest[..length], spaced });
            spaced = false;
            rest = &rest[length..];
            continue;
        };
        spaced = true;
        rest = &rest[length..];
    }
    while found.last().is_some_and(|last| last.symbol(";")) {
        found.pop();
    }
    if found.iter().any(|token| token.symbol(";")) {
        return Err("ERROR: cannot insert multiple commands into a prepared statement".to_owned());
    }
    Ok(found)
}

fn token(rest: &str, first: char) -> Result<(Kind, usize), String> {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let run = |accept: &dyn Fn(char) -> bool| rest.find(|c| !accept(c)).unwrap_or(rest.len());
    Ok(match first {
        '\'' => (Kind::Text, closed(rest, '\'', true)?),
        '"' => (Kind::Quoted, closed(rest, '"', false)?),
        c if c.is_ascii_digit() => (Kind::Number, run(&|c| word(c) || c == '.')),
        c if c.is_alphabetic() || c == '_' || c == '#' => {
            (Kind::Word, first.len_utf8() + run_after(rest, first, word))
        }
        ':' if rest.starts_with("::") => (Kind::Symbol, 2),
        c => (Kind::Symbol, c.len_utf8()),
    })
}

fn run_after(rest: &str, first: char, accept: impl Fn(char) -> bool) -> usize {
    let rest = &rest[first.len_utf8()..];
    rest.find(|c| !accept(c)).unwrap_or(rest.len())
}

fn closed(rest: &str, quote: char, escapes: bool) -> Result<usize, String> {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote {
            if chars.peek().is_some_and(|(_, next)| *next == quote) {
                chars.next();
            } else {
                return Ok(at + c.len_utf8());
            }
        }
    }
    Err(format!("ERROR: unterminated quoted string at or near {quote}"))
}

/// The tokens as SQL again; quoted names in lower case.
pub(super) fn sql(tokens: &[Token<'_>]) -> String {
    let mut text = String::new();
    for token in tokens {
        if token.spaced && !text.is_empty() {
            text.push(' ');
        }
        match token.kind {
            Kind::Quoted => text.push_str(&token.text.to_lowercase()),
            Kind::Word | Kind::Text | Kind::Number | Kind::Symbol => text.push_str(token.text),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_escape_with_backslashes_and_names_fold() {
        let sql_text = r#"select 'it''s \'x\\' , "A""b" -- c
            from /* ; */ T1;"#;
        let found = tokens(sql_text).unwrap();
        assert_eq!(found[1].value().unwrap(), r"it's 'x\");
        assert_eq!(found[3].name().unwrap(), "a\"b");
        assert_eq!(sql(&found), r#"select 'it''s \'x\\' , "a""b" from T1"#);
        assert!(tokens("select 1; select 2").is_err());
        assert!(tokens(r"select 'open\'").is_err());
        assert_eq!(sql(&tokens("a::int>=1.5e3").unwrap()), "a::int>=1.5e3");
    }
}
