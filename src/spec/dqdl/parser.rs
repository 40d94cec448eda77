//! The structure of a ruleset: sections, rules, `and` and `or`.

use super::condition::{Condition, Operand};
use super::lexer::Kind;
use super::rules::{Leaf, Meaning, meaning};
use super::{Fault, Ruled, Token};
use crate::pipeline::check::{CheckRule, Statement};

/// Parentheses deeper than these are not followed.
const DEEPEST: usize = 64;

pub(super) struct Parser<'a> {
    pub text: &'a str,
    tokens: &'a [Token],
    at: usize,
}

/// A rule or several, and what is told of what they measured.
pub(super) struct Group {
    /// What one alone means.
    alone: Option<Meaning>,
    holds: String,
    observed: Vec<String>,
}

impl<'a> Parser<'a> {
    pub fn new(text: &'a str, tokens: &'a [Token]) -> Self {
        Self { text, tokens, at: 0 }
    }

    /// `Rules = [ … ]`; sections without rules are passed over.
    pub fn ruleset(mut self) -> (Vec<Ruled>, Vec<Fault>) {
        let (mut rules, mut faults) = (Vec::new(), Vec::new());
        let mut has_rules = false;
        let end = loop {
            match self.word().map(str::to_owned) {
                Some(word) if word == "Rules" => {
                    has_rules = true;
                    self.at += 1;
                    match self.rules(&mut rules, &mut faults) {
                        Ok(()) => {}
                        Err(fault) => break Err(fault),
                    }
                }
                // They gather figures and labels, and judge nothing.
                Some(word) if ["Analyzers", "DefaultLabels"].contains(&word.as_str()) => {
                    self.at += 1;
                    if let Err(fault) = self.sign("=").and_then(|()| self.skip_list()) {
                        break Err(fault);
                    }
                }
                Some(word) => {
                    let hint = "a ruleset is `Rules = [ … ]`";
                    break Err(self.fault(format!("unknown section `{word}`"), hint));
                }
                None if self.at >= self.tokens.len() => break Ok(()),
                None => break Err(self.unexpected("a section such as `Rules = [ … ]`")),
            }
        };
        match end {
            Err(fault) => faults.push(fault),
            Ok(()) if !has_rules => {
                let message = "there are no rules";
                faults.push(Fault::new(0, 1, message, "a ruleset is `Rules = [ … ]`"));
            }
            Ok(()) => {}
        }
        (rules, faults)
    }

    fn rules(&mut self, rules: &mut Vec<Ruled>, faults: &mut Vec<Fault>) -> Result<(), Fault> {
        self.sign("=")?;
        self.sign("[")?;
        while !self.is_sign("]") {
            let start = self.start();
            let told = faults.len();
            let group = self.group(0, faults)?;
            self.labels()?;
            let end = self.tokens.get(self.at.saturating_sub(1)).map_or(start, |token| token.end);
            if faults.len() == told {
                rules.push(self.ruled(group, start, end));
            }
            if !self.is_sign("]") {
                self.sign(",")?;
            }
        }
        self.sign("]")
    }

    fn ruled(&self, group: Group, start: usize, end: usize) -> Ruled {
        let written = self.text.get(start..end).unwrap_or_default();
        let text = written.split_whitespace().collect::<Vec<_>>().join(" ");
        let (rule, share) = match group.alone {
            Some(Meaning::Rule { rule, share }) => (rule, share),
            Some(Meaning::Rows(condition)) => (CheckRule::Expression(condition), None),
            Some(Meaning::Measured) | None => {
                let statement = Statement { holds: group.holds, observed: group.observed };
                (CheckRule::Statement(statement), None)
            }
        };
        Ruled { rule, text, start, end, share }
    }

