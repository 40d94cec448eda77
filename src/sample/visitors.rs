//! The people: where they live, what they like and how often they come.

use std::io::Write;

use chrono::{Datelike, Days};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_distr::weighted::WeightedAliasIndex;
use rand_distr::{Distribution, Exp1};

use super::audience::{DEVICE_WEIGHTS, DEVICES, Device, place_weights};
use super::error::SampleError;
use super::options::Plan;
use super::seed::{Purpose, hash, stream, unit};
use super::tastes::Tastes;
use super::words::THEMES;

/// Share of the users who sign up on each of the sample's days, and the most on all of them.
const NEW_A_DAY: f64 = 0.004;
const NEW_WITHIN: f64 = 0.06;
/// How much of a visitor's interest goes to each of the four tastes, as running totals.
const INTEREST: [f32; 4] = [0.52, 0.79, 0.93, 1.0];
/// Days until a taste gives way to another: the stronger the slower, so that tastes drift.
const KEPT_FOR_DAYS: [u64; 4] = [120, 60, 21, 9];

#[derive(Debug, Clone, Copy)]
pub(super) struct Visitor {
    pub place: u8,
    pub device: Device,
    pub second_device: Device,
    /// Day of the first visit at the earliest, in days since the sample's first; negative before it.
    pub since: i16,
    /// Rank by activity in thousandths: 0 comes most often.
    rank: u16,
}

/// Everyone who may visit. Those with an account come first, by their number; cookies without one follow.
pub(super) struct Visitors {
    seed: u64,
    all: Vec<Visitor>,
    pub users: u32,
    activity: WeightedAliasIndex<f32>,
    first_day: i32,
}

impl Visitors {
    /// Draws the visitors: the users, and so many more that 15 % of all are anonymous.
    pub(super) fn draw(plan: &Plan) -> Result<Self, SampleError> {
        let mut rng = stream(plan.seed, Purpose::Visitors, 0, 0);
        let users = plan.users;
        let anonymous = (u64::from(users) * 15 / 85) as u32;
        let count = users + anonymous;
        let new = (NEW_A_DAY * f64::from(plan.days)).min(NEW_WITHIN);
        let places = weights("places", place_weights())?;
        let devices = weights("devices", DEVICE_WEIGHTS.to_vec())?;
        let mut all: Vec<Visitor> = (0..count)
            .map(|index| {
                let since = if index < users && rng.random_bool(new) {
                    rng.random_range(0..plan.days) as i16
                } else {
                    -1 - (rng.sample::<f32, _>(Exp1) * 400.0).min(3_000.0) as i16
                };
                Visitor {
                    place: places.sample(&mut rng) as u8,
                    device: DEVICES[devices.sample(&mut rng)],
                    second_device: DEVICES[devices.sample(&mut rng)],
                    since,
                    rank: 0,
                }
            })
            .collect();

        // Activity falls as a power of the rank, flattened at the head lest one person makes a thousand clicks a
        // day. Anonymous visitors take every seventh rank or so: their share of the clicks is then that of the heads.
        let mut with_account: Vec<u32> = (0..users).collect();
        let mut without: Vec<u32> = (users..count).collect();
        with_account.shuffle(&mut rng);
        without.shuffle(&mut rng);
        let head = (f64::from(count) * 0.01).max(20.0);
        let mut activity = vec![0.0; count as usize];
        for rank in 0..count {
            let upto = |rank: u32| u64::from(rank) * u64::from(anonymous) / u64::from(count);
            let next = if upto(rank + 1) > upto(rank) { without.pop() } else { with_account.pop() };
            let Some(index) = next.map(|index| index as usize) else {
                continue;
            };
            activity[index] = (f64::from(rank) + head).powf(-0.75) as f32;
            all[index].rank = (u64::from(rank) * 1_000 / u64::from(count)) as u16;
        }
        Ok(Self {
            seed: plan.seed,
            all,
            users,
            activity: weights("visitors", activity)?,
            first_day: plan.first_day.num_days_from_ce(),
        })
    }

    /// Returns the number of visitors without an account.
    pub(super) fn anonymous(&self) -> u32 {
        self.all.len() as u32 - self.users
    }

