//! The warehouse in Redshift, by its Data API.
//!
//! A load is one `BatchExecuteStatement`, which is one transaction: COPY from an exact manifest into
//! temporary tables, checks, delete and insert, a row in the ledger `recctl_loads`. Three things
//! keep it from happening twice: the client token, for 8 hours; the statement's name, by which one
//! that still runs is found again, for a day; and the ledger, for good.

mod files;
mod manifest;
mod sql;
mod statements;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use object_store::ObjectStore;
use sha2::{Digest, Sha256};

use self::files::{preflight, too_long};
use self::manifest::Manifests;
use self::sql::{
    FENCES, LEDGER, Planned, Purpose, Step, Writer, columns_query, has_day, literal, quoted,
};
use self::statements::{Cell, Ended, Statements, aborted};
use self::table::{Column, Existing, Table, not_by_day};
use super::AwsSession;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::step::PARTITION_COLUMN;
use crate::pipeline::target::RedshiftOptions;
use crate::ports::limits::redshift::{BATCH, RedshiftType};
use crate::ports::{Lease, LoadBatch, LoadOutcome, Warehouse};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Keeps curated tables in Redshift, provisioned or serverless.
///
/// Types: whole numbers are `SMALLINT`, `INTEGER` or `BIGINT`, floating ones `REAL` or `DOUBLE
/// PRECISION`, texts `VARCHAR(65535)`, bytes `VARBYTE`, instants `TIMESTAMP` or, where the column has
/// a time zone, `TIMESTAMPTZ`, lists and structs `SUPER`. A column of the warehouse may be wider
/// than the files' (`BIGINT` for `INTEGER`), and a text column narrower as long as the texts fit.
#[derive(Debug, Clone)]
pub struct RedshiftWarehouse {
    statements: Statements,
    manifests: Manifests,
    lake: Arc<dyn ObjectStore>,
    options: RedshiftOptions,
    glue_database: String,
}

/// What the warehouse has of what a load needs.
#[derive(Debug, Default)]
struct Present {
    schema: bool,
    ledger: bool,
    fences: bool,
    tables: BTreeMap<String, Vec<Existing>>,
    /// The Glue database behind the schema of external tables.
    external: Option<String>,
}

impl RedshiftWarehouse {
    /// Opens the warehouse of the target; no request is sent. Paths of data files are relative to
    /// the root of `lake`, which is the target's lake.
    ///
    /// Errors: `Usage` if the target has no warehouse.
    pub fn new(session: &AwsSession, lake: Arc<dyn ObjectStore>) -> Outcome<Self> {
        let target = session.target();
        let Some(options) = target.warehouse.clone() else {
            let message = format!("target `{}` has no warehouse", target.name);
            return Err(Failure::new(FailureKind::Usage, message)
                .with_hint("add `warehouse: {redshift: …}` to the target"));
        };
        Ok(Self {
            statements: Statements::new(session.redshift_data(), options.clone()),
            manifests: Manifests::new(session),
            lake,
            options,
            glue_database: target.catalog.database.clone(),
        })
    }

