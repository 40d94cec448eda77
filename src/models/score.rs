//! Writes the recommendations of a model for everybody, ready to be loaded somewhere.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use polars::prelude::{
    BatchedWriter, Column, DataFrame, DataType, Field, ParquetWriter, PolarsResult, Schema,
};

use super::error::ModelError;
use super::interactions::Interactions;
use super::model::{Model, Seen};
use super::segments::Segment;
use crate::pipeline::lists::{FALLBACK, ListType, RECOMMENDATIONS};

/// Rows held in memory and written as one row group.
const ROWS_PER_GROUP: usize = 262_144;

/// Says what to score and where to put it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoreOptions {
    /// Model folder.
    pub model: PathBuf,
    /// Folder of a `popularity` model: fills short lists and serves visitors that nobody knows.
    pub fallback: Option<PathBuf>,
    /// Channel folder of interactions whose items are left out for their users.
    pub exclude: Option<PathBuf>,
    /// Folder to write to.
    pub output: PathBuf,
    /// Items per list, at least 1.
    pub top: usize,
}

/// Counts what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScoreSummary {
    /// Users with at least one item.
    pub users: usize,
    /// Rows of `recommendations`.
    pub rows: usize,
    /// Rows of `recommendations` that came from the fallback.
    pub filled: usize,
    /// Rows of `fallback`; 0 when there is no fallback model.
    pub fallback_rows: usize,
}

/// Scores every user the model knows.
///
/// Writes `recommendations/part-0.parquet` below `output` with user_id (text), rank (Int32, from
/// 1), item_id (text), score (f64) and source (`model` or `fallback`), sorted by user_id and rank.
/// Scores of the two sources are on different scales; the rank is the order. With a fallback also
/// writes `fallback/part-0.parquet` with location and device (text; null means any, both null
/// everybody), rank, item_id and score, one list per segment of the fallback.
///
/// Prints `scored users=... rows=... filled=... seconds=...` to `out`. Memory is bounded by the
/// model, the exclusions and one row group. Given again, the same input writes the same files.
///
/// # Errors
/// `Artifact` for a model that cannot be loaded or a fallback of another algorithm, `Input`, `Io`,
/// `Frame`, `Output`.
pub fn score(options: &ScoreOptions, out: &mut dyn Write) -> Result<ScoreSummary, ModelError> {
    let started = Instant::now();
    let model = Model::load(&options.model)?;
    let fallback = options.fallback.as_deref().map(load_fallback).transpose()?;
    let excluded = options.exclude.as_deref().map(Interactions::read_or_none).transpose()?;
    let seen = excluded.as_ref().map_or_else(Seen::nothing, |excluded| Seen::new(&model, excluded));
    let filler = fallback.as_ref().map(|fallback| Filler::new(&model, fallback, excluded.as_ref()));

    let mut summary = ScoreSummary { users: 0, rows: 0, filled: 0, fallback_rows: 0 };
    let mut file = Output::create(&options.output.join("recommendations"), &RECOMMENDATIONS)?;
    let users: Vec<u32> = (0..model.users().len() as u32).collect();
    for chunk in users.chunks((ROWS_PER_GROUP / options.top.max(1)).max(1)) {
        let lists = model.recommend_users(chunk, options.top, &seen);
        let mut rows = Rows::default();
        for (user, list) in chunk.iter().zip(&lists) {
            let own: Vec<(&str, f64)> =
                list.iter().map(|scored| (model.items().id(scored.item), scored.score)).collect();
            let filling = filler
                .as_ref()
                .map(|filler| filler.fill(*user, &own, options.top))
                .unwrap_or_default();
            summary.users += usize::from(own.len() + filling.len() > 0);
            summary.filled += filling.len();
            let both = own
                .iter()
                .map(|row| (row, "model"))
                .chain(filling.iter().map(|row| (row, "fallback")));
            for (((item, score), source), rank) in both.zip(1_i32..) {
                rows.push(model.users().id(*user), rank, item, *score, source);
            }
        }
        summary.rows += rows.ranks.len();
        file.write(DataFrame::new_infer_height(rows.columns()))?;
    }
    file.finish()?;
    if let Some(fallback) = &fallback {
        summary.fallback_rows =
            write_fallback(fallback, &options.output.join("fallback"), options.top)?;
    }
    writeln!(
        out,
        "scored users={} rows={} filled={} seconds={:.3}",
        summary.users,
        summary.rows,
        summary.filled,
        started.elapsed().as_secs_f64()
    )
    .map_err(ModelError::Output)?;
    out.flush().map_err(ModelError::Output)?;
    Ok(summary)
}

/// Columns of `recommendations` in the making.
#[derive(Default)]
struct Rows<'a> {
    users: Vec<&'a str>,
    ranks: Vec<i32>,
    items: Vec<&'a str>,
    scores: Vec<f64>,
    sources: Vec<&'a str>,
}

impl<'a> Rows<'a> {
    fn push(&mut self, user: &'a str, rank: i32, item: &'a str, score: f64, source: &'a str) {
        self.users.push(user);
        self.ranks.push(rank);
        self.items.push(item);
        self.scores.push(score);
        self.sources.push(source);
    }

