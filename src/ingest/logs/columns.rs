//! The events of one business day as Arrow columns.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, Date32Array, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{Int32Type, SchemaRef};

use super::fields::{Fields, Held};
use super::scan::text_at;
use super::stage::{Origin, Stage};
use crate::date::BizDate;

/// A text column is cut into another batch before its offsets could pass 2 GiB.
const BATCH_TEXT_BYTES: usize = 256 << 20;

enum Values {
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Coded(usize, Vec<i32>),
    Text(Texts),
}

#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<i32>,
}

impl Texts {
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(i32::try_from(self.bytes.len()).expect("a batch is cut long before 2 GiB of text"));
    }

    fn finish(self, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let offsets: Vec<i32> = std::iter::once(0).chain(self.ends).collect();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Ok(Arc::new(StringArray::try_new(offsets, Buffer::from_vec(self.bytes), nulls)?))
    }
}

struct Rows {
    values: Values,
    /// A byte for every row; packed into bits at the end, which is faster than setting bits one by one.
    valid: Vec<bool>,
}

/// The events of a day, growing.
pub struct DayRows {
    /// The day.
    pub day: BizDate,
    columns: Vec<Rows>,
    extra: Rows,
    event_hash: Vec<i64>,
    arrival: Vec<i32>,
    file: Vec<i32>,
    byte_offset: Vec<i64>,
    element: Vec<i32>,
}

impl DayRows {
    /// No events of a day.
    pub fn new(day: BizDate, fields: &Fields) -> Self {
        let values = |held| match held {
            Held::Int { max, .. } if max == i64::MAX => Values::Int64(Vec::new()),
            Held::Int { .. } => Values::Int32(Vec::new()),
            Held::Coded(dictionary) => Values::Coded(dictionary, Vec::new()),
            Held::Text => Values::Text(Texts::default()),
        };
        let rows = |values| Rows { values, valid: Vec::new() };
        Self {
            day,
            columns: fields.columns.iter().map(|column| rows(values(column.held))).collect(),
            extra: rows(Values::Text(Texts::default())),
            event_hash: Vec::new(),
            arrival: Vec::new(),
            file: Vec::new(),
            byte_offset: Vec::new(),
            element: Vec::new(),
        }
    }

    /// How many events there are.
    pub fn rows(&self) -> usize {
        self.event_hash.len()
    }

    /// The files they are from.
    pub fn files(&self) -> Vec<usize> {
        let mut files: Vec<usize> = self.file.iter().map(|file| *file as usize).collect();
        files.dedup();
        files
    }

    /// Whether the batch should be cut here.
    pub fn is_full(&self) -> bool {
        let bytes = |rows: &Rows| if let Values::Text(texts) = &rows.values { texts.bytes.len() } else { 0 };
        self.columns.iter().chain([&self.extra]).any(|rows| bytes(rows) > BATCH_TEXT_BYTES)
    }

    /// Appends the chosen rows of a stage.
    pub fn append(&mut self, stage: &Stage, arena: &[u8], rows: impl Iterator<Item = usize> + Clone) {
        for (index, column) in self.columns.iter_mut().enumerate() {
            let from = stage.values(index);
            let known = column.valid.len();
            column.valid.extend(rows.clone().map(|row| stage.is_present(row, index)));
            let valid = &column.valid[known..];
            let chosen = rows.clone().zip(valid).map(|(row, valid)| if *valid { from[row] } else { 0 });
            match &mut column.values {
                Values::Int64(values) => values.extend(chosen),
                Values::Int32(values) | Values::Coded(_, values) => values.extend(chosen.map(|value| value as i32)),
                Values::Text(texts) => chosen.for_each(|place| texts.push(text_at(arena, place))),
            }
        }
        let origins = rows.map(|row| &stage.origins()[row]);
        self.extra.valid.extend(origins.clone().map(|o| o.extra.is_some()));
        if let Values::Text(texts) = &mut self.extra.values {
            origins.clone().for_each(|o| texts.push(o.extra.map_or(&[], |place| text_at(arena, place))));
        }
        self.append_origins(origins);
    }

    fn append_origins<'a>(&mut self, origins: impl Iterator<Item = &'a Origin> + Clone) {
        self.event_hash.extend(origins.clone().map(|o| o.event_hash));
        self.arrival.extend(origins.clone().map(|o| o.arrival));
        self.file.extend(origins.clone().map(|o| o.file));
        self.byte_offset.extend(origins.clone().map(|o| o.byte_offset));
        self.element.extend(origins.map(|o| o.element));
    }

    /// Turns the events into a batch; `dictionaries` are the values of the coded columns, `files` the files' names.
    ///
    /// # Errors
    /// When Arrow refuses the columns, which would be a mistake of this module.
    pub fn finish(self, schema: &SchemaRef, dictionaries: &[ArrayRef], files: &ArrayRef) -> Result<RecordBatch> {
        let array = |rows: Rows| -> Result<ArrayRef> {
            let nulls = nulls(&rows.valid);
            Ok(match rows.values {
                Values::Int32(values) => Arc::new(Int32Array::try_new(values.into(), nulls)?),
                Values::Int64(values) => Arc::new(Int64Array::try_new(values.into(), nulls)?),
                Values::Coded(dictionary, numbers) => {
                    let numbers = Int32Array::try_new(numbers.into(), nulls)?;
                    let texts = Arc::clone(&dictionaries[dictionary]);
                    Arc::new(DictionaryArray::<Int32Type>::try_new(numbers, texts)?)
                }
                Values::Text(texts) => texts.finish(nulls)?,
            })
        };
        let mut columns = self.columns.into_iter().map(array).collect::<Result<Vec<_>>>()?;
        let files = DictionaryArray::<Int32Type>::try_new(self.file.into(), Arc::clone(files))?;
        columns.push(array(self.extra)?);
        columns.push(Arc::new(Int64Array::from(self.event_hash)));
        columns.push(Arc::new(Date32Array::from(self.arrival)));
        columns.push(Arc::new(files));
        columns.push(Arc::new(Int64Array::from(self.byte_offset)));
        columns.push(Arc::new(Int32Array::from(self.element)));
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }
}

fn nulls(valid: &[bool]) -> Option<NullBuffer> {
    let bits = BooleanBuffer::collect_bool(valid.len(), |row| valid[row]);
    Some(NullBuffer::new(bits)).filter(|nulls| nulls.null_count() > 0)
}

/// Texts that a column's numbers point to.
pub fn names(texts: impl Iterator<Item = Arc<str>>) -> ArrayRef {
    let texts: StringArray = texts.map(|text| Some(text.to_string())).collect();
    Arc::new(texts) as ArrayRef
}
