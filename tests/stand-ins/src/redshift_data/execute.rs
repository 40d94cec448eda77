//! Runs statements as transactions of PostgreSQL.

use std::sync::Arc;
use std::time::Instant;

use tokio_postgres::types::Type;
use tokio_postgres::{SimpleQueryMessage, Transaction};

use super::api::Service;
use super::copy::text_of;
use super::database::{connect, rows};
use super::dialect::{Command, Layout, translate};
use super::statement::{ResultSet, Statement, Status, now};

/// Takes a statement to its end.
pub(super) async fn run(service: Arc<Service>, statement: Arc<Statement>) {
    statement.advance(Status::Picked);
    statement.advance(Status::Started);
    loop {
        let woken = statement.woken.notified();
        let may_run = {
            let state = statement.state();
            state.held == 0 || state.cancelled
        };
        if may_run {
            break;
        }
        woken.await;
    }
    let outcome = if statement.state().cancelled {
        Err("Cancelled".to_owned())
    } else {
        transaction(&service, &statement).await
    };
    let mut state = statement.state();
    state.session = None;
    state.updated = now();
    state.status = match &outcome {
        Ok(()) => Status::Finished,
        Err(_) if state.cancelled => Status::Aborted,
        Err(_) => Status::Failed,
    };
    if state.status == Status::Failed {
        state.error = outcome.err();
    }
    for part in &mut state.parts {
        if !part.status.is_final() {
            part.status = Status::Aborted;
        }
    }
}

async fn transaction(service: &Service, statement: &Statement) -> Result<(), String> {
    let mut client = connect(service.postgres()).await?;
    statement.state().session = Some(client.cancel_token());
    let plain = |error: tokio_postgres::Error| text_of(&error);
    let transaction = client.transaction().await.map_err(plain)?;
    let pid: i32 =
        transaction.query_one("SELECT pg_backend_pid()", &[]).await.map_err(plain)?.get(0);
    statement.state().pid = i64::from(pid);
    for (at, sql) in statement.sqls.iter().enumerate() {
        if statement.state().cancelled {
            return Err("Cancelled".to_owned());
        }
        let begun = Instant::now();
        statement.state().parts[at].status = Status::Started;
        let outcome = one(service, &transaction, sql, statement.batch).await;
        let mut state = statement.state();
        let part = &mut state.parts[at];
        part.nanoseconds = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        part.updated = now();
        match outcome {
            Ok((rows, result)) => {
                part.status = Status::Finished;
                part.rows = rows;
                part.result = result;
            }
            Err(error) => {
                part.status = Status::Failed;
                part.error = Some(error.clone());
                return Err(match statement.batch {
                    true => format!("Query #{} failed with {error}", at + 1),
                    false => error,
                });
            }
        }
    }
    transaction.commit().await.map_err(plain)
}

type Done = (i64, Option<ResultSet>);

async fn one(
    service: &Service,
    transaction: &Transaction<'_>,
    sql: &str,
    batch: bool,
) -> Result<Done, String> {
    match translate(sql, batch)? {
        Command::Nothing => Ok((-1, None)),
        Command::Run(sql) => execute(transaction, &sql).await,
        Command::Create { sql, layout } => {
            let done = execute(transaction, &sql).await?;
            note(transaction, &layout).await?;
            Ok(done)
        }
        Command::Copy(copy) => {
            let rows = copy.run(transaction, service.buckets()).await?;
            let fault = service.faults(|faults| faults.fail_copy.take());
            match fault {
                Some(message) => Err(message),
                None => Ok((i64::try_from(rows).unwrap_or(i64::MAX), None)),
            }
        }
        Command::ExternalSchema { name, database, options, if_not_exists } => {
            let exists = if if_not_exists { "IF NOT EXISTS " } else { "" };
            let schema = super::copy::quoted(&name);
            execute(transaction, &format!("CREATE SCHEMA {exists}{schema}")).await?;
            transaction
                .execute(
                    "INSERT INTO redshift.external VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                    &[&name, &database, &options],
                )
                .await
                .map_err(|error| text_of(&error))?;
            Ok((-1, None))
        }
    }
}

async fn execute(transaction: &Transaction<'_>, sql: &str) -> Result<Done, String> {
    let plain = |error: tokio_postgres::Error| text_of(&error);
    let columns: Vec<(String, String)> = transaction
        .prepare(sql)
        .await
        .map_err(plain)?
        .columns()
        .iter()
        .map(|column| (column.name().to_owned(), type_name(column.type_()).to_owned()))
        .collect();
    let messages = transaction.simple_query(sql).await.map_err(plain)?;
    let affected = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::CommandComplete(rows) => i64::try_from(*rows).ok(),
        _ => None,
    });
    let result = (!columns.is_empty()).then(|| ResultSet { columns, rows: rows(&messages) });
    Ok((affected.unwrap_or(-1), result))
}

/// A type's name as Redshift says it.
fn type_name(kind: &Type) -> &str {
    match *kind {
        Type::JSONB => "super",
        Type::BYTEA => "varbyte",
        Type::TEXT | Type::NAME | Type::UNKNOWN => "varchar",
        _ => kind.name(),
    }
}

/// Writes the keys of a new table down.
async fn note(transaction: &Transaction<'_>, layout: &Layout) -> Result<(), String> {
    let style = match (&layout.style, &layout.dist_key) {
        (Some(style), _) => style.clone(),
        (None, Some(_)) => "KEY".to_owned(),
        (None, None) => "AUTO(ALL)".to_owned(),
    };
    transaction
        .execute(
            "INSERT INTO redshift.layout SELECT to_regclass($1)::oid, $2, $3, $4
             WHERE to_regclass($1) IS NOT NULL ON CONFLICT DO NOTHING",
            &[&layout.table, &style, &layout.dist_key, &layout.sort_keys],
        )
        .await
        .map(|_| ())
        .map_err(|error| text_of(&error))
}
