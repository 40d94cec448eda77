//! The serving store in DynamoDB: one table for each served table, `<prefix><table>`.
//!
//! # What a table holds
//!
//! Keys are the texts `pk` (partition key) and `sk` (sort key).
//!
//! | `pk` | `sk` | other attributes |
//! |---|---|---|
//! | `user#u1`, `segment#DE#mobile`, … | version | `items`, `scores`, perhaps `expires` |
//! | `#recctl` | `pointer` | `version`, `generation`, `model`, `created`, `items`, `revision`, perhaps `items_expire` |
//! | `#recctl` | `generation#<name>` | the same, and `state`, `checkpoint`, `loader` |
//! | `#recctl` | `fence#<lease>` | `fence`: of the last holder of that lease that was here |
//!
//! A reader in any language makes two reads: the pointer (once in a while is enough), then the list.
//!
//! ```python
//! pointer = table.get_item(Key={"pk": "#recctl", "sk": "pointer"})["Item"]
//! found = table.get_item(Key={"pk": f"user#{user}", "sk": pointer["version"]}).get("Item")
//! best = found["items"] if found else fallback()
//! ```
//!
//! Eventually consistent reads are good enough: a version is complete before the pointer names it.
//! A reader that keeps the pointer must read it again when a list is missing, for the old version's
//! lists go when the pointer has moved on, at the earliest with the load after the next where a load
//! step keeps two generations.
//!
//! * `items`: the items, best first, as a list of texts; `scores`: their scores, in the same order,
//!   as a list of numbers. Two lists and not a list of maps, because DynamoDB counts the names of a
//!   map's attributes in every element: fifty items of eight bytes with full scores are 1.1 KB like
//!   this, 1.7 KB as maps and 1.6 KB as JSON in a text. A write unit is 1 KB, so that shorter lists
//!   cost one instead of two; and a console or any SDK shows them without a parser.
//! * `version`: the generation's name, with `~2`, `~3`, … if the name was used before. `generation`,
//!   `model` and `created` (RFC 3339) say what it is; `items`, how many lists it holds.
//! * `state`: `loading`, `sealed` or `removed`.
//! * `expires`, `items_expire`: seconds since 1970, with `removal: expire` only.
//!
//! # Loading
//!
//! Every change of a pointer or an entry is conditional. A generation that is loaded for itself is
//! sealed and made visible in one transaction; it fails if somebody joined in the load since the
//! items were counted, and if a newer generation became visible since the load was begun last: a
//! process that was paused for an hour does not bring yesterday back. It fails too if a later holder
//! of the same lease was here, as the fence says in the same transaction.
//!
//! DynamoDB cannot put many items on a condition. What a paused process can still do is to put
//! items of its own version: under the generation's name, which says what work it is, so that they
//! are the same items; and if the generation has been removed meanwhile, items that nobody sees and
//! that stay until somebody deletes them (with `removal: expire` they go by themselves).
//!
//! # How items are counted
//!
//! If this process put all items itself, it knows their keys and counts those; a hundred items are
//! read back and compared in any case. Otherwise (a load that goes on, or two loaders) the items are
//! counted in the table by a scan: half a read unit for each 4 KB of the whole table, all
//! generations; for a million lists and three generations about 0.4 million read units, five
//! hundredths of a dollar, at a quarter of the table's read capacity. If that does not find the
//! right number, it is done again with consistent reads, before anybody is told.
//!
//! # How old generations go
//!
//! `removal: delete`: the entry is marked as removed, so that it can never be seen again; a scan finds
//! its items; they are deleted at the same rate as items are written, a write unit for each KB; then
//! the entry goes. An interrupted removal is finished by the next.
//!
//! `removal: expire`: to mark an item costs what deleting it costs, so items are never marked: they
//! are written with the time when they will expire, 30 days after their load began, and DynamoDB
//! deletes them for nothing within days of that. Removing a generation is then one write. The price
//! is storage for a month's generations, and **the visible generation expires too**: a table that
//! nothing is loaded into for 30 days serves nothing. The pointer says when (`items_expire`), for an
//! alarm. Whoever loads less than weekly should stay with `delete`.

mod failure;
mod generation;
mod item;
mod limiter;
mod meta;
mod request;
mod scan;
mod table;
mod tally;
mod writer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use chrono::{DateTime, Utc};

