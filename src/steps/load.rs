//! `load`: recommendations into the serving store, as a generation that becomes visible whole.

use std::sync::Arc;

use datafusion::arrow::array::{Array, Float64Array, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use super::TableRead;
use super::context::StepContext;
use super::score::Scored;
use super::train::to_value;
use crate::pipeline::fingerprint::digest;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::name::Name;
use crate::pipeline::step::LoadStep;
use crate::ports::{GenerationEntry, RecommendedItem, ServingItem};
use crate::query::scan;
use crate::query::session::failure_of;
use crate::run::event::Progress;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::run::record::{LedgerRow, StepReport};

/// Items that are put at once.
const ITEMS_PER_CALL: usize = 2_000;

/// What a load leaves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Loaded {
    /// Served table.
    pub table: String,
    /// Visible generation.
    pub generation: String,
    /// Items in it.
    pub items: u64,
}

/// The day whose lists a served table shows, as the rows of a pipeline's ledger that are of steps
/// which load that table tell; `None` if it shows none. Where none of them made what is shown, the
/// newest day that was loaded is taken, so that it is not taken for older than it may be.
pub fn day_shown<'a>(
    table: &str,
    generations: &[GenerationEntry],
    ledger: impl IntoIterator<Item = &'a LedgerRow>,
) -> Option<LogicalDate> {
    let visible = generations.iter().find(|generation| generation.visible)?;
    let mut loaded: Vec<(LogicalDate, bool)> = Vec::new();
    for row in ledger {
        let made = serde_json::from_value::<Loaded>(row.output.clone()).ok();
        if let (Some(made), Some(date)) = (made, row.partition.date())
            && made.table == table
        {
            loaded.push((date, made.generation == visible.generation));
        }
    }
    let shown = loaded.iter().filter(|(_, is_shown)| *is_shown).map(|(date, _)| *date).max();
    shown.or(loaded.iter().map(|(date, _)| *date).max())
}

/// Makes a whole generation visible.
///
/// Errors: `Conflict` if a run of a newer day has loaded meanwhile, unless older lists are asked for.
async fn show(context: &StepContext, table: &str, generation: &str, items: u64) -> Outcome<()> {
    let services = &context.services;
    if !context.serve {
        let generations = services.serving.generations(table).await?;
        let ledger = services.state.ledger(&context.pipeline.name).await?;
        if let Some(shown) = day_shown(table, &generations, &ledger).filter(|it| *it > context.date)
        {
            let text = format!("`{table}` shows the lists of {shown} meanwhile, which are newer");
            return Err(Failure::new(FailureKind::Conflict, text)
                .with_hint("`--serve` loads these all the same"));
        }
    }
    services.serving.seal_and_flip(table, generation, items, &context.lease).await
}

/// Loads the lists of a scoring step and flips the pointer.
pub async fn load(context: &StepContext, name: &Name, step: &LoadStep) -> Outcome<StepReport> {
    let scored: Scored = context.made.output(&step.from)?;
    let serving = &context.services.serving;
    let table = step.table.as_str();
    let now = context.services.clock.now();
    let work = work(context);
    let known = serving.generations(table).await?;
    let of_work: Vec<_> = known.iter().filter(|one| one.generation.ends_with(&work)).collect();
    // The same lists were loaded whole before: by an attempt whose end was not written down, or for
    // a definition that is in force again.
    if let Some(whole) = of_work.iter().filter(|one| one.sealed).max_by_key(|one| &one.generation) {
        show(context, table, &whole.generation, whole.items).await?;
        let note = format!("`{table}` has these lists already, visible now");
        return finish(context, name, step, &whole.generation, (0, whole.items), note).await;
    }
    let generation = match of_work.iter().find(|one| !one.sealed) {
        Some(begun) => begun.generation.clone(),
        None => format!("{}{work}", now.format("%Y%m%dT%H%M%S")),
    };
    let durable = serving.begin(table, &generation, &scored.model, now).await?;
    let mut loader = Loader {
        context,
        step,
        generation: &generation,
        durable,
        pending: Vec::new(),
        items: 0,
        rows: 0,
    };
    loader
        .lists(
            &scored.recommendations,
            "SELECT user_id, NULL, item_id, score FROM lists ORDER BY user_id, rank",
            |user, _| user_key(user.unwrap_or_default()),
        )
        .await?;
    if let Some(fallback) = &scored.fallback {
        loader
            .lists(
                fallback,
                "SELECT location, device, item_id, score FROM lists \
                 ORDER BY location, device, rank",
                segment_key,
            )
            .await?;
    }
    let (items, rows) = (loader.items, loader.rows);
    show(context, table, &generation, items).await?;
    let note = format!("lists into `{table}`, visible now");
    finish(context, name, step, &generation, (rows, items), note).await
}

