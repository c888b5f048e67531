//! What columns a table has at its source, and which of them is which declared one.
//!
//! A declared column that is gone, or of a type that cannot become the declared one, fails the table before a row of it
//! is read. A column that nobody declared is taken up as it is, with the exact type it has there.

use anyhow::{Result, bail};
use arrow::datatypes::{DataType, TimeUnit};
use mysql_async::Column;
use mysql_async::consts::{ColumnFlags, ColumnType as Sent};

use crate::config::source::{ColumnType, SourceTable};
use crate::error::{nearest, with_hint};
use crate::ingest::orders::layout::Layout;

/// The character set that says: bytes, no text.
const BINARY: u16 = 63;
/// Columns that the warehouse adds; a column of the source of such a name cannot be taken up.
const TAKEN: [&str; 5] = ["dt", "arrival_dt", "file", "row_number", "deleted"];

/// What kind of value a column sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An integer; also YEAR.
    Integer,
    /// An exact number with so many digits after the point.
    Decimal(u8),
    /// A date, or a date and a time of the business zone's clock.
    Datetime,
    /// An instant, on the session's clock.
    Timestamp,
    /// A date without a time.
    Date,
    /// A time of day, or a duration.
    Time,
    /// So many bits.
    Bits(u32),
    /// A floating-point number.
    Float,
    /// Text: also ENUM, SET and JSON.
    Text,
    /// Bytes.
    Bytes,
    /// NULL and nothing else.
    Nothing,
}

/// The columns of a table's question, in the order of its answer.
#[derive(Clone, Debug)]
pub struct Bound {
    /// For each declared column its kind and name at the source; none for an optional one that is not there.
    pub declared: Vec<Option<(Kind, String)>>,
    /// The undeclared columns: name, kind and the type they land as.
    pub extras: Vec<(String, Kind, DataType)>,
    /// Undeclared columns that cannot be taken up.
    pub ignored: Vec<String>,
}

impl Bound {
    /// The declared columns that are not there.
    pub fn absent<'a>(&self, layout: &'a Layout) -> Vec<&'a str> {
        let pairs = layout.columns.iter().zip(&self.declared);
        pairs.filter(|(_, there)| there.is_none()).map(|(column, _)| column.name.as_str()).collect()
    }
}

/// The kind of a column.
pub fn kind_of(column: &Column) -> Kind {
    let text = if column.character_set() == BINARY { Kind::Bytes } else { Kind::Text };
    match column.column_type() {
        Sent::MYSQL_TYPE_TINY
        | Sent::MYSQL_TYPE_SHORT
        | Sent::MYSQL_TYPE_INT24
        | Sent::MYSQL_TYPE_LONG
        | Sent::MYSQL_TYPE_LONGLONG
        | Sent::MYSQL_TYPE_YEAR => Kind::Integer,
        Sent::MYSQL_TYPE_DECIMAL | Sent::MYSQL_TYPE_NEWDECIMAL => Kind::Decimal(column.decimals()),
        Sent::MYSQL_TYPE_DATETIME | Sent::MYSQL_TYPE_DATETIME2 => Kind::Datetime,
        Sent::MYSQL_TYPE_TIMESTAMP | Sent::MYSQL_TYPE_TIMESTAMP2 => Kind::Timestamp,
        Sent::MYSQL_TYPE_DATE | Sent::MYSQL_TYPE_NEWDATE => Kind::Date,
        Sent::MYSQL_TYPE_TIME | Sent::MYSQL_TYPE_TIME2 => Kind::Time,
        Sent::MYSQL_TYPE_BIT => Kind::Bits(column.column_length()),
        Sent::MYSQL_TYPE_FLOAT | Sent::MYSQL_TYPE_DOUBLE => Kind::Float,
        Sent::MYSQL_TYPE_JSON => Kind::Text,
        Sent::MYSQL_TYPE_NULL => Kind::Nothing,
        _ => text,
    }
}

