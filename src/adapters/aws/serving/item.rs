//! Lists as items of DynamoDB, and what they weigh.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::meta::RESERVED;
pub(super) use crate::ports::limits::dynamodb::{
    EXPIRES, ITEMS, MAX_ITEM_BYTES, MAX_KEY_BYTES, Measure, PK, SCORES, SK,
};
use crate::ports::{RecommendedItem, ServingItem};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Attributes of an item, by name.
pub(super) type Attributes = HashMap<String, AttributeValue>;

/// Bytes of a write unit.
const UNIT_BYTES: usize = 1024;
/// What DynamoDB's numbers hold besides zero; 38 digits are more than a score has.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
const SMALLEST: f64 = 1e-130;
const LARGEST: f64 = 9.99e125;

/// An item, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Encoded {
    pub attributes: Attributes,
    /// Bytes as DynamoDB reckons them.
    pub size: usize,
    /// Bytes on the wire, at most.
    pub wire: usize,
}

/// Makes an item of a list. Errors: as `ServingStore::put`.
pub(super) fn encode(item: &ServingItem, version: &str, expires: Option<i64>) -> Outcome<Encoded> {
    let refuse = |kind, what: String| {
        let key: String = item.key.chars().take(80).collect();
        Err(Failure::new(kind, format!("the item `{key}` {what}")))
    };
    if item.key.is_empty() || item.key.len() > MAX_KEY_BYTES {
        let what =
            format!("has a key of {} bytes (1 to {MAX_KEY_BYTES} are taken)", item.key.len());
        return refuse(FailureKind::Usage, what);
    }
    if item.key == RESERVED {
        return refuse(FailureKind::Usage, "has a key that recctl keeps for itself".to_owned());
    }
    let mut measure = Measure::default();
    let mut attributes = Attributes::with_capacity(5);
    measure.attribute(PK).text(&item.key);
    attributes.insert(PK.to_owned(), AttributeValue::S(item.key.clone()));
    measure.attribute(SK).text(version);
    attributes.insert(SK.to_owned(), AttributeValue::S(version.to_owned()));
    if let Some(expires) = expires {
        let expires = expires.to_string();
        measure.attribute(EXPIRES).number(&expires);
        attributes.insert(EXPIRES.to_owned(), AttributeValue::N(expires));
    }
    measure.attribute(ITEMS).list(item.items.len());
    let mut items = Vec::with_capacity(item.items.len());
    measure.attribute(SCORES).list(item.items.len());
    let mut scores = Vec::with_capacity(item.items.len());
    for one in &item.items {
        if !one.score.is_finite() {
            let what = "has a score that is not a finite number".to_owned();
            return refuse(FailureKind::Quality, what);
        }
        let magnitude = one.score.abs();
        if magnitude != 0.0 && !(SMALLEST..=LARGEST).contains(&magnitude) {
            let what = format!("has the score {:e}, which is no number in DynamoDB", one.score);
            return refuse(FailureKind::Quality, what);
        }
        measure.text(&one.item);
        items.push(AttributeValue::S(one.item.clone()));
        let score = number(one.score);
        measure.number(&score);
        scores.push(AttributeValue::N(score));
    }
    attributes.insert(ITEMS.to_owned(), AttributeValue::L(items));
    attributes.insert(SCORES.to_owned(), AttributeValue::L(scores));
    let Measure { size, wire } = measure;
    if size > MAX_ITEM_BYTES {
        let what = format!("has {size} bytes ({MAX_ITEM_BYTES} are taken)");
        return refuse(FailureKind::Usage, what);
    }
    Ok(Encoded { attributes, size, wire })
}

