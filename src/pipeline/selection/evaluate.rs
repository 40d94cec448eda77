//! From expressions to steps.

use std::collections::{BTreeMap, BTreeSet};

use super::{Atom, Depth, Expression, Method, Part, Pattern, Reach, Selection, SelectionError};
use super::{States, Term, wrong};
use crate::pipeline::graph::Pipeline;
use crate::pipeline::name::Name;
use crate::pipeline::nearest::nearest;
use crate::pipeline::step::Step;

type Steps<'a> = BTreeSet<&'a Name>;

impl Selection {
    /// The steps that are selected of a pipeline.
    ///
    /// Errors: a name or a tag that no step has; a selection of no step, saying why. A state that
    /// [`asks`](Self::asks) names and `states` lacks holds for no step.
    pub fn of(
        &self,
        pipeline: &Pipeline,
        states: &States,
    ) -> Result<BTreeSet<Name>, SelectionError> {
        let graph = Graph::of(pipeline, states);
        let everything: Steps<'_> = graph.steps.iter().map(|step| &step.name).collect();
        let mut selected = if self.select.is_empty() { everything } else { Steps::new() };
        for expression in &self.select {
            selected.extend(graph.union(expression)?);
        }
        let before = selected.clone();
        let mut excluded = Steps::new();
        for expression in &self.exclude {
            excluded.extend(graph.union(expression)?);
        }
        selected.retain(|step| !excluded.contains(step));
        if selected.is_empty() {
            return Err(self.nothing(&graph, !before.is_empty()));
        }
        Ok(selected.into_iter().cloned().collect())
    }

    /// Says why nothing is selected.
    fn nothing(&self, graph: &Graph<'_>, something_before: bool) -> SelectionError {
        if something_before {
            let hint = "take something out of `--exclude`".to_owned();
            let message = "`--exclude` takes away every step that is selected".to_owned();
            return SelectionError { message, hint: Some(hint) };
        }
        let terms: Vec<(&Expression, &Term)> = self
            .select
            .iter()
            .flat_map(|one| one.terms.iter().map(move |term| (one, term)))
            .collect();
        let reasons: Vec<String> = terms.iter().map(|(_, term)| graph.why_empty(term)).collect();
        let only_names = |term: &Term| {
            term.atoms.len() > 1
                && term.atoms.iter().all(
                    |atom| matches!(&atom.method, Method::Name(pattern) if pattern.glob.is_none()),
                )
        };
        let hint = terms.iter().find(|(_, term)| only_names(term)).map(|(one, term)| {
            let text: String =
                one.text.chars().skip(term.place.start).take(term.place.length).collect();
            format!(
                "a comma is for what must both hold; for either write \"{}\"",
                text.replace(',', " ")
            )
        });
        SelectionError { message: format!("nothing is selected: {}", reasons.join("; ")), hint }
    }
}

/// A pipeline's steps and what they need of each other, both ways.
struct Graph<'a> {
    pipeline: &'a Name,
    steps: &'a [Step],
    states: &'a States,
    needs: BTreeMap<&'a Name, Vec<&'a Name>>,
    needed_by: BTreeMap<&'a Name, Vec<&'a Name>>,
}

impl<'a> Graph<'a> {
    fn of(pipeline: &'a Pipeline, states: &'a States) -> Self {
        let known: Steps<'a> = pipeline.steps.iter().map(|step| &step.name).collect();
        let mut needs: BTreeMap<&Name, Vec<&Name>> = BTreeMap::new();
        let mut needed_by: BTreeMap<&Name, Vec<&Name>> = BTreeMap::new();
        for step in &pipeline.steps {
            for need in step.needs() {
                if known.contains(need) {
                    needs.entry(&step.name).or_default().push(need);
                    needed_by.entry(need).or_default().push(&step.name);
                }
            }
        }
        Self { pipeline: &pipeline.name, steps: &pipeline.steps, states, needs, needed_by }
    }