    /// Rules that are joined by `and` or by `or`, or one alone.
    fn group(&mut self, depth: usize, faults: &mut Vec<Fault>) -> Result<Group, Fault> {
        if depth > DEEPEST {
            return Err(self.fault("the parentheses are too deep", "write several rules"));
        }
        if !self.is_sign("(") {
            return self.leaf(faults);
        }
        let mut groups = vec![self.parenthesis(depth, faults)?];
        let mut joint = None;
        while let Some(word) = self.word().map(str::to_lowercase) {
            if word != "and" && word != "or" {
                break;
            }
            if joint.as_ref().is_some_and(|joint| *joint != word) {
                let hint = "put parentheses around those that belong together";
                return Err(self.fault("`and` and `or` stand side by side", hint));
            }
            joint = Some(word);
            self.at += 1;
            groups.push(self.parenthesis(depth, faults)?);
        }
        let Some(joint) = joint else {
            return Ok(groups.remove(0));
        };
        let holds: Vec<String> = groups.iter().map(|it| format!("({})", it.holds)).collect();
        // What is compared with figures of other tables or kept apart has no value to join.
        if groups.iter().any(|it| matches!(it.alone, Some(Meaning::Rule { share: Some(_), .. }))) {
            let hint = "write it as a rule of its own";
            return Err(self.fault("`ReferentialIntegrity` cannot be joined to others", hint));
        }
        let holds = holds.join(&format!(" {joint} "));
        let observed = groups.into_iter().flat_map(|it| it.observed).collect();
        Ok(Group { alone: None, holds, observed })
    }

    fn parenthesis(&mut self, depth: usize, faults: &mut Vec<Fault>) -> Result<Group, Fault> {
        self.sign("(")?;
        let group = self.group(depth + 1, faults)?;
        self.sign(")")?;
        Ok(group)
    }

    /// `Type "parameter" … condition where "…" with threshold …`.
    fn leaf(&mut self, faults: &mut Vec<Fault>) -> Result<Group, Fault> {
        let start = self.start();
        let Some(name) = self.word().map(str::to_owned) else {
            return Err(self.unexpected("a rule such as `IsComplete \"column\"`"));
        };
        let name_end = start + name.len();
        self.at += 1;
        let mut parameters = Vec::new();
        while let Some(Token { kind: Kind::Text(text), .. }) = self.peek() {
            parameters.push(text.clone());
            self.at += 1;
        }
        let condition = self.condition()?;
        let mut filter = None;
        let mut threshold = None;
        while let Some(word) = self.word().map(str::to_owned) {
            match word.as_str() {
                "where" => {
                    self.at += 1;
                    filter = Some(self.quoted("a condition in SQL")?);
                }
                "with" => {
                    self.at += 1;
                    if self.word() != Some("threshold") {
                        return Err(self.unexpected("`threshold`"));
                    }
                    self.at += 1;
                    threshold = self.condition()?;
                    if threshold.is_none() {
                        return Err(self.unexpected("a condition such as `> 0.95`"));
                    }
                }
                _ => break,
            }
        }
        let leaf = Leaf { name: &name, parameters: &parameters, condition, filter, threshold };
        match meaning(&leaf) {
            Ok((meaning, holds, observed)) => Ok(Group { alone: Some(meaning), holds, observed }),
            Err((message, hint)) => {
                faults.push(Fault::new(start, name_end, message, hint));
                Ok(Group { alone: None, holds: String::new(), observed: Vec::new() })
            }
        }
    }

    /// `= 5`, `between 1 and 5`, `in [ … ]`, `matches "…"`, each with `not`; none if there is none.
    fn condition(&mut self) -> Result<Option<Condition>, Fault> {
        for sign in ["=", "!=", ">=", "<=", ">", "<"] {
            if self.is_sign(sign) {
                self.at += 1;
                return Ok(Some(Condition::Compared(sign, self.operand()?)));
            }
        }
        let mut negated = false;
        if self.word() == Some("not") {
            negated = true;
            self.at += 1;
        }
        let condition = match self.word() {
            Some("between") => {
                self.at += 1;
                let low = self.operand()?;
                if !self.word().is_some_and(|word| word.eq_ignore_ascii_case("and")) {
                    return Err(self.unexpected("`and`"));
                }
                self.at += 1;
                Condition::Between { negated, low, high: self.operand()? }
            }
            Some("in") => {
                self.at += 1;
                self.sign("[")?;
                let mut values = Vec::new();
                while !self.is_sign("]") {
                    values.push(self.operand()?);
                    if !self.is_sign("]") {
                        self.sign(",")?;
                    }
                }
                self.sign("]")?;
                Condition::In { negated, values }
            }
            Some("matches") => {
                self.at += 1;
                Condition::Matches { negated, pattern: self.quoted("a regular expression")? }
            }
            _ if negated => return Err(self.unexpected("`between`, `in` or `matches`")),
            _ => return Ok(None),
        };
        Ok(Some(condition))
    }

