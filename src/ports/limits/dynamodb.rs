//! What DynamoDB takes: names of tables, keys, and the size of an item.

/// The largest item: 400 KB, names and values of all attributes together.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
pub const MAX_ITEM_BYTES: usize = 400 * 1024;
/// The longest partition key; same source.
pub const MAX_KEY_BYTES: usize = 2048;
/// Requests in a BatchWriteItem.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>
pub const BATCH_ITEMS: usize = 25;

/// The attribute with the key of a list.
pub const PK: &str = "pk";
/// The attribute with the version that a list is of.
pub const SK: &str = "sk";
/// The attribute with the ids of a list's items.
pub const ITEMS: &str = "items";
/// The attribute with the scores of a list's items.
pub const SCORES: &str = "scores";
/// When the item may go: seconds since 1970. The attribute that the table's time to live looks at.
pub const EXPIRES: &str = "expires";

/// The longest version of a generation: its name, a separator and a number.
const VERSION_BYTES: usize = 64;
/// A score with as many digits as a double has.
const LONG_SCORE: &str = "-0.12345678901234567";

/// Says why a text cannot be the name of a table; `None` if it can.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html>
pub fn table_name_problem(name: &str) -> Option<String> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if let Some(other) = name.chars().find(|c| !known(*c)) {
        return Some(format!("has a `{other}`, and DynamoDB takes letters, digits, `_`, `-`, `.`"));
    }
    let length = name.len();
    (!(3..=255).contains(&length))
        .then(|| format!("has {length} characters, and DynamoDB takes 3 to 255"))
}

/// The longest id, in bytes, with which a list of `top` items surely fits into one item, whatever
/// its key and its scores are.
pub fn longest_item_id(top: usize) -> usize {
    let mut measure = Measure::default();
    measure.attribute(PK).text(&"x".repeat(MAX_KEY_BYTES));
    measure.attribute(SK).text(&"x".repeat(VERSION_BYTES));
    measure.attribute(EXPIRES).number("1234567890");
    measure.attribute(ITEMS).list(top);
    measure.attribute(SCORES).list(top);
    for _ in 0..top {
        measure.number(LONG_SCORE);
    }
    MAX_ITEM_BYTES.saturating_sub(measure.size) / top.max(1)
}

/// Adds up sizes by the rules of "DynamoDB item sizes and formats",
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>,
/// and the bytes of the JSON that is sent.
#[derive(Debug, Default)]
pub struct Measure {
    /// Bytes as DynamoDB reckons them.
    pub size: usize,
    /// Bytes on the wire, at most.
    pub wire: usize,
}

impl Measure {
    /// `"name":{"S":…},`, with room for the longest name of a type.
    pub fn attribute(&mut self, name: &str) -> &mut Self {
        self.size += name.len();
        self.wire += name.len() + 4;
        self
    }

    /// Text takes its bytes; in JSON some of them are escaped: `{"S":"…"},`.
    pub fn text(&mut self, text: &str) {
        self.size += text.len();
        let escaped = text.bytes().map(|byte| match byte {
            b'"' | b'\\' => 2,
            0..0x20 => 6,
            _ => 1,
        });
        self.wire += 9 + escaped.sum::<usize>();
    }

    /// "Approximately" a byte for two significant digits and one more. DynamoDB stores pairs of
    /// digits counted from the point, so that an odd position may need one byte more than half the
    /// digits; that and a sign are counted here, for an item that is refused too early does less
    /// harm than one that DynamoDB refuses when others are written.
    pub fn number(&mut self, text: &str) {
        let mantissa = text.split('e').next().unwrap_or_default();
        let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
        let first = digits.iter().position(|digit| *digit != b'0').unwrap_or(0);
        let last = digits.iter().rposition(|digit| *digit != b'0').unwrap_or(0);
        self.size += (last - first + 2).div_ceil(2) + 1 + usize::from(text.starts_with('-'));
        self.wire += 9 + text.len();
    }

    /// Three bytes for a list and one for each element.
    pub fn list(&mut self, elements: usize) {
        self.size += 3 + elements;
        self.wire += 9;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_are_those_of_the_guide() {
        for name in ["rec-recommendations", "a.b", "abc", &"x".repeat(255)] {
            assert_eq!(table_name_problem(name), None, "{name}");
        }
        for name in ["", "ab", "a b c", "réc-a", &"x".repeat(256)] {
            assert!(table_name_problem(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_list_of_the_longest_ids_fits_and_one_byte_more_does_not_surely() {
        for top in [1, 50, 390, 1_000] {
            let longest = longest_item_id(top);
            let size = |id: usize| {
                let mut measure = Measure::default();
                measure.attribute(PK).text(&"x".repeat(MAX_KEY_BYTES));
                measure.attribute(SK).text(&"x".repeat(VERSION_BYTES));
                measure.attribute(EXPIRES).number("1234567890");
                measure.attribute(ITEMS).list(top);
                measure.attribute(SCORES).list(top);
                for _ in 0..top {
                    measure.text(&"x".repeat(id));
                    measure.number(LONG_SCORE);
                }
                measure.size
            };
            assert!(size(longest) <= MAX_ITEM_BYTES, "{top}");
            assert!(size(longest + 1) > MAX_ITEM_BYTES, "{top}");
        }
        assert_eq!(longest_item_id(1_000), 394);
    }
}
