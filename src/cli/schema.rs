//! `recctl schema`

use std::path::PathBuf;

use super::Ended;
use crate::run::failure::io_failure;
use crate::spec::schema::File;

/// Print the JSON Schema of a project's files, for editors
///
/// An editor with the YAML language server completes and checks a file whose first line is
/// `# yaml-language-server: $schema=schema/pipelines.schema.json`. What a schema cannot say (names
/// that exist, SQL, what the parts of a project mean together), `recctl validate` does.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl schema job > job.schema.json
  recctl schema --write schema        all of them, as files of a folder")]
pub struct Args {
    /// The file
    #[arg(value_enum, default_value_t = Of::Pipelines)]
    of: Of,
    /// Write the schemas of all files into a folder instead
    #[arg(long, value_name = "DIR", conflicts_with = "of")]
    write: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Of {
    /// `pipelines.yaml`
    Pipelines,
    /// `jobs/*.yaml`
    Job,
    /// `tests/*.yaml`
    Tests,
}

pub(super) fn run(args: &Args) -> Ended {
    let Some(folder) = &args.write else {
        let file = match args.of {
            Of::Pipelines => File::Pipelines,
            Of::Job => File::Job,
            Of::Tests => File::Tests,
        };
        super::print(&file.schema());
        return Ok(0);
    };
    std::fs::create_dir_all(folder).map_err(|error| io_failure("create", folder, &error))?;
    for file in File::ALL {
        let path = folder.join(file.file_name());
        std::fs::write(&path, file.schema()).map_err(|error| io_failure("write", &path, &error))?;
    }
    Ok(0)
}
