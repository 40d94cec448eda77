//! The sample project on an AWS target of stand-ins: all services at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as StorePath;
use recctl::adapters::aws::{AwsSession, DynamoDbServingStore};
use recctl::adapters::local::{LocalTarget, SystemClock};
use recctl::models::{Observation, Tuner};
use recctl::pipeline::job::{Objective, Tuning};
use recctl::pipeline::step::StepKind;
use recctl::pipeline::target::{AwsTarget, Target};
use recctl::ports::{GenerationEntry, ServingItem, ServingStore};
use recctl::query::analysis;
use recctl::spec::compile::{Inputs, Project, compile};
use stand_ins::recorder::Recorder;
use stand_ins::redshift_data::{self, RedshiftData};
use stand_ins::sagemaker::{self, SageMaker};
use stand_ins::stack::{REGION, Stack, Variables, account};

use crate::sandbox::{Ran, Sandbox};

/// A project, its target's services, and what was asked of them.
pub struct Cloud {
    pub sandbox: Sandbox,
    pub account: String,
    pub bucket: String,
    /// In front of S3, Glue, DynamoDB and STS.
    pub recorder: Recorder,
    pub sagemaker: SageMaker,
    pub redshift: RedshiftData,
    pub variables: Variables,
    project: Project,
}

impl Cloud {
    /// The project of a sandbox with its raw input in S3, and nothing else.
    pub async fn new(stack: &'static Stack, sandbox: Sandbox) -> Self {
        let account = account();
        let bucket = stack.bucket(&account, "lake");
        let recorder = Recorder::start(&stack.ministack()).unwrap();
        sandbox.edit("pipelines.yaml", "s3://acme-rec/lake", &format!("s3://{bucket}/lake"));
        let project = compiled(&sandbox.project());
        let mut config =
            sagemaker::Config::new(env!("CARGO_BIN_EXE_recctl"), &stack.ministack(), &account);
        config.suggest = suggest(&project);
        let sagemaker = SageMaker::start(config).unwrap();
        let redshift = RedshiftData::start(redshift_data::Config {
            postgres: stack.postgres(),
            s3_endpoint: stack.ministack(),
            access_key: account.clone(),
            region: REGION.to_owned(),
        })
        .await
        .unwrap();
        let mut variables = stack.variables(&account);
        for service in ["S3", "GLUE", "DYNAMODB", "STS"] {
            variables = variables.with(service, &recorder.url());
        }
        variables = variables
            .with("SAGEMAKER", &sagemaker.url())
            .with("CLOUDWATCH_LOGS", &sagemaker.url())
            .with("REDSHIFT_DATA", &redshift.url());
        let cloud =
            Self { sandbox, account, bucket, recorder, sagemaker, redshift, variables, project };
        cloud.upload(&stack.ministack()).await;
        cloud
    }

    /// Puts the sandbox's raw input where the target looks for it.
    async fn upload(&self, endpoint: &str) {
        let store = AmazonS3Builder::new()
            .with_endpoint(endpoint)
            .with_allow_http(true)
            .with_virtual_hosted_style_request(false)
            .with_region(REGION)
            .with_access_key_id(&self.account)
            .with_secret_access_key("secret")
            .with_bucket_name(&self.bucket)
            .build()
            .unwrap();
        let raw = self.sandbox.lake().join("raw");
        let mut folders = vec![raw.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let relative = path.strip_prefix(self.sandbox.lake()).unwrap();
                let key = StorePath::from(format!("lake/{}", relative.display()));
                store.put(&key, std::fs::read(&path).unwrap().into()).await.unwrap();
            }
        }
    }

    /// The program with `--target aws`, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.command(arguments);
        command.args(["--target", "aws"]).envs(self.variables.clone());
        // Another task, with an empty disk, each time.
        command.env("RECCTL_HOME", tempfile::tempdir().unwrap().keep());
        command
    }

    /// Runs the program with `--target aws`. The async runtime goes on, since servers may need it.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        let command = self.command(arguments);
        tokio::task::spawn_blocking(move || crate::sandbox::ran(command)).await.unwrap()
    }

    /// The target's settings.
    pub fn target(&self) -> AwsTarget {
        let Target::Aws(target) = &self.project.targets["aws"] else { panic!("no AWS target") };
        AwsTarget::clone(target)
    }

    /// A session of this process with what the program gets by its environment.
    pub fn session(&self) -> AwsSession {
        let mut target = self.target();
        target.region = Some(REGION.to_owned());
        target.endpoints = ["s3", "glue", "dynamodb"]
            .map(|name| (name.to_owned(), self.recorder.url()))
            .into_iter()
            .collect();
        let credentials = Credentials::new(&self.account, "secret", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        AwsSession::new(&target, config).unwrap()
    }

    /// Everything that was asked of the services and changes something, in words, counted.
    pub fn mutating(&self) -> BTreeMap<String, usize> {
        let mut calls = BTreeMap::new();
        let mut count = |service: &str, operation: &str| {
            *calls.entry(format!("{service}:{operation}")).or_insert(0) += 1;
        };
        for call in self.recorder.mutating() {
            count(&call.service, &call.operation);
        }
        for call in self.sagemaker.requests() {
            if call.mutating {
                count("sagemaker", &call.operation);
            }
        }
        for call in self.redshift.requests() {
            if call.mutating {
                count("redshift-data", &call.operation);
            }
        }
        calls
    }

    /// Every list of the embedded target is served here, and no other.
    pub async fn serves_what_the_embedded_target_serves(&self) {
        let embedded =
            LocalTarget::open(&self.sandbox.home()).unwrap().serving_store().await.unwrap();
        let served = DynamoDbServingStore::new(&self.session(), Arc::new(SystemClock)).unwrap();
        let visible = |generations: Vec<GenerationEntry>| {
            generations.into_iter().find(|one| one.visible).unwrap()
        };
        let here = visible(embedded.generations("recommendations").await.unwrap());
        let there = visible(served.generations("recommendations").await.unwrap());
        assert_eq!(there.items, here.items);
        assert_eq!(there.model, here.model);
        let keys = keys(&self.sandbox);
        assert_eq!(keys.len() as u64, here.items);
        for key in keys {
            let list = async |store: &dyn ServingStore| -> ServingItem {
                store.get("recommendations", &key).await.unwrap().unwrap().item
            };
            assert_eq!(list(&served).await, list(&embedded).await, "{key}");
        }
    }

    /// The rows that the embedded warehouse has, and no others.
    pub async fn the_warehouse_holds_what_the_embedded_one_holds(&self) {
        let embedded =
            rusqlite::Connection::open(self.sandbox.home().join("warehouse.db")).unwrap();
        for table in ["products", "users", "interactions", "item_popularity", "user_profiles"] {
            let here = embedded.prepare(&format!("SELECT * FROM {table} LIMIT 0")).unwrap();
            let columns = here.column_names().collect::<Vec<_>>().join(", ");
            let select = |from: &str| format!("SELECT {columns} FROM {from}");
            let mut here = embedded.prepare(&select(table)).unwrap();
            let count = here.column_count();
            let row = |row: &rusqlite::Row<'_>| {
                (0..count).map(|at| row.get(at).map(embedded_cell)).collect()
            };
            let here = here.query_map([], row).unwrap().map(Result::unwrap).collect();
            let there = self.redshift.query(&select(&format!("rec.{table}"))).await.unwrap();
            let there = there.into_iter().map(|row| row.into_iter().map(cell).collect()).collect();
            let sorted = |mut rows: Vec<Vec<String>>| {
                rows.sort_unstable();
                rows
            };
            let (here, there) = (sorted(here), sorted(there));
            assert_eq!(here.len(), there.len(), "{table}");
            for (here, there) in here.iter().zip(&there) {
                assert_eq!(here, there, "{table} ({columns})");
            }
        }
    }

    /// Forgets what was asked.
    pub fn forget(&self) {
        self.recorder.clear();
        self.sagemaker.clear_requests();
        self.redshift.forget_requests();
    }
}