/// The type that an undeclared column lands as: one that holds every value it can have.
fn landed_as(column: &Column) -> DataType {
    let unsigned = column.flags().contains(ColumnFlags::UNSIGNED_FLAG);
    match (column.column_type(), kind_of(column)) {
        (Sent::MYSQL_TYPE_LONGLONG, _) if unsigned => DataType::Decimal128(20, 0),
        (Sent::MYSQL_TYPE_LONGLONG, _) => DataType::Int64,
        (Sent::MYSQL_TYPE_LONG, _) if unsigned => DataType::Int64,
        (_, Kind::Integer) => DataType::Int32,
        (_, Kind::Bits(1)) => DataType::Boolean,
        (_, Kind::Bits(bits)) if bits < 64 => DataType::Int64,
        (_, Kind::Bits(_)) => DataType::Decimal128(20, 0),
        (_, Kind::Decimal(scale)) => match (digits(column, scale, unsigned), i8::try_from(scale)) {
            (digits @ 1..=38, Ok(scale)) => DataType::Decimal128(digits, scale),
            // More digits than any engine counts with: exact as text.
            _ => DataType::Utf8,
        },
        (_, Kind::Datetime | Kind::Timestamp) => DataType::Timestamp(TimeUnit::Microsecond, None),
        (_, Kind::Date) => DataType::Date32,
        (Sent::MYSQL_TYPE_FLOAT, _) => DataType::Float32,
        (_, Kind::Float) => DataType::Float64,
        (_, Kind::Bytes) => DataType::Binary,
        (_, Kind::Time | Kind::Text | Kind::Nothing) => DataType::Utf8,
    }
}

/// How many digits a decimal has: its length on a screen less the point and the sign.
fn digits(column: &Column, scale: u8, unsigned: bool) -> u8 {
    let length = column.column_length().saturating_sub(u32::from(scale > 0)).saturating_sub(u32::from(!unsigned));
    u8::try_from(length).unwrap_or(u8::MAX)
}

