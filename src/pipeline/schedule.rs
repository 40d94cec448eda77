//! When a pipeline runs each day, and by when it has to be done.

use std::time::Duration;

use chrono::{DateTime, Days, LocalResult, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::interval::LogicalDate;

/// When a pipeline runs: once a day, for the day before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The time on the clock.
    pub at: NaiveTime,
    /// Whose clock.
    pub timezone: Tz,
}

/// By when a run has to be done; the first of these that comes counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Deadline {
    /// A time on the schedule's clock, the first one after the scheduled start.
    pub at: Option<NaiveTime>,
    /// Time from the scheduled start on.
    pub after_schedule: Option<Duration>,
    /// Time from the run's own start on.
    pub after_start: Option<Duration>,
    /// A multiple of what earlier runs took, from the run's own start on.
    pub average: Option<Average>,
    /// The share of the time until then after which a warning is given, 0 to 1.
    pub warn_at: f64,
    /// What happens when it has passed.
    pub missed: Missed,
}

/// A multiple of what the last runs took that succeeded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Average {
    /// How many runs; with fewer there is no average.
    pub runs: usize,
    /// The multiple.
    pub factor: f64,
}

/// What happens to a run that is not done by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// It is stopped as if somebody had asked it to; running again goes on.
    Stop,
    /// It goes on, and is told of.
    Warn,
}

/// When a run has to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    /// The instant.
    pub at: DateTime<Utc>,
    /// When a warning is given.
    pub warn: DateTime<Utc>,
    /// What it follows from, in words.
    pub because: String,
}

impl Schedule {
    /// The day that a run at an instant is about: the day before, by the schedule's clock.
    pub fn date_at(&self, now: DateTime<Utc>) -> LogicalDate {
        LogicalDate::new(now.with_timezone(&self.timezone).date_naive()).minus(1)
    }

    /// When the run for a day is to start: on the day after.
    pub fn start_of(&self, date: LogicalDate) -> DateTime<Utc> {
        self.instant(date.plus(1).day(), self.at)
    }

    /// The first instant after the scheduled start of a day's run at which the clock shows `time`.
    fn next(&self, date: LogicalDate, time: NaiveTime) -> DateTime<Utc> {
        let day = date.plus(1).day();
        let day = if time > self.at { Some(day) } else { day.checked_add_days(Days::new(1)) };
        self.instant(day.unwrap_or(NaiveDate::MAX), time)
    }

    /// When the clock shows a time on a day. Of two such instants, as clocks go back, it is the
    /// first; where there is none, as clocks go forward, it is the first one after.
    fn instant(&self, day: NaiveDate, time: NaiveTime) -> DateTime<Utc> {
        let wanted = day.and_time(time);
        // The longest time that a clock ever left out was a day (Samoa, 2011).
        let minutes = (0..=2 * 24 * 60).map(TimeDelta::minutes);
        let shown = minutes.filter_map(|later| wanted.checked_add_signed(later));
        let mut known = shown.filter_map(|shown| match self.timezone.from_local_datetime(&shown) {
            LocalResult::Single(instant) | LocalResult::Ambiguous(instant, _) => {
                Some(instant.with_timezone(&Utc))
            }
            LocalResult::None => None,
        });
        known.next().unwrap_or_else(|| wanted.and_utc())
    }
}

impl Deadline {
    /// When a run has to be done that started then; `took` is what the last runs took, the last one
    /// first. What follows from the schedule holds for the run that is due only, not for days that
    /// are made up for.
    pub fn due(
        &self,
        schedule: Option<&Schedule>,
        date: LogicalDate,
        started: DateTime<Utc>,
        took: &[Duration],
    ) -> Option<Due> {
        let mut all: Vec<(DateTime<Utc>, String)> = Vec::new();
        let after = |from: DateTime<Utc>, time: Duration| {
            TimeDelta::from_std(time).ok().and_then(|time| from.checked_add_signed(time))
        };
        if let Some(schedule) = schedule.filter(|schedule| schedule.date_at(started) == date) {
            let start = schedule.start_of(date);
            let zone = schedule.timezone;
            if let Some(at) = self.at {
                let because = format!("it is due at {} {zone}", at.format("%H:%M"));
                all.push((schedule.next(date, at), because));
            }
            if let Some(due) = self.after_schedule.and_then(|time| after(start, time)) {
                let at = schedule.at.format("%H:%M");
                let because = format!("it was scheduled for {at} {zone}");
                all.push((due, because));
            }
        }
        if let Some(due) = self.after_start.and_then(|time| after(started, time)) {
            all.push((due, "it takes longer than it may from its start on".to_owned()));
        }
        if let Some(Average { runs, factor }) = self.average
            && let Some(took) = took.get(..runs)
        {
            let sum: f64 = took.iter().map(Duration::as_secs_f64).sum();
            let time = sum / runs as f64 * factor;
            let due = Duration::try_from_secs_f64(time).ok().and_then(|time| after(started, time));
            let because =
                format!("it takes more than {factor} times what the last {runs} runs took");
            all.extend(due.map(|due| (due, because)));
        }
        let (at, because) = all.into_iter().min_by_key(|(at, _)| *at)?;
        let until = (at - started).as_seconds_f64().max(0.0) * self.warn_at;
        let warn = Duration::try_from_secs_f64(until).ok().and_then(|time| after(started, time));
        Some(Due { at, warn: warn.unwrap_or(at), because })
    }
}

#[cfg(test)]
mod tests {
    use chrono_tz::TZ_VARIANTS;

    use super::*;

    fn schedule(at: &str, zone: &str) -> Schedule {
        Schedule { at: at.parse().unwrap(), timezone: zone.parse().unwrap() }
    }

