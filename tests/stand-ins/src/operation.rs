//! Which operation of which service a request is, on what.

use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::{Method, Uri};
use serde_json::Value;

/// The operations whose names begin so change nothing. Those of STS give out credentials only.
const READS: [&str; 18] = [
    "AssumeRole",
    "BatchCheck",
    "BatchDescribe",
    "BatchGet",
    "Check",
    "Decode",
    "Describe",
    "Filter",
    "Get",
    "Head",
    "List",
    "Lookup",
    "Query",
    "Scan",
    "Search",
    "Select",
    "Simulate",
    "TransactGet",
];

pub(crate) struct Operation {
    pub service: String,
    pub name: String,
    pub resource: Option<String>,
}

impl Operation {
    /// `body` is the body of a JSON service; null for others.
    pub fn of(method: &Method, uri: &Uri, headers: &HeaderMap, body: &Value, form: &str) -> Self {
        let service = signing_name(uri, headers);
        let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
        if let Some((prefix, name)) = target.and_then(|target| target.rsplit_once('.')) {
            let service = service.unwrap_or_else(|| prefix.to_lowercase());
            let resource = resource(&service, name, body);
            return Self { service, name: name.to_owned(), resource };
        }
        let action = form.split('&').find_map(|pair| pair.strip_prefix("Action="));
        // `/service/GraniteServiceVersion20100801/operation/PutMetricData`, of the CBOR protocol.
        let smithy = uri.path().strip_prefix("/service/");
        let smithy = smithy.and_then(|path| path.split_once("/operation/")).map(|(_, name)| name);
        if let Some(name) = action.or(smithy) {
            let service = service.unwrap_or_default();
            return Self { service, name: name.to_owned(), resource: None };
        }
        let (name, resource) = s3(method, uri, headers);
        Self { service: service.unwrap_or_else(|| "s3".to_owned()), name, resource }
    }

    pub fn is_mutating(service: &str, name: &str, body: &Value) -> bool {
        let sql = |value: &Value| value.get("Sql").and_then(Value::as_str).map(str::to_owned);
        match (service, name) {
            ("redshift-data", "ExecuteStatement") => !sql(body).is_some_and(|sql| reads(&sql)),
            ("redshift-data", "BatchExecuteStatement") => {
                let texts = body.get("Sqls").and_then(Value::as_array);
                let text = |value: &Value| value.as_str().is_some_and(reads);
                !texts.is_some_and(|texts| texts.iter().all(text))
            }
            _ => !READS.iter().any(|read| name.starts_with(read)),
        }
    }
}

/// Whether a statement plainly changes nothing. `WITH` may end in anything, so it counts as a change.
fn reads(sql: &str) -> bool {
    let first = sql.split_whitespace().next().unwrap_or_default().to_lowercase();
    let into = sql.to_lowercase().split_whitespace().any(|word| word == "into");
    ["select", "show", "explain"].contains(&first.as_str()) && !into
}

/// The service in the scope of the signature: `AKID/20260308/eu-central-1/dynamodb/aws4_request`.
fn signing_name(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let scope = header.and_then(|header| header.split("Credential=").nth(1)).map(str::to_owned);
    let scope = scope.or_else(|| {
        let query = uri.query()?;
        let value = query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-Credential="))?;
        Some(decode(value))
    })?;
    scope.split('/').nth(3).map(str::to_owned)
}

