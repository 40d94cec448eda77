//! Which item a visitor looks at: by taste, place, device, novelty and chance.

use rand::RngExt;
use rand_distr::Distribution;
use rand_distr::weighted::WeightedAliasIndex;

use super::audience::{DEVICES, Device, PLACES};
use super::catalogue::Item;
use super::error::SampleError;
use super::seed::{hash, unit};
use super::visitors::weights;
use super::words::THEMES;

/// Days in whose turn a visitor meets different items: of a theme's items each has one day in so many for a visitor,
/// so people move on to new items and no memory of their past is kept.
const TURNS: u64 = 5;
/// How often a visitor accepts an item of another niche than their own.
const OTHER_NICHE: f32 = 0.3;
/// How much more popular an item is where it is a favourite: one item in eight of each place, one in six of each device.
const PLACE_FAVOURITE: f32 = 5.0;
const DEVICE_FAVOURITE: f32 = 4.0;
/// Share of the clicks on the theme's latest launches.
const FRESH: f64 = 0.04;
const FRESH_FOR_DAYS: i32 = 7;
const TRIES: u32 = 32;

/// The items of one theme, with a table of popularity for each place and device.
struct Shelf {
    items: Vec<u16>,
    /// By place, and by device within it.
    tables: Vec<WeightedAliasIndex<f32>>,
    /// Items launched within the sample, by launch day.
    launches: Vec<(i32, u16)>,
}

/// Who looks, and when: what a choice of item depends on besides chance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub visitor_key: u64,
    pub place: u8,
    pub device: Device,
    pub day_index: u32,
}

pub(super) struct Tastes {
    shelves: Vec<Shelf>,
    /// Running totals of the themes' shares for each place, ending at 1.
    themes_by_place: Vec<Vec<f32>>,
}

impl Tastes {
    pub(super) fn new(seed: u64, items: &[Item]) -> Result<Self, SampleError> {
        let mut shelves = Vec::with_capacity(THEMES.len());
        for theme in 0..THEMES.len() {
            shelves.push(Shelf::new(seed, theme as u8, items)?);
        }
        let themes_by_place = (0..PLACES.len() as u64)
            .map(|place| {
                let mut total = 0.0;
                let mut upto: Vec<f32> = (0..THEMES.len() as u64)
                    .map(|theme| {
                        // A theme is up to five times as dear to one place as to another.
                        let liking = (1.6 * unit(hash(seed ^ 0x9A, place << 8 | theme))).exp();
                        total += liking * (theme as f32 % 7.0 + 3.0).powf(-0.5);
                        total
                    })
                    .collect();
                upto.iter_mut().for_each(|share| *share /= total);
                upto
            })
            .collect();
        Ok(Self { shelves, themes_by_place })
    }

    /// Returns the theme at a position in [0, 1) of a place's shares.
    pub(super) fn theme_by_place(&self, place: u8, position: f32) -> usize {
        let upto = &self.themes_by_place[usize::from(place)];
        upto.partition_point(|&share| share <= position).min(upto.len() - 1)
    }

    /// Draws an item of a theme the visitor has not looked at in this session.
    ///
    /// Where chance finds none in a bounded number of tries, the last one on sale is returned though it was seen.
    pub(super) fn item(
        &self,
        rng: &mut impl RngExt,
        items: &[Item],
        theme: usize,
        look: Look,
        seen: &[u16],
    ) -> u16 {
        let shelf = &self.shelves[theme];
        let today = look.day_index as i32;
        if rng.random_bool(FRESH)
            && let Some(item) = shelf.launch(rng, today)
            && !seen.contains(&item)
        {
            return item;
        }
        let table = shelf.table(look.place, look.device);
        let niche = (hash(look.visitor_key, theme as u64) % 4) as u8;
        // A shelf of few items is met in fewer turns, or a turn would hold next to nothing.
        let turns = (shelf.items.len() as u64 / 6).clamp(1, TURNS);
        let mut fallback = theme as u16;
        for _ in 0..TRIES {
            let index = shelf.items[table.sample(rng)];
            let item = &items[usize::from(index)];
            if item.launched > today || seen.contains(&index) {
                continue;
            }
            fallback = index;
            let likes = if item.niche == niche { 1.0 } else { OTHER_NICHE };
            let turn = hash(look.visitor_key, u64::from(index) << 8) % turns;
            if turn == u64::from(look.day_index) % turns && rng.random::<f32>() < likes {
                return index;
            }
        }
        fallback
    }

