//! Tables: the partitions are flipped to how they were when a run was the newest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{end, leases, no_run, record, release};
use crate::engine::settle::settle;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::step::{
    QUARANTINE_TABLE, StepKind, WarehouseLayout, WarehouseMode, fallback_table,
};
use crate::ports::{
    ColumnEntry, FileEntry, Flip, Lease, Load, PartitionEntry, Publication, TableEntry, TableLoad,
    schema_change,
};
use crate::query::{catalog_schema, scan};
use crate::run::event::EventSink;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{LedgerRow, RolledBack, RunId, RunRecord, Status, StepRecord, StepReport};
use crate::steps::context::Services;
use crate::steps::publication::{Unfinished, finish, shapes, undo};
use crate::steps::publish::load_token;

/// What is to be rolled back.
#[derive(Debug, Clone)]
pub struct TableRollback {
    /// The table.
    pub table: String,
    /// The run that is to be the newest again.
    pub run: RunId,
    /// Only this day.
    pub date: Option<LogicalDate>,
    /// All tables of the pipeline.
    pub with_run: bool,
    /// Who holds the leases.
    pub holder: String,
}

/// A partition that was flipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flipped {
    /// Table.
    pub table: String,
    /// Partition.
    pub key: String,
    /// The generation that was visible.
    pub from: String,
    /// The one that is.
    pub to: String,
    /// Rows of that one.
    pub rows: u64,
}

/// What was rolled back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TablesBack {
    /// The run as which it is on record; `None` if there was nothing to do.
    pub run: Option<RunId>,
    /// What was flipped.
    pub flipped: Vec<Flipped>,
    /// Partitions that came later and have nothing to go back to: they stay.
    pub newer: Vec<(String, String)>,
    /// Rows that were loaded into the warehouse.
    pub loaded: u64,
    /// Tables that the warehouse merges: rows of later loads stay there.
    pub merged: Vec<String>,
}

/// What a run made of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The run.
    pub generation: String,
    /// Partitions that there still are.
    pub partitions: usize,
    /// Those of them that are visible.
    pub visible: usize,
    /// First and last day, for tables by day.
    pub days: Option<(LogicalDate, LogicalDate)>,
    /// Rows of all.
    pub rows: u64,
    /// When it became visible last.
    pub published: DateTime<Utc>,
}

/// The generations of a table that can be gone back to, newest first.
pub async fn generations_of(
    services: &Services,
    table: &str,
    date: Option<LogicalDate>,
) -> Outcome<Vec<Generation>> {
    let visible = services.catalog.partitions(table).await?;
    let earlier = services.catalog.earlier(table).await?;
    let mut all: BTreeMap<String, Generation> = BTreeMap::new();
    let entries = visible.iter().map(|one| (one, 1)).chain(earlier.iter().map(|one| (one, 0)));
    for (entry, visible) in entries.filter(|(one, _)| date.is_none() || one.date == date) {
        let one = all.entry(entry.generation.clone()).or_insert_with(|| Generation {
            generation: entry.generation.clone(),
            partitions: 0,
            visible: 0,
            days: None,
            rows: 0,
            published: entry.published,
        });
        one.partitions += 1;
        one.visible += visible;
        one.rows += entry.rows;
        one.published = one.published.max(entry.published);
        if let Some(day) = entry.date {
            let (first, last) = one.days.unwrap_or((day, day));
            one.days = Some((first.min(day), last.max(day)));
        }
    }
    let mut all: Vec<Generation> = all.into_values().collect();
    all.sort_by_key(|one| std::cmp::Reverse((age(&one.generation, one.published), one.published)));
    Ok(all)
}

/// When a generation was made: its run's start, or where that cannot be told, when it was published.
fn age(generation: &str, published: DateTime<Utc>) -> DateTime<Utc> {
    RunId::from_text(generation).started().unwrap_or(published)
}

/// A partition that is to be flipped.
struct Back {
    to: PartitionEntry,
    from: PartitionEntry,
    /// Columns of its files; `None` if it has none.
    columns: Option<Vec<ColumnEntry>>,
}