use self::failure::{contended, not_begun, of_code, sealed};
use self::generation::fence_of;
use self::item::{decode, encode};
use self::meta::{
    About, Meta, Metas, Pointer, RESERVED, State, check_generation, generation_key, key, n,
    next_version, pointer_key, s,
};
use self::request::{Change, Done, pause};
use self::table::{ServedTable, describe, has_our_keys};
use self::tally::Tally;
use self::writer::{Write, write_all};
use super::error::failure;
use super::session::AwsSession;
use crate::pipeline::target::{Removal, ServingOptions};
use crate::ports::{Clock, GenerationEntry, Lease, ServedList, ServingItem, ServingStore};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// How long items live with `removal: expire`.
const LIFETIME_SECONDS: i64 = 30 * 24 * 60 * 60;
/// How much longer the entry of a removed generation lives: DynamoDB deletes "within a few days"
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html>), and as long as
/// there are items of a version, its name must not be used again.
const ENTRY_OUTLIVES_SECONDS: i64 = 14 * 24 * 60 * 60;
/// How often a change is tried that somebody else's change prevents.
const ATTEMPTS: u32 = 8;

/// Keeps served tables in DynamoDB.
pub struct DynamoDbServingStore {
    client: Client,
    session: AwsSession,
    options: ServingOptions,
    clock: Arc<dyn Clock>,
    /// Says which handle began a generation last.
    loader: String,
    tables: Mutex<HashMap<String, Arc<ServedTable>>>,
    /// By table and generation: its version, and what was put.
    loads: Mutex<HashMap<(String, String), (String, Tally)>>,
}

impl DynamoDbServingStore {
    /// Takes the client from a session. No request is sent.
    ///
    /// Errors: `Usage` if the target says nothing of serving.
    pub fn new(session: &AwsSession, clock: Arc<dyn Clock>) -> Outcome<Self> {
        let Some(options) = session.target().serving.clone() else {
            let message = format!("target `{}` has no `serving`", session.target().name);
            return Err(Failure::new(FailureKind::Usage, message)
                .with_hint("add `serving:` with a `table_prefix` to the target"));
        };
        Ok(Self {
            client: session.dynamodb(),
            session: session.clone(),
            options,
            clock,
            loader: format!("{:032x}", rand::random::<u128>()),
            tables: Mutex::default(),
            loads: Mutex::default(),
        })
    }

    fn name(&self, table: &str) -> String {
        format!("{}{table}", self.options.table_prefix)
    }

    /// The table, if it is there.
    async fn table(&self, table: &str) -> Outcome<Option<Arc<ServedTable>>> {
        let known = locked(&self.tables).get(table).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let units = self.options.max_write_units;
        let found = ServedTable::find(&self.client, table, &self.name(table), units).await?;
        Ok(found.map(|found| self.remember(found)))
    }

    async fn table_to_load(&self, table: &str) -> Outcome<Arc<ServedTable>> {
        let known = locked(&self.tables).get(table).cloned();
        let found = match known {
            Some(known) if describe(&self.client, &known.name).await?.is_some() => known,
            _ => {
                let (name, tags) = (self.name(table), &self.session.target().tags);
                let units = self.options.max_write_units;
                let found =
                    ServedTable::find_or_create(&self.client, table, &name, tags, units).await?;
                self.remember(found)
            }
        };
        match self.options.removal {
            Removal::Expire => found.enable_expiry().await?,
            Removal::Delete => {}
        }
        Ok(found)
    }

    fn remember(&self, found: ServedTable) -> Arc<ServedTable> {
        let found = Arc::new(found);
        locked(&self.tables).insert(found.table.clone(), Arc::clone(&found));
        found
    }
}

