//! `recctl iam`: what a run is allowed, and nothing else.

use serde_json::Value;

use crate::sandbox::Sandbox;

/// A target with everything that a target can have.
pub const TARGET: &str = r#"targets:
  cloud:
    region: eu-central-1
    lake: s3://acme-rec/lake
    s3: {encryption: alias/lake}
    catalog: {glue: {database: rec}}
    warehouse:
      redshift:
        workgroup: rec
        database: dev
        schema: rec
        copy_role: "arn:aws:iam::123456789012:role/recctl-copy"
    trainer:
      sagemaker:
        role: "arn:aws:iam::123456789012:role/recctl-jobs"
        image: "123456789012.dkr.ecr.eu-central-1.amazonaws.com/recctl:0.1"
        instance: ml.m5.xlarge
        spot: true
        kms_key: "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
        registry: {group_prefix: rec-}
    serving: {dynamodb: {table_prefix: rec-}}
    state: {dynamodb: {table: recctl-state}}
    tags: {team: rec}
"#;

/// A project of one table, on a target with nothing that it does not need.
const SMALL: &str = r#"version: 1
targets:
  cloud:
    lake: s3://acme-rec
    catalog: {glue: {database: rec, catalog_id: "999999999999"}}
    state: {dynamodb: {table: recctl-state}}
sources:
  product_feed:
    path: s3://suppliers/feeds/{yyyy}/{MM}/{dd}/
    format: csv
    columns: {item_id: string, name: string, category: string, brand: string, price: double, launched_on: date}
pipelines:
  daily:
    steps:
      products: {sql: sql/daily/products.sql, partition_by: [dt]}
"#;

/// The sample project with these targets.
pub fn with_targets(targets: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let path = sandbox.project().join("pipelines.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("targets:\n").unwrap();
    let (_, after) = rest.split_once("\nsources:\n").unwrap();
    std::fs::write(path, format!("{before}{targets}\nsources:\n{after}")).unwrap();
    sandbox
}

fn small() -> Sandbox {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.project().join("pipelines.yaml"), SMALL).unwrap();
    let query = "SELECT item_id, name, $logical_date AS dt FROM product_feed\n";
    std::fs::write(sandbox.project().join("sql/daily/products.sql"), query).unwrap();
    sandbox
}

#[track_caller]
fn printed(sandbox: &Sandbox, more: &[&str]) -> String {
    let arguments = [&["iam", "daily", "--target", "cloud"], more].concat();
    sandbox.run(&arguments).ends_with(0).stdout
}

#[test]
fn the_policy_of_the_task() {
    let sandbox = with_targets(TARGET);
    let given = ["--workgroup-id", "00000000-1111-2222-3333-444444444444"];
    let ran =
        sandbox.run(&[&["iam", "daily", "--target", "cloud"], &given[..]].concat()).ends_with(0);
    insta::assert_snapshot!(ran.stdout);
    assert_eq!(printed(&sandbox, &given), ran.stdout, "the same every time");
}

#[test]
fn what_doctor_needs_beside() {
    let sandbox = with_targets(TARGET);
    let grants = grants(&printed(&sandbox, &["--doctor", "--json"]));
    let only: Vec<&Value> = grants.iter().filter(|it| it["purpose"] == "doctor").collect();
    insta::assert_snapshot!(serde_json::to_string_pretty(&only).unwrap());
    let run = self::grants(&printed(&sandbox, &["--json"]));
    assert_eq!(run.len() + only.len(), grants.len());
}

#[test]
fn the_roles_that_services_take() {
    let sandbox = with_targets(TARGET);
    insta::assert_snapshot!("policy_of_jobs", printed(&sandbox, &["--role", "jobs"]));
    insta::assert_snapshot!("policy_of_the_warehouse", printed(&sandbox, &["--role", "warehouse"]));
    let trust: Vec<String> = ["task", "jobs", "warehouse"]
        .iter()
        .map(|role| printed(&sandbox, &["--role", role, "--trust"]))
        .collect();
    insta::assert_snapshot!("trust", trust.join("\n"));
}

#[test]
fn a_small_target_needs_little_and_says_what_is_not_known() {
    let sandbox = small();
    let ran = sandbox.run(&["iam", "daily", "--target", "cloud"]).ends_with(0);
    insta::assert_snapshot!(ran.stdout);
    for told in ["${Account} is not known here: --account", "${Region} is not known here: --region"]
    {
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
    }
    let given = ["--account", "123456789012", "--region", "cn-north-1"];
    let ran =
        sandbox.run(&[&["iam", "daily", "--target", "cloud"], &given[..]].concat()).ends_with(0);
    assert!(!ran.stdout.contains("${"), "{}", ran.stdout);
    assert!(ran.stdout.contains("arn:aws-cn:dynamodb:cn-north-1:123456789012:table/recctl-state"));
    assert!(ran.stdout.contains("arn:aws-cn:glue:cn-north-1:999999999999:database/rec"));
    assert_eq!(ran.stderr, "", "nothing is left to tell");
}