    fn union(&self, expression: &Expression) -> Result<Steps<'a>, SelectionError> {
        let mut all = Steps::new();
        for term in &expression.terms {
            all.extend(self.intersection(expression.option, term)?);
        }
        Ok(all)
    }

    fn intersection(&self, option: Part, term: &Term) -> Result<Steps<'a>, SelectionError> {
        let mut common: Option<Steps<'a>> = None;
        for atom in &term.atoms {
            self.refuse_unknown(option, atom)?;
            let found = self.reached(atom);
            common = Some(match common {
                None => found,
                Some(before) => before.intersection(&found).copied().collect(),
            });
        }
        Ok(common.unwrap_or_default())
    }

    fn reached(&self, atom: &Atom) -> Steps<'a> {
        let found = self.found(&atom.method);
        match atom.reach {
            Reach::Around { up, down } => {
                let mut all = found.clone();
                all.extend(up.map(|up| walk(&found, &self.needs, up)).unwrap_or_default());
                all.extend(
                    down.map(|down| walk(&found, &self.needed_by, down)).unwrap_or_default(),
                );
                all
            }
            Reach::Closed => {
                let below = walk(&found, &self.needed_by, Depth::Any);
                walk(&below, &self.needs, Depth::Any)
            }
        }
    }

    fn found(&self, method: &Method) -> Steps<'a> {
        let holds = |step: &Step| match method {
            Method::Name(pattern) => pattern.fits(step.name.as_str()),
            Method::Tag(pattern) => step.tags.iter().any(|tag| pattern.fits(tag)),
            Method::Path(pattern) => step.file().is_some_and(|file| pattern.holds_file(file)),
            Method::Kind(word) => step.kind.word() == word,
            Method::State(state) => {
                self.states.get(state).is_some_and(|steps| steps.contains(&step.name))
            }
        };
        self.steps.iter().filter(|step| holds(step)).map(|step| &step.name).collect()
    }

    /// What is called by its name has to be there: a slip would leave it out without a word.
    fn refuse_unknown(&self, option: Part, atom: &Atom) -> Result<(), SelectionError> {
        let (what, text, known): (&str, &str, Vec<&str>) = match &atom.method {
            Method::Name(Pattern { text, glob: None }) => {
                ("step", text, self.steps.iter().map(|step| step.name.as_str()).collect())
            }
            Method::Tag(Pattern { text, glob: None }) => {
                ("tag", text, self.tags().into_iter().collect())
            }
            Method::Name(_)
            | Method::Tag(_)
            | Method::Path(_)
            | Method::Kind(_)
            | Method::State(_) => return Ok(()),
        };
        if known.contains(&text) {
            return Ok(());
        }
        let hint = match nearest(text, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "give steps `tags: […]` in pipelines.yaml".to_owned(),
            None => format!("`{}` has `{}`", self.pipeline, known.join("`, `")),
        };
        Err(wrong(option, atom.place, &format!("unknown {what} `{text}`"), Some(hint)))
    }

    fn tags(&self) -> BTreeSet<&'a str> {
        self.steps.iter().flat_map(|step| &step.tags).map(String::as_str).collect()
    }

    fn why_empty(&self, term: &Term) -> String {
        let empty = term.atoms.iter().find(|atom| self.found(&atom.method).is_empty());
        match empty.map(|atom| &atom.method) {
            None => "no step fits all that is joined by commas".to_owned(),
            Some(Method::Name(pattern)) => format!("no step's name fits `{}`", pattern.text),
            Some(Method::Tag(pattern)) => format!("no step's tag fits `{}`", pattern.text),
            Some(Method::Path(pattern)) => format!("no step's file is at `{}`", pattern.text),
            Some(Method::Kind(word)) => format!("no step is of kind `{word}`"),
            Some(Method::State(state)) => match state {
                super::State::Changed(Some(revision)) => {
                    format!("no step changed since `{revision}`")
                }
                super::State::Changed(None) => {
                    "no step changed since it was carried out".to_owned()
                }
                super::State::Stale => "no step has anything to be made".to_owned(),
                super::State::Failed => "no step failed in the last run".to_owned(),
            },
        }
    }
}

impl Pattern {
    pub(super) fn fits(&self, text: &str) -> bool {
        match &self.glob {
            None => self.text == text,
            Some(glob) => glob.matches(text),
        }
    }

    /// Whether a file is the one that is named, or below the folder that is named.
    pub(super) fn holds_file(&self, file: &str) -> bool {
        let clean = |path: &str| path.trim_start_matches("./").trim_end_matches('/').to_owned();
        let (wanted, file) = (clean(&self.text), clean(file));
        match &self.glob {
            Some(glob) => glob.matches(&file),
            None => {
                wanted.is_empty()
                    || file == wanted
                    || file.strip_prefix(&wanted).is_some_and(|rest| rest.starts_with('/'))
            }
        }
    }
}

/// The steps that are reached from some over at most so many edges, these included.
fn walk<'a>(
    from: &Steps<'a>,
    edges: &BTreeMap<&'a Name, Vec<&'a Name>>,
    depth: Depth,
) -> Steps<'a> {
    let mut reached = from.clone();
    let mut edge: Vec<&Name> = from.iter().copied().collect();
    let mut steps = 0;
    while !edge.is_empty() {
        if let Depth::AtMost(most) = depth
            && steps >= most
        {
            break;
        }
        steps += 1;
        let next = edge.iter().flat_map(|step| edges.get(step).into_iter().flatten());
        edge = next.copied().filter(|step| reached.insert(step)).collect();
    }
    reached
}
