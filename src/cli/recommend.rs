//! `recctl recommend`

use std::collections::BTreeMap;

use datafusion::arrow::array::{Array, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;

use super::Ended;
use super::format::Format;
use crate::app::{App, Opening, open_tables};
use crate::pipeline::step::{ItemNames, StepKind};
use crate::ports::ServedList;
use crate::query::checks::quote;
use crate::query::scan;
use crate::report::Table;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::steps::context::Services;
use crate::steps::load::{segment_key, user_key};

/// Print what a user, or a visitor whom nobody knows, is served
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl recommend --user u0000001
  recctl recommend --location DE --device mobile
  recctl recommend --user u0000001 --format json")]
pub struct Args {
    /// A user
    #[arg(long, required_unless_present_any = ["location", "device", "anyone"])]
    user: Option<String>,
    /// A visitor's location; for an unknown user too
    #[arg(long)]
    location: Option<String>,
    /// A visitor's device; for an unknown user too
    #[arg(long)]
    device: Option<String>,
    /// A visitor of whom nothing is known
    #[arg(long)]
    anyone: bool,
    /// The served table [default: the only one]
    #[arg(long)]
    table: Option<String>,
    /// Items to show
    #[arg(long, short = 'n', default_value_t = 10)]
    limit: usize,
    /// How to print
    #[arg(long, default_value = "human")]
    format: Format,
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let target = app.target(Opening::Existing).await?;
    let services = &target.services;
    let table = match &args.table {
        Some(table) => known_table(services, table).await?,
        None => only_table(services).await?,
    };
    let (list, who) = find(services, &table, &args).await?;
    // A generation is named after the model that made the users' lists.
    let model = match list.item.key.starts_with("user#") {
        true => list.generation.model.as_str(),
        false => "popularity",
    };
    let names = names(app, services, &table, &list).await;
    let shown = list.item.items.iter().take(args.limit);
    if args.format == Format::Json {
        let items: Vec<serde_json::Value> = shown
            .map(|item| {
                serde_json::json!({
                    "item": item.item,
                    "name": names.get(&item.item),
                    "score": item.score,
                })
            })
            .collect();
        let value = serde_json::json!({
            "for": who,
            "table": table,
            "generation": list.generation.generation,
            "model": model,
            "items": items,
        });
        super::print(&value.to_string());
        return Ok(0);
    }
    let mut lines = Table::new(["rank", "item", "name", "score"]).right(&[0, 3]);
    for (rank, item) in shown.enumerate() {
        let name = names.get(&item.item).map_or("", String::as_str);
        lines.push([
            (rank + 1).to_string(),
            item.item.clone(),
            name.to_owned(),
            format!("{:.4}", item.score),
        ]);
    }
    let text = format!(
        "for {who}\nmodel {model}, generation {} of `{table}`\n\n{}",
        list.generation.generation,
        lines.lines().join("\n")
    );
    super::print(&text);
    Ok(0)
}

async fn known_table(services: &Services, table: &str) -> Outcome<String> {
    if !services.serving.generations(table).await?.is_empty() {
        return Ok(table.to_owned());
    }
    // Only for the hint: who may read one table may not be allowed to list all.
    let tables = services.serving.tables().await.unwrap_or_default();
    Err(Failure::new(FailureKind::NotFound, format!("no served table `{table}`"))
        .with_hint(format!("there is: {}", tables.join(", "))))
}

async fn only_table(services: &Services) -> Outcome<String> {
    let tables = services.serving.tables().await?;
    match tables.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Failure::new(FailureKind::NotFound, "nothing is served yet").with_hint(
            "run a pipeline that loads recommendations, for example `recctl run daily`",
        )),
        many => Err(Failure::new(FailureKind::Usage, "there is more than one served table")
            .with_hint(format!("choose one with --table: {}", many.join(", ")))),
    }
}

/// The list of the user, else of the visitor's segment, each step back wider than the one before.
async fn find(services: &Services, table: &str, args: &Args) -> Outcome<(ServedList, String)> {
    if let Some(user) = &args.user
        && let Some(list) = services.serving.get(table, &user_key(user)).await?
    {
        return Ok((list, format!("user {user}")));
    }
    let who = match &args.user {
        Some(user) => format!("unknown user {user}"),
        None => "an unknown visitor".to_owned(),
    };
    let (location, device) = (args.location.as_deref(), args.device.as_deref());
    for (location, device) in [(location, device), (location, None), (None, device), (None, None)] {
        if let Some(list) = services.serving.get(table, &segment_key(location, device)).await? {
            let place = match (location, device) {
                (Some(location), Some(device)) => format!("popular in {location} on {device}"),
                (Some(location), None) => format!("popular in {location}"),
                (None, Some(device)) => format!("popular on {device}"),
                (None, None) => "popular with everybody".to_owned(),
            };
            return Ok((list, format!("{who}: {place}")));
        }
    }
    Err(Failure::new(FailureKind::NotFound, format!("`{table}` has nothing for {who}"))
        .with_hint("give the pipeline's `score` step a `fallback` for visitors whom nobody knows"))
}

/// Names of the list's items. A list is worth showing without them, so nothing here fails.
async fn names(
    app: &App,
    services: &Services,
    served: &str,
    list: &ServedList,
) -> BTreeMap<String, String> {
    let project = app.compiled(&BTreeMap::new()).project;
    let place =
        project.pipelines.values().flat_map(|pipeline| &pipeline.steps).find_map(
            |step| match &step.kind {
                StepKind::Load(load) if load.table.as_str() == served => load.names.clone(),
                _ => None,
            },
        );
    let Some(place) = place else { return BTreeMap::new() };
    match look_up(services, &place, list).await {
        Ok(names) => names,
        Err(failure) => {
            tracing::warn!(%failure, "the items' names cannot be read");
            BTreeMap::new()
        }
    }
}

async fn look_up(
    services: &Services,
    place: &ItemNames,
    list: &ServedList,
) -> Outcome<BTreeMap<String, String>> {
    let session = open_tables(services).await?;
    let items: Vec<String> =
        list.item.items.iter().map(|item| format!("'{}'", item.item.replace('\'', "''"))).collect();
    if items.is_empty() {
        return Ok(BTreeMap::new());
    }
    let (table, key, column) =
        (quote(place.table.as_str()), quote(&place.key), quote(&place.column));
    let sql = format!(
        "SELECT CAST({key} AS VARCHAR), CAST({column} AS VARCHAR) FROM {table} WHERE {key} IN ({})",
        items.join(", ")
    );
    let mut rows = scan::rows(&services.query, session, &sql).await?;
    let mut names = BTreeMap::new();
    while let Some(batch) = rows.next().await? {
        let text = |index: usize| {
            let column = cast(batch.column(index), &DataType::Utf8).ok()?;
            column.as_any().downcast_ref::<StringArray>().cloned()
        };
        if let (Some(keys), Some(values)) = (text(0), text(1)) {
            for row in 0..batch.num_rows() {
                if keys.is_valid(row) && values.is_valid(row) {
                    names.insert(keys.value(row).to_owned(), values.value(row).to_owned());
                }
            }
        }
    }
    Ok(names)
}
