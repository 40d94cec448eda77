//! Test files as meant. What needs the types of a query's columns is for whoever runs the tests.

use chrono::{DateTime, NaiveDateTime, Utc};

use super::super::problems::Problems;
use super::super::test::{
    CellSpec, CteSpec, ListOr, LongRowsSpec, OutputsSpec, RowSpec, RowsSpec, TestFileSpec, TestSpec,
};
use super::super::yaml::{Reading, Scalar, Spanned, one_of, read};
use super::Project;
use crate::pipeline::graph::Pipeline;
use crate::pipeline::name::Name;
use crate::pipeline::step::StepKind;
use crate::pipeline::test::{Cell, CellValue, Expected, Given, Place, Row, Rows, Test, Text, Word};
use crate::pipeline::variable::Variables;
use crate::run::failure::{Problem, Rule};

/// By how much a floating-point number may differ where a test does not say: what sums in another
/// order may do.
const TOLERANCE: f64 = 1e-9;

/// Compiles a file of tests. What is wrong with one test leaves the others.
///
/// `path` is the file's path in the project, `text` what is in it; `open` reads other files of the
/// project.
pub fn compile_tests(
    path: &str,
    text: &str,
    project: &Project,
    open: &dyn Fn(&str) -> std::io::Result<String>,
) -> (Vec<Test>, Vec<Problem>) {
    let mut problems = Problems::default();
    let Some(Reading { value: spec, lost }) = read(path, text, &mut problems) else {
        return (Vec::new(), problems.into_sorted());
    };
    let spec: TestFileSpec = spec;
    let mut tests = Vec::new();
    for (name, test) in &spec.tests.0 {
        if lost.inside(&["tests", &name.value]) {
            continue;
        }
        let mut compiler = TestFile { path, text, project, open, problems: &mut problems };
        tests.extend(compiler.test(name, test));
    }
    (tests, problems.into_sorted())
}

struct TestFile<'a> {
    path: &'a str,
    text: &'a str,
    project: &'a Project,
    open: &'a dyn Fn(&str) -> std::io::Result<String>,
    problems: &'a mut Problems,
}

/// What a list or a mapping says of rows.
#[derive(Default)]
struct Block<'a> {
    list: Option<&'a [Spanned<RowSpec>]>,
    rows: Option<&'a Spanned<Vec<Spanned<RowSpec>>>>,
    csv: Option<&'a Spanned<String>>,
    file: Option<&'a Spanned<String>>,
    partial: bool,
    ordered: bool,
    tolerance: Option<&'a Spanned<f64>>,
}

/// Rows, or that there are none although there should be.
enum Found {
    Rows(Rows, Place),
    Nothing,
    /// What is wrong was told.
    Broken,
}

impl<'a> Block<'a> {
    fn of_list(list: &'a [Spanned<RowSpec>]) -> Self {
        Self { list: Some(list), ..Self::default() }
    }

    fn of_input(input: &'a RowsSpec) -> Self {
        match input {
            ListOr::List(list) => Self::of_list(list),
            ListOr::Long(LongRowsSpec { rows, csv, file }) => Self {
                rows: rows.as_ref(),
                csv: csv.as_ref(),
                file: file.as_ref(),
                ..Self::default()
            },
        }
    }

    fn of_output(output: &'a OutputsSpec) -> Self {
        Self {
            list: None,
            rows: output.rows.as_ref(),
            csv: output.csv.as_ref(),
            file: output.file.as_ref(),
            partial: output.partial,
            ordered: output.ordered,
            tolerance: output.tolerance.as_ref(),
        }
    }

    fn of_cte(output: &'a ListOr<CteSpec>) -> Self {
        match output {
            ListOr::List(list) => Self::of_list(list),
            ListOr::Long(cte) => Self {
                list: None,
                rows: cte.rows.as_ref(),
                csv: cte.csv.as_ref(),
                file: cte.file.as_ref(),
                partial: cte.partial,
                ordered: cte.ordered,
                tolerance: cte.tolerance.as_ref(),
            },
        }
    }
}