    /// Draws an item of the shop's front page: by popularity in the place and on the device, whatever the taste.
    pub(super) fn front_page(&self, rng: &mut impl RngExt, items: &[Item], look: Look) -> u16 {
        let theme = self.theme_by_place(look.place, rng.random());
        let shelf = &self.shelves[theme];
        let table = shelf.table(look.place, look.device);
        for _ in 0..TRIES {
            let index = shelf.items[table.sample(rng)];
            if items[usize::from(index)].launched <= look.day_index as i32 {
                return index;
            }
        }
        theme as u16
    }

    /// Returns what a visitor runs out of on a day: an item that is used up, due every third day.
    pub(super) fn staple(&self, items: &[Item], look: Look) -> Option<u16> {
        let key = hash(look.visitor_key, 0x57A9);
        let due = (u64::from(look.day_index) + (key >> 32)).is_multiple_of(3);
        let mut used_up = THEMES.iter().zip(&self.shelves).filter(|(theme, _)| theme.used_up);
        let count = used_up.clone().count() as u64;
        let (_, shelf) = used_up.nth((key % count.max(1)) as usize)?;
        // Cubed: a household's staples are mostly the popular ones, which come first.
        let position = unit(hash(key, 0)).powi(3) * shelf.items.len() as f32;
        let index = shelf.items.get(position as usize).copied()?;
        (due && items[usize::from(index)].launched < 0).then_some(index)
    }
}

impl Shelf {
    /// Collects a theme's items, which are in order of popularity.
    fn new(seed: u64, theme: u8, items: &[Item]) -> Result<Self, SampleError> {
        let mut ranked: Vec<(u64, u16, bool)> = (0u16..)
            .zip(items)
            .filter(|(_, item)| item.theme == theme || item.second_theme == Some(theme))
            .map(|(index, item)| {
                (hash(seed ^ u64::from(theme), u64::from(index)), index, item.theme == theme)
            })
            .collect();
        ranked.sort_unstable();
        let mut launches: Vec<(i32, u16)> = ranked
            .iter()
            .map(|&(_, index, _)| (items[usize::from(index)].launched, index))
            .filter(|&(launched, _)| launched >= 0)
            .collect();
        launches.sort_unstable();
        let favourite = |of: u64, index: u16, one_in: u64| {
            hash(seed ^ of, u64::from(index)).is_multiple_of(one_in)
        };
        let mut tables = Vec::with_capacity(PLACES.len() * DEVICES.len());
        for place in 0..PLACES.len() as u64 {
            for device in DEVICES {
                let popularity = ranked
                    .iter()
                    .enumerate()
                    .map(|(rank, &(_, index, first))| {
                        let mut weight = (rank as f32 + 2.0).powf(-0.9);
                        if !first {
                            weight *= 0.5;
                        }
                        if favourite(0xFA_0000 | place, index, 8) {
                            weight *= PLACE_FAVOURITE;
                        }
                        if favourite(0xFD_0000 | device as u64, index, 6) {
                            weight *= DEVICE_FAVOURITE;
                        }
                        weight
                    })
                    .collect();
                tables.push(weights("items", popularity)?);
            }
        }
        let items = ranked.into_iter().map(|(_, index, _)| index).collect();
        Ok(Self { items, tables, launches })
    }

    fn table(&self, place: u8, device: Device) -> &WeightedAliasIndex<f32> {
        &self.tables[usize::from(place) * DEVICES.len() + device as usize]
    }

    fn launch(&self, rng: &mut impl RngExt, today: i32) -> Option<u16> {
        let from = self.launches.partition_point(|&(day, _)| day <= today - FRESH_FOR_DAYS);
        let to = self.launches.partition_point(|&(day, _)| day <= today);
        (from < to).then(|| self.launches[rng.random_range(from..to)].1)
    }
}
