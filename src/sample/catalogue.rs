//! The items on sale: names, prices, launch days and the tastes they please.

use std::io::Write;

use chrono::{Days, NaiveDate};
use rand::RngExt;
use rand::seq::SliceRandom;

use super::options::Plan;
use super::seed::{Purpose, hash, stream};
use super::words::{BRANDS, COLLECTIONS, THEMES};

/// First number of an item, so that ids have five digits.
const FIRST_NUMBER: u32 = 10_000;
/// Share of the items launched on each of the sample's days, and the most on all of them.
const LAUNCHED_A_DAY: f32 = 0.005;
const LAUNCHED_WITHIN: f32 = 0.08;

pub(super) struct Item {
    pub price_cents: u32,
    /// The theme it is sold under, which is also its first taste.
    pub theme: u8,
    /// Number within its theme.
    nth: u32,
    /// A second taste it pleases, often none.
    pub second_theme: Option<u8>,
    /// One of four niches within a theme.
    pub niche: u8,
    /// Days since the sample's first; before that where negative.
    pub launched: i32,
}

/// Draws the items; index 0 and up, launched before the sample where the index is less than the themes' number.
pub(super) fn draw(plan: &Plan) -> Vec<Item> {
    let mut rng = stream(plan.seed, Purpose::Items, 0, 0);
    let themes = THEMES.len();
    let launches = (LAUNCHED_A_DAY * plan.days as f32).min(LAUNCHED_WITHIN);
    let mut items = Vec::with_capacity(plan.items as usize);
    for index in 0..plan.items as usize {
        let theme = index % themes;
        // The nth of its theme, by which the name is chosen too.
        let nth = (index / themes) as u32;
        let (_, usual) = THEMES[theme].nouns[name_parts(plan.seed, theme, nth).0];
        let whole = (usual as f32 * rng.random_range(0.6..1.5)) as u32;
        let price_cents = whole * 100 + [99, 95, 50, 0, 90][rng.random_range(0..5)];
        let second_theme =
            rng.random_bool(0.3).then(|| (theme + rng.random_range(1..themes)) % themes);
        let launched = if index >= themes && rng.random::<f32>() < launches {
            rng.random_range(0..plan.days) as i32
        } else {
            -rng.random_range(1..1_500)
        };
        items.push(Item {
            price_cents,
            theme: theme as u8,
            nth,
            second_theme: second_theme.map(|second| second as u8),
            niche: rng.random_range(0..4),
            launched,
        });
    }
    // An item's number must not tell its theme, or a model could learn from the id what it should learn from clicks.
    let (_, rest) = items.split_at_mut(themes);
    rest.shuffle(&mut rng);
    items
}

/// Appends an item's id: `P` and five digits.
pub(super) fn write_id(out: &mut Vec<u8>, index: u16) {
    let mut number = FIRST_NUMBER + u32::from(index);
    let mut digits = *b"P00000";
    for slot in digits.iter_mut().skip(1).rev() {
        *slot = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits);
}

/// Appends a price in cents as a number with two decimals.
pub(super) fn write_price(out: &mut Vec<u8>, cents: u32) {
    // Writing to a vector never fails.
    let _ = write!(out, "{}.{:02}", cents / 100, cents % 100);
}

/// Renders `products.csv`: one row for each item, quoted where RFC 4180 wants it.
pub(super) fn to_csv(plan: &Plan, items: &[Item]) -> Vec<u8> {
    let mut out = b"item_id,name,category,brand,price,launched_on\n".to_vec();
    for (index, item) in (0u16..).zip(items) {
        let theme = usize::from(item.theme);
        let name = name(plan.seed, theme, item.nth);
        let brand = hash(plan.seed ^ 0xB7A, u64::from(index)) as usize % 6;
        // Six brands a theme, so that a brand says something about what an item is.
        let brand = BRANDS[(theme * 5 + brand) % BRANDS.len()];
        write_id(&mut out, index);
        for cell in [name.as_str(), THEMES[theme].category, brand] {
            out.push(b',');
            write_cell(&mut out, cell);
        }
        out.push(b',');
        write_price(&mut out, item.price_cents);
        let _ = writeln!(out, ",{}", launch_day(plan.first_day, item.launched));
    }
    out
}

/// Chooses noun, kind and collection of a theme's `nth` item, unlike those of every other of the first 1,920.
fn name_parts(seed: u64, theme: usize, nth: u32) -> (usize, usize, usize) {
    // 1,920 = 10 nouns x 8 kinds x 24 collections; the stride has no factor with it in common, so none returns.
    let pick = ((u64::from(nth) * 611 + hash(seed, theme as u64) % 1_920) % 1_920) as usize;
    (pick % 10, pick / 10 % 8, pick / 80)
}

fn name(seed: u64, theme: usize, nth: u32) -> String {
    let words = &THEMES[theme];
    let (noun, kind, collection) = name_parts(seed, theme, nth);
    let ((noun, _), kind, collection) =
        (words.nouns[noun], words.kinds[kind], COLLECTIONS[collection]);
    let style = hash(seed ^ 0x57, theme as u64 * 1_000_000 + u64::from(nth));
    let variant = words.variants[(style >> 32) as usize % words.variants.len()];
    match style % 100 {
        0..4 => format!("{kind} {noun} \"{collection}\""),
        4..6 => format!("{kind} {noun} \"{collection}\", {variant}"),
        6..40 => format!("{collection} {kind} {noun}, {variant}"),
        _ => format!("{collection} {kind} {noun}"),
    }
}

fn write_cell(out: &mut Vec<u8>, cell: &str) {
    if !cell.contains([',', '"']) {
        out.extend_from_slice(cell.as_bytes());
        return;
    }
    let _ = write!(out, "\"{}\"", cell.replace('"', "\"\""));
}

fn launch_day(first_day: NaiveDate, launched: i32) -> NaiveDate {
    let days = Days::new(u64::from(launched.unsigned_abs()));
    let day = if launched < 0 {
        first_day.checked_sub_days(days)
    } else {
        first_day.checked_add_days(days)
    };
    day.unwrap_or(first_day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_theme_are_distinct() {
        let names: std::collections::HashSet<String> =
            (0..1_000).map(|nth| name(3, 5, nth)).collect();
        assert_eq!(names.len(), 1_000);
    }

    #[test]
    fn cells_with_commas_or_quotes_are_quoted() {
        let mut out = Vec::new();
        write_cell(&mut out, "13\" Sleeve, felt");
        assert_eq!(out, b"\"13\"\" Sleeve, felt\"");
    }
}
