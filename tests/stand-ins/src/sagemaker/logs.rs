//! CloudWatch Logs: what containers write, read through `DescribeLogStreams` and `GetLogEvents`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Answer, Refusal, refuse, text};

/// Streams by name: lines, and when they were written in milliseconds since 1970.
type Streams = BTreeMap<String, Vec<(i64, String)>>;

/// Streams by group.
#[derive(Debug, Default)]
pub(super) struct Logs(BTreeMap<String, Streams>);

impl Logs {
    /// Adds a line. `at` is in seconds since 1970.
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970")]
    pub(super) fn append(&mut self, group: &str, stream: &str, at: f64, line: &str) {
        let streams = self.0.entry(group.to_owned()).or_default();
        let lines = streams.entry(stream.to_owned()).or_default();
        lines.push(((at * 1_000.0) as i64, line.to_owned()));
    }

    fn group(&self, request: &Value) -> Result<&Streams, Refusal> {
        self.0.get(text(request, "logGroupName")).ok_or_else(missing_group)
    }

    pub(super) fn streams(&self, request: &Value) -> Answer {
        let group = self.group(request)?;
        let prefix = text(request, "logStreamNamePrefix");
        let by_time = text(request, "orderBy") == "LastEventTime";
        if by_time && !prefix.is_empty() {
            return refuse(
                "InvalidParameterException",
                "Cannot order by LastEventTime with a logStreamNamePrefix.",
            );
        }
        let mut found: Vec<_> = group.iter().filter(|(name, _)| name.starts_with(prefix)).collect();
        if by_time {
            found.sort_by_key(|(_, lines)| lines.last().map(|(at, _)| *at));
        }
        if request.get("descending") == Some(&Value::Bool(true)) {
            found.reverse();
        }
        let first: usize = text(request, "nextToken").parse().unwrap_or(0);
        let limit = limit(request, 50);
        let streams: Vec<Value> = found
            .iter()
            .skip(first)
            .take(limit)
            .map(|(name, lines)| {
                json!({
                    "logStreamName": name,
                    "firstEventTimestamp": lines.first().map(|(at, _)| at),
                    "lastEventTimestamp": lines.last().map(|(at, _)| at),
                })
            })
            .collect();
        let next = first + streams.len();
        let mut answer = json!({ "logStreams": streams });
        if next < found.len() {
            answer["nextToken"] = json!(next.to_string());
        }
        Ok(answer)
    }

    pub(super) fn events(&self, request: &Value) -> Answer {
        let group = self.group(request)?;
        let lines = group.get(text(request, "logStreamName")).ok_or_else(|| Refusal {
            code: "ResourceNotFoundException",
            message: "The specified log stream does not exist.".to_owned(),
        })?;
        let limit = limit(request, 10_000);
        let token = text(request, "nextToken");
        // `f/7` goes on at 7, `b/7` ends before it. A reader is at the end when it gets back the
        // token that it gave.
        let (first, last) = match token.split_once('/') {
            Some(("f", at)) => {
                let first = at.parse().unwrap_or(0).min(lines.len());
                (first, (first + limit).min(lines.len()))
            }
            Some(("b", at)) => {
                let last = at.parse().unwrap_or(lines.len()).min(lines.len());
                (last.saturating_sub(limit), last)
            }
            Some(_) => return refuse("InvalidParameterException", "The token is invalid."),
            None if request.get("startFromHead") == Some(&Value::Bool(true)) => {
                (0, limit.min(lines.len()))
            }
            None => (lines.len().saturating_sub(limit), lines.len()),
        };
        let events: Vec<Value> = lines[first..last]
            .iter()
            .map(|(at, line)| json!({ "timestamp": at, "ingestionTime": at, "message": line }))
            .collect();
        Ok(json!({
            "events": events,
            "nextForwardToken": format!("f/{last}"),
            "nextBackwardToken": format!("b/{first}"),
        }))
    }
}

fn limit(request: &Value, most: usize) -> usize {
    let limit = request.get("limit").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    limit.unwrap_or(most).clamp(1, most)
}

fn missing_group() -> Refusal {
    Refusal {
        code: "ResourceNotFoundException",
        message: "The specified log group does not exist.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_read_from_either_end() {
        let mut logs = Logs::default();
        for n in 0..5 {
            logs.append("g", "job/algo-1-1", f64::from(n), &format!("line {n}"));
        }
        logs.append("g", "other/algo-1-1", 9.0, "");
        let ask = |more: Value| {
            let mut request = json!({ "logGroupName": "g", "logStreamName": "job/algo-1-1" });
            for (member, value) in more.as_object().unwrap() {
                request[member] = value.clone();
            }
            logs.events(&request).unwrap()
        };
        let lines = |answer: &Value| -> Vec<String> {
            let events = answer["events"].as_array().unwrap();
            events.iter().map(|e| e["message"].as_str().unwrap().to_owned()).collect()
        };
        let last = ask(json!({ "limit": 2 }));
        assert_eq!(lines(&last), ["line 3", "line 4"]);
        let earlier = ask(json!({ "limit": 2, "nextToken": last["nextBackwardToken"] }));
        assert_eq!(lines(&earlier), ["line 1", "line 2"]);
        let first = ask(json!({ "limit": 3, "startFromHead": true }));
        assert_eq!(lines(&first), ["line 0", "line 1", "line 2"]);
        let rest = ask(json!({ "nextToken": first["nextForwardToken"] }));
        assert_eq!(lines(&rest), ["line 3", "line 4"]);
        let end = ask(json!({ "nextToken": rest["nextForwardToken"] }));
        assert_eq!((lines(&end).len(), &end["nextForwardToken"]), (0, &rest["nextForwardToken"]));
        let streams =
            logs.streams(&json!({ "logGroupName": "g", "logStreamNamePrefix": "job/" })).unwrap();
        assert_eq!(streams["logStreams"][0]["logStreamName"], "job/algo-1-1");
        assert_eq!(streams["logStreams"].as_array().unwrap().len(), 1);
        let missing = logs.streams(&json!({ "logGroupName": "h" })).unwrap_err();
        assert_eq!(missing.code, "ResourceNotFoundException");
    }
}