/// Reads a list. Errors: `Quality` if it is not one.
pub(super) fn decode(key: &str, mut attributes: Attributes) -> Outcome<ServingItem> {
    let list = |value: Option<AttributeValue>| match value {
        Some(AttributeValue::L(values)) => Some(values),
        _ => None,
    };
    let items = list(attributes.remove(ITEMS));
    let scores = list(attributes.remove(SCORES));
    let pairs = items.zip(scores).filter(|(items, scores)| items.len() == scores.len());
    let read = pairs.and_then(|(items, scores)| {
        let pairs = items.into_iter().zip(scores);
        pairs
            .map(|pair| match pair {
                (AttributeValue::S(item), AttributeValue::N(score)) => {
                    Some(RecommendedItem { item, score: score.parse().ok()? })
                }
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
    });
    let items = read.ok_or_else(|| {
        let key: String = key.chars().take(80).collect();
        Failure::new(FailureKind::Quality, format!("the item `{key}` holds no list"))
    })?;
    Ok(ServingItem { key: key.to_owned(), items })
}

/// The write units of so many bytes: one for each started KB.
pub(super) fn write_units(size: usize) -> f64 {
    size.div_ceil(UNIT_BYTES).max(1) as f64
}

/// The shortest decimal that reads back as the same number.
fn number(value: f64) -> String {
    let magnitude = value.abs();
    // Without the exponent a very small number is hundreds of zeros.
    if magnitude == 0.0 || (1e-7..1e15).contains(&magnitude) {
        format!("{value}")
    } else {
        format!("{value:e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(key: &str, pairs: &[(&str, f64)]) -> ServingItem {
        let items = pairs.iter();
        let items =
            items.map(|(item, score)| RecommendedItem { item: (*item).into(), score: *score });
        ServingItem { key: key.to_owned(), items: items.collect() }
    }

    #[test]
    fn lists_come_back_as_they_were() {
        let third = 1.0 / 3.0;
        let one = list(
            "user#é\"\\\n",
            &[("a", third), ("", -third), ("b", 0.0), ("c", 1e-130), ("d", 9.9e125), ("e", 5e-8)],
        );
        let encoded = encode(&one, "2026", Some(1_800_000_000)).unwrap();
        assert_eq!(decode(&one.key, encoded.attributes), Ok(one));
        let empty = list("user#1", &[]);
        assert_eq!(decode("user#1", encode(&empty, "1", None).unwrap().attributes), Ok(empty));
    }

    #[test]
    fn sizes_are_those_of_the_guide() {
        // pk + 6, sk + 4, items + list of two elements of 1 and 2 bytes, scores + list of two
        // numbers of one (2 digits at most: 1 + 1) and seventeen digits (9 + 1).
        let one = list("user#1", &[("a", 0.5), ("bc", 0.123_456_789_012_345_67)]);
        let expected = (2 + 6) + (2 + 4) + (5 + 3 + 2 + 3) + (6 + 3 + 2 + 2 + 10);
        assert_eq!(encode(&one, "2026", None).unwrap().size, expected);
        // expires + a number of ten digits, of which one is not zero.
        let expiring = encode(&one, "2026", Some(1_000_000_000)).unwrap();
        assert_eq!(expiring.size, expected + 7 + 2);
        for (bytes, units) in [(0, 1.0), (1024, 1.0), (1025, 2.0), (400 * 1024, 400.0)] {
            assert_eq!(write_units(bytes), units);
        }
    }

    #[test]
    fn a_usual_list_is_about_a_unit() {
        let pairs: Vec<(String, f64)> =
            (0..50).map(|n| (format!("i{n:07}"), 1.0 / (f64::from(n) + 3.1))).collect();
        let pairs: Vec<(&str, f64)> = pairs.iter().map(|(item, n)| (item.as_str(), *n)).collect();
        let encoded = encode(&list("user#u0000001", &pairs), "20260301T031502-9f3a1c20", None);
        let size = encoded.unwrap().size;
        assert!((900..1200).contains(&size), "{size}");
    }

    #[test]
    fn the_wire_is_not_underestimated() {
        let one = list("user#\u{1}\"", &[("a\\b", 0.25), ("é", -1e-20)]);
        let encoded = encode(&one, "2026", Some(1_800_000_000)).unwrap();
        let sent = concat!(
            r#"{"PutRequest":{"Item":{"pk":{"S":"user#\u0001\""},"sk":{"S":"2026"},"#,
            r#""expires":{"N":"1800000000"},"items":{"L":[{"S":"a\\b"},{"S":"é"}]},"#,
            r#""scores":{"L":[{"N":"0.25"},{"N":"-1e-20"}]}}}}"#
        );
        let room = super::super::writer::REQUEST_BYTES;
        assert!((sent.len()..sent.len() + 100).contains(&(encoded.wire + room)), "{encoded:?}");
    }

    #[test]
    fn what_dynamodb_refuses_is_refused() {
        let refused = |item: &ServingItem| encode(item, "1", None).unwrap_err().kind;
        for key in [String::new(), "x".repeat(2049), RESERVED.to_owned()] {
            assert_eq!(refused(&list(&key, &[])), FailureKind::Usage);
        }
        encode(&list(&"x".repeat(2048), &[]), "1", None).unwrap();
        for score in [f64::NAN, f64::INFINITY, 1e-131, 1e126, -1e200, 5e-324] {
            assert_eq!(refused(&list("k", &[("a", score)])), FailureKind::Quality, "{score}");
        }
        // pk 2 + 1, sk 2 + 1, items 5 + 3 + 1, scores 6 + 3 + 1 + 2.
        let largest = MAX_ITEM_BYTES - 27;
        let of = |bytes: usize| list("k", &[("x".repeat(bytes).as_str(), 0.5)]);
        assert_eq!(encode(&of(largest), "1", None).unwrap().size, MAX_ITEM_BYTES);
        assert_eq!(refused(&of(largest + 1)), FailureKind::Usage);
    }

    #[test]
    fn what_is_no_list_is_told() {
        for attributes in [Attributes::new(), {
            let mut one = encode(&list("k", &[("a", 0.5)]), "1", None).unwrap().attributes;
            one.insert(SCORES.to_owned(), AttributeValue::L(vec![]));
            one
        }] {
            assert_eq!(decode("k", attributes).unwrap_err().kind, FailureKind::Quality);
        }
    }
}