/// Actions that AWS gives no resource to.
const WITHOUT_RESOURCES: [&str; 18] = [
    "cloudwatch:PutMetricData",
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
    "ecr:GetAuthorizationToken",
    "redshift-data:CancelStatement",
    "redshift-data:DescribeStatement",
    "redshift-data:GetStatementResult",
    "redshift-data:ListStatements",
    "sagemaker:ListHyperParameterTuningJobs",
    "sagemaker:ListProcessingJobs",
    "sagemaker:ListTrainingJobs",
];

#[test]
fn no_action_is_a_pattern_and_resources_are_named() {
    let sandbox = with_targets(TARGET);
    sandbox.edit(
        "pipelines.yaml",
        "        spot: true\n",
        "        spot: true\n        network: {subnets: [subnet-1], security_groups: [sg-1]}\n",
    );
    let mut seen = 0;
    for role in ["task", "jobs", "warehouse"] {
        for grant in grants(&printed(&sandbox, &["--role", role, "--doctor", "--json"])) {
            let texts = |field: &str| -> Vec<String> {
                let values = grant[field].as_array().unwrap();
                values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
            };
            let sid = grant["sid"].as_str().unwrap();
            assert!(sid.bytes().all(|byte| byte.is_ascii_alphanumeric()), "IAM refuses `{sid}`");
            assert!(!grant["why"].as_str().unwrap().is_empty());
            for action in texts("actions") {
                seen += 1;
                assert!(action.contains(':') && !action.contains('*'), "{action}");
                let known = WITHOUT_RESOURCES.contains(&action.as_str())
                    || action == "servicequotas:ListServiceQuotas";
                for resource in texts("resources") {
                    assert_eq!(resource == "*", known, "{action} on {resource}");
                    assert!(known || resource.starts_with("arn:aws:"), "{resource}");
                }
            }
        }
    }
    assert!(seen > 80, "{seen} actions");
}

#[test]
fn clusters_log_in_in_another_way() {
    let sandbox = with_targets(TARGET);
    let login = |sandbox: &Sandbox| -> Value {
        let grants = grants(&printed(sandbox, &["--json"]));
        let found = grants.iter().find(|it| it["why"] == "credentials for the warehouse");
        serde_json::json!([found.unwrap()["actions"], found.unwrap()["resources"]])
    };
    sandbox.edit("pipelines.yaml", "workgroup: rec\n", "cluster: dw\n        user: loader\n");
    insta::assert_snapshot!(login(&sandbox), @r#"[["redshift:GetClusterCredentials"],["arn:aws:redshift:eu-central-1:123456789012:dbuser:dw/loader","arn:aws:redshift:eu-central-1:123456789012:dbname:dw/dev"]]"#);
    sandbox.edit("pipelines.yaml", "        user: loader\n", "        secret: dw-loader\n");
    insta::assert_snapshot!(login(&sandbox), @r#"[["secretsmanager:GetSecretValue"],["arn:aws:secretsmanager:eu-central-1:123456789012:secret:dw-loader-??????"]]"#);
}

#[test]
fn a_long_policy_comes_in_parts() {
    let sandbox = with_targets(TARGET);
    // Names as long as names can be make ARNs that one policy does not hold.
    let long = format!("lake: s3://acme-rec/{}", "a-long-way-down/".repeat(12));
    sandbox.edit("pipelines.yaml", "lake: s3://acme-rec/lake", &long);
    let ran = sandbox.run(&["iam", "daily", "--target", "cloud"]).ends_with(0);
    let policies: Value = serde_json::from_str(&ran.stdout).unwrap();
    let policies = policies.as_array().expect("a list");
    assert!(policies.len() > 1);
    for policy in policies {
        assert_eq!(policy["Version"], "2012-10-17");
        assert!(policy.to_string().len() <= 6_144);
    }
    assert!(
        ran.stderr.contains("policies, as one may have 6144 characters: attach all"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_has_no_policy_is_2() {
    let sandbox = small();
    for (arguments, told) in [
        (&["iam", "daily"][..], "the embedded target needs no permissions"),
        (&["iam", "dayly", "--target", "cloud"], "did you mean `daily`?"),
        (&["iam", "daily", "--target", "clowd"], "did you mean `cloud`?"),
        (&["iam", "daily", "--target", "cloud", "--role", "jobs"], "needs no such role on `cloud`"),
        (&["iam", "daily", "--target", "cloud", "--account", "12"], "the 12 digits of an account"),
        (&["iam", "daily", "--target", "cloud", "--trust", "--json"], "cannot be used with"),
    ] {
        let ran = sandbox.run(arguments).ends_with(2);
        assert!(ran.stderr.contains(told), "{arguments:?}:\n{}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
}

fn grants(json: &str) -> Vec<Value> {
    let whole: Value = serde_json::from_str(json).unwrap();
    assert_eq!(whole["version"], 1);
    whole["grants"].as_array().unwrap().clone()
}