/// Finds the declared columns among those of the source, and what else there is; `taken_up` are the undeclared ones of
/// earlier runs.
///
/// # Errors
/// When a declared column is gone, or one that was taken up and is not `dropped`, or when one changed its type to what
/// cannot become the declared one.
pub fn bind(
    table: &SourceTable,
    layout: &Layout,
    columns: &[Column],
    taken_up: &[(String, DataType)],
) -> Result<Bound> {
    let names: Vec<String> = columns.iter().map(|column| column.name_str().into_owned()).collect();
    let mut used = vec![false; columns.len()];
    let mut declared = Vec::with_capacity(layout.columns.len());
    for column in &layout.columns {
        let wanted = column.from.as_deref().unwrap_or(&column.name);
        let Some(at) = names.iter().position(|name| name.eq_ignore_ascii_case(wanted)) else {
            if column.optional {
                declared.push(None);
                continue;
            }
            let error = anyhow::anyhow!("column `{wanted}` is not there");
            let undeclared = names.iter().filter(|n| !layout.columns.iter().any(|c| c.name == **n));
            return Err(match nearest(wanted, undeclared.map(String::as_str)) {
                Some(near) => with_hint(error, format!("did its column `{near}` mean it? `from = \"{near}\"` says so")),
                None => with_hint(error, "was it dropped? `optional = true` lets a table lack the column"),
            });
        };
        used[at] = true;
        let kind = kind_of(&columns[at]);
        if !fits(column.kind, kind) {
            let error = anyhow::anyhow!(
                "column `{wanted}` is {}, which cannot be read as {}",
                kind_name(kind),
                declared_name(column.kind)
            );
            return Err(with_hint(error, "declare it as what it is, or cast it in the table's `select`"));
        }
        declared.push(Some((kind, names[at].clone())));
    }
    let mut bound = Bound { declared, extras: Vec::new(), ignored: Vec::new() };
    let plain = |name: &str| {
        let is_taken = TAKEN.iter().any(|taken| taken.eq_ignore_ascii_case(name));
        !name.is_empty() && !is_taken && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    for (at, name) in names.iter().enumerate().filter(|(at, _)| !used[*at]) {
        let twice = names.iter().filter(|other| other.eq_ignore_ascii_case(name)).count() > 1;
        if !plain(name) || twice || layout.columns.iter().any(|c| c.name.eq_ignore_ascii_case(name)) {
            bound.ignored.push(name.clone());
            continue;
        }
        let kind = landed_as(&columns[at]);
        // Names that differ by case are one to the database, and to most readers of the lake: there it keeps its spelling.
        let known = taken_up.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        match known {
            Some((_, known)) if *known != kind => bail!(with_hint(
                anyhow::anyhow!("column `{name}` was taken up as {} and is {} now", type_name(known), type_name(&kind)),
                format!("declare `{name}` in the table `{}`, with the type it is to have", table.name)
            )),
            _ => bound.extras.push((known.map_or(name, |(known, _)| known).clone(), kind_of(&columns[at]), kind)),
        }
    }
    match taken_up.iter().find(|(name, _)| is_missing(name, table, &names)) {
        Some((gone, _)) => Err(missing(gone, table)),
        None => Ok(bound),
    }
}

/// Whether a column that was taken up is gone, and nobody said so.
fn is_missing(taken_up: &str, table: &SourceTable, names: &[String]) -> bool {
    let is_it = |name: &String| name.eq_ignore_ascii_case(taken_up);
    !names.iter().any(is_it) && !table.dropped.iter().any(is_it)
}

/// That a column which was taken up is gone: what lands from now on would have NULL in the place of its values.
fn missing(column: &str, table: &SourceTable) -> anyhow::Error {
    let dropped: Vec<String> =
        table.dropped.iter().map(String::as_str).chain([column]).map(|c| format!("\"{c}\"")).collect();
    let hint = format!(
        "was it dropped or renamed? `dropped = [{}]` in [[table]] {} of conf/sources goes on without it: what landed stays, \
         and new rows have NULL there",
        dropped.join(", "),
        table.name
    );
    with_hint(anyhow::anyhow!("column `{column}`, which was taken up before, is not there any more"), hint)
}

fn fits(declared: ColumnType, kind: Kind) -> bool {
    match (declared, kind) {
        (_, Kind::Nothing) => true,
        (ColumnType::I32 | ColumnType::I64, kind) => {
            matches!(kind, Kind::Integer | Kind::Decimal(0)) || matches!(kind, Kind::Bits(bits) if bits < 64)
        }
        (ColumnType::String, kind) => {
            matches!(kind, Kind::Text | Kind::Bytes | Kind::Integer | Kind::Decimal(_) | Kind::Time)
        }
        (ColumnType::Datetime, kind) => matches!(kind, Kind::Date | Kind::Datetime | Kind::Timestamp),
        (ColumnType::Money, kind) => matches!(kind, Kind::Integer | Kind::Decimal(0..=2)),
    }
}

/// What the type of a column taken up is called: as it would be declared, where it could be, and else as in SQL.
pub fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Int32 => "i32".to_owned(),
        DataType::Int64 => "i64".to_owned(),
        DataType::Utf8 => "string".to_owned(),
        DataType::Timestamp(..) => "datetime".to_owned(),
        DataType::Decimal128(digits, scale) => format!("decimal({digits},{scale})"),
        DataType::Date32 => "date".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        other => other.to_string().to_lowercase(),
    }
}

fn declared_name(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::I32 => "i32",
        ColumnType::I64 => "i64",
        ColumnType::String => "string",
        ColumnType::Datetime => "datetime",
        ColumnType::Money => "money, decimal(18,2)",
    }
}

fn kind_name(kind: Kind) -> String {
    match kind {
        Kind::Integer => "an integer".to_owned(),
        Kind::Decimal(scale) => format!("a decimal with {scale} decimals"),
        Kind::Datetime => "a DATETIME".to_owned(),
        Kind::Timestamp => "a TIMESTAMP".to_owned(),
        Kind::Date => "a DATE".to_owned(),
        Kind::Time => "a TIME".to_owned(),
        Kind::Bits(bits) => format!("a BIT({bits})"),
        Kind::Float => "a FLOAT or DOUBLE".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Bytes => "binary".to_owned(),
        Kind::Nothing => "NULL".to_owned(),
    }
}
