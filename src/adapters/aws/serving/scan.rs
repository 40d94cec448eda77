//! Looks through a whole table: to count a version's items, and to delete those of old ones.

use std::collections::HashMap;
use std::time::Instant;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity, Select};
use futures::future::try_join_all;

use super::failure::of_code;
use super::item::Attributes;
use super::meta::{RESERVED, s};
use super::request::{key_of, names};
use super::table::ServedTable;
use super::writer::{PATIENCE, Write, given_up, lock, write_all};
use crate::adapters::aws::error::failure;
use crate::run::failure::{FailureKind, Outcome};

/// Pieces of the table that are read at once.
const SEGMENTS: usize = 8;
/// Items that are deleted at once.
const DELETES: usize = 2_000;
/// Versions that one pass looks for: a filter takes 100 values.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
const VERSIONS: usize = 90;

/// Where the reading of a segment stands.
#[derive(Debug, Clone)]
enum Cursor {
    From(Option<Attributes>),
    End,
}

/// What a page holds of what is looked for.
#[derive(Debug, Default)]
struct Page {
    count: u64,
    keys: Vec<(String, String)>,
}

/// One pass over the table, a page of each segment at a time. It costs half a read unit (consistent:
/// one) for each 4 KB of the table, whatever is found.
struct Pass<'a> {
    table: &'a ServedTable,
    filter: String,
    values: HashMap<String, AttributeValue>,
    /// Whether only the number is wanted.
    count: bool,
    consistent: bool,
    cursors: Vec<Cursor>,
}

impl<'a> Pass<'a> {
    fn new(table: &'a ServedTable, versions: &[String], count: bool, consistent: bool) -> Self {
        let mut values = HashMap::from([(":reserved".to_owned(), s(RESERVED))]);
        let mut places = Vec::with_capacity(versions.len());
        for (number, version) in versions.iter().enumerate() {
            places.push(format!(":v{number}"));
            values.insert(format!(":v{number}"), s(version));
        }
        // Entries of generations are never among what is found, whatever a generation is called.
        let filter = format!("#pk <> :reserved AND #sk IN ({})", places.join(", "));
        let cursors = vec![Cursor::From(None); SEGMENTS];
        Self { table, filter, values, count, consistent, cursors }
    }

    /// The next page of each segment that has one; empty at the end.
    async fn next(&mut self) -> Outcome<Vec<Page>> {
        let cursors = std::mem::take(&mut self.cursors);
        let this = &*self;
        let pages =
            try_join_all(cursors.into_iter().enumerate().map(
                async |(segment, cursor)| match cursor {
                    Cursor::From(start) => {
                        this.page(segment, start).await.map(|(p, c)| (Some(p), c))
                    }
                    Cursor::End => Ok((None, Cursor::End)),
                },
            ))
            .await?;
        let (pages, cursors): (Vec<_>, _) = pages.into_iter().unzip();
        self.cursors = cursors;
        Ok(pages.into_iter().flatten().collect())
    }

    async fn page(&self, segment: usize, start: Option<Attributes>) -> Outcome<(Page, Cursor)> {
        let mut refused = None;
        let limiter = &self.table.read;
        loop {
            // What a page costs is known afterwards, so that it is paid by the next one.
            let wait = lock(limiter).reserve(0.0, Instant::now());
            tokio::time::sleep(wait).await;
            let sent = Instant::now();
            let (select, projection) = match self.count {
                true => (Select::Count, None),
                false => (Select::SpecificAttributes, Some("#pk, #sk".to_owned())),
            };
            let request = self.table.client.scan().table_name(&self.table.name);
            let answer = request
                .segment(i32::try_from(segment).unwrap_or_default())
                .total_segments(SEGMENTS as i32)
                .select(select)
                .set_projection_expression(projection)
                .filter_expression(&self.filter)
                .set_expression_attribute_names(Some(names(&[&self.filter])))
                .set_expression_attribute_values(Some(self.values.clone()))
                .consistent_read(self.consistent)
                .set_exclusive_start_key(start.clone())
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .customize()
                .config_override(
                    aws_sdk_dynamodb::config::Builder::new().retry_config(RetryConfig::disabled()),
                )
                .send()
                .await;
            let now = Instant::now();
            match answer {
                Ok(answer) => {
                    let consumed = answer.consumed_capacity().and_then(|one| one.capacity_units());
                    let consumed = consumed.unwrap_or_default();
                    let mut limiter = lock(limiter);
                    limiter.settle(0.0, consumed, now);
                    limiter.taken(consumed);
                    let page = Page {
                        count: u64::try_from(answer.count).unwrap_or_default(),
                        keys: answer.items.into_iter().flatten().filter_map(key_of).collect(),
                    };
                    let next = match answer.last_evaluated_key {
                        Some(key) => Cursor::From(Some(key)),
                        None => Cursor::End,
                    };
                    return Ok((page, next));
                }
                Err(error) => {
                    let doing = format!("scan table `{}`", self.table.name);
                    let failure = failure(doing, &error, of_code);
                    if failure.kind != FailureKind::Transient {
                        return Err(failure);
                    }
                    if now.duration_since(*refused.get_or_insert(now)) > PATIENCE {
                        return Err(given_up(failure, PATIENCE));
                    }
                    lock(limiter).throttled(sent, false, rand::random(), now);
                }
            }
        }
    }
}

impl ServedTable {
    /// How many items a version holds.
    pub async fn count(&self, version: &str, consistent: bool) -> Outcome<u64> {
        let mut pass = Pass::new(self, &[version.to_owned()], true, consistent);
        let mut count = 0;
        loop {
            let pages = pass.next().await?;
            if pages.is_empty() {
                return Ok(count);
            }
            count += pages.iter().map(|page| page.count).sum::<u64>();
        }
    }

    /// Deletes the items of versions that nobody writes any more.
    pub async fn delete_versions(&self, versions: &[String]) -> Outcome<()> {
        for versions in versions.chunks(VERSIONS) {
            let mut pass = Pass::new(self, versions, false, false);
            let mut writes = Vec::with_capacity(DELETES);
            loop {
                let pages = pass.next().await?;
                let end = pages.is_empty();
                // Neighbours in a page lie in one partition, which takes 1,000 units a second.
                for (pk, sk) in interleave(pages.into_iter().map(|page| page.keys).collect()) {
                    writes.push(Write::delete(pk, sk)?);
                }
                if end || writes.len() >= DELETES {
                    let writes = std::mem::take(&mut writes);
                    write_all(&self.client, &self.name, &self.write, writes).await?;
                }
                if end {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The first of each, then the second of each, and so on.
fn interleave<T>(lists: Vec<Vec<T>>) -> Vec<T> {
    let mut all = Vec::with_capacity(lists.iter().map(Vec::len).sum());
    let mut lists: Vec<_> = lists.into_iter().map(Vec::into_iter).collect();
    while !lists.is_empty() {
        lists.retain_mut(|list| {
            let next = list.next();
            let more = next.is_some();
            all.extend(next);
            more
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::interleave;

    #[test]
    fn neighbours_part_ways() {
        let lists = vec![vec![1, 2, 3], vec![], vec![11], vec![21, 22]];
        assert_eq!(interleave(lists), [1, 11, 21, 2, 22, 3]);
        assert!(interleave::<u8>(vec![]).is_empty());
    }
}
