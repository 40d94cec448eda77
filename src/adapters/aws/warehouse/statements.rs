//! Statements of the Redshift Data API: submitted, found again, waited for and read.

use std::time::Duration;

use aws_sdk_redshiftdata::Client;
use aws_sdk_redshiftdata::types::{
    Field, StatementData, StatementStatusString, StatusString, SubStatementData,
};

use super::super::error::{code, failure};
use crate::pipeline::target::{RedshiftEndpoint, RedshiftOptions};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Bytes that one statement may have: 100 KB.
/// <https://docs.aws.amazon.com/redshift/latest/mgmt/data-api.html>
const SQL_BYTES: usize = 100_000;

/// The pause before the second look at a statement; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A value of a result as far as recctl asks for any.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Number(i64),
    Text(String),
}

impl Cell {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Number(_) => None,
        }
    }

    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            Self::Null => None,
        }
    }
}

/// The rows of a result.
pub(super) type Rows = Vec<Vec<Cell>>;

/// How a batch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was committed. Rows that its last statement returned or changed; `None` if nobody says.
    Finished { last_rows: Option<u64> },
    /// It was rolled back: the statement of it that failed, from 0, and why.
    Failed { at: Option<usize>, error: String },
    /// Somebody cancelled it.
    Aborted,
}

/// The statements of a name that were submitted within the last day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Earlier {
    /// One that has not ended.
    pub running: Option<String>,
    /// How many have ended.
    pub ended: usize,
}

/// The API, for one warehouse and database.
#[derive(Debug, Clone)]
pub(super) struct Statements {
    client: Client,
    options: RedshiftOptions,
}

impl Statements {
    pub(super) fn new(client: Client, options: RedshiftOptions) -> Self {
        Self { client, options }
    }

    /// Submits a batch, which is one transaction. The same token gives the same batch for 8 hours,
    /// whether it has ended or not.
    pub(super) async fn submit(
        &self,
        name: &str,
        token: Option<&str>,
        sqls: Vec<String>,
    ) -> Outcome<String> {
        if let Some(long) = sqls.iter().find(|sql| sql.len() > SQL_BYTES) {
            let start: String = long.chars().take(80).collect();
            return Err(Failure::new(
                FailureKind::Usage,
                format!(
                    "a statement for Redshift has {} bytes, and 100 KB is the most: `{start}…`",
                    long.len()
                ),
            )
            .with_hint("give the table fewer columns, or columns with shorter names"));
        }
        let options = &self.options;
        let mut request = self
            .client
            .batch_execute_statement()
            .set_sqls(Some(sqls))
            .set_client_token(token.map(str::to_owned))
            .statement_name(name)
            .database(&options.database)
            .set_secret_arn(options.secret.clone());
        match &options.endpoint {
            RedshiftEndpoint::Workgroup(workgroup) => {
                request = request.workgroup_name(workgroup);
            }
            RedshiftEndpoint::Cluster { cluster, user } => {
                request = request.cluster_identifier(cluster).set_db_user(user.clone());
            }
        }
        let answer = request.send().await;
        let answer = answer.map_err(|e| failure("submit statements to Redshift", &e, kind_of))?;
        answer.id.ok_or_else(|| {
            Failure::new(FailureKind::Step, "Redshift took statements but gave them no id")
        })
    }

    /// Looks for the batches that were submitted under a name.
    pub(super) async fn find(&self, name: &str) -> Outcome<Earlier> {
        let mut earlier = Earlier::default();
        for statement in self.listed(name, StatusString::All).await? {
            // What is listed begins with the name.
            if statement.statement_name.as_deref() != Some(name) {
                continue;
            }
            match statement.status {
                Some(StatusString::Submitted | StatusString::Picked | StatusString::Started) => {
                    earlier.running = Some(statement.id);
                }
                _ => earlier.ended += 1,
            }
        }
        Ok(earlier)
    }

    /// Names and ids of the batches that go on and whose names begin so.
    pub(super) async fn running(&self, prefix: &str) -> Outcome<Vec<(String, String)>> {
        let mut running = Vec::new();
        // In the order in which a statement goes through them: none slips by between two looks.
        for status in [StatusString::Submitted, StatusString::Picked, StatusString::Started] {
            for statement in self.listed(prefix, status).await? {
                let Some(name) = statement.statement_name else { continue };
                if running.iter().all(|(_, id)| *id != statement.id) {
                    running.push((name, statement.id));
                }
            }
        }
        Ok(running)
    }

    /// Stops a batch and waits until it has ended, in whatever way.
    pub(super) async fn stop(&self, id: &str) -> Outcome<()> {
        match self.client.cancel_statement().id(id).send().await {
            Ok(_) => {}
            // It has ended meanwhile.
            Err(error) if code(&error) == Some("ValidationException") => {}
            Err(error) => return Err(failure("stop a statement of Redshift", &error, kind_of)),
        }
        self.wait(id).await.map(|_| ())
    }

