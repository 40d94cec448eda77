//! Targets: whether ARNs, images, buckets, keys and names have the forms that the services take.

use super::Subject;
use super::at::quoted;
use crate::pipeline::target::{
    AwsTarget, Encryption, Network, RedshiftEndpoint, RedshiftOptions, SageMakerOptions,
};
use crate::ports::limits::place::{
    self, Arn, Image, KeyForm, bucket_problem, is_account, is_region, key_form, role_problem,
};
use crate::ports::limits::{dynamodb, hive, redshift, sagemaker};
use crate::run::failure::{Problem, Rule};

/// Subnets and security groups of a job.
/// <https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_VpcConfig.html>
const MOST_SUBNETS: usize = 16;
const MOST_GROUPS: usize = 5;
/// Tags of a resource, and the longest key and value.
/// <https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html>
const MOST_TAGS: usize = 45;
const TAG_KEY: usize = 128;
const TAG_VALUE: usize = 256;

/// Judges all targets.
pub(super) fn check(subject: &Subject<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for target in subject.aws() {
        let mut found = Found { subject, target, problems: &mut problems };
        found.own();
        if let Some(redshift) = &target.warehouse {
            found.redshift(redshift);
        }
        if let Some(trainer) = &target.trainer {
            found.sagemaker(trainer);
        }
    }
    problems
}

struct Found<'a, 'p> {
    subject: &'a Subject<'a>,
    target: &'a AwsTarget,
    problems: &'p mut Vec<Problem>,
}

impl Found<'_, '_> {
    fn add(&mut self, rule: Rule, path: &[&str], message: impl Into<String>, hint: &str) {
        let mut whole = vec!["targets", self.target.name.as_str()];
        whole.extend(path);
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.problems.push(self.subject.in_project(rule, &whole, message).with_hint(hint));
    }

    /// A value that has not the form that it should.
    fn form(&mut self, path: &[&str], message: impl Into<String>, hint: &str) {
        self.add(Rule::TargetForm, path, message, hint);
    }

    fn own(&mut self) {
        let target = self.target;
        if let Some(region) = target.region.as_ref().filter(|region| !is_region(region)) {
            self.form(
                &["region"],
                format!("`{region}` is not a region"),
                "for example `eu-central-1`",
            );
        }
        let bucket = &target.lake.bucket;
        if let Some(what) = bucket_problem(bucket) {
            self.form(&["lake"], format!("the bucket `{bucket}` {what}"), "");
        }
        let room = place::KEY_BYTES - place::PATH_BYTES;
        if target.lake.prefix.len() > room {
            let length = target.lake.prefix.len();
            let message = format!("the lake's prefix has {length} bytes");
            let hint = format!(
                "keys of objects have {} bytes at most, and recctl needs {} of them for its own: expected at most {room}",
                place::KEY_BYTES,
                place::PATH_BYTES
            );
            self.add(Rule::ServiceLimit, &["lake"], message, &hint);
        }
        if let Some(Encryption::Kms(key)) = &target.s3.encryption
            && key_form(key).is_none()
        {
            let message = format!("`{key}` names no KMS key");
            let hint = "expected `s3`, or a key's id, its ARN or `alias/name`";
            self.form(&["s3", "encryption"], message, hint);
        }
        let glue = &target.catalog;
        self.glue_database(&glue.database);
        if let Some(id) = glue.catalog_id.as_ref().filter(|id| !is_account(id)) {
            let message = format!("`{id}` is not the number of an account");
            self.form(&["catalog", "glue", "catalog_id"], message, "expected 12 digits");
        }
        let state = &target.state.table;
        if let Some(what) = dynamodb::table_name_problem(state) {
            let message = format!("the table `{state}` {what}");
            self.add(Rule::ServiceLimit, &["state", "dynamodb", "table"], message, "");
        }
        self.tags();
    }

    fn glue_database(&mut self, database: &str) {
        let path = &["catalog", "glue", "database"];
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if database.is_empty() || database.len() > hive::NAME_BYTES {
            let message =
                format!("Glue takes names of databases of 1 to {} bytes", hive::NAME_BYTES);
            self.add(Rule::ServiceLimit, path, message, "");
        } else if !database.chars().all(known) {
            let message = format!("the database `{database}` cannot be named in Athena as it is");
            let hint = "expected `a` to `z`, `0` to `9` and `_`: Glue folds capitals";
            self.form(path, message, hint);
        }
    }

    fn tags(&mut self) {
        let tags = &self.target.tags;
        if tags.len() > MOST_TAGS {
            let message = format!("{} tags, and services take 50 with recctl's own", tags.len());
            self.add(Rule::ServiceLimit, &["tags"], message, "");
        }
        for (key, value) in tags {
            if key.to_lowercase().starts_with("aws:") {
                self.form(&["tags", key], format!("the tag `{key}` is AWS's own"), "rename it");
            }
            if key.chars().count() > TAG_KEY || value.chars().count() > TAG_VALUE {
                let message = format!(
                    "tags have keys of {TAG_KEY} and values of {TAG_VALUE} characters at most"
                );
                self.add(Rule::ServiceLimit, &["tags", key], message, "");
            }
        }
    }

