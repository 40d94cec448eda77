//! What spoils real input: bots, late events, copies and lines that are no event.

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use rand_distr::Exp1;

use super::audience::{BOT_AGENTS, Device, PLACES};
use super::event::{Action, Event, Flaw, User, write_event};
use super::people::{World, midnight, price};
use super::schedule::{DAY_MS, HOUR_MS, Part};

/// How a line is broken; the numbers choose among variants of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breakage {
    Truncated { at: u64 },
    NotJson { noise: u64 },
    WrongTypes { which: u64 },
}

impl Breakage {
    /// Returns the kind whose turn it is: a third of the lines each.
    pub(super) fn nth(nth: u64, rng: &mut impl Rng) -> Self {
        let choice = rng.next_u64();
        match nth % 3 {
            0 => Self::Truncated { at: choice },
            1 => Self::NotJson { noise: choice },
            _ => Self::WrongTypes { which: choice },
        }
    }

    /// Appends the broken line, without a line feed; never an empty one.
    pub(super) fn write(self, out: &mut Vec<u8>, event: &Event) {
        match self {
            Self::Truncated { at } => {
                let from = out.len();
                write_event(out, event, Flaw::None);
                // At least the brace is left and at least the last brace is lost: an object's prefix is never JSON.
                let length = (out.len() - from) as u64;
                out.truncate(from + 1 + (at % (length - 1)) as usize);
            }
            Self::NotJson { noise } => write_noise(out, event, noise),
            Self::WrongTypes { which } => {
                let flaw = match which % 4 {
                    0 => Flaw::PriceText,
                    1 => Flaw::ItemObject,
                    2 => Flaw::TsText,
                    _ => Flaw::NoEventId,
                };
                write_event(out, event, flaw);
            }
        }
    }
}

fn write_noise(out: &mut Vec<u8>, event: &Event, noise: u64) {
    match noise % 4 {
        0 => {
            let text = format!(
                "[ERROR] collector-{} flush failed after {} ms: connection reset by peer, retrying",
                noise >> 60,
                noise >> 40 & 0x3FFF
            );
            out.extend_from_slice(text.as_bytes());
        }
        1 => out.extend_from_slice(
            b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>",
        ),
        2 => {
            // Bytes of a stream that lost its framing. 0xFF occurs nowhere in UTF-8; line ends would make two lines.
            out.push(0xFF);
            let mut state = noise | 1;
            for _ in 0..16 + noise % 90 {
                state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
                let byte = (state >> 56) as u8;
                out.push(if matches!(byte, b'\n' | b'\r') { 0xFE } else { byte });
            }
        }
        _ => {
            // An event whose producer printed its language's notation.
            let text = format!("{{'event_type': 'view', 'ts': {}, 'price': None}}", event.ts);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Draws the bots' events: bursts of views at the pace of a machine, over all items alike.
pub(super) fn bot_events(world: &World, part: &Part, rng: &mut ChaCha8Rng) -> Vec<Event> {
    let mut out = Vec::with_capacity(part.bots as usize);
    let mut left = part.bots;
    while left > 0 {
        let burst = rng.random_range(20..=150).min(left);
        left -= burst;
        let agent = BOT_AGENTS[rng.random_range(0..BOT_AGENTS.len())];
        let visitor = rng.next_u64();
        let place = rng.random_range(0..PLACES.len()) as u8;
        let pace = rng.random_range(120..900);
        let length = pace * burst as i64;
        let end = rng.random_range(part.from_ms..part.to_ms);
        // 150 requests take 135 s at most, so the burst ends within the day even when moved to its begin.
        let mut ts = midnight(part) + (end - length).max(0);
        for _ in 0..burst {
            let item = launched_item(world, part, rng);
            out.push(Event {
                id: [rng.next_u64(), rng.next_u64()],
                ts,
                arrival: ts + rng.random_range(20..400),
                action: Action::View,
                visitor,
                user: User::Null,
                item,
                device: Device::Desktop,
                place,
                agent,
                price_cents: price(world, item, part.day_index),
                quantity: 0,
                local_time: false,
                extra: u8::MAX,
            });
            ts += pace - rng.random_range(0..pace / 10);
        }
    }
    out
}

fn launched_item(world: &World, part: &Part, rng: &mut impl Rng) -> u16 {
    for _ in 0..16 {
        let item = rng.random_range(0..world.items.len());
        if world.items[item].launched <= part.day_index as i32 {
            return item as u16;
        }
    }
    0
}

/// Moves an event out of its folder's day: mostly late ones of the day before, the others by clocks that run ahead.
pub(super) fn move_outside_day(event: &mut Event, part: &Part, rng: &mut impl Rng) {
    let distance = |rng: &mut _, hours: f32| {
        let share: f32 = RngExt::sample(rng, Exp1);
        (share * hours * HOUR_MS as f32).min(20.0 * HOUR_MS as f32) as i64
    };
    event.ts = if rng.random_bool(0.7) {
        midnight(part) - 1 - distance(rng, 1.5)
    } else {
        midnight(part) + DAY_MS + distance(rng, 3.0)
    };
    event.arrival = midnight(part) + rng.random_range(part.from_ms..part.to_ms);
}

/// Lets a copy of an event arrive later: minutes to the rest of the file's slice.
pub(super) fn deliver_again(mut event: Event, part: &Part, rng: &mut impl Rng) -> Event {
    let (earliest, end) = (event.arrival + 120_000, midnight(part) + part.to_ms);
    event.arrival = if earliest < end {
        rng.random_range(earliest..end)
    } else {
        earliest + rng.random_range(0..60_000)
    };
    event
}