/// Flips tables back and lets the warehouse follow. `find` gives the pipeline by its name, for how
/// its tables lie in the warehouse. What runs of the pipeline left half done is settled first.
///
/// Everything is checked first: that the files are there, and that they fit the table as it is now.
/// The catalog flips at once; if the warehouse cannot follow, both go forth again. Errors:
/// `NotFound` for a run that nobody knows, `Input` if files are gone, `Usage` if columns changed since
/// in a way that old files do not fit, `Held` if a run of these days is under way.
pub async fn roll_back(
    services: &Arc<Services>,
    wanted: &TableRollback,
    find: impl AsyncFn(&Name) -> Outcome<Arc<Pipeline>>,
    events: &dyn EventSink,
) -> Outcome<TablesBack> {
    let (pipeline, date, cutoff) = origin(services, wanted).await?;
    settle(services, Some(&pipeline), &wanted.holder, events).await?;
    let ledger = services.state.ledger(&pipeline).await?;
    let mut done = TablesBack::default();
    let (tables, back) = choose(services, wanted, &ledger, cutoff, &mut done).await?;
    if back.is_empty() {
        return Ok(done);
    }
    let definition = find(&pipeline).await?;
    let days = back.iter().filter_map(|one| one.to.date).collect();
    let held = leases(services, &pipeline, date, &days, &wanted.holder).await?;
    let Some(lease) = held.first().map(|held| held.lease().clone()) else {
        return Err(Failure::new(FailureKind::Internal, "no lease was taken"));
    };
    let what = match wanted.with_run {
        true => "all tables".to_owned(),
        false => format!("`{}`", wanted.table),
    };
    let note = format!("{what} rolled back to run {}", wanted.run);
    let record = record(services, &pipeline, date, &wanted.holder, note);
    let work = Work { services, definition: &definition, lease: &lease, record: &record };
    let outcome = work.carry_out(&tables, back, &ledger, done).await;
    let outcome = end(services, record, outcome).await;
    release(held).await;
    outcome
}

/// Pipeline and day of the run, and up to when runs count.
async fn origin(
    services: &Services,
    wanted: &TableRollback,
) -> Outcome<(Name, LogicalDate, DateTime<Utc>)> {
    let run = &wanted.run;
    let Some(record) = services.state.run(run).await? else {
        return Err(no_run(run, &wanted.table));
    };
    Ok((record.pipeline, record.date, run.started().unwrap_or(record.started)))
}

/// Finds what has to be flipped, and looks whether it can be.
async fn choose(
    services: &Services,
    wanted: &TableRollback,
    ledger: &[LedgerRow],
    cutoff: DateTime<Utc>,
    done: &mut TablesBack,
) -> Outcome<(Vec<TableEntry>, Vec<Back>)> {
    let mut names = BTreeSet::from([wanted.table.clone()]);
    if wanted.with_run {
        for row in ledger {
            names.insert(row.step.to_string());
            names.insert(fallback_table(row.step.as_str()));
        }
    }
    let (mut tables, mut back) = (Vec::new(), Vec::new());
    for name in &names {
        let Some(table) = services.catalog.table(name).await? else { continue };
        let of_table = flips(services, name, |_| true, wanted.date, cutoff).await?;
        done.newer.extend(of_table.newer.into_iter().map(|key| (name.clone(), key)));
        for (from, to) in of_table.flips {
            let columns = fitting(services, &table, &to).await?;
            back.push(Back { to, from, columns });
        }
        if back.iter().any(|one| one.to.table == *name) {
            tables.push(table);
        }
    }
    // What the steps refused belongs to their tables.
    if let Some(quarantine) = services.catalog.table(QUARANTINE_TABLE).await? {
        let flipped: BTreeSet<String> =
            back.iter().map(|one| format!("{}/{}", one.to.table, one.to.key)).collect();
        let of_ours = |key: &str| flipped.contains(key);
        let parts = flips(services, QUARANTINE_TABLE, of_ours, None, cutoff).await?;
        for (from, to) in parts.flips {
            let columns = fitting(services, &quarantine, &to).await?;
            back.push(Back { to, from, columns });
        }
        if back.iter().any(|one| one.to.table == QUARANTINE_TABLE) {
            tables.push(quarantine);
        }
    }
    Ok((tables, back))
}

