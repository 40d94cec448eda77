//! How many lines of which category each file gets.
//!
//! Every quota is a difference of rounded running totals, so that the shares hold over all files however small
//! each of them is, and a file's quotas need no look at its neighbours.

use chrono::{Datelike, NaiveDate, Weekday};

use super::options::Plan;

/// The most lines in a file, as a delivery stream's buffer limit would give.
pub(super) const FILE_LINES: u64 = 50_000;
/// The lines an hour has on average at least; on a day of fewer lines some hours have no file.
const HOUR_LINES: u64 = 60;
pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;

/// Traffic by hour of the day in UTC; only the proportions matter.
const CURVE: [u64; 24] = [
    26, 19, 15, 13, 13, 17, 27, 40, 52, 60, 64, 66, 70, 68, 64, 62, 64, 70, 80, 92, 98, 88, 66, 42,
];

const DUPLICATES: Share = Share { per: 50, of: 1 };
const MALFORMED: Share = Share { per: 1_000, of: 1 };
const BOTS: Share = Share { per: 100, of: 1 };
const OUTSIDE: Share = Share { per: 200, of: 1 };
/// Of the lines: 30 % of the duplicates, the copies that arrive in the next hour's file.
const CARRIED: Share = Share { per: 500, of: 3 };

/// `of` lines in every `per`.
struct Share {
    per: u64,
    of: u64,
}

impl Share {
    /// Returns the quota between two running totals of lines, in whole multiples of `step`.
    fn between(&self, from: u64, to: u64, step: u64) -> u64 {
        let upto = |total: u64| total * self.of / (self.per * step);
        (upto(to) - upto(from)) * step
    }
}

/// One file to write.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub day: NaiveDate,
    /// Days since the sample's first.
    pub day_index: u32,
    pub hour: u32,
    /// Number of the file within its hour.
    pub number: u32,
    /// Number of the file within its day.
    pub of_day: u32,
    /// The slice of the day, in milliseconds since midnight, in which the file's events arrive.
    pub from_ms: i64,
    pub to_ms: i64,
    pub lines: u64,
    pub clean: u64,
    /// Copies, those from the hour before included.
    pub duplicates: u64,
    /// Copies of events of the hour before.
    pub carried: u64,
    pub bots: u64,
    pub outside_day: u64,
    pub malformed: u64,
    /// Malformed lines in all files before, by which the kinds take turns.
    pub malformed_before: u64,
}

/// Returns the files of one day in order.
pub(super) fn day_parts(plan: &Plan, day_index: u32) -> Vec<Part> {
    let (day_from, day_to) = day_lines(plan, day_index);
    let day = plan.day(day_index);
    let curve = open_hours(day_to - day_from);
    let all: u64 = curve.iter().sum();
    // Bots come in bursts; where an hour holds hundreds of lines the burst is whole, else smaller.
    let burst = ((day_to - day_from) / 200).clamp(1, 20);
    let mut parts = Vec::new();
    let mut weight = 0;
    for (hour, share) in (0u32..).zip(curve) {
        let hour_from = day_from + (day_to - day_from) * weight / all;
        weight += share;
        let hour_to = day_from + (day_to - day_from) * weight / all;
        let files = (hour_to - hour_from).div_ceil(FILE_LINES);
        for number in 0..files {
            let from = hour_from + (hour_to - hour_from) * number / files;
            let to = hour_from + (hour_to - hour_from) * (number + 1) / files;
            let lines = to - from;
            // In a file of a handful of lines the quotas are cut so that people keep the larger part.
            let bots = BOTS.between(from, to, burst).min(lines / 2);
            let outside_day = OUTSIDE.between(from, to, 1).min((lines - bots) / 2);
            let malformed = MALFORMED.between(from, to, 1).min((lines - bots - outside_day) / 2);
            let people = lines - bots - outside_day - malformed;
            let duplicates = DUPLICATES.between(from, to, 1).min(people / 2);
            let carried = if hour == 0 { 0 } else { CARRIED.between(from, to, 1).min(duplicates) };
            parts.push(Part {
                day,
                day_index,
                hour,
                number: number as u32,
                of_day: parts.len() as u32,
                from_ms: i64::from(hour) * HOUR_MS + HOUR_MS * number as i64 / files as i64,
                to_ms: i64::from(hour) * HOUR_MS + HOUR_MS * (number as i64 + 1) / files as i64,
                lines,
                clean: people - duplicates,
                duplicates,
                carried,
                bots,
                outside_day,
                malformed,
                malformed_before: MALFORMED.between(0, from, 1),
            });
        }
    }
    parts
}

/// Returns the day's curve with as many of the busiest hours as its lines fill; the others are 0.
///
/// An hour of a line or two would hold no whole session, and no session no purchase.
fn open_hours(lines: u64) -> [u64; 24] {
    let hours = (lines / HOUR_LINES).clamp(1, 24) as usize;
    let mut busiest = CURVE;
    busiest.sort_unstable_by(|a, b| b.cmp(a));
    let least = busiest[hours - 1];
    CURVE.map(|share| if share < least { 0 } else { share })
}

/// Returns the file of the hour before whose events `part` holds copies of, if there is one.
pub(super) fn source_of_copies<'a>(parts: &'a [Part], part: &Part) -> Option<&'a Part> {
    let before = part.hour.checked_sub(1)?;
    parts.iter().rfind(|other| other.hour == before && other.number <= part.number)
}

/// Returns the running totals of lines at a day's begin and end; weekends are busier.
fn day_lines(plan: &Plan, day_index: u32) -> (u64, u64) {
    let weight = |index: u32| match plan.day(index).weekday() {
        Weekday::Sat => 23u64,
        Weekday::Sun => 24,
        Weekday::Mon | Weekday::Tue | Weekday::Wed | Weekday::Thu | Weekday::Fri => 20,
    };
    let before: u64 = (0..day_index).map(weight).sum();
    let all: u64 = (0..plan.days).map(weight).sum();
    (plan.events * before / all, plan.events * (before + weight(day_index)) / all)
}
