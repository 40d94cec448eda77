//! Faults in front of a stand-in: errors with a service's own codes, slow answers, broken connections.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::process::Service;
use crate::python::Skip;
use crate::stack;

/// A microburst of this test's own, in front of one upstream. It ends when this is dropped.
#[derive(Debug)]
pub struct Microburst {
    service: Service,
}

impl Microburst {
    /// Starts one that lets everything through. Panics if it does not start.
    #[track_caller]
    pub fn start(upstream: &str) -> Result<Self, Skip> {
        let stack = stack::get()?;
        Ok(Self { service: must(stack.start_microburst(upstream)) })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        self.service.url()
    }

    /// Adds a rule, or several as an array, for example
    /// `{"service": "s3", "operation": "PutObject", "times": 2, "error": {"code": "SlowDown", "status": 503}}`.
    /// A rule without `times`, `probability` or `sequence` fires always.
    #[track_caller]
    pub fn rule(&self, rule: &Value) {
        let rules = if rule.is_array() { rule.clone() } else { Value::from(vec![rule.clone()]) };
        self.control("PATCH", "/_microburst/rules", &rules.to_string());
    }

    /// Removes all rules and forgets what fired.
    #[track_caller]
    pub fn clear(&self) {
        self.control("POST", "/_microburst/rules", "[]");
        self.control("DELETE", "/_microburst/fired", "");
    }

    /// What fired, oldest first, as microburst tells it: objects with `service`, `operation`, `rule_id`.
    #[track_caller]
    pub fn fired(&self) -> Vec<Value> {
        let answer = self.control("GET", "/_microburst/fired?limit=10000", "");
        answer.as_array().cloned().unwrap_or_default()
    }

    #[track_caller]
    fn control(&self, method: &str, path: &str, body: &str) -> Value {
        let ask = || -> std::io::Result<(String, Value)> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.service.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            write!(
                stream,
                "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
            let status = head.lines().next().unwrap_or_default().to_owned();
            Ok((status, serde_json::from_str(body).unwrap_or_default()))
        };
        let (status, answer) = must(ask().map_err(|error| format!("{method} {path}: {error}")));
        if !status.contains(" 20") {
            must::<()>(Err(format!("{method} {path} of {body}: {status}: {answer}")));
        }
        answer
    }
}

#[track_caller]
#[expect(clippy::panic, reason = "the harness itself is broken: the test fails")]
fn must<T>(result: Result<T, String>) -> T {
    result.unwrap_or_else(|why| panic!("{why}"))
}
