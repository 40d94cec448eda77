//! How the embedded target's databases are opened, called and migrated.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};

use crate::ports::Lease;
use crate::run::failure::{Failure, FailureKind, Outcome, io_failure};

/// How long a call waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// What a database holds and how careful it is.
pub(super) struct Schema {
    /// One script per version of the file; the script at index n leads from version n to n + 1.
    pub migrations: &'static [&'static str],
    /// Page size of a new file in bytes.
    pub page_size: u32,
    /// Whether a commit waits for the disk. Without, a power failure may lose the last commits,
    /// never the file's consistency.
    pub durable: bool,
}

/// What goes wrong within a call: the database's own errors and ours.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(rusqlite::Error),
    Failure(Failure),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// What a call returns.
pub(super) type Attempt<T> = Result<T, Fault>;

/// A database file with a connection that writes and one that only reads, so that a reader in this
/// process does not wait for a long write: in WAL mode it sees the last commit.
///
/// Clones share the connections.
#[derive(Debug, Clone)]
pub(super) struct Database {
    path: Arc<Path>,
    writer: Arc<Mutex<Connection>>,
    reader: Arc<Mutex<Connection>>,
}

impl Database {
    /// Opens the file, making or migrating it where needed.
    ///
    /// Errors: `Usage` if a newer recctl wrote it, `Input` if it is no database or cannot be
    /// opened, `Transient` if another process holds it for long.
    pub(super) async fn open(path: &Path, schema: &'static Schema) -> Outcome<Self> {
        let path: PathBuf = path.to_owned();
        blocking(move || {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)
                    .map_err(|error| io_failure("create the folder", folder, &error))?;
            }
            let open = || -> Attempt<Self> {
                let mut writer = Connection::open(&path)?;
                prepare(&mut writer, schema, &path)?;
                let reader = Connection::open(&path)?;
                configure(&reader, schema)?;
                reader.pragma_update(None, "query_only", true)?;
                Ok(Self {
                    path: path.clone().into(),
                    writer: Arc::new(Mutex::new(writer)),
                    reader: Arc::new(Mutex::new(reader)),
                })
            };
            open().map_err(|fault| failure(fault, &path))
        })
        .await
    }

    /// Runs `work` in a transaction that writes: all of it becomes durable, or nothing.
    ///
    /// The transaction takes the write lock at once: one that starts by reading could not be
    /// upgraded when another process has written in between.
    pub(super) async fn write<T, F>(&self, work: F) -> Outcome<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Attempt<T> + Send + 'static,
    {
        self.call(&self.writer, move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })
        .await
    }

    /// Runs `work` in a transaction that reads: all of it sees the same state.
    pub(super) async fn read<T, F>(&self, work: F) -> Outcome<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Attempt<T> + Send + 'static,
    {
        self.call(&self.reader, move |connection| {
            let transaction = connection.transaction()?;
            work(&transaction)
        })
        .await
    }

    async fn call<T, F>(&self, connection: &Arc<Mutex<Connection>>, work: F) -> Outcome<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Attempt<T> + Send + 'static,
    {
        let connection = Arc::clone(connection);
        let path = Arc::clone(&self.path);
        blocking(move || {
            // A panic within a call has rolled its transaction back: the connection is sound.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection).map_err(|fault| failure(fault, &path))
        })
        .await
    }
}

/// Runs `work` on the blocking pool.
pub(super) async fn blocking<T, F>(work: F) -> Outcome<T>
where
    T: Send + 'static,
    F: FnOnce() -> Outcome<T> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_cancelled() => {
            Err(Failure::new(FailureKind::Cancelled, "the program is ending"))
        }
        Err(error) => Err(Failure::new(FailureKind::Internal, format!("a call panicked: {error}"))),
    }
}

fn configure(connection: &Connection, schema: &Schema) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(
        None,
        "synchronous",
        if schema.durable { "FULL" } else { "NORMAL" },
    )?;
    // 64 MiB: an index of a few million keys stays in memory while it is being filled.
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

fn prepare(connection: &mut Connection, schema: &Schema, path: &Path) -> Attempt<()> {
    configure(connection, schema)?;
    // Has an effect on an empty file only.
    connection.pragma_update(None, "page_size", schema.page_size)?;
    let known = i64::try_from(schema.migrations.len()).unwrap_or(i64::MAX);
    // A newer file is left exactly as it is, its journal mode too.
    check_version(version(connection)?, known, path)?;
    write_ahead(connection)?;

    // Looked at again under the lock: another process may be migrating the same new file.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    check_version(found, known, path)?;
    for migration in schema.migrations.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(migration)?;
    }
    if found < known {
        transaction.pragma_update(None, "user_version", known)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Switches to the write-ahead log, in which readers and a writer do not wait for each other.
#[expect(clippy::disallowed_methods, reason = "a bounded wait for another process's lock")]
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    // SQLite does not call the busy handler for this pragma in every case, so the wait is ours.
    let start = Instant::now();
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())) {
            Err(error) if is_busy(&error) && start.elapsed() < BUSY_TIMEOUT => {
                std::thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn check_version(found: i64, known: i64, path: &Path) -> Outcome<()> {
    if found <= known {
        return Ok(());
    }
    Err(Failure::new(
        FailureKind::Usage,
        format!(
            "`{}` is from a newer recctl (its format is {found}, this one knows {known})",
            path.display()
        ),
    )
    .with_hint("update recctl, or use another folder for the local target"))
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Maps a database error to a kind that retries and exit codes can go by.
fn failure(fault: Fault, path: &Path) -> Failure {
    let error = match fault {
        Fault::Failure(failure) => return failure,
        Fault::Sql(error) => error,
    };
    let path = path.display();
    let text = |what: &str| format!("{what} `{path}`: {error}");
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Failure::new(FailureKind::Transient, text("another process is using"))
        }
        Some(ErrorCode::DiskFull) => {
            Failure::new(FailureKind::Exhausted, text("no space to write"))
                .with_hint("free disk space")
        }
        Some(ErrorCode::OutOfMemory) => {
            Failure::new(FailureKind::Exhausted, text("no memory to read"))
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            Failure::new(FailureKind::Input, text("cannot read the database")).with_hint(
                "move the file aside and restore it from a copy, or run again to make it anew",
            )
        }
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure,
        ) => Failure::new(FailureKind::Input, text("cannot open or write"))
            .with_hint("check that the folder exists and may be written to"),
        _ => Failure::new(FailureKind::Internal, text("cannot use the database")),
    }
}