    pub(super) fn get(&self, index: u32) -> Visitor {
        self.all[index as usize]
    }

    /// Draws a visitor by activity who may come on this day and in this stretch of it.
    ///
    /// `slot` counts stretches of the day, `slots` of them to four hours. Each visitor keeps to one stretch in four
    /// hours, another each day, so that the sessions of a day lie hours apart, with no state kept between files.
    pub(super) fn draw_for(
        &self,
        rng: &mut impl RngExt,
        day_index: u32,
        slot: u64,
        slots: u64,
    ) -> u32 {
        let mut index = 0;
        for _ in 0..64 {
            index = self.activity.sample(rng) as u32;
            let turn = hash(self.key(index), u64::from(day_index) ^ 0x510_7000) % slots;
            if turn == slot % slots && i64::from(self.get(index).since) <= i64::from(day_index) {
                return index;
            }
        }
        // Where the last one drawn has not signed up yet, the first visitor without an account stands in.
        if i64::from(self.get(index).since) <= i64::from(day_index) { index } else { self.users }
    }

    /// Returns a number that stands for the visitor in hashes.
    pub(super) fn key(&self, index: u32) -> u64 {
        hash(self.seed ^ 0x0715_1707, u64::from(index))
    }

    /// Draws which theme a visitor browses on a day, by their tastes of that day.
    pub(super) fn theme(
        &self,
        rng: &mut impl RngExt,
        index: u32,
        day_index: u32,
        tastes: &Tastes,
    ) -> usize {
        let draw = rng.random::<f32>();
        let which = INTEREST.iter().position(|&upto| draw < upto).unwrap_or(0);
        let (key, which) = (self.key(index), which as u64);
        let today = (i64::from(self.first_day) + i64::from(day_index)).unsigned_abs();
        let kept = KEPT_FOR_DAYS[which as usize];
        let epoch = (today + hash(key, which) % kept) / kept;
        tastes.theme_by_place(self.get(index).place, unit(hash(key ^ (which << 32), epoch)))
    }

    /// Renders `users.json`: one line for each user.
    pub(super) fn to_json_lines(&self, plan: &Plan) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.users as usize * 130);
        for index in 0..self.users {
            let visitor = self.get(index);
            let key = self.key(index);
            let days = Days::new(u64::from(visitor.since.unsigned_abs()));
            let signup = if visitor.since < 0 {
                plan.first_day.checked_sub_days(days)
            } else {
                plan.first_day.checked_add_days(days)
            };
            let segment = if i64::from(visitor.since) > i64::from(plan.days) - 30 {
                "new"
            } else {
                match visitor.rank {
                    0..50 => "vip",
                    50..300 => "regular",
                    _ => "casual",
                }
            };
            let _ = write!(
                out,
                r#"{{"user_id":"{}","signup_date":"{}","location":"{}","birth_year":"#,
                UserId(index),
                signup.unwrap_or(plan.first_day),
                super::audience::PLACES[usize::from(visitor.place)].code,
            );
            if unit(hash(key, 0xB1)) < 0.08 {
                out.extend_from_slice(b"null");
            } else {
                // The mean of two draws: few are very young or very old.
                let age = 18.0 + 27.0 * (unit(hash(key, 0xB2)) + unit(hash(key, 0xB3)));
                let _ = write!(out, "{}", plan.last_day.year() - age as i32);
            }
            let consent = unit(hash(key, 0xB4)) < 0.62;
            let _ = writeln!(out, r#","segment":"{segment}","marketing_consent":{consent}}}"#);
        }
        out
    }
}

/// Shows a user's id: `u` and seven digits.
pub(super) struct UserId(pub u32);

impl std::fmt::Display for UserId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "u{:07}", self.0 + 1)
    }
}

/// Builds a table that draws an index by weight in constant time.
pub(super) fn weights(
    of: &'static str,
    weights: Vec<f32>,
) -> Result<WeightedAliasIndex<f32>, SampleError> {
    WeightedAliasIndex::new(weights)
        .map_err(|error| SampleError::Weights { of, reason: error.to_string() })
}

/// A theme's number fits in a byte.
const _: () = assert!(THEMES.len() < 256);
