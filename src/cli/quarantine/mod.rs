//! `recctl quarantine`

mod hidden;
mod replay;
mod rows;
mod show;

use clap::Subcommand;

use super::Ended;
use crate::app::App;

/// Show what was refused and why, and make a day again after what refused it was mended
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl quarantine show                                 rows by rule, and the first few
  recctl quarantine show clean_events --date 2026-03-01
  recctl quarantine show --reason price --format csv > refused.csv
  recctl quarantine replay clean_events --date 2026-03-01")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Show(show::Args),
    Replay(replay::Args),
}

pub(super) async fn run(args: Args, app: &App) -> Ended {
    match args.what {
        What::Show(args) => super::ending_at_once(show::run(args, app)).await,
        What::Replay(args) => replay::run(args, app).await,
    }
}
