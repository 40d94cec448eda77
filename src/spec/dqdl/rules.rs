//! What each type of rule means.

use super::condition::{Condition, Operand, Refused, column};
use super::{COLUMNS, INTERVAL_END};
use crate::pipeline::check::{CHECKED_TABLE, CheckRule};
use crate::pipeline::name::Name;
use crate::pipeline::nearest::nearest;

/// One rule as written.
pub struct Leaf<'a> {
    /// Its type.
    pub name: &'a str,
    /// Its parameters.
    pub parameters: &'a [String],
    /// The condition on what it measures.
    pub condition: Option<Condition>,
    /// The rows that it is about.
    pub filter: Option<String>,
    /// The condition on the share of rows that hold it.
    pub threshold: Option<Condition>,
}

/// What a rule is as a check, where it stands alone.
pub enum Meaning {
    /// A check that there is.
    Rule {
        /// The check.
        rule: CheckRule,
        /// The share of rows that may break it.
        share: Option<f64>,
    },
    /// A condition on each row.
    Rows(String),
    /// A condition on figures of the whole table.
    Measured,
}

/// The types that are read.
pub const KNOWN: [&str; 20] = [
    "RowCount",
    "ColumnCount",
    "ColumnExists",
    "Completeness",
    "IsComplete",
    "Uniqueness",
    "IsUnique",
    "IsPrimaryKey",
    "UniqueValueRatio",
    "DistinctValuesCount",
    "ColumnValues",
    "ColumnLength",
    "Mean",
    "Sum",
    "StandardDeviation",
    "Entropy",
    "ColumnCorrelation",
    "DataFreshness",
    "ReferentialIntegrity",
    "CustomSql",
];

/// The types that are not, each with the nearest there is.
const OTHERS: [(&str, &str); 14] = [
    ("Variance", "`StandardDeviation` is its root"),
    (
        "ColumnDataType",
        "types of raw columns are declared under `sources`, those of a query by `CAST`",
    ),
    ("ColumnNamesMatchPattern", "`ColumnExists` and `ColumnCount` tell which columns there are"),
    ("RowCountMatch", "compare counts with an `expression` of a query over both tables"),
    ("DatasetMatch", "`recctl diff` compares two tables"),
    ("SchemaMatch", "`schema_change: stop` refuses other columns than those that are published"),
    ("AggregateMatch", "compare sums with `CustomSql`, or in a query over both tables"),
    ("DetectAnomalies", "the check `distribution` compares a figure with those of the runs before"),
    ("AllStatistics", "it gathers figures and judges nothing: leave it out"),
    ("FileMatch", "raw files are told apart by their content when a run is planned"),
    ("FileUniqueness", "raw files are told apart by their content when a run is planned"),
    ("FileFreshness", "a day without raw files ends a run; `freshness` judges rows"),
    ("FileSize", "a day without raw files ends a run; `rows` judges how many there are"),
    ("JobStatus", "a run is not published unless all of it went well"),
];

type Read = Result<(Meaning, String, Vec<String>), Refused>;