/// Removes what is too old, and leaves for later runs what is served. Takes rows read and items.
async fn finish(
    context: &StepContext,
    name: &Name,
    step: &LoadStep,
    generation: &str,
    (rows, items): (u64, u64),
    note: String,
) -> Outcome<StepReport> {
    let table = step.table.to_string();
    context.services.serving.prune(&table, step.keep).await?;
    let generation = generation.to_owned();
    let loaded = Loaded { table, generation: generation.clone(), items };
    context.made.put_output(name, to_value(&loaded)?);
    Ok(StepReport {
        rows_in: rows,
        rows_out: items,
        generation: Some(generation),
        note: Some(note),
        ..StepReport::default()
    })
}

/// The end of the names of generations that hold what this load would load. Forced work is that of
/// its run alone.
fn work(context: &StepContext) -> String {
    let work = match context.forced {
        true => digest(format!("{} {}", context.fingerprint, context.run).as_bytes()),
        false => context.fingerprint.clone(),
    };
    format!("-{}", &work[..8.min(work.len())])
}

struct Loader<'a> {
    context: &'a StepContext,
    step: &'a LoadStep,
    generation: &'a str,
    /// Items that an earlier attempt put, in the order of the load.
    durable: u64,
    pending: Vec<ServingItem>,
    items: u64,
    rows: u64,
}

impl Loader<'_> {
    /// Puts the lists of a table. The query gives the two parts of a key, item and score, ordered
    /// by key and rank.
    async fn lists(
        &mut self,
        table: &str,
        sql: &str,
        key_of: impl Fn(Option<&str>, Option<&str>) -> String,
    ) -> Outcome<()> {
        let name = Name::new(table)
            .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))?;
        let read = TableRead { table: name, partitions: vec![Partition::Day(self.context.date)] };
        let published = self.context.table(&read).await?;
        let query = Arc::clone(&self.context.services.query);
        let session = query.session()?;
        session
            .context
            .register_table("lists", Arc::new(published))
            .map_err(|error| failure_of(error, "read the recommendations"))?;
        let mut rows = scan::rows(&query, session, sql).await?;
        let mut current: Option<ServingItem> = None;
        while let Some(batch) = rows.next().await? {
            if self.context.cancel.is_cancelled() {
                return Err(Failure::new(FailureKind::Cancelled, "stopped on request"));
            }
            let columns = Columns::of(&batch)?;
            for row in 0..batch.num_rows() {
                let key = key_of(columns.first(row), columns.second(row));
                let item =
                    RecommendedItem { item: columns.item(row), score: columns.scores.value(row) };
                match &mut current {
                    Some(list) if list.key == key => list.items.push(item),
                    _ => {
                        let done = current.replace(ServingItem { key, items: vec![item] });
                        self.push(done).await?;
                    }
                }
            }
            self.rows += batch.num_rows() as u64;
            self.context.progress(Progress { rows: self.rows, ..Progress::default() });
        }
        self.push(current).await?;
        self.put().await
    }

    async fn push(&mut self, list: Option<ServingItem>) -> Outcome<()> {
        self.pending.extend(list);
        if self.pending.len() >= ITEMS_PER_CALL { self.put().await } else { Ok(()) }
    }

    async fn put(&mut self) -> Outcome<()> {
        let serving = &self.context.services.serving;
        let table = self.step.table.as_str();
        let done = self.items + self.pending.len() as u64;
        if done > self.durable {
            serving.put(table, self.generation, &self.pending).await?;
            serving.checkpoint(table, self.generation, done).await?;
        }
        self.items = done;
        self.pending.clear();
        Ok(())
    }
}

/// The key of a known user's list.
pub fn user_key(user: &str) -> String {
    format!("user#{user}")
}

/// The key of the list for visitors whom nobody knows; an absent part means any.
pub fn segment_key(location: Option<&str>, device: Option<&str>) -> String {
    format!("segment#{}#{}", location.unwrap_or_default(), device.unwrap_or_default())
}

struct Columns {
    first: StringArray,
    second: StringArray,
    items: StringArray,
    scores: Float64Array,
}

impl Columns {
    fn of(batch: &RecordBatch) -> Outcome<Self> {
        let text = |index: usize| -> Outcome<StringArray> {
            let column = cast(batch.column(index), &DataType::Utf8).ok();
            let array = column.and_then(|c| c.as_any().downcast_ref::<StringArray>().cloned());
            array.ok_or_else(|| wrong("a list's key or item is not text"))
        };
        let scores = cast(batch.column(3), &DataType::Float64).ok();
        let scores = scores.and_then(|c| c.as_any().downcast_ref::<Float64Array>().cloned());
        Ok(Self {
            first: text(0)?,
            second: text(1)?,
            items: text(2)?,
            scores: scores.ok_or_else(|| wrong("a score is not a number"))?,
        })
    }

    fn first(&self, row: usize) -> Option<&str> {
        self.first.is_valid(row).then(|| self.first.value(row))
    }

    fn second(&self, row: usize) -> Option<&str> {
        self.second.is_valid(row).then(|| self.second.value(row))
    }

    fn item(&self, row: usize) -> String {
        self.items.value(row).to_owned()
    }
}

fn wrong(message: &str) -> Failure {
    Failure::new(FailureKind::Internal, message)
}
