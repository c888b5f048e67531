//! The types of columns in a MySQL target: which one a column of the lake gets, and how one is widened. Pure.
//!
//! A type is only ever widened. Where the target's is wider than needed it stays; where no type holds both what the target
//! has and what the lake has, the migration is refused.

use anyhow::{Result, bail};
use arrow::datatypes::{DataType, Field, TimeUnit};

/// Characters of a text until one is longer: a text of the key may have no more.
pub const SHORT_TEXT: u32 = 255;

/// Bytes that the columns of an InnoDB key may have.
const KEY_BYTES: u32 = 3072;

/// Bytes of the longest character in utf8mb4.
const CHAR_BYTES: u32 = 4;

/// Columns of short text that fit into one row; further ones are stored beside it.
const SHORT_TEXTS: usize = 48;

/// The type of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// `TINYINT(1)`: 0 or 1, and other integers of a byte.
    Boolean,
    /// `SMALLINT` and `MEDIUMINT`, which only others create.
    Small,
    /// `INT`.
    Int,
    /// `BIGINT`.
    BigInt,
    /// `DECIMAL`, with its digits and those of them after the point.
    Decimal(u8, u8),
    /// `DOUBLE`.
    Double,
    /// `DATE`.
    Date,
    /// `DATETIME`, with the digits of its seconds' fraction.
    DateTime(u8),
    /// `VARCHAR` of so many characters.
    Varchar(u32),
    /// `TEXT`, `MEDIUMTEXT` or `LONGTEXT`, by the bytes it holds.
    Text(Size),
    /// Anything else, which no export creates.
    Other(String),
}

/// How much a large text holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// 65,535 bytes.
    Plain,
    /// 16,777,215 bytes.
    Medium,
    /// 4,294,967,295 bytes.
    Long,
}