/// Refuses a lease that a later holder used here, and remembers the others, in a table of `lease`
/// and `fence`.
pub(super) fn pass_fence(tx: &Transaction<'_>, table: &str, lease: &Lease) -> Attempt<()> {
    let fence = i64::try_from(lease.fence).unwrap_or(i64::MAX);
    let changed = tx
        .prepare_cached(&format!(
            "INSERT INTO {table} (lease, fence) VALUES (?1, ?2) \
             ON CONFLICT (lease) DO UPDATE SET fence = excluded.fence \
             WHERE fence <= excluded.fence"
        ))?
        .execute(params![lease.name, fence])?;
    if changed == 1 { Ok(()) } else { Err(lease.fenced_off().into()) }
}

/// Reads a stored JSON text.
pub(super) fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Outcome<T> {
    serde_json::from_str(text).map_err(|error| {
        Failure::new(FailureKind::Input, format!("a stored record cannot be read: {error}"))
            .with_hint("the database may be from another recctl or damaged")
    })
}

/// Makes a JSON text of a record, which can be read again.
///
/// JSON has no NaN: serde_json writes null, which no number is read from. Such a record would make
/// every later listing fail, so it is refused here, where its writer learns of it.
pub(super) fn to_json<T: serde::Serialize + serde::de::DeserializeOwned>(
    record: &T,
) -> Outcome<String> {
    let refuse = |error: serde_json::Error| {
        Failure::new(FailureKind::Internal, format!("a record cannot be stored: {error}"))
    };
    let text = serde_json::to_string(record).map_err(refuse)?;
    serde_json::from_str::<T>(&text).map_err(refuse)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    static TEST: Schema =
        Schema { migrations: &["CREATE TABLE t (a INTEGER)"], page_size: 4096, durable: false };
    static NEWER: Schema = Schema {
        migrations: &["CREATE TABLE t (a INTEGER)", "ALTER TABLE t ADD COLUMN b TEXT"],
        page_size: 4096,
        durable: false,
    };

    #[tokio::test]
    async fn migrates_once_and_refuses_a_newer_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/t.db");
        Database::open(&path, &TEST).await.unwrap();
        let newer = Database::open(&path, &NEWER).await.unwrap();
        newer
            .write(|tx| Ok(tx.execute("INSERT INTO t (a, b) VALUES (1, 'x')", [])?))
            .await
            .unwrap();
        let failure = Database::open(&path, &TEST).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Usage);
        assert!(failure.message.contains("its format is 2, this one knows 1"), "{failure}");
        assert!(failure.hint.is_some());
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_bad_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        std::fs::write(&path, "this is certainly not a database, and long enough to show it")
            .unwrap();
        let failure = Database::open(&path, &TEST).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Input, "{failure}");
        assert!(failure.hint.is_some());
    }

    #[tokio::test]
    async fn a_failed_write_leaves_nothing_and_the_reader_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let db = Database::open(&folder.path().join("t.db"), &TEST).await.unwrap();
        let failed: Outcome<()> = db
            .write(|tx| {
                tx.execute("INSERT INTO t VALUES (1)", [])?;
                Err(Failure::new(FailureKind::Quality, "no").into())
            })
            .await;
        assert_eq!(failed.unwrap_err().kind, FailureKind::Quality);
        let rows = db
            .read(|tx| Ok(tx.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))?))
            .await;
        assert_eq!(rows, Ok(0));
        let written = db.read(|tx| Ok(tx.execute("INSERT INTO t VALUES (1)", [])?)).await;
        assert!(written.is_err());
    }

    #[tokio::test]
    async fn many_open_the_same_new_file_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.db");
        let opened =
            futures::future::join_all((0..16).map(|_| Database::open(&path, &NEWER))).await;
        assert_eq!(opened.iter().filter(|result| result.is_err()).count(), 0, "{opened:?}");
    }

    #[test]
    fn kinds_of_errors() {
        let kind = |code: i32| {
            failure(
                Fault::Sql(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)),
                Path::new("x.db"),
            )
            .kind
        };
        assert_eq!(kind(rusqlite::ffi::SQLITE_BUSY), FailureKind::Transient);
        assert_eq!(kind(rusqlite::ffi::SQLITE_LOCKED), FailureKind::Transient);
        assert_eq!(kind(rusqlite::ffi::SQLITE_FULL), FailureKind::Exhausted);
        assert_eq!(kind(rusqlite::ffi::SQLITE_NOTADB), FailureKind::Input);
        assert_eq!(kind(rusqlite::ffi::SQLITE_CORRUPT), FailureKind::Input);
        assert_eq!(kind(rusqlite::ffi::SQLITE_CONSTRAINT), FailureKind::Internal);
    }

    #[test]
    fn records_that_could_not_be_read_again_are_refused() {
        assert_eq!(to_json(&f64::NAN).unwrap_err().kind, FailureKind::Internal);
        assert_eq!(to_json(&1.5).unwrap(), "1.5");
    }
}
