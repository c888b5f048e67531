//! A log source's declaration, made ready for the decoder: columns, types, roles and the schemas of its tables.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use xxhash_rust::xxh3::xxh3_64;

use super::keys::Keys;
use crate::config::source::{LogField, LogSource, LogType};
use crate::lake::sorted_by;

/// The columns that every log table has besides the declared fields, with what they mean; `dt` comes first, the others last.
const OWN_COLUMNS: [(&str, &str); 7] = [
    ("dt", "business day of the event"),
    ("extra", "unknown fields as canonical JSON text"),
    ("event_hash", "64-bit hash of the event's identity"),
    ("arrival_dt", "day the file arrived"),
    ("file", "path of the file, relative to the source's folder"),
    ("byte_offset", "offset of the line in the decompressed file"),
    ("element", "index within an envelope, 0 for a flat line"),
];

/// How a column's values are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// An integer within the bounds of its type.
    Int { min: i64, max: i64 },
    /// The number of a text in the dictionary with this index.
    Coded(usize),
    /// A place in the arena of texts.
    Text,
}

/// A declared field.
#[derive(Debug)]
pub struct Column {
    pub name: String,
    pub held: Held,
    pub trim: bool,
    pub zero_is_null: bool,
    pub seconds_to_ms: bool,
    /// Tells the field and its type apart from all others in an event's identity.
    pub tag: u64,
}

impl Column {
    fn new(field: &LogField, codes: &mut usize) -> Self {
        let held = match field.kind {
            LogType::I32 => Held::Int { min: i32::MIN.into(), max: i32::MAX.into() },
            LogType::I64 => Held::Int { min: i64::MIN, max: i64::MAX },
            LogType::String if field.low_cardinality => {
                *codes += 1;
                Held::Coded(*codes - 1)
            }
            LogType::String => Held::Text,
        };
        let kind = if field.kind == LogType::String { "string" } else { "integer" };
        Self {
            name: field.name.clone(),
            held,
            trim: field.trim,
            zero_is_null: field.zero_is_null,
            seconds_to_ms: field.seconds_to_ms,
            tag: xxh3_64(format!("{kind}:{}", field.name).as_bytes()),
        }
    }

    /// The type as people write it.
    pub fn type_name(&self) -> &'static str {
        match self.held {
            Held::Int { max, .. } if max == i64::MAX => "i64",
            Held::Int { .. } => "i32",
            _ => "string",
        }
    }

    /// The type of the column in a batch.
    pub fn arrow_type(&self) -> DataType {
        match self.held {
            Held::Int { max, .. } if max == i64::MAX => DataType::Int64,
            Held::Int { .. } => DataType::Int32,
            Held::Coded(_) => coded_text(),
            Held::Text => DataType::Utf8,
        }
    }
}

/// The declared fields and their roles, by index.
pub struct Fields {
    pub columns: Vec<Column>,
    /// All names, and the envelope's key as the last.
    pub keys: Keys,
    pub id: usize,
    pub kind: usize,
    pub kinds: Vec<i64>,
    pub time: usize,
    pub visitor: Vec<usize>,
    /// How many columns are held as numbers of a dictionary.
    pub dictionaries: usize,
}

impl Fields {
    /// Checks the declaration.
    ///
    /// # Errors
    /// When a role names no field, or one of the wrong type, or a name is taken.
    pub fn new(source: &LogSource) -> Result<Self> {
        let event = &source.event;
        let mut dictionaries = 0;
        let columns: Vec<Column> = source.fields.iter().map(|f| Column::new(f, &mut dictionaries)).collect();
        if let Some(taken) = columns.iter().find(|c| OWN_COLUMNS.iter().any(|(own, _)| *own == c.name)) {
            bail!("field `{}` of {} has the name of a column that every log table has", taken.name, source.table);
        }
        let role = |role: &str, name: &str, integer: bool| {
            let index = columns.iter().position(|c| c.name == name);
            let index = index.with_context(|| format!("event.{role} of {} names no field: `{name}`", source.table))?;
            if matches!(columns[index].held, Held::Int { .. }) != integer {
                let wanted = if integer { "an integer" } else { "a string" };
                bail!("event.{role} of {} must be {wanted}: `{name}`", source.table);
            }
            Ok(index)
        };
        let (id, kind) = (role("id", &event.id, false)?, role("kind", &event.kind, true)?);
        let time = role("time", &event.time, true)?;
        let visitor = event.visitor.iter().map(|name| {
            let index = columns.iter().position(|c| c.name == *name);
            index.with_context(|| format!("event.visitor of {} names no field: `{name}`", source.table))
        });
        let visitor = visitor.collect::<Result<Vec<_>>>()?;
        let names = columns.iter().map(|c| c.name.as_str()).chain([event.envelope.as_str()]);
        let keys = Keys::new(names).with_context(|| format!("fields of {}", source.table))?;
        Ok(Self { keys, id, kind, kinds: event.kinds.clone(), time, visitor, dictionaries, columns })
    }

    /// The columns of a batch of one day's events, which does not hold `dt`.
    ///
    /// The metadata `encoding` tells the writer what it cannot know: `delta` where values rise from row to row, `plain`
    /// where no two are alike and neither dictionary nor compression will help.
    pub fn batch_schema(&self) -> SchemaRef {
        let encoded = |name: &str, kind: DataType, encoding: Option<&str>| {
            let metadata = encoding.map(|encoding| ("encoding".to_owned(), encoding.to_owned()));
            Field::new(name, kind, true).with_metadata(metadata.into_iter().collect())
        };
        let time = &self.columns[self.time].name;
        let declared =
            self.columns.iter().map(|c| encoded(&c.name, c.arrow_type(), (c.name == *time).then_some("delta")));
        let own = OWN_COLUMNS[1..].iter().map(|(name, _)| {
            let encoding = match *name {
                "byte_offset" => Some("delta"),
                "event_hash" => Some("plain"),
                _ => None,
            };
            encoded(name, own_type(name), encoding)
        });
        let schema = Arc::new(Schema::new(declared.chain(own).collect::<Vec<_>>()));
        // Files are read in the order of their paths, and each from its beginning.
        sorted_by(&schema, &["file", "byte_offset", "element"])
    }
}

/// Text held as 32-bit numbers of a dictionary.
pub fn coded_text() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn own_type(name: &str) -> DataType {
    match name {
        "dt" | "arrival_dt" => DataType::Date32,
        "extra" => DataType::Utf8,
        "file" => coded_text(),
        "element" => DataType::Int32,
        _ => DataType::Int64,
    }
}

/// The schema of the source's ODS table, `dt` included, with comments for its columns.
pub fn events_schema(source: &LogSource) -> SchemaRef {
    let commented = |name: &str, kind: DataType, about: &str| {
        let kind = if kind == coded_text() { DataType::Utf8 } else { kind };
        Field::new(name, kind, true).with_metadata(HashMap::from([("comment".to_owned(), about.to_owned())]))
    };
    let own = |(name, about): &(&str, &str)| commented(name, own_type(name), about);
    let declared = source.fields.iter().map(|field| {
        let kind = match field.kind {
            LogType::I32 => DataType::Int32,
            LogType::I64 => DataType::Int64,
            LogType::String => DataType::Utf8,
        };
        commented(&field.name, kind, &field.about)
    });
    let columns = OWN_COLUMNS[..1].iter().map(own).chain(declared).chain(OWN_COLUMNS[1..].iter().map(own));
    Arc::new(Schema::new(columns.collect::<Vec<_>>()))
}
