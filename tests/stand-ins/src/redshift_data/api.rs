//! The operations: requests in, answers out.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};
use tokio_postgres::NoTls;

use super::copy::OpenBucket;
use super::database::connect;
use super::dialect::mutates;
use super::execute;
use super::faults::Faults;
use super::statement::{Part, ResultSet, Statement, Status};
use crate::http::{Handler, Request, Response};

/// SQL texts in a batch at most.
const BATCH: usize = 40;

/// Bytes of one SQL text at most.
const SQL_BYTES: usize = 100 * 1024;

/// Rows on a page of results; few, so that paging is seen to.
const PAGE: usize = 50;

/// The service.
pub(super) struct Service {
    postgres: tokio_postgres::Config,
    buckets: OpenBucket,
    faults: Mutex<Faults>,
    book: Mutex<Book>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Book {
    statements: Vec<Arc<Statement>>,
    tokens: BTreeMap<String, usize>,
}

/// An answer that is an error.
type Refusal = Box<Response>;

type Answer = Result<Value, Refusal>;

impl Handler for Service {
    fn handle(
        self: Arc<Self>,
        request: Request,
    ) -> Pin<Box<dyn Future<Output = Response> + Send + 'static>> {
        Box::pin(async move {
            let target = request.headers.get("x-amz-target").and_then(|name| name.to_str().ok());
            let operation = target.and_then(|name| name.strip_prefix("RedshiftData."));
            let operation = operation.unwrap_or_default();
            let body = request.json();
            if let Some(code) = self.faults(|faults| faults.take(operation, &body)) {
                return Response::error(400, &code, "as a test asked for");
            }
            self.answer(operation, body).await.unwrap_or_else(|refusal| *refusal)
        })
    }
}

impl Service {
    pub fn new(postgres: tokio_postgres::Config, buckets: OpenBucket) -> Self {
        let (faults, book) = (Mutex::default(), Mutex::default());
        Self { postgres, buckets, faults, book }
    }

    pub fn postgres(&self) -> &tokio_postgres::Config {
        &self.postgres
    }

    pub fn buckets(&self) -> &OpenBucket {
        &self.buckets
    }

