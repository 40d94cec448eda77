//! The trainer on SageMaker: the contract, and what a cloud adds to it.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::provider::ProvideCredentials;
use recctl::adapters::aws::{AwsSession, SageMakerTrainer};
use recctl::pipeline::target::{Network, RegistryOptions, SageMakerOptions};
use recctl::ports::{JobKind, JobState, Trainer};
use recctl::run::failure::FailureKind;
use stand_ins::sagemaker::{Buckets, Config, Fault, Rule, SageMaker};
use stand_ins::stack::{REGION, bucket_name};

use super::session::{open, target};
use crate::contract::kind;
use crate::contract::trainer::{PROGRAM, TrainerTarget, request, trainer_contract};

const LONG: Duration = Duration::from_secs(60);

/// SageMaker's stand-in, with a lake in S3's.
pub struct Bench {
    pub server: SageMaker,
    pub session: AwsSession,
    pub buckets: Buckets,
    bucket: String,
    _program: tempfile::TempDir,
}

pub fn options() -> SageMakerOptions {
    SageMakerOptions {
        role: "arn:aws:iam::123456789012:role/training".to_owned(),
        image: "123456789012.dkr.ecr.eu-central-1.amazonaws.com/recctl:1".to_owned(),
        instances: vec!["ml.m5.large".to_owned(), "ml.m5.xlarge".to_owned()],
        volume_gb: 30,
        spot: false,
        kms_key: Some("alias/rec".to_owned()),
        network: Some(Network {
            subnets: vec!["subnet-1".to_owned()],
            security_groups: vec!["sg-1".to_owned()],
        }),
        registry: Some(RegistryOptions { group_prefix: "rec-".to_owned(), approve: false }),
    }
}

impl Bench {
    /// `None` where there are no stand-ins.
    pub async fn new(program: &str, options: SageMakerOptions) -> Option<Self> {
        Self::with(program, options, |_| {}).await
    }

    pub async fn with(
        program: &str,
        options: SageMakerOptions,
        change: impl FnOnce(&mut Config),
    ) -> Option<Self> {
        let ministack = stand_ins::stack::or_skip()?.ministack();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, program).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let bucket = bucket_name("sagemaker");
        let mut target = target(&ministack);
        target.lake.bucket = bucket.clone();
        target.lake.prefix = "lake".to_owned();
        target.trainer = Some(options);
        // The account that S3's stand-in knows it by.
        let probe = open(&target);
        let provider = probe.credentials().unwrap();
        let key = provider.provide_credentials().await.unwrap().access_key_id().to_owned();
        let buckets = Buckets::at(&ministack, &key, REGION);
        let mut config = Config::over(path, buckets.clone());
        change(&mut config);
        let server = SageMaker::start(config).unwrap();
        for service in ["sagemaker", "cloudwatchlogs"] {
            target.endpoints.insert(service.to_owned(), server.url());
        }
        let session = AwsSession::new(&target, probe.config().clone()).unwrap();
        let region = aws_sdk_s3::types::BucketLocationConstraint::from(REGION);
        let place = aws_sdk_s3::types::CreateBucketConfiguration::builder()
            .location_constraint(region)
            .build();
        let create = session.s3().create_bucket().bucket(&bucket);
        create.create_bucket_configuration(place).send().await.unwrap();
        Some(Self { server, session, buckets, bucket, _program: folder })
    }

    pub fn trainer(&self) -> SageMakerTrainer {
        SageMakerTrainer::new(&self.session).unwrap().with_look(Duration::from_millis(10))
    }

    pub fn url(&self, path: &str) -> String {
        format!("s3://{}/lake/{path}", self.bucket)
    }

    async fn with_input(self) -> Self {
        self.put_file("in/part-1", "1").await;
        self.put_file("in/deeper/part-2", "2").await;
        self
    }

    /// The names under which jobs were created, in order.
    fn created(&self) -> Vec<String> {
        let requests = self.server.requests().into_iter();
        let created = requests
            .filter(|request| request.operation.starts_with("Create") && request.status == 200);
        created.map(|request| request.name).collect()
    }
}

#[async_trait]
impl TrainerTarget for Bench {
    async fn open(&self) -> Arc<dyn Trainer> {
        Arc::new(self.trainer())
    }

