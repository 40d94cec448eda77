//! The files of a load: their footers, held against the table before anything is asked of Redshift.
//!
//! COPY takes the columns of Parquet files by position, and says only that a file is not compatible.

use std::sync::Arc;

use datafusion::parquet::arrow::parquet_to_arrow_schema;
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use datafusion::parquet::file::reader::ChunkReader;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};

use super::table::{Column, Table};
use crate::ports::FileEntry;
use crate::ports::limits::redshift::RedshiftType;
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Bytes at the end of a file that are asked for first; most footers fit.
const FOOTER_BYTES: u64 = 64 * 1024;

/// Footers that are read at once.
const AT_ONCE: usize = 16;

/// A file that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoadFile {
    /// Path in the lake.
    pub path: String,
    /// Size as the store says it.
    pub bytes: u64,
}

/// Reads the footers of all files of a table and holds them against it.
///
/// Errors: `Input` for a file that cannot be read or whose columns are not the table's in name,
/// order and type, `Quality` if the files do not hold as many rows as said, `Usage` for a text that
/// the table's column is too narrow for.
pub(super) async fn preflight(
    store: &Arc<dyn ObjectStore>,
    table: &Table<'_>,
    existing: &[Column],
) -> Outcome<Vec<LoadFile>> {
    let load = table.load;
    let footers: Vec<(LoadFile, ParquetMetaData)> = futures::stream::iter(load.files.clone())
        .map(|file| footer(Arc::clone(store), file))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let mut rows = 0;
    for (file, footer) in &footers {
        rows += u64::try_from(footer.file_metadata().num_rows()).unwrap_or_default();
        columns_fit(table, file, footer)?;
        texts_fit(table, existing, file, footer)?;
    }
    if rows != load.rows {
        return Err(Failure::new(
            FailureKind::Quality,
            format!("the files of `{}` hold {rows} rows instead of {}", table.name(), load.rows),
        ));
    }
    Ok(footers.into_iter().map(|(file, _)| file).collect())
}

async fn footer(
    store: Arc<dyn ObjectStore>,
    file: FileEntry,
) -> Outcome<(LoadFile, ParquetMetaData)> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::new(FailureKind::Input, format!("cannot read `{}`: {error}", file.path))
    };
    let mut wanted = FOOTER_BYTES;
    loop {
        let (size, bytes) = end_of(&store, &file.path, wanted).await.map_err(|error| {
            match error {
                // A file that is not there is what was to be loaded; all else may pass.
                object_store::Error::NotFound { .. } => unreadable(&"it is not there"),
                error => Failure::new(
                    FailureKind::Transient,
                    format!("cannot read `{}`: {error}", file.path),
                ),
            }
        })?;
        let mut reader = ParquetMetaDataReader::new();
        match reader.try_parse_sized(&bytes, size) {
            Ok(()) => {
                let metadata = reader.finish().map_err(|error| unreadable(&error))?;
                return Ok((LoadFile { path: file.path.clone(), bytes: size }, metadata));
            }
            Err(ParquetError::NeedMoreData(needed)) if needed as u64 > wanted => {
                wanted = needed as u64;
            }
            Err(error) => return Err(unreadable(&error)),
        }
    }
}

async fn end_of(
    store: &Arc<dyn ObjectStore>,
    path: &str,
    bytes: u64,
) -> object_store::Result<(u64, impl ChunkReader)> {
    let options = GetOptions { range: Some(GetRange::Suffix(bytes)), ..GetOptions::default() };
    let found = store.get_opts(&Path::from(path), options).await?;
    let size = found.meta.size;
    Ok((size, found.bytes().await?))
}

/// Columns by position: the same names and types in the same order.
fn columns_fit(table: &Table<'_>, file: &LoadFile, footer: &ParquetMetaData) -> Outcome<()> {
    let input = |text: String| Failure::new(FailureKind::Input, text);
    let descriptor = footer.file_metadata().schema_descr();
    // Without Arrow's own notes: Redshift sees only what Parquet says.
    let schema = parquet_to_arrow_schema(descriptor, None)
        .map_err(|error| input(format!("cannot read `{}`: {error}", file.path)))?;
    let fields = schema.fields();
    for (at, column) in table.columns.iter().enumerate() {
        let place = at + 1;
        let Some(field) = fields.get(at) else {
            return Err(input(format!("`{}` lacks the column `{}`", file.path, column.name)));
        };
        if !field.name().eq_ignore_ascii_case(&column.name) {
            return Err(input(format!(
                "column {place} of `{}` is `{}` where `{}.{}` is expected",
                file.path,
                field.name(),
                table.name(),
                column.name
            )));
        }
        let found = RedshiftType::of(field.data_type());
        if found != Ok(column.kind) {
            let failure = input(format!(
                "column {place} of `{}` is {} where `{}.{}` needs {}",
                file.path,
                field.data_type(),
                table.name(),
                column.name,
                column.kind.declared()
            ));
            return Err(match found {
                Err(why) => failure.with_hint(why),
                Ok(_) => failure,
            });
        }
    }
    match fields.get(table.columns.len()) {
        None => Ok(()),
        Some(more) => Err(input(format!(
            "`{}` has the column `{}`, which `{}` does not know",
            file.path,
            more.name(),
            table.name()
        ))),
    }
}

/// What the statistics know of texts that are too long. They hold the first and the last text in
/// order, cut, so that this finds some; the others are found when they are staged.
fn texts_fit(
    table: &Table<'_>,
    existing: &[Column],
    file: &LoadFile,
    footer: &ParquetMetaData,
) -> Outcome<()> {
    for (column, width) in table.narrow(existing) {
        let longest = footer
            .row_groups()
            .iter()
            .flat_map(|group| group.columns())
            .filter(|chunk| chunk.column_path().parts() == [column.name.clone()])
            .filter_map(|chunk| chunk.statistics())
            .flat_map(|known| [known.min_bytes_opt(), known.max_bytes_opt()])
            .flatten()
            .map(<[u8]>::len)
            .max();
        if longest.is_some_and(|longest| longest > width as usize) {
            return Err(too_long(&format!("`{}.{}`", table.name(), column.name), width)
                .while_doing(format!("cannot load `{}`", file.path)));
        }
    }
    Ok(())
}

/// Says that a text does not fit.
pub(super) fn too_long(columns: &str, width: u32) -> Failure {
    Failure::new(
        FailureKind::Usage,
        format!("a text is longer than {columns} takes, which is {width} bytes"),
    )
    .with_hint("widen it with `ALTER TABLE … ALTER COLUMN … TYPE varchar(…)`, or cut the text in the query; Redshift counts bytes, not characters")
}
