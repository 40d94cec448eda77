//! The model registry in SageMaker.

use std::sync::Arc;

use recctl::adapters::aws::SageMakerModelRegistry;
use recctl::pipeline::target::{RegistryOptions, SageMakerOptions};
use recctl::ports::{Approval, ModelRegistry};

use super::trainer::{Bench, options};
use crate::contract::registry::{model, registry_contract};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract() {
    let Some(bench) = Bench::new("", options()).await else { return };
    registry_contract(async || {
        Arc::new(SageMakerModelRegistry::new(&bench.session).unwrap()) as Arc<dyn ModelRegistry>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_hold_figures_and_wait_for_approval() {
    let Some(bench) = Bench::new("", options()).await else { return };
    let registry = SageMakerModelRegistry::new(&bench.session).unwrap();
    let version = registry.register(&model("daily-winner", "models/a/model.tar.gz", 0)).await;
    assert_eq!(version.unwrap().approval, Approval::Pending);
    let asked = bench.server.requests();
    let asked = asked.iter().find(|request| request.operation == "CreateModelPackage").unwrap();
    assert_eq!(asked.body["ModelPackageGroupName"], "rec-daily-winner");
    let properties = &asked.body["CustomerMetadataProperties"];
    assert_eq!(properties["metric:ndcg@10"], "0.25");
    assert_eq!(properties["hyperparameter:factors"], "32");
    let container = &asked.body["InferenceSpecification"]["Containers"][0];
    assert_eq!(container["ModelDataUrl"], bench.url("models/a/model.tar.gz"));
    let figures = &asked.body["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"];
    let figures = bench.buckets.get(figures.as_str().unwrap()).await.unwrap();
    let figures: serde_json::Value = serde_json::from_slice(&figures).unwrap();
    assert_eq!(figures["entry"]["metrics"]["recall@10"], 0.5);
    // Registering the same again changes nothing in SageMaker.
    bench.server.clear_requests();
    registry.register(&model("daily-winner", "models/a/model.tar.gz", 5)).await.unwrap();
    assert!(!bench.server.requests().iter().any(|request| request.mutating));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_can_be_approved_at_once() {
    let registry = RegistryOptions { group_prefix: String::new(), approve: true };
    let options = SageMakerOptions { registry: Some(registry), ..options() };
    let Some(bench) = Bench::new("", options).await else { return };
    let registry = SageMakerModelRegistry::new(&bench.session).unwrap();
    let version = registry.register(&model("daily-winner", "models/a/model.tar.gz", 0)).await;
    assert_eq!(version.unwrap().approval, Approval::Approved);
}
