//! JSON Schema of the files, for editors: from the types that read them, whose docs are its
//! descriptions.

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::job::JobSpec;
use super::project::ProjectSpec;
use super::test::TestFileSpec;
use crate::pipeline::name::MAX_NAME_LENGTH;
use crate::pipeline::schema::ColumnType;

/// A kind of file that has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// `pipelines.yaml`.
    Pipelines,
    /// `jobs/*.yaml`.
    Job,
    /// `tests/*.yaml`.
    Tests,
}

impl File {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Pipelines, Self::Job, Self::Tests];

    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pipelines => "pipelines",
            Self::Job => "job",
            Self::Tests => "tests",
        }
    }

    /// The name of the schema's file.
    pub fn file_name(self) -> String {
        format!("{}.schema.json", self.word())
    }

    fn title(self) -> &'static str {
        match self {
            Self::Pipelines => "recctl: pipelines.yaml",
            Self::Job => "recctl: jobs/<job>.yaml",
            Self::Tests => "recctl: tests/<name>.yaml",
        }
    }

    /// The schema, draft 2020-12, as indented text that ends with a line break.
    pub fn schema(self) -> String {
        let mut schema = match self {
            Self::Pipelines => of::<ProjectSpec>(),
            Self::Job => of::<JobSpec>(),
            Self::Tests => of::<TestFileSpec>(),
        };
        schema.insert("title".to_owned(), json!(self.title()));
        RecursiveTransform(tidy).transform(&mut schema);
        format!("{:#}\n", schema.to_value())
    }
}

fn of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<T>()
}

/// A number of days (`28d`, `4w`).
pub(super) const DAYS: &str = "^[0-9]+[dw]?$";
/// A time on a clock of 24 hours (`03:00`).
pub(super) const CLOCK: &str = "^([01][0-9]|2[0-3]):[0-5][0-9]$";
/// A length of time (`6h`, `90m`).
pub(super) const TIME: &str = "^[0-9]+[hms]$";

/// What names are made of.
pub(super) fn names() -> Value {
    json!({ "pattern": format!("^[a-z][a-z0-9_]{{0,{}}}$", MAX_NAME_LENGTH - 1) })
}

/// The types of columns, with `?` behind them where a row may lack the value.
pub(super) fn column_types() -> String {
    let words: Vec<&str> = ColumnType::ALL.iter().map(|(word, _)| *word).collect();
    format!("^({})[?]?$", words.join("|"))
}

/// A text that is one of some words.
pub(super) fn one_of(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}

/// A step is of one kind, and has fields that are for it.
pub(super) fn step(schema: &mut Schema) {
    exactly_one(schema, &["sql", "train", "tune", "select", "score", "load"]);
    let of_sql = [
        "partition_by",
        "unique_key",
        "publish",
        "warehouse",
        "schema_change",
        "reads",
        "times",
        "checks",
        "untag",
    ];
    let mut needs: Map<String, Value> =
        of_sql.iter().map(|field| ((*field).to_owned(), json!(["sql"]))).collect();
    for kind in ["train", "tune"] {
        needs.insert(kind.to_owned(), json!(["inputs"]));
    }
    schema.insert("dependentRequired".to_owned(), Value::Object(needs));
}

/// The fields of a check that say what holds.
pub(super) const CHECK_RULES: [&str; 11] = [
    "not_null",
    "unique",
    "accepted_values",
    "range",
    "rows",
    "min_rows",
    "freshness",
    "references",
    "expression",
    "distribution",
    "dqdl",
];

/// A check says one thing.
pub(super) fn check(schema: &mut Schema) {
    exactly_one(schema, &CHECK_RULES);
}

fn exactly_one(schema: &mut Schema, fields: &[&str]) {
    let one: Vec<Value> = fields.iter().map(|field| json!({ "required": [field] })).collect();
    schema.insert("oneOf".to_owned(), Value::Array(one));
}

/// Takes out what is about Rust and not about the files: that an absent field may be `null` too,
/// the widths of numbers, line breaks of comments.
fn tidy(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("format");
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text =
            text.split("\n\n").map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    let is_null = |choice: &Value| choice.get("type").is_some_and(|kind| kind == "null");
    if let Some(Value::Array(choices)) = object.get("anyOf")
        && let [choice, null] = choices.as_slice()
        && is_null(null)
        && let Value::Object(choice) = choice.clone()
    {
        object.remove("anyOf");
        for (key, value) in choice {
            object.entry(key).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_closed_and_described() {
        for file in File::ALL {
            let schema: Value = serde_json::from_str(&file.schema()).unwrap();
            assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
            assert_eq!(schema["additionalProperties"], false);
            let text = schema.to_string();
            for word in ["\"null\"", ":null", "\"format\":\"uint"] {
                assert!(!text.contains(word), "{file:?}: {word} in {text}");
            }
            let mut bare = Vec::new();
            undescribed("", &schema, &mut bare);
            assert!(bare.is_empty(), "{file:?}: fields without a description: {bare:?}");
        }
    }

    fn undescribed(path: &str, schema: &Value, bare: &mut Vec<String>) {
        if let Some(fields) = schema.get("properties").and_then(Value::as_object) {
            for (name, field) in fields {
                if field.get("description").is_none() {
                    bare.push(format!("{path}/{name}"));
                }
            }
        }
        let children = schema.as_object().into_iter().flatten();
        for (name, child) in children {
            undescribed(&format!("{path}/{name}"), child, bare);
        }
    }
}