impl Type {
    /// Reads a type as `information_schema.columns.column_type` spells it.
    pub fn parse(text: &str) -> Self {
        let lower = text.trim().to_ascii_lowercase();
        let (name, rest) = lower.split_at(lower.find(['(', ' ']).unwrap_or(lower.len()));
        let (arguments, attributes) = match rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            Some((arguments, attributes)) => (arguments, attributes.trim()),
            None => ("", rest.trim()),
        };
        let numbers: Vec<u32> = arguments.split(',').filter_map(|n| n.trim().parse().ok()).collect();
        let digits = |at: usize| numbers.get(at).and_then(|n| u8::try_from(*n).ok());
        let kind = match name {
            "tinyint" => Self::Boolean,
            "smallint" | "mediumint" => Self::Small,
            "int" => Self::Int,
            "bigint" => Self::BigInt,
            "decimal" => Self::Decimal(digits(0).unwrap_or(10), digits(1).unwrap_or(0)),
            "double" => Self::Double,
            "date" => Self::Date,
            "datetime" => Self::DateTime(digits(0).unwrap_or(0)),
            "varchar" => Self::Varchar(numbers.first().copied().unwrap_or(1)),
            "text" => Self::Text(Size::Plain),
            "mediumtext" => Self::Text(Size::Medium),
            "longtext" => Self::Text(Size::Long),
            _ => return Self::Other(text.to_owned()),
        };
        // Unsigned and zero-filled columns hold other values, or spell them otherwise.
        if attributes.is_empty() { kind } else { Self::Other(text.to_owned()) }
    }

    /// The type as SQL spells it.
    pub fn sql(&self) -> String {
        match self {
            Self::Boolean => "boolean".to_owned(),
            Self::Small => "mediumint".to_owned(),
            Self::Int => "int".to_owned(),
            Self::BigInt => "bigint".to_owned(),
            Self::Decimal(precision, scale) => format!("decimal({precision},{scale})"),
            Self::Double => "double".to_owned(),
            Self::Date => "date".to_owned(),
            Self::DateTime(0) => "datetime".to_owned(),
            Self::DateTime(digits) => format!("datetime({digits})"),
            Self::Varchar(chars) => format!("varchar({chars})"),
            Self::Text(Size::Plain) => "text".to_owned(),
            Self::Text(Size::Medium) => "mediumtext".to_owned(),
            Self::Text(Size::Long) => "longtext".to_owned(),
            Self::Other(text) => text.clone(),
        }
    }

    /// Whether it is text, which has a collation.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Varchar(_) | Self::Text(_))
    }

    /// How many characters a value may have; `None` where there is no such limit.
    pub fn most_chars(&self) -> Option<usize> {
        match self {
            Self::Varchar(chars) => Some(*chars as usize),
            _ => None,
        }
    }

    /// How many bytes a value may have; `None` where there is no such limit.
    pub fn most_bytes(&self) -> Option<usize> {
        match self {
            Self::Text(size) => Some(size.bytes()),
            _ => None,
        }
    }

    /// The narrowest type that holds all that either holds; `None` when there is none.
    pub fn widened(&self, other: &Self) -> Option<Self> {
        use Type::{Date, DateTime, Decimal, Text, Varchar};
        if let (Some(a), Some(b)) = (self.integer_digits(), other.integer_digits()) {
            return Some(if a >= b { self.clone() } else { other.clone() });
        }
        Some(match (self, other) {
            (a, b) if a == b => a.clone(),
            (Decimal(p, s), Decimal(q, t)) => {
                let (whole, part) = ((p - s).max(q - t), *s.max(t));
                return decimal(whole + part, part);
            }
            // Integers become decimals exactly; a decimal never becomes an integer, and stays as it is.
            (a, Decimal(p, s)) => return decimal(a.integer_digits()?.max(p - s) + s, *s),
            (Varchar(a), Varchar(b)) => Varchar(*a.max(b)),
            (Text(a), Text(b)) => Text(*a.max(b)),
            (Varchar(chars), Text(size)) | (Text(size), Varchar(chars)) => {
                Text((*size).max(Size::of(*chars as usize * CHAR_BYTES as usize)))
            }
            (DateTime(a), DateTime(b)) => DateTime(*a.max(b)),
            (Date, DateTime(a)) | (DateTime(a), Date) => DateTime(*a),
            _ => return None,
        })
    }

    /// The decimal digits of an integer type.
    fn integer_digits(&self) -> Option<u8> {
        match self {
            Self::Boolean => Some(3),
            Self::Small => Some(7),
            Self::Int => Some(10),
            Self::BigInt => Some(19),
            _ => None,
        }
    }
}

impl Size {
    /// The smallest size for so many bytes.
    pub fn of(bytes: usize) -> Self {
        [Self::Plain, Self::Medium].into_iter().find(|size| bytes <= size.bytes()).unwrap_or(Self::Long)
    }

    fn bytes(self) -> usize {
        match self {
            Self::Plain => (1 << 16) - 1,
            Self::Medium => (1 << 24) - 1,
            Self::Long => (1 << 32) - 1,
        }
    }
}

fn decimal(precision: u8, scale: u8) -> Option<Type> {
    (precision <= 65 && scale <= 30).then_some(Type::Decimal(precision, scale))
}

/// The type of each column of the lake, with the columns of the key marked. Texts of the key share what a key may hold.
///
/// # Errors
/// When a type has no counterpart.
pub fn types(fields: &[(&Field, bool)]) -> Result<Vec<Type>> {
    let is_text =
        |field: &Field| matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let key = || fields.iter().filter(|(_, in_key)| *in_key).map(|(field, _)| *field);
    // No type but text takes more than eight bytes in a key, decimals aside, which take half a byte a digit.
    let others: u32 = key().filter(|field| !is_text(field)).map(|field| key_bytes(field.data_type())).sum();
    let texts = u32::try_from(key().filter(|field| is_text(field)).count())?.max(1);
    let key_chars = (KEY_BYTES.saturating_sub(others) / texts / CHAR_BYTES).min(SHORT_TEXT);
    let mut short = 0;
    let of = |(field, in_key): &(&Field, bool)| {
        if !is_text(field) {
            return plain(field);
        }
        short += 1;
        Ok(match in_key {
            true => Type::Varchar(key_chars),
            false if short > SHORT_TEXTS => Type::Text(Size::Plain),
            false => Type::Varchar(SHORT_TEXT),
        })
    };
    fields.iter().map(of).collect()
}

