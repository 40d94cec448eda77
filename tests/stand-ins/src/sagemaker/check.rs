//! What SageMaker refuses: the constraints that its API reference gives for each member.

use regex::Regex;
use serde_json::Value;

/// Names of jobs and groups (`TrainingJobName` and its like), without the length.
pub(super) const NAME: &str = "^[a-zA-Z0-9](-*[a-zA-Z0-9])*$";
const ROLE: &str = r"^arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+$";
const S3_URI: &str = "^(https|s3)://([^/]+)/?(.*)$";

/// Gathers what is wrong with a request.
pub(super) struct Check<'a> {
    request: &'a Value,
    problems: Vec<String>,
}

impl<'a> Check<'a> {
    pub(super) fn new(request: &'a Value) -> Self {
        Self { request, problems: Vec::new() }
    }

    /// What is wrong, in the words of the service.
    pub(super) fn finish(self) -> Result<(), String> {
        match self.problems.len() {
            0 => Ok(()),
            1 => Err(format!("1 validation error detected: {}", self.problems[0])),
            n => Err(format!("{n} validation errors detected: {}", self.problems.join("; "))),
        }
    }

    fn get(&self, path: &str) -> Option<&'a Value> {
        self.request.pointer(path).filter(|value| !value.is_null())
    }

    fn wrong(&mut self, path: &str, constraint: &str) {
        let member = path.trim_start_matches('/').replace('/', ".");
        let value = self.get(path).map_or("null".to_owned(), Value::to_string);
        self.problems.push(format!(
            "Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"
        ));
    }

    /// Says what is wrong in words of its own.
    pub(super) fn refuse_if(&mut self, wrong: bool, what: &str) {
        if wrong {
            self.problems.push(what.to_owned());
        }
    }

    pub(super) fn required(&mut self, path: &str) {
        if self.get(path).is_none() {
            self.wrong(path, "Member must not be null");
        }
    }

    pub(super) fn text(&mut self, path: &str, most: usize, pattern: &str) {
        let Some(value) = self.get(path) else { return };
        let Some(text) = value.as_str() else {
            return self.wrong(path, "Member must be a string");
        };
        if text.chars().count() > most {
            self.wrong(path, &format!("Member must have length less than or equal to {most}"));
        }
        if !Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text)) {
            self.wrong(path, &format!("Member must satisfy regular expression pattern: {pattern}"));
        }
    }

    pub(super) fn name(&mut self, path: &str, most: usize) {
        self.required(path);
        self.text(path, most, NAME);
    }

    pub(super) fn role(&mut self) {
        self.required("/RoleArn");
        self.text("/RoleArn", 2_048, ROLE);
    }

    pub(super) fn uri(&mut self, path: &str) {
        self.text(path, 1_024, S3_URI);
    }

    pub(super) fn one_of(&mut self, path: &str, allowed: &[&str]) {
        let Some(value) = self.get(path) else { return };
        if !value.as_str().is_some_and(|value| allowed.contains(&value)) {
            let set = allowed.join(", ");
            self.wrong(path, &format!("Member must satisfy enum value set: [{set}]"));
        }
    }

    pub(super) fn number(&mut self, path: &str, least: i64, most: i64) {
        let Some(value) = self.get(path) else { return };
        if !value.as_i64().is_some_and(|value| (least..=most).contains(&value)) {
            self.wrong(path, &format!("Member must have value from {least} to {most}"));
        }
    }

    pub(super) fn length(&mut self, path: &str, least: usize, most: usize) {
        let Some(value) = self.get(path) else { return };
        let length = match value {
            Value::Array(list) => list.len(),
            Value::Object(map) => map.len(),
            _ => return self.wrong(path, "Member must be a list or a map"),
        };
        if !(least..=most).contains(&length) {
            self.wrong(path, &format!("Member must have length from {least} to {most}"));
        }
    }

    /// A map of texts.
    pub(super) fn map(&mut self, path: &str, entries: usize, key: (usize, &str), value: usize) {
        self.length(path, 0, entries);
        let Some(map) = self.get(path).and_then(Value::as_object) else { return };
        let keys = Regex::new(key.1).ok();
        let long = |text: &str, most: usize| text.chars().count() > most;
        for (name, text) in map {
            if long(name, key.0) || !keys.as_ref().is_some_and(|keys| keys.is_match(name)) {
                self.wrong(path, "Map keys must satisfy the length and the pattern of a key");
            }
            if text.as_str().is_none_or(|text| long(text, value)) {
                self.wrong(path, &format!("Map values must be strings of at most {value}"));
            }
        }
    }

    pub(super) fn tags(&mut self) {
        self.length("/Tags", 0, 50);
        for at in 0..self.count("/Tags") {
            self.required(&format!("/Tags/{at}/Key"));
            self.required(&format!("/Tags/{at}/Value"));
            self.text(&format!("/Tags/{at}/Key"), 128, r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$");
            self.text(&format!("/Tags/{at}/Value"), 256, r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$");
        }
    }

    pub(super) fn vpc(&mut self, path: &str) {
        if self.get(path).is_some() {
            for (list, most) in [("SecurityGroupIds", 5), ("Subnets", 16)] {
                self.required(&format!("{path}/{list}"));
                self.length(&format!("{path}/{list}"), 1, most);
            }
        }
    }

    fn count(&self, path: &str) -> usize {
        self.get(path).and_then(Value::as_array).map_or(0, Vec::len)
    }

    /// What training jobs and the children of tuning jobs have in common, below `at`.
    pub(super) fn training(&mut self, at: &str) {
        let path = |rest: &str| format!("{at}{rest}");
        self.required(&path("/AlgorithmSpecification/TrainingInputMode"));
        self.one_of(
            &path("/AlgorithmSpecification/TrainingInputMode"),
            &["Pipe", "File", "FastFile"],
        );
        self.text(&path("/AlgorithmSpecification/TrainingImage"), 255, ".+");
        self.metrics(&path("/AlgorithmSpecification/MetricDefinitions"));
        self.required(&path("/OutputDataConfig/S3OutputPath"));
        self.uri(&path("/OutputDataConfig/S3OutputPath"));
        self.text(&path("/OutputDataConfig/KmsKeyId"), 2_048, "^[a-zA-Z0-9:/_-]*$");
        self.length(&path("/InputDataConfig"), 1, 20);
        let mut names = Vec::new();
        for channel in 0..self.count(&path("/InputDataConfig")) {
            let within = |rest: &str| format!("{at}/InputDataConfig/{channel}/{rest}");
            self.required(&within("ChannelName"));
            self.text(&within("ChannelName"), 64, r"^[A-Za-z0-9\.\-_]+$");
            names.push(self.get(&within("ChannelName")));
            self.one_of(&within("InputMode"), &["Pipe", "File", "FastFile"]);
            self.one_of(&within("CompressionType"), &["None", "Gzip"]);
            let source = |rest: &str| within(&format!("DataSource/S3DataSource/{rest}"));
            self.required(&source("S3Uri"));
            self.uri(&source("S3Uri"));
            self.required(&source("S3DataType"));
            self.one_of(
                &source("S3DataType"),
                &["ManifestFile", "S3Prefix", "AugmentedManifestFile", "Converse"],
            );
            self.one_of(&source("S3DataDistributionType"), &["FullyReplicated", "ShardedByS3Key"]);
        }
        let repeated = names.iter().enumerate().any(|(at, name)| names[..at].contains(name));
        self.refuse_if(repeated, "Duplicate channel names in InputDataConfig");
        self.required(&path("/StoppingCondition"));
        self.number(&path("/StoppingCondition/MaxRuntimeInSeconds"), 1, i64::from(i32::MAX));
        self.number(&path("/StoppingCondition/MaxWaitTimeInSeconds"), 1, i64::from(i32::MAX));
        let seconds = |rest: &str| {
            self.get(&path(&format!("/StoppingCondition/{rest}"))).and_then(Value::as_i64)
        };
        let (wait, runtime) = (seconds("MaxWaitTimeInSeconds"), seconds("MaxRuntimeInSeconds"));
        let spot = self.get(&path("/EnableManagedSpotTraining")) == Some(&Value::Bool(true));
        self.refuse_if(
            spot && wait.is_none_or(|wait| wait < runtime.unwrap_or(86_400)),
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to \
             MaxRuntimeInSeconds when EnableManagedSpotTraining is true",
        );
        self.refuse_if(
            !spot && wait.is_some(),
            "MaxWaitTimeInSeconds above 0 is not allowed when EnableManagedSpotTraining is false",
        );
        self.map(&path("/Environment"), 100, (512, "^[a-zA-Z_][a-zA-Z0-9_]*$"), 512);
        self.vpc(&path("/VpcConfig"));
        if self.get(&path("/CheckpointConfig")).is_some() {
            self.required(&path("/CheckpointConfig/S3Uri"));
            self.uri(&path("/CheckpointConfig/S3Uri"));
        }
    }

    pub(super) fn resources(&mut self, at: &str) {
        let path = |rest: &str| format!("{at}/{rest}");
        for member in ["InstanceType", "InstanceCount", "VolumeSizeInGB"] {
            self.required(&path(member));
        }
        self.text(&path("InstanceType"), 64, r"^ml\.[a-z0-9\-]+\.[a-z0-9]+$");
        self.number(&path("InstanceCount"), 1, 100);
        self.number(&path("VolumeSizeInGB"), 1, 16_384);
        self.text(&path("VolumeKmsKeyId"), 2_048, "^[a-zA-Z0-9:/_-]*$");
    }

    fn metrics(&mut self, path: &str) {
        self.length(path, 0, 40);
        for at in 0..self.count(path) {
            for (member, most) in [("Name", 255), ("Regex", 500)] {
                self.required(&format!("{path}/{at}/{member}"));
                self.text(&format!("{path}/{at}/{member}"), most, ".+");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn problems_are_told_together() {
        let request = json!({ "TrainingJobName": "under_score", "Kind": "x", "N": 0 });
        let mut check = Check::new(&request);
        check.name("/TrainingJobName", 63);
        check.one_of("/Kind", &["a", "b"]);
        check.number("/N", 1, 2);
        check.required("/Missing");
        let told = check.finish().unwrap_err();
        assert!(
            told.starts_with("4 validation errors detected: Value '\"under_score\"'"),
            "{told}"
        );
        assert!(told.contains("Member must satisfy enum value set: [a, b]"), "{told}");
    }

    #[test]
    fn spot_needs_a_wait_that_is_long_enough() {
        let problems = |spot: bool, wait: Option<i64>| {
            let request = json!({
                "EnableManagedSpotTraining": spot,
                "StoppingCondition": { "MaxRuntimeInSeconds": 100, "MaxWaitTimeInSeconds": wait },
                "AlgorithmSpecification": { "TrainingInputMode": "File" },
                "OutputDataConfig": { "S3OutputPath": "s3://b/o" },
            });
            let mut check = Check::new(&request);
            check.training("");
            check.finish().is_err()
        };
        assert!(!problems(true, Some(100)) && !problems(false, None));
        assert!(problems(true, Some(99)) && problems(true, None) && problems(false, Some(100)));
    }
}
