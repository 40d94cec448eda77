//! The state store in SQLite: records as JSON beside the columns that they are looked up by.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::{OptionalExtension, Transaction, params};
use serde::de::DeserializeOwned;

use super::sqlite::{Attempt, Database, Schema, from_json, to_json};
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::name::Name;
use crate::ports::{Holding, Lease, Publication, StateStore};
use crate::run::failure::Outcome;
use crate::run::record::{Decision, LedgerRow, RunId, RunRecord, StepRecord};

static SCHEMA: Schema = Schema {
    // Times are microseconds since 1970 in UTC. A lease that was given back keeps its row without
    // a holder, so that the fence goes on growing.
    migrations: &[
        "
CREATE TABLE runs (
    id TEXT NOT NULL PRIMARY KEY,
    started INTEGER NOT NULL,
    record TEXT NOT NULL
);
CREATE INDEX runs_by_start ON runs (started);
CREATE TABLE steps (
    run TEXT NOT NULL,
    step TEXT NOT NULL,
    action TEXT NOT NULL,
    partition TEXT NOT NULL,
    started INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (run, step, action, partition)
);
CREATE TABLE ledger (
    pipeline TEXT NOT NULL,
    step TEXT NOT NULL,
    partition TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (pipeline, step, partition)
);
CREATE TABLE decisions (
    pipeline TEXT NOT NULL,
    step TEXT NOT NULL,
    date TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (pipeline, step, date)
);
CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT,
    until INTEGER NOT NULL,
    fence INTEGER NOT NULL
) WITHOUT ROWID;
",
        "
ALTER TABLE leases ADD COLUMN since INTEGER;
",
        "
CREATE TABLE publications (
    id TEXT NOT NULL PRIMARY KEY,
    begun INTEGER NOT NULL,
    record TEXT NOT NULL
) WITHOUT ROWID;
",
    ],
    page_size: 4096,
    // A ledger row or a lease that a power failure takes back would let work be done twice.
    durable: true,
};

/// Keeps the state in a file.
#[derive(Debug, Clone)]
pub struct SqliteStateStore {
    database: Database,
    host: String,
}

impl SqliteStateStore {
    /// Opens the file and makes it if it is missing.
    ///
    /// Lease holders are texts `<host>/<pid>/…`. One whose host is `host` and whose process is gone
    /// is known to be dead (on Linux; elsewhere only its time counts).
    ///
    /// Errors: `Usage` if a newer recctl wrote it, `Input` if it is no database.
    pub async fn open(path: &Path, host: &str) -> Outcome<Self> {
        Ok(Self { database: Database::open(path, &SCHEMA).await?, host: host.to_owned() })
    }

    async fn select<T: DeserializeOwned>(
        &self,
        sql: &'static str,
        keys: Vec<rusqlite::types::Value>,
    ) -> Outcome<Vec<T>> {
        let texts = self.database.read(move |tx| {
            let mut query = tx.prepare_cached(sql)?;
            let rows = query.query_map(rusqlite::params_from_iter(keys), |row| row.get(0))?;
            Ok(rows.collect::<Result<Vec<String>, _>>()?)
        });
        texts.await?.iter().map(|text| from_json(text)).collect()
    }
}

/// The machine's name, for lease holders; `localhost` where it cannot be told.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("HOSTNAME"))
        .unwrap_or_default();
    // The slash separates the parts of a holder.
    let name = name.trim().replace('/', "-");
    if name.is_empty() { "localhost".to_owned() } else { name }
}

#[async_trait]
impl StateStore for SqliteStateStore {
    async fn put_run(&self, run: &RunRecord) -> Outcome<()> {
        let (id, started) = (run.id.to_string(), run.started.timestamp_micros());
        let record = to_json(run)?;
        self.database
            .write(move |tx| {
                tx.prepare_cached(
                    "INSERT INTO runs (id, started, record) VALUES (?1, ?2, ?3) \
                     ON CONFLICT (id) DO UPDATE \
                     SET started = excluded.started, record = excluded.record",
                )?
                .execute(params![id, started, record])?;
                Ok(())
            })
            .await
    }

