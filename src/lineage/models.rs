//! What becomes of tables in jobs: channels, models, selections, recommendations, served lists.
//!
//! What a model keeps is told as three columns: the ids of users and items, which are in its
//! archive as they came, and what it learned of them. See docs/lineage.md.

use super::build::{Builder, Link};
use super::{DatasetKind, How, Node};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::job::Algorithm;
use crate::pipeline::lists::{FALLBACK, ListType, RECOMMENDATIONS};
use crate::pipeline::step::{
    LoadStep, PARTITION_COLUMN, ScoreStep, SelectStep, Step, StepKind, TrainStep, channel_columns,
    fallback_table,
};
use crate::query::analysis::Analysis;

/// The columns of what a model keeps.
const USERS: &str = "users";
const ITEMS: &str = "items";
const WEIGHTS: &str = "weights";
const LOCATION: &str = "location";
const DEVICE: &str = "device";

impl Builder {
    pub(super) fn model(
        &mut self,
        pipeline: &Pipeline,
        step: &Step,
        train: &TrainStep,
        analysis: &Analysis,
    ) {
        let name = self.name_of(pipeline, step.name.as_str());
        let mut channels = Vec::new();
        for input in &train.inputs {
            let table = self.name_of(pipeline, input.table.as_str());
            let Some(table) = self.find(&table) else { continue };
            let schema = analysis.tables.get(&input.table).map(|table| &table.schema);
            let by_day = schema.is_some_and(|s| s.column_with_name(PARTITION_COLUMN).is_some());
            let channel = self.dataset(
                format!("{name}/{}", input.channel),
                DatasetKind::Channel,
                Some(pipeline),
                None,
            );
            channels.push((input.channel.as_str(), channel));
            for column in channel_columns(&input.channel) {
                let Some(from) = self.existing(table, column) else { continue };
                let to = self.column(channel, column, "");
                let cast = match *column {
                    "weight" => Link::own(How::Identity, "CAST(weight AS DOUBLE)"),
                    text => Link::own(How::Identity, &format!("CAST({text} AS VARCHAR)")),
                };
                self.link(from, to, cast);
            }
            if let (true, Some(from)) = (by_day, self.existing(table, PARTITION_COLUMN)) {
                let days = Link::own(How::Filter, "the days of the window");
                self.link(from, Node { dataset: channel, column: None }, days);
                if input.channel == "train" {
                    let to = self.column(channel, PARTITION_COLUMN, "");
                    self.link(from, to, Link::own(How::Identity, "CAST(dt AS DATE)"));
                }
            }
        }
        let model = self.dataset(name, DatasetKind::Model, Some(pipeline), None);
        for part in [USERS, ITEMS, WEIGHTS] {
            self.column(model, part, "");
        }
        for (channel, dataset) in channels {
            self.fitted(channel, dataset, model, train.job.algorithm);
        }
    }

    /// What a model takes from a channel.
    fn fitted(&mut self, channel: &str, dataset: usize, model: usize, algorithm: Algorithm) {
        let mut take = |column: &str, part: &str, how: How, what: &str| {
            if let Some(from) = self.existing(dataset, column) {
                let to = self.column(model, part, "");
                self.link(from, to, Link::own(how, what));
            }
        };
        take("item_id", ITEMS, How::Identity, "");
        take("item_id", WEIGHTS, How::GroupBy, "");
        take("weight", WEIGHTS, How::Aggregation, "what the model learned");
        if channel == "segments" {
            take(LOCATION, LOCATION, How::Identity, "");
            take(DEVICE, DEVICE, How::Identity, "");
            take(LOCATION, WEIGHTS, How::GroupBy, "");
            take(DEVICE, WEIGHTS, How::GroupBy, "");
        } else {
            take("user_id", USERS, How::Identity, "");
            take("user_id", WEIGHTS, How::GroupBy, "");
            if algorithm == Algorithm::BuyAgain {
                take(PARTITION_COLUMN, WEIGHTS, How::Sort, "the latest first");
            }
        }
    }

    pub(super) fn selection(&mut self, pipeline: &Pipeline, step: &Step, select: &SelectStep) {
        let name = self.name_of(pipeline, step.name.as_str());
        let index = self.dataset(name, DatasetKind::Selection, Some(pipeline), None);
        for part in [USERS, ITEMS, WEIGHTS] {
            self.column(index, part, "");
        }
        let metric = format!("{} on the test days", select.metric);
        for candidate in &select.candidates {
            let candidate = self.name_of(pipeline, candidate.as_str());
            let Some(candidate) = self.find(&candidate) else { continue };
            for part in [USERS, ITEMS, WEIGHTS, LOCATION, DEVICE] {
                if let Some(from) = self.existing(candidate, part) {
                    let to = self.column(index, part, "");
                    self.link(from, to, Link::own(How::Identity, "the model that wins"));
                }
            }
            if let Some(from) = self.existing(candidate, WEIGHTS) {
                let rows = Node { dataset: index, column: None };
                self.link(from, rows, Link::own(How::Conditional, &metric));
            }
        }
        let compared = self.column(index, "baselines", "");
        for baseline in &select.baselines {
            let baseline = self.name_of(pipeline, baseline.as_str());
            let from = self.find(&baseline).and_then(|it| self.existing(it, WEIGHTS));
            if let Some(from) = from {
                self.link(from, compared, Link::own(How::Aggregation, &metric));
            }
        }
    }

