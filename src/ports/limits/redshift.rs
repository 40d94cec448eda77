//! Types and names of Redshift, and which type a Parquet column goes into.

use datafusion::arrow::datatypes::{DataType, TimeUnit};

/// Bytes of a text column that recctl creates: the most there is, since no file says how long its
/// longest text is, and one that does not fit fails the whole COPY.
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_Character_types.html>
const TEXT_BYTES: u32 = 65_535;

/// Bytes of a binary column that recctl creates.
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_VARBYTE_type.html>
const BINARY_BYTES: u32 = 1_024_000;

/// Digits that a decimal may have.
const DECIMAL_DIGITS: u8 = 38;

/// The longest name of a schema, a table or a column, in bytes.
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_names.html>
pub const NAME_BYTES: usize = 127;

/// Columns that a table may have.
/// <https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_TABLE_usage.html>
pub const MOST_COLUMNS: usize = 1_600;

/// Statements that one batch takes, which is one transaction.
/// <https://docs.aws.amazon.com/redshift-data/latest/APIReference/API_BatchExecuteStatement.html>
pub const BATCH: usize = 40;

/// The statements that a load of so many copied tables takes at least: for each a table to copy
/// into, the COPY, a DELETE and an INSERT; beside them the lock, the ledger, a count of rows, and
/// where tables are merged a check of their keys.
pub fn load_statements(copied: usize, merged: bool) -> usize {
    4 * copied + 3 + usize::from(merged)
}

/// The type of a warehouse column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedshiftType {
    Boolean,
    SmallInt,
    Integer,
    BigInt,
    Real,
    Double,
    /// Digits, and those of them behind the point.
    Decimal(u8, i8),
    Date,
    Timestamp,
    TimestampTz,
    /// A text of at most so many bytes.
    Varchar(u32),
    /// At most so many bytes.
    Varbyte(u32),
    Super,
}