    fn instant(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn day(text: &str) -> LogicalDate {
        text.parse().unwrap()
    }

    fn deadline() -> Deadline {
        Deadline {
            at: None,
            after_schedule: None,
            after_start: None,
            average: None,
            warn_at: 0.8,
            missed: Missed::Stop,
        }
    }

    #[test]
    fn starts_follow_the_clock_across_daylight_saving() {
        let berlin = schedule("02:30:00", "Europe/Berlin");
        for (date, start) in [
            ("2026-03-27", "2026-03-28T01:30:00Z"),
            // Clocks go from 02:00 to 03:00: the first instant after is 03:00.
            ("2026-03-28", "2026-03-29T01:00:00Z"),
            ("2026-03-29", "2026-03-30T00:30:00Z"),
            // 02:30 comes twice: the first one.
            ("2026-10-24", "2026-10-25T00:30:00Z"),
            ("2026-10-25", "2026-10-26T01:30:00Z"),
            ("2024-02-28", "2024-02-29T01:30:00Z"),
        ] {
            assert_eq!(berlin.start_of(day(date)), instant(start), "{date}");
        }
        // A day that never was: clocks went from the 29th to the 31st.
        let samoa = schedule("03:00:00", "Pacific/Apia");
        assert_eq!(samoa.start_of(day("2011-12-29")), instant("2011-12-30T10:00:00Z"));
    }

    #[test]
    fn yesterday_is_the_schedules() {
        let now = instant("2026-03-01T23:30:00Z");
        assert_eq!(schedule("03:00:00", "UTC").date_at(now), day("2026-02-28"));
        assert_eq!(schedule("03:00:00", "Europe/Berlin").date_at(now), day("2026-03-01"));
        assert_eq!(schedule("03:00:00", "America/New_York").date_at(now), day("2026-02-28"));
        let early = instant("2024-03-01T02:00:00Z");
        assert_eq!(schedule("03:00:00", "America/New_York").date_at(early), day("2024-02-28"));
    }

    /// In every zone, each day of some years has one start, after the one of the day before, and the
    /// day that the start is about is the day.
    #[test]
    fn every_zone_has_one_start_a_day() {
        for zone in TZ_VARIANTS {
            for at in ["00:00:00", "02:30:00", "23:59:00"] {
                let schedule = Schedule { at: at.parse().unwrap(), timezone: zone };
                let (mut date, last) = (day("2023-12-30"), day("2026-12-31"));
                let mut before = schedule.start_of(date.minus(1));
                while date < last {
                    let start = schedule.start_of(date);
                    // In Nuuk clocks go forward at 23:00, so that 23:59 is the next day's 00:00.
                    let is_left_out = start.with_timezone(&zone).time() != schedule.at;
                    let about = schedule.date_at(start);
                    let is_it = about == date || is_left_out && about == date.plus(1);
                    assert!(is_it, "{zone} {at} {date}: {about}");
                    let hours = (start - before).num_minutes();
                    assert!((22 * 60..=26 * 60).contains(&hours), "{zone} {at} {date}: {hours}");
                    let due = schedule.next(date, schedule.at);
                    assert_eq!(due, schedule.start_of(date.plus(1)), "{zone} {at} {date}");
                    before = start;
                    date = date.plus(1);
                }
            }
        }
    }

    #[test]
    fn the_first_deadline_counts() {
        let berlin = schedule("03:00:00", "Europe/Berlin");
        let date = day("2026-03-28");
        let started = instant("2026-03-29T01:10:00Z");
        let of = |deadline: &Deadline, took: &[Duration]| {
            let due = deadline.due(Some(&berlin), date, started, took)?;
            Some((due.at, due.warn, due.because))
        };
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        assert_eq!(of(&deadline(), &[]), None);
        let clock = Deadline { at: Some("06:00:00".parse().unwrap()), ..deadline() };
        let (at, warn, because) = of(&clock, &[]).unwrap();
        // Daylight saving begins that night: 06:00 is 04:00 UTC, and no longer 05:00.
        assert_eq!((at, warn), (instant("2026-03-29T04:00:00Z"), instant("2026-03-29T03:26:00Z")));
        assert_eq!(because, "it is due at 06:00 Europe/Berlin");
        let early = Deadline { at: Some("01:00:00".parse().unwrap()), ..deadline() };
        assert_eq!(of(&early, &[]).unwrap().0, instant("2026-03-29T23:00:00Z"), "the next day's");
        let allowed = Deadline { after_schedule: Some(hours(2)), ..clock.clone() };
        assert_eq!(of(&allowed, &[]).unwrap().0, instant("2026-03-29T03:00:00Z"));
        let own = Deadline { after_start: Some(hours(1)), ..allowed.clone() };
        assert_eq!(of(&own, &[]).unwrap().0, instant("2026-03-29T02:10:00Z"));
        let average = Average { runs: 3, factor: 1.5 };
        let average = Deadline { average: Some(average), ..own.clone() };
        let took = [600, 1_200, 1_800, 86_400].map(Duration::from_secs);
        assert_eq!(of(&average, &took).unwrap().0, instant("2026-03-29T01:40:00Z"));
        assert_eq!(of(&average, &took[..2]), of(&own, &[]), "two runs are no average of three");
        // A day that is made up for has missed its own schedule long ago.
        let made_up = own.due(Some(&berlin), day("2026-03-01"), started, &[]).unwrap();
        assert_eq!(made_up.at, instant("2026-03-29T02:10:00Z"));
        assert_eq!(allowed.due(Some(&berlin), day("2026-03-01"), started, &[]), None);
    }
}