    /// Batches whose names begin so, of the last day.
    async fn listed(&self, name: &str, status: StatusString) -> Outcome<Vec<StatementData>> {
        let options = &self.options;
        let mut found = Vec::new();
        let mut next = None;
        loop {
            let mut request = self
                .client
                .list_statements()
                .statement_name(name)
                // Finished ones only if it is not said.
                .status(status.clone())
                .database(&options.database)
                .set_next_token(next);
            match &options.endpoint {
                RedshiftEndpoint::Workgroup(workgroup) => {
                    request = request.workgroup_name(workgroup);
                }
                RedshiftEndpoint::Cluster { cluster, .. } => {
                    request = request.cluster_identifier(cluster);
                }
            }
            let page = request.send().await;
            let page = page.map_err(|e| failure("list statements of Redshift", &e, kind_of))?;
            found.extend(page.statements);
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    /// Waits until a batch has ended. Dropping this leaves the batch alone.
    pub(super) async fn wait(&self, id: &str) -> Outcome<Ended> {
        let mut pause = FIRST_PAUSE;
        loop {
            let answer = self.client.describe_statement().id(id).send().await;
            let answer =
                answer.map_err(|e| failure("ask Redshift for a statement", &e, kind_of))?;
            let parts = answer.sub_statements.as_deref().unwrap_or_default();
            match &answer.status {
                Some(StatusString::Finished) => {
                    let last_rows = parts.last().and_then(|part| part.result_rows.try_into().ok());
                    return Ok(Ended::Finished { last_rows });
                }
                Some(StatusString::Failed) => {
                    let at = parts.iter().position(is_failed);
                    let own = at.and_then(|at| parts[at].error.clone());
                    let error = own.or(answer.error).unwrap_or_else(|| "no reason given".into());
                    return Ok(Ended::Failed { at, error: tidy(&error) });
                }
                Some(StatusString::Aborted) => return Ok(Ended::Aborted),
                Some(StatusString::Submitted | StatusString::Picked | StatusString::Started) => {}
                other => {
                    let state = other.as_ref().map_or("none", StatusString::as_str);
                    let message = format!("a statement of Redshift is in the state `{state}`");
                    return Err(Failure::new(FailureKind::Step, message));
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Runs queries that change nothing; the rows of each.
    pub(super) async fn query(&self, doing: &str, sqls: Vec<String>) -> Outcome<Vec<Rows>> {
        let count = sqls.len();
        let id = self.submit("recctl-look", None, sqls).await?;
        match self.wait(&id).await? {
            Ended::Finished { .. } => {}
            Ended::Failed { error, .. } => {
                let message = format!("cannot {doing} in Redshift: {error}");
                return Err(Failure::new(FailureKind::Step, message));
            }
            Ended::Aborted => return Err(aborted(doing)),
        }
        let mut results = Vec::with_capacity(count);
        for part in 1..=count {
            results.push(self.rows(&format!("{id}:{part}")).await?);
        }
        Ok(results)
    }

    async fn rows(&self, id: &str) -> Outcome<Rows> {
        let mut rows = Vec::new();
        let mut next = None;
        loop {
            let request = self.client.get_statement_result().id(id).set_next_token(next);
            let page = request.send().await;
            let page = page.map_err(|e| failure("read a result of Redshift", &e, kind_of))?;
            for record in page.records {
                rows.push(record.into_iter().map(cell).collect());
            }
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(rows);
            }
        }
    }
}

/// Says that somebody cancelled a statement.
pub(super) fn aborted(doing: &str) -> Failure {
    let message = format!("cannot {doing} in Redshift: somebody cancelled the statement");
    Failure::new(FailureKind::Step, message)
}

fn is_failed(part: &SubStatementData) -> bool {
    part.status == Some(StatementStatusString::Failed)
}

fn cell(field: Field) -> Cell {
    match field {
        Field::LongValue(number) => Cell::Number(number),
        Field::StringValue(text) => Cell::Text(text),
        Field::BooleanValue(value) => Cell::Number(i64::from(value)),
        Field::DoubleValue(value) => Cell::Text(value.to_string()),
        _ => Cell::Null,
    }
}

/// The service's words on one line.
fn tidy(error: &str) -> String {
    let words: Vec<&str> = error.split_whitespace().collect();
    words.join(" ").trim_end_matches('.').to_owned()
}

/// What the API's own codes mean.
fn kind_of(code: &str) -> Option<FailureKind> {
    Some(match code {
        "ActiveStatementsExceededException"
        | "ActiveSessionsExceededException"
        | "ExecuteStatementException"
        | "BatchExecuteStatementException"
        | "DatabaseConnectionException"
        | "QueryTimeoutException" => FailureKind::Transient,
        "ResourceNotFoundException" => FailureKind::NotFound,
        _ => return None,
    })
}
