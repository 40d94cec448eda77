//! Queries by Athena's API, which ministack runs with DuckDB: an engine that shares nothing with
//! recctl but the catalog and the files.

use std::time::Duration;

use serde_json::{Value, json};
use stand_ins::stack::REGION;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Athena {
    /// Host and port.
    address: String,
    account: String,
    database: String,
    output: String,
}

impl Athena {
    pub fn new(url: &str, account: &str, database: &str, bucket: &str) -> Self {
        Self {
            address: url.strip_prefix("http://").unwrap().to_owned(),
            account: account.to_owned(),
            database: database.to_owned(),
            output: format!("s3://{bucket}/athena/"),
        }
    }

    /// The rows of a query as text, NULL as `-`.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let started = self
            .call(
                "StartQueryExecution",
                &json!({
                    "QueryString": sql,
                    "QueryExecutionContext": { "Database": self.database },
                    "ResultConfiguration": { "OutputLocation": self.output },
                }),
            )
            .await;
        let query = json!({ "QueryExecutionId": started["QueryExecutionId"] });
        loop {
            let answer = self.call("GetQueryExecution", &query).await;
            let status = &answer["QueryExecution"]["Status"];
            match status["State"].as_str() {
                Some("SUCCEEDED") => break,
                Some("QUEUED" | "RUNNING") => tokio::time::sleep(Duration::from_millis(20)).await,
                _ => panic!("{sql}: {status}"),
            }
        }
        let answer = self.call("GetQueryResults", &query).await;
        let text = |cell: &Value| cell["VarCharValue"].as_str().unwrap_or("-").to_owned();
        // The first row names the columns.
        let rows = answer["ResultSet"]["Rows"].as_array().unwrap().iter().skip(1);
        rows.map(|row| row["Data"].as_array().unwrap().iter().map(text).collect()).collect()
    }

    async fn call(&self, operation: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: AmazonAthena.{operation}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential={}/20260302/{REGION}/athena/aws4_request, \
             SignedHeaders=host, Signature=0\r\n\r\n",
            self.address,
            body.len(),
            self.account
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200"), "{operation}: {answer}");
        // A body in chunks is one chunk here; JSON begins and ends with braces.
        let json = &body[body.find('{').unwrap()..=body.rfind('}').unwrap()];
        serde_json::from_str(json).unwrap()
    }
}
