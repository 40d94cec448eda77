//! Packs a model folder the way the training container's `model.tar.gz` is packed, and unpacks it.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};

use super::error::ModelError;

/// Packs the files below `folder` into the gzipped tar file `archive`; paths inside are relative to
/// `folder`.
///
/// Equal folders give equal bytes: entries are in path order, times, owners and modes are fixed.
///
/// # Errors
/// `Artifact` when there is nothing to pack or something that is neither file nor folder, `Io`.
pub fn pack(folder: &Path, archive: &Path) -> Result<(), ModelError> {
    let mut files = Vec::new();
    list(folder, Path::new(""), &mut files)?;
    if files.is_empty() {
        return Err(ModelError::artifact(folder, "is empty, nothing to pack"));
    }
    files.sort();
    let output = File::create(archive).map_err(ModelError::io("create", archive))?;
    let gzip = GzBuilder::new().mtime(0).write(BufWriter::new(output), Compression::default());
    let mut builder = tar::Builder::new(gzip);
    for relative in files {
        let path = folder.join(&relative);
        let file = File::open(&path).map_err(ModelError::io("open", &path))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(file.metadata().map_err(ModelError::io("read", &path))?.len());
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_entry_type(tar::EntryType::Regular);
        builder
            .append_data(&mut header, &relative, BufReader::new(file))
            .map_err(ModelError::io("pack", &path))?;
    }
    builder
        .into_inner()
        .and_then(|gzip| gzip.finish())
        .and_then(|mut output| output.flush())
        .map_err(ModelError::io("write", archive))
}

fn list(root: &Path, relative: &Path, files: &mut Vec<PathBuf>) -> Result<(), ModelError> {
    let folder = root.join(relative);
    for entry in std::fs::read_dir(&folder).map_err(ModelError::io("list", &folder))? {
        let entry = entry.map_err(ModelError::io("list", &folder))?;
        let kind = entry.file_type().map_err(ModelError::io("read", &entry.path()))?;
        let path = relative.join(entry.file_name());
        if kind.is_dir() {
            list(root, &path, files)?;
        } else if kind.is_file() {
            files.push(path);
        } else {
            return Err(ModelError::artifact(&entry.path(), "is neither a file nor a folder"));
        }
    }
    Ok(())
}

/// Unpacks the gzipped tar file `archive` into `folder`, which is created if need be.
///
/// # Errors
/// `Artifact` when the archive is damaged or holds anything but files and folders below its root,
/// `Io`.
pub fn unpack(archive: &Path, folder: &Path) -> Result<(), ModelError> {
    let input = File::open(archive).map_err(ModelError::io("open", archive))?;
    std::fs::create_dir_all(folder).map_err(ModelError::io("create", folder))?;
    let mut tar = tar::Archive::new(GzDecoder::new(BufReader::new(input)));
    let damaged = |error: std::io::Error| {
        ModelError::artifact(archive, format!("is not a whole archive ({error})"))
    };
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = entry.header().entry_type();
        // Links are refused: a model has none, and one could point out of the folder.
        if !(kind.is_file() || kind.is_dir()) {
            return Err(ModelError::artifact(
                archive,
                format!("entry `{name}` is neither a file nor a folder"),
            ));
        }
        entry.set_preserve_mtime(false);
        if !entry.unpack_in(folder).map_err(damaged)? {
            return Err(ModelError::artifact(
                archive,
                format!("entry `{name}` leads out of the folder"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_is_reproducible_and_round_trips() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("source"), folder.path().join("target"));
        std::fs::create_dir_all(source.join("sub")).unwrap();
        std::fs::write(source.join("sub/b.bin"), [7; 5000]).unwrap();
        std::fs::write(source.join("a.json"), "{}").unwrap();
        let (first, second) = (folder.path().join("1.tar.gz"), folder.path().join("2.tar.gz"));
        pack(&source, &first).unwrap();
        // Rewritten, so that a time that leaks into the archive would show.
        let later =
            std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        File::options()
            .write(true)
            .open(source.join("a.json"))
            .unwrap()
            .set_modified(later)
            .unwrap();
        pack(&source, &second).unwrap();
        assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
        unpack(&first, &target).unwrap();
        assert_eq!(std::fs::read(target.join("sub/b.bin")).unwrap(), [7; 5000]);
        assert_eq!(std::fs::read(target.join("a.json")).unwrap(), b"{}");
    }

    #[test]
    fn links_and_damage_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("x.tar.gz");
        let gzip = GzBuilder::new().write(File::create(&archive).unwrap(), Compression::fast());
        let mut builder = tar::Builder::new(gzip);
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "link", "/etc/passwd").unwrap();
        builder.into_inner().unwrap().finish().unwrap();
        let error = unpack(&archive, &folder.path().join("out")).unwrap_err().to_string();
        assert!(error.ends_with("entry `link` is neither a file nor a folder"), "{error}");
        std::fs::write(&archive, "no archive").unwrap();
        assert!(matches!(unpack(&archive, folder.path()), Err(ModelError::Artifact { .. })));
    }

    #[test]
    fn an_empty_folder_is_not_packed() {
        let folder = tempfile::tempdir().unwrap();
        let error = pack(folder.path(), &folder.path().join("x.tar.gz")).unwrap_err().to_string();
        assert!(error.ends_with("is empty, nothing to pack"), "{error}");
    }
}