/// A value of SQLite as the same value of PostgreSQL reads.
fn embedded_cell(value: rusqlite::types::Value) -> String {
    use rusqlite::types::Value;
    cell(match value {
        Value::Null => None,
        Value::Integer(number) => Some(number.to_string()),
        Value::Real(number) => Some(number.to_string()),
        Value::Text(text) => Some(text),
        Value::Blob(_) => panic!("no table has bytes"),
    })
}

/// A value in the one way in which both warehouses' ways of writing it are read.
fn cell(text: Option<String>) -> String {
    let Some(text) = text else { return "none".to_owned() };
    if let Ok(number) = text.parse::<f64>() {
        return number.to_string();
    }
    let time = text.trim_end_matches("+00").trim_end_matches('Z');
    match (text.as_str(), time.split_once('.')) {
        ("t", _) => "1".to_owned(),
        ("f", _) => "0".to_owned(),
        (_, Some((second, part))) if second.len() == 19 && second.contains(':') => {
            format!("{second}.{part:0<6}")
        }
        (_, None) if time.len() == 19 && time.contains(':') => format!("{time}.000000"),
        _ => text,
    }
}

/// The project's files as meant.
fn compiled(folder: &Path) -> Project {
    let read = |path: &str| std::fs::read_to_string(folder.join(path));
    let (list, given) = (|_: &str| Vec::new(), BTreeMap::new());
    let inputs = Inputs { read: &read, list: &list, analyze: &analysis::parse, given: &given };
    compile(&inputs).valid().unwrap()
}

/// Lets the stand-in's tuning jobs try what the embedded target tries, so that both find the same.
fn suggest(project: &Project) -> sagemaker::Suggest {
    let mut searches: Vec<(String, Tuning, Objective)> = Vec::new();
    for step in &project.pipelines.values().next().unwrap().steps {
        if let StepKind::Tune(train) = &step.kind {
            let (tuning, objective) = (train.job.tuning.clone(), train.job.objective.clone());
            let name = step.name.as_str().replace('_', "-");
            searches.push((name, tuning.unwrap(), objective.unwrap()));
        }
    }
    Arc::new(move |request, seen| {
        let (_, tuning, objective) = searches
            .iter()
            .find(|(name, ..)| request.name.starts_with(&format!("{name}-")))
            .expect("a tuning job is named after its step");
        let mut seen: Vec<Observation> = seen
            .iter()
            .map(|one| Observation {
                hyperparameters: one.hyperparameters.clone(),
                value: one.value,
            })
            .collect();
        for one in &mut seen {
            one.hyperparameters.retain(|name, _| tuning.ranges.contains_key(name));
        }
        Tuner::new(tuning, objective.direction).unwrap().suggest(&seen)
    })
}

/// All keys of the embedded target's visible generation.
fn keys(sandbox: &Sandbox) -> Vec<String> {
    let database = rusqlite::Connection::open(sandbox.home().join("serving.db")).unwrap();
    let mut query = database
        .prepare(
            "SELECT i.key FROM items i JOIN pointers p ON p.generation_id = i.generation_id \
             WHERE p.table_name = 'recommendations' ORDER BY i.key",
        )
        .unwrap();
    let keys = query.query_map([], |row| row.get::<_, String>(0)).unwrap();
    keys.map(Result::unwrap).collect()
}