#[async_trait]
impl ServingStore for DynamoDbServingStore {
    async fn begin(
        &self,
        table: &str,
        generation: &str,
        model: &str,
        now: DateTime<Utc>,
    ) -> Outcome<u64> {
        check_generation(generation)?;
        let table = self.table_to_load(table).await?;
        for attempt in 0..ATTEMPTS {
            let metas = table.metas().await?;
            let revision = metas.pointer.as_ref().map_or(0, |pointer| pointer.revision);
            let known = metas.find(generation);
            let place = (table.table.clone(), generation.to_owned());
            match known {
                Some(known) if known.state == State::Sealed => {
                    return Err(sealed(&table.table, generation));
                }
                Some(known) if known.state == State::Loading => {
                    let change = Change::of(
                        generation_key(generation),
                        "#state = :loading AND #version = :version",
                    )
                    .update("SET #loader = :loader, #revision = :revision")
                    .value("loading", s(State::Loading.word()))
                    .value("version", s(&known.about.version))
                    .value("loader", s(&self.loader))
                    .value("revision", n(revision));
                    if table.update_if(change).await? == Done::Yes {
                        let mut loads = locked(&self.loads);
                        let version = known.about.version.clone();
                        let load =
                            loads.entry(place).or_insert_with(|| (version, Tally::default()));
                        if load.0 != known.about.version {
                            *load = (known.about.version.clone(), Tally::default());
                        }
                        if known.loader != self.loader {
                            load.1.is_shared();
                        }
                        return Ok(known.checkpoint);
                    }
                }
                Some(known) if !known.expires => {
                    let message =
                        format!("generation `{generation}` of `{}` is being removed", table.table);
                    return Err(Failure::new(FailureKind::Conflict, message)
                        .with_hint("load another generation; the removal ends with that"));
                }
                // Never used, or its items expire; those must not become part of the new one.
                Some(_) | None => {
                    let last = known.map(|known| known.about.version.as_str());
                    let version = last.map_or_else(
                        || generation.to_owned(),
                        |last| next_version(generation, last),
                    );
                    let lifetime = match self.options.removal {
                        Removal::Expire => Some(now.timestamp().saturating_add(LIFETIME_SECONDS)),
                        Removal::Delete => None,
                    };
                    let meta = Meta {
                        about: About {
                            generation: generation.to_owned(),
                            version: version.clone(),
                            model: model.to_owned(),
                            created: now,
                            items: 0,
                            items_expire: lifetime,
                        },
                        state: State::Loading,
                        checkpoint: 0,
                        loader: self.loader.clone(),
                        revision,
                        expires: false,
                    };
                    let free = match last {
                        Some(last) => Change::of(generation_key(generation), "#version = :last")
                            .value("last", s(last)),
                        None => Change::of(generation_key(generation), "attribute_not_exists(#pk)"),
                    };
                    if table.put_if(meta.write(), free).await? == Done::Yes {
                        locked(&self.loads).insert(place, (version, Tally::of_new()));
                        return Ok(0);
                    }
                }
            }
            tokio::time::sleep(pause(attempt)).await;
        }
        Err(contended(&table.table, generation))
    }