    async fn put_file(&self, path: &str, text: &str) {
        self.buckets.put(&self.url(path), text.to_owned()).await.unwrap();
    }

    async fn files(&self, folder: &str) -> Vec<String> {
        let folder = self.url(folder);
        let files = self.buckets.list(&folder).await.unwrap();
        files.iter().map(|file| file[folder.len()..].to_owned()).collect()
    }

    async fn starts(&self, name: &str) -> usize {
        let later = (2..10).map(|attempt| self.server.starts(&format!("{name}-a{attempt}")));
        self.server.starts(name) + later.sum::<usize>()
    }

    fn longest_reason(&self) -> usize {
        // SageMaker cuts with its own words around the program's.
        1_024 - "AlgorithmError: ".len() - ", exit code: 1".len()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract() {
    let Some(bench) = Bench::new(PROGRAM, options()).await else { return };
    trainer_contract(&bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_has_what_the_target_says() {
    let Some(bench) = Bench::new(PROGRAM, SageMakerOptions { spot: true, ..options() }).await
    else {
        return;
    };
    let bench = bench.with_input().await;
    let trainer = bench.trainer();
    let mut job = request("spot", JobKind::Train, "succeed");
    job.resources.count = Some(2);
    trainer.submit(&job).await.unwrap();
    assert_eq!(trainer.wait("spot", LONG).await.unwrap().state, JobState::Completed);
    let asked = bench.server.asked("spot").unwrap();
    let at = |path: &str| asked.pointer(path).unwrap_or(&serde_json::Value::Null).clone();
    assert_eq!(at("/EnableManagedSpotTraining"), true);
    assert_eq!(at("/StoppingCondition/MaxWaitTimeInSeconds"), 120);
    assert_eq!(at("/CheckpointConfig/S3Uri"), bench.url("sagemaker/checkpoints/spot"));
    assert_eq!(at("/VpcConfig/Subnets/0"), "subnet-1");
    assert_eq!(at("/ResourceConfig/VolumeKmsKeyId"), "alias/rec");
    assert_eq!(at("/OutputDataConfig/KmsKeyId"), "alias/rec");
    assert_eq!(at("/ResourceConfig/InstanceCount"), 2);
    assert_eq!(at("/ResourceConfig/VolumeSizeInGB"), 30);
    let tags = at("/Tags");
    assert!(tags.to_string().contains(r#"{"Key":"team","Value":"rec"}"#), "{tags}");
    assert!(tags.to_string().contains(r#"{"Key":"recctl:job","Value":"spot"}"#), "{tags}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_job_goes_on() {
    let Some(bench) = Bench::new(PROGRAM, SageMakerOptions { spot: true, ..options() }).await
    else {
        return;
    };
    let bench = bench.with_input().await;
    bench.server.fail_next(Fault::SpotInterruption { after_lines: 1 });
    let trainer = bench.trainer();
    trainer.submit(&request("spot", JobKind::Train, "succeed")).await.unwrap();
    assert_eq!(trainer.wait("spot", LONG).await.unwrap().state, JobState::Completed);
    assert_eq!(bench.server.starts("spot"), 2);
    assert_eq!(bench.files("out/spot/").await, ["model.tar.gz"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_capacity_the_next_instance_type_is_taken() {
    let Some(bench) = Bench::new(PROGRAM, options()).await else { return };
    let bench = bench.with_input().await;
    let trainer = bench.trainer();
    // Refused at once.
    bench.server.fail_next(Fault::ResourceLimit);
    trainer.submit(&request("quota", JobKind::Train, "succeed")).await.unwrap();
    assert_eq!(trainer.wait("quota", LONG).await.unwrap().state, JobState::Completed);
    let instance =
        |name: &str| bench.server.asked(name).unwrap()["ResourceConfig"]["InstanceType"].clone();
    assert_eq!(instance("quota"), "ml.m5.xlarge");
    // Failed for it after a while.
    bench.server.add_rule(Rule::new(Fault::Capacity).instance("ml.m5.large").times(2));
    trainer.submit(&request("short", JobKind::Train, "succeed")).await.unwrap();
    assert_eq!(trainer.wait("short", LONG).await.unwrap().state, JobState::Completed);
    assert_eq!(
        (instance("short"), instance("short-a2")),
        ("ml.m5.large".into(), "ml.m5.xlarge".into())
    );
    assert_eq!(bench.files("out/short/").await, ["model.tar.gz"]);
    // By a process that did not submit it, it is told; the next submit goes on where it stopped.
    trainer.submit(&request("told", JobKind::Train, "succeed")).await.unwrap();
    let state = bench.trainer().wait("told", LONG).await.unwrap().state;
    let JobState::Failed { reason, last_lines } = state else { panic!("{state:?}") };
    assert!(reason.starts_with("CapacityError: ") && last_lines.is_empty(), "{reason}");
    let other = bench.trainer();
    other.submit(&request("told", JobKind::Train, "succeed")).await.unwrap();
    assert_eq!(other.wait("told", LONG).await.unwrap().state, JobState::Completed);
    assert_eq!(instance("told-a2"), "ml.m5.xlarge");
    // Nowhere any room.
    bench.server.add_rule(Rule::new(Fault::ResourceLimit).times(2));
    let refused = trainer.submit(&request("none", JobKind::Score, "succeed")).await;
    assert_eq!(kind(refused), FailureKind::Exhausted);
    bench.server.add_rule(Rule::new(Fault::Capacity).times(2));
    trainer.submit(&request("none", JobKind::Score, "succeed")).await.unwrap();
    let state = trainer.wait("none", LONG).await.unwrap().state;
    assert!(matches!(state, JobState::Failed { .. }), "{state:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_of_other_work_is_a_conflict() {
    let Some(bench) = Bench::new(PROGRAM, options()).await else { return };
    let bench = bench.with_input().await;
    let trainer = bench.trainer();
    let job = request("same", JobKind::Train, "hang");
    trainer.submit(&job).await.unwrap();
    let other = request("same", JobKind::Train, "succeed");
    assert_eq!(kind(trainer.submit(&other).await), FailureKind::Conflict);
    // On another machine it is the same work.
    let mut elsewhere = job.clone();
    elsewhere.resources.instances = vec!["ml.c5.large".to_owned()];
    bench.trainer().submit(&elsewhere).await.unwrap();
    assert_eq!(bench.created(), ["same"]);
    trainer.cancel("same").await.unwrap();
    assert_eq!(trainer.wait("same", LONG).await.unwrap().state, JobState::Stopped);
    trainer.submit(&other).await.unwrap();
    assert_eq!(trainer.wait("same", LONG).await.unwrap().state, JobState::Completed);
    assert_eq!(bench.created(), ["same", "same-a2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pruned_model_is_made_again() {
    let Some(bench) = Bench::new(PROGRAM, options()).await else { return };
    let bench = bench.with_input().await;
    let job = request("pruned", JobKind::Train, "succeed");
    let submit = async |expected: &[&str]| {
        let trainer = bench.trainer();
        trainer.submit(&job).await.unwrap();
        assert_eq!(trainer.wait("pruned", LONG).await.unwrap().state, JobState::Completed);
        assert_eq!(bench.files("out/pruned/").await, ["model.tar.gz"]);
        assert_eq!(bench.created(), expected);
    };
    submit(&["pruned"]).await;
    let s3 = bench.session.s3();
    let delete = async |path: &str| {
        let key = format!("lake/{path}");
        s3.delete_object().bucket(&bench.bucket).key(key).send().await.unwrap();
    };
    // What SageMaker wrote is there still.
    delete("out/pruned/model.tar.gz").await;
    submit(&["pruned"]).await;
    delete("out/pruned/model.tar.gz").await;
    delete("sagemaker/pruned/output/model.tar.gz").await;
    submit(&["pruned", "pruned-a2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttles_are_waited_out() {
    let Some(bench) = Bench::new(PROGRAM, options()).await else { return };
    let bench = bench.with_input().await;
    bench.server.throttle(Some("CreateTrainingJob"), 2);
    bench.server.throttle(Some("DescribeTrainingJob"), 1);
    let trainer = bench.trainer();
    trainer.submit(&request("throttled", JobKind::Train, "succeed")).await.unwrap();
    assert_eq!(trainer.wait("throttled", LONG).await.unwrap().state, JobState::Completed);
    assert_eq!(bench.created(), ["throttled"]);
}
