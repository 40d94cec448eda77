//! What people do: sessions of views that sometimes lead to a cart and a purchase.

use rand::{Rng, RngExt};
use rand_distr::Exp1;

use super::audience::PLACES;
use super::catalogue::Item;
use super::event::{Action, Event, User};
use super::schedule::{DAY_MS, HOUR_MS, Part};
use super::seed::{Purpose, hash, stream};
use super::tastes::{Look, Tastes};
use super::visitors::Visitors;

/// The shop and its people: all that the files are drawn from.
pub(super) struct World {
    pub seed: u64,
    pub items: Vec<Item>,
    pub visitors: Visitors,
    pub tastes: Tastes,
}

/// Chances within a session.
mod chance {
    pub(super) const TRAVELS: f64 = 0.03;
    pub(super) const MAIN_DEVICE: f64 = 0.8;
    pub(super) const LOCAL_TIME: f64 = 0.1;
    pub(super) const WRONG_DEVICE: f64 = 0.6;
    pub(super) const LEAVES_AT_ONCE: f64 = 0.12;
    pub(super) const WANTS_STAPLE: f64 = 0.6;
    /// Running totals: back to an item of the session, the front page, another of the visitor's tastes.
    pub(super) const RETURNS: f32 = 0.05;
    pub(super) const FRONT_PAGE: f32 = 0.14;
    pub(super) const OTHER_TASTE: f32 = 0.30;
    pub(super) const SEARCHES: f64 = 0.05;
    pub(super) const ADDS_TO_CART: f64 = 0.09;
    pub(super) const ADDS_STAPLE: f64 = 0.85;
    pub(super) const CHECKS_OUT: f64 = 0.55;
    pub(super) const CHECKS_OUT_STAPLE: f64 = 0.8;
    pub(super) const BUYS_EACH: f64 = 0.85;
    pub(super) const ARRIVES_LATE: f64 = 0.04;
}

/// Draws the first `limit` clean events of a file, session by session.
///
/// A smaller limit gives a prefix of a larger one's events: that is how another file copies from this one without
/// either waiting for the other.
pub(super) fn clean_events(world: &World, part: &Part, limit: u64) -> Vec<Event> {
    let mut rng = stream(world.seed, Purpose::People, day_key(part), u64::from(part.of_day));
    events(world, part, limit, &mut rng)
}

/// Returns the number under which a day's streams are derived.
pub(super) fn day_key(part: &Part) -> u64 {
    midnight(part).unsigned_abs()
}

/// Returns the begin of the file's day in milliseconds since 1970.
pub(super) fn midnight(part: &Part) -> i64 {
    part.day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis()
}

/// Draws `limit` events of whole sessions, the last one cut short.
pub(super) fn events(world: &World, part: &Part, limit: u64, rng: &mut impl Rng) -> Vec<Event> {
    let limit = limit as usize;
    let mut out = Vec::with_capacity(limit + 64);
    while out.len() < limit {
        let from = out.len();
        Session::begin(world, part, rng, &mut out).browse(rng);
        if let Some(session) = out.get_mut(from..) {
            place_in_time(session, part, rng);
        }
    }
    out.truncate(limit);
    out
}

/// One visit to the shop. Its events get times since its begin.
struct Session<'a> {
    world: &'a World,
    out: &'a mut Vec<Event>,
    /// Number of the visitor.
    index: u32,
    look: Look,
    /// The theme most of the session is about.
    theme: usize,
    /// What all its events have in common.
    event: Event,
    clock: i64,
    seen: Vec<u16>,
    cart: Vec<(u16, u8)>,
}

impl<'a> Session<'a> {
    fn begin(world: &'a World, part: &Part, rng: &mut impl Rng, out: &'a mut Vec<Event>) -> Self {
        // A stretch is an hour, or as long as a file where hours are split, but never less than twenty minutes.
        let slots = (4 * HOUR_MS / (part.to_ms - part.from_ms)).clamp(4, 12);
        let slot = part.from_ms / (4 * HOUR_MS / slots);
        let index =
            world.visitors.draw_for(rng, part.day_index, slot.unsigned_abs(), slots.unsigned_abs());
        let visitor = world.visitors.get(index);
        let key = world.visitors.key(index);
        let place = if rng.random_bool(chance::TRAVELS) {
            rng.random_range(0..PLACES.len()) as u8
        } else {
            visitor.place
        };
        let device = if rng.random_bool(chance::MAIN_DEVICE) {
            visitor.device
        } else {
            visitor.second_device
        };
        let look = Look { visitor_key: key, place, device, day_index: part.day_index };
        let mut theme = world.visitors.theme(rng, index, part.day_index, &world.tastes);
        // A device favours a third of the themes: another is often given up for one more draw.
        let affinity = hash(world.seed ^ 0xDE_71CE, (device as u64) << 8 | theme as u64);
        if !affinity.is_multiple_of(3) && rng.random_bool(chance::WRONG_DEVICE) {
            theme = world.visitors.theme(rng, index, part.day_index, &world.tastes);
        }
        let event = Event {
            id: [0; 2],
            ts: 0,
            arrival: 0,
            action: Action::View,
            visitor: key,
            user: User::Known(index),
            item: 0,
            device,
            place,
            agent: device.agent(key),
            price_cents: 0,
            quantity: 0,
            local_time: rng.random_bool(chance::LOCAL_TIME),
            extra: 0,
        };
        Self { world, out, index, look, theme, event, clock: 0, seen: Vec::new(), cart: Vec::new() }
    }

