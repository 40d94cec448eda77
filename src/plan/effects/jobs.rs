//! Training, search, selection and scoring: training sets, jobs, models, the registry.

use super::tables::Published;
use super::{Amount, Content, Effect, Files, Jobs, Listing, Machine, TrainingSet, Work, Writer};
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::job::{MAX_RUNTIME, ParameterRange, Resources, Strategy};
use crate::pipeline::name::Name;
use crate::pipeline::step::{
    ChampionRule, ScoreStep, SelectStep, StepKind, TrainStep, fallback_table,
};
use crate::plan::Action;
use crate::ports::limits::sagemaker::group_name;
use crate::steps::{Cuts, Days, job_head, registry_group, search_head};

impl<'a> Listing<'a> {
    /// A model is fitted on the days before the test.
    pub(super) fn training(
        &mut self,
        index: usize,
        action: &Action,
        train: &TrainStep,
    ) -> Vec<Effect> {
        let seconds = Amount::about(self.guess[index].whole_seconds());
        let cuts = self.cuts();
        let mut effects = self.training_sets(train, cuts.fit, None);
        effects.extend(self.fits(&[(&action.step, train)], "fit", Amount::ONE, seconds));
        effects
    }

    /// Hyperparameters are searched, then a model is fitted with the best.
    pub(super) fn search(
        &mut self,
        index: usize,
        action: &Action,
        train: &TrainStep,
    ) -> Vec<Effect> {
        let cuts = self.cuts();
        let mut effects = self.training_sets(train, cuts.train, Some(cuts.validation));
        let guess = self.guess[index].whole_seconds();
        let (trials, parallel, strategy) = match &train.job.tuning {
            Some(tuning) => (tuning.trials as u64, tuning.parallel as u64, tuning.strategy),
            None => (0, 1, Strategy::Random),
        };
        let parallel = parallel.clamp(1, trials.max(1));
        // The wall time is that of the rounds and of the fit after them, each about as long.
        let rounds = trials.div_ceil(parallel);
        let each = guess.map(|seconds| seconds / (rounds + 1).max(1));
        let machine = self.machine(&train.job.resources);
        if machine.is_some() {
            effects.push(Effect::Jobs(Jobs {
                work: Work::Search,
                names: vec![format!("{}*", search_head(&action.step, self.plan.date))],
                number: Amount::ONE,
                at_once: 1,
                machine: None,
                seconds: Amount::NONE,
            }));
        }
        // A service may stop searching before it has tried so many.
        let number = match (strategy, machine.is_some()) {
            (Strategy::Grid, _) => Amount::Exactly(trials.min(points(train).unwrap_or(trials))),
            (Strategy::Hyperband { .. }, true) => Amount::AtMost(trials),
            (Strategy::Random | Strategy::Bayesian | Strategy::Hyperband { .. }, _) => {
                Amount::Exactly(trials)
            }
        };
        let of_trials = match machine.is_some() {
            true => search_head(&action.step, self.plan.date),
            false => job_head(&action.step, self.plan.date, "trial-"),
        };
        effects.push(Effect::Jobs(Jobs {
            work: Work::Trial,
            names: vec![format!("{of_trials}*")],
            number,
            at_once: parallel,
            machine: machine.clone(),
            seconds: Amount::about(each.map(|seconds| seconds * trials)),
        }));
        if machine.is_none() {
            effects.push(model(format!("models/{of_trials}*/"), number, Writer::Job));
        }
        effects.extend(self.training_sets(train, cuts.fit, None));
        let seconds = Amount::about(each);
        effects.extend(self.fits(&[(&action.step, train)], "fit", Amount::ONE, seconds));
        effects
    }

    /// Models are compared, and the winner is fitted on all days and registered.
    pub(super) fn selection(
        &mut self,
        index: usize,
        action: &Action,
        select: &SelectStep,
    ) -> Vec<Effect> {
        let cuts = self.cuts();
        let candidates = self.train_steps(&select.candidates);
        let all = self.train_steps(select.candidates.iter().chain(&select.baselines));
        let mut effects = Vec::new();
        if let Some(table) = all.iter().find_map(|(_, train)| training_table(train)) {
            effects.extend(self.training_set("train", &table, cuts.fit));
            effects.extend(self.training_set("validation", &table, cuts.test));
        }
        let seconds = self.guess[index].whole_seconds();
        let champion =
            self.grounds.facts.champions.contains_key(&(action.step.clone(), self.plan.date));
        if champion && select.champion == ChampionRule::KeepUnlessBeaten {
            // The champion may be one of the candidates again, and is not fitted twice then.
            for (_, train) in &candidates {
                for input in &train.inputs {
                    effects.extend(self.perhaps(&input.channel, &input.table, cuts.fit));
                }
            }
            let every: Vec<(&Name, &TrainStep)> = self
                .grounds
                .pipeline
                .all_steps()
                .filter_map(|step| match &step.kind {
                    StepKind::Train(train) | StepKind::Tune(train) => Some((&step.name, train)),
                    StepKind::Sql(_)
                    | StepKind::Select(_)
                    | StepKind::Score(_)
                    | StepKind::Load(_) => None,
                })
                .collect();
            let half = Amount::about(seconds.map(|seconds| seconds / 2));
            effects.extend(self.fits(&every, "champion", Amount::AtMost(1), half));
        }
        effects.extend(self.one_of_training_sets(&candidates, cuts.all));
        let seconds = Amount::about(seconds);
        effects.extend(self.fits(&candidates, "final", Amount::ONE, seconds));
        effects.extend(self.registration(&action.step));
        effects
    }