    /// A number, a text, a keyword, a length of time, or `now()` and what is added to it.
    fn operand(&mut self) -> Result<Operand, Fault> {
        if self.is_sign("(") {
            self.at += 1;
            let operand = self.operand()?;
            self.sign(")")?;
            return Ok(operand);
        }
        let negative = self.is_sign("-");
        if negative {
            self.at += 1;
        }
        let Some(token) = self.peek().cloned() else {
            return Err(self.unexpected("a value"));
        };
        match token.kind {
            Kind::Number(number) => {
                self.at += 1;
                let number = if negative { -number } else { number };
                Ok(match self.unit() {
                    Some(seconds) => Operand::Seconds(number * seconds),
                    None => Operand::Number(number),
                })
            }
            Kind::Text(text) if !negative => {
                self.at += 1;
                Ok(Operand::Text(text))
            }
            Kind::Word(word) if !negative => match word.as_str() {
                "NULL" | "EMPTY" | "WHITESPACES_ONLY" => {
                    self.at += 1;
                    Ok(match word.as_str() {
                        "NULL" => Operand::Null,
                        "EMPTY" => Operand::Empty,
                        _ => Operand::Blank,
                    })
                }
                "now" => {
                    self.at += 1;
                    self.sign("(")?;
                    self.sign(")")?;
                    let sign = ["+", "-"].into_iter().find(|sign| self.is_sign(sign));
                    let Some(sign) = sign else { return Ok(Operand::End(0.0)) };
                    self.at += 1;
                    match self.operand()? {
                        Operand::Seconds(seconds) if sign == "-" => Ok(Operand::End(-seconds)),
                        Operand::Seconds(seconds) => Ok(Operand::End(seconds)),
                        _ => Err(self.unexpected("a length of time such as `3 days`")),
                    }
                }
                "avg" | "min" | "max" | "sum" | "std" | "last" | "index" | "percentile" => {
                    let hint = "a figure is compared with those of the runs before by the check `distribution`";
                    Err(self.fault(format!("`{word}(…)` over earlier runs is not read"), hint))
                }
                _ => Err(self.unexpected("a value")),
            },
            Kind::Sign(_) | Kind::Text(_) | Kind::Word(_) => Err(self.unexpected("a value")),
        }
    }

    /// The seconds of a unit of time.
    fn unit(&mut self) -> Option<f64> {
        let seconds = match self.word()? {
            "day" | "days" => 86_400.0,
            "hour" | "hours" => 3_600.0,
            "minute" | "minutes" => 60.0,
            "second" | "seconds" => 1.0,
            _ => return None,
        };
        self.at += 1;
        Some(seconds)
    }

    /// `labels=["team"="x"]` says nothing of the data.
    fn labels(&mut self) -> Result<(), Fault> {
        if self.word() == Some("labels") {
            self.at += 1;
            self.sign("=")?;
            self.skip_list()?;
        }
        Ok(())
    }

    fn skip_list(&mut self) -> Result<(), Fault> {
        self.sign("[")?;
        let mut open = 1;
        while open > 0 {
            match self.peek().map(|token| &token.kind) {
                Some(Kind::Sign("[")) => open += 1,
                Some(Kind::Sign("]")) => open -= 1,
                Some(_) => {}
                None => return Err(self.unexpected("`]`")),
            }
            self.at += 1;
        }
        Ok(())
    }

    fn quoted(&mut self, what: &str) -> Result<String, Fault> {
        match self.peek().cloned() {
            Some(Token { kind: Kind::Text(text), .. }) => {
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.unexpected(&format!("{what} in double quotes"))),
        }
    }

    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    fn word(&self) -> Option<&'a str> {
        match &self.peek()?.kind {
            Kind::Word(word) => Some(word),
            Kind::Text(_) | Kind::Number(_) | Kind::Sign(_) => None,
        }
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token { kind: Kind::Sign(found), .. }) if *found == sign)
    }

    fn sign(&mut self, sign: &str) -> Result<(), Fault> {
        if self.is_sign(sign) {
            self.at += 1;
            return Ok(());
        }
        Err(self.unexpected(&format!("`{sign}`")))
    }

    fn start(&self) -> usize {
        let last = self.tokens.last().map_or(0, |token| token.end);
        self.peek().map_or(last, |token| token.start)
    }

    fn fault(&self, message: impl Into<String>, hint: &str) -> Fault {
        let end = self.peek().map_or(self.start(), |token| token.end);
        Fault::new(self.start(), end, message, hint)
    }

    fn unexpected(&self, expected: &str) -> Fault {
        let found = match self.peek() {
            Some(token) => format!("`{}`", &self.text[token.start..token.end]),
            None => "the end".to_owned(),
        };
        self.fault(format!("unexpected {found}, expected {expected}"), "")
    }
}
