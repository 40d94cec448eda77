//! Items of the table of state: keys, and a record as JSON.

use std::collections::HashMap;
use std::io::{Read, Write};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::run::failure::{Failure, FailureKind, Outcome};

/// An item.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Partition key.
pub(super) const PK: &str = "pk";
/// Sort key.
pub(super) const SK: &str = "sk";
/// A record as text.
const RECORD: &str = "record";
/// A record as text that zlib made smaller.
const PACKED: &str = "packed";
/// Version of the item's format.
const VERSION: &str = "version";
const CURRENT_VERSION: u32 = 1;

/// Records above this are packed, in bytes. Smaller ones stay readable in the console; a write is
/// billed by the kilobyte.
const PLAIN: usize = 16 * 1024;
/// The most that a record may take of an item's 400 KB, in bytes; keys and names get the rest.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
const MAX_RECORD: usize = 390 * 1024;

/// Text as an attribute.
pub(super) fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// A key.
pub(super) fn key(pk: &str, sk: &str) -> Item {
    HashMap::from([(PK.to_owned(), text(pk)), (SK.to_owned(), text(sk))])
}

/// The item of a record. Errors: `Exhausted` if it does not fit into one.
pub(super) fn of_record<T: Serialize>(
    pk: &str,
    sk: &str,
    doing: &str,
    record: &T,
) -> Outcome<Item> {
    let json = to_json(record, doing)?;
    let mut item = key(pk, sk);
    stamp(&mut item);
    if json.len() <= PLAIN {
        item.insert(RECORD.to_owned(), AttributeValue::S(json));
        return Ok(item);
    }
    let packed = pack(&json, doing)?;
    if packed.len() > MAX_RECORD {
        let text = format!(
            "cannot {doing}: the record takes {} bytes and DynamoDB holds {MAX_RECORD}",
            packed.len()
        );
        return Err(Failure::new(FailureKind::Exhausted, text));
    }
    item.insert(PACKED.to_owned(), AttributeValue::B(Blob::new(packed)));
    Ok(item)
}

/// Says which version of the format an item has.
pub(super) fn stamp(item: &mut Item) {
    item.insert(VERSION.to_owned(), AttributeValue::N(CURRENT_VERSION.to_string()));
}

/// Errors: `Usage` if a newer recctl wrote the item.
pub(super) fn check_version(item: &Item) -> Outcome<()> {
    let version = item.get(VERSION).and_then(|version| version.as_n().ok()?.parse::<u32>().ok());
    if version.is_some_and(|version| version > CURRENT_VERSION) {
        return Err(Failure::new(FailureKind::Usage, "a newer recctl wrote the table of state")
            .with_hint("use that version, or a newer one"));
    }
    Ok(())
}

fn to_json<T: Serialize>(record: &T, doing: &str) -> Outcome<String> {
    serde_json::to_string(record)
        .map_err(|error| Failure::new(FailureKind::Internal, format!("cannot {doing}: {error}")))
}

fn pack(json: &str, doing: &str) -> Outcome<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    let packed = encoder.write_all(json.as_bytes()).and_then(|()| encoder.finish());
    packed.map_err(|error| Failure::new(FailureKind::Internal, format!("cannot {doing}: {error}")))
}

/// A record as zlib makes it smaller.
pub(super) fn packed<T: Serialize>(record: &T, doing: &str) -> Outcome<Vec<u8>> {
    pack(&to_json(record, doing)?, doing)
}

/// The record that was packed. Errors: why it cannot be read.
pub(super) fn unpacked<T: DeserializeOwned>(packed: &[u8]) -> Result<T, String> {
    let mut json = String::new();
    let unpacked = ZlibDecoder::new(packed).read_to_string(&mut json);
    unpacked.map_err(|error| error.to_string())?;
    serde_json::from_str(&json).map_err(|error| error.to_string())
}

/// The record of an item. Errors: `Usage` if a newer recctl wrote it.
pub(super) fn record<T: DeserializeOwned>(item: &Item) -> Outcome<T> {
    let failed = |why: &dyn std::fmt::Display| {
        let part = |name| item.get(name).and_then(|key| key.as_s().ok()).map_or("", String::as_str);
        let place = format!("{}` / `{}", part(PK), part(SK));
        Failure::new(FailureKind::Input, format!("cannot read the record at `{place}`: {why}"))
    };
    check_version(item)?;
    match (item.get(RECORD), item.get(PACKED)) {
        (Some(AttributeValue::S(json)), _) => {
            serde_json::from_str(json).map_err(|error| failed(&error))
        }
        (_, Some(AttributeValue::B(packed))) => {
            unpacked(packed.as_ref()).map_err(|error| failed(&error))
        }
        _ => Err(failed(&"there is none")),
    }
}

/// How much of a transaction's bytes an item takes.
pub(super) fn size(item: &Item) -> usize {
    let of = |value: &AttributeValue| match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        // Of up to 38 digits.
        _ => 21,
    };
    item.iter().map(|(name, value)| name.len() + of(value)).sum()
}

/// A builder's result; a field that is missing is a defect of ours.
pub(super) fn build<T>(built: Result<T, aws_sdk_dynamodb::error::BuildError>) -> Outcome<T> {
    built.map_err(|error| {
        Failure::new(FailureKind::Internal, format!("cannot ask DynamoDB: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text that zlib makes nothing of.
    fn noise(length: usize) -> String {
        use sha2::{Digest, Sha256};
        let mut text = String::new();
        let mut number = 0_u64;
        while text.len() < length {
            for byte in Sha256::digest(number.to_le_bytes()) {
                text.push(char::from(b'!' + byte % 90));
            }
            number += 1;
        }
        text
    }

    #[test]
    fn records_of_any_size_come_back() {
        for (length, attribute) in [(10, RECORD), (100_000, PACKED), (400_000, PACKED)] {
            let record = noise(length);
            let item = of_record("a", "b", "write it", &record).unwrap();
            assert!(item.contains_key(attribute), "{length}");
            assert!(size(&item) < 400 * 1024, "{length}");
            assert_eq!(super::record::<String>(&item), Ok(record));
        }
    }

    #[test]
    fn a_record_that_does_not_fit_is_refused() {
        let failure = of_record("a", "b", "write it", &noise(600_000)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Exhausted);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let mut item = of_record("a", "b", "write it", &"x").unwrap();
        assert_eq!(record::<u32>(&item).unwrap_err().kind, FailureKind::Input);
        item.insert(VERSION.to_owned(), AttributeValue::N("2".to_owned()));
        assert_eq!(record::<String>(&item).unwrap_err().kind, FailureKind::Usage);
        let failure = record::<String>(&key("a", "b")).unwrap_err();
        assert_eq!(failure.message, "cannot read the record at `a` / `b`: there is none");
    }
}
