//! Declared variables and their values.

use std::collections::BTreeMap;
use std::fmt;

/// The value of a variable; its type is that of the default in `pipelines.yaml`.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    String(String),
    /// 64-bit signed integer.
    Int(i64),
    /// 64-bit floating point.
    Double(f64),
    /// `true` or `false`.
    Boolean(bool),
}

/// Values by variable.
pub type Variables = BTreeMap<String, Value>;

impl Value {
    /// The word for the type.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::Int(_) => "int",
            Self::Double(_) => "double",
            Self::Boolean(_) => "boolean",
        }
    }

    /// Reads `text` as a value of the same type as this one.
    pub fn parse_like(&self, text: &str) -> Option<Value> {
        match self {
            Self::String(_) => Some(Self::String(text.to_owned())),
            Self::Int(_) => text.parse().ok().map(Self::Int),
            Self::Double(_) => {
                text.parse().ok().filter(|value: &f64| value.is_finite()).map(Self::Double)
            }
            Self::Boolean(_) => text.parse().ok().map(Self::Boolean),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) => f.write_str(text),
            Self::Int(value) => write!(f, "{value}"),
            Self::Double(value) => write!(f, "{value}"),
            Self::Boolean(value) => write!(f, "{value}"),
        }
    }
}

/// Parameters that every query may use beside the declared variables.
pub const BUILT_IN_PARAMETERS: [&str; 4] =
    ["logical_date", "interval_start", "interval_end", "run_id"];