    pub(super) fn scores(&mut self, pipeline: &Pipeline, step: &Step, score: &ScoreStep) {
        let name = self.name_of(pipeline, step.name.as_str());
        let model = self.find(&self.name_of(pipeline, score.model.as_str()));
        let fallback = score.fallback.as_ref();
        let fallback = fallback.and_then(|step| self.find(&self.name_of(pipeline, step.as_str())));
        let lists = self.dataset(name.clone(), DatasetKind::Scores, Some(pipeline), None);
        self.list_columns(lists, &RECOMMENDATIONS);
        if let Some(model) = model {
            self.scored(model, lists, "");
            self.take(model, USERS, lists, "user_id", Link::own(How::Identity, ""));
        }
        if let Some(fallback) = fallback {
            self.scored(fallback, lists, "fills short lists");
            let segments =
                self.dataset(fallback_table(&name), DatasetKind::Scores, Some(pipeline), None);
            self.list_columns(segments, &FALLBACK);
            for part in [LOCATION, DEVICE] {
                self.take(fallback, part, segments, part, Link::own(How::Identity, ""));
            }
            self.scored(fallback, segments, "");
        }
        self.left_out(pipeline, score, lists);
    }

    fn list_columns(&mut self, dataset: usize, columns: &[(&str, ListType)]) {
        for (column, of) in columns {
            let kind = match of {
                ListType::Text => "Utf8",
                ListType::Rank => "Int32",
                ListType::Score => "Float64",
            };
            self.column(dataset, column, kind);
        }
        self.column(dataset, PARTITION_COLUMN, "Date32");
    }

    /// Items of a list with their scores and order.
    fn scored(&mut self, model: usize, lists: usize, what: &str) {
        self.take(model, ITEMS, lists, "item_id", Link::own(How::Identity, what));
        self.take(
            model,
            WEIGHTS,
            lists,
            "item_id",
            Link::own(How::Conditional, "the highest score"),
        );
        self.take(model, WEIGHTS, lists, "score", Link::own(How::Aggregation, what));
        self.take(model, WEIGHTS, lists, "rank", Link::own(How::Sort, "by score"));
        if self.existing(lists, "source").is_some() {
            let why = "which model an item comes from";
            self.take(model, WEIGHTS, lists, "source", Link::own(How::Conditional, why));
        }
    }

    fn take(&mut self, from: usize, column: &str, to: usize, name: &str, link: Link) {
        if let (Some(from), Some(to)) = (self.existing(from, column), self.existing(to, name)) {
            self.link(from, to, link);
        }
    }

    /// Users are not recommended what they have already.
    fn left_out(&mut self, pipeline: &Pipeline, score: &ScoreStep, lists: usize) {
        let Some(table) = training_table(pipeline, score.model.as_str()) else { return };
        let Some(table) = self.find(&self.name_of(pipeline, &table)) else { return };
        for column in ["user_id", "item_id"] {
            if let Some(from) = self.existing(table, column) {
                let what = Link::own(How::Filter, "what the user has already is left out");
                self.link(from, Node { dataset: lists, column: None }, what);
            }
        }
    }

    pub(super) fn served(&mut self, pipeline: &Pipeline, load: &LoadStep) {
        let name = format!("served.{}", load.table);
        let index = self.dataset(name, DatasetKind::Served, Some(pipeline), None);
        for (column, kind) in [("key", "text"), ("items", "list"), ("scores", "list")] {
            self.column(index, column, kind);
        }
        let lists = self.name_of(pipeline, load.from.as_str());
        let key = "`user#` and the id; `pk` in DynamoDB";
        let segment = "`segment#`, location and device; `pk` in DynamoDB";
        for table in [lists.clone(), fallback_table(&lists)] {
            let Some(lists) = self.find(&table) else { continue };
            for (column, attribute, link) in [
                ("user_id", "key", Link::own(How::Transformation, key)),
                (LOCATION, "key", Link::own(How::Transformation, segment)),
                (DEVICE, "key", Link::own(How::Transformation, segment)),
                ("item_id", "items", Link::own(How::Transformation, "a list")),
                ("score", "scores", Link::own(How::Transformation, "a list")),
                ("rank", "items", Link::own(How::Sort, "by rank")),
                ("rank", "scores", Link::own(How::Sort, "by rank")),
            ] {
                self.take(lists, column, index, attribute, link);
            }
        }
        if let Some(names) = &load.names {
            let Some(table) = self.find(&self.name_of(pipeline, names.table.as_str())) else {
                return;
            };
            self.column(index, "names", "text");
            let looked_up = "looked up when a list is shown; not in the store";
            self.take(table, &names.column, index, "names", Link::own(How::Identity, looked_up));
            self.take(table, &names.key, index, "names", Link::own(How::Join, looked_up));
        }
    }
}

/// The table that fills the channel `train` of a model, or of all candidates of a selection.
fn training_table(pipeline: &Pipeline, model: &str) -> Option<String> {
    match &pipeline.step(model)?.kind {
        StepKind::Train(train) | StepKind::Tune(train) => {
            let input = train.inputs.iter().find(|input| input.channel == "train")?;
            Some(input.table.to_string())
        }
        StepKind::Select(select) => {
            select.candidates.iter().find_map(|name| training_table(pipeline, name.as_str()))
        }
        StepKind::Sql(_) | StepKind::Score(_) | StepKind::Load(_) => None,
    }
}