/// Partitions of a table next to what they are to be.
struct Flips {
    flips: Vec<(PartitionEntry, PartitionEntry)>,
    /// Keys of those that are newer as a whole.
    newer: Vec<String>,
}

async fn flips(
    services: &Services,
    table: &str,
    is_wanted: impl Fn(&str) -> bool,
    date: Option<LogicalDate>,
    cutoff: DateTime<Utc>,
) -> Outcome<Flips> {
    let visible = services.catalog.partitions(table).await?;
    let mut earlier: BTreeMap<String, Vec<PartitionEntry>> = BTreeMap::new();
    for entry in services.catalog.earlier(table).await? {
        earlier.entry(entry.key.clone()).or_default().push(entry);
    }
    let mut flips = Flips { flips: Vec::new(), newer: Vec::new() };
    for now in visible {
        if !is_wanted(&now.key) || (date.is_some() && now.date != date) {
            continue;
        }
        let earlier = earlier.remove(&now.key).unwrap_or_default();
        let known = earlier.into_iter().chain([now.clone()]);
        let then = known
            .filter(|one| age(&one.generation, one.published) <= cutoff)
            .max_by_key(|one| (age(&one.generation, one.published), one.published));
        match then {
            None => flips.newer.push(now.key),
            Some(then) if then.generation == now.generation => {}
            Some(then) => flips.flips.push((now, then)),
        }
    }
    Ok(flips)
}

/// The columns of a generation's files, which are all there and fit the table.
async fn fitting(
    services: &Services,
    table: &TableEntry,
    entry: &PartitionEntry,
) -> Outcome<Option<Vec<ColumnEntry>>> {
    let what = format!("`{}` of `{}` by run {}", entry.key, entry.table, entry.generation);
    for FileEntry { path, bytes, .. } in &entry.files {
        if !services.query.lake().holds(path, *bytes).await? {
            let text = format!("{what} cannot be made visible: `{path}` is gone");
            return Err(Failure::new(FailureKind::Input, text).with_hint(
                "`recctl gc` removes generations past their keep: make the day again with `recctl run`",
            ));
        }
    }
    let Some(first) = entry.files.first() else { return Ok(None) };
    let (query, path) = (Arc::clone(&services.query), first.path.clone());
    let session = query.session()?;
    let schema = query.compute(async move { scan::file_schema(&session, &path).await }).await?;
    let columns = catalog_schema::to_entries(&schema);
    let then = TableEntry { columns: columns.clone(), ..table.clone() };
    schema_change::check(&then, table).map_err(|failure| {
        failure.while_doing(format!("{what} does not fit the table any more"))
    })?;
    Ok(Some(columns))
}

/// A rollback that has its leases.
struct Work<'a> {
    services: &'a Services,
    definition: &'a Pipeline,
    lease: &'a Lease,
    record: &'a RunRecord,
}

