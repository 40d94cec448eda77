//! One event and how it is written as a line of JSON.

use std::io::Write;

use chrono::{DateTime, Datelike, Timelike};

use super::audience::{Device, PLACES};
use super::catalogue::{write_id, write_price};
use super::visitors::UserId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    View,
    Search,
    AddToCart,
    Purchase,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum User {
    Known(u32),
    /// Written as `null`.
    Null,
    /// Not written.
    Absent,
}

/// Everything a line is made of, so that a copy of the event gives the same bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub id: [u64; 2],
    /// Milliseconds since 1970 in UTC.
    pub ts: i64,
    /// Milliseconds since 1970 at which the stream received it: the order of lines.
    pub arrival: i64,
    pub action: Action,
    pub visitor: u64,
    pub user: User,
    pub item: u16,
    pub device: Device,
    pub place: u8,
    pub agent: &'static str,
    pub price_cents: u32,
    pub quantity: u8,
    /// Whether `ts` is written in the place's offset instead of `Z`.
    pub local_time: bool,
    /// Fields no schema knows: a percentage position from which they follow.
    pub extra: u8,
}

/// The one wrong field of an otherwise valid object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    PriceText,
    ItemObject,
    TsText,
    NoEventId,
}

/// Appends the event as one line of JSON, without the line feed.
///
/// By hand, as building values first would take most of the run's time; every text in it is known to need no escape.
pub(super) fn write_event(out: &mut Vec<u8>, event: &Event, flaw: Flaw) {
    out.push(b'{');
    if flaw != Flaw::NoEventId {
        out.extend_from_slice(b"\"event_id\":\"");
        write_uuid(out, event.id);
        out.extend_from_slice(b"\",");
    }
    out.extend_from_slice(b"\"ts\":\"");
    if flaw == Flaw::TsText {
        out.extend_from_slice(b"yesterday");
    } else {
        let offset = event.local_time.then(|| PLACES[usize::from(event.place)].offset);
        write_time(out, event.ts, offset);
    }
    out.extend_from_slice(match event.action {
        Action::View => b"\",\"event_type\":\"view\",\"visitor_id\":\"".as_slice(),
        Action::Search => b"\",\"event_type\":\"search\",\"visitor_id\":\"",
        Action::AddToCart => b"\",\"event_type\":\"add_to_cart\",\"visitor_id\":\"",
        Action::Purchase => b"\",\"event_type\":\"purchase\",\"visitor_id\":\"",
    });
    write_hex(out, event.visitor, 16);
    out.push(b'"');
    match event.user {
        User::Known(user) => {
            let _ = write!(out, ",\"user_id\":\"{}\"", UserId(user));
        }
        User::Null => out.extend_from_slice(b",\"user_id\":null"),
        User::Absent => {}
    }
    out.extend_from_slice(if flaw == Flaw::ItemObject {
        b",\"item_id\":{\"id\":\""
    } else {
        b",\"item_id\":\""
    });
    write_id(out, event.item);
    out.push(b'"');
    if flaw == Flaw::ItemObject {
        out.push(b'}');
    }
    for (key, value) in [
        (",\"device\":\"", event.device.name()),
        ("\",\"location\":\"", PLACES[usize::from(event.place)].code),
        ("\",\"user_agent\":\"", event.agent),
    ] {
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'"');
    if flaw == Flaw::PriceText {
        out.extend_from_slice(b",\"price\":\"n/a\"");
    } else if matches!(event.action, Action::AddToCart | Action::Purchase) {
        out.extend_from_slice(b",\"price\":");
        write_price(out, event.price_cents);
    }
    if event.action == Action::Purchase {
        out.extend_from_slice(b",\"quantity\":");
        out.push(b'0' + event.quantity % 10);
    }
    out.extend_from_slice(match event.extra {
        0 => b",\"experiment\":\"checkout-a\"".as_slice(),
        1 => b",\"experiment\":\"checkout-b\"",
        2 => b",\"utm\":{\"source\":\"newsletter\",\"medium\":\"email\"}",
        3 => b",\"utm\":{\"source\":\"ads\",\"medium\":\"cpc\",\"campaign\":\"spring\"}",
        4 => b",\"schema_version\":2",
        _ => b"",
    });
    out.push(b'}');
}

fn write_uuid(out: &mut Vec<u8>, id: [u64; 2]) {
    // Version 4, variant 1, as RFC 9562 lays them out.
    let high = (id[0] & !0xF000) | 0x4000;
    let low = (id[1] & !(0b11 << 62)) | (0b10 << 62);
    for (value, digits) in [(high >> 32, 8), (high >> 16, 4), (high, 4), (low >> 48, 4)] {
        write_hex(out, value, digits);
        out.push(b'-');
    }
    write_hex(out, low, 12);
}

/// Appends the lowest `digits` hexadecimal digits.
fn write_hex(out: &mut Vec<u8>, value: u64, digits: u32) {
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(value >> (digit * 4)) as usize & 15]);
    }
}

/// Appends an instant as ISO 8601 with milliseconds, in UTC (`Z`) or at an offset in minutes.
fn write_time(out: &mut Vec<u8>, ts: i64, offset: Option<i32>) {
    let local = ts + i64::from(offset.unwrap_or(0)) * 60_000;
    // The options keep every instant within four-digit years, so the fallback is never taken.
    let time = DateTime::from_timestamp_millis(local).unwrap_or_default();
    write_digits(out, time.year().unsigned_abs(), 4);
    for (mark, value) in [
        (b'-', time.month()),
        (b'-', time.day()),
        (b'T', time.hour()),
        (b':', time.minute()),
        (b':', time.second()),
    ] {
        out.push(mark);
        write_digits(out, value, 2);
    }
    out.push(b'.');
    write_digits(out, local.rem_euclid(1_000) as u32, 3);
    match offset {
        None => out.push(b'Z'),
        Some(minutes) => {
            out.push(if minutes < 0 { b'-' } else { b'+' });
            write_digits(out, minutes.unsigned_abs() / 60, 2);
            out.push(b':');
            write_digits(out, minutes.unsigned_abs() % 60, 2);
        }
    }
}

fn write_digits(out: &mut Vec<u8>, value: u32, digits: u32) {
    for digit in (0..digits).rev() {
        out.push(b'0' + (value / 10u32.pow(digit) % 10) as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(ts: i64, offset: Option<i32>) -> String {
        let mut out = Vec::new();
        write_time(&mut out, ts, offset);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_offset_names_the_same_instant() {
        let ts = 1_735_689_600_007;
        for text in [written(ts, None), written(ts, Some(-210)), written(ts, Some(330))] {
            assert_eq!(
                DateTime::parse_from_rfc3339(&text).unwrap().timestamp_millis(),
                ts,
                "{text}"
            );
        }
        assert_eq!(written(ts, Some(-210)), "2024-12-31T20:30:00.007-03:30");
    }

    #[test]
    fn ids_are_shaped_like_a_uuid() {
        let mut out = Vec::new();
        write_uuid(&mut out, [u64::MAX, u64::MAX]);
        assert_eq!(out, b"ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
