//! Faults in front of a stand-in: errors with a service's own codes, slow answers, broken connections.

use serde_json::Value;

use crate::process::{Service, call, must};
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
        let json = [("Content-Type", "application/json")];
        let answer = must(call(self.service.port, method, path, &json, body));
        must(serde_json::from_str(&answer).map_err(|error| format!("{answer}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::aws::AmazonS3Builder;
    use object_store::path::Path;
    use object_store::{ObjectStoreExt, RetryConfig};
    use serde_json::json;

    use super::*;
    use crate::python::or_skip;
    use crate::recorder::Recorder;

    #[tokio::test]
    async fn a_rule_fires_as_often_as_it_says() {
        let Some(stack) = stack::or_skip() else { return };
        let recorder = Recorder::start(&stack.ministack()).unwrap();
        let Some(faults) = or_skip(Microburst::start(&recorder.url())) else { return };
        let bucket = stack::bucket_name("faults");
        let store = |url: &str, retries| {
            let retry = RetryConfig { max_retries: retries, ..RetryConfig::default() };
            let store = AmazonS3Builder::new()
                .with_endpoint(url)
                .with_allow_http(true)
                .with_region(stack::REGION)
                .with_bucket_name(&bucket)
                .with_access_key_id(stack::account())
                .with_secret_access_key("secret")
                .with_retry(retry);
            Arc::new(store.build().unwrap())
        };
        let key = Path::from("k");
        let rule = json!({
            "service": "s3", "operation": "GetObject", "times": 2,
            "error": {"code": "SlowDown", "status": 503},
        });
        faults.rule(&rule);
        // No bucket is needed: the fault comes before the upstream.
        let hasty = store(&faults.url(), 0);
        let error = hasty.get(&key).await.unwrap_err().to_string();
        assert!(error.contains("SlowDown"), "{error}");
        assert!(recorder.requests().is_empty());

        let patient = store(&faults.url(), 5);
        let error = patient.get(&key).await.unwrap_err().to_string();
        assert!(error.contains("NoSuchBucket"), "{error}");
        let fired: Vec<_> = faults.fired().iter().map(|event| event["operation"].clone()).collect();
        assert_eq!(fired, ["GetObject", "GetObject"]);
        assert_eq!(recorder.requests().len(), 1);

        faults.rule(&rule);
        faults.clear();
        let error = hasty.get(&key).await.unwrap_err().to_string();
        assert!(error.contains("NoSuchBucket"), "{error}");
        assert!(faults.fired().is_empty());
    }
}
