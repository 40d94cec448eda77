//! COPY from Parquet files on S3: what the statement says, and how it is carried out.

use std::sync::Arc;

use bytes::Bytes;
use futures::SinkExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;
use tokio_postgres::Transaction;

use super::dialect::closing;
use super::lexer::{Token, sql};
use super::rows::{Column, FileRows};

/// Opens a bucket by its name.
pub type OpenBucket = Arc<dyn Fn(&str) -> Result<Arc<dyn ObjectStore>, String> + Send + Sync>;

/// Characters of rows sent to PostgreSQL at once.
const CHUNK: usize = 1 << 20;

/// A COPY statement.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Copy {
    /// The table as in SQL.
    pub table: String,
    /// The columns in the order of the files; empty for all.
    pub columns: Vec<String>,
    pub url: String,
    pub manifest: bool,
    /// Whether nested values go into SUPER columns.
    pub to_json: bool,
    /// Whether files may lack columns at the end.
    pub fill: bool,
}

impl Copy {
    /// Reads the statement.
    pub fn parse(tokens: &[Token<'_>]) -> Result<Self, String> {
        let syntax = |token: Option<&Token<'_>>| {
            format!("ERROR: syntax error at or near \"{}\"", token.map_or("", |token| token.text))
        };
        let from = tokens.iter().position(|token| token.is("from")).ok_or_else(|| syntax(None))?;
        let target = &tokens[1..from];
        let list = target.iter().position(|token| token.symbol("(")).unwrap_or(target.len());
        let mut columns = Vec::new();
        if list < target.len() {
            if closing(&target[list..]) != Some(target.len() - list - 1) {
                return Err(syntax(target.last()));
            }
            let names = target[list + 1..target.len() - 1].iter().filter(|t| !t.symbol(","));
            for token in names {
                columns.push(token.name().ok_or_else(|| syntax(Some(token)))?);
            }
        }
        let url = tokens.get(from + 1).and_then(Token::value).ok_or_else(|| syntax(None))?;
        let mut copy = Self {
            table: sql(&target[..list]),
            columns,
            url,
            manifest: false,
            to_json: false,
            fill: false,
        };
        let (mut role, mut parquet) = (false, false);
        let mut rest = &tokens[from + 2..];
        while let Some(first) = rest.first() {
            let mut taken = 1;
            let mut value = || {
                taken += 1;
                rest.get(taken - 1)
            };
            match first.text.to_lowercase().as_str() {
                "iam_role" => {
                    let token = value();
                    let arn = token.and_then(Token::value).unwrap_or_default();
                    role = token.is_some_and(|token| token.is("default")) || is_role(&arn);
                }
                "format" => {
                    let mut kind = value();
                    if kind.is_some_and(|kind| kind.is("as")) {
                        kind = value();
                    }
                    parquet = kind.is_some_and(|kind| kind.is("parquet"));
                }
                "parquet" => parquet = true,
                "manifest" => copy.manifest = true,
                "serializetojson" => copy.to_json = true,
                "fillrecord" => copy.fill = true,
                "acceptinvchars" | "explicit_ids" => {}
                "statupdate" | "compupdate" | "region" => {
                    value();
                }
                "as" => {}
                other @ ("maxerror" | "acceptanydate" | "truncatecolumns" | "ignoreheader"
                | "emptyasnull" | "blanksasnull" | "delimiter" | "gzip" | "dateformat"
                | "timeformat" | "noload") => {
                    let option = other.to_uppercase();
                    return Err(format!(
                        "ERROR: {option} argument is not supported for PARQUET based COPY"
                    ));
                }
                _ => return Err(syntax(Some(first))),
            }
            rest = &rest[taken.min(rest.len())..];
        }
        if !role {
            return Err("ERROR: Invalid credentials. Must be of the format: IAM_ROLE 'arn:aws:iam::<account>:role/<name>'".into());
        }
        if !parquet {
            return Err("ERROR: the stand-in copies FORMAT AS PARQUET only".to_owned());
        }
        Ok(copy)
    }