    async fn run(&self, id: &RunId) -> Outcome<Option<RunRecord>> {
        let keys = vec![id.as_str().to_owned().into()];
        Ok(self.select("SELECT record FROM runs WHERE id = ?1", keys).await?.pop())
    }

    async fn runs(&self, limit: usize) -> Outcome<Vec<RunRecord>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.select(
            "SELECT record FROM runs ORDER BY started DESC, id DESC LIMIT ?1",
            vec![limit.into()],
        )
        .await
    }

    async fn remove_run(&self, id: &RunId) -> Outcome<()> {
        let id = id.to_string();
        self.database
            .write(move |tx| {
                tx.execute("DELETE FROM steps WHERE run = ?1", [&id])?;
                tx.execute("DELETE FROM runs WHERE id = ?1", [&id])?;
                Ok(())
            })
            .await
    }

    async fn put_step(&self, step: &StepRecord) -> Outcome<()> {
        let keys = (
            step.run.to_string(),
            step.step.to_string(),
            step.action.clone(),
            step.partition.key(),
        );
        let (started, record) = (step.started.timestamp_micros(), to_json(step)?);
        self.database
            .write(move |tx| {
                tx.prepare_cached(
                    "INSERT INTO steps (run, step, action, partition, started, record) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                     ON CONFLICT (run, step, action, partition) DO UPDATE \
                     SET started = excluded.started, record = excluded.record",
                )?
                .execute(params![keys.0, keys.1, keys.2, keys.3, started, record])?;
                Ok(())
            })
            .await
    }

    async fn steps(&self, run: &RunId) -> Outcome<Vec<StepRecord>> {
        // Steps of the same instant stay in the order in which they were first written.
        self.select(
            "SELECT record FROM steps WHERE run = ?1 ORDER BY started, rowid",
            vec![run.as_str().to_owned().into()],
        )
        .await
    }

    async fn ledger(&self, pipeline: &Name) -> Outcome<Vec<LedgerRow>> {
        self.select(
            "SELECT record FROM ledger WHERE pipeline = ?1 ORDER BY step, partition",
            vec![pipeline.as_str().to_owned().into()],
        )
        .await
    }

    async fn put_ledger(&self, rows: &[LedgerRow], lease: &Lease) -> Outcome<()> {
        let (lease, rows) = (lease.clone(), ledger_texts(rows)?);
        self.database
            .write(move |tx| {
                check_held(tx, &lease)?;
                write_ledger(tx, &rows)
            })
            .await
    }

    async fn begin_publication(&self, publication: &Publication, lease: &Lease) -> Outcome<()> {
        let (id, begun) = (publication.id.clone(), publication.begun.timestamp_micros());
        let (lease, record) = (lease.clone(), to_json(publication)?);
        self.database
            .write(move |tx| {
                check_held(tx, &lease)?;
                tx.prepare_cached(
                    "INSERT INTO publications (id, begun, record) VALUES (?1, ?2, ?3) \
                     ON CONFLICT (id) DO UPDATE \
                     SET begun = excluded.begun, record = excluded.record",
                )?
                .execute(params![id, begun, record])?;
                Ok(())
            })
            .await
    }

    async fn publications(&self) -> Outcome<Vec<Publication>> {
        self.select("SELECT record FROM publications ORDER BY begun, id", Vec::new()).await
    }

    async fn end_publication(&self, id: &str, rows: &[LedgerRow], lease: &Lease) -> Outcome<()> {
        let (id, lease, rows) = (id.to_owned(), lease.clone(), ledger_texts(rows)?);
        self.database
            .write(move |tx| {
                check_held(tx, &lease)?;
                tx.prepare_cached("DELETE FROM publications WHERE id = ?1")?.execute([&id])?;
                write_ledger(tx, &rows)
            })
            .await
    }

    async fn decision_before(
        &self,
        pipeline: &Name,
        step: &Name,
        date: LogicalDate,
    ) -> Outcome<Option<Decision>> {
        let keys = vec![
            pipeline.as_str().to_owned().into(),
            step.as_str().to_owned().into(),
            date.to_string().into(),
        ];
        let found = self.select(
            "SELECT record FROM decisions WHERE pipeline = ?1 AND step = ?2 AND date < ?3 \
             ORDER BY date DESC LIMIT 1",
            keys,
        );
        Ok(found.await?.pop())
    }

    async fn put_decision(
        &self,
        pipeline: &Name,
        step: &Name,
        decision: &Decision,
        lease: &Lease,
    ) -> Outcome<()> {
        let lease = lease.clone();
        let keys = (pipeline.to_string(), step.to_string(), decision.date.to_string());
        let record = to_json(decision)?;
        self.database
            .write(move |tx| {
                check_held(tx, &lease)?;
                tx.prepare_cached(
                    "INSERT INTO decisions (pipeline, step, date, record) \
                     VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT (pipeline, step, date) DO UPDATE SET record = excluded.record",
                )?
                .execute(params![keys.0, keys.1, keys.2, record])?;
                Ok(())
            })
            .await
    }

    async fn acquire(
        &self,
        name: &str,
        holder: &str,
        time: Duration,
        now: DateTime<Utc>,
    ) -> Outcome<Lease> {
        let (name, holder, host) = (name.to_owned(), holder.to_owned(), self.host.clone());
        self.database
            .write(move |tx| {
                let (fence, since, seized) = match known(tx, &name)? {
                    None => (now.timestamp().max(1), now, false),
                    Some((None, fence)) => (fence + 1, now, false),
                    // A renewal, not an acquisition: the lease that the holder has stays good.
                    Some((Some(held), fence)) if held.holder == holder => {
                        (fence, held.since.unwrap_or(now), true)
                    }
                    Some((Some(held), fence)) => {
                        if is_held(&held, &host, now) {
                            return Err(held.refused(&name).into());
                        }
                        (fence + 1, now, true)
                    }
                };
                tx.execute(
                    "INSERT INTO leases (name, holder, until, fence, since) \
                     VALUES (?1, ?2, ?3, ?4, ?5) \
                     ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, \
                     until = excluded.until, fence = excluded.fence, since = excluded.since",
                    params![name, holder, end(now, time), fence, since.timestamp_micros()],
                )?;
                Ok(Lease { name, holder, fence: fence.unsigned_abs(), seized })
            })
            .await
    }

    async fn holding(&self, name: &str, now: DateTime<Utc>) -> Outcome<Option<Holding>> {
        let (name, host) = (name.to_owned(), self.host.clone());
        let known = self.database.read(move |tx| known(tx, &name)).await?;
        let held = known.and_then(|(held, _)| held);
        Ok(held.filter(|held| is_held(held, &host, now)))
    }

    async fn renew(&self, lease: &Lease, time: Duration, now: DateTime<Utc>) -> Outcome<()> {
        let lease = lease.clone();
        self.database
            .write(move |tx| {
                let renewed = tx.execute(
                    "UPDATE leases SET until = ?4 \
                     WHERE name = ?1 AND holder = ?2 AND fence = ?3",
                    params![lease.name, lease.holder, fence(&lease), end(now, time)],
                )?;
                if renewed == 1 { Ok(()) } else { check_held(tx, &lease) }
            })
            .await
    }

    async fn release(&self, lease: &Lease) -> Outcome<()> {
        let lease = lease.clone();
        self.database
            .write(move |tx| {
                tx.execute(
                    "UPDATE leases SET holder = NULL \
                     WHERE name = ?1 AND holder = ?2 AND fence = ?3",
                    params![lease.name, lease.holder, fence(&lease)],
                )?;
                Ok(())
            })
            .await
    }
}