    fn redshift(&mut self, options: &RedshiftOptions) {
        let path = |field| ["warehouse", "redshift", field];
        // Several roles that are taken one after the other stand with commas between.
        for role in options.copy_role.split(',') {
            if let Some(problem) = role_problem(role) {
                self.form(&path("copy_role"), problem, ROLE);
            }
        }
        // The Data API takes the name of a secret too.
        if let Some(secret) = &options.secret
            && secret.starts_with("arn:")
            && Arn::parse(secret).is_none_or(|arn| arn.service != "secretsmanager")
        {
            let message = format!("`{secret}` is not the ARN of a secret");
            let hint = "expected `arn:aws:secretsmanager:eu-central-1:123456789012:secret:name`";
            self.form(&path("secret"), message, hint);
        }
        let host = |text: &str| {
            let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            !text.is_empty() && text.len() <= 64 && text.chars().all(known)
        };
        let (field, name) = match &options.endpoint {
            RedshiftEndpoint::Workgroup(name) => ("workgroup", name),
            RedshiftEndpoint::Cluster { cluster, .. } => ("cluster", cluster),
        };
        if !host(name) {
            let message = format!("`{name}` cannot be the name of a {field}");
            let hint = "expected its name, of `a` to `z`, `0` to `9` and `-`, not its host or ARN";
            self.form(&path(field), message, hint);
        }
        for (field, name) in [
            ("database", &options.database),
            ("schema", &options.schema),
            ("external_schema", &options.external_schema),
        ] {
            if name.is_empty() || name.len() > redshift::NAME_BYTES {
                let message = format!(
                    "the {} `{name}` has {} bytes, and Redshift takes 1 to {}",
                    field.replace('_', " "),
                    name.len(),
                    redshift::NAME_BYTES
                );
                self.add(Rule::ServiceLimit, &path(field), message, "");
            }
        }
    }

    fn sagemaker(&mut self, options: &SageMakerOptions) {
        let path = |field| ["trainer", "sagemaker", field];
        if let Some(problem) = role_problem(&options.role) {
            self.form(&path("role"), problem, ROLE);
        }
        self.image(&options.image);
        for (at, instance) in options.instances.iter().enumerate() {
            let Some(problem) = sagemaker::instance_problem(instance) else { continue };
            let hint = "for example `ml.m5.xlarge`";
            match at.checked_sub(1) {
                None => self.form(&path("instance"), problem, hint),
                Some(at) => {
                    let at = at.to_string();
                    let path = ["trainer", "sagemaker", "fallback_instances", at.as_str()];
                    self.form(&path, problem, hint);
                }
            }
        }
        if let Some(problem) = sagemaker::volume_problem(options.volume_gb) {
            self.add(Rule::ServiceLimit, &path("volume_gb"), problem, "");
        }
        if let Some(key) = &options.kms_key {
            let hint = "expected a key's id or its ARN";
            match key_form(key) {
                Some(KeyForm::Key) => {}
                Some(KeyForm::Alias) => {
                    let message = "SageMaker encrypts volumes with a key, not with an alias of one";
                    self.form(&path("kms_key"), message, hint);
                }
                None => self.form(&path("kms_key"), format!("`{key}` names no KMS key"), hint),
            }
        }
        if let Some(network) = &options.network {
            self.network(network);
        }
        if let Some(registry) = &options.registry
            && let Some(problem) = sagemaker::group_prefix_problem(&registry.group_prefix)
        {
            let path = ["trainer", "sagemaker", "registry", "group_prefix"];
            self.form(&path, problem, "for example `rec-`");
        }
    }

    fn image(&mut self, uri: &str) {
        let path = ["trainer", "sagemaker", "image"];
        let region = self.target.region.as_deref().filter(|region| is_region(region));
        match (Image::parse(uri), region) {
            (None, _) => {
                let message = format!("`{uri}` is no image that SageMaker can pull");
                self.form(&path, message, IMAGE);
            }
            (Some(image), Some(region)) if image.region != region => {
                let message =
                    format!("the image lies in {}, and jobs run in {region}", image.region);
                let hint =
                    "SageMaker pulls images of its own region only: replicate the repository";
                self.form(&path, message, hint);
            }
            (Some(_), _) => {}
        }
    }

    fn network(&mut self, network: &Network) {
        for (field, names, begin, most) in [
            ("subnets", &network.subnets, "subnet-", MOST_SUBNETS),
            ("security_groups", &network.security_groups, "sg-", MOST_GROUPS),
        ] {
            let path = ["trainer", "sagemaker", "network", field];
            let other: Vec<&str> =
                names.iter().map(String::as_str).filter(|name| !name.starts_with(begin)).collect();
            if !other.is_empty() {
                let message = format!("{} is not the id of one of the `{field}`", quoted(other));
                self.form(&path, message, &format!("expected `{begin}…`"));
            }
            if !(1..=most).contains(&names.len()) {
                let message = format!("{} `{field}`, and a job takes 1 to {most}", names.len());
                self.add(Rule::ServiceLimit, &path, message, "");
            }
        }
    }
}

const ROLE: &str = "expected `arn:aws:iam::123456789012:role/name`";
/// What the URI of an image looks like.
pub(super) const IMAGE: &str =
    "expected `123456789012.dkr.ecr.eu-central-1.amazonaws.com/repository:tag`";