    /// Loads the files into the table; the number of rows.
    pub async fn run(
        &self,
        transaction: &Transaction<'_>,
        buckets: &OpenBucket,
    ) -> Result<u64, String> {
        let columns = self.target(transaction).await?;
        let files = match self.manifest {
            true => self.manifest_files(buckets).await?,
            false => listed(&self.url, buckets).await?,
        };
        let mut files_with_rows = Vec::with_capacity(files.len());
        // All footers first: a file that does not fit fails the load before a row is read.
        for (url, bytes) in files {
            files_with_rows.push(FileRows::open(&url, bytes, &columns, self.to_json, self.fill)?);
        }
        let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
        let statement = format!("COPY {} ({}) FROM STDIN", self.table, names.join(", "));
        let sink = transaction.copy_in::<_, Bytes>(&statement).await.map_err(|e| text_of(&e))?;
        let mut sink = Box::pin(sink);
        for mut file in files_with_rows {
            while let Some(chunk) = file.next(CHUNK)? {
                sink.send(Bytes::from(chunk)).await.map_err(|error| text_of(&error))?;
            }
        }
        sink.as_mut().finish().await.map_err(|error| text_of(&error))
    }

    /// The columns that the files go into, in order.
    async fn target(&self, transaction: &Transaction<'_>) -> Result<Vec<Column>, String> {
        let rows = transaction
            .query(
                "SELECT a.attname::text, t.typname::text, a.atttypmod
                   FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
                  WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
                  ORDER BY a.attnum",
                &[&self.table],
            )
            .await
            .map_err(|error| text_of(&error))?;
        if rows.is_empty() {
            return Err(format!("ERROR: Cannot COPY into nonexistent table {}", self.table));
        }
        let all: Vec<Column> =
            rows.iter().map(|row| Column::new(row.get(0), row.get(1), row.get(2))).collect();
        if self.columns.is_empty() {
            return Ok(all);
        }
        self.columns
            .iter()
            .map(|name| {
                let found = all.iter().find(|column| column.name == *name);
                found.cloned().ok_or_else(|| {
                    format!(
                        "ERROR: column \"{name}\" of relation \"{}\" does not exist",
                        self.table
                    )
                })
            })
            .collect()
    }

    async fn manifest_files(&self, buckets: &OpenBucket) -> Result<Vec<(String, Bytes)>, String> {
        let broken = |why: &str| format!("ERROR: Invalid manifest {}: {why}", self.url);
        let (bucket, path) = s3(&self.url).ok_or_else(|| broken("not an S3 URL"))?;
        let bytes = fetch(bucket, path, buckets).await?.ok_or_else(|| {
            format!("ERROR: Problem reading manifest file - S3ServiceException:The specified key does not exist.,Status 404,Error NoSuchKey,Url {}", self.url)
        })?;
        let manifest: Value = serde_json::from_slice(&bytes).map_err(|_| broken("not JSON"))?;
        let entries = manifest["entries"].as_array().ok_or_else(|| broken("it has no entries"))?;
        let mut files = Vec::new();
        for entry in entries {
            let url = entry["url"].as_str().ok_or_else(|| broken("an entry has no url"))?;
            let (bucket, path) = s3(url).ok_or_else(|| broken("an entry's url is not of S3"))?;
            // Redshift asks for it of columnar files, as it reads the footer at the end first.
            let length = entry["meta"]["content_length"]
                .as_u64()
                .ok_or_else(|| broken(&format!("meta.content_length of {url} is missing")))?;
            match fetch(bucket, path, buckets).await? {
                Some(bytes) if bytes.len() as u64 == length => files.push((url.to_owned(), bytes)),
                Some(bytes) => {
                    return Err(format!(
                        "ERROR: Spectrum Scan Error: content_length {length} of the manifest does not match the {} bytes of {url}",
                        bytes.len()
                    ));
                }
                None if entry["mandatory"].as_bool() == Some(true) => {
                    return Err(format!(
                        "ERROR: Spectrum Scan Error: S3ServiceException:The specified key does not exist.,Status 404,Error NoSuchKey,Url {url}"
                    ));
                }
                None => {}
            }
        }
        if files.is_empty() {
            return Err(format!(
                "ERROR: The specified S3 prefix of the manifest '{}' does not exist",
                self.url
            ));
        }
        Ok(files)
    }
}

