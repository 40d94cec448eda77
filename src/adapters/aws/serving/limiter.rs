//! How fast a table is written or read: as fast as it takes it, and no faster.

use std::time::{Duration, Instant};

/// The first pause after an answer that refused everything; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// What may be saved up while nothing is sent, in seconds of the rate.
const BURST_SECONDS: f64 = 0.1;
/// What the rate grows by for each second that it is used up, as a part of the first rate.
const STEP: f64 = 0.1;
/// A table gives one unit a second at the least.
const FLOOR: f64 = 1.0;

/// Units per second: grows additively while nothing is throttled and halves when something is, as
/// TCP does with its window. That finds what a table gives when nobody says it (an on-demand table
/// doubles, an auto-scaled one steps) and shares it fairly with other writers that do the same.
///
/// It knows no clock: whoever asks says what time it is, so that a test may say any.
#[derive(Debug)]
pub(super) struct Limiter {
    rate: f64,
    step: f64,
    ceiling: f64,
    /// Units that may be used now; below zero, those that were promised to somebody who waits.
    units: f64,
    at: Instant,
    /// When the rate was last halved. What was sent before that says nothing about the new rate.
    halved: Option<Instant>,
    paused_until: Instant,
    /// Answers in a row that refused everything.
    refusals: u32,
}

impl Limiter {
    /// Begins at `start` units a second and never goes above `ceiling`.
    pub fn new(start: f64, ceiling: f64, now: Instant) -> Self {
        let ceiling = ceiling.max(FLOOR);
        let rate = start.clamp(FLOOR, ceiling);
        Self {
            rate,
            step: rate * STEP,
            ceiling,
            units: 0.0,
            at: now,
            halved: None,
            paused_until: now,
            refusals: 0,
        }
    }

    /// Units per second.
    #[cfg(test)]
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Promises units. Whoever gets them waits for the time returned before using them.
    pub fn reserve(&mut self, units: f64, now: Instant) -> Duration {
        self.refill(now);
        self.units -= units;
        let debt = Duration::from_secs_f64((-self.units / self.rate).max(0.0));
        debt.max(self.pause(now))
    }

    /// How long nothing is to be sent; for those who have waited and find that times have changed.
    pub fn pause(&self, now: Instant) -> Duration {
        self.paused_until.saturating_duration_since(now)
    }

    /// Says what was consumed of the units that were promised: more than thought, if the table has
    /// indexes; less, if a part was refused.
    pub fn settle(&mut self, promised: f64, consumed: f64, now: Instant) {
        self.refill(now);
        self.units += promised - consumed;
    }

    /// Says that a request was taken whole.
    pub fn taken(&mut self, consumed: f64) {
        self.refusals = 0;
        // A rate that is not used is not proven: it grows with what goes through, not with time.
        self.rate = (self.rate + self.step * consumed / self.rate).min(self.ceiling);
    }

