//! Files that came after the tables of their day were made.

use std::collections::BTreeSet;

use super::preview::ranges;
use crate::pipeline::interval::{LogicalDate, Partition};

/// The source and day of a component of a fingerprint that says that files of a day before `date`
/// are others than when the partition was made.
pub(super) fn of(
    component: &str,
    partition: Partition,
    date: LogicalDate,
) -> Option<(String, LogicalDate)> {
    let day = partition.date().filter(|day| *day < date)?;
    let (source, of) = component.strip_prefix("files of `")?.split_once("` ")?;
    // A window reads files of days before the partition's own, which have their own partition.
    (of == day.to_string()).then(|| (source.to_owned(), day))
}

/// `late files of \`events\` for 2026-03-01 … 2026-03-02: made again, with what is made from it`
pub(super) fn notice(late: &BTreeSet<(String, LogicalDate)>) -> Vec<String> {
    let sources: BTreeSet<&String> = late.iter().map(|(source, _)| source).collect();
    let told = |source: &String| {
        let of_source = late.iter().filter(|(of, _)| of == source);
        let days: Vec<String> = ranges(of_source.map(|(_, day)| *day).collect())
            .into_iter()
            .map(|(first, last)| match first == last {
                true => first.to_string(),
                false => format!("{first} … {last}"),
            })
            .collect();
        let days = days.join(", ");
        format!("late files of `{source}` for {days}: made again, with what is made from it")
    };
    sources.into_iter().map(told).collect()
}
