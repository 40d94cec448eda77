//! Conditions of rules as SQL.

use super::INTERVAL_END;

/// A condition on a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// `= 5`.
    Compared(&'static str, Operand),
    /// `between 1 and 5`; neither bound belongs to it.
    Between {
        /// `not between`.
        negated: bool,
        /// The lower bound.
        low: Operand,
        /// The upper bound.
        high: Operand,
    },
    /// `in ["a", "b"]`.
    In {
        /// `not in`.
        negated: bool,
        /// The values.
        values: Vec<Operand>,
    },
    /// `matches "[a-z]+"`.
    Matches {
        /// `not matches`.
        negated: bool,
        /// The regular expression.
        pattern: String,
    },
}

/// A value of a condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A number.
    Number(f64),
    /// A text, or a date as text.
    Text(String),
    /// A length of time.
    Seconds(f64),
    /// So many seconds after the end of the interval: what `now()` stands for.
    End(f64),
    /// No value.
    Null,
    /// The empty text.
    Empty,
    /// A text of whitespace only.
    Blank,
}

/// Why a condition means nothing where it stands, and what to do.
pub type Refused = (String, String);

fn refused<T>(message: impl Into<String>, hint: &str) -> Result<T, Refused> {
    Err((message.into(), hint.to_owned()))
}

/// A text as SQL.
pub fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A column's name as SQL.
pub fn column(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn number(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        format!("{number:.0}")
    } else {
        format!("{number:?}")
    }
}

impl Operand {
    fn sql(&self) -> Result<String, Refused> {
        match self {
            Self::Number(value) => Ok(number(*value)),
            Self::Text(value) => Ok(text(value)),
            Self::End(seconds) => Ok(format!("({INTERVAL_END} + INTERVAL '{seconds} seconds')")),
            Self::Seconds(_) => refused(
                "a length of time cannot be compared with a value",
                "write `(now() - 3 days)`, or `DataFreshness`",
            ),
            Self::Null | Self::Empty | Self::Blank => refused(
                "a keyword has no place in an order",
                "use it with `=`, `!=`, `in` or `not in`",
            ),
        }
    }
}

impl Condition {
    /// The condition on a value of a row. A NULL breaks all but those that exclude values, as the
    /// language has it.
    pub fn of_value(&self, value: &str) -> Result<String, Refused> {
        match self {
            Self::Compared("=", operand) => Ok(known(&equals(value, operand)?, false)),
            Self::Compared("!=", Operand::Null) => Ok(format!("{value} IS NOT NULL")),
            Self::Compared("!=", operand) => {
                Ok(known(&format!("NOT ({})", equals(value, operand)?), true))
            }
            Self::Compared(sign, operand) => {
                Ok(known(&format!("{value} {sign} {}", operand.sql()?), false))
            }
            Self::Between { negated, low, high } => {
                let (low, high) = (low.sql()?, high.sql()?);
                let within = format!("{value} > {low} AND {value} < {high}");
                Ok(known(&if *negated { format!("NOT ({within})") } else { within }, *negated))
            }
            Self::In { negated, values } => {
                if values.is_empty() {
                    return refused("the list is empty", "name the values");
                }
                let each = values.iter().map(|it| equals(value, it).map(|sql| known(&sql, false)));
                let any = each.collect::<Result<Vec<_>, _>>()?.join(" OR ");
                let names_null = values.contains(&Operand::Null);
                Ok(match negated {
                    false => format!("({any})"),
                    true if names_null => format!("({value} IS NOT NULL AND NOT ({any}))"),
                    true => format!("NOT ({any})"),
                })
            }
            Self::Matches { negated, pattern } => {
                if let Err(error) = regex::Regex::new(pattern) {
                    let message =
                        format!("`{pattern}` is no regular expression: {}", last_line(&error));
                    return refused(message, "look-around and back references are not known");
                }
                // What is found must not be empty, as in Glue.
                let whole = text(&format!("({pattern})"));
                let found = format!("regexp_match({value}, {whole})[1] <> ''");
                Ok(match negated {
                    false => known(&found, false),
                    true => format!("NOT {}", known(&found, false)),
                })
            }
        }
    }

    /// The condition on a figure of a table. One that there is not, of an empty table, breaks it.
    pub fn of_figure(&self, figure: &str) -> Result<String, Refused> {
        match self {
            Self::Compared(_, Operand::Number(_))
            | Self::Between { low: Operand::Number(_), high: Operand::Number(_), .. } => {}
            Self::In { values, .. } if values.iter().all(|it| matches!(it, Operand::Number(_))) => {
            }
            _ => {
                return refused("a figure is compared with numbers", "write `> 0.95`, for example");
            }
        }
        let sql = match self {
            Self::Compared(sign, operand) => {
                let sign = if *sign == "!=" { "<>" } else { sign };
                format!("{figure} {sign} {}", operand.sql()?)
            }
            Self::Between { negated, low, high } => {
                let within = format!("{figure} > {} AND {figure} < {}", low.sql()?, high.sql()?);
                if *negated { format!("NOT ({within})") } else { within }
            }
            Self::In { negated, values } => {
                let values = values.iter().map(Operand::sql).collect::<Result<Vec<_>, _>>()?;
                let not = if *negated { "NOT " } else { "" };
                format!("{figure} {not}IN ({})", values.join(", "))
            }
            Self::Matches { .. } => {
                return refused("a figure is a number", "write `> 0.95`, for example");
            }
        };
        Ok(known(&sql, false))
    }

    /// Whether the day that the data is about has to be known.
    pub fn asks_time(&self) -> bool {
        let asks = |operand: &Operand| matches!(operand, Operand::End(_));
        match self {
            Self::Compared(_, operand) => asks(operand),
            Self::Between { low, high, .. } => asks(low) || asks(high),
            Self::In { values, .. } => values.iter().any(asks),
            Self::Matches { .. } => false,
        }
    }
}

fn equals(value: &str, operand: &Operand) -> Result<String, Refused> {
    Ok(match operand {
        Operand::Null => format!("{value} IS NULL"),
        Operand::Empty => format!("{value} = ''"),
        Operand::Blank => format!("({value} <> '' AND trim({value}) = '')"),
        other => format!("{value} = {}", other.sql()?),
    })
}

/// A condition with what it is where a value is not known.
fn known(sql: &str, unknown: bool) -> String {
    format!("coalesce({sql}, {unknown})")
}

fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}