    /// Users are scored, and what comes of it becomes visible.
    pub(super) fn scoring(
        &mut self,
        index: usize,
        action: &Action,
        score: &ScoreStep,
    ) -> Vec<Effect> {
        let cuts = self.cuts();
        let mut effects = Vec::new();
        let models = match self.grounds.pipeline.step(score.model.as_str()).map(|it| &it.kind) {
            Some(StepKind::Select(select)) => self.train_steps(&select.candidates),
            _ => {
                let own = self.train_steps([&score.model]);
                effects.extend(self.one_of_training_sets(&own, cuts.all));
                effects.extend(self.fits(&own, "final", Amount::ONE, Amount::Unknown));
                own
            }
        };
        if let Some(table) = models.iter().find_map(|(_, train)| training_table(train)) {
            effects.extend(self.training_set("train", &table, cuts.all));
        }
        if let Some(fallback) = &score.fallback {
            let own = self.train_steps([fallback]);
            effects.extend(self.one_of_training_sets(&own, cuts.all));
            effects.extend(self.fits(&own, "final", Amount::ONE, Amount::Unknown));
        }
        effects.extend(self.scoring_job(index, action, &models));
        let day = action.partition.key();
        let mut published = vec![action.step.to_string()];
        published.extend(score.fallback.is_some().then(|| fallback_table(action.step.as_str())));
        let published: Vec<Published> = published
            .into_iter()
            .map(|table| Published { table, key: day.clone(), has_partitions: true })
            .collect();
        effects.extend(self.publish(&published));
        effects
    }

    fn scoring_job(
        &self,
        index: usize,
        action: &Action,
        models: &[(&Name, &TrainStep)],
    ) -> Vec<Effect> {
        let head = job_head(&action.step, self.plan.date, "score-");
        let machine = models.first().and_then(|(_, train)| self.machine(&train.job.resources));
        let mut effects = Vec::new();
        if machine.is_some() {
            effects.push(Effect::Files(Files {
                content: Content::JobSettings,
                folder: format!("sagemaker/{head}*/config/"),
                files: Amount::ONE,
                bytes: Amount::Unknown,
                by: Writer::Run,
            }));
        }
        let guess = &self.guess[index];
        effects.push(Effect::Jobs(Jobs {
            work: Work::Score,
            names: vec![format!("{head}*")],
            number: Amount::ONE,
            at_once: 1,
            machine,
            seconds: Amount::about(guess.whole_seconds()),
        }));
        effects.push(Effect::Files(Files {
            content: Content::Recommendations,
            folder: format!("scored/{head}*/"),
            files: Amount::Unknown,
            bytes: Amount::about(guess.bytes_out),
            by: Writer::Job,
        }));
        effects
    }

    /// The winner becomes a version.
    fn registration(&mut self, step: &Name) -> Vec<Effect> {
        let group = registry_group(&self.grounds.pipeline.name, step);
        let is_new = !self.there.groups.contains(&group);
        self.there.groups.insert(group.clone());
        match self.aws() {
            None => vec![Effect::ModelRegistered { group, new_group: Amount::NONE }],
            Some(aws) => {
                let registry = aws.trainer.as_ref().and_then(|it| it.registry.as_ref());
                let Some(registry) = registry else { return Vec::new() };
                let new_group = match (is_new, self.there_is_known) {
                    (false, _) => Amount::NONE,
                    (true, false) => Amount::ONE,
                    // A group without a version cannot be told from none.
                    (true, true) => Amount::AtMost(1),
                };
                let folder = format!("registry/{group}/");
                vec![
                    // Before it has its version, and with it.
                    Effect::Files(Files {
                        content: Content::RegisteredModel,
                        folder,
                        files: Amount::Exactly(2),
                        bytes: Amount::Unknown,
                        by: Writer::Run,
                    }),
                    Effect::ModelRegistered {
                        group: group_name(&registry.group_prefix, &group),
                        new_group,
                    },
                ]
            }
        }
    }

    /// Fits of one model, which may be any of these steps'.
    fn fits(
        &self,
        steps: &[(&Name, &TrainStep)],
        suffix: &str,
        number: Amount,
        seconds: Amount,
    ) -> Vec<Effect> {
        let names: Vec<String> = steps
            .iter()
            .map(|(step, _)| format!("{}*", job_head(step, self.plan.date, &format!("{suffix}-"))))
            .collect();
        let machine = steps.first().and_then(|(_, train)| self.machine(&train.job.resources));
        let by = if machine.is_some() { Writer::Copy } else { Writer::Job };
        let folder = match names.as_slice() {
            [one] => format!("models/{one}/"),
            _ => format!("models/*-{suffix}-*/"),
        };
        vec![
            Effect::Jobs(Jobs { work: Work::Fit, names, number, at_once: 1, machine, seconds }),
            model(folder, number, by),
        ]
    }

