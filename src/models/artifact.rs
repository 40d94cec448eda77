//! Saves a model to a folder and loads it again.
//!
//! The folder holds `model.json` and flat arrays (see `arrays`); neither carries a time or a
//! machine's name, so equal training gives equal bytes. Text ids are in `users.bin` and
//! `items.bin`, ascending; every number in the other files is a place in one of these.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::als::Als;
use super::arrays;
use super::buy_again::BuyAgain;
use super::error::ModelError;
use super::item_knn::ItemKnn;
use super::model::{Model, Recommender};
use super::popularity::Popularity;
use super::segments::Segment;
use super::settings::Settings;
use super::sparse::SparseRows;
use super::top::Scored;
use super::vocabulary::Vocabulary;
use crate::pipeline::job::{Algorithm, Hyperparameters};

/// Raised when a folder of the older kind could no longer be read.
const FORMAT_VERSION: u32 = 1;

/// What `model.json` holds.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format_version: u32,
    created_by: String,
    algorithm: Algorithm,
    hyperparameters: Hyperparameters,
    users: usize,
    items: usize,
    interactions: usize,
}

/// One segment's share of the segment arrays of a popularity model.
#[derive(Debug, Serialize, Deserialize)]
struct SegmentEntry {
    segment: Segment,
    items: usize,
}

impl Model {
    /// Writes the model to `folder`, which is created if need be; files of the same names are
    /// replaced.
    ///
    /// # Errors
    /// `Io` when a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), ModelError> {
        std::fs::create_dir_all(folder).map_err(ModelError::io("create", folder))?;
        arrays::write_text(&folder.join("users.bin"), self.users.ids())?;
        arrays::write_text(&folder.join("items.bin"), self.items.ids())?;
        match &self.recommender {
            Recommender::Popularity(model) => save_popularity(folder, model)?,
            Recommender::BuyAgain(model) => save_rows(folder, "ranked", model.ranked())?,
            Recommender::ItemKnn(model) => {
                save_rows(folder, "history", model.history())?;
                save_rows(folder, "similarity", model.similarity())?;
            }
            Recommender::Als(model) => {
                arrays::write(&folder.join("user_factors.bin"), model.users().iter().copied())?;
                arrays::write(&folder.join("item_factors.bin"), model.items().iter().copied())?;
            }
        }
        // Last, so that a folder with a manifest is a whole one.
        write_json(
            &folder.join("model.json"),
            &Manifest {
                format_version: FORMAT_VERSION,
                created_by: format!("recctl {}", env!("CARGO_PKG_VERSION")),
                algorithm: self.algorithm,
                hyperparameters: self.hyperparameters().clone(),
                users: self.users.len(),
                items: self.items.len(),
                interactions: self.interactions,
            },
        )
    }

    /// Loads a model that [`Model::save`] wrote.
    ///
    /// # Errors
    /// `Artifact` when the folder is of another format version or damaged, `Io`.
    pub fn load(folder: &Path) -> Result<Self, ModelError> {
        let manifest = read_manifest(&folder.join("model.json"))?;
        let users = vocabulary(&folder.join("users.bin"), manifest.users)?;
        let items = vocabulary(&folder.join("items.bin"), manifest.items)?;
        let settings = Settings::new(manifest.algorithm, &manifest.hyperparameters)
            .map_err(|error| ModelError::artifact(&folder.join("model.json"), error.to_string()))?;
        let recommender = match manifest.algorithm {
            Algorithm::Popularity => Recommender::Popularity(load_popularity(folder, items.len())?),
            Algorithm::BuyAgain => Recommender::BuyAgain(BuyAgain::from_parts(load_rows(
                folder,
                "ranked",
                users.len(),
                items.len(),
            )?)),
            Algorithm::ItemKnn => Recommender::ItemKnn(ItemKnn::from_parts(
                load_rows(folder, "history", users.len(), items.len())?,
                load_rows(folder, "similarity", items.len(), items.len())?,
            )),
            Algorithm::Als => {
                Recommender::Als(load_als(folder, &settings, users.len(), items.len())?)
            }
        };
        Ok(Self {
            settings,
            algorithm: manifest.algorithm,
            users: Arc::new(users),
            items: Arc::new(items),
            interactions: manifest.interactions,
            recommender,
        })
    }
}

pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), ModelError> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| ModelError::artifact(path, error.to_string()))?;
    text.push('\n');
    std::fs::write(path, text).map_err(ModelError::io("write", path))
}