fn resource(service: &str, operation: &str, body: &Value) -> Option<String> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let inside = |name: &str| Some(body.get(name)?.get("Name")?.as_str()?.to_owned());
    match service {
        "dynamodb" => text("TableName").or_else(|| {
            let items = body.get("RequestItems").and_then(Value::as_object);
            let requested = items.map(|items| items.keys().cloned().collect::<Vec<_>>());
            let mut tables = requested.or_else(|| {
                let items = body.get("TransactItems")?.as_array()?.iter();
                let actions = items.filter_map(|item| item.as_object()?.values().next());
                let tables = actions.filter_map(|action| action.get("TableName")?.as_str());
                Some(tables.map(str::to_owned).collect())
            })?;
            tables.dedup();
            Some(tables.join(","))
        }),
        "glue" => {
            let table = text("TableName").or_else(|| inside("TableInput"));
            let table = table.or_else(|| text("Name"));
            let database = text("DatabaseName").or_else(|| inside("DatabaseInput"));
            match (database, table) {
                (Some(database), Some(table)) => Some(format!("{database}.{table}")),
                (database, table) => database.or(table),
            }
        }
        _ => {
            // The name of what the operation is about, or any name, or what else says which.
            let noun = operation.trim_start_matches(|letter: char| letter.is_ascii_uppercase());
            let noun = noun.trim_start_matches(|letter: char| letter.is_ascii_lowercase());
            let ending = |ending: &str| {
                let mut members = body.as_object()?.iter();
                members.find_map(|(name, value)| {
                    value.as_str().filter(|_| name.ends_with(ending)).map(str::to_owned)
                })
            };
            text(&format!("{noun}Name"))
                .or_else(|| ending("Name"))
                .or_else(|| ending("Id"))
                .or_else(|| ending("Arn"))
        }
    }
}

/// An operation of S3 has no name on the wire: the method, the depth of the path and the query make it.
fn s3(method: &Method, uri: &Uri, headers: &HeaderMap) -> (String, Option<String>) {
    let path = decode(uri.path().trim_start_matches('/'));
    let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
    let query: Vec<&str> = uri.query().unwrap_or_default().split('&').collect();
    let has = |name: &str| query.iter().any(|pair| pair.split('=').next() == Some(name));
    let copied = headers.contains_key("x-amz-copy-source");
    let verb = match *method {
        Method::GET => "Get",
        Method::HEAD => "Head",
        Method::PUT => "Put",
        Method::DELETE => "Delete",
        _ => "Post",
    };
    let thing = if key.is_empty() { "Bucket" } else { "Object" };
    // A part of the bucket or the object that has a name of its own, for example `?tagging`.
    let part = query.iter().map(|pair| pair.split('=').next().unwrap_or_default()).find(|name| {
        !name.is_empty()
            && name.chars().all(|letter| letter.is_ascii_lowercase())
            && !["delimiter", "prefix", "marker"].contains(name)
    });
    let name = match (verb, thing) {
        _ if bucket.is_empty() => "ListBuckets".to_owned(),
        ("Get", "Bucket") if has("list-type") => "ListObjectsV2".to_owned(),
        ("Get", "Bucket") if has("uploads") => "ListMultipartUploads".to_owned(),
        ("Get", "Bucket") if has("versions") => "ListObjectVersions".to_owned(),
        ("Get", "Bucket") if part.is_none() => "ListObjects".to_owned(),
        ("Get", "Object") if has("uploadId") => "ListParts".to_owned(),
        ("Put", "Object") if has("uploadId") && copied => "UploadPartCopy".to_owned(),
        ("Put", "Object") if has("uploadId") => "UploadPart".to_owned(),
        ("Put", "Object") if copied => "CopyObject".to_owned(),
        ("Put", "Bucket") if part.is_none() => "CreateBucket".to_owned(),
        ("Post", "Bucket") if has("delete") => "DeleteObjects".to_owned(),
        ("Post", "Object") if has("uploads") => "CreateMultipartUpload".to_owned(),
        ("Post", "Object") if has("uploadId") => "CompleteMultipartUpload".to_owned(),
        ("Delete", "Object") if has("uploadId") => "AbortMultipartUpload".to_owned(),
        _ => {
            let mut letters = part.unwrap_or_default().chars();
            let first = letters.next().map(|letter| letter.to_ascii_uppercase());
            let part: String = first.into_iter().chain(letters).collect();
            format!("{verb}{thing}{part}")
        }
    };
    (name, Some(path.trim_end_matches('/').to_owned()).filter(|path| !path.is_empty()))
}

