//! The lines of one file: drawn, put in order of arrival, counted and compressed.

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};
use rand::RngExt;

use super::dirt::{Breakage, bot_events, deliver_again, move_outside_day};
use super::event::{Event, Flaw, write_event};
use super::people::{World, clean_events, day_key, events, midnight};
use super::schedule::{Part, source_of_copies};
use super::seed::{Purpose, stream};
use super::summary::SampleCounts;

/// Lines in one gzip member; a delivery stream appends a member with each of its flushes.
const MEMBER_LINES: usize = 8_000;
/// Of the first events of the hour before, every third is copied.
const COPY_EVERY: u64 = 3;

enum Category {
    Clean,
    Duplicate,
    Bot,
    OutsideDay,
    Malformed(Breakage),
}

struct Line {
    category: Category,
    event: Event,
}

/// Draws one file: its bytes as compressed, and what it holds. `parts` are all files of the day.
pub(super) fn draw_file(
    world: &World,
    parts: &[Part],
    part: &Part,
) -> io::Result<(Vec<u8>, SampleCounts)> {
    let mut lines = draw_lines(world, parts, part);
    lines.sort_by_key(|line| line.event.arrival);

    let members = lines.len().div_ceil(MEMBER_LINES).max(3);
    let per_member = lines.len().div_ceil(members).max(1);
    let mut counts = SampleCounts { files: 1, ..SampleCounts::default() };
    let mut raw = Vec::with_capacity(per_member * 400);
    let mut compressed = Vec::with_capacity(lines.len() * 120);
    for member in lines.chunks(per_member) {
        raw.clear();
        for line in member {
            write_line(&mut raw, line, &mut counts);
        }
        counts.bytes_raw += raw.len() as u64;
        let mut encoder = GzEncoder::new(compressed, Compression::fast());
        encoder.write_all(&raw)?;
        compressed = encoder.finish()?;
    }
    counts.bytes_compressed = compressed.len() as u64;
    Ok((compressed, counts))
}

fn write_line(out: &mut Vec<u8>, line: &Line, counts: &mut SampleCounts) {
    counts.lines += 1;
    let count = match &line.category {
        Category::Malformed(breakage) => {
            *match breakage {
                Breakage::Truncated { .. } => &mut counts.malformed.truncated,
                Breakage::NotJson { .. } => &mut counts.malformed.not_json,
                Breakage::WrongTypes { .. } => &mut counts.malformed.wrong_types,
            } += 1;
            breakage.write(out, &line.event);
            out.push(b'\n');
            return;
        }
        Category::Clean => &mut counts.clean,
        Category::Duplicate => &mut counts.duplicates,
        Category::Bot => &mut counts.bots,
        Category::OutsideDay => &mut counts.outside_day,
    };
    *count += 1;
    counts.events += 1;
    write_event(out, &line.event, Flaw::None);
    out.push(b'\n');
}

fn draw_lines(world: &World, parts: &[Part], part: &Part) -> Vec<Line> {
    let mut rng = stream(world.seed, Purpose::Dirt, day_key(part), u64::from(part.of_day));
    let clean = clean_events(world, part, part.clean);
    let mut lines: Vec<Line> = Vec::with_capacity(part.lines as usize);

    let carried = source_of_copies(parts, part).map(|source| {
        let wanted = part.carried.saturating_mul(COPY_EVERY).min(source.clean);
        clean_events(world, source, wanted)
    });
    for nth in 0..part.duplicates {
        let arrival = midnight(part) + rng.random_range(part.from_ms..part.to_ms);
        let from_before = carried.as_ref().filter(|from| nth < part.carried && !from.is_empty());
        let event = match from_before {
            Some(from) => Event { arrival, ..from[(nth * COPY_EVERY) as usize % from.len()] },
            None => deliver_again(clean[rng.random_range(0..clean.len())], part, &mut rng),
        };
        lines.push(Line { category: Category::Duplicate, event });
    }
    let bots = bot_events(world, part, &mut rng);
    lines.extend(bots.into_iter().map(|event| Line { category: Category::Bot, event }));

    let spoilt = events(world, part, part.outside_day + part.malformed, &mut rng);
    for (nth, mut event) in (0u64..).zip(spoilt) {
        let category = match nth.checked_sub(part.outside_day) {
            None => {
                move_outside_day(&mut event, part, &mut rng);
                Category::OutsideDay
            }
            Some(nth) => Category::Malformed(Breakage::nth(part.malformed_before + nth, &mut rng)),
        };
        lines.push(Line { category, event });
    }
    lines.extend(clean.into_iter().map(|event| Line { category: Category::Clean, event }));
    lines
}
