//! Policy documents as IAM takes them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ports::preflight::Grant;

/// The version of the policy language.
pub const VERSION: &str = "2012-10-17";
/// Characters of a managed policy, white space not counted.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
pub const MAX_CHARACTERS: usize = 6_144;

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Document {
    version: &'static str,
    statement: Vec<Statement>,
}

/// A statement: what a grant says, without the reason, for which IAM has no place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: String,
    effect: &'static str,
    action: Vec<&'static str>,
    resource: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    condition: BTreeMap<&'static str, BTreeMap<&'static str, Vec<String>>>,
}

impl Document {
    /// Its length as IAM counts.
    pub fn characters(&self) -> usize {
        let text = serde_json::to_string(self).unwrap_or_default();
        text.chars().filter(|c| !c.is_whitespace()).count()
    }

    fn of(statement: Vec<Statement>) -> Self {
        Self { version: VERSION, statement }
    }
}

/// One policy, or as few as hold all grants where one would be longer than `limit` characters. The
/// order of the grants stays.
pub fn documents(grants: &[Grant], limit: usize) -> Vec<Document> {
    let mut documents: Vec<Document> = Vec::new();
    for statement in grants.iter().flat_map(|grant| fitting(statement(grant), limit)) {
        match documents.last_mut() {
            Some(last) => {
                last.statement.push(statement);
                if last.characters() > limit
                    && let Some(statement) = last.statement.pop()
                {
                    documents.push(Document::of(vec![statement]));
                }
            }
            None => documents.push(Document::of(vec![statement])),
        }
    }
    documents
}

fn statement(grant: &Grant) -> Statement {
    let mut condition: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for it in &grant.conditions {
        condition.entry(it.operator).or_default().insert(it.key, it.values.clone());
    }
    Statement {
        sid: grant.sid.clone(),
        effect: "Allow",
        action: grant.actions.clone(),
        resource: grant.resources.clone(),
        condition,
    }
}

/// The statement, or several with a part of its resources each, so that none is too long for a
/// policy of its own. IAM asks for each resource by itself, so that several allow the same.
fn fitting(statement: Statement, limit: usize) -> Vec<Statement> {
    let alone = Document::of(vec![statement.clone()]);
    if statement.resource.len() < 2 || alone.characters() <= limit {
        return vec![statement];
    }
    let half = statement.resource.len() / 2;
    let part = |resources: &[String], suffix: &str| Statement {
        sid: format!("{}{suffix}", statement.sid),
        resource: resources.to_vec(),
        ..statement.clone()
    };
    let (first, second) = statement.resource.split_at(half);
    let mut parts = fitting(part(first, "A"), limit);
    parts.extend(fitting(part(second, "B"), limit));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::preflight::{Condition, Purpose};

    fn grant(sid: &str, resources: usize) -> Grant {
        Grant {
            sid: sid.to_owned(),
            why: "a reason".to_owned(),
            purpose: Purpose::Run,
            actions: vec!["s3:GetObject"],
            resources: (0..resources).map(|at| format!("arn:aws:s3:::bucket/{at:04}/*")).collect(),
            conditions: vec![],
        }
    }

    #[test]
    fn a_statement_says_what_the_grant_says() {
        let mut grant = grant("S3Read", 1);
        let condition = |operator, key| Condition { operator, key, values: vec!["x".to_owned()] };
        grant.conditions = vec![condition("StringEquals", "b"), condition("StringEquals", "a")];
        let text = serde_json::to_string_pretty(&documents(&[grant], MAX_CHARACTERS)).unwrap();
        insta::assert_snapshot!(text, @r#"
        [
          {
            "Version": "2012-10-17",
            "Statement": [
              {
                "Sid": "S3Read",
                "Effect": "Allow",
                "Action": [
                  "s3:GetObject"
                ],
                "Resource": [
                  "arn:aws:s3:::bucket/0000/*"
                ],
                "Condition": {
                  "StringEquals": {
                    "a": [
                      "x"
                    ],
                    "b": [
                      "x"
                    ]
                  }
                }
              }
            ]
          }
        ]
        "#);
    }

    #[test]
    fn several_documents_hold_what_one_cannot() {
        let grants = [grant("A", 30), grant("B", 100), grant("C", 1), grant("D", 2)];
        let split = documents(&grants, 1_500);
        let sids = |document: &Document| {
            document.statement.iter().map(|it| it.sid.as_str()).collect::<Vec<_>>().join(" ")
        };
        let sids: Vec<String> = split.iter().map(sids).collect();
        assert_eq!(sids, ["A", "BAA", "BAB", "BBA", "BBB C D"]);
        assert!(split.iter().all(|document| document.characters() <= 1_500));
        let resources = |documents: &[Document]| {
            let all = documents.iter().flat_map(|it| &it.statement).flat_map(|it| &it.resource);
            all.cloned().collect::<Vec<_>>()
        };
        assert_eq!(
            resources(&split),
            resources(&documents(&grants, usize::MAX)),
            "nothing is lost"
        );
        assert_eq!(documents(&grants, usize::MAX).len(), 1);
        assert_eq!(documents(&[], 10).len(), 0);
        // What cannot be split is left to IAM to refuse.
        assert_eq!(documents(&[grant("A", 1)], 10).len(), 1);
    }
}