fn read_manifest(path: &Path) -> Result<Manifest, ModelError> {
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    let text = std::fs::read_to_string(path).map_err(ModelError::io("read", path))?;
    let damaged = |error: serde_json::Error| {
        ModelError::artifact(path, format!("is not a model manifest ({error})"))
    };
    // The version first: a later format may have fields this recctl cannot read.
    let Version { format_version } = serde_json::from_str(&text).map_err(damaged)?;
    if format_version != FORMAT_VERSION {
        return Err(ModelError::artifact(
            path,
            format!(
                "has format version {format_version}, this recctl reads version {FORMAT_VERSION}"
            ),
        ));
    }
    serde_json::from_str(&text).map_err(damaged)
}

fn vocabulary(path: &Path, expected: usize) -> Result<Vocabulary, ModelError> {
    let ids = arrays::read_text(path)?;
    if ids.len() != expected {
        return Err(ModelError::artifact(
            path,
            format!("has {} ids, `model.json` says {expected}", ids.len()),
        ));
    }
    Vocabulary::from_sorted(ids)
        .ok_or_else(|| ModelError::artifact(path, "has ids that do not ascend"))
}

fn save_rows(folder: &Path, name: &str, rows: &SparseRows) -> Result<(), ModelError> {
    let file = |part: &str| folder.join(format!("{name}_{part}.bin"));
    arrays::write(&file("offsets"), rows.offsets().iter().map(|offset| *offset as u64))?;
    arrays::write(&file("columns"), rows.columns().iter().copied())?;
    arrays::write(&file("values"), rows.values().iter().copied())
}

fn load_rows(
    folder: &Path,
    name: &str,
    rows: usize,
    width: usize,
) -> Result<SparseRows, ModelError> {
    let file = |part: &str| folder.join(format!("{name}_{part}.bin"));
    let offsets =
        arrays::read::<u64>(&file("offsets"))?.into_iter().map(|offset| offset as usize).collect();
    let columns = arrays::read(&file("columns"))?;
    let values = arrays::read(&file("values"))?;
    SparseRows::from_parts(offsets, columns, values, rows, width)
        .map_err(|what| ModelError::artifact(&file("offsets"), what))
}

fn save_popularity(folder: &Path, model: &Popularity) -> Result<(), ModelError> {
    save_ranking(folder, "overall", model.overall())?;
    let lists: Vec<Scored> = model.segments().values().flatten().copied().collect();
    save_ranking(folder, "segment", &lists)?;
    let entries = model.segments().iter();
    let entries =
        entries.map(|(segment, list)| SegmentEntry { segment: segment.clone(), items: list.len() });
    write_json(&folder.join("segments.json"), &entries.collect::<Vec<_>>())
}

fn load_popularity(folder: &Path, items: usize) -> Result<Popularity, ModelError> {
    let path = folder.join("segments.json");
    let text = std::fs::read_to_string(&path).map_err(ModelError::io("read", &path))?;
    let entries: Vec<SegmentEntry> = serde_json::from_str(&text).map_err(|error| {
        ModelError::artifact(&path, format!("is not a list of segments ({error})"))
    })?;
    let mut lists = load_ranking(folder, "segment", items)?.into_iter();
    let mut segments = BTreeMap::new();
    for entry in entries {
        let list: Vec<Scored> = lists.by_ref().take(entry.items).collect();
        if list.len() != entry.items {
            return Err(ModelError::artifact(
                &path,
                "announces more items than `segment_items.bin` has",
            ));
        }
        segments.insert(entry.segment, list);
    }
    Ok(Popularity::from_parts(load_ranking(folder, "overall", items)?, segments))
}

fn save_ranking(folder: &Path, name: &str, ranking: &[Scored]) -> Result<(), ModelError> {
    arrays::write(
        &folder.join(format!("{name}_items.bin")),
        ranking.iter().map(|scored| scored.item),
    )?;
    arrays::write(
        &folder.join(format!("{name}_scores.bin")),
        ranking.iter().map(|scored| scored.score),
    )
}

fn load_ranking(folder: &Path, name: &str, items: usize) -> Result<Vec<Scored>, ModelError> {
    let path = folder.join(format!("{name}_items.bin"));
    let numbers: Vec<u32> = arrays::read(&path)?;
    let scores: Vec<f64> = arrays::read(&folder.join(format!("{name}_scores.bin")))?;
    if numbers.len() != scores.len() {
        return Err(ModelError::artifact(
            &path,
            format!("{} items against {} scores", numbers.len(), scores.len()),
        ));
    }
    if numbers.iter().any(|item| *item as usize >= items) {
        return Err(ModelError::artifact(&path, format!("an item number is not below {items}")));
    }
    Ok(numbers.into_iter().zip(scores).map(|(item, score)| Scored { item, score }).collect())
}

