//! Reads the quarantine.

use datafusion::arrow::array::{Array, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;

use crate::app::open_tables;
use crate::pipeline::interval::LogicalDate;
use crate::pipeline::step::QUARANTINE_TABLE;
use crate::query::scan;
use crate::run::failure::{Failure, FailureKind, Outcome};
use crate::steps::context::Services;

/// Which rows of the quarantine are meant.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    pub step: Option<String>,
    pub date: Option<LogicalDate>,
    /// A part of the rule or of the reason.
    pub reason: Option<String>,
}

/// A row that was refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub step: String,
    /// The day; empty for a table that is replaced whole.
    pub day: String,
    /// The source; empty where the query or a check refused the row.
    pub source: String,
    pub file: String,
    pub line: String,
    pub rule: String,
    pub reason: String,
    pub value: Option<String>,
    pub raw: String,
}

impl Row {
    /// `file:line`, as far as it is known.
    pub fn origin(&self) -> String {
        match (self.file.as_str(), self.line.as_str()) {
            ("", _) => String::new(),
            (file, "0") => file.to_owned(),
            (file, line) => format!("{file}:{line}"),
        }
    }
}

/// Rows by step, day and rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Count {
    pub step: String,
    pub day: String,
    pub rule: String,
    /// Whether the query refused them: its own words are the rule.
    pub of_query: bool,
    pub rows: u64,
}

/// The quarantine of a target; empty where nothing was ever refused.
pub(super) struct Quarantine<'a> {
    services: &'a Services,
    /// Whether its table knows rules and values: an older recctl told the reason alone.
    has_rules: bool,
    is_there: bool,
}

impl<'a> Quarantine<'a> {
    pub async fn open(services: &'a Services) -> Outcome<Self> {
        let table = services.catalog.table(QUARANTINE_TABLE).await?;
        let columns = table.as_ref().map_or(&[][..], |table| &table.columns);
        let has_rules = columns.iter().any(|column| column.name == "rule");
        Ok(Self { services, has_rules, is_there: table.is_some() })
    }

    fn rule(&self) -> &'static str {
        match self.has_rules {
            true => "coalesce(rule, split_part(reason, ':', 1))",
            false => "split_part(reason, ':', 1)",
        }
    }

    fn value(&self) -> &'static str {
        if self.has_rules { "value" } else { "CAST(NULL AS VARCHAR)" }
    }

    fn condition(&self, filter: &Filter) -> String {
        let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let mut parts = vec!["true".to_owned()];
        parts.extend(filter.step.as_ref().map(|step| format!("step = {}", text(step))));
        // A table that is replaced whole has no day, and is of any.
        parts.extend(filter.date.map(|date| format!("(dt = DATE '{date}' OR dt IS NULL)")));
        if let Some(reason) = &filter.reason {
            let (rule, reason) = (self.rule(), text(&reason.to_lowercase()));
            parts.push(format!(
                "(strpos(lower({rule}), {reason}) > 0 OR strpos(lower(reason), {reason}) > 0)"
            ));
        }
        parts.join(" AND ")
    }

    /// How many rows there are by step, day and rule, the most first.
    pub async fn counts(&self, filter: &Filter) -> Outcome<Vec<Count>> {
        let (rule, value, condition) = (self.rule(), self.value(), self.condition(filter));
        let query = format!(
            "SELECT step, dt, {rule} AS rule, source = '' AND {value} IS NULL AS own, count(*) AS n \
             FROM {QUARANTINE_TABLE} WHERE {condition} GROUP BY 1, 2, 3, 4 \
             ORDER BY step, dt, n DESC, rule"
        );
        let rows = self.read(&query).await?;
        let count = |cells: Vec<Option<String>>| {
            let mut cells = cells.into_iter().map(Option::unwrap_or_default);
            let mut next = || cells.next().unwrap_or_default();
            let (step, day, rule, own) = (next(), next(), next(), next());
            Count { step, day, rule, of_query: own == "true", rows: next().parse().unwrap_or(0) }
        };
        Ok(rows.into_iter().map(count).collect())
    }

    /// The first rows by step, day, file and line; all without a limit.
    pub async fn rows(&self, filter: &Filter, limit: Option<usize>) -> Outcome<Vec<Row>> {
        let (rule, value, condition) = (self.rule(), self.value(), self.condition(filter));
        let limit = limit.map_or_else(String::new, |limit| format!(" LIMIT {limit}"));
        let query = format!(
            "SELECT step, dt, source, file, line, {rule} AS rule, reason, {value} AS value, raw \
             FROM {QUARANTINE_TABLE} WHERE {condition} ORDER BY step, dt, file, line, raw{limit}"
        );
        let rows = self.read(&query).await?;
        let row = |cells: Vec<Option<String>>| {
            let mut cells = cells.into_iter();
            let mut optional = || cells.next().flatten();
            let mut next = || optional().unwrap_or_default();
            let (step, day, source, file) = (next(), next(), next(), next());
            let (line, rule, reason) = (next(), next(), next());
            let value = optional();
            let raw = optional().unwrap_or_default();
            Row { step, day, source, file, line, rule, reason, value, raw }
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// The cells of a query's rows as text.
    async fn read(&self, query: &str) -> Outcome<Vec<Vec<Option<String>>>> {
        if !self.is_there {
            return Ok(Vec::new());
        }
        let session = open_tables(self.services).await?;
        let mut stream = scan::rows(&self.services.query, session, query).await?;
        let mut rows = Vec::new();
        while let Some(batch) = stream.next().await? {
            rows.extend(texts(&batch)?);
        }
        Ok(rows)
    }
}

fn texts(batch: &RecordBatch) -> Outcome<Vec<Vec<Option<String>>>> {
    let failed = |what: &dyn std::fmt::Display| {
        Failure::new(FailureKind::Internal, format!("cannot read the quarantine: {what}"))
    };
    let columns = batch
        .columns()
        .iter()
        .map(|column| cast(column, &DataType::Utf8).map_err(|error| failed(&error)))
        .collect::<Outcome<Vec<_>>>()?;
    let columns = columns
        .iter()
        .map(|column| column.as_any().downcast_ref::<StringArray>())
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| failed(&"a column is no text"))?;
    let cell =
        |column: &&StringArray, row| column.is_valid(row).then(|| column.value(row).to_owned());
    Ok((0..batch.num_rows())
        .map(|row| columns.iter().map(|column| cell(column, row)).collect())
        .collect())
}
