//! `recctl query`

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::json::WriterBuilder;
use datafusion::arrow::json::writer::LineDelimited;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use super::Ended;
use crate::app::{App, Opening, Target, open_tables};
use crate::pipeline::nearest::nearest;
use crate::query::{analysis, scan};
use crate::report::Table;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Query the catalog's tables and the quarantine with SQL
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl query \"SELECT dt, count(*) FROM clean_events GROUP BY dt ORDER BY dt\"
  recctl query \"SELECT file, line, reason, raw FROM quarantine LIMIT 10\"
  recctl query \"SELECT * FROM interactions\" --format csv > interactions.csv")]
pub struct Args {
    /// The statement
    sql: String,
    /// How to print
    #[arg(long, default_value = "human")]
    format: Format,
    /// Rows to print at most, as a table
    #[arg(long, short = 'n', default_value_t = 1_000)]
    limit: usize,
}

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// An aligned table.
    #[value(alias = "table")]
    Human,
    /// JSON lines.
    Json,
    /// Comma-separated values.
    Csv,
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let target = app.target(Opening::Existing).await?;
    let session = open_tables(&target.services).await?;
    let mut stream = match scan::rows(&target.services.query, session, &args.sql).await {
        Ok(rows) => rows,
        Err(failure) => return Err(explain(failure, &target, &args.sql).await),
    };
    let schema = Arc::clone(stream.schema());
    let mut table = Table::new(schema.fields().iter().map(|field| field.name().clone()));
    let mut rows = 0;
    let mut first = true;
    while let Some(batch) = stream.next().await? {
        if batch.num_rows() == 0 {
            continue;
        }
        match args.format {
            Format::Json => super::print(&as_json(&batch)?),
            Format::Csv => super::print(&as_csv(&batch, first)?),
            Format::Human => {
                let room = args.limit.saturating_sub(rows);
                let shown = batch.slice(0, batch.num_rows().min(room));
                for row in cells(&shown)? {
                    table.push(row);
                }
            }
        }
        first = false;
        rows += batch.num_rows();
    }
    if first && args.format == Format::Csv {
        super::print(&as_csv(&RecordBatch::new_empty(schema), true)?);
    }
    if args.format == Format::Human {
        super::print(&table.lines().join("\n"));
        if rows > args.limit {
            super::print(&format!("… {} of {rows} rows; --limit shows more", args.limit));
        }
    }
    Ok(0)
}

/// Prints rows that are all there; a table is cut to `width` columns.
pub(super) fn print_rows(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    format: Format,
    width: usize,
) -> Outcome<()> {
    match format {
        Format::Json => batches.iter().try_for_each(|batch| {
            super::print(&as_json(batch)?);
            Ok(())
        }),
        Format::Csv => {
            super::print(&as_csv(&RecordBatch::new_empty(Arc::clone(schema)), true)?);
            batches.iter().try_for_each(|batch| {
                super::print(&as_csv(batch, false)?);
                Ok(())
            })
        }
        Format::Human => {
            let mut table = Table::new(schema.fields().iter().map(|field| field.name().clone()));
            for batch in batches {
                cells(batch)?.into_iter().for_each(|row| table.push(row));
            }
            super::print(&table.fitted(width).join("\n"));
            Ok(())
        }
    }
}

/// Says which table is not there, and which was probably meant.
async fn explain(failure: Failure, target: &Target, sql: &str) -> Failure {
    let failure = match failure.hint {
        None => failure.with_hint("`recctl tables` lists tables, `recctl tables NAME` columns"),
        Some(_) => failure,
    };
    let (Ok(facts), Ok(tables)) = (analysis::parse(sql), target.services.catalog.tables().await)
    else {
        return failure;
    };
    let known = |name: &str| tables.iter().any(|table| table.name == name);
    let Some(unknown) = facts.tables.iter().find(|table| !known(&table.name)) else {
        return failure;
    };
    let names = tables.iter().map(|table| table.name.as_str());
    let told = Failure::new(failure.kind, format!("unknown table `{}`", unknown.name));
    match nearest(&unknown.name, names) {
        Some(near) => told.with_hint(format!("did you mean `{near}`?")),
        None => told.with_hint("`recctl tables` lists them"),
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Internal, format!("cannot print rows: {error}"))
}

fn cells(batch: &RecordBatch) -> Outcome<Vec<Vec<String>>> {
    let options = FormatOptions::default().with_null("");
    let columns = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    let row = |row: usize| columns.iter().map(|column| column.value(row).to_string()).collect();
    Ok((0..batch.num_rows()).map(row).collect())
}

/// One object a row, each with all columns.
fn as_json(batch: &RecordBatch) -> Outcome<String> {
    let options = WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = options.build::<_, LineDelimited>(Vec::new());
    writer.write(batch).map_err(failed)?;
    writer.finish().map_err(failed)?;
    String::from_utf8(writer.into_inner()).map_err(failed)
}

fn as_csv(batch: &RecordBatch, header: bool) -> Outcome<String> {
    let mut text = Vec::new();
    let mut writer =
        datafusion::arrow::csv::WriterBuilder::new().with_header(header).build(&mut text);
    writer.write(batch).map_err(failed)?;
    drop(writer);
    String::from_utf8(text).map_err(failed)
}
