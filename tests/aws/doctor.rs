//! `recctl doctor --target aws`: buckets, tables and the catalog from a stand-in; IAM, the quotas,
//! images and the warehouse from a server that says what a test wants to hear.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use hyper::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use stand_ins::http::{Handler, Request, Response, Server};
use stand_ins::recorder::Recorder;
use stand_ins::stack::{self, REGION, Stack};

use crate::cli::iam::{TARGET, with_targets};
use crate::sandbox::{Ran, Sandbox};

const TASK: &str = "arn:aws:iam::123456789012:role/data/recctl-task";
const JOBS: &str = "arn:aws:iam::123456789012:role/recctl-jobs";
const COPY: &str = "arn:aws:iam::123456789012:role/recctl-copy";
const WORKGROUP: &str = "00000000-1111-2222-3333-444444444444";

/// What the server says.
#[derive(Debug)]
struct Script {
    /// Policies by role.
    policies: BTreeMap<&'static str, Vec<Value>>,
    /// Trust policies by role; one without does not exist.
    trust: BTreeMap<&'static str, String>,
    /// Whether anybody may simulate.
    simulates: bool,
    /// Quotas by name; all others are 20.
    quotas: BTreeMap<&'static str, f64>,
    /// The tag of the image that is there.
    tag: &'static str,
    /// How `SELECT 1` ends.
    statement: &'static str,
    /// Operations that were asked for.
    asked: Mutex<Vec<String>>,
}

impl Handler for Script {
    fn handle(
        self: Arc<Self>,
        request: Request,
    ) -> Pin<Box<dyn Future<Output = Response> + Send + 'static>> {
        let response = match request.operation() {
            Some(operation) => {
                self.asked.lock().unwrap().push(operation.to_owned());
                self.json(operation, &request.json())
            }
            None => {
                let form: BTreeMap<String, String> =
                    url::form_urlencoded::parse(&request.body).into_owned().collect();
                let action = form.get("Action").cloned().unwrap_or_default();
                self.asked.lock().unwrap().push(action.clone());
                self.query(&action, &form)
            }
        };
        Box::pin(std::future::ready(response))
    }
}

impl Script {
    /// Services that speak JSON.
    fn json(&self, operation: &str, body: &Value) -> Response {
        match operation {
            "ListServiceQuotas" => {
                let from: usize =
                    body["NextToken"].as_str().map_or(0, |token| token.parse().unwrap());
                let names = [
                    "ml.m5.xlarge for endpoint usage",
                    "ml.m5.xlarge for spot training job usage",
                    "ml.m5.xlarge for processing job usage",
                    "ml.m5.xlarge for training job usage",
                ];
                let name = names[from];
                let value = self.quotas.get(name).copied().unwrap_or(20.0);
                let next = (from + 1 < names.len()).then(|| (from + 1).to_string());
                let quota = json!({"QuotaName": name, "Value": value});
                Response::json(&json!({"Quotas": [quota], "NextToken": next}))
            }
            "DescribeImages" if body["imageIds"][0]["imageTag"] == self.tag => {
                Response::json(&json!({"imageDetails": [{"imageSizeInBytes": 34_000_000}]}))
            }
            "DescribeImages" => Response::error(400, "ImageNotFoundException", "no such image"),
            "ExecuteStatement" => {
                assert_eq!(body["Sql"], "SELECT 1");
                Response::json(&json!({"Id": "1"}))
            }
            "DescribeStatement" => Response::json(
                &json!({"Id": "1", "Status": self.statement, "Error": "permission denied"}),
            ),
            "DescribeTrainingJob" => {
                Response::error(400, "ValidationException", "Requested resource not found.")
            }
            other => panic!("nobody should ask for {other}"),
        }
    }

