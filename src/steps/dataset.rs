//! Cuts tables by time into the channels of a training job.

use std::path::PathBuf;
use std::sync::Arc;

use super::TableRead;
use super::context::StepContext;
use crate::pipeline::fingerprint::digest;
use crate::pipeline::interval::{LogicalDate, Partition};
use crate::pipeline::step::{PARTITION_COLUMN, channel_columns};
use crate::query::checks::Scan;
use crate::query::raw::tally::Tally;
use crate::query::session::failure_of;
use crate::query::write::{Destination, write};
use crate::run::failure::{Failure, FailureKind, Outcome, io_failure};

/// Days of data, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// First day.
    pub first: LogicalDate,
    /// Last day.
    pub last: LogicalDate,
}

/// What a channel is for; it decides the columns that the channel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// `user_id`, `item_id`, `weight`, `dt`.
    Interactions,
    /// `location`, `device`, `item_id`, `weight`.
    Segments,
}

impl Content {
    fn of_channel(channel: &str) -> Self {
        if channel == "segments" { Self::Segments } else { Self::Interactions }
    }
}

/// Writes the rows of a table that lie in `days` for a channel, and returns the folder of the lake,
/// which ends with `/`. Cutting is by the column `dt`; a table without it is taken whole.
///
/// The folder is named after what it is made from, so that steps share it and a job that is asked
/// for again is asked for with the same words. Errors: `Usage` for
/// missing columns, `Input` if no row lies in the days.
pub(super) async fn cut(
    context: &StepContext,
    channel: &str,
    read: &TableRead,
    days: Days,
) -> Outcome<String> {
    let content = Content::of_channel(channel);
    let (table, entries) = context.entries(read).await?;
    let has_day = table.by_day || table.columns.iter().any(|c| c.name == PARTITION_COLUMN);
    for column in channel_columns(channel) {
        if !table.columns.iter().any(|known| known.name == *column) {
            let names: Vec<&str> = table.columns.iter().map(|c| c.name.as_str()).collect();
            let failure = Failure::new(
                FailureKind::Usage,
                format!(
                    "table `{}` has no column `{column}`, which channel `{channel}` needs",
                    read.table
                ),
            );
            return Err(failure.with_hint(format!("it has {}", names.join(", "))));
        }
    }
    let mut versions = format!("{channel} {} {} {}\n", read.table, days.first, days.last);
    for entry in &entries {
        versions.push_str(&format!("{} {} {}\n", entry.key, entry.fingerprint, entry.content_hash));
    }
    let folder = format!("datasets/{}/{channel}", digest(versions.as_bytes()));
    context.made.used_dataset(&folder);
    let done = format!("{folder}/_done");
    let _only_one = context.made.cutting().await;
    let query = Arc::clone(&context.services.query);
    if query.lake().holds(&done, 4).await? {
        return Ok(format!("{folder}/"));
    }
    // An earlier run may have died between its files and the marker.
    query.lake().remove_folder(&folder).await?;
    let mut columns: Vec<String> = Vec::new();
    for column in channel_columns(channel) {
        columns.push(match *column {
            "weight" => "CAST(weight AS DOUBLE) AS weight".to_owned(),
            text => format!("CAST({text} AS VARCHAR) AS {text}"),
        });
    }
    let mut sql = String::new();
    if content == Content::Interactions && has_day {
        columns.push("CAST(dt AS DATE) AS dt".to_owned());
    }
    sql.push_str(&format!("SELECT {} FROM cut", columns.join(", ")));
    if has_day {
        sql.push_str(&format!(
            " WHERE CAST(dt AS DATE) BETWEEN DATE '{}' AND DATE '{}'",
            days.first, days.last
        ));
    }
    let published = context.table(read).await?;
    let destination = Destination {
        store: Arc::clone(&query.lake().store),
        folder: folder.clone(),
        partition: Partition::Whole,
    };
    let session = query.session()?;
    let tally = Tally::new("dataset", Partition::Whole, &context.scratch());
    let name = read.table.clone();
    let written = query
        .compute(async move {
            let doing = format!("cut `{name}` for training");
            let failed = |error| failure_of(error, &doing);
            session.context.register_table("cut", Arc::new(published)).map_err(failed)?;
            let frame = session.context.sql(&sql).await.map_err(failed)?;
            let plan = frame.create_physical_plan().await.map_err(failed)?;
            write(plan, session.context.task_ctx(), destination, tally, &Scan::default()).await
        })
        .await?;
    if written.kept == 0 {
        let failure = Failure::new(
            FailureKind::Input,
            format!("table `{}` has no rows from {} to {}", read.table, days.first, days.last),
        );
        return Err(failure.with_hint(
            "training needs data on each side of the split: choose --date inside the data, or change `split` in pipelines.yaml",
        ));
    }
    query.lake().put(&done, b"done".to_vec()).await?;
    Ok(format!("{folder}/"))
}

/// Copies the files of a folder of the lake to this machine.
pub(super) async fn download(context: &StepContext, folder: &str) -> Outcome<PathBuf> {
    let lake = context.services.query.lake();
    let local = context.scratch().join(digest(folder.as_bytes()));
    tokio::fs::create_dir_all(&local).await.map_err(|e| io_failure("create", &local, &e))?;
    for path in lake.files_of(folder).await? {
        let name = path.rsplit('/').next().unwrap_or(&path);
        if name.starts_with('_') {
            continue;
        }
        let target = local.join(name);
        let bytes = lake.get(&path).await?;
        tokio::fs::write(&target, bytes).await.map_err(|e| io_failure("write", &target, &e))?;
    }
    Ok(local)
}
