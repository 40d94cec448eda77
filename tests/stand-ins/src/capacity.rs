//! What a write to DynamoDB costs.

use std::time::Instant;

use serde_json::Value;

/// Bytes per write unit.
const UNIT: usize = 1024;

/// What an item takes up, in bytes, by the rules of "DynamoDB item sizes and formats".
pub(crate) fn item_size(item: &Value) -> usize {
    let Some(attributes) = item.as_object() else { return 0 };
    attributes.iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

/// An attribute's value as it is on the wire: `{"S": "text"}`.
fn value_size(value: &Value) -> usize {
    let Some((kind, content)) = value.as_object().and_then(|value| value.iter().next()) else {
        return 0;
    };
    let text = content.as_str().unwrap_or_default();
    let all = |size: fn(&str) -> usize| -> usize {
        let texts = content.as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.map(size).sum()
    };
    match kind.as_str() {
        "S" => text.len(),
        "N" => number_size(text),
        "B" => binary_size(text),
        "SS" => all(str::len),
        "NS" => all(number_size),
        "BS" => all(binary_size),
        // Three bytes for the collection and one for each element.
        "L" => {
            3 + content
                .as_array()
                .into_iter()
                .flatten()
                .map(|value| 1 + value_size(value))
                .sum::<usize>()
        }
        "M" => 3 + item_size(content) + content.as_object().map_or(0, serde_json::Map::len),
        // True, false and null.
        _ => 1,
    }
}

/// A byte for two significant digits, one more, and one for a sign.
fn number_size(text: &str) -> usize {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_matches('0').len().max(1);
    digits.div_ceil(2) + 1 + usize::from(text.starts_with('-'))
}

fn binary_size(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}

/// The units that a write of so many bytes takes: one for each started KB.
pub(crate) fn write_units(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes.div_ceil(UNIT).max(1)).unwrap_or(u32::MAX))
}

/// How much a table takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// Write units per second.
    pub units_per_second: f64,
    /// Write units at once, after a pause; the bucket starts full.
    pub burst: f64,
}

impl Limit {
    /// Everything.
    pub const NONE: Self = Self { units_per_second: f64::INFINITY, burst: f64::INFINITY };
}

/// The units that a table has left.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    limit: Limit,
    left: f64,
    at: Instant,
}

impl TokenBucket {
    pub fn new(limit: Limit, now: Instant) -> Self {
        Self { limit, left: limit.burst, at: now }
    }

    /// Takes the units if they are there. What is larger than the bucket goes when the bucket is full, and
    /// leaves it in debt.
    pub fn take(&mut self, units: f64, now: Instant) -> bool {
        if self.limit.burst.is_infinite() {
            return true;
        }
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + elapsed * self.limit.units_per_second).min(self.limit.burst);
        let fits = self.left >= units.min(self.limit.burst);
        if fits {
            self.left -= units;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_are_those_of_the_guide() {
        for (item, size) in [
            (json!({"key": {"S": "é"}}), 5),
            (json!({"n": {"N": "123"}}), 1 + 3),
            (json!({"n": {"N": "-12300"}}), 1 + 4),
            (json!({"b": {"B": "AAEC"}}), 1 + 3),
            (json!({"b": {"B": "AA=="}}), 1 + 1),
            (json!({"t": {"BOOL": true}, "u": {"NULL": true}}), 4),
            (json!({"l": {"L": [{"S": "ab"}, {"S": "c"}]}}), 1 + 3 + 2 + 3),
            (json!({"m": {"M": {"x": {"S": "ab"}}}}), 1 + 3 + 1 + 1 + 2),
            (json!({"s": {"SS": ["ab", "c"]}}), 1 + 3),
        ] {
            assert_eq!(item_size(&item), size, "{item}");
        }
        assert_eq!(write_units(0), 1.0);
        assert_eq!(write_units(1024), 1.0);
        assert_eq!(write_units(1025), 2.0);
    }

    #[test]
    fn a_bucket_fills_with_time_and_lends_to_the_large() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut bucket = TokenBucket::new(Limit { units_per_second: 2.0, burst: 5.0 }, start);
        assert!(bucket.take(5.0, start));
        assert!(!bucket.take(1.0, start));
        assert!(bucket.take(2.0, after(1)));
        assert!(!bucket.take(1.0, after(1)));
        // Full again, and no fuller.
        assert!(bucket.take(9.0, after(100)));
        assert!(!bucket.take(1.0, after(101)), "in debt");
        assert!(bucket.take(1.0, after(103)));
        assert!(TokenBucket::new(Limit::NONE, start).take(1e9, start));
    }
}
