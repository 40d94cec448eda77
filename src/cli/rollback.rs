//! `recctl rollback`

use super::Ended;
use crate::app::{App, Opening};
use crate::report::Table;
use crate::run::failure::{Failure, FailureKind};

/// Make an earlier generation of a served table visible again, at once
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl rollback recommendations                 to the generation before
  recctl rollback recommendations --list          show what there is
  recctl rollback recommendations --to 20260301T031502-9f3a1c20")]
pub struct Args {
    /// The served table
    table: String,
    /// The generation [default: the one before the visible one]
    #[arg(long, value_name = "GENERATION")]
    to: Option<String>,
    /// List the generations and stop
    #[arg(long)]
    list: bool,
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    let target = app.target(Opening::Existing).await?;
    let serving = &target.services.serving;
    let generations = serving.generations(&args.table).await?;
    if generations.is_empty() {
        let failure =
            Failure::new(FailureKind::NotFound, format!("no served table `{}`", args.table));
        let tables = serving.tables().await?;
        return Err(failure.with_hint(format!("there is: {}", tables.join(", "))));
    }
    if args.list {
        let mut table = Table::new(["generation", "visible", "items", "model"]).right(&[2]);
        for one in &generations {
            table.push([
                one.generation.clone(),
                if one.visible { "yes" } else { "" }.to_owned(),
                one.items.to_string(),
                one.model.clone(),
            ]);
        }
        super::print(&table.lines().join("\n"));
        return Ok(0);
    }
    let chosen = match &args.to {
        Some(to) => to.clone(),
        None => {
            let before = generations.iter().skip_while(|one| !one.visible).skip(1);
            let before = before.filter(|one| one.sealed).map(|one| one.generation.clone()).next();
            before.ok_or_else(|| {
                Failure::new(
                    FailureKind::NotFound,
                    format!("`{}` has no generation before the visible one", args.table),
                )
            })?
        }
    };
    serving.flip(&args.table, &chosen).await?;
    super::print(&format!("`{}` serves generation {chosen} now", args.table));
    Ok(0)
}
