//! `recctl init`

use std::path::{Path, PathBuf};

use super::Ended;
use crate::app::App;
use crate::run::failure::{Failure, FailureKind, Outcome, io_failure};

/// Write a small project that validates, tests and runs as it is
///
/// `recctl init shop && cd shop && recctl validate && recctl test && recctl run daily` goes through.
/// The project is a shop's: a click-stream and a product feed become recommendations for every visitor. The
/// first run makes sample data. Nothing that is there already is overwritten.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl init shop
  recctl run daily -C shop")]
pub struct Args {
    /// The folder, which is made if it is not there
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// A file of the new project. `{{name}}` in it is the folder's name.
struct Template {
    path: &'static str,
    text: &'static str,
}

macro_rules! template {
    ($path:literal) => {
        template!($path, $path)
    };
    ($path:literal, $file:literal) => {
        Template { path: $path, text: include_str!(concat!("init/shop/", $file)) }
    };
}

const TEMPLATES: &[Template] = &[
    template!("pipelines.yaml"),
    template!("sql/daily/products.sql"),
    template!("sql/daily/clean_events.sql"),
    template!("sql/daily/interactions.sql"),
    template!("sql/daily/popular_items.sql"),
    template!("jobs/item_knn.yaml"),
    template!("jobs/popularity.yaml"),
    template!("tests/clean_events.yaml"),
    template!("tests/interactions.yaml"),
    template!("tests/products.yaml"),
    template!("README.md"),
    // Under names that neither git nor GitHub takes for its own in this repository.
    template!(".gitignore", "gitignore"),
    template!(".github/workflows/recctl.yml", "workflow.yml"),
];

/// Files in the way that are named.
const MOST_NAMED: usize = 3;

pub(super) fn run(args: &Args, app: &App) -> Ended {
    let folder = app.settings.project.join(&args.folder);
    refuse_to_overwrite(&folder)?;
    let name = name_of(&folder);
    for template in TEMPLATES {
        let path = folder.join(template.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|e| io_failure("create", parent, &e))?;
        }
        let text = template.text.replace("{{name}}", &name);
        std::fs::write(&path, text).map_err(|error| io_failure("write", &path, &error))?;
    }
    let mut lines: Vec<String> =
        TEMPLATES.iter().map(|template| format!("  {}", template.path)).collect();
    lines.insert(0, format!("made a project in `{}`", shown(&args.folder)));
    lines.push("next:".to_owned());
    if args.folder != Path::new(".") {
        lines.push(format!("  cd {}", args.folder.display()));
    }
    lines.push("  recctl validate     # every mistake, before anything runs".to_owned());
    lines.push("  recctl test         # the unit tests of the queries".to_owned());
    lines.push("  recctl run daily    # on sample data, which the first run makes".to_owned());
    super::print(&lines.join("\n"));
    Ok(0)
}

fn refuse_to_overwrite(folder: &Path) -> Outcome<()> {
    if folder.exists() && !folder.is_dir() {
        let message = format!("`{}` is a file", folder.display());
        let failure = Failure::new(FailureKind::Usage, message);
        return Err(failure.with_hint("name a folder"));
    }
    let there: Vec<&str> = TEMPLATES
        .iter()
        .map(|template| template.path)
        .filter(|path| folder.join(path).exists())
        .collect();
    if there.is_empty() {
        return Ok(());
    }
    let named: Vec<&str> = there.iter().copied().take(MOST_NAMED).collect();
    let more = match there.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "`{}` already has `{}`{more}, and nothing is overwritten",
        shown(folder),
        named.join("`, `")
    );
    let failure = Failure::new(FailureKind::Usage, message);
    Err(failure.with_hint("name another folder: `recctl init shop`"))
}

fn shown(folder: &Path) -> String {
    let text = folder.display().to_string();
    let text = text.strip_prefix("./").unwrap_or(&text);
    if text.is_empty() { ".".to_owned() } else { text.to_owned() }
}

/// The folder's own name, for the README.
fn name_of(folder: &Path) -> String {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    absolute
        .file_name()
        .map_or_else(|| "shop".to_owned(), |name| name.to_string_lossy().into_owned())
}