fn plain(field: &Field) -> Result<Type> {
    Ok(match field.data_type() {
        DataType::Boolean => Type::Boolean,
        DataType::Int32 | DataType::Int64 => Type::BigInt,
        DataType::Float64 => Type::Double,
        DataType::Date32 => Type::Date,
        DataType::Timestamp(TimeUnit::Microsecond, None) => Type::DateTime(6),
        DataType::Decimal128(precision, scale) => {
            match u8::try_from(*scale).ok().and_then(|s| decimal(*precision, s)) {
                Some(kind) => kind,
                None => bail!("column {}: MySQL has no DECIMAL({precision},{scale})", field.name()),
            }
        }
        other => bail!("column {} of type {other} cannot be exported", field.name()),
    })
}

fn key_bytes(kind: &DataType) -> u32 {
    match kind {
        DataType::Decimal128(..) => 30,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_servers_spell_them() {
        for (text, kind) in [
            ("bigint(20)", Type::BigInt),
            ("bigint", Type::BigInt),
            ("tinyint(1)", Type::Boolean),
            ("decimal(18,2)", Type::Decimal(18, 2)),
            ("datetime(6)", Type::DateTime(6)),
            ("datetime", Type::DateTime(0)),
            ("varchar(255)", Type::Varchar(255)),
            ("mediumtext", Type::Text(Size::Medium)),
            ("bigint(20) unsigned", Type::Other("bigint(20) unsigned".to_owned())),
            ("enum('a','b')", Type::Other("enum('a','b')".to_owned())),
        ] {
            assert_eq!(Type::parse(text), kind, "{text}");
            assert!(Type::parse(&kind.sql()) == kind || text.starts_with("tinyint"), "{text}");
        }
    }

    #[test]
    fn types_are_widened_and_never_narrowed() {
        use Type::{BigInt, Boolean, Date, DateTime, Decimal, Double, Int, Text, Varchar};
        for (have, want, wide) in [
            (Int, BigInt, Some(BigInt)),
            (BigInt, Int, Some(BigInt)),
            (Boolean, Int, Some(Int)),
            (Decimal(18, 2), Decimal(18, 6), Some(Decimal(22, 6))),
            (Decimal(20, 6), Decimal(18, 2), Some(Decimal(22, 6))),
            (Int, Decimal(18, 2), Some(Decimal(18, 2))),
            (BigInt, Decimal(18, 2), Some(Decimal(21, 2))),
            (Decimal(18, 2), BigInt, None),
            (Decimal(60, 2), Decimal(30, 20), None),
            (Varchar(255), Varchar(64), Some(Varchar(255))),
            (Varchar(255), Text(Size::Plain), Some(Text(Size::Plain))),
            (Text(Size::Medium), Varchar(255), Some(Text(Size::Medium))),
            (Date, DateTime(6), Some(DateTime(6))),
            (DateTime(0), DateTime(6), Some(DateTime(6))),
            (BigInt, Double, None),
            (Varchar(255), BigInt, None),
            (Double, Double, Some(Double)),
        ] {
            assert_eq!(have.widened(&want), wide, "{have:?} {want:?}");
        }
    }

    #[test]
    fn texts_of_a_key_share_what_an_index_may_hold() {
        let text = Field::new("t", DataType::Utf8, true);
        let day = Field::new("dt", DataType::Date32, true);
        let of = |fields: &[(&Field, bool)]| types(fields).expect("types");
        assert_eq!(
            of(&[(&day, true), (&text, true), (&text, false)]),
            [Type::Date, Type::Varchar(255), Type::Varchar(255)]
        );
        let four = [(&day, true), (&text, true), (&text, true), (&text, true), (&text, true)];
        assert_eq!(of(&four)[1], Type::Varchar(191));
        let deep = Field::new("d", DataType::Decimal128(38, 38), true);
        let error = types(&[(&deep, false)]).expect_err("too deep");
        assert_eq!(error.to_string(), "column d: MySQL has no DECIMAL(38,38)");
    }
}