/// The files below a prefix.
async fn listed(url: &str, buckets: &OpenBucket) -> Result<Vec<(String, Bytes)>, String> {
    use futures::TryStreamExt;
    let (bucket, prefix) = s3(url).ok_or_else(|| format!("ERROR: '{url}' is not an S3 URL"))?;
    let store = buckets(bucket)?;
    // Prefixes of S3 are texts, those of the store whole folders.
    let folder = prefix.rsplit_once('/').map(|(folder, _)| Path::from(folder));
    let found = store.list(folder.as_ref()).try_collect::<Vec<_>>().await;
    let mut files = Vec::new();
    for meta in found.map_err(|error| format!("ERROR: S3ServiceException: {error}"))? {
        let path = meta.location.to_string();
        if path.starts_with(prefix)
            && let Some(bytes) = fetch(bucket, &path, buckets).await?
        {
            files.push((format!("s3://{bucket}/{path}"), bytes));
        }
    }
    if files.is_empty() {
        return Err(format!("ERROR: The specified S3 prefix '{prefix}' does not exist"));
    }
    Ok(files)
}

async fn fetch(bucket: &str, path: &str, buckets: &OpenBucket) -> Result<Option<Bytes>, String> {
    let failed = |error: object_store::Error| format!("ERROR: S3ServiceException: {error}");
    match buckets(bucket)?.get(&Path::from(path)).await {
        Ok(found) => found.bytes().await.map(Some).map_err(failed),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn s3(url: &str) -> Option<(&str, &str)> {
    url.strip_prefix("s3://")?
        .split_once('/')
        .filter(|(bucket, path)| !bucket.is_empty() && !path.is_empty())
}

fn is_role(arns: &str) -> bool {
    arns.split(',').all(|arn| {
        let mut parts = arn.splitn(6, ':');
        let prefix = (parts.next(), parts.next(), parts.next(), parts.next());
        let account = parts.next().unwrap_or_default();
        matches!(prefix, (Some("arn"), Some(_), Some("iam"), Some("")))
            && account.len() == 12
            && account.bytes().all(|byte| byte.is_ascii_digit())
            && parts.next().is_some_and(|name| name.starts_with("role/"))
    })
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What PostgreSQL says of an error, as Redshift would show it.
pub(super) fn text_of(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => {
            let detail = error.detail().map(|detail| format!("\n  Detail: {detail}"));
            format!("ERROR: {}{}", error.message(), detail.unwrap_or_default())
        }
        None => format!("ERROR: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::lexer::tokens;
    use super::*;

    fn parsed(text: &str) -> Result<Copy, String> {
        Copy::parse(&tokens(text).unwrap())
    }

    #[test]
    fn statements_are_read() {
        let copy = parsed(
            "COPY \"S\".t (\"A\", b) FROM 's3://b/m.manifest' IAM_ROLE 'arn:aws:iam::123456789012:role/x' \
             FORMAT AS PARQUET MANIFEST SERIALIZETOJSON STATUPDATE OFF",
        )
        .unwrap();
        assert_eq!(copy.table, "\"s\".t");
        assert_eq!(copy.columns, ["a", "b"]);
        assert!(copy.manifest && copy.to_json && !copy.fill);
        let end = "IAM_ROLE DEFAULT FORMAT PARQUET";
        assert!(parsed(&format!("COPY t FROM 's3://b/p' {end}")).is_ok());
        for bad in [
            "COPY t FROM 's3://b/p' IAM_ROLE 'me' FORMAT PARQUET".to_owned(),
            "COPY t FROM 's3://b/p' FORMAT PARQUET".to_owned(),
            "COPY t FROM 's3://b/p' IAM_ROLE DEFAULT CSV".to_owned(),
            format!("COPY t (a FROM 's3://b/p' {end}"),
            format!("COPY t FROM 's3://b/p' {end} MAXERROR 5"),
        ] {
            assert!(parsed(&bad).is_err(), "{bad}");
        }
    }
}