/// A row of the ledger: pipeline, step and partition, and the record.
type LedgerText = ([String; 3], String);

fn ledger_texts(rows: &[LedgerRow]) -> Outcome<Vec<LedgerText>> {
    let text = |row: &LedgerRow| {
        let keys = [row.pipeline.to_string(), row.step.to_string(), row.partition.key()];
        Ok((keys, to_json(row)?))
    };
    rows.iter().map(text).collect()
}

fn write_ledger(tx: &Transaction<'_>, rows: &[LedgerText]) -> Attempt<()> {
    let mut upsert = tx.prepare_cached(
        "INSERT INTO ledger (pipeline, step, partition, record) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (pipeline, step, partition) DO UPDATE SET record = excluded.record",
    )?;
    for ([pipeline, step, partition], record) in rows {
        upsert.execute(params![pipeline, step, partition, record])?;
    }
    Ok(())
}

/// Who holds or held a lease last, and its fence; `None` if nobody ever had it.
fn known(tx: &Transaction<'_>, name: &str) -> Attempt<Option<(Option<Holding>, i64)>> {
    let time = |micros: i64| DateTime::from_timestamp_micros(micros);
    let row = |row: &rusqlite::Row<'_>| {
        let holder: Option<String> = row.get(0)?;
        let since: Option<i64> = row.get(3)?;
        let until = time(row.get(1)?).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let held = holder.map(|holder| Holding { holder, since: since.and_then(time), until });
        Ok((held, row.get(2)?))
    };
    let mut query =
        tx.prepare_cached("SELECT holder, until, fence, since FROM leases WHERE name = ?1")?;
    Ok(query.query_row([name], row).optional()?)
}

