//! Masks values: other values of the same form, the same for the same value, so that joins still
//! find each other.

use datafusion::arrow::datatypes::DataType;
use sha2::{Digest, Sha256};

/// Masks a value of a column, as it is shown.
///
/// Letters become letters and digits digits; of days the day of the month changes. This hides values
/// from readers of a test, and is no anonymisation: who has the seed and a guess can try it.
pub(super) fn masked(text: &str, kind: &DataType, seed: u64) -> String {
    let mut digest = Sha256::new();
    digest.update(seed.to_le_bytes());
    digest.update(text.as_bytes());
    let key: Vec<u8> = digest.finalize().to_vec();
    match kind {
        DataType::Boolean => text.to_owned(),
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            // `2026-03-17…`: every month has a 28th.
            match (text.get(..8), text.get(10..)) {
                (Some(month), Some(rest)) => format!("{month}{:02}{rest}", 1 + key[0] % 28),
                _ => text.to_owned(),
            }
        }
        kind => {
            let is_number = kind.is_numeric();
            let mut first = true;
            let letters = text.chars().enumerate().map(|(at, c)| {
                let byte =
                    key[at % key.len()].wrapping_add(u8::try_from(at / key.len()).unwrap_or(0));
                let masked = letter(c, byte, is_number && first);
                first &= !c.is_ascii_digit();
                masked
            });
            letters.collect()
        }
    }
}

fn letter(c: char, byte: u8, leading: bool) -> char {
    let within = |first: u8, many: u8| char::from(first + byte % many);
    match c {
        // A number keeps its length.
        '1'..='9' if leading => within(b'1', 9),
        '0'..='9' => within(b'0', 10),
        'a'..='z' => within(b'a', 26),
        'A'..='Z' => within(b'A', 26),
        c if c.is_alphabetic() => within(b'a', 26),
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_and_equality_are_kept() {
        let text = |value: &str| masked(value, &DataType::Utf8, 7);
        assert_eq!(text("u0000017"), text("u0000017"));
        assert_ne!(text("u0000017"), text("u0000018"));
        assert_ne!(text("u0000017"), "u0000017");
        assert_ne!(text("u0000017"), masked("u0000017", &DataType::Utf8, 8));
        let form = |value: &str| -> String {
            value
                .chars()
                .map(|c| {
                    if c.is_ascii_digit() {
                        '0'
                    } else if c.is_alphabetic() {
                        'a'
                    } else {
                        c
                    }
                })
                .collect()
        };
        let agent = "Mozilla/5.0 (X11; é) Firefox/115.0 and a text that is longer than the key is";
        assert_eq!(form(&text(agent)), form(agent));
        assert_ne!(text(agent), agent);
    }

    #[test]
    fn types_are_kept() {
        for seed in 0..50 {
            let number = masked("1987", &DataType::Int64, seed);
            assert!((1_000..=9_999).contains(&number.parse::<i64>().unwrap()), "{number}");
            let number = masked("-10.5", &DataType::Float64, seed);
            assert!(number.parse::<f64>().unwrap() < 0.0, "{number}");
            let day = masked("2026-02-03", &DataType::Date32, seed);
            assert!(
                day.parse::<chrono::NaiveDate>().is_ok() && day.starts_with("2026-02-"),
                "{day}"
            );
        }
        let at = masked(
            "2026-02-03T10:00:00Z",
            &DataType::Timestamp(datafusion::arrow::datatypes::TimeUnit::Microsecond, None),
            1,
        );
        assert!(at.ends_with("T10:00:00Z"), "{at}");
        assert_eq!(masked("true", &DataType::Boolean, 1), "true");
    }
}
