//! Where the files go, and the care taken that none is half written or mixed with others.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use chrono::{Datelike, NaiveDate};
use flate2::{Compression, write::GzEncoder};

use super::error::SampleError;
use super::schedule::Part;

/// The folder `raw` of a lake.
pub(super) struct Raw {
    root: PathBuf,
}

impl Raw {
    pub(super) fn under(output: &Path) -> Self {
        Self { root: output.join("raw") }
    }

    pub(super) fn products(&self) -> PathBuf {
        self.root.join("products").join("products.csv")
    }

    pub(super) fn users(&self) -> PathBuf {
        self.root.join("users").join("users.json.gz")
    }

    pub(super) fn day(&self, day: NaiveDate) -> PathBuf {
        self.root
            .join("clickstream")
            .join(format!("{:04}", day.year()))
            .join(format!("{:02}", day.month()))
            .join(format!("{:02}", day.day()))
    }

    pub(super) fn part(&self, part: &Part) -> PathBuf {
        self.day(part.day)
            .join(format!("{:02}", part.hour))
            .join(format!("part-{:04}.json.gz", part.number))
    }
}

/// Errs where the path is a file, or a folder with a file at any depth.
pub(super) fn check_free(path: &Path) -> Result<(), SampleError> {
    match holds_files(path) {
        Ok(false) => Ok(()),
        Ok(true) => Err(SampleError::Occupied { path: path.to_path_buf() }),
        Err(source) => {
            Err(SampleError::Io { action: "look into", path: path.to_path_buf(), source })
        }
    }
}

fn holds_files(path: &Path) -> io::Result<bool> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if !kind.is_dir() {
        return Ok(true);
    }
    for entry in fs::read_dir(path)? {
        if holds_files(&entry?.path())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes a whole file under a temporary name in its folder, then renames it.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), SampleError> {
    let io = |action, path: &Path| {
        let path = path.to_path_buf();
        move |source| SampleError::Io { action, path, source }
    };
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io("name", path)(io::Error::from(io::ErrorKind::InvalidInput)));
    };
    fs::create_dir_all(folder).map_err(io("create", folder))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".tmp");
    let temporary = folder.join(temporary);
    let written = fs::write(&temporary, bytes)
        .map_err(io("write", &temporary))
        .and_then(|()| fs::rename(&temporary, path).map_err(io("rename to", path)));
    if written.is_err() {
        // The first error is the one to report; a file that cannot be removed either is hidden by its name.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Compresses bytes as one gzip member.
pub(super) fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 3), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Removes files this run has written, and the folders up to `root` that are empty without them.
///
/// Errors are passed over: the error that led here is the one to report.
pub(super) fn remove(files: &[PathBuf], root: &Path) {
    for file in files {
        let _ = fs::remove_file(file);
    }
    for file in files {
        let folders = file
            .ancestors()
            .skip(1)
            .take_while(|folder| folder.starts_with(root) && *folder != root);
        for folder in folders {
            // Fails, as it should, where something else is inside.
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
}