    fn browse(&mut self, rng: &mut impl Rng) {
        let views = if rng.random_bool(chance::LEAVES_AT_ONCE) {
            1
        } else {
            2 + (rng.sample::<f32, _>(Exp1) * 7.0).min(45.0) as u32
        };
        let mut staple = self
            .world
            .tastes
            .staple(&self.world.items, self.look)
            .filter(|_| rng.random_bool(chance::WANTS_STAPLE));
        let (mut adds, checks_out) = match staple {
            Some(_) => (chance::ADDS_STAPLE, chance::CHECKS_OUT_STAPLE),
            None => (chance::ADDS_TO_CART, chance::CHECKS_OUT),
        };
        for _ in 0..views {
            let item = staple.take().unwrap_or_else(|| self.next_item(rng));
            let action =
                if rng.random_bool(chance::SEARCHES) { Action::Search } else { Action::View };
            self.emit(rng, action, item, 0);
            if !self.seen.contains(&item) {
                self.seen.push(item);
            }
            if rng.random_bool(adds) && self.cart.iter().all(|&(inside, _)| inside != item) {
                self.clock += rng.random_range(2_000..25_000);
                self.emit(rng, Action::AddToCart, item, 0);
                let quantity = if rng.random_bool(0.8) { 1 } else { rng.random_range(2..=4) };
                self.cart.push((item, quantity));
            }
            adds = chance::ADDS_TO_CART;
            self.clock += 1_200 + (rng.sample::<f32, _>(Exp1) * 32_000.0).min(600_000.0) as i64;
        }
        if rng.random_bool(checks_out) {
            self.check_out(rng);
        }
    }

    fn next_item(&self, rng: &mut impl Rng) -> u16 {
        let Self { world, look, .. } = self;
        let draw = rng.random::<f32>();
        if draw < chance::RETURNS && !self.seen.is_empty() {
            return self.seen[rng.random_range(0..self.seen.len())];
        }
        if draw < chance::FRONT_PAGE {
            return world.tastes.front_page(rng, &world.items, *look);
        }
        let theme = if draw < chance::OTHER_TASTE {
            world.visitors.theme(rng, self.index, look.day_index, &world.tastes)
        } else {
            self.theme
        };
        world.tastes.item(rng, &world.items, theme, *look, &self.seen)
    }

    fn check_out(&mut self, rng: &mut impl Rng) {
        self.clock += rng.random_range(5_000..60_000);
        for (item, quantity) in std::mem::take(&mut self.cart) {
            if rng.random_bool(chance::BUYS_EACH) {
                self.clock += rng.random_range(1..40);
                self.emit(rng, Action::Purchase, item, quantity);
            }
        }
    }

    fn emit(&mut self, rng: &mut impl Rng, action: Action, item: u16, quantity: u8) {
        let id = [rng.next_u64(), rng.next_u64()];
        let user = match (self.index < self.world.visitors.users, id[0] >> 63) {
            (true, _) => self.event.user,
            (false, 0) => User::Null,
            (false, _) => User::Absent,
        };
        self.out.push(Event {
            id,
            ts: self.clock,
            action,
            user,
            item,
            quantity,
            price_cents: price(self.world, item, self.look.day_index),
            extra: rng.random_range(0..100),
            ..self.event
        });
    }
}

/// Turns times since the session's begin into instants, so that it ends within the file's slice of the day.
///
/// A session may begin in the hour before, as its events arrive later than they happen, but never before midnight:
/// a clean event lies within its folder's day. (Its 47 views, a cart
/// step for each and a checkout take less than nine hours.)
fn place_in_time(session: &mut [Event], part: &Part, rng: &mut impl Rng) {
    let length = session.iter().map(|event| event.ts).max().unwrap_or(0);
    let end = rng.random_range(part.from_ms..part.to_ms);
    let start = if end >= length { end - length } else { rng.random_range(0..60_000) };
    let start = start.min(DAY_MS - 1 - length);
    for event in session {
        event.ts += midnight(part) + start;
        let mut delay = 150.0 + rng.sample::<f32, _>(Exp1) * 3_000.0;
        if rng.random_bool(chance::ARRIVES_LATE) {
            delay += rng.sample::<f32, _>(Exp1) * 240_000.0;
        }
        event.arrival = event.ts + delay as i64;
    }
}

/// Returns an item's price on a day: one item in twenty is 15 % cheaper.
pub(super) fn price(world: &World, item: u16, day_index: u32) -> u32 {
    let full = world.items[usize::from(item)].price_cents;
    let week = u64::from(day_index / 7);
    if hash(world.seed ^ 0x5A1E, u64::from(item) << 16 | week).is_multiple_of(20) {
        full * 85 / 100
    } else {
        full
    }
}
