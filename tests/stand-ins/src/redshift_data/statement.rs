//! A statement or batch that was handed in, and how far it is.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::Notify;

/// How far a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Submitted,
    Picked,
    Started,
    Finished,
    Failed,
    Aborted,
}

impl Status {
    pub fn word(self) -> &'static str {
        match self {
            Self::Submitted => "SUBMITTED",
            Self::Picked => "PICKED",
            Self::Started => "STARTED",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Aborted => "ABORTED",
        }
    }

    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Aborted)
    }
}

/// A result set: names and types of its columns, and the values as text.
#[derive(Debug, Clone, Default)]
pub(super) struct ResultSet {
    pub columns: Vec<(String, String)>,
    pub rows: Vec<Vec<Option<String>>>,
}

/// One of the SQL texts.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub status: Status,
    pub error: Option<String>,
    /// Rows returned or affected; -1 for none.
    pub rows: i64,
    pub result: Option<ResultSet>,
    pub nanoseconds: u64,
    pub updated: f64,
}

/// What changes about a statement.
pub(super) struct State {
    pub status: Status,
    pub error: Option<String>,
    pub pid: i64,
    pub updated: f64,
    pub parts: Vec<Part>,
    /// Polls until it may run.
    pub held: usize,
    pub cancelled: bool,
    pub session: Option<tokio_postgres::CancelToken>,
}

/// A statement or batch.
pub(super) struct Statement {
    pub id: String,
    /// The request.
    pub body: Value,
    pub sqls: Vec<String>,
    pub batch: bool,
    pub created: f64,
    /// Told when it may run or was cancelled.
    pub woken: Notify,
    state: Mutex<State>,
}

impl Statement {
    pub fn new(id: String, body: Value, sqls: Vec<String>, batch: bool, held: usize) -> Self {
        let created = now();
        let part = Part {
            status: Status::Submitted,
            error: None,
            rows: -1,
            result: None,
            nanoseconds: 0,
            updated: created,
        };
        let state = State {
            status: Status::Submitted,
            error: None,
            pid: 0,
            updated: created,
            parts: vec![part; sqls.len()],
            held,
            cancelled: false,
            session: None,
        };
        let woken = Notify::new();
        Self { id, body, sqls, batch, created, woken, state: Mutex::new(state) }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn advance(&self, status: Status) {
        let mut state = self.state();
        if !state.status.is_final() {
            state.status = status;
            state.updated = now();
        }
    }

    /// Where it runs and who asked, as the answers repeat it.
    pub fn place(&self) -> Value {
        let mut place = json!({});
        for name in ["ClusterIdentifier", "WorkgroupName", "Database", "DbUser", "SecretArn"] {
            if self.body[name].is_string() {
                place[name] = self.body[name].clone();
            }
        }
        place
    }
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    (nanoseconds() / 1_000_000) as f64 / 1_000.0
}

/// Nanoseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the service has a clock of its own")]
pub(super) fn nanoseconds() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_nanos()
}