impl Work<'_> {
    async fn carry_out(
        &self,
        tables: &[TableEntry],
        back: Vec<Back>,
        ledger: &[LedgerRow],
        mut done: TablesBack,
    ) -> Outcome<TablesBack> {
        let services = self.services;
        services.state.put_run(self.record).await?;
        let now = services.clock.now();
        let flip = |one: &Back| Flip { to: one.to.clone(), from: Some(one.from.clone()) };
        let publication = Publication {
            id: format!("{}/rollback", self.record.id),
            pipeline: self.record.pipeline.clone(),
            run: self.record.id.clone(),
            lease: self.lease.name.clone(),
            fence: self.lease.fence,
            begun: now,
            tables: shapes(services, tables.to_vec()).await?,
            flips: back.iter().map(flip).collect(),
            loads: self.loads(tables, &back, &mut done.merged),
            rows: self.rows(&back, ledger),
        };
        services.state.begin_publication(&publication, self.lease).await?;
        match finish(services, &publication, self.lease).await {
            Ok(rows) => done.loaded = rows,
            Err(Unfinished { failure, loads }) => {
                let what = match undo(services, &publication, loads, self.lease).await {
                    Ok(()) => "nothing was rolled back".to_owned(),
                    Err(also) => format!(
                        "the rollback is half done ({also} while it was to be undone), and whoever starts next settles it"
                    ),
                };
                return Err(failure.while_doing(what));
            }
        }
        for one in &back {
            self.step(one, now).await?;
        }
        done.run = Some(self.record.id.clone());
        done.flipped = back
            .into_iter()
            .map(|one| Flipped {
                table: one.to.table,
                key: one.to.key,
                from: one.from.generation,
                to: one.to.generation,
                rows: one.to.rows,
            })
            .collect();
        Ok(done)
    }

    /// How a table lies in the warehouse, if it does.
    fn layout(&self, table: &str) -> Option<&WarehouseLayout> {
        match &self.definition.step(table)?.kind {
            StepKind::Sql(sql) => sql.warehouse.as_ref(),
            StepKind::Train(_)
            | StepKind::Tune(_)
            | StepKind::Select(_)
            | StepKind::Score(_)
            | StepKind::Load(_) => None,
        }
    }

    /// Copies of what becomes visible.
    fn loads(&self, tables: &[TableEntry], back: &[Back], merged: &mut Vec<String>) -> Vec<Load> {
        let mut loads = Vec::new();
        for one in back {
            let Some(layout) = self.layout(&one.to.table) else { continue };
            let Some(table) = tables.iter().find(|table| table.name == one.to.table) else {
                continue;
            };
            if matches!(layout.mode, WarehouseMode::Merge { .. }) && !merged.contains(&table.name) {
                merged.push(table.name.clone());
            }
            // Columns that came later are NULL in what is loaded.
            let columns = one.columns.clone().unwrap_or_else(|| table.columns.clone());
            loads.push(TableLoad {
                table: TableEntry { columns, ..table.clone() },
                date: one.to.date,
                files: one.to.files.clone(),
                rows: one.to.rows,
                layout: layout.clone(),
            });
        }
        // One transaction for each part of the tables: Redshift takes forty statements in one.
        let dates: BTreeSet<Option<LogicalDate>> = loads.iter().map(|load| load.date).collect();
        let of_date = |date: Option<LogicalDate>| Load {
            token: load_token(
                self.record.id.as_str(),
                date.map_or(Partition::Whole, Partition::Day),
            ),
            run: self.record.id.to_string(),
            tables: loads.iter().filter(|load| load.date == date).cloned().collect(),
        };
        dates.into_iter().map(of_date).collect()
    }

    /// What the ledger says of what becomes visible, so that the next run knows of it.
    fn rows(&self, back: &[Back], ledger: &[LedgerRow]) -> Vec<LedgerRow> {
        let mut rows = Vec::new();
        for one in back {
            let Ok(partition) = Partition::try_from(one.to.key.clone()) else { continue };
            let known = ledger
                .iter()
                .find(|row| row.step.as_str() == one.to.table && row.partition == partition);
            // Without a row the next run makes it anyway, and says that it is missing.
            let Some(row) = known else { continue };
            rows.push(LedgerRow {
                run: RunId::from_text(&one.to.generation),
                done: self.services.clock.now(),
                rollback: Some(RolledBack {
                    by: self.record.id.clone(),
                    fingerprint: one.to.fingerprint.clone(),
                }),
                ..row.clone()
            });
        }
        rows
    }

    /// Puts a flip on record.
    async fn step(&self, one: &Back, at: DateTime<Utc>) -> Outcome<()> {
        // The quarantine's parts are named after steps, which have records of their own.
        let (Ok(step), Ok(partition)) =
            (Name::new(&one.to.table), Partition::try_from(one.to.key.clone()))
        else {
            return Ok(());
        };
        let report = StepReport {
            rows_out: one.to.rows,
            content_hash: Some(one.to.content_hash.clone()),
            generation: Some(one.to.generation.clone()),
            note: Some(format!("from {} back to {}", one.from.generation, one.to.generation)),
            ..StepReport::default()
        };
        let record = StepRecord {
            run: self.record.id.clone(),
            step,
            action: "rollback".to_owned(),
            partition,
            status: Status::Succeeded,
            started: at,
            finished: Some(self.services.clock.now()),
            report,
            failure: None,
            earlier: Vec::new(),
        };
        self.services.state.put_step(&record).await
    }
}