    /// Services that speak XML.
    fn query(&self, action: &str, form: &BTreeMap<String, String>) -> Response {
        let result = match action {
            "GetCallerIdentity" => "<Account>123456789012</Account><UserId>AROA:task</UserId>\
                <Arn>arn:aws:sts::123456789012:assumed-role/recctl-task/0f3e</Arn>"
                .to_owned(),
            "GetRole" => {
                let name = &form["RoleName"];
                let role = [TASK, JOBS, COPY].into_iter().find(|arn| arn.ends_with(name.as_str()));
                let Some((arn, trust)) = role.and_then(|arn| Some((arn, self.trust.get(arn)?)))
                else {
                    return error(404, "NoSuchEntity", "there is no such role");
                };
                let trust: String =
                    url::form_urlencoded::byte_serialize(trust.as_bytes()).collect();
                format!(
                    "<Role><Path>/</Path><RoleName>{name}</RoleName><RoleId>AROA</RoleId><Arn>{arn}</Arn>\
                     <CreateDate>2026-01-01T00:00:00Z</CreateDate>\
                     <AssumeRolePolicyDocument>{}</AssumeRolePolicyDocument></Role>",
                    trust.replace('+', "%20")
                )
            }
            "SimulatePrincipalPolicy" if self.simulates => self.simulate(form),
            "SimulatePrincipalPolicy" => {
                return error(
                    403,
                    "AccessDenied",
                    "not authorized to perform iam:SimulatePrincipalPolicy",
                );
            }
            other => panic!("nobody should ask for {other}"),
        };
        xml(
            200,
            &format!(
                "<{action}Response><{action}Result>{result}</{action}Result></{action}Response>"
            ),
        )
    }

    /// Does what IAM does with policies that only allow.
    fn simulate(&self, form: &BTreeMap<String, String>) -> String {
        let list = |prefix: &str| -> Vec<&str> {
            let member = |at: usize| form.get(&format!("{prefix}.member.{at}"));
            (1..).map_while(member).map(String::as_str).collect()
        };
        let context: BTreeMap<&str, &str> = (1..)
            .map(|at| format!("ContextEntries.member.{at}"))
            .map_while(|entry| {
                let key = form.get(&format!("{entry}.ContextKeyName"))?;
                Some((key.as_str(), form[&format!("{entry}.ContextKeyValues.member.1")].as_str()))
            })
            .collect();
        let none = Vec::new();
        let statements = self.policies.get(form["PolicySourceArn"].as_str()).unwrap_or(&none);
        let mut resources = list("ResourceArns");
        if resources.is_empty() {
            resources.push("*");
        }
        let mut results = String::new();
        for action in list("ActionNames") {
            for resource in &resources {
                let allowed = statements.iter().any(|it| allows(it, action, resource, &context));
                let decision = if allowed { "allowed" } else { "implicitDeny" };
                results.push_str(&format!(
                    "<member><EvalActionName>{action}</EvalActionName>\
                     <EvalResourceName>{resource}</EvalResourceName>\
                     <EvalDecision>{decision}</EvalDecision></member>"
                ));
            }
        }
        format!("<IsTruncated>false</IsTruncated><EvaluationResults>{results}</EvaluationResults>")
    }
}

/// Whether a statement of `recctl iam` allows a request.
fn allows(statement: &Value, action: &str, resource: &str, context: &BTreeMap<&str, &str>) -> bool {
    let any = |values: &Value, text: &str| {
        values.as_array().unwrap().iter().any(|it| matches(it.as_str().unwrap(), text))
    };
    let conditions = statement["Condition"].as_object().into_iter().flatten();
    let mut fulfilled = conditions.flat_map(|(operator, keys)| {
        let keys = keys.as_object().unwrap().iter();
        keys.map(move |(key, values)| match context.get(key.as_str()) {
            Some(value) => any(values, value),
            None => operator.ends_with("IfExists"),
        })
    });
    any(&statement["Action"], action)
        && any(&statement["Resource"], resource)
        && fulfilled.all(|one| one)
}

/// Whether a text fits a pattern with `*` and `?`.
pub fn matches(pattern: &str, text: &str) -> bool {
    let escaped = regex::escape(pattern).replace(r"\*", ".*").replace(r"\?", ".");
    regex::Regex::new(&format!("^{escaped}$")).unwrap().is_match(text)
}

fn xml(status: u16, body: &str) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "text/xml".parse().unwrap());
    Response {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: body.to_owned().into(),
    }
}

