//! Lines and elements that do not become events: why, and what they said.
//!
//! The elements of an envelope share the one copy of their line: a line of a megabyte may hold 300,000 bad ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, BinaryArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};

use crate::date::BizDate;
use crate::ingest::rejects::reject_file_schema;

/// Why an event was rejected, in the order of precedence (`sources.md` §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The line is longer than the limit.
    TooLong,
    /// The line is not UTF-8.
    NotUtf8,
    /// The line is not one JSON text.
    MalformedJson,
    /// The line, or an element of an envelope, is JSON but no object.
    NotAnObject,
    /// There is no kind of event.
    MissingKind,
    /// The kind is none of the declared ones.
    UnknownKind,
    /// There is no event time.
    MissingTime,
    /// The event's day is too far from the arrival date.
    TimeOutOfRange,
    /// No field tells the visitor.
    NoVisitor,
    /// A declared field cannot be read as its type.
    BadType,
}

/// How many reasons there are.
pub const REASONS: usize = 10;

/// The names of the reasons for a source, whose kind and time fields are part of some.
pub fn reason_names(kind: &str, time: &str) -> [String; REASONS] {
    [
        "too_long".to_owned(),
        "not_utf8".to_owned(),
        "malformed_json".to_owned(),
        "not_an_object".to_owned(),
        format!("missing_{kind}"),
        format!("unknown_{kind}"),
        format!("missing_{time}"),
        format!("{time}_out_of_range"),
        "no_visitor".to_owned(),
        "bad_type".to_owned(),
    ]
}

/// Where a rejected event was found.
#[derive(Clone, Debug)]
pub struct Place {
    /// The day its file arrived.
    pub arrival: BizDate,
    /// The file, relative to the source's folder.
    pub file: Arc<str>,
    /// The beginning of the line.
    pub byte_offset: u64,
    /// The index within an envelope, 0 for a whole line.
    pub element: i32,
}

struct Reject {
    place: Place,
    reason: Reason,
    /// Where its detail ends among all details; it begins where the one before ends.
    detail_end: usize,
    raw: i32,
}

/// Rejected events, gathered until their segment is done.
#[derive(Default)]
pub struct Rejects {
    rows: Vec<Reject>,
    details: String,
    raw: Vec<u8>,
    raw_ends: Vec<i32>,
}

impl Rejects {
    /// Keeps the beginning of a rejected line and returns its number.
    pub fn keep_raw(&mut self, line: &[u8], limit: usize) -> i32 {
        self.raw.extend_from_slice(&line[..line.len().min(limit)]);
        self.raw_ends.push(i32::try_from(self.raw.len()).expect("the lines of a segment are far below 2 GiB"));
        i32::try_from(self.raw_ends.len() - 1).expect("a segment has far fewer lines than 2^31")
    }

    /// Adds a rejected event, whose line was kept before.
    pub fn push(&mut self, place: Place, reason: Reason, detail: &str, raw: i32) {
        self.details.push_str(detail);
        self.rows.push(Reject { place, reason, detail_end: self.details.len(), raw });
    }

    /// The rows of `ods_reject` by arrival date: [`batch_schema`].
    ///
    /// # Errors
    /// When Arrow refuses the columns, which would be a mistake of this module.
    pub fn finish(self, source: &str, table: &str, names: &[String; REASONS]) -> Result<Vec<(BizDate, RecordBatch)>> {
        let mut days: BTreeMap<BizDate, Vec<(&Reject, &str)>> = BTreeMap::new();
        let mut detail_start = 0;
        for row in &self.rows {
            let detail = &self.details[detail_start..row.detail_end];
            days.entry(row.place.arrival).or_default().push((row, detail));
            detail_start = row.detail_end;
        }
        let raw_offsets: Vec<i32> = std::iter::once(0).chain(self.raw_ends).collect();
        let raw_offsets = OffsetBuffer::new(ScalarBuffer::from(raw_offsets));
        let raw: ArrayRef = Arc::new(BinaryArray::try_new(raw_offsets, Buffer::from_vec(self.raw), None)?);
        let one_day = days.len() == 1;
        let batch = |rows: Vec<(&Reject, &str)>| -> Result<RecordBatch> {
            let raw_lines = if one_day { all_lines(&rows, &raw)? } else { own_lines(&rows, &raw)? };
            let offset = |(r, _): &(&Reject, &str)| i64::try_from(r.place.byte_offset).unwrap_or(i64::MAX);
            let columns: Vec<ArrayRef> = vec![
                Arc::new(StringArray::from_iter_values(rows.iter().map(|_| source))),
                Arc::new(StringArray::from_iter_values(rows.iter().map(|_| table))),
                Arc::new(StringArray::from_iter_values(rows.iter().map(|(r, _)| &*r.place.file))),
                Arc::new(Int64Array::from_iter_values(rows.iter().map(offset))),
                Arc::new(Int64Array::new_null(rows.len())),
                Arc::new(Int32Array::from_iter_values(rows.iter().map(|(r, _)| r.place.element))),
                Arc::new(StringArray::from_iter_values(rows.iter().map(|(r, _)| &names[r.reason as usize]))),
                Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, detail)| detail))),
                Arc::new(raw_lines),
            ];
            Ok(RecordBatch::try_new(batch_schema(), columns)?)
        };
        days.into_iter().map(|(day, rows)| Ok((day, batch(rows)?))).collect()
    }
}

/// The lines of rows among all lines.
fn all_lines(rows: &[(&Reject, &str)], raw: &ArrayRef) -> Result<DictionaryArray<Int32Type>> {
    let numbers: Int32Array = rows.iter().map(|(row, _)| Some(row.raw)).collect();
    Ok(DictionaryArray::try_new(numbers, Arc::clone(raw))?)
}

/// The lines of rows and no others: what waits for more rows of its day must not hold the lines of all days.
fn own_lines(rows: &[(&Reject, &str)], raw: &ArrayRef) -> Result<DictionaryArray<Int32Type>> {
    let mut own: Vec<i32> = rows.iter().map(|(row, _)| row.raw).collect();
    own.dedup();
    let place = |(row, _): &(&Reject, &str)| own.binary_search(&row.raw).ok().and_then(|at| i32::try_from(at).ok());
    let numbers: Int32Array = rows.iter().map(place).collect();
    Ok(DictionaryArray::try_new(numbers, take(raw, &Int32Array::from(own.clone()), None)?)?)
}

/// The columns of `ods_reject` but `dt`, the raw lines as a dictionary.
pub fn batch_schema() -> SchemaRef {
    let coded = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Binary));
    let plain = reject_file_schema();
    let fields = plain.fields().iter().map(|field| {
        let kind = if field.name() == "raw" { coded.clone() } else { field.data_type().clone() };
        Field::new(field.name(), kind, true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