impl TestFile<'_> {
    fn problem<T>(
        &mut self,
        rule: Rule,
        at: &Spanned<T>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.problems.at(rule, self.path, at, message, hint);
    }

    fn place<T>(&self, value: &Spanned<T>) -> Place {
        let number = |value: u64| usize::try_from(value).unwrap_or(1).max(1);
        Place {
            file: self.path.to_owned(),
            line: number(value.referenced.line()),
            column: number(value.referenced.column()),
            length: number(value.referenced.span().len()),
        }
    }

    fn word(&self, value: &Spanned<String>) -> Word {
        Word { text: value.value.clone(), place: self.place(value) }
    }

    fn test(&mut self, name: &Spanned<String>, spec: &TestSpec) -> Option<Test> {
        let before = self.problems.count();
        let pipeline = self.pipeline(spec)?;
        let mut variables = pipeline.variables.clone();
        for (variable, value) in &spec.vars.0 {
            self.variable(variable, value, &mut variables);
        }
        let date = spec.logical_date.as_ref().and_then(|date| match date.value.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                let error: crate::pipeline::interval::InvalidDate = error;
                self.problem(Rule::InvalidValue, date, error.to_string(), None);
                None
            }
        });
        let now = spec.now.as_ref().and_then(|now| self.instant(now));
        let mut inputs = Vec::new();
        for (input, rows) in &spec.inputs.0 {
            if let Found::Rows(rows, _) = self.rows_or_problem(rows, &Block::of_input(&rows.value))
            {
                inputs.push(Given { name: self.word(input), rows });
            }
        }
        let (outputs, refused) = self.outputs(&spec.outputs);
        (self.problems.count() == before).then(|| Test {
            name: name.value.clone(),
            place: self.place(name),
            pipeline: pipeline.name.clone(),
            table: Name::new(spec.table.value.as_str()).unwrap_or_else(|_| pipeline.name.clone()),
            date,
            now,
            variables,
            inputs,
            outputs,
            refused,
        })
    }

    /// The pipeline whose step the test names.
    fn pipeline(&mut self, spec: &TestSpec) -> Option<Pipeline> {
        let project = self.project;
        let table = spec.table.value.as_str();
        if let Some(named) = &spec.pipeline
            && !project.pipelines.contains_key(named.value.as_str())
        {
            let known: Vec<&str> = project.pipelines.keys().map(Name::as_str).collect();
            let hint = one_of(&named.value, &known);
            self.problem(
                Rule::InvalidValue,
                named,
                format!("unknown pipeline `{}`", named.value),
                hint,
            );
            return None;
        }
        let wanted = |pipeline: &&Pipeline| {
            spec.pipeline.as_ref().is_none_or(|named| named.value == pipeline.name.as_str())
        };
        let pipelines: Vec<&Pipeline> = project.pipelines.values().filter(wanted).collect();
        let having: Vec<&&Pipeline> =
            pipelines.iter().filter(|pipeline| pipeline.step(table).is_some()).collect();
        let problem = match having.as_slice() {
            [pipeline] => match pipeline.step(table).map(|step| &step.kind) {
                Some(StepKind::Sql(_)) | None => return Some((**pipeline).clone()),
                Some(kind) => {
                    let message = format!("`{table}` is a `{}` step", kind.word());
                    (message, Some("tests are of tables that a query makes".to_owned()))
                }
            },
            [] => {
                let tables: Vec<&str> = pipelines
                    .iter()
                    .flat_map(|pipeline| &pipeline.steps)
                    .filter(|step| matches!(step.kind, StepKind::Sql(_)))
                    .map(|step| step.name.as_str())
                    .collect();
                (format!("unknown table `{table}`"), one_of(table, &tables))
            }
            several => {
                let names: Vec<&str> = several.iter().map(|it| it.name.as_str()).collect();
                let message = format!("`{table}` is a step of `{}`", names.join("` and `"));
                (message, Some(format!("say which with `pipeline: {}`", names[0])))
            }
        };
        self.problem(Rule::UnknownTable, &spec.table, problem.0, problem.1);
        None
    }

    fn variable(
        &mut self,
        name: &Spanned<String>,
        value: &Spanned<Scalar>,
        variables: &mut Variables,
    ) {
        let Some(known) = variables.get_mut(&name.value) else {
            let known: Vec<&str> = variables.keys().map(String::as_str).collect();
            let hint = one_of(&name.value, &known);
            self.problem(Rule::Variable, name, format!("unknown variable `{}`", name.value), hint);
            return;
        };
        let given = value.value.0.to_string();
        match known.parse_like(&given) {
            Some(parsed) => *known = parsed,
            None => {
                let message = format!("`{given}` is not of type {}", known.kind());
                let hint = format!("`{}` is {} in pipelines.yaml", name.value, known.kind());
                self.problem(Rule::Variable, value, message, Some(hint));
            }
        }
    }

    fn instant(&mut self, text: &Spanned<String>) -> Option<DateTime<Utc>> {
        let written = text.value.trim();
        let naive = |format: &str| NaiveDateTime::parse_from_str(written, format).ok();
        let parsed = DateTime::parse_from_rfc3339(written)
            .map(|instant| instant.with_timezone(&Utc))
            .ok()
            .or_else(|| naive("%Y-%m-%dT%H:%M:%S%.f").map(|naive| naive.and_utc()))
            .or_else(|| naive("%Y-%m-%d %H:%M:%S%.f").map(|naive| naive.and_utc()));
        if parsed.is_none() {
            let hint = "expected ISO 8601, for example 2026-03-02T03:00:00Z".to_owned();
            self.problem(
                Rule::InvalidValue,
                text,
                format!("`{written}` is not an instant"),
                Some(hint),
            );
        }
        parsed
    }

    fn outputs(&mut self, spec: &Spanned<ListOr<OutputsSpec>>) -> (Vec<Expected>, Option<Word>) {
        let mut outputs = Vec::new();
        let (block, ctes, fails) = match &spec.value {
            ListOr::List(list) => (Block::of_list(list), &[][..], None),
            ListOr::Long(long) => {
                (Block::of_output(long), long.ctes.0.as_slice(), long.fails.as_ref())
            }
        };
        match self.rows(spec, &block) {
            Found::Rows(rows, place) => outputs.push(self.expected(None, rows, place, &block)),
            Found::Nothing if ctes.is_empty() && fails.is_none() => {
                let hint = "expected `rows`, `csv`, `file`, `ctes` or `fails`".to_owned();
                self.problem(Rule::MissingField, spec, "the test expects nothing", Some(hint));
            }
            Found::Nothing | Found::Broken => {}
        }
        for (name, cte) in ctes {
            let block = Block::of_cte(&cte.value);
            if let Found::Rows(rows, place) = self.rows_or_problem(cte, &block) {
                let name = self.word(name);
                outputs.push(self.expected(Some(name), rows, place, &block));
            }
        }
        (outputs, fails.map(|fails| self.word(fails)))
    }

    fn expected(
        &mut self,
        cte: Option<Word>,
        rows: Rows,
        place: Place,
        block: &Block<'_>,
    ) -> Expected {
        let Block { partial, ordered, .. } = *block;
        let tolerance = self.tolerance(block.tolerance);
        Expected { place, cte, rows, partial, ordered, tolerance }
    }

    fn tolerance(&mut self, given: Option<&Spanned<f64>>) -> f64 {
        match given {
            None => TOLERANCE,
            Some(tolerance) if (0.0..).contains(&tolerance.value) => tolerance.value,
            Some(tolerance) => {
                self.problem(
                    Rule::InvalidValue,
                    tolerance,
                    "expected a number that is not negative",
                    None,
                );
                TOLERANCE
            }
        }
    }

    fn rows_or_problem<T>(&mut self, at: &Spanned<T>, block: &Block<'_>) -> Found {
        let found = self.rows(at, block);
        if let Found::Nothing = found {
            let hint = "expected one of `rows`, `csv` and `file`".to_owned();
            self.problem(Rule::MissingField, at, "there are no rows here", Some(hint));
        }
        found
    }

    fn rows<T>(&mut self, at: &Spanned<T>, block: &Block<'_>) -> Found {
        if let Some(list) = block.list {
            return Found::Rows(self.written(list), self.place(at));
        }
        let given = [block.rows.map(place_of), block.csv.map(place_of), block.file.map(place_of)];
        let given: Vec<Spanned<()>> = given.into_iter().flatten().collect();
        let place = match given.as_slice() {
            [] => return Found::Nothing,
            [only] => self.place(only),
            [_, second, ..] => {
                let hint = "expected one of `rows`, `csv` and `file`".to_owned();
                self.problem(Rule::DuplicateKey, second, "the rows are given twice", Some(hint));
                return Found::Broken;
            }
        };
        let rows = match (block.rows, block.csv, block.file) {
            (Some(rows), _, _) => Some(self.written(&rows.value)),
            (_, Some(csv), _) => Some(Rows::Csv(self.text_of(csv))),
            (_, _, Some(file)) => self.beside(file),
            (None, None, None) => None,
        };
        rows.map_or(Found::Broken, |rows| Found::Rows(rows, place))
    }

    /// A text that stands in the test's file, where it begins, and how far it is indented.
    fn text_of(&self, text: &Spanned<String>) -> Text {
        let place = self.place(text);
        let first = text.value.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let from = place.line.saturating_sub(1);
        let found = self
            .text
            .lines()
            .enumerate()
            .skip(from)
            .find(|(_, line)| line.trim_end().ends_with(first.trim_end()) && !first.is_empty());
        let (line, indent) = found.map_or((place.line, 0), |(index, line)| {
            (index + 1, line.chars().count().saturating_sub(first.chars().count()))
        });
        // Empty lines before the header count as lines of the text.
        let before = text.value.lines().take_while(|line| line.trim().is_empty()).count();
        Text {
            text: text.value.clone(),
            file: self.path.to_owned(),
            line: line.saturating_sub(before).max(1),
            indent,
        }
    }

    /// The rows of a file whose path is relative to the test's.
    fn beside(&mut self, file: &Spanned<String>) -> Option<Rows> {
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let path = match folder {
            "" => file.value.clone(),
            folder => format!("{folder}/{}", file.value),
        };
        let text = match (self.open)(&path) {
            Ok(text) => text,
            Err(error) => {
                let hint = "the path is relative to the folder of the test's file".to_owned();
                self.problem(
                    Rule::MissingFile,
                    file,
                    format!("cannot read `{path}`: {error}"),
                    Some(hint),
                );
                return None;
            }
        };
        let text = Text { text, file: path.clone(), line: 1, indent: 0 };
        match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
            "csv" => Some(Rows::Csv(text)),
            "json" | "jsonl" | "ndjson" => Some(Rows::JsonLines(text)),
            ending => {
                let hint = "expected a `.csv` file or JSON lines (`.jsonl`)".to_owned();
                self.problem(
                    Rule::InvalidValue,
                    file,
                    format!("cannot read rows of a `.{ending}` file"),
                    Some(hint),
                );
                None
            }
        }
    }

    fn written(&self, rows: &[Spanned<RowSpec>]) -> Rows {
        let row = |row: &Spanned<RowSpec>| Row {
            place: Place { length: 1, ..self.place(row) },
            cells: row
                .value
                .0
                .iter()
                .map(|(column, cell)| (self.word(column), self.cell(cell)))
                .collect(),
        };
        Rows::Written(rows.iter().map(row).collect())
    }

    fn cell(&self, cell: &Spanned<CellSpec>) -> Cell {
        let value = match &cell.value {
            CellSpec::Null => CellValue::Null,
            CellSpec::Text(text) => CellValue::Text(text.clone()),
            CellSpec::Plain => CellValue::Text(self.source_of(cell)),
            CellSpec::Nested(value) => CellValue::Nested(value.clone()),
        };
        Cell { value, place: self.place(cell) }
    }

    /// What stands in the file for a plain value.
    fn source_of(&self, cell: &Spanned<CellSpec>) -> String {
        let span = cell.defined.span();
        let number = |value: u64| usize::try_from(value).unwrap_or_default();
        let characters = || {
            let line = self.text.lines().nth(number(cell.defined.line()).saturating_sub(1));
            let from = number(cell.defined.column()).saturating_sub(1);
            line.unwrap_or_default().chars().skip(from).take(number(span.len())).collect()
        };
        match (span.byte_offset().map(number), span.byte_len().map(number)) {
            (Some(from), Some(length)) => self
                .text
                .get(from..from + length)
                .map_or_else(characters, |text| text.trim().to_owned()),
            _ => characters(),
        }
    }
}

fn place_of<T>(value: &Spanned<T>) -> Spanned<()> {
    Spanned::new((), value.referenced, value.defined)
}