/// Undoes percent-encoding.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(decoded) if byte == b'%' => {
                bytes.push(decoded);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn s3_operations_have_their_names() {
        for (method, uri, name, resource) in [
            (Method::GET, "/", "ListBuckets", None),
            (Method::GET, "/b?list-type=2&prefix=x%2F", "ListObjectsV2", Some("b")),
            (Method::GET, "/b/?prefix=x", "ListObjects", Some("b")),
            (Method::GET, "/b?location", "GetBucketLocation", Some("b")),
            (Method::GET, "/b?encryption=", "GetBucketEncryption", Some("b")),
            (Method::HEAD, "/b", "HeadBucket", Some("b")),
            (Method::HEAD, "/b/a%3Db/c", "HeadObject", Some("b/a=b/c")),
            (Method::GET, "/b/k?x-id=GetObject", "GetObject", Some("b/k")),
            (Method::GET, "/b/k?tagging", "GetObjectTagging", Some("b/k")),
            (Method::PUT, "/b", "CreateBucket", Some("b")),
            (Method::PUT, "/b/k?x-id=PutObject", "PutObject", Some("b/k")),
            (Method::PUT, "/b/k?partNumber=1&uploadId=u", "UploadPart", Some("b/k")),
            (Method::POST, "/b?delete", "DeleteObjects", Some("b")),
            (Method::POST, "/b/k?uploads", "CreateMultipartUpload", Some("b/k")),
            (Method::POST, "/b/k?uploadId=u", "CompleteMultipartUpload", Some("b/k")),
            (Method::DELETE, "/b/k?uploadId=u", "AbortMultipartUpload", Some("b/k")),
            (Method::DELETE, "/b/k", "DeleteObject", Some("b/k")),
        ] {
            let uri: Uri = uri.parse().unwrap();
            let operation = Operation::of(&method, &uri, &HeaderMap::new(), &Value::Null, "");
            assert_eq!(operation.name, name, "{method} {uri}");
            assert_eq!(operation.resource.as_deref(), resource, "{method} {uri}");
        }
    }

    #[test]
    fn json_operations_have_their_resources() {
        for (service, target, body, resource) in [
            ("dynamodb", "D.PutItem", json!({"TableName": "t"}), Some("t")),
            ("dynamodb", "D.BatchWriteItem", json!({"RequestItems": {"t": []}}), Some("t")),
            (
                "dynamodb",
                "D.TransactWriteItems",
                json!({"TransactItems": [{"Put": {"TableName": "t"}}, {"Delete": {"TableName": "t"}}]}),
                Some("t"),
            ),
            (
                "glue",
                "AWSGlue.UpdateTable",
                json!({"DatabaseName": "d", "TableInput": {"Name": "t"}}),
                Some("d.t"),
            ),
            ("glue", "AWSGlue.GetDatabase", json!({"Name": "d"}), Some("d")),
            (
                "sagemaker",
                "SageMaker.CreateTrainingJob",
                json!({"AlgorithmName": "no", "TrainingJobName": "j"}),
                Some("j"),
            ),
            ("redshift-data", "RedshiftData.DescribeStatement", json!({"Id": "i"}), Some("i")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-amz-target", target.parse().unwrap());
            let scope =
                format!("AWS4-HMAC-SHA256 Credential=1/20260308/r/{service}/aws4_request, S");
            headers.insert(AUTHORIZATION, scope.parse().unwrap());
            let uri = Uri::from_static("/");
            let operation = Operation::of(&Method::POST, &uri, &headers, &body, "");
            assert_eq!(operation.service, service);
            assert_eq!(operation.resource.as_deref(), resource, "{target}");
        }
    }

    #[test]
    fn changes_are_told_from_reads() {
        let mutating = |service, name, body: Value| Operation::is_mutating(service, name, &body);
        for read in
            ["GetObject", "HeadObject", "ListObjectsV2", "BatchGetItem", "Query", "AssumeRole"]
        {
            assert!(!mutating("any", read, Value::Null), "{read}");
        }
        for change in ["PutObject", "CreateMultipartUpload", "BatchWriteItem", "StopTrainingJob"] {
            assert!(mutating("any", change, Value::Null), "{change}");
        }
        let sql = |sql: &str| mutating("redshift-data", "ExecuteStatement", json!({ "Sql": sql }));
        assert!(!sql(" SELECT 1"));
        assert!(sql("select 1 into t"));
        assert!(sql("delete from t"));
        let sqls = json!({"Sqls": ["select 1", "insert into t values (1)"]});
        assert!(mutating("redshift-data", "BatchExecuteStatement", sqls));
    }
}