    /// Says that a request that was sent at `sent` was refused, or a part of it if `partly`.
    /// `random` is between 0 and 1.
    pub fn throttled(&mut self, sent: Instant, partly: bool, random: f64, now: Instant) {
        // Many requests are under way at once and refused together; that is one message, not many.
        if self.halved.is_some_and(|halved| sent <= halved) {
            return;
        }
        self.refill(now);
        self.rate = (self.rate / 2.0).max(FLOOR);
        self.halved = Some(now);
        self.refusals = if partly { 0 } else { self.refusals.saturating_add(1) };
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.refusals.min(10)).min(LONGEST_PAUSE);
        // Between half and all of it: several loaders that were refused together part ways.
        self.paused_until = now + doubled.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0));
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.units = (self.units + elapsed * self.rate).min(self.rate * BURST_SECONDS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Uses a limiter as fast as it lets for a time, in requests of `units`, on a clock that only
    /// this function moves. Returns the units used.
    fn use_up(limiter: &mut Limiter, now: &mut Instant, span: Duration, units: f64) -> f64 {
        let end = *now + span;
        let mut used = 0.0;
        loop {
            let at = *now + limiter.reserve(units, *now);
            if at > end {
                limiter.settle(units, 0.0, *now);
                *now = end;
                return used;
            }
            *now = at;
            limiter.taken(units);
            used += units;
        }
    }

    #[test]
    fn the_rate_is_kept() {
        let mut now = Instant::now();
        let mut limiter = Limiter::new(100.0, 100.0, now);
        let used = use_up(&mut limiter, &mut now, 10 * SECOND, 25.0);
        assert!((975.0..=1025.0).contains(&used), "{used}");
        // A pause saves up no more than a tenth of a second's worth.
        now += 60 * SECOND;
        let used = use_up(&mut limiter, &mut now, SECOND, 5.0);
        assert!((100.0..=115.0).contains(&used), "{used}");
    }

    #[test]
    fn it_grows_additively_by_use_and_not_above_the_ceiling() {
        let mut now = Instant::now();
        let mut limiter = Limiter::new(100.0, 250.0, now);
        use_up(&mut limiter, &mut now, 5 * SECOND, 5.0);
        let five = limiter.rate();
        assert!((145.0..=155.0).contains(&five), "{five}");
        use_up(&mut limiter, &mut now, 5 * SECOND, 5.0);
        let ten = limiter.rate();
        assert!((five - 100.0 - (ten - five)).abs() < 5.0, "{five} {ten}");
        // Time alone proves nothing.
        now += 100 * SECOND;
        limiter.reserve(1.0, now);
        assert_eq!(limiter.rate(), ten);
        use_up(&mut limiter, &mut now, 100 * SECOND, 5.0);
        assert_eq!(limiter.rate(), 250.0);
    }

    #[test]
    fn refusals_that_come_together_halve_it_once() {
        let start = Instant::now();
        let mut limiter = Limiter::new(4000.0, 40_000.0, start);
        let after = |millis| start + Duration::from_millis(millis);
        for answered in 5..10 {
            limiter.throttled(start, false, 0.0, after(answered));
        }
        assert_eq!(limiter.rate(), 2000.0);
        assert_eq!(limiter.pause(after(5)), Duration::from_millis(50));
        assert_eq!(limiter.reserve(1.0, after(5)), Duration::from_millis(50));
        // Sent after that, it counts anew, and the pause is longer.
        limiter.throttled(after(60), false, 0.0, after(65));
        assert_eq!(limiter.rate(), 1000.0);
        assert_eq!(limiter.pause(after(65)), Duration::from_millis(100));
        limiter.throttled(after(200), false, 1.0, after(205));
        assert_eq!(limiter.pause(after(205)), Duration::from_millis(400));
        // What took a part is no reason for longer pauses.
        limiter.throttled(after(700), true, 1.0, after(705));
        assert_eq!((limiter.rate(), limiter.pause(after(705))), (250.0, FIRST_PAUSE));
        let mut now = after(800);
        for _ in 0..40 {
            now += 10 * SECOND;
            limiter.throttled(now, false, 1.0, now + SECOND);
        }
        assert_eq!(limiter.rate(), FLOOR);
        assert_eq!(limiter.pause(now + SECOND), LONGEST_PAUSE);
        limiter.taken(1.0);
        limiter.throttled(now + 9 * SECOND, false, 1.0, now + 10 * SECOND);
        assert_eq!(limiter.pause(now + 10 * SECOND), 2 * FIRST_PAUSE);
    }

    #[test]
    fn what_was_consumed_counts_and_not_what_was_thought() {
        let now = Instant::now();
        let mut limiter = Limiter::new(100.0, 100.0, now);
        assert_eq!(limiter.reserve(10.0, now), SECOND / 10);
        limiter.settle(10.0, 110.0, now);
        assert_eq!(limiter.reserve(0.0, now), SECOND + SECOND / 10);
        // A refused request gives back what it was promised.
        limiter.settle(110.0, 0.0, now);
        assert_eq!(limiter.reserve(0.0, now), Duration::ZERO);
    }

    #[test]
    fn it_settles_where_a_table_gives_less_than_it_says() {
        // A table that gives 400 units a second and refuses whole requests above that.
        let mut now = Instant::now();
        let mut limiter = Limiter::new(4000.0, 40_000.0, now);
        let (mut left, mut at, mut taken) = (400.0_f64, now, 0.0);
        let end = now + 60 * SECOND;
        while now < end {
            now += limiter.reserve(25.0, now).max(Duration::from_millis(1));
            left = (left + now.duration_since(at).as_secs_f64() * 400.0).min(400.0);
            at = now;
            if left >= 25.0 {
                left -= 25.0;
                taken += 25.0;
                limiter.taken(25.0);
            } else {
                limiter.settle(25.0, 0.0, now);
                limiter.throttled(now, false, 0.5, now);
            }
        }
        // Of the 24,400 that it gave at most.
        assert!(taken > 0.7 * 24_400.0, "{taken}");
    }
}
