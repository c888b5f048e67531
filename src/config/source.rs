//! What comes in: one `conf/sources/*.toml` a source, declaring fields, types, identity, event time and limits.

use serde::Deserialize;

/// A source of the warehouse, told apart by its `kind`.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Source {
    /// Line-delimited JSON events.
    Log(LogSource),
    /// Extracts of database tables.
    Tables(TableSource),
}

impl Source {
    /// The tables of the lake that it loads.
    pub fn tables(&self) -> Vec<String> {
        match self {
            Self::Log(log) => vec![log.table.clone()],
            Self::Tables(source) => source.tables.iter().map(|table| format!("ods_{}", table.name)).collect(),
        }
    }
}

/// A client log: one JSON object a line, each an event or an envelope of events (`sources.md` §2).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSource {
    /// The ODS table that events land in, for instance `ods_user_action`.
    pub table: String,
    /// Which fields make a line an event.
    pub event: EventRules,
    /// Limits on what comes from outside.
    #[serde(default)]
    pub limits: LogLimits,
    /// The declared fields in the order of the table's columns; all others are kept as JSON text in `extra`.
    #[serde(rename = "field")]
    pub fields: Vec<LogField>,
}

/// Which declared fields carry an event's identity, kind, time and visitor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventRules {
    /// The field that identifies an event when present; never inherited from an envelope's header.
    pub id: String,
    /// The field that tells the kind of event (rejects: `missing_<kind>`, `unknown_<kind>`).
    pub kind: String,
    /// The kinds there are.
    pub kinds: Vec<i64>,
    /// The field with the device time in epoch milliseconds (rejects: `missing_<time>`, `<time>_out_of_range`).
    pub time: String,
    /// Fields of which at least one must be there (reject: `no_visitor`).
    pub visitor: Vec<String>,
    /// The field whose non-null value makes a line an envelope.
    pub envelope: String,
}

/// Limits of a log source; the defaults are the specification's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogLimits {
    /// The longest line in bytes, without its end (reject: `too_long`).
    pub line_bytes: usize,
    /// How much of a rejected line is kept, in bytes.
    pub reject_bytes: usize,
    /// The longest string field, in code points (reject: `bad_type`).
    pub string_chars: usize,
    /// The deepest nesting of JSON (reject: `malformed_json`).
    pub json_depth: usize,
    /// How many days an event may be older than its arrival date.
    pub days_late: i32,
    /// How many days an event may be younger than its arrival date.
    pub days_early: i32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            line_bytes: 1_048_576,
            reject_bytes: 65_536,
            string_chars: 255,
            json_depth: 128,
            days_late: 30,
            days_early: 1,
        }
    }
}

/// One declared field of a log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogField {
    /// Its name in the JSON object and in the table.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: LogType,
    /// White space around the value is no part of it (a blank value is NULL).
    #[serde(default)]
    pub trim: bool,
    /// Zero means "none" and is NULL.
    #[serde(default)]
    pub zero_is_null: bool,
    /// A value of exactly ten digits is seconds and becomes milliseconds.
    #[serde(default)]
    pub seconds_to_ms: bool,
    /// Few different values are expected: encoded as a dictionary from the first byte.
    #[serde(default)]
    pub low_cardinality: bool,
    /// What it means; becomes the column's comment.
    #[serde(default)]
    pub about: String,
}

/// The type of a log field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogType {
    /// A 32-bit integer.
    I32,
    /// A 64-bit integer.
    I64,
    /// Text.
    String,
}

/// An order database, given as extracts of its tables (`sources.md` §3).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSource {
    /// The DWD table whose earliest day is the source's first loaded day, for instance `dwd_order`.
    pub first_day: String,
    /// The tables.
    #[serde(rename = "table")]
    pub tables: Vec<SourceTable>,
}

/// One table of an order database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceTable {
    /// Its name at the source; it lands in `ods_<name>`.
    pub name: String,
    /// Whether it comes whole or as changes.
    #[serde(rename = "kind")]
    pub delivery: Delivery,
    /// The columns of its key; none of them may be NULL (reject: `missing_key`).
    pub key: Vec<String>,
    /// For changes: the DATETIME column whose day a row belongs to.
    #[serde(default)]
    pub day: Option<String>,
    /// From a database, for changes: the SQL expression of when a row last changed, a date or time.
    #[serde(default)]
    pub changed: Option<String>,
    /// From a database: a SELECT whose rows stand for those of the table.
    #[serde(default)]
    pub select: Option<String>,
    /// From a database: the column by whose ranges a large table is read in parts.
    #[serde(default)]
    pub split: Option<String>,
    /// From a database: undeclared columns that had been taken up and are gone there on purpose: NULL from now on.
    #[serde(default)]
    pub dropped: Vec<String>,
    /// From a database, for changes: rows that are there no more leave the lake; each key's last version is kept aside.
    #[serde(default)]
    pub deletes: bool,
    /// The share of the table's keys that may be gone at once.
    #[serde(default)]
    pub deletes_at_most: Option<f64>,
    /// The columns, in the order of the table.
    #[serde(rename = "column")]
    pub columns: Vec<SourceColumn>,
}

/// How a table is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// Whole, each day.
    Snapshot,
    /// The rows created or updated since the last extract.
    Changes,
}

/// One column of an order table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceColumn {
    /// Its name at the source and in the lake.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// How personal data is masked before it lands.
    #[serde(default)]
    pub mask: Option<Mask>,
    /// Its name at a database, where that is another.
    #[serde(default)]
    pub from: Option<String>,
    /// The column may be missing from an extract (all NULL then).
    #[serde(default)]
    pub optional: bool,
    /// What it means; becomes the column's comment.
    #[serde(default)]
    pub about: String,
}

/// The type of an order table's column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// A 32-bit integer.
    I32,
    /// A 64-bit integer.
    I64,
    /// Text.
    String,
    /// A naive date and time of the business zone, microseconds.
    Datetime,
    /// `decimal(18,2)`, exact.
    Money,
}

/// How a personal value is made unrecognisable; `none` is written to say that it is wanted in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mask {
    /// Kept in clear.
    None,
    /// A phone number: `138****8000`.
    Phone,
    /// An e-mail address: `z***@example.com`.
    Email,
    /// A name or an address: its first character and `**`.
    Name,
}