fn error(status: u16, code: &str, message: &str) -> Response {
    let error = format!(
        "<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    xml(status, &format!("<ErrorResponse>{error}<RequestId>1</RequestId></ErrorResponse>"))
}

/// A project whose target has its lake in a bucket, and who may do what.
struct World {
    sandbox: Sandbox,
    bucket: String,
    stack: &'static Stack,
    account: String,
    script: Script,
}

impl World {
    /// Everything is as `recctl iam` says; the bucket is not there yet.
    fn new(stack: &'static Stack) -> Self {
        let bucket = stack::bucket_name("doctor");
        let target = TARGET
            .replace("acme-rec", &bucket)
            .replace("{encryption: alias/lake}", "{encryption: alias/lake, path_style: true}");
        let sandbox = with_targets(&target);
        let iam = |more: &[&str]| -> Value {
            let arguments = ["iam", "daily", "--target", "cloud", "--workgroup-id", WORKGROUP];
            let ran = sandbox.run(&[&arguments, more].concat()).ends_with(0);
            let filled = ran.stdout.replace("${TaskRole}", "data/recctl-task");
            serde_json::from_str(&filled).unwrap()
        };
        let mut policies = BTreeMap::new();
        let mut trust = BTreeMap::new();
        for (role, arn) in [("task", TASK), ("jobs", JOBS), ("warehouse", COPY)] {
            let whole = iam(&["--role", role, "--doctor", "--json"]);
            let documents = whole["policies"].as_array().unwrap();
            let statements = documents.iter().flat_map(|it| it["Statement"].as_array().unwrap());
            policies.insert(arn, statements.cloned().collect());
            trust.insert(arn, whole["trust"].to_string());
        }
        let script = Script {
            policies,
            trust,
            simulates: true,
            quotas: BTreeMap::new(),
            tag: "0.1",
            statement: "FINISHED",
            asked: Mutex::default(),
        };
        Self { sandbox, bucket, stack, account: stack::account(), script }
    }

    async fn make_bucket(&self, region: &str) {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(Credentials::new(&self.account, "secret", None, None, "test"))
            .region(Region::new(region.to_owned()))
            .endpoint_url(self.stack.ministack())
            .force_path_style(true)
            .build();
        let place = CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::from(region))
            .build();
        aws_sdk_s3::Client::from_conf(config)
            .create_bucket()
            .bucket(&self.bucket)
            .create_bucket_configuration(place)
            .send()
            .await
            .unwrap();
    }

    async fn make_table(&self, name: &str, provisioned: Option<i64>) {
        use aws_sdk_dynamodb::types as t;
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(Credentials::new(&self.account, "secret", None, None, "test"))
            .region(Region::new(REGION))
            .endpoint_url(self.stack.ministack())
            .build();
        let mut request =
            aws_sdk_dynamodb::Client::from_conf(config).create_table().table_name(name);
        for (key, kind) in [("pk", t::KeyType::Hash), ("sk", t::KeyType::Range)] {
            let schema = t::KeySchemaElement::builder().attribute_name(key).key_type(kind);
            let definition = t::AttributeDefinition::builder()
                .attribute_name(key)
                .attribute_type(t::ScalarAttributeType::S);
            request = request
                .key_schema(schema.build().unwrap())
                .attribute_definitions(definition.build().unwrap());
        }
        let request = match provisioned {
            Some(units) => {
                let throughput = t::ProvisionedThroughput::builder()
                    .read_capacity_units(units)
                    .write_capacity_units(units);
                request.provisioned_throughput(throughput.build().unwrap())
            }
            None => request.billing_mode(t::BillingMode::PayPerRequest),
        };
        request.send().await.unwrap();
    }

    /// Runs doctor, and returns what was asked of the server too.
    fn doctor(self, more: &[&str]) -> (Ran, Vec<String>) {
        let script = Arc::new(self.script);
        let server = Server::start(Arc::clone(&script)).unwrap();
        let recorder = Recorder::start(&self.stack.ministack()).unwrap();
        let mut variables = self.stack.variables(&self.account);
        for service in ["STS", "IAM", "SERVICE_QUOTAS", "ECR", "REDSHIFT_DATA", "SAGEMAKER"] {
            variables = variables.with(service, &server.url());
        }
        for service in ["S3", "GLUE", "DYNAMODB"] {
            variables = variables.with(service, &recorder.url());
        }
        let arguments = [&["doctor", "daily", "--target", "cloud"], more].concat();
        let mut command = self.sandbox.command(&arguments);
        command.envs(variables);
        let mut ran = crate::sandbox::ran(command);
        ran.stdout = ran.stdout.replace(&self.bucket, "BUCKET");
        drop(server);
        assert!(recorder.requests().len() > 3, "it looked: {:?}", recorder.requests());
        assert!(recorder.mutating().is_empty(), "{:?}", recorder.mutating());
        let asked = script.asked.lock().unwrap().clone();
        (ran, asked)
    }
}

#[tokio::test]
async fn what_iam_prints_is_what_doctor_wants() {
    let Some(stack) = stack::or_skip() else { return };
    let world = World::new(stack);
    world.make_bucket(REGION).await;
    let (ran, asked) = world.doctor(&["--deep"]);
    insta::assert_snapshot!(ran.stdout);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let reads = ["Describe", "Get", "List", "Simulate"];
    for operation in asked {
        let reads = reads.iter().any(|verb| operation.starts_with(verb));
        assert!(reads || operation == "ExecuteStatement", "{operation}");
    }
}