    pub fn faults<T>(&self, with: impl FnOnce(&mut Faults) -> T) -> T {
        with(&mut self.faults.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn forget_tokens(&self) {
        self.book().tokens.clear();
    }

    /// Lets held statements run.
    pub fn release(&self) {
        for statement in &self.book().statements {
            statement.state().held = 0;
            statement.woken.notify_waiters();
        }
    }

    async fn answer(self: Arc<Self>, operation: &str, body: Value) -> Result<Response, Refusal> {
        let answer = match operation {
            "ExecuteStatement" | "BatchExecuteStatement" => {
                let answer = Arc::clone(&self).submit(body, operation.starts_with("Batch"))?;
                let dropped = |faults: &mut Faults| std::mem::take(&mut faults.drop_answer);
                if self.faults(dropped) {
                    return Ok(Response::hang_up());
                }
                answer
            }
            "DescribeStatement" => self.describe(&body)?,
            "GetStatementResult" => self.result(&body)?,
            "ListStatements" => self.list(&body)?,
            "CancelStatement" => self.cancel(&body).await?,
            "ListTables" => self.tables(&body).await?,
            "DescribeTable" => self.table(&body).await?,
            _ => return Err(error(400, "UnknownOperationException", operation)),
        };
        Ok(Response::json(&answer))
    }

    fn submit(self: Arc<Self>, body: Value, batch: bool) -> Answer {
        place(&body)?;
        let sqls = texts(&body, batch)?;
        let (hold, limit) = self.faults(|faults| (faults.hold, faults.active));
        let hold = if sqls.iter().any(|sql| mutates(sql)) { hold } else { 0 };
        let mut book = self.book();
        if let Some(token) = body["ClientToken"].as_str() {
            if token.is_empty() || token.len() > 64 {
                return Err(invalid("ClientToken must have 1 to 64 characters"));
            }
            if let Some(known) = book.tokens.get(token) {
                let known = &book.statements[*known];
                return match known.body == body {
                    true => Ok(accepted(known)),
                    false => Err(invalid(
                        "ClientToken was used before in a request with other parameters",
                    )),
                };
            }
        }
        let running =
            book.statements.iter().filter(|known| !known.state().status.is_final()).count();
        if running >= limit {
            let text = "the number of active statements exceeds the limit";
            return Err(error(400, "ActiveStatementsExceededException", text));
        }
        let number = book.statements.len();
        if let Some(token) = body["ClientToken"].as_str() {
            book.tokens.insert(token.to_owned(), number);
        }
        let id = format!("{:08x}-5ca1-4e57-8000-{number:012x}", std::process::id());
        let statement = Arc::new(Statement::new(id, body, sqls, batch, hold));
        book.statements.push(Arc::clone(&statement));
        drop(book);
        let answer = accepted(&statement);
        tokio::spawn(execute::run(self, statement));
        Ok(answer)
    }

    /// The statement of an id, and for one of a batch's parts which.
    fn find(&self, body: &Value) -> Result<(Arc<Statement>, Option<usize>), Refusal> {
        let id = body["Id"].as_str().ok_or_else(|| invalid("Id is required"))?;
        let missing = || error(400, "ResourceNotFoundException", "Query does not exist.");
        let (whole, part) = match id.split_once(':') {
            Some((whole, part)) => (whole, Some(part)),
            None => (id, None),
        };
        let found = self.book().statements.iter().find(|known| known.id == whole).cloned();
        let statement = found.ok_or_else(missing)?;
        let part = match part {
            None => None,
            Some(part) => {
                let at: usize = part.parse().map_err(|_| missing())?;
                let exists = statement.batch && (1..=statement.sqls.len()).contains(&at);
                if !exists {
                    return Err(missing());
                }
                Some(at - 1)
            }
        };
        Ok((statement, part))
    }

    fn describe(&self, body: &Value) -> Answer {
        let (statement, part) = self.find(body)?;
        let mut state = statement.state();
        if let Some(at) = part {
            let mut answer = described(&state.parts[at]);
            merge(&mut answer, statement.place());
            merge(
                &mut answer,
                json!({ "Id": body["Id"], "QueryString": statement.sqls[at],
                "CreatedAt": statement.created, "RedshiftPid": state.pid }),
            );
            return Ok(answer);
        }
        let held = state.held;
        let mut answer = json!({
            "Id": statement.id,
            "Status": state.status.word(),
            "CreatedAt": statement.created,
            "UpdatedAt": state.updated,
            "RedshiftPid": state.pid,
            "RedshiftQueryId": if state.status == Status::Finished { state.pid } else { -1 },
            "Duration": state.parts.iter().map(|part| part.nanoseconds).sum::<u64>(),
            "HasResultSet": state.parts.iter().any(|part| part.result.is_some()),
            "ResultRows": -1,
            "ResultSize": -1,
            "ResultFormat": "json",
        });
        merge(&mut answer, statement.place());
        if let Some(text) = &state.error {
            answer["Error"] = text.as_str().into();
        }
        if statement.batch {
            let parts = state.parts.iter().enumerate().map(|(at, part)| {
                let mut data = described(part);
                merge(
                    &mut data,
                    json!({ "Id": format!("{}:{}", statement.id, at + 1),
                    "QueryString": statement.sqls[at], "CreatedAt": statement.created }),
                );
                data
            });
            answer["SubStatements"] = parts.collect();
        } else if let Some(part) = state.parts.first() {
            answer["QueryString"] = statement.sqls[0].as_str().into();
            answer["ResultRows"] = part.rows.into();
            answer["ResultSize"] = size(part).into();
        }
        // It shows STARTED as often as was asked for, and runs after that.
        if held > 0 {
            state.held -= 1;
            if state.held == 0 {
                statement.woken.notify_waiters();
            }
        }
        Ok(answer)
    }

    fn result(&self, body: &Value) -> Answer {
        let (statement, part) = self.find(body)?;
        let state = statement.state();
        let none = || {
            let text =
                "Query does not have result. Please check query status with DescribeStatement.";
            error(400, "ResourceNotFoundException", text)
        };
        if state.status != Status::Finished || (statement.batch && part.is_none()) {
            return Err(none());
        }
        let result = state.parts[part.unwrap_or(0)].result.as_ref().ok_or_else(none)?;
        let from = offset(body)?;
        let to = result.rows.len().min(from + PAGE);
        let rows = result.rows.get(from..to).ok_or_else(|| invalid("NextToken is not valid"))?;
        let records: Vec<Value> = rows.iter().map(|row| record(result, row)).collect();
        let columns: Vec<Value> = result.columns.iter().map(metadata).collect();
        let mut answer = json!({
            "Records": records,
            "ColumnMetadata": columns,
            "TotalNumRows": result.rows.len(),
        });
        if to < result.rows.len() {
            answer["NextToken"] = to.to_string().into();
        }
        Ok(answer)
    }

    fn list(&self, body: &Value) -> Answer {
        // Finished ones only unless asked otherwise, as the service does.
        let status = body["Status"].as_str().unwrap_or("FINISHED");
        let prefix = body["StatementName"].as_str();
        let most = body["MaxResults"].as_u64().map_or(100, |most| most.min(100) as usize).max(1);
        let from = offset(body)?;
        let mut found: Vec<Value> = Vec::new();
        for statement in self.book().statements.iter().rev() {
            let state = statement.state();
            let named = statement.body["StatementName"].as_str();
            let same = |name: &str| body[name].is_null() || body[name] == statement.body[name];
            let wanted = (status == "ALL" || status == state.status.word())
                && prefix.is_none_or(|prefix| named.is_some_and(|name| name.starts_with(prefix)))
                && ["ClusterIdentifier", "WorkgroupName", "Database"].iter().all(|name| same(name));
            if !wanted {
                continue;
            }
            let mut data = json!({
                "Id": statement.id,
                "Status": state.status.word(),
                "CreatedAt": statement.created,
                "UpdatedAt": state.updated,
                "IsBatchStatement": statement.batch,
                "QueryStrings": statement.sqls,
                "ResultFormat": "json",
            });
            if !statement.batch {
                data["QueryString"] = statement.sqls[0].as_str().into();
            }
            if let Some(name) = named {
                data["StatementName"] = name.into();
            }
            found.push(data);
        }
        Ok(page("Statements", found, from, most))
    }

    async fn cancel(&self, body: &Value) -> Answer {
        let (statement, _) = self.find(body)?;
        let session = {
            let mut state = statement.state();
            if state.status.is_final() {
                let text = format!(
                    "Could not cancel a query that is already in {} state with ID: {}",
                    state.status.word(),
                    statement.id
                );
                return Err(invalid(&text));
            }
            state.cancelled = true;
            state.session.clone()
        };
        statement.woken.notify_waiters();
        if let Some(session) = session {
            let _ = session.cancel_query(NoTls).await;
        }
        Ok(json!({ "Status": true }))
    }

    async fn tables(&self, body: &Value) -> Answer {
        place(body)?;
        let pattern = |name: &str| body[name].as_str().unwrap_or("%").to_owned();
        let client = connect(&self.postgres).await.map_err(|text| failed(&text))?;
        let rows = client
            .query(
                "SELECT table_schema, table_name, table_type FROM redshift.svv_tables
                  WHERE table_schema LIKE $1 AND table_name LIKE $2 ORDER BY 1, 2",
                &[&pattern("SchemaPattern"), &pattern("TablePattern")],
            )
            .await
            .map_err(|problem| failed(&problem.to_string()))?;
        let tables = rows.iter().map(|row| {
            let kind: String = row.get(2);
            let kind = if kind == "VIEW" { "VIEW" } else { "TABLE" };
            json!({ "schema": row.get::<_, String>(0), "name": row.get::<_, String>(1), "type": kind })
        });
        let most = body["MaxResults"].as_u64().unwrap_or(1_000).clamp(1, 1_000) as usize;
        Ok(page("Tables", tables.collect(), offset(body)?, most))
    }

    async fn table(&self, body: &Value) -> Answer {
        place(body)?;
        let name = body["Table"].as_str().ok_or_else(|| invalid("Table is required"))?;
        let schema = body["Schema"].as_str().unwrap_or("public");
        let client = connect(&self.postgres).await.map_err(|text| failed(&text))?;
        let rows = client
            .query(
                "SELECT column_name, CASE data_type WHEN 'super' THEN 'super' ELSE udt END,
                        is_nullable = 'YES', character_maximum_length, numeric_precision, numeric_scale
                   FROM redshift.svv_columns
                   JOIN (SELECT table_schema::text, table_name::text, column_name::text,
                                udt_name::text AS udt FROM information_schema.columns) i
                  USING (table_schema, table_name, column_name)
                  WHERE table_schema = $1 AND table_name = $2 ORDER BY ordinal_position",
                &[&schema, &name],
            )
            .await
            .map_err(|problem| failed(&problem.to_string()))?;
        let columns = rows.iter().map(|row| {
            let length: Option<i32> = row.get(3);
            let precision: Option<i32> = row.get(4);
            json!({
                "name": row.get::<_, String>(0),
                "label": row.get::<_, String>(0),
                "typeName": row.get::<_, String>(1),
                "nullable": i32::from(row.get::<_, bool>(2)),
                "length": length.unwrap_or(0),
                "precision": length.or(precision).unwrap_or(0),
                "scale": row.get::<_, Option<i32>>(5).unwrap_or(0),
                "schemaName": schema,
                "tableName": name,
            })
        });
        let mut answer = page("ColumnList", columns.collect(), offset(body)?, 1_000);
        answer["TableName"] = name.into();
        Ok(answer)
    }
}

fn error(status: u16, code: &str, text: &str) -> Refusal {
    Box::new(Response::error(status, code, text))
}

fn invalid(text: &str) -> Refusal {
    error(400, "ValidationException", text)
}

fn failed(text: &str) -> Refusal {
    error(500, "InternalServerException", text)
}

/// Checks where a request wants to run.
fn place(body: &Value) -> Result<(), Refusal> {
    match (body["ClusterIdentifier"].as_str(), body["WorkgroupName"].as_str()) {
        (None, None) => {
            return Err(invalid("either ClusterIdentifier or WorkgroupName is required"));
        }
        (Some(_), Some(_)) => {
            return Err(invalid("ClusterIdentifier and WorkgroupName exclude each other"));
        }
        (Some(_), None) | (None, Some(_)) => {}
    }
    if body["Database"].as_str().is_none_or(str::is_empty) {
        return Err(invalid("Database is required"));
    }
    Ok(())
}

/// The SQL texts of a request, with the parameters in their places.
fn texts(body: &Value, batch: bool) -> Result<Vec<String>, Refusal> {
    let sqls: Vec<String> = match batch {
        false => body["Sql"].as_str().map(str::to_owned).into_iter().collect(),
        true => body["Sqls"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|sql| sql.as_str().map(str::to_owned))
            .collect(),
    };
    if sqls.is_empty() || sqls.len() > BATCH {
        return Err(invalid("1 to 40 statements are required"));
    }
    if sqls.iter().any(|sql| sql.is_empty() || sql.len() > SQL_BYTES) {
        return Err(invalid("a statement must have 1 byte to 100 KB"));
    }
    if body["ExecutionMode"].as_str().is_some_and(|mode| mode != "TRANSACTION") {
        return Err(invalid("the stand-in knows the mode TRANSACTION only"));
    }
    let Some(parameters) = body["Parameters"].as_array() else { return Ok(sqls) };
    let mut values = BTreeMap::new();
    for parameter in parameters {
        let name = parameter["name"].as_str().unwrap_or_default();
        let value = parameter["value"].as_str().unwrap_or_default();
        if name.is_empty() || value.is_empty() {
            return Err(invalid("a parameter needs a name and a value that is not empty"));
        }
        values.insert(name.to_owned(), value.replace('\\', "\\\\").replace('\'', "''"));
    }
    let mut used = std::collections::BTreeSet::new();
    let mut bound = Vec::new();
    for sql in &sqls {
        let tokens = super::lexer::tokens(sql).map_err(|text| invalid(&text))?;
        let mut text = String::new();
        let mut tokens = tokens.iter().peekable();
        while let Some(token) = tokens.next() {
            if token.spaced {
                text.push(' ');
            }
            let value = match tokens.peek() {
                Some(next) if token.symbol(":") && !next.spaced => values.get(next.text),
                _ => None,
            };
            match (value, tokens.peek()) {
                (Some(value), Some(next)) => {
                    used.insert(next.text.to_owned());
                    text.push_str(&format!("'{value}'"));
                    tokens.next();
                }
                _ => text.push_str(token.text),
            }
        }
        bound.push(text);
    }
    if used.len() < values.len() {
        return Err(invalid("a parameter is not used in the SQL"));
    }
    Ok(bound)
}

fn accepted(statement: &Statement) -> Value {
    let mut answer = statement.place();
    merge(&mut answer, json!({ "Id": statement.id, "CreatedAt": statement.created }));
    answer
}

fn described(part: &Part) -> Value {
    let mut data = json!({
        "Status": part.status.word(),
        "UpdatedAt": part.updated,
        "Duration": part.nanoseconds,
        "HasResultSet": part.result.is_some(),
        "ResultRows": part.rows,
        "ResultSize": size(part),
        "RedshiftQueryId": -1,
    });
    if let Some(text) = &part.error {
        data["Error"] = text.as_str().into();
    }
    data
}

fn size(part: &Part) -> i64 {
    let Some(result) = &part.result else { return -1 };
    let cells = result.rows.iter().flatten().flatten();
    i64::try_from(cells.map(String::len).sum::<usize>()).unwrap_or(i64::MAX)
}

fn metadata((name, kind): &(String, String)) -> Value {
    json!({ "name": name, "label": name, "typeName": kind, "nullable": 1, "isCaseSensitive": true })
}

fn record(result: &ResultSet, row: &[Option<String>]) -> Value {
    let fields = row.iter().zip(&result.columns).map(|(value, (_, kind))| {
        let Some(value) = value else { return json!({ "isNull": true }) };
        match kind.as_str() {
            "int2" | "int4" | "int8" | "oid" => json!({ "longValue": value.parse::<i64>().ok() }),
            "float4" | "float8" => json!({ "doubleValue": value.parse::<f64>().ok() }),
            "bool" => json!({ "booleanValue": value == "t" }),
            _ => json!({ "stringValue": value }),
        }
    });
    fields.collect()
}

fn merge(into: &mut Value, other: Value) {
    if let (Value::Object(into), Value::Object(other)) = (into, other) {
        into.extend(other.into_iter().collect::<Map<_, _>>());
    }
}

fn offset(body: &Value) -> Result<usize, Refusal> {
    match body["NextToken"].as_str() {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| invalid("NextToken is not valid")),
    }
}

fn page(name: &str, mut items: Vec<Value>, from: usize, most: usize) -> Value {
    let total = items.len();
    let to = total.min(from.saturating_add(most));
    let items: Vec<Value> = items.drain(from.min(to)..to).collect();
    let mut answer = json!({ name: items });
    if to < total {
        answer["NextToken"] = to.to_string().into();
    }
    answer
}
