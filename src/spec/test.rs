//! Test files as written.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::yaml::{Entries, Scalar, Spanned};

/// A whole file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestFileSpec {
    /// Tests by what they show.
    pub tests: Entries<TestSpec>,
}

/// A test of a table's query.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestSpec {
    /// Why it is there, for people.
    #[serde(default)]
    #[expect(dead_code, reason = "documentation in the file, checked to be text")]
    pub description: Option<String>,
    /// The SQL step whose query is tested.
    pub table: Spanned<String>,
    /// The pipeline of the step; needed only where several have a step of that name.
    #[serde(default)]
    pub pipeline: Option<Spanned<String>>,
    /// The day that the data is about.
    #[serde(default)]
    pub logical_date: Option<Spanned<String>>,
    /// What `now()` is; the end of the day if not said.
    #[serde(default)]
    pub now: Option<Spanned<String>>,
    /// Values of variables for this test.
    #[serde(default)]
    pub vars: Entries<Spanned<Scalar>>,
    /// Rows of the sources and tables that the query reads, or in the place of one of its CTEs.
    /// What is not named is empty.
    #[serde(default)]
    pub inputs: Entries<Spanned<RowsSpec>>,
    /// What must come out.
    pub outputs: Spanned<ListOr<OutputsSpec>>,
}

/// Rows: a list of mappings, or where they are.
pub type RowsSpec = ListOr<LongRowsSpec>;
/// A row: values by column.
pub type RowSpec = Entries<Spanned<CellSpec>>;

/// Rows with one of the ways to write them.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LongRowsSpec {
    /// A list of mappings.
    #[serde(default)]
    pub rows: Option<Spanned<Vec<Spanned<RowSpec>>>>,
    /// CSV with a header line.
    #[serde(default)]
    pub csv: Option<Spanned<String>>,
    /// A file beside the test's, `.csv` or JSON lines.
    #[serde(default)]
    pub file: Option<Spanned<String>>,
}

/// What must come out.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputsSpec {
    /// A list of mappings.
    #[serde(default)]
    pub rows: Option<Spanned<Vec<Spanned<RowSpec>>>>,
    /// CSV with a header line.
    #[serde(default)]
    pub csv: Option<Spanned<String>>,
    /// A file beside the test's, `.csv` or JSON lines.
    #[serde(default)]
    pub file: Option<Spanned<String>>,
    /// Whether of each row only the columns that it writes are compared.
    #[serde(default)]
    pub partial: bool,
    /// Whether the order of rows counts.
    #[serde(default)]
    pub ordered: bool,
    /// By how much floating-point numbers may differ.
    #[serde(default)]
    pub tolerance: Option<Spanned<f64>>,
    /// Rows of the query's CTEs.
    #[serde(default)]
    pub ctes: Entries<Spanned<ListOr<CteSpec>>>,
    /// A piece of what a run would refuse the rows with.
    #[serde(default)]
    pub fails: Option<Spanned<String>>,
}

/// Rows of a CTE.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CteSpec {
    /// A list of mappings.
    #[serde(default)]
    pub rows: Option<Spanned<Vec<Spanned<RowSpec>>>>,
    /// CSV with a header line.
    #[serde(default)]
    pub csv: Option<Spanned<String>>,
    /// A file beside the test's, `.csv` or JSON lines.
    #[serde(default)]
    pub file: Option<Spanned<String>>,
    /// Whether of each row only the columns that it writes are compared.
    #[serde(default)]
    pub partial: bool,
    /// Whether the order of rows counts.
    #[serde(default)]
    pub ordered: bool,
    /// By how much floating-point numbers may differ.
    #[serde(default)]
    pub tolerance: Option<Spanned<f64>>,
}

/// A list of rows, or a mapping that says more.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub enum ListOr<T> {
    /// The rows alone.
    List(Vec<Spanned<RowSpec>>),
    /// More than that.
    Long(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for ListOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = ListOr<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of rows, or a mapping with `rows`, `csv` or `file`")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(ListOr::List)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(ListOr::Long)
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(ListOr::List(Vec::new()))
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

impl JsonSchema for CellSpec {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Cell".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        true.into()
    }
}

/// A value, whose type its column decides.
#[derive(Debug, Clone)]
pub enum CellSpec {
    /// `null`.
    Null,
    /// Text.
    Text(String),
    /// A number or a boolean for YAML: what stands in the file counts, since a column of text may
    /// well hold `007` or `NO`.
    Plain,
    /// A list or a mapping.
    Nested(serde_json::Value),
}

impl<'de> Deserialize<'de> for CellSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyCell;
        impl<'de> Visitor<'de> for AnyCell {
            type Value = CellSpec;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<CellSpec, E> {
                Ok(CellSpec::Null)
            }
            fn visit_bool<E>(self, _: bool) -> Result<CellSpec, E> {
                Ok(CellSpec::Plain)
            }
            fn visit_i64<E>(self, _: i64) -> Result<CellSpec, E> {
                Ok(CellSpec::Plain)
            }
            fn visit_u64<E>(self, _: u64) -> Result<CellSpec, E> {
                Ok(CellSpec::Plain)
            }
            fn visit_i128<E>(self, _: i128) -> Result<CellSpec, E> {
                Ok(CellSpec::Plain)
            }
            fn visit_u128<E>(self, _: u128) -> Result<CellSpec, E> {
                Ok(CellSpec::Plain)
            }
            fn visit_f64<E>(self, _: f64) -> Result<CellSpec, E> {
                Ok(CellSpec::Plain)
            }
            fn visit_str<E>(self, text: &str) -> Result<CellSpec, E> {
                Ok(CellSpec::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<CellSpec, A::Error> {
                let list = serde_json::Value::deserialize(SeqAccessDeserializer::new(list));
                list.map(CellSpec::Nested)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CellSpec, A::Error> {
                let map = serde_json::Value::deserialize(MapAccessDeserializer::new(map));
                map.map(CellSpec::Nested)
            }
        }
        deserializer.deserialize_any(AnyCell)
    }
}
