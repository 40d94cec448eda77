//! All tables of a catalog in one session, for `recctl query` and look-ups.

use std::sync::Arc;

use crate::query::catalog_schema;
use crate::query::published::PublishedTable;
use crate::query::session::{QuerySession, failure_of};
use crate::run::failure::Outcome;
use crate::steps::context::Services;

/// A session in which every visible table of the catalog is registered.
pub async fn open_tables(services: &Services) -> Outcome<QuerySession> {
    let session = services.query.session()?;
    for table in services.catalog.tables().await? {
        let partitions = services.catalog.partitions(&table.name).await?;
        let schema = catalog_schema::from_entries(&table.columns)?;
        let published = PublishedTable::new(schema, table.by_day, partitions);
        session
            .context
            .register_table(table.name.as_str(), Arc::new(published))
            .map_err(|error| failure_of(error, &format!("open `{}`", table.name)))?;
    }
    Ok(session)
}