    fn columns(self) -> Vec<Column> {
        vec![
            Column::new("user_id".into(), self.users),
            Column::new("rank".into(), self.ranks),
            Column::new("item_id".into(), self.items),
            Column::new("score".into(), self.scores),
            Column::new("source".into(), self.sources),
        ]
    }
}

/// # Errors
/// `Artifact` when the model has no popularity to fall back to.
fn load_fallback(path: &Path) -> Result<Model, ModelError> {
    let model = Model::load(path)?;
    if model.popularity().is_some() {
        return Ok(model);
    }
    Err(ModelError::artifact(
        path,
        format!("is a model of `{}`, a fallback must be `popularity`", model.algorithm()),
    ))
}

/// Fills up short lists from the fallback's overall ranking, leaving out what the user has had.
struct Filler<'a> {
    fallback: &'a Model,
    excluded: Option<&'a Interactions>,
    /// The scored model's users under the numbers of the exclusions.
    users: Vec<Option<u32>>,
    /// The fallback's items under the numbers of the exclusions.
    items: Vec<Option<u32>>,
}

impl<'a> Filler<'a> {
    fn new(model: &Model, fallback: &'a Model, excluded: Option<&'a Interactions>) -> Self {
        let users = excluded.map(|excluded| model.users().mapping_to(excluded.users()));
        let items = excluded.map(|excluded| fallback.items().mapping_to(excluded.items()));
        Self {
            fallback,
            excluded,
            users: users.unwrap_or_default(),
            items: items.unwrap_or_default(),
        }
    }

    /// Returns what is missing from `own` to `top` items, best first.
    fn fill(&self, user: u32, own: &[(&str, f64)], top: usize) -> Vec<(&'a str, f64)> {
        let missing = top.saturating_sub(own.len());
        let Some(popularity) = self.fallback.popularity().filter(|_| missing > 0) else {
            return Vec::new();
        };
        let row = self.users.get(user as usize).copied().flatten();
        let had = match (self.excluded, row) {
            (Some(excluded), Some(row)) => excluded.by_user().row_columns(row as usize),
            _ => &[],
        };
        let is_new = |item: u32| {
            let number = self.items.get(item as usize).copied().flatten();
            number.is_none_or(|number| had.binary_search(&number).is_err())
        };
        let ranking = popularity.overall().iter().filter(|scored| is_new(scored.item));
        let ranking = ranking.map(|scored| (self.fallback.items().id(scored.item), scored.score));
        ranking.filter(|(id, _)| own.iter().all(|(known, _)| known != id)).take(missing).collect()
    }
}

/// Writes one list per segment, everybody's first, and returns the number of rows.
fn write_fallback(fallback: &Model, folder: &Path, top: usize) -> Result<usize, ModelError> {
    let Some(popularity) = fallback.popularity() else { return Ok(0) };
    let mut file = Output::create(folder, &FALLBACK)?;
    // Everybody sorts before every other segment, and is not among the stored ones.
    let everybody = Segment::default();
    let segments: Vec<&Segment> =
        std::iter::once(&everybody).chain(popularity.segments().keys()).collect();
    let mut written = 0;
    for chunk in segments.chunks((ROWS_PER_GROUP / top.max(1)).max(1)) {
        let (mut locations, mut devices) = (Vec::new(), Vec::new());
        let (mut ranks, mut items, mut scores) = (Vec::new(), Vec::new(), Vec::new());
        for segment in chunk {
            for (scored, rank) in popularity.for_segment(segment, top).into_iter().zip(1_i32..) {
                locations.push(segment.location.as_deref());
                devices.push(segment.device.as_deref());
                ranks.push(rank);
                items.push(fallback.items().id(scored.item));
                scores.push(scored.score);
            }
        }
        written += ranks.len();
        file.write(DataFrame::new_infer_height(vec![
            Column::new("location".into(), locations),
            Column::new("device".into(), devices),
            Column::new("rank".into(), ranks),
            Column::new("item_id".into(), items),
            Column::new("score".into(), scores),
        ]))?;
    }
    file.finish()?;
    Ok(written)
}

/// A Parquet file that is written one row group at a time.
struct Output {
    path: PathBuf,
    writer: BatchedWriter<File>,
}

impl Output {
    fn create(folder: &Path, columns: &[(&str, ListType)]) -> Result<Self, ModelError> {
        std::fs::create_dir_all(folder).map_err(ModelError::io("create", folder))?;
        let path = folder.join("part-0.parquet");
        let file = File::create(&path).map_err(ModelError::io("create", &path))?;
        let typed = |of: ListType| match of {
            ListType::Text => DataType::String,
            ListType::Rank => DataType::Int32,
            ListType::Score => DataType::Float64,
        };
        let schema: Schema =
            columns.iter().map(|(name, of)| Field::new((*name).into(), typed(*of))).collect();
        let writer =
            ParquetWriter::new(file).batched(&schema).map_err(ModelError::frame("write", &path))?;
        Ok(Self { path, writer })
    }

