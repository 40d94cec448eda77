//! What tests program, and what they read back.

use super::dialect::mutates;

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The operation, for example `BatchExecuteStatement`.
    pub operation: String,
    /// The statements; empty for operations that have none.
    pub sqls: Vec<String>,
    /// The client token.
    pub token: Option<String>,
    /// Whether it asks for a change of data or tables.
    pub mutating: bool,
    /// The code of the error that it was answered with, if a test had programmed one.
    pub refused: Option<String>,
}

#[derive(Debug)]
struct Refusal {
    operation: Option<String>,
    code: String,
    times: usize,
}

/// Programmed faults and the log.
#[derive(Debug)]
pub(super) struct Faults {
    pub log: Vec<Logged>,
    pub fail_copy: Option<String>,
    pub hold: usize,
    pub active: usize,
    pub drop_answer: bool,
    refusals: Vec<Refusal>,
}

impl Default for Faults {
    fn default() -> Self {
        // 500 statements may be active at once by the service's quota.
        Self {
            log: Vec::new(),
            fail_copy: None,
            hold: 0,
            active: 500,
            drop_answer: false,
            refusals: Vec::new(),
        }
    }
}

impl Faults {
    pub fn refuse(&mut self, operation: Option<&str>, code: &str, times: usize) {
        let operation = operation.map(str::to_owned);
        self.refusals.push(Refusal { operation, code: code.to_owned(), times });
    }

    /// Writes a request down; the code of the error that it must be answered with.
    pub fn take(&mut self, operation: &str, body: &serde_json::Value) -> Option<String> {
        let found = self.refusals.iter_mut().find(|refusal| {
            refusal.times > 0 && refusal.operation.as_deref().is_none_or(|name| name == operation)
        });
        let refused = found.map(|refusal| {
            refusal.times -= 1;
            refusal.code.clone()
        });
        let one = body["Sql"].as_str().into_iter();
        let many = body["Sqls"].as_array().into_iter().flatten().filter_map(|sql| sql.as_str());
        let sqls: Vec<String> = one.chain(many).map(str::to_owned).collect();
        self.log.push(Logged {
            operation: operation.to_owned(),
            mutating: sqls.iter().any(|sql| mutates(sql)),
            sqls,
            token: body["ClientToken"].as_str().map(str::to_owned),
            refused: refused.clone(),
        });
        refused
    }
}