#[tokio::test]
async fn what_is_missing_comes_with_what_to_do() {
    let Some(stack) = stack::or_skip() else { return };
    let mut world = World::new(stack);
    world.make_bucket("eu-west-1").await;
    world.make_table("recctl-state", None).await;
    world.make_table("rec-recommendations", Some(5)).await;
    world.sandbox.edit(
        "pipelines.yaml",
        "{table_prefix: rec-}",
        "{table_prefix: rec-, max_write_units: 500}",
    );
    let script = &mut world.script;
    let without = |statements: &mut Vec<Value>, sid: &str| {
        let before = statements.len();
        statements.retain(|statement| statement["Sid"] != sid);
        assert_eq!(statements.len(), before - 1, "{sid}");
    };
    without(script.policies.get_mut(TASK).unwrap(), "S3Write");
    without(script.policies.get_mut(TASK).unwrap(), "IamPassRole");
    without(script.policies.get_mut(TASK).unwrap(), "QuotasDoctor");
    without(script.policies.get_mut(JOBS).unwrap(), "EcrPull");
    let ecs = script.trust[TASK].clone();
    script.trust.insert(JOBS, ecs);
    script.trust.remove(COPY);
    script.quotas.insert("ml.m5.xlarge for spot training job usage", 0.0);
    script.quotas.insert("ml.m5.xlarge for processing job usage", 1.0);
    script.tag = "0.2";
    script.statement = "FAILED";
    let (ran, _) = world.doctor(&["--deep"]);
    insta::assert_snapshot!(ran.stdout);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
}

#[tokio::test]
async fn where_nothing_can_be_simulated_what_can_be_read_is_tried() {
    let Some(stack) = stack::or_skip() else { return };
    let mut world = World::new(stack);
    world.make_bucket(REGION).await;
    world.script.simulates = false;
    let (ran, asked) = world.doctor(&["--log-format", "json"]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    let lines: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let about = |subject: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["subject"] == subject).collect()
    };
    let permissions = about("permissions");
    assert_eq!(permissions.len(), 1, "told once: {permissions:?}");
    assert_eq!(permissions[0]["state"], "unknown");
    let hint = permissions[0]["hint"].as_str().unwrap();
    assert!(hint.contains("allow `iam:SimulatePrincipalPolicy`"), "{hint}");
    for probe in ["probe S3List", "probe SageMakerTraining"] {
        assert_eq!(about(probe)[0]["state"], "ok", "{}", ran.stdout);
    }
    assert_eq!(about("warehouse rec")[0]["state"], "unknown", "no statement without --deep");
    assert!(!asked.contains(&"ExecuteStatement".to_owned()), "{asked:?}");
}

#[tokio::test]
async fn another_role_may_be_looked_at() {
    let Some(stack) = stack::or_skip() else { return };
    let world = World::new(stack);
    let (ran, _) = world.doctor(&["--role", JOBS]);
    let told = "fail     permission S3Write: tables, data sets, models and what they recommend, in \
                the lake: denied `s3:AbortMultipartUpload`, `s3:DeleteObject` and 2 more on `arn:";
    assert!(ran.stdout.contains(told), "{}", ran.stdout);
    assert!(ran.stdout.contains("hint: attach what `recctl iam` prints to `recctl-jobs`"));
    assert!(
        ran.stdout.contains("fail     bucket BUCKET: there is no such bucket"),
        "{}",
        ran.stdout
    );
    assert_eq!(ran.code, 2);
}

#[test]
fn without_credentials_nothing_else_is_checked() {
    let sandbox = with_targets(TARGET);
    let mut command = sandbox.command(&["doctor", "daily", "--target", "cloud"]);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    let ran = crate::sandbox::ran(command).ends_with(2);
    assert!(
        ran.stdout.starts_with("fail     identity: cannot find out who is asking: "),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.ends_with("1 check, 1 failed\n"), "{}", ran.stdout);
}

#[test]
fn the_embedded_target_is_looked_at_too() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&["doctor"]).ends_with(0);
    assert!(ran.stdout.contains(".recctl: will be made"), "{}", ran.stdout);
    assert!(!sandbox.home().exists(), "looking makes nothing");
    let ran = Sandbox::prepared().run(&["doctor", "daily"]).ends_with(0);
    assert!(ran.stdout.contains("ok       lease: nobody is running"), "{}", ran.stdout);
}
