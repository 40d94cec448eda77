use std::sync::Arc;

use recctl::adapters::local::SqliteModelRegistry;
use recctl::ports::{ModelEntry, ModelRegistry};

use super::at;

pub fn model(group: &str, artifact: &str, seconds: i64) -> ModelEntry {
    ModelEntry {
        group: group.to_owned(),
        artifact: artifact.to_owned(),
        algorithm: "als".to_owned(),
        hyperparameters: [("factors".to_owned(), "32".to_owned())].into(),
        metrics: [("ndcg@10".to_owned(), 0.25), ("recall@10".to_owned(), 0.5)].into(),
        reason: "als has the highest ndcg@10 of the candidates, 0.2500".to_owned(),
        run: format!("run-{seconds}"),
        registered: at(seconds),
    }
}

/// Versions count from 1 within a group; an artifact is registered once.
pub async fn registry_contract(open: impl AsyncFn() -> Arc<dyn ModelRegistry>) {
    let (registry, other) = (open().await, open().await);
    assert_eq!(registry.versions("daily-winner", 10).await, Ok(vec![]));
    let first =
        registry.register(&model("daily-winner", "models/a/model.tar.gz", 0)).await.unwrap();
    assert_eq!(
        (first.version, &first.entry),
        (1, &model("daily-winner", "models/a/model.tar.gz", 0))
    );
    let second = other.register(&model("daily-winner", "models/b/model.tar.gz", 1)).await.unwrap();
    assert_eq!(second.version, 2);

    // A run that goes on registers the same model again, in other words and at another time.
    let again = model("daily-winner", "models/a/model.tar.gz", 9);
    assert_eq!(registry.register(&again).await, Ok(first.clone()));
    assert_eq!(other.versions("daily-winner", 10).await, Ok(vec![second.clone(), first]));
    assert_eq!(other.versions("daily-winner", 1).await, Ok(vec![second]));

    let elsewhere = other.register(&model("weekly-winner", "models/a/model.tar.gz", 2)).await;
    assert_eq!(elsewhere.unwrap().version, 1);
}

#[tokio::test]
async fn sqlite_model_registry() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("models.db");
    registry_contract(async || {
        Arc::new(SqliteModelRegistry::open(&path).await.unwrap()) as Arc<dyn ModelRegistry>
    })
    .await;
}