/// What a rule means: as a check where it stands alone, and as a condition on the whole table, with
/// the figures to tell where that does not hold. Errors: what is wrong, and what to do.
pub fn meaning(leaf: &Leaf<'_>) -> Read {
    if let (Some(_), false) = (&leaf.threshold, is_of_rows(leaf.name)) {
        return refused(
            format!("`{}` has no threshold", leaf.name),
            "`with threshold` is for rules that judge each row",
        );
    }
    match leaf.name {
        "RowCount" => leaf.figure(0..=1, &|rows, _| format!("(SELECT count(*) FROM {rows})")),
        "ColumnCount" => leaf.figure(0..=0, &|_, _| COLUMNS.to_owned()),
        "ColumnExists" => {
            leaf.no_condition()?;
            let name = column(leaf.only()?);
            // A name that is none is told when it is planned.
            let holds = format!("(SELECT count({name}) FROM {CHECKED_TABLE}) >= 0");
            Ok((Meaning::Measured, holds, Vec::new()))
        }
        "Completeness" => leaf.figure(1..=1, &|rows, columns| {
            let share = format!("avg(CASE WHEN {} IS NOT NULL THEN 1.0 ELSE 0.0 END)", columns[0]);
            format!("(SELECT {share} FROM {rows})")
        }),
        "Uniqueness" => leaf.figure(1..=16, &|rows, columns| {
            let once = "CAST(sum(CASE WHEN n = 1 THEN 1 ELSE 0 END) AS DOUBLE)";
            format!("(SELECT {once} / sum(n) FROM {})", groups(rows, columns))
        }),
        "UniqueValueRatio" => leaf.figure(1..=16, &|rows, columns| {
            let once = "CAST(sum(CASE WHEN n = 1 THEN 1 ELSE 0 END) AS DOUBLE)";
            format!("(SELECT {once} / count(*) FROM {})", groups(rows, columns))
        }),
        "DistinctValuesCount" => leaf.figure(1..=1, &|rows, columns| {
            format!("(SELECT count(DISTINCT {}) FROM {rows})", columns[0])
        }),
        "Mean" => leaf.aggregate("avg"),
        "Sum" => leaf.aggregate("sum"),
        // Of the population, as Deequ has it.
        "StandardDeviation" => leaf.aggregate("stddev_pop"),
        "Entropy" => leaf.figure(1..=1, &|rows, columns| {
            let share = "(CAST(n AS DOUBLE) / t)";
            let all = format!("SELECT n, sum(n) OVER () AS t FROM {}", groups(rows, columns));
            format!("(SELECT sum(-{share} * ln({share})) FROM ({all}))")
        }),
        "ColumnCorrelation" => leaf.figure(2..=2, &|rows, columns| {
            format!("(SELECT corr({}, {}) FROM {rows})", columns[0], columns[1])
        }),
        "IsComplete" => {
            leaf.no_condition()?;
            let name = leaf.only()?;
            let (meaning, holds, observed) = leaf.rows(format!("{} IS NOT NULL", column(name)))?;
            let is_plain = leaf.filter.is_none() && leaf.threshold.is_none();
            let rule = CheckRule::NotNull(vec![name.to_owned()]);
            let meaning = if is_plain { Meaning::Rule { rule, share: None } } else { meaning };
            Ok((meaning, holds, observed))
        }
        "IsUnique" | "IsPrimaryKey" => leaf.key(),
        "ColumnValues" => leaf.rows_where(&column(leaf.only()?)),
        // Glue takes a NULL for an empty text here.
        "ColumnLength" => {
            leaf.rows_where(&format!("length(coalesce({}, ''))", column(leaf.only()?)))
        }
        "DataFreshness" => leaf.freshness(),
        "ReferentialIntegrity" => leaf.references(),
        "CustomSql" | "CustomSQL" => {
            let Some(Condition::Compared(..) | Condition::Between { .. } | Condition::In { .. }) =
                &leaf.condition
            else {
                return refused(
                    "`CustomSql` without a condition on a number is not read",
                    "select one number and compare it; a condition on rows is `expression`",
                );
            };
            let query = leaf.only()?.trim().trim_end_matches(';').to_owned();
            leaf.compared(&format!("({query})"))
        }
        other => Err(unknown(other)),
    }
}

fn is_of_rows(name: &str) -> bool {
    ["ColumnValues", "ColumnLength", "IsComplete", "DataFreshness"].contains(&name)
}

fn unknown(name: &str) -> Refused {
    if let Some((_, hint)) = OTHERS.iter().find(|(other, _)| *other == name) {
        return (format!("rules of type `{name}` are not read"), (*hint).to_owned());
    }
    let hint = match nearest(name, KNOWN) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("expected one of `{}`", KNOWN.join("`, `")),
    };
    (format!("unknown rule type `{name}`"), hint)
}

