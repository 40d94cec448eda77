//! Reads and writes flat arrays: the files beside `model.json` in a model folder.
//!
//! A file is the eight bytes `RECARR1\n`, eight bytes of which the first is the element type and
//! the rest are zero, the number of elements as u64, and the elements without padding. Every number
//! is little-endian. Element types: `u` u32, `U` u64, `f` f32, `F` f64, `s` UTF-8 text, each with
//! its length in bytes before it as u32.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use super::error::ModelError;

const MAGIC: &[u8; 8] = b"RECARR1\n";
const HEADER: u64 = 24;

/// A number that can be an array's element.
pub(crate) trait Element: Copy {
    const TAG: u8;
    type Bytes: AsRef<[u8]> + AsMut<[u8]> + Default;
    fn to_bytes(self) -> Self::Bytes;
    fn from_bytes(bytes: Self::Bytes) -> Self;
}

macro_rules! element {
    ($type:ty, $tag:literal, $size:literal) => {
        impl Element for $type {
            const TAG: u8 = $tag;
            type Bytes = [u8; $size];
            fn to_bytes(self) -> Self::Bytes {
                self.to_le_bytes()
            }
            fn from_bytes(bytes: Self::Bytes) -> Self {
                Self::from_le_bytes(bytes)
            }
        }
    };
}

element!(u32, b'u', 4);
element!(u64, b'U', 8);
element!(f32, b'f', 4);
element!(f64, b'F', 8);

pub(crate) fn write<T: Element>(
    path: &Path,
    values: impl ExactSizeIterator<Item = T>,
) -> Result<(), ModelError> {
    create(path, T::TAG, values.len(), |file| {
        values.into_iter().try_for_each(|value| file.write_all(value.to_bytes().as_ref()))
    })
}

pub(crate) fn write_text(path: &Path, values: &[String]) -> Result<(), ModelError> {
    create(path, b's', values.len(), |file| {
        values.iter().try_for_each(|value| {
            let length = u32::try_from(value.len()).map_err(io::Error::other)?;
            file.write_all(&length.to_le_bytes())?;
            file.write_all(value.as_bytes())
        })
    })
}

fn create(
    path: &Path,
    tag: u8,
    len: usize,
    body: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), ModelError> {
    let write = || {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(MAGIC)?;
        file.write_all(&[tag, 0, 0, 0, 0, 0, 0, 0])?;
        file.write_all(&(len as u64).to_le_bytes())?;
        body(&mut file)?;
        file.flush()
    };
    write().map_err(ModelError::io("write", path))
}

/// # Errors
/// `Artifact` when the file is not such an array or is cut short, `Io`.
pub(crate) fn read<T: Element>(path: &Path) -> Result<Vec<T>, ModelError> {
    let (mut file, len, body) = open(path, T::TAG)?;
    let size = T::Bytes::default().as_ref().len() as u64;
    // Checked before anything is allocated, so that a damaged count cannot ask for all memory.
    if len.checked_mul(size) != Some(body) {
        return Err(ModelError::artifact(
            path,
            format!("holds {body} bytes of data where {len} elements are announced"),
        ));
    }
    let mut values = Vec::with_capacity(len as usize);
    for _ in 0..len {
        let mut bytes = T::Bytes::default();
        file.read_exact(bytes.as_mut()).map_err(ModelError::io("read", path))?;
        values.push(T::from_bytes(bytes));
    }
    Ok(values)
}

/// # Errors
/// As [`read`].
pub(crate) fn read_text(path: &Path) -> Result<Vec<String>, ModelError> {
    let (mut file, len, mut body) = open(path, b's')?;
    let cut_short = || ModelError::artifact(path, format!("ends before its {len} texts do"));
    let mut values = Vec::new();
    for _ in 0..len {
        let mut bytes = [0; 4];
        body = body.checked_sub(4).ok_or_else(cut_short)?;
        file.read_exact(&mut bytes).map_err(ModelError::io("read", path))?;
        let length = u32::from_le_bytes(bytes);
        body = body.checked_sub(u64::from(length)).ok_or_else(cut_short)?;
        let mut text = vec![0; length as usize];
        file.read_exact(&mut text).map_err(ModelError::io("read", path))?;
        values.push(
            String::from_utf8(text)
                .map_err(|_| ModelError::artifact(path, "holds text that is not UTF-8"))?,
        );
    }
    if body == 0 {
        Ok(values)
    } else {
        Err(ModelError::artifact(path, format!("has {body} bytes too many")))
    }
}

/// Returns the file after its header, the number of elements and the number of bytes that follow.
fn open(path: &Path, tag: u8) -> Result<(BufReader<File>, u64, u64), ModelError> {
    let file = File::open(path).map_err(ModelError::io("open", path))?;
    let bytes = file.metadata().map_err(ModelError::io("read", path))?.len();
    let mut file = BufReader::new(file);
    let mut header = [0; HEADER as usize];
    if bytes < HEADER {
        return Err(ModelError::artifact(path, "is too short for an array file"));
    }
    file.read_exact(&mut header).map_err(ModelError::io("read", path))?;
    let (magic, rest) = header.split_at(8);
    if magic != MAGIC {
        return Err(ModelError::artifact(path, "is not an array file of this version"));
    }
    if rest[0] != tag {
        let (found, expected) = (char::from(rest[0]), char::from(tag));
        return Err(ModelError::artifact(
            path,
            format!("has elements of type `{found}`, expected `{expected}`"),
        ));
    }
    let mut len = [0; 8];
    len.copy_from_slice(&rest[8..]);
    Ok((file, u64::from_le_bytes(len), bytes - HEADER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.bin");
        write(&path, [1.5_f32, -0.0, f32::MAX].into_iter()).unwrap();
        assert_eq!(read::<f32>(&path).unwrap(), [1.5, -0.0, f32::MAX]);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 24 + 12);
        write(&path, [u64::MAX, 0].into_iter()).unwrap();
        assert_eq!(read::<u64>(&path).unwrap(), [u64::MAX, 0]);
        let texts = ["", "a\nb", "größe"].map(str::to_owned);
        write_text(&path, &texts).unwrap();
        assert_eq!(read_text(&path).unwrap(), texts);
    }

    #[test]
    fn damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.bin");
        let broken = |change: &dyn Fn(&mut Vec<u8>)| {
            write(&path, [1_u32, 2].into_iter()).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            change(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
            let error = read::<u32>(&path).unwrap_err();
            assert!(matches!(error, ModelError::Artifact { .. }));
            error.to_string().split_once("`: ").unwrap().1.to_owned()
        };
        assert_eq!(
            broken(&|bytes| bytes.truncate(30)),
            "holds 6 bytes of data where 2 elements are announced"
        );
        assert_eq!(broken(&|bytes| bytes.truncate(10)), "is too short for an array file");
        assert_eq!(broken(&|bytes| bytes[8] = b'f'), "has elements of type `f`, expected `u`");
        assert_eq!(broken(&|bytes| bytes[6] = b'2'), "is not an array file of this version");
        write_text(&path, &["abc".to_owned()]).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[24] = 200;
        std::fs::write(&path, bytes).unwrap();
        assert!(read_text(&path).unwrap_err().to_string().ends_with("ends before its 1 texts do"));
    }
}
