//! The items about generations: which there are, and which one is visible.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, SecondsFormat, Utc};

use super::item::{Attributes, EXPIRES, PK, SK};
use crate::ports::{GenerationEntry, Lease};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// The partition key of all of them. No list has it: `put` refuses it.
pub(super) const RESERVED: &str = "#recctl";
/// The sort key of the pointer.
const POINTER: &str = "pointer";
/// What the sort keys of generations begin with.
const GENERATION_PREFIX: &str = "generation#";
/// What the sort keys of fences begin with.
const FENCE_PREFIX: &str = "fence#";
/// The longest name of a generation: a sort key of 1,024 bytes less the prefix, and some for the
/// number that a name gets that is used again.
const MAX_GENERATION_BYTES: usize = 1000;
/// Between the name of a generation and the number of a version.
const VERSION_SEPARATOR: char = '~';

pub(super) const GENERATION: &str = "generation";
pub(super) const VERSION: &str = "version";
pub(super) const MODEL: &str = "model";
pub(super) const CREATED: &str = "created";
pub(super) const ITEMS: &str = "items";
pub(super) const STATE: &str = "state";
pub(super) const CHECKPOINT: &str = "checkpoint";
/// The highest fence of a lease that was here.
pub(super) const FENCE: &str = "fence";
/// The handle that began the generation last.
pub(super) const LOADER: &str = "loader";
/// Of the pointer: how often it was set. Of a generation: the pointer's when it was begun last.
pub(super) const REVISION: &str = "revision";
/// When the items of the generation expire. Not [`EXPIRES`], which would remove the entry itself.
pub(super) const ITEMS_EXPIRE: &str = "items_expire";

/// How far a generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Loading,
    Sealed,
    /// It can never be seen again. Its entry stays until its items are gone.
    Removed,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Sealed => "sealed",
            Self::Removed => "removed",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Loading, Self::Sealed, Self::Removed].into_iter().find(|one| one.word() == word)
    }
}

/// What is said of a generation's content, by its own entry and by the pointer to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct About {
    pub generation: String,
    /// The sort key of its items: the name of the generation, unless that was used before.
    pub version: String,
    pub model: String,
    pub created: DateTime<Utc>,
    pub items: u64,
    /// Seconds since 1970.
    pub items_expire: Option<i64>,
}

/// The entry of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meta {
    pub about: About,
    pub state: State,
    pub checkpoint: u64,
    pub loader: String,
    pub revision: u64,
    /// Whether the entry itself will expire: its items do, and nothing is left to be deleted.
    pub expires: bool,
}

/// The pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer {
    pub about: About,
    pub revision: u64,
}

/// What a table says of its generations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Metas {
    pub generations: Vec<Meta>,
    pub pointer: Option<Pointer>,
    /// By lease.
    pub fences: BTreeMap<String, u64>,
}

impl Metas {
    /// Reads the items under [`RESERVED`]. Those that a later recctl may have put there are passed
    /// over.
    pub fn read(table: &str, items: Vec<Attributes>) -> Outcome<Self> {
        let mut metas = Self::default();
        for item in items {
            let sk = text(&item, SK).unwrap_or_default();
            let broken = || {
                let message = format!("the item `{RESERVED}`, `{sk}` of table `{table}` is broken");
                Failure::new(FailureKind::Quality, message)
            };
            if sk == POINTER {
                metas.pointer = Some(Pointer::read(&item).ok_or_else(broken)?);
            } else if sk.starts_with(GENERATION_PREFIX) {
                metas.generations.push(Meta::read(&item).ok_or_else(broken)?);
            } else if let Some(lease) = sk.strip_prefix(FENCE_PREFIX) {
                let fence = number(&item, FENCE).ok_or_else(broken)?;
                metas.fences.insert(lease.to_owned(), fence);
            }
        }
        Ok(metas)
    }

    /// Errors: `Conflict` if a later holder of the lease was here.
    pub fn check_fence(&self, lease: &Lease) -> Outcome<()> {
        match self.fences.get(&lease.name) {
            Some(fence) if *fence > lease.fence => Err(lease.fenced_off()),
            Some(_) | None => Ok(()),
        }
    }

    pub fn find(&self, generation: &str) -> Option<&Meta> {
        self.generations.iter().find(|meta| meta.about.generation == generation)
    }

    /// The generations that a person may know of.
    pub fn known(&self) -> impl Iterator<Item = &Meta> {
        self.generations.iter().filter(|meta| meta.state != State::Removed)
    }

    pub fn is_visible(&self, meta: &Meta) -> bool {
        self.pointer.as_ref().is_some_and(|pointer| pointer.about.version == meta.about.version)
    }
}

impl About {
    fn read(item: &Attributes) -> Option<Self> {
        let created = text(item, CREATED)?;
        Some(Self {
            generation: text(item, GENERATION)?.to_owned(),
            version: text(item, VERSION)?.to_owned(),
            model: text(item, MODEL)?.to_owned(),
            created: DateTime::parse_from_rfc3339(created).ok()?.to_utc(),
            items: number(item, ITEMS)?,
            items_expire: number(item, ITEMS_EXPIRE),
        })
    }

    fn write(&self) -> Attributes {
        let mut item = Attributes::from([
            (GENERATION.to_owned(), s(&self.generation)),
            (VERSION.to_owned(), s(&self.version)),
            (MODEL.to_owned(), s(&self.model)),
            (CREATED.to_owned(), s(self.created.to_rfc3339_opts(SecondsFormat::Micros, true))),
            (ITEMS.to_owned(), n(self.items)),
        ]);
        if let Some(expire) = self.items_expire {
            item.insert(ITEMS_EXPIRE.to_owned(), n(expire));
        }
        item
    }