    /// What a job runs on; none on the embedded target.
    fn machine(&self, resources: &Resources) -> Option<Machine> {
        let trainer = self.aws()?.trainer.as_ref()?;
        Some(Machine {
            image: resources.image.clone().unwrap_or_else(|| trainer.image.clone()),
            instances: match resources.instances.is_empty() {
                true => trainer.instances.clone(),
                false => resources.instances.clone(),
            },
            count: resources.count.unwrap_or(1),
            volume_gb: resources.volume_gb.unwrap_or(trainer.volume_gb),
            spot: resources.spot.unwrap_or(trainer.spot),
            max_seconds: resources.max_runtime.unwrap_or(MAX_RUNTIME).as_secs(),
        })
    }

    fn cuts(&self) -> Cuts {
        Cuts::new(self.grounds.pipeline.split, self.plan.date)
    }

    fn train_steps<'n>(
        &self,
        names: impl IntoIterator<Item = &'n Name>,
    ) -> Vec<(&'a Name, &'a TrainStep)> {
        let of = |name: &Name| {
            let step = self.grounds.pipeline.step(name.as_str())?;
            match &step.kind {
                StepKind::Train(train) | StepKind::Tune(train) => Some((&step.name, train)),
                StepKind::Sql(_) | StepKind::Select(_) | StepKind::Score(_) | StepKind::Load(_) => {
                    None
                }
            }
        };
        names.into_iter().filter_map(of).collect()
    }

    /// The training sets of a fit.
    fn training_sets(
        &mut self,
        train: &TrainStep,
        days: Days,
        validation: Option<Days>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        for input in &train.inputs {
            effects.extend(self.training_set(&input.channel, &input.table, days));
            if let (Some(days), "train") = (validation, input.channel.as_str()) {
                effects.extend(self.training_set("validation", &input.table, days));
            }
        }
        effects
    }

    /// The training sets of a fit of one of these steps: those that all of them have are cut in any
    /// case, others perhaps.
    fn one_of_training_sets(&mut self, steps: &[(&Name, &TrainStep)], days: Days) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (_, train) in steps {
            for input in &train.inputs {
                let certain = steps.iter().all(|(_, other)| other.inputs.contains(input));
                if certain {
                    effects.extend(self.training_set(&input.channel, &input.table, days));
                } else {
                    effects.extend(self.perhaps(&input.channel, &input.table, days));
                }
            }
        }
        effects
    }

    /// A training set, unless an earlier action has cut it.
    fn training_set(&mut self, channel: &str, table: &Name, days: Days) -> Option<Effect> {
        let set = key(channel, table, days);
        self.possible_sets.remove(&set);
        self.training_sets.insert(set).then(|| self.cut(channel))
    }

    /// A training set that is needed only if a certain model wins.
    fn perhaps(&mut self, channel: &str, table: &Name, days: Days) -> Option<Effect> {
        let set = key(channel, table, days);
        let is_new = !self.training_sets.contains(&set) && self.possible_sets.insert(set);
        is_new.then(|| self.cut(channel))
    }

    fn cut(&self, channel: &str) -> Effect {
        Effect::Files(Files {
            content: Content::TrainingSet,
            folder: format!("datasets/*/{channel}/"),
            // And the mark that it is whole.
            files: Amount::AtMost(self.grounds.threads as u64 + 1),
            bytes: Amount::Unknown,
            by: Writer::Run,
        })
    }

    /// Training sets are removed at the end.
    pub(super) fn clean_up(&self) -> Vec<Effect> {
        let sets = self.training_sets.len() as u64;
        let folders = match self.possible_sets.len() as u64 {
            0 => Amount::Exactly(sets),
            more => Amount::AtMost(sets + more),
        };
        if folders.is_none() {
            return Vec::new();
        }
        vec![Effect::FilesRemoved {
            content: Content::TrainingSet,
            folder: "datasets/".to_owned(),
            folders,
        }]
    }
}

fn key(channel: &str, table: &Name, days: Days) -> TrainingSet {
    let (first, last): (LogicalDate, LogicalDate) = (days.first, days.last);
    (channel.to_owned(), table.to_string(), first, last)
}

/// Points of a grid; none if there is no end to them.
fn points(train: &TrainStep) -> Option<u64> {
    let ranges = train.job.tuning.as_ref()?.ranges.values();
    ranges.map(ParameterRange::cardinality).product()
}

fn training_table(train: &TrainStep) -> Option<Name> {
    train.inputs.iter().find(|input| input.channel == "train").map(|input| input.table.clone())
}

fn model(folder: String, files: Amount, by: Writer) -> Effect {
    Effect::Files(Files { content: Content::Model, folder, files, bytes: Amount::Unknown, by })
}