    /// What there is, without changing anything.
    async fn present(&self, tables: &[Table<'_>]) -> Outcome<Present> {
        let schema = self.options.schema.to_lowercase();
        let mut names: Vec<&str> = tables.iter().map(Table::name).collect();
        names.extend([LEDGER, FENCES]);
        let mut sqls = vec![
            format!("SELECT 1 FROM pg_namespace WHERE nspname = {}", literal(&schema)),
            columns_query(&[&schema], &names),
        ];
        if tables.iter().any(Table::is_external) {
            sqls.push(format!(
                "SELECT databasename FROM svv_external_schemas WHERE schemaname = {}",
                literal(&self.options.external_schema.to_lowercase())
            ));
        }
        let mut results = self.statements.query("look at the tables", sqls).await?.into_iter();
        let mut present = Present {
            schema: results.next().is_some_and(|rows| !rows.is_empty()),
            ..Present::default()
        };
        for (_, name, column) in described(&results.next().unwrap_or_default()) {
            if name == LEDGER {
                present.ledger = true;
            } else if name == FENCES {
                present.fences = true;
            } else {
                present.tables.entry(name).or_default().push(column);
            }
        }
        let external = results.next().unwrap_or_default();
        present.external =
            external.first().and_then(|row| row.first()).and_then(Cell::text).map(str::to_owned);
        Ok(present)
    }

    async fn is_known(&self, writer: &Writer<'_>, token: &str) -> Outcome<bool> {
        let results = self.statements.query("read the ledger", vec![writer.known(token)]).await?;
        let count = results.first().and_then(|rows| rows.first()).and_then(|row| row.first());
        Ok(count.and_then(Cell::number).is_some_and(|count| count > 0))
    }

    /// Makes the schema of external tables over the catalog's database.
    async fn ensure_external(&self, present: &Present) -> Outcome<()> {
        let schema = &self.options.external_schema;
        match &present.external {
            Some(database) if table::same(database, &self.glue_database) => return Ok(()),
            Some(database) => {
                return Err(Failure::new(
                    FailureKind::Usage,
                    format!(
                        "the external schema `{schema}` reads the database `{database}` instead of `{}`",
                        self.glue_database
                    ),
                )
                .with_hint("drop it, or name another one as `external_schema` of the warehouse"));
            }
            None => {}
        }
        let sql = format!(
            "CREATE EXTERNAL SCHEMA IF NOT EXISTS {} FROM DATA CATALOG DATABASE {} IAM_ROLE {}",
            quoted(schema),
            literal(&self.glue_database),
            literal(&self.options.copy_role)
        );
        let doing = format!("make the external schema `{schema}`");
        self.change(&doing, vec![sql]).await
    }

    /// Runs statements that may be run again, outside of the load's transaction.
    async fn change(&self, doing: &str, sqls: Vec<String>) -> Outcome<()> {
        for chunk in sqls.chunks(BATCH) {
            let id = self.statements.submit("recctl-shape", None, chunk.to_vec()).await?;
            match self.statements.wait(&id).await? {
                Ended::Finished { .. } => {}
                Ended::Failed { error, .. } => {
                    let message = format!("cannot {doing} in Redshift: {error}");
                    return Err(Failure::new(FailureKind::Step, message));
                }
                Ended::Aborted => return Err(aborted(doing)),
            }
        }
        Ok(())
    }
}

/// How often a load begins anew because others made the same tables at the same time.
const SHAPING_ATTEMPTS: u32 = 4;

#[async_trait]
impl Warehouse for RedshiftWarehouse {
    async fn load(&self, batch: &LoadBatch) -> Outcome<LoadOutcome> {
        let mut attempt = 1;
        loop {
            match self.attempt(batch).await? {
                Ok(outcome) => return Ok(outcome),
                // Somebody else made the same table meanwhile; now it is there.
                Err(_) if attempt < SHAPING_ATTEMPTS => attempt += 1,
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn under_way(&self, tokens: &[String]) -> Outcome<Vec<String>> {
        Ok(self.running(tokens).await?.into_iter().map(|(name, _)| name).collect())
    }

    async fn cancel(&self, tokens: &[String]) -> Outcome<()> {
        for (_, id) in self.running(tokens).await? {
            self.statements.stop(&id).await?;
        }
        Ok(())
    }

    async fn fence(&self, lease: &Lease) -> Outcome<()> {
        let present = self.present(&[]).await?;
        let (schema, copy_role) = (self.options.schema.as_str(), self.options.copy_role.as_str());
        let writer = Writer { schema, copy_role, mark: "" };
        let mut steps = writer.make_ledger(present.schema, present.ledger, present.fences);
        steps.push(writer.lock());
        steps.push(writer.fence(lease));
        let (purposes, sqls): (Vec<Purpose>, Vec<String>) = steps.into_iter().unzip();
        let id = self.statements.submit("recctl-fence", None, sqls).await?;
        match self.statements.wait(&id).await? {
            Ended::Finished { .. } => Ok(()),
            Ended::Failed { at, error } => {
                Err(explained(at.and_then(|at| purposes.get(at)), &error, lease))
            }
            Ended::Aborted => Err(aborted("set a fence")),
        }
    }

    async fn count(&self, table: &str, date: Option<LogicalDate>) -> Outcome<Option<u64>> {
        let schemas = [self.options.schema.as_str(), self.options.external_schema.as_str()];
        let query = columns_query(&schemas, &[table]);
        let results = self.statements.query("look at the table", vec![query]).await?;
        let found = described(results.first().map_or(&[], Vec::as_slice));
        let columns_in = |schema: &str| -> Vec<Existing> {
            let of = found.iter().filter(|(of, ..)| table::same(of, schema));
            of.map(|(_, _, column)| column.clone()).collect()
        };
        // What is copied goes before what is read where it lies.
        let place = schemas.iter().map(|schema| (schema, columns_in(schema)));
        let Some((schema, columns)) = place.into_iter().find(|(_, columns)| !columns.is_empty())
        else {
            return Ok(None);
        };
        let mut sql = format!("SELECT count(*) FROM {}.{}", quoted(schema), quoted(table));
        if let Some(date) = date {
            if !has_day(&columns) {
                return Err(not_by_day(table));
            }
            let day = literal(&date.to_string());
            sql.push_str(&format!(" WHERE {} = {day}", quoted(PARTITION_COLUMN)));
        }
        let results = self.statements.query(&format!("count `{table}`"), vec![sql]).await?;
        let count = results.first().and_then(|rows| rows.first()).and_then(|row| row.first());
        Ok(count.and_then(Cell::number).map(i64::unsigned_abs))
    }
}

impl RedshiftWarehouse {
    /// Name and id of those of some loads that go on.
    async fn running(&self, tokens: &[String]) -> Outcome<Vec<(String, String)>> {
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        let names = tokens.iter().map(|token| statement_name(&self.options, token));
        let names: Vec<String> = names.collect();
        let mut running = self.statements.running(LOAD).await?;
        running.retain(|(name, _)| names.contains(name));
        Ok(running)
    }

    /// Loads once. The inner failure is of making or widening tables, which somebody else may do at
    /// the same time: `IF NOT EXISTS` does not keep two transactions from making one thing.
    async fn attempt(&self, batch: &LoadBatch) -> Outcome<Result<LoadOutcome, Failure>> {
        let tables = batch.tables.iter().map(Table::new).collect::<Outcome<Vec<_>>>()?;
        let copied = || tables.iter().filter(|table| !table.is_external());
        let rows: u64 = copied().map(|table| table.load.rows).sum();
        let present = self.present(&tables).await?;
        let name = statement_name(&self.options, &batch.token);
        let mark = &name[name.len() - 8..];
        let (schema, copy_role) = (self.options.schema.as_str(), self.options.copy_role.as_str());
        let writer = Writer { schema, copy_role, mark };
        if present.ledger && self.is_known(&writer, &batch.token).await? {
            return Ok(Ok(LoadOutcome::AlreadyLoaded));
        }
        // A process that died may have left the load running.
        let mut earlier = self.statements.find(&name).await?;
        if let Some(id) = earlier.running.take() {
            match self.statements.wait(&id).await? {
                Ended::Finished { last_rows } => return Ok(Ok(outcome(last_rows, rows))),
                Ended::Failed { .. } | Ended::Aborted => earlier.ended += 1,
            }
        }
        if tables.iter().any(Table::is_external) {
            self.ensure_external(&present).await?;
        }

        let mut planned = Vec::with_capacity(tables.len());
        for table in copied() {
            let existing = present.tables.get(&table.name().to_lowercase());
            let missing = table.missing(existing.map(Vec::as_slice))?;
            let known: Vec<Column> = existing
                .into_iter()
                .flatten()
                .filter_map(|one| Some(Column { name: one.name.clone(), kind: one.kind? }))
                .collect();
            let files = preflight(&self.lake, table, &known).await?;
            let narrow = table.narrow(&known);
            let exists = existing.is_some();
            planned.push((Planned { table, exists, missing, narrow, manifest: None }, files));
        }
        // All files of all tables are good: from here on something is written.
        let mut ready = Vec::with_capacity(planned.len());
        for (mut one, files) in planned {
            if !files.is_empty() {
                let url = self.manifests.put(&name, one.table.name(), &files).await?;
                one.manifest = Some(url);
            }
            ready.push(one);
        }

        let ledger = writer.make_ledger(present.schema, present.ledger, present.fences);
        let shape = ready.iter().flat_map(|one| writer.shape(one)).collect();
        let data = writer.data(batch, &ready, rows);
        let steps = self.fitted(ledger, writer.lock(), shape, data).await?;
        let (purposes, sqls): (Vec<Purpose>, Vec<String>) = steps.into_iter().unzip();
        let token = client_token(&name, earlier.ended, &sqls);
        let id = self.statements.submit(&name, Some(&token), sqls).await?;
        let ended = self.statements.wait(&id).await?;
        let failed = match ended {
            Ended::Finished { last_rows } => return Ok(Ok(outcome(last_rows, rows))),
            Ended::Failed { at, error } => {
                let purpose = at.and_then(|at| purposes.get(at));
                (explained(purpose, &error, &batch.lease), purpose.is_some_and(Purpose::is_shaping))
            }
            Ended::Aborted => (aborted("load the tables"), false),
        };
        // Another process may have come first, and be the reason.
        let present = self.present(&tables).await?;
        if present.ledger && self.is_known(&writer, &batch.token).await? {
            return Ok(Ok(LoadOutcome::AlreadyLoaded));
        }
        match failed {
            (failure, true) => Ok(Err(failure)),
            (failure, false) => Err(failure),
        }
    }

    /// The statements of the one transaction. Where they are too many for a batch, tables are made
    /// and widened before it, which does no harm if the rest fails.
    async fn fitted(
        &self,
        ledger: Vec<Step>,
        lock: Step,
        shape: Vec<Step>,
        data: Vec<Step>,
    ) -> Outcome<Vec<Step>> {
        if ledger.len() + 1 + shape.len() + data.len() <= BATCH {
            return Ok(ledger.into_iter().chain([lock]).chain(shape).chain(data).collect());
        }
        if 1 + data.len() > BATCH {
            return Err(Failure::new(
                FailureKind::Usage,
                format!(
                    "the load needs {} statements, and Redshift takes {BATCH} in one transaction",
                    1 + data.len()
                ),
            )
            .with_hint(
                "publish fewer tables of the pipeline to the warehouse, or some with the mode `external`",
            ));
        }
        let before = ledger.into_iter().chain(shape).map(|(_, sql)| sql).collect();
        self.change("make the tables", before).await?;
        Ok([lock].into_iter().chain(data).collect())
    }
}

/// Schema, table and column of each row of [`columns_query`].
fn described(rows: &[Vec<Cell>]) -> Vec<(String, String, Existing)> {
    let columns = rows.iter().filter_map(|row| {
        let [schema, table, name, shown, length, precision, scale] = row.as_slice() else {
            return None;
        };
        let shown = shown.text()?.to_owned();
        let kind =
            RedshiftType::of_catalog(&shown, length.number(), precision.number(), scale.number());
        let column = Existing { name: name.text()?.to_owned(), kind, shown };
        Some((schema.text()?.to_owned(), table.text()?.to_owned(), column))
    });
    columns.collect()
}

/// A load whose ledger row was there already did nothing.
fn outcome(ledger_rows: Option<u64>, rows: u64) -> LoadOutcome {
    match ledger_rows {
        Some(0) => LoadOutcome::AlreadyLoaded,
        Some(_) | None => LoadOutcome::Loaded(rows),
    }
}

/// What the failure of a statement means: told from what it is there for, not from the words.
fn explained(purpose: Option<&Purpose>, error: &str, lease: &Lease) -> Failure {
    let step = |text: String| Failure::new(FailureKind::Step, text);
    match purpose {
        Some(Purpose::CountRows) => Failure::new(
            FailureKind::Quality,
            "Redshift did not copy as many rows as the files hold, and nothing was loaded",
        )
        .with_hint("`sys_load_error_detail` and `sys_load_history` in Redshift say more"),
        Some(Purpose::Fence) => lease.fenced_off(),
        Some(Purpose::UniqueKeys) => Failure::new(
            FailureKind::Quality,
            "the rows to be merged have a key twice, and nothing was loaded",
        )
        .with_hint("make the query's rows unique by the keys that the step merges on"),
        Some(Purpose::TextsFit(columns)) => {
            let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
            let narrowest = columns.iter().map(|(_, width)| *width).min().unwrap_or_default();
            too_long(&names.join(" or "), narrowest)
        }
        Some(Purpose::Stage(table)) => {
            step(format!("Redshift cannot copy the files of `{table}`: {error}"))
                .with_hint("the copy role must be able to read the lake, `recctl doctor` checks it; `sys_load_error_detail` in Redshift may say more")
        }
        Some(Purpose::Shape(table)) => step(format!("Redshift cannot shape `{table}`: {error}")),
        Some(Purpose::Replace(table)) => {
            step(format!("Redshift cannot replace the rows of `{table}`: {error}"))
        }
        Some(Purpose::Ledger) => step(format!("Redshift cannot keep the ledger: {error}")),
        None => step(format!("Redshift failed the load: {error}")),
    }
}

fn hex(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the names of loads begin with.
const LOAD: &str = "recctl-load-";

/// The name of a load's batch: the same for the same load into the same schema.
fn statement_name(options: &RedshiftOptions, token: &str) -> String {
    let identity = format!("{}\n{}\n{token}", options.database, options.schema);
    format!("{LOAD}{}", &hex(&identity)[..32])
}

/// The token of a submission: 64 characters, which is the most. What was submitted before and has
/// ended is part of it, as the token of a failed batch stands for that failure for 8 hours.
fn client_token(name: &str, ended: usize, sqls: &[String]) -> String {
    hex(&format!("{name}\n{ended}\n{}", sqls.join("\n")))
}

#[cfg(test)]
mod tests;