    async fn put(&self, table: &str, generation: &str, items: &[ServingItem]) -> Outcome<()> {
        let found = self.table(table).await?;
        let table = found.ok_or_else(|| not_begun(table, generation))?;
        let meta = self.open_entry(&table, generation).await?;
        // All items are looked at before the first is written.
        let mut encoded = Vec::with_capacity(items.len());
        let mut last = HashMap::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            encoded.push(encode(item, &meta.about.version, meta.about.items_expire)?);
            // Of two items of one key the later one counts; a batch takes but one.
            last.insert(item.key.as_str(), index);
            if index % 100 == 99 {
                tokio::task::yield_now().await;
            }
        }
        let mut writes = Vec::with_capacity(last.len());
        let mut put = Vec::with_capacity(last.len());
        for (index, (item, encoded)) in items.iter().zip(encoded).enumerate() {
            if last.get(item.key.as_str()) == Some(&index) {
                writes.push(Write::put(encoded)?);
                put.push(item);
            }
        }
        // The order is left as it is: each list has a partition key of its own, which DynamoDB
        // spreads by a hash, so that no order puts neighbours into one partition.
        self.with_load(&table, &meta, Tally::begin);
        write_all(&table.client, &table.name, &table.write, writes).await?;
        self.with_load(&table, &meta, |tally| tally.end(&put));
        Ok(())
    }

    async fn checkpoint(&self, table: &str, generation: &str, items: u64) -> Outcome<()> {
        let found = self.table(table).await?;
        let table = found.ok_or_else(|| not_begun(table, generation))?;
        let load = (table.table.clone(), generation.to_owned());
        let version = locked(&self.loads).get(&load).map(|(version, _)| version.clone());
        // Two loaders of one generation may be at different places; the further one counts.
        let change = match version {
            Some(version) => Change::of(
                generation_key(generation),
                "#state = :loading AND #checkpoint < :items AND #version = :version",
            )
            .value("version", s(version)),
            None => {
                Change::of(generation_key(generation), "#state = :loading AND #checkpoint < :items")
            }
        };
        let change = change
            .update("SET #checkpoint = :items")
            .value("loading", s(State::Loading.word()))
            .value("items", n(items));
        match table.update_if(change).await? {
            Done::Yes => Ok(()),
            // Either it is told why not, or another loader is further.
            Done::No(_) => self.open_entry(&table, generation).await.map(|_| ()),
        }
    }

    async fn seal_and_flip(
        &self,
        table: &str,
        generation: &str,
        items: u64,
        lease: &Lease,
    ) -> Outcome<()> {
        let found = self.table(table).await?;
        let table = found.ok_or_else(|| not_begun(table, generation))?;
        for attempt in 0..ATTEMPTS {
            let metas = table.metas().await?;
            metas.check_fence(lease)?;
            let meta = metas.known().find(|meta| meta.about.generation == generation);
            let meta = meta.ok_or_else(|| not_begun(&table.table, generation))?;
            let is_sealed = meta.state == State::Sealed;
            let held =
                if is_sealed { meta.about.items } else { self.held(&table, meta, items).await? };
            if held != items {
                let message = format!(
                    "generation `{generation}` of `{}` holds {held} items instead of {items}",
                    table.table
                );
                return Err(Failure::new(FailureKind::Quality, message));
            }
            if is_sealed {
                return match metas.is_visible(meta) {
                    true => Ok(()),
                    false => self.flip(&table.table, generation, lease).await,
                };
            }
            if let Some(visible) = &metas.pointer
                && visible.revision != meta.revision
                && visible.about.generation.as_str() > generation
            {
                let message = format!(
                    "generation `{}` of `{}` became visible while `{generation}` was loaded",
                    visible.about.generation, table.table
                );
                return Err(Failure::new(FailureKind::Conflict, message).with_hint(
                    "nothing is to be done, unless the older one is wanted: load it anew",
                ));
            }
            self.compare_sample(&table, meta).await?;
            let about = About { items, ..meta.about.clone() };
            let seal = Change::of(
                generation_key(generation),
                "#state = :loading AND #version = :version AND #loader = :loader",
            )
            .update("SET #state = :sealed, #items = :items")
            .value("loading", s(State::Loading.word()))
            .value("sealed", s(State::Sealed.word()))
            .value("version", s(&about.version))
            .value("loader", s(&meta.loader))
            .value("items", n(items));
            if self.point(&table, &metas, &about, seal, lease).await? == Done::Yes {
                locked(&self.loads).remove(&(table.table.clone(), generation.to_owned()));
                return Ok(());
            }
            tokio::time::sleep(pause(attempt)).await;
        }
        Err(contended(&table.table, generation))
    }

    async fn flip(&self, table: &str, generation: &str, lease: &Lease) -> Outcome<()> {
        let missing = || {
            let message = format!("`{table}` has no complete generation `{generation}`");
            Failure::new(FailureKind::NotFound, message)
        };
        let found = self.table(table).await?.ok_or_else(missing)?;
        for attempt in 0..ATTEMPTS {
            let metas = found.metas().await?;
            metas.check_fence(lease)?;
            let meta = metas.find(generation).filter(|meta| meta.state == State::Sealed);
            let about = &meta.ok_or_else(missing)?.about;
            if about.items_expire.is_some_and(|expire| expire <= self.clock.now().timestamp()) {
                let hint = "its items expire 30 days after they were loaded: load them anew";
                return Err(missing().with_hint(hint));
            }
            if meta.is_some_and(|meta| metas.is_visible(meta)) {
                return Ok(());
            }
            let sealed =
                Change::of(generation_key(generation), "#state = :sealed AND #version = :version")
                    .value("sealed", s(State::Sealed.word()))
                    .value("version", s(&about.version));
            if self.point(&found, &metas, about, sealed, lease).await? == Done::Yes {
                return Ok(());
            }
            tokio::time::sleep(pause(attempt)).await;
        }
        Err(contended(table, generation))
    }

    async fn fence(&self, table: &str, lease: &Lease) -> Outcome<()> {
        let table = self.table_to_load(table).await?;
        match table.update_if(fence_of(lease)).await? {
            Done::Yes => Ok(()),
            Done::No(_) => Err(lease.fenced_off()),
        }
    }

    async fn generations(&self, table: &str) -> Outcome<Vec<GenerationEntry>> {
        let Some(found) = self.table(table).await? else { return Ok(vec![]) };
        for attempt in 0..ATTEMPTS {
            let metas = found.metas().await?;
            let mut entries: Vec<_> = metas
                .known()
                .map(|meta| {
                    let visible = metas.is_visible(meta);
                    // Between the reads of the two the transaction may have come that changes both.
                    let about = match &metas.pointer {
                        Some(pointer) if visible => &pointer.about,
                        _ => &meta.about,
                    };
                    about.entry(table, visible || meta.state == State::Sealed, visible)
                })
                .collect();
            // Or a load, of which only the pointer was seen.
            if metas.pointer.is_none() || entries.iter().any(|entry| entry.visible) {
                entries.sort_by(|one, other| other.generation.cmp(&one.generation));
                return Ok(entries);
            }
            tokio::time::sleep(pause(attempt)).await;
        }
        let message = format!("the pointer of `{table}` names a generation that is not there");
        Err(Failure::new(FailureKind::Quality, message)
            .with_hint("load it anew; somebody may have deleted items by hand"))
    }

    async fn tables(&self) -> Outcome<Vec<String>> {
        let mut names = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let request = self.client.list_tables().set_exclusive_start_table_name(next);
            let answer = request
                .send()
                .await
                .map_err(|error| failure("list the tables of DynamoDB", &error, of_code))?;
            names.extend(answer.table_names.unwrap_or_default());
            next = answer.last_evaluated_table_name;
            if next.is_none() {
                break;
            }
        }
        let mut tables = Vec::new();
        for name in names {
            let Some(table) = name.strip_prefix(&self.options.table_prefix) else { continue };
            // Others may have tables of the same prefix.
            match describe(&self.client, &name).await? {
                Some(found) if has_our_keys(&found) => {}
                _ => continue,
            }
            let Some(found) = self.table(table).await? else { continue };
            if found.metas().await?.known().next().is_some() {
                tables.push(table.to_owned());
            }
        }
        tables.sort();
        Ok(tables)
    }

    async fn get(&self, table: &str, wanted: &str) -> Outcome<Option<ServedList>> {
        let missing =
            || Failure::new(FailureKind::NotFound, format!("`{table}` has no visible generation"));
        let found = self.table(table).await?.ok_or_else(missing)?;
        let pointer = async || -> Outcome<Option<Pointer>> {
            let item = found.item(pointer_key()).await?;
            Ok(Metas::read(&found.name, item.into_iter().collect())?.pointer)
        };
        let mut now = pointer().await?.ok_or_else(missing)?;
        // No list has these, and DynamoDB refuses to look for them.
        if wanted.is_empty() || wanted.len() > item::MAX_KEY_BYTES || wanted == RESERVED {
            return Ok(None);
        }
        loop {
            if let Some(attributes) = found.item(key(wanted, &now.about.version)).await? {
                let item = decode(wanted, attributes)?;
                let generation = now.about.entry(table, true, true);
                return Ok(Some(ServedList { generation, item }));
            }
            // It is not there, or no longer: the pointer may have moved since it was read. Each
            // round is another generation, so that this comes to an end.
            let then = std::mem::replace(&mut now, pointer().await?.ok_or_else(missing)?);
            if then.about.version == now.about.version {
                return Ok(None);
            }
        }
    }

    async fn discard(&self, table: &str, generation: &str) -> Outcome<bool> {
        let Some(table) = self.table(table).await? else { return Ok(true) };
        let metas = table.metas().await?;
        let Some(meta) = metas.find(generation) else { return Ok(true) };
        let removed = meta.state == State::Removed || self.remove(&table, meta).await?;
        if removed && (self.options.removal == Removal::Delete || meta.about.items_expire.is_none())
        {
            self.finish_removal(&table, &[meta]).await?;
        }
        Ok(removed)
    }

    async fn prune(&self, table: &str, keep: usize) -> Outcome<usize> {
        let Some(table) = self.table(table).await? else { return Ok(0) };
        let metas = table.metas().await?;
        let mut unfinished: Vec<&Meta> = metas
            .generations
            .iter()
            .filter(|meta| meta.state == State::Removed && !meta.expires)
            .collect();
        let mut removed = 0;
        // Without a visible generation there is nothing older than it.
        if let Some(visible) = &metas.pointer {
            let mut newest: Vec<&Meta> =
                metas.known().filter(|meta| meta.state == State::Sealed).collect();
            newest.sort_by(|one, other| other.about.generation.cmp(&one.about.generation));
            newest.truncate(keep);
            for meta in metas.known() {
                let is_old = meta.about.generation < visible.about.generation;
                let is_kept = newest.iter().any(|kept| kept.about.version == meta.about.version);
                if is_old && !is_kept && self.remove(&table, meta).await? {
                    removed += 1;
                    if self.options.removal == Removal::Delete || meta.about.items_expire.is_none()
                    {
                        unfinished.push(meta);
                    }
                }
            }
        }
        self.finish_removal(&table, &unfinished).await?;
        Ok(removed)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
