//! Publications that were begun: one item each, or several where a record is too large for one.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, TransactWriteItem};

use super::item::{self, Item, SK, build, key};
use super::{DynamoDbStateStore, TRANSACTION_ACTIONS, TRANSACTION_BYTES};
use crate::ports::{Lease, Publication};
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::LedgerRow;

/// The partition key of all of them.
const PUBLICATIONS: &str = "publications";
/// Bytes of a record in an item; of its 400 KB, keys and names get the rest.
const PART: usize = 380 * 1024;
/// How many items hold the record.
const PARTS: &str = "parts";
/// A part of the record, which zlib made smaller.
const PART_OF: &str = "part";

impl DynamoDbStateStore {
    pub(super) async fn put_publication(
        &self,
        publication: &Publication,
        lease: &Lease,
    ) -> Outcome<()> {
        let doing = format!("write down publication `{}`", publication.id);
        let items = items(publication, &doing)?;
        let bytes: usize = items.iter().map(item::size).sum();
        if bytes > TRANSACTION_BYTES || items.len() >= TRANSACTION_ACTIONS {
            let text = format!(
                "cannot {doing}: it takes {bytes} bytes and DynamoDB writes {TRANSACTION_BYTES} at once"
            );
            return Err(Failure::new(FailureKind::Exhausted, text)
                .with_hint("publish fewer partitions at once"));
        }
        let mut actions = Vec::with_capacity(items.len() + 1);
        for item in items {
            actions.push(self.put_action(item)?);
        }
        self.transact(&doing, Some(lease), actions).await
    }

    pub(super) async fn open_publications(&self) -> Outcome<Vec<Publication>> {
        let items = self.items("read the publications", PUBLICATIONS, None).await?;
        let mut parts: BTreeMap<String, Vec<Item>> = BTreeMap::new();
        for item in items {
            let sk = item.get(SK).and_then(|sk| sk.as_s().ok()).cloned().unwrap_or_default();
            let id = sk.rsplit_once('#').map_or(sk.as_str(), |(id, _)| id);
            parts.entry(id.to_owned()).or_default().push(item);
        }
        let mut all = Vec::with_capacity(parts.len());
        for (id, parts) in parts {
            all.push(publication(&id, &parts)?);
        }
        all.sort_by(|a: &Publication, b| (a.begun, &a.id).cmp(&(b.begun, &b.id)));
        Ok(all)
    }

    /// What forgets a publication, as part of a transaction.
    pub(super) async fn forget_actions(&self, id: &str) -> Outcome<Vec<TransactWriteItem>> {
        let doing = format!("end publication `{id}`");
        let mut actions = Vec::new();
        for item in self.items(&doing, PUBLICATIONS, Some(&format!("{id}#"))).await? {
            let sk = item.get(SK).and_then(|sk| sk.as_s().ok()).cloned().unwrap_or_default();
            let delete = Delete::builder().table_name(&self.table);
            let delete = delete.set_key(Some(key(PUBLICATIONS, &sk)));
            actions.push(TransactWriteItem::builder().delete(build(delete.build())?).build());
        }
        Ok(actions)
    }

    pub(super) async fn forget_publication(
        &self,
        id: &str,
        rows: &[LedgerRow],
        lease: &Lease,
    ) -> Outcome<()> {
        let mut actions = self.forget_actions(id).await?;
        actions.extend(self.ledger_actions(rows, actions.len())?);
        self.transact(&format!("end publication `{id}`"), Some(lease), actions).await
    }
}

/// A record over as many items as it takes.
fn items(publication: &Publication, doing: &str) -> Outcome<Vec<Item>> {
    let packed = item::packed(publication, doing)?;
    let chunks: Vec<&[u8]> = packed.chunks(PART).collect();
    let number = |number: usize| AttributeValue::N(number.to_string());
    let item = |(at, chunk): (usize, &&[u8])| {
        let mut item = key(PUBLICATIONS, &format!("{}#{at:02}", publication.id));
        item::stamp(&mut item);
        item.insert(PARTS.to_owned(), number(chunks.len()));
        item.insert(PART_OF.to_owned(), AttributeValue::B(Blob::new(*chunk)));
        item
    };
    Ok(chunks.iter().enumerate().map(item).collect())
}

/// The record of its items, which are in order. A second attempt may have taken fewer of them.
fn publication(id: &str, items: &[Item]) -> Outcome<Publication> {
    let broken = |why: &str| {
        let text = format!("cannot read publication `{id}` in the table of state: {why}");
        Failure::new(FailureKind::Input, text)
    };
    let parts = items.first().and_then(|item| item.get(PARTS)?.as_n().ok()?.parse::<usize>().ok());
    let parts = parts.ok_or_else(|| broken("nobody knows how many parts it has"))?;
    if items.len() < parts {
        return Err(broken("a part of it is gone"));
    }
    let mut packed = Vec::new();
    for item in &items[..parts] {
        item::check_version(item)?;
        match item.get(PART_OF) {
            Some(AttributeValue::B(part)) => packed.extend_from_slice(part.as_ref()),
            _ => return Err(broken("a part of it is empty")),
        }
    }
    item::unpacked(&packed).map_err(|why| broken(&why))
}
