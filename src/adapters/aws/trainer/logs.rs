//! What jobs wrote, from CloudWatch Logs.

use std::collections::BTreeMap;

use aws_sdk_cloudwatchlogs::Client;
use regex::Regex;

use super::super::error::{code, failure};
use crate::ports::JobKind;
use crate::run::failure::{FailureKind, Outcome};

/// Lines that are kept for a failure.
const LAST_LINES: usize = 20;
/// Streams of one job that are looked at: an attempt on another spot instance has another one.
const STREAMS: i32 = 50;

fn group(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Train => "/aws/sagemaker/TrainingJobs",
        JobKind::Score => "/aws/sagemaker/ProcessingJobs",
    }
}

/// The last lines of a job, oldest first, at most 20; none if it wrote none.
pub(super) async fn last_lines(client: &Client, kind: JobKind, name: &str) -> Outcome<Vec<String>> {
    let mut lines = Vec::new();
    for stream in streams(client, kind, name).await? {
        let answer = client
            .get_log_events()
            .log_group_name(group(kind))
            .log_stream_name(&stream)
            .start_from_head(false)
            .limit(20)
            .send()
            .await
            .map_err(|error| failure(format!("read the log of job `{name}`"), &error, of_code))?;
        for event in answer.events() {
            let at = event.timestamp().unwrap_or_default();
            lines.push((at, event.message().unwrap_or_default().trim_end().to_owned()));
        }
    }
    // Lines of one stream stay in their order.
    lines.sort_by_key(|(at, _)| *at);
    let first = lines.len().saturating_sub(LAST_LINES);
    Ok(lines.drain(first..).map(|(_, line)| line).collect())
}

/// The last value of each metric in the lines of a job: for processing jobs, of which SageMaker
/// reads none.
pub(super) async fn metrics(
    client: &Client,
    kind: JobKind,
    name: &str,
    regexes: &[(String, Regex)],
) -> Outcome<BTreeMap<String, f64>> {
    let mut found = BTreeMap::new();
    for stream in streams(client, kind, name).await? {
        let mut token: Option<String> = None;
        loop {
            let answer = client
                .get_log_events()
                .log_group_name(group(kind))
                .log_stream_name(&stream)
                .start_from_head(true)
                .set_next_token(token.clone())
                .send()
                .await
                .map_err(|error| {
                    failure(format!("read the log of job `{name}`"), &error, of_code)
                })?;
            for event in answer.events() {
                read_line(event.message().unwrap_or_default(), regexes, &mut found);
            }
            // The end gives back the token that it was asked with.
            match answer.next_forward_token() {
                next @ Some(_) if next != token.as_deref() => token = next.map(str::to_owned),
                _ => break,
            }
        }
    }
    Ok(found)
}

fn read_line(line: &str, regexes: &[(String, Regex)], found: &mut BTreeMap<String, f64>) {
    for (name, regex) in regexes {
        for captures in regex.captures_iter(line) {
            if let Some(value) = captures.get(1).and_then(|text| text.as_str().parse().ok()) {
                found.insert(name.clone(), value);
            }
        }
    }
}

async fn streams(client: &Client, kind: JobKind, name: &str) -> Outcome<Vec<String>> {
    let answer = client
        .describe_log_streams()
        .log_group_name(group(kind))
        .log_stream_name_prefix(format!("{name}/"))
        .limit(STREAMS)
        .send()
        .await;
    match answer {
        Ok(answer) => {
            let names = answer.log_streams().iter().filter_map(|stream| stream.log_stream_name());
            Ok(names.map(str::to_owned).collect())
        }
        // The first job of an account makes the group.
        Err(error) if code(&error) == Some("ResourceNotFoundException") => Ok(Vec::new()),
        Err(error) => Err(failure(format!("find the log of job `{name}`"), &error, of_code)),
    }
}

fn of_code(code: &str) -> Option<FailureKind> {
    (code == "ResourceNotFoundException").then_some(FailureKind::NotFound)
}