fn refused<T>(message: impl Into<String>, hint: &str) -> Result<T, Refused> {
    Err((message.into(), hint.to_owned()))
}

/// The rows with a key by value: those without any value have none.
fn groups(rows: &str, columns: &[String]) -> String {
    let some: Vec<String> = columns.iter().map(|it| format!("{it} IS NOT NULL")).collect();
    let joint = if rows.contains(" WHERE ") { "AND" } else { "WHERE" };
    let (some, list) = (some.join(" OR "), columns.join(", "));
    format!("(SELECT count(*) AS n FROM {rows} {joint} ({some}) GROUP BY {list})")
}

impl Leaf<'_> {
    fn only(&self) -> Result<&str, Refused> {
        match self.parameters {
            [only] => Ok(only),
            _ => refused(
                format!("`{}` takes one parameter, found {}", self.name, self.parameters.len()),
                "name a column in double quotes",
            ),
        }
    }

    fn no_condition(&self) -> Result<(), Refused> {
        match self.condition {
            None => Ok(()),
            Some(_) => refused(format!("`{}` takes no condition", self.name), "leave it out"),
        }
    }

    /// The rows that it is about, for `FROM`.
    fn source(&self) -> String {
        match &self.filter {
            Some(filter) => format!("{CHECKED_TABLE} WHERE ({filter})"),
            None => CHECKED_TABLE.to_owned(),
        }
    }

    fn compared(&self, figure: &str) -> Read {
        let Some(condition) = &self.condition else {
            return refused(
                format!("`{}` has no condition", self.name),
                "write `> 0.95`, for example",
            );
        };
        let holds = condition.of_figure(figure)?;
        Ok((Meaning::Measured, holds, vec![figure.to_owned()]))
    }

    fn figure(
        &self,
        takes: std::ops::RangeInclusive<usize>,
        sql: &dyn Fn(&str, &[String]) -> String,
    ) -> Read {
        let columns: Vec<String> = self.parameters.iter().map(|name| column(name)).collect();
        if !takes.contains(&columns.len()) {
            let message = format!(
                "`{}` takes {} columns, found {}",
                self.name,
                match (takes.start(), takes.end()) {
                    (least, most) if least == most => least.to_string(),
                    (least, most) => format!("{least} to {most}"),
                },
                columns.len()
            );
            return refused(message, "name them in double quotes");
        }
        self.compared(&sql(&self.source(), &columns))
    }

    fn aggregate(&self, function: &str) -> Read {
        self.figure(1..=1, &|rows, columns| {
            format!("(SELECT CAST({function}({}) AS DOUBLE) FROM {rows})", columns[0])
        })
    }

    fn key(&self) -> Read {
        self.no_condition()?;
        if self.parameters.is_empty() {
            return refused(format!("`{}` names no column", self.name), "name it in double quotes");
        }
        let columns: Vec<String> = self.parameters.iter().map(|name| column(name)).collect();
        let repeated =
            format!("(SELECT coalesce(sum(n - 1), 0) FROM {})", groups(&self.source(), &columns));
        let mut holds = format!("{repeated} = 0");
        let mut observed = vec![repeated];
        if self.name == "IsPrimaryKey" {
            let some: Vec<String> = columns.iter().map(|it| format!("{it} IS NULL")).collect();
            let joint = if self.filter.is_some() { "AND" } else { "WHERE" };
            let lacking =
                format!("(SELECT count(*) FROM {} {joint} ({}))", self.source(), some.join(" OR "));
            holds = format!("({holds} AND {lacking} = 0)");
            observed.push(lacking);
        }
        Ok((Meaning::Measured, holds, observed))
    }

    fn rows_where(&self, value: &str) -> Read {
        let Some(condition) = &self.condition else {
            return refused(
                format!("`{}` has no condition", self.name),
                "write `in [\"a\", \"b\"]` or `between 1 and 5`, for example",
            );
        };
        self.rows(condition.of_value(value)?)
    }

    /// A condition on each row, or on the share of rows that hold it.
    fn rows(&self, condition: String) -> Read {
        let rows = self.source();
        if let Some(threshold) = &self.threshold {
            let share =
                format!("(SELECT avg(CASE WHEN {condition} THEN 1.0 ELSE 0.0 END) FROM {rows})");
            return Ok((Meaning::Measured, threshold.of_figure(&share)?, vec![share]));
        }
        let joint = if self.filter.is_some() { "AND" } else { "WHERE" };
        let broken = format!("(SELECT count(*) FROM {rows} {joint} NOT ({condition}))");
        let holds = format!("{broken} = 0");
        // What has to know the day is judged when the table is written.
        if self.condition.as_ref().is_some_and(Condition::asks_time)
            || condition.contains(INTERVAL_END)
        {
            return Ok((Meaning::Measured, holds, vec![broken]));
        }
        let each = match &self.filter {
            Some(filter) => format!("CASE WHEN ({filter}) THEN ({condition}) ELSE true END"),
            None => condition,
        };
        Ok((Meaning::Rows(each), holds, vec![broken]))
    }

    fn freshness(&self) -> Read {
        let seconds = |operand: &Operand| match operand {
            Operand::Seconds(seconds) => Ok(Operand::Number(*seconds)),
            _ => refused("an age is a length of time", "write `<= 24 hours`, for example"),
        };
        let condition = match &self.condition {
            Some(Condition::Compared(sign, operand)) => {
                Condition::Compared(sign, seconds(operand)?)
            }
            Some(Condition::Between { negated, low, high }) => {
                Condition::Between { negated: *negated, low: seconds(low)?, high: seconds(high)? }
            }
            _ => return refused("`DataFreshness` has no age", "write `<= 24 hours`, for example"),
        };
        let time = format!("CAST({} AS TIMESTAMP)", column(self.only()?));
        let age = format!("(date_part('epoch', {INTERVAL_END}) - date_part('epoch', {time}))");
        self.rows(condition.of_value(&age)?)
    }

    /// `ReferentialIntegrity "a,b" "table.{c,d}" >= 0.99`.
    fn references(&self) -> Read {
        let [own, other] = self.parameters else {
            return refused(
                "`ReferentialIntegrity` takes two parameters",
                "write `ReferentialIntegrity \"column\" \"table.column\" = 1.0`",
            );
        };
        if self.filter.is_some() {
            return refused("`ReferentialIntegrity` has no `where`", "leave it out");
        }
        let names = |text: &str| -> Vec<String> {
            text.split(',').map(|name| name.trim().to_owned()).collect()
        };
        let Some((table, keys)) = other.split_once('.') else {
            return refused(
                format!("`{other}` names no column of a table"),
                "write `table.column`",
            );
        };
        let keys = names(keys.trim_start_matches('{').trim_end_matches('}'));
        let columns = names(own);
        if columns.len() != keys.len() {
            let message = format!("{} columns cannot refer to {}", columns.len(), keys.len());
            return refused(message, "name as many of one table as of the other");
        }
        let Ok(table) = Name::new(table) else {
            return refused(
                format!("`{table}` is no table of the pipeline"),
                "the alias of a reference is the name of a table here",
            );
        };
        let share = match &self.condition {
            None | Some(Condition::Compared("=", Operand::Number(1.0))) => 0.0,
            Some(Condition::Compared(">=", Operand::Number(share))) => 1.0 - share,
            // So few less that no number of rows lies between.
            Some(Condition::Compared(">", Operand::Number(share))) => 1.0 - share - 1e-12,
            Some(_) => {
                return refused(
                    "`ReferentialIntegrity` is compared by `=` with 1.0, by `>=` or by `>`",
                    "write `= 1.0` or `>= 0.99`",
                );
            }
        };
        let rule = CheckRule::References { columns, table, referenced: keys };
        let share = Some(share.clamp(0.0, 1.0));
        Ok((Meaning::Rule { rule, share }, "true".to_owned(), Vec::new()))
    }
}