    fn write(&mut self, frame: PolarsResult<DataFrame>) -> Result<(), ModelError> {
        frame
            .and_then(|frame| self.writer.write_batch(&frame))
            .map_err(ModelError::frame("write", &self.path))
    }

    fn finish(self) -> Result<(), ModelError> {
        self.writer.finish().map_err(ModelError::frame("write", &self.path)).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use polars::prelude::{ParquetReader, SerReader};

    use super::*;
    use crate::models::SegmentWeights;
    use crate::models::container::tests::write_interactions;
    use crate::models::tests::planted;
    use crate::pipeline::job::{Algorithm, Hyperparameters};

    fn save(
        algorithm: Algorithm,
        interactions: &Interactions,
        segments: Option<&SegmentWeights>,
        folder: &Path,
    ) {
        Model::fit(algorithm, interactions, segments, &Hyperparameters::new(), &mut |_| {})
            .unwrap()
            .save(folder)
            .unwrap();
    }

    fn rows(path: &Path) -> Vec<String> {
        let frame = ParquetReader::new(File::open(path).unwrap()).finish().unwrap();
        let text = |at: usize| {
            let row = frame.get(at).unwrap();
            row.iter().map(|value| value.str_value().into_owned()).collect::<Vec<_>>().join(" ")
        };
        (0..frame.height()).map(text).collect()
    }

    #[test]
    fn lists_are_filled_from_the_fallback_without_repeats_or_seen_items() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let history = Interactions::from_rows([
            ("u1", "a", 2.0, None),
            ("u1", "b", 1.0, None),
            ("u2", "b", 1.0, None),
            ("u3", "b", 1.0, None),
            ("u3", "c", 1.0, None),
        ]);
        save(Algorithm::BuyAgain, &history, None, &at("model"));
        // The fallback knows an item that the model does not, and other users.
        let recent = [
            ("v1", "b", 1.0, None),
            ("v2", "b", 1.0, None),
            ("v1", "d", 1.0, None),
            ("v2", "d", 1.0, None),
            ("v1", "a", 1.0, None),
        ];
        let segments = SegmentWeights::from_rows([(Some("de"), Some("tv"), "z", 1.0)]);
        save(
            Algorithm::Popularity,
            &Interactions::from_rows(recent),
            Some(&segments),
            &at("fallback"),
        );
        let seen = [("u1", "d", 1.0, None), ("u3", "b", 1.0, None)];
        write_interactions(&at("seen"), &Interactions::from_rows(seen));
        let options = ScoreOptions {
            model: at("model"),
            fallback: Some(at("fallback")),
            exclude: Some(at("seen")),
            output: at("out"),
            top: 3,
        };
        let mut out = Vec::new();
        let summary = score(&options, &mut out).unwrap();
        assert_eq!(
            rows(&at("out/recommendations/part-0.parquet")),
            [
                "u1 1 a 2.0 model",
                "u1 2 b 1.0 model",
                "u2 1 b 1.0 model",
                "u2 2 d 2.0 fallback",
                "u2 3 a 1.0 fallback",
                "u3 1 c 1.0 model",
                "u3 2 d 2.0 fallback",
                "u3 3 a 1.0 fallback",
            ]
        );
        let lists = rows(&at("out/fallback/part-0.parquet"));
        assert_eq!(lists.len(), 3 * 4);
        assert_eq!(lists[0], "null null 1 b 2.0");
        assert_eq!(lists[3], "null tv 1 z 1.0");
        assert_eq!(lists[6..8], ["de null 1 z 1.0", "de null 2 b 2.0"]);
        assert_eq!(lists[11], "de tv 3 d 2.0");
        assert_eq!(summary, ScoreSummary { users: 3, rows: 8, filled: 4, fallback_rows: 12 });
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("scored users=3 rows=8 filled=4 seconds=0."), "{text}");
    }

    #[test]
    fn a_long_output_has_every_user_in_order_and_no_fallback_files() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        save(Algorithm::Popularity, &planted(700, 500, 1), None, &at("model"));
        let options = ScoreOptions {
            model: at("model"),
            fallback: None,
            exclude: None,
            output: at("out"),
            top: 400,
        };
        let summary = score(&options, &mut Vec::new()).unwrap();
        assert!(summary.rows > ROWS_PER_GROUP, "one row group is not enough to tell");
        let file = File::open(at("out/recommendations/part-0.parquet")).unwrap();
        let frame = ParquetReader::new(file).finish().unwrap();
        let users = frame.column("user_id").unwrap().str().unwrap();
        assert!(users.iter().is_sorted());
        assert_eq!((frame.height(), summary.users), (summary.rows, 700));
        assert!(!at("out/fallback").exists());
    }

    #[test]
    fn a_fallback_must_be_a_popularity_model() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        save(Algorithm::BuyAgain, &planted(5, 5, 1), None, &model);
        let options = ScoreOptions {
            fallback: Some(model.clone()),
            model,
            exclude: None,
            output: folder.path().join("out"),
            top: 3,
        };
        let error = score(&options, &mut Vec::new()).unwrap_err().to_string();
        assert!(
            error.ends_with("is a model of `buy_again`, a fallback must be `popularity`"),
            "{error}"
        );
    }
}