impl RedshiftType {
    /// The type that holds a column of an Arrow type once it lies in a Parquet file. The error says
    /// what to do.
    pub fn of(arrow: &DataType) -> Result<Self, &'static str> {
        Ok(match arrow {
            DataType::Boolean => Self::Boolean,
            DataType::Int8 | DataType::Int16 => Self::SmallInt,
            DataType::Int32 => Self::Integer,
            DataType::Int64 => Self::BigInt,
            DataType::Float32 => Self::Real,
            DataType::Float64 => Self::Double,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Varchar(TEXT_BYTES),
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Varbyte(BINARY_BYTES),
            DataType::Date32 => Self::Date,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                return Err("COPY reads no nanoseconds; cast it to `timestamp(6)` in the query");
            }
            DataType::Timestamp(_, None) => Self::Timestamp,
            DataType::Timestamp(_, Some(_)) => Self::TimestampTz,
            DataType::Decimal32(digits, scale)
            | DataType::Decimal64(digits, scale)
            | DataType::Decimal128(digits, scale)
            | DataType::Decimal256(digits, scale)
                if *digits <= DECIMAL_DIGITS && *scale >= 0 =>
            {
                Self::Decimal(*digits, *scale)
            }
            DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..) => {
                return Err("Redshift's decimals have at most 38 digits and no negative scale");
            }
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
            | DataType::Struct(_)
            | DataType::Map(..) => Self::Super,
            DataType::Dictionary(_, values) => Self::of(values)?,
            DataType::RunEndEncoded(_, values) => Self::of(values.data_type())?,
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
                return Err(
                    "Redshift has no numbers without a sign; cast it to `bigint` in the query",
                );
            }
            DataType::Null
            | DataType::Float16
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Duration(_)
            | DataType::Interval(_)
            | DataType::Union(..) => {
                return Err("COPY reads no such type; cast it to another one in the query");
            }
        })
    }

    /// The type for an Arrow type given as its display text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        // Arrow does not parse all that it displays; what a nested type consists of does not matter.
        let nested = ["List", "LargeList", "FixedSizeList", "Struct", "Map"];
        let head = text.split(['(', '<']).next().unwrap_or_default().trim();
        if nested.contains(&head) || head.ends_with("ListView") {
            return Ok(Self::Super);
        }
        match text.parse::<DataType>() {
            Ok(arrow) => Self::of(&arrow),
            Err(_) => Err("the type is not known"),
        }
    }

    /// The type as `svv_columns` describes it; `None` for one that recctl never writes.
    pub fn of_catalog(
        name: &str,
        length: Option<i64>,
        precision: Option<i64>,
        scale: Option<i64>,
    ) -> Option<Self> {
        let bytes = |default| length.map_or(Some(default), |length| u32::try_from(length).ok());
        Some(match name {
            "boolean" => Self::Boolean,
            "smallint" => Self::SmallInt,
            "integer" => Self::Integer,
            "bigint" => Self::BigInt,
            "real" => Self::Real,
            "double precision" => Self::Double,
            "numeric" | "decimal" => Self::Decimal(
                precision.and_then(|digits| digits.try_into().ok())?,
                scale.and_then(|digits| digits.try_into().ok())?,
            ),
            "date" => Self::Date,
            "timestamp without time zone" => Self::Timestamp,
            "timestamp with time zone" => Self::TimestampTz,
            "character varying" => Self::Varchar(bytes(TEXT_BYTES)?),
            "binary varying" | "varbyte" => Self::Varbyte(bytes(BINARY_BYTES)?),
            "super" => Self::Super,
            _ => return None,
        })
    }

    /// The type as in `CREATE TABLE`.
    pub fn declared(self) -> String {
        match self {
            Self::Boolean => "BOOLEAN".to_owned(),
            Self::SmallInt => "SMALLINT".to_owned(),
            Self::Integer => "INTEGER".to_owned(),
            Self::BigInt => "BIGINT".to_owned(),
            Self::Real => "REAL".to_owned(),
            Self::Double => "DOUBLE PRECISION".to_owned(),
            Self::Decimal(digits, scale) => format!("DECIMAL({digits}, {scale})"),
            Self::Date => "DATE".to_owned(),
            Self::Timestamp => "TIMESTAMP".to_owned(),
            Self::TimestampTz => "TIMESTAMPTZ".to_owned(),
            Self::Varchar(bytes) => format!("VARCHAR({bytes})"),
            Self::Varbyte(bytes) => format!("VARBYTE({bytes})"),
            Self::Super => "SUPER".to_owned(),
        }
    }

    /// Whether a column of this type holds every value of the other. Texts and bytes do, whatever
    /// their width, as how long they are is seen only when they are there.
    pub fn holds(self, other: Self) -> bool {
        let whole = |kind| match kind {
            Self::SmallInt => Some(1),
            Self::Integer => Some(2),
            Self::BigInt => Some(3),
            _ => None,
        };
        match (self, other) {
            (Self::Varchar(_), Self::Varchar(_))
            | (Self::Varbyte(_), Self::Varbyte(_))
            | (Self::Double, Self::Real) => true,
            (Self::Decimal(digits, scale), Self::Decimal(other, other_scale)) => {
                scale == other_scale && digits >= other
            }
            (one, other) => match (whole(one), whole(other)) {
                (Some(one), Some(other)) => one >= other,
                _ => one == other,
            },
        }
    }

    /// Bytes of a text column that are fewer than the most there is.
    pub fn narrow(self) -> Option<u32> {
        match self {
            Self::Varchar(bytes) if bytes < TEXT_BYTES => Some(bytes),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_files_have_their_type_in_redshift() {
        for (arrow, declared) in [
            ("Int8", "SMALLINT"),
            ("Int64", "BIGINT"),
            ("Float32", "REAL"),
            ("Utf8View", "VARCHAR(65535)"),
            ("Dictionary(Int32, Utf8)", "VARCHAR(65535)"),
            ("Binary", "VARBYTE(1024000)"),
            ("Date32", "DATE"),
            ("Timestamp(µs)", "TIMESTAMP"),
            ("Timestamp(ms, \"UTC\")", "TIMESTAMPTZ"),
            ("Decimal128(10, 2)", "DECIMAL(10, 2)"),
            ("List(Int64)", "SUPER"),
            ("Struct(\"a\": Int64)", "SUPER"),
        ] {
            let found = RedshiftType::parse(arrow).map(RedshiftType::declared);
            assert_eq!(found.as_deref(), Ok(declared), "{arrow}");
        }
        for arrow in ["UInt64", "Timestamp(ns)", "Null", "Date64", "Decimal256(50, 2)", "x"] {
            assert!(RedshiftType::parse(arrow).is_err(), "{arrow}");
        }
    }

    #[test]
    fn wider_columns_hold_narrower_values() {
        use RedshiftType::*;
        for (column, value) in [
            (BigInt, SmallInt),
            (Double, Real),
            (Decimal(12, 2), Decimal(10, 2)),
            (Varchar(10), Varchar(65_535)),
            (Date, Date),
        ] {
            assert!(column.holds(value), "{column:?} {value:?}");
        }
        for (column, value) in [
            (Integer, BigInt),
            (Real, Double),
            (Decimal(12, 3), Decimal(10, 2)),
            (Timestamp, TimestampTz),
            (Double, BigInt),
            (Varchar(10), BigInt),
        ] {
            assert!(!column.holds(value), "{column:?} {value:?}");
        }
        assert_eq!(
            RedshiftType::of_catalog("numeric", None, Some(10), Some(2)),
            Some(Decimal(10, 2))
        );
        assert_eq!(
            RedshiftType::of_catalog("character varying", Some(9), None, None),
            Some(Varchar(9))
        );
        assert_eq!(RedshiftType::of_catalog("geometry", None, None, None), None);
    }
}