/// Whether a lease is somebody's still.
fn is_held(held: &Holding, host: &str, now: DateTime<Utc>) -> bool {
    now < held.until && !is_dead(&held.holder, host)
}

/// Refuses a lease that was taken over or given back.
fn check_held(tx: &Transaction<'_>, lease: &Lease) -> Attempt<()> {
    let known: Option<(Option<String>, i64)> = tx
        .prepare_cached("SELECT holder, fence FROM leases WHERE name = ?1")?
        .query_row([&lease.name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match known {
        Some((Some(holder), known)) if holder == lease.holder && known == fence(lease) => Ok(()),
        Some((holder, _)) => Err(lease.lost_to(holder.as_deref()).into()),
        None => Err(lease.lost_to(None).into()),
    }
}

/// The instant, in microseconds, from which on a lease is nobody's.
fn end(now: DateTime<Utc>, time: Duration) -> i64 {
    TimeDelta::from_std(time)
        .ok()
        .and_then(|time| now.checked_add_signed(time))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
        .timestamp_micros()
}

/// The fence as SQLite stores numbers; one that does not fit was never given out.
fn fence(lease: &Lease) -> i64 {
    i64::try_from(lease.fence).unwrap_or(-1)
}

/// Whether a holder is a process of this machine that is gone.
fn is_dead(holder: &str, host: &str) -> bool {
    let mut parts = holder.split('/');
    let (Some(its_host), Some(pid)) = (parts.next(), parts.next()) else { return false };
    let Ok(pid) = pid.parse::<u32>() else { return false };
    // Without a proc file system no process is to be seen, which says nothing about any.
    its_host == host
        && cfg!(target_os = "linux")
        && Path::new("/proc/self").exists()
        && !Path::new(&format!("/proc/{pid}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_gone_process_of_this_host_is_dead() {
        // Linux never gives a process a number beyond 2^22.
        assert_eq!(is_dead("here/4194305/x", "here"), cfg!(target_os = "linux"));
        assert!(!is_dead("there/4194305/x", "here"));
        assert!(!is_dead(&format!("here/{}/x", std::process::id()), "here"));
        for odd in ["", "here", "here/", "here/x/y", "here/-1/y"] {
            assert!(!is_dead(odd, "here"), "{odd}");
        }
    }

    #[test]
    fn the_host_name_can_be_part_of_a_holder() {
        let name = host_name();
        assert!(!name.is_empty() && !name.contains('/') && !name.contains('\n'), "{name:?}");
    }

    #[test]
    fn a_very_long_time_does_not_overflow() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        assert!(end(now, Duration::MAX) > now.timestamp_micros());
    }
}
