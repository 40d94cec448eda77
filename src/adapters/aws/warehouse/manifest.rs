//! Manifests: the exact files of a COPY.

use serde_json::json;

use super::super::{AwsSession, Bucket, Precondition};
use super::files::LoadFile;
use crate::pipeline::fingerprint::digest;
use crate::pipeline::target::S3Location;
use crate::run::failure::Outcome;

/// The folder of the lake that they lie in.
const FOLDER: &str = "manifests";

/// Writes manifests into the lake.
#[derive(Debug, Clone)]
pub(super) struct Manifests {
    bucket: Bucket,
    lake: S3Location,
}

impl Manifests {
    pub(super) fn new(session: &AwsSession) -> Self {
        let lake = session.target().lake.clone();
        Self { bucket: Bucket::new(session, &lake.bucket), lake }
    }

    /// Writes the manifest of a table's files under a load's name; its URL. The same files give the
    /// same URL, so that a load that is asked for again is the same text of SQL.
    pub(super) async fn put(&self, load: &str, table: &str, files: &[LoadFile]) -> Outcome<String> {
        let text = manifest(&self.lake, files);
        let path = format!("{FOLDER}/{load}/{table}-{}.json", digest(text.as_bytes()));
        self.bucket.put(&self.lake.key(&path), text.into_bytes(), Precondition::Always).await?;
        Ok(self.lake.url(&path))
    }
}

/// <https://docs.aws.amazon.com/redshift/latest/dg/loading-data-files-using-manifest.html>
fn manifest(lake: &S3Location, files: &[LoadFile]) -> String {
    let entries: Vec<serde_json::Value> = files
        .iter()
        .map(|file| {
            json!({
                "url": lake.url(&file.path),
                // A file that is gone fails the load instead of being left out.
                "mandatory": true,
                // Redshift asks for it of columnar files.
                "meta": { "content_length": file.bytes },
            })
        })
        .collect();
    json!({ "entries": entries }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_name_each_file_with_its_length() {
        let lake = S3Location::parse("s3://acme/lake").unwrap();
        let files = [LoadFile { path: "t/1.parquet".to_owned(), bytes: 17 }];
        assert_eq!(
            manifest(&lake, &files),
            r#"{"entries":[{"mandatory":true,"meta":{"content_length":17},"url":"s3://acme/lake/t/1.parquet"}]}"#
        );
    }
}