    /// As the port has it.
    pub fn entry(&self, table: &str, sealed: bool, visible: bool) -> GenerationEntry {
        GenerationEntry {
            table: table.to_owned(),
            generation: self.generation.clone(),
            model: self.model.clone(),
            created: self.created,
            items: if sealed { self.items } else { 0 },
            sealed,
            visible,
        }
    }
}

impl Meta {
    pub fn read(item: &Attributes) -> Option<Self> {
        Some(Self {
            about: About::read(item)?,
            state: State::parse(text(item, STATE)?)?,
            checkpoint: number(item, CHECKPOINT)?,
            loader: text(item, LOADER)?.to_owned(),
            revision: number(item, REVISION)?,
            expires: item.contains_key(EXPIRES),
        })
    }

    /// The whole item.
    pub fn write(&self) -> Attributes {
        let mut item = generation_key(&self.about.generation);
        item.extend(self.about.write());
        item.extend([
            (STATE.to_owned(), s(self.state.word())),
            (CHECKPOINT.to_owned(), n(self.checkpoint)),
            (LOADER.to_owned(), s(&self.loader)),
            (REVISION.to_owned(), n(self.revision)),
        ]);
        item
    }
}

impl Pointer {
    pub fn read(item: &Attributes) -> Option<Self> {
        Some(Self { about: About::read(item)?, revision: number(item, REVISION)? })
    }

    /// The whole item.
    pub fn write(&self) -> Attributes {
        let mut item = pointer_key();
        item.extend(self.about.write());
        item.insert(REVISION.to_owned(), n(self.revision));
        item
    }
}

/// Errors: `Usage` for a name that makes no sort key.
pub(super) fn check_generation(generation: &str) -> Outcome<()> {
    if generation.is_empty() || generation.len() > MAX_GENERATION_BYTES {
        let message = format!(
            "the name of a generation has {} bytes (1 to {MAX_GENERATION_BYTES} are taken)",
            generation.len()
        );
        return Err(Failure::new(FailureKind::Usage, message));
    }
    if generation.contains(VERSION_SEPARATOR) {
        let message =
            format!("the name of a generation holds `{VERSION_SEPARATOR}`: `{generation}`");
        return Err(Failure::new(FailureKind::Usage, message));
    }
    Ok(())
}

/// The version of a generation whose name was used before, as `last`.
pub(super) fn next_version(generation: &str, last: &str) -> String {
    let number = last.split_once(VERSION_SEPARATOR).and_then(|(_, number)| number.parse().ok());
    let next = number.unwrap_or(1_u64).saturating_add(1);
    format!("{generation}{VERSION_SEPARATOR}{next}")
}

/// The key of the pointer.
pub(super) fn pointer_key() -> Attributes {
    key(RESERVED, POINTER)
}

/// The key of a lease's fence.
pub(super) fn fence_key(lease: &str) -> Attributes {
    key(RESERVED, &format!("{FENCE_PREFIX}{lease}"))
}

/// The key of a generation's entry.
pub(super) fn generation_key(generation: &str) -> Attributes {
    key(RESERVED, &format!("{GENERATION_PREFIX}{generation}"))
}

/// A key.
pub(super) fn key(pk: &str, sk: &str) -> Attributes {
    Attributes::from([(PK.to_owned(), s(pk)), (SK.to_owned(), s(sk))])
}

/// A text.
pub(super) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A whole number.
pub(super) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn text<'a>(item: &'a Attributes, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

fn number<T: std::str::FromStr>(item: &Attributes, name: &str) -> Option<T> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> Meta {
        Meta {
            about: About {
                generation: "2026".to_owned(),
                version: "2026~2".to_owned(),
                model: "als".to_owned(),
                created: "2026-03-02T03:00:00.123456Z".parse().unwrap(),
                items: 7,
                items_expire: Some(1_800_000_000),
            },
            state: State::Sealed,
            checkpoint: 5,
            loader: "a1".to_owned(),
            revision: 3,
            expires: false,
        }
    }

    #[test]
    fn entries_come_back_as_they_were() {
        let pointer = Pointer { about: meta().about, revision: 9 };
        let mut unknown = key(RESERVED, "news");
        unknown.insert("x".to_owned(), s("y"));
        let mut fence = fence_key("daily/2026-03-01");
        fence.insert(FENCE.to_owned(), n(7));
        let items = vec![meta().write(), unknown, pointer.write(), fence];
        let read = Metas::read("t", items).unwrap();
        let fences = BTreeMap::from([("daily/2026-03-01".to_owned(), 7)]);
        assert_eq!(read, Metas { generations: vec![meta()], pointer: Some(pointer), fences });
        assert!(read.is_visible(read.find("2026").unwrap()));
        let mut expiring = meta().write();
        expiring.insert(EXPIRES.to_owned(), n(1));
        assert!(Meta::read(&expiring).unwrap().expires);
    }

    #[test]
    fn broken_entries_are_told() {
        let mut broken = meta().write();
        broken.insert(STATE.to_owned(), s("sold"));
        let failure = Metas::read("t", vec![broken]).unwrap_err();
        assert_eq!(failure.message, "the item `#recctl`, `generation#2026` of table `t` is broken");
    }

    #[test]
    fn a_name_that_is_used_again_gets_a_number() {
        assert_eq!(next_version("1", "1"), "1~2");
        assert_eq!(next_version("1", "1~2"), "1~3");
        check_generation("20260301T031502-9f3a1c20").unwrap();
        for bad in ["", "1~2", "x".repeat(1001).as_str()] {
            assert_eq!(check_generation(bad).unwrap_err().kind, FailureKind::Usage);
        }
    }
}