fn load_als(
    folder: &Path,
    settings: &Settings,
    users: usize,
    items: usize,
) -> Result<Als, ModelError> {
    let factors: usize = settings.number("factors")?;
    let read = |name: &str, rows: usize| {
        let path = folder.join(name);
        let values: Vec<f32> = arrays::read(&path)?;
        if rows.checked_mul(factors) == Some(values.len()) {
            Ok(values)
        } else {
            Err(ModelError::artifact(
                &path,
                format!("has {} numbers for {rows} rows of {factors}", values.len()),
            ))
        }
    };
    let (users, items) = (read("user_factors.bin", users)?, read("item_factors.bin", items)?);
    Als::from_parts(factors, users, items)
        .ok_or_else(|| ModelError::artifact(folder, "has vectors without length"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::SegmentWeights;
    use crate::models::tests::planted;

    fn fit(algorithm: Algorithm) -> Model {
        let segments = SegmentWeights::from_rows([
            (Some("de"), None, "i0003", 2.0),
            (Some("de"), Some("tv"), "only here", 1.0),
        ]);
        Model::fit(
            algorithm,
            &planted(20, 10, 1),
            Some(&segments),
            &Hyperparameters::new(),
            &mut |_| {},
        )
        .unwrap()
    }

    fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        entries
            .map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap()))
            .collect()
    }

    #[test]
    fn every_algorithm_round_trips_and_equal_training_gives_equal_bytes() {
        for algorithm in Algorithm::ALL {
            let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let model = fit(algorithm);
            model.save(first.path()).unwrap();
            fit(algorithm).save(second.path()).unwrap();
            assert!(files(first.path()).len() >= 4);
            assert_eq!(files(first.path()), files(second.path()), "{algorithm}");
            assert_eq!(Model::load(first.path()).unwrap(), model, "{algorithm}");
        }
    }

    #[test]
    fn the_manifest_says_what_the_model_is() {
        let folder = tempfile::tempdir().unwrap();
        fit(Algorithm::BuyAgain).save(folder.path()).unwrap();
        let manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.path().join("model.json")).unwrap())
                .unwrap();
        assert_eq!(manifest["format_version"], 1);
        assert_eq!(manifest["algorithm"], "buy_again");
        assert_eq!((manifest["users"].as_u64(), manifest["items"].as_u64()), (Some(20), Some(10)));
    }

    fn failure(change: impl FnOnce(&Path)) -> String {
        let folder = tempfile::tempdir().unwrap();
        fit(Algorithm::ItemKnn).save(folder.path()).unwrap();
        change(folder.path());
        let error = Model::load(folder.path()).unwrap_err();
        error.to_string().replace(&folder.path().display().to_string(), "DIR")
    }

    #[test]
    fn another_version_and_damage_are_named() {
        let replace = |folder: &Path, from: &str, to: &str| {
            let path = folder.join("model.json");
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(from));
            std::fs::write(&path, text.replace(from, to)).unwrap();
        };
        assert_eq!(
            failure(|folder| replace(folder, "\"format_version\": 1", "\"format_version\": 9")),
            "artifact `DIR/model.json`: has format version 9, this recctl reads version 1"
        );
        assert_eq!(
            failure(|folder| replace(folder, "\"users\": 20", "\"users\": 21")),
            "artifact `DIR/users.bin`: has 20 ids, `model.json` says 21"
        );
        assert_eq!(
            failure(|folder| replace(folder, "\"neighbours\": \"50\"", "\"neighbours\": \"0\"")),
            "artifact `DIR/model.json`: hyperparameter `neighbours` is `0`, expected a whole number from 1 to 10000"
        );
        assert_eq!(
            failure(|folder| std::fs::remove_file(folder.join("model.json")).unwrap()),
            "could not read `DIR/model.json`"
        );
        assert_eq!(
            failure(|folder| arrays::write(
                &folder.join("similarity_columns.bin"),
                [77_u32].into_iter()
            )
            .unwrap())
            .split_once(": ")
            .unwrap()
            .0,
            "artifact `DIR/similarity_offsets.bin`"
        );
    }
}
