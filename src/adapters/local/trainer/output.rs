//! What a job leaves: put into the lake.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::layout::{Job, create_folder, files_below, remove};
use super::record::JobRecord;
use crate::ports::JobKind;
use crate::run::failure::{Failure, FailureKind, Outcome, io_failure};

/// Name of a model's archive.
const ARCHIVE: &str = "model.tar.gz";

/// Moves the output of a job that ended well to the lake and removes what nobody needs any more.
/// Names the files in the record first, so that the next attempt can clear them up.
///
/// Errors: `Step` if there is no output.
pub(super) fn deliver(job: &Job, record: &mut JobRecord) -> Outcome<()> {
    let moves: Vec<(PathBuf, String)> = match job.request.kind {
        JobKind::Train => {
            let archive = job.folder.join(ARCHIVE);
            pack(&job.root.join("model"), &archive)?;
            vec![(archive, format!("{}{ARCHIVE}", job.request.output))]
        }
        JobKind::Score => {
            let data = job.root.join("output/data");
            let files = files_below(&data).map_err(|error| io_failure("list", &data, &error))?;
            files
                .into_iter()
                .map(|file| (data.join(&file), format!("{}{}", job.request.output, file.display())))
                .collect()
        }
    };
    if moves.is_empty() {
        return Err(Failure::new(FailureKind::Step, "the program left no file in `output/data`"));
    }
    record.outputs = moves.iter().map(|(_, to)| to.clone()).collect();
    record.write(&job.folder)?;
    for (from, to) in &moves {
        move_file(from, &job.lake.join(to))?;
    }
    for folder in ["input/data", "model"] {
        remove(&job.root.join(folder), |path| std::fs::remove_dir_all(path))?;
    }
    Ok(())
}

/// Moves a file; whoever looks at the new place sees nothing, or the whole file.
fn move_file(from: &Path, to: &Path) -> Outcome<()> {
    let failed = |error| io_failure("write", to, &error);
    let folder = to.parent().unwrap_or(Path::new(""));
    create_folder(folder)?;
    if std::fs::rename(from, to).is_ok() {
        return Ok(());
    }
    // The lake is on another file system.
    let mut temporary = to.as_os_str().to_owned();
    temporary.push(".tmp");
    std::fs::copy(from, &temporary)
        .and_then(|_| std::fs::rename(&temporary, to))
        .and_then(|()| std::fs::remove_file(from))
        .map_err(failed)
}

/// Packs the files of a folder: the same files give the same bytes.
fn pack(folder: &Path, archive: &Path) -> Outcome<()> {
    let files = files_below(folder).map_err(|error| io_failure("list", folder, &error))?;
    if files.is_empty() {
        return Err(Failure::new(FailureKind::Step, "the program left no file in `model`"));
    }
    let write = || -> std::io::Result<()> {
        // The header of gzip has a time too, which flate2 leaves at 0.
        let gzip = GzEncoder::new(BufWriter::new(File::create(archive)?), Compression::default());
        let mut tar = tar::Builder::new(gzip);
        for path in &files {
            let file = File::open(folder.join(path))?;
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(file.metadata()?.len());
            header.set_mode(0o644);
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            tar.append_data(&mut header, path, file)?;
        }
        tar.into_inner()?.finish()?.flush()
    };
    write().map_err(|error| io_failure("write", archive, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_give_the_same_archive() {
        let folder = tempfile::tempdir().unwrap();
        let mut archives = Vec::new();
        for (name, order) in [("one", ["b", "a/c"]), ("two", ["a/c", "b"])] {
            let model = folder.path().join(name);
            for file in order {
                let path = model.join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, format!("content of {file}")).unwrap();
            }
            let other_time = File::options().write(true).open(model.join("b")).unwrap();
            let seconds = if name == "one" { 1_000 } else { 2_000 };
            other_time
                .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
                .unwrap();
            let archive = folder.path().join(format!("{name}.tar.gz"));
            pack(&model, &archive).unwrap();
            archives.push(std::fs::read(archive).unwrap());
        }
        assert_eq!(archives[0], archives[1]);
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(archives[0].as_slice()));
        let names: Vec<String> = tar
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["a/c", "b"]);
    }
}
