//! Typed values become Arrow rows of an ODS table: masked, with their provenance, split by partition.
//!
//! Whatever a value was read from, this is where it is masked; nothing unmasked goes further.

use std::sync::Arc;

use anyhow::Result;
use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Array, Date32Builder, Decimal128Builder, DictionaryArray,
    Float32Builder, Float64Builder, Int32Array, Int32Builder, Int64Builder, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondBuilder, UInt32Array,
};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Int32Type, Schema, SchemaRef};

use super::chunk::Column;
use super::layout::{Layout, MONEY, mask_of};
use super::mask::masked;
use super::value::Value;
use crate::config::source::{ColumnType, Mask};
use crate::date::{BizDate, Slot};

/// Collects the rows of one extract that land.
pub struct RowBuilder {
    schema: SchemaRef,
    file: String,
    arrival: BizDate,
    declared: usize,
    columns: Vec<ColumnBuilder>,
    row_number: Int64Builder,
    slots: Vec<Slot>,
    bytes: usize,
}

enum ColumnBuilder {
    I32(Int32Builder),
    I64(Int64Builder),
    Money(Decimal128Builder),
    Datetime(TimestampMicrosecondBuilder),
    Text(StringBuilder, Mask),
    Flag(BooleanBuilder),
    Day(Date32Builder),
    Decimal(Decimal128Builder, DataType),
    Single(Float32Builder),
    Double(Float64Builder),
    Bytes(BinaryBuilder),
}

impl RowBuilder {
    /// An empty builder for the rows of a file.
    pub fn new(layout: &Layout, file: &str, arrival: BizDate) -> Self {
        Self {
            schema: staged(&layout.file_schema),
            file: file.to_owned(),
            arrival,
            declared: layout.columns.len(),
            columns: (layout.columns.iter().map(|c| ColumnBuilder::new(c.kind, mask_of(c))))
                .chain(layout.extras.iter().map(|field| ColumnBuilder::of(field.data_type())))
                .collect(),
            row_number: Int64Builder::new(),
            slots: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds a row: a value of the declared type for each declared column, then those of undeclared ones.
    pub fn push(&mut self, values: &[Value<'_>], slot: Slot, row_number: u64) {
        for (column, value) in self.columns.iter_mut().zip(values) {
            self.bytes += column.push(value);
        }
        self.row_number.append_value(i64::try_from(row_number).unwrap_or(i64::MAX));
        self.slots.push(slot);
    }

    /// Adds many rows, which have no undeclared columns; they are numbered from `first` on.
    pub fn extend(&mut self, columns: &[Column<'_>], slots: impl Iterator<Item = Slot>, first: u64) {
        let before = self.slots.len();
        self.slots.extend(slots);
        let rows = self.slots.len() - before;
        for (builder, column) in self.columns.iter_mut().zip(columns) {
            self.bytes += builder.extend(column, rows);
        }
        let first = i64::try_from(first).unwrap_or(i64::MAX);
        (0..rows as i64).for_each(|row| self.row_number.append_value(first.saturating_add(row)));
    }

    /// How many rows there are since the last batch.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// About how much memory they take.
    pub fn bytes(&self) -> usize {
        self.bytes + self.count() * 24
    }

    /// The rows since the last batch by partition, in the order they came: the ODS schema without `dt`.
    ///
    /// # Errors
    /// When Arrow refuses the columns, which would be a mistake of this module.
    pub fn finish(&mut self) -> Result<Vec<(Slot, RecordBatch)>> {
        self.bytes = 0;
        let slots = std::mem::take(&mut self.slots);
        let mut columns = self.columns.iter_mut().map(ColumnBuilder::finish).collect::<Result<Vec<_>>>()?;
        let extras = columns.split_off(self.declared);
        columns.push(Arc::new(Date32Array::from_value(self.arrival.days(), slots.len())));
        // One text and as many references to it.
        let names: ArrayRef = Arc::new(StringArray::from(vec![self.file.as_str()]));
        let references = Int32Array::from_value(0, slots.len());
        columns.push(Arc::new(DictionaryArray::<Int32Type>::try_new(references, names)?));
        columns.push(Arc::new(self.row_number.finish()));
        columns.extend(extras);
        by_slot(RecordBatch::try_new(Arc::clone(&self.schema), columns)?, &slots)
    }
}

/// The columns of a file as they are held and written, which is not as they are read: the file's name, the same in
/// every row, as a reference, and the row's number by its distance from the one before.
pub fn staged(file_schema: &SchemaRef) -> SchemaRef {
    let fields = file_schema.fields().iter().map(|field| match field.name().as_str() {
        "file" => {
            let kind = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            Arc::new(field.as_ref().clone().with_data_type(kind))
        }
        "row_number" => {
            let mut metadata = field.metadata().clone();
            metadata.insert("encoding".to_owned(), "delta".to_owned());
            Arc::new(field.as_ref().clone().with_metadata(metadata))
        }
        _ => Arc::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn by_slot(batch: RecordBatch, slots: &[Slot]) -> Result<Vec<(Slot, RecordBatch)>> {
    let mut sorted = slots.to_vec();
    let batch = if slots.is_sorted() {
        batch
    } else {
        let mut order: Vec<u32> = (0..u32::try_from(slots.len())?).collect();
        order.sort_by_key(|row| slots[*row as usize]);
        sorted.sort();
        take_record_batch(&batch, &UInt32Array::from(order))?
    };
    let mut parts = Vec::new();
    let mut start = 0;
    for rows in sorted.chunk_by(|a, b| a == b) {
        parts.push((rows[0], batch.slice(start, rows.len())));
        start += rows.len();
    }
    Ok(parts)
}

impl ColumnBuilder {
    fn new(kind: ColumnType, mask: Mask) -> Self {
        match kind {
            _ if mask != Mask::None => Self::Text(StringBuilder::new(), mask),
            ColumnType::I32 => Self::I32(Int32Builder::new()),
            ColumnType::I64 => Self::I64(Int64Builder::new()),
            ColumnType::String => Self::Text(StringBuilder::new(), mask),
            ColumnType::Datetime => Self::Datetime(TimestampMicrosecondBuilder::new()),
            ColumnType::Money => Self::Money(Decimal128Builder::new()),
        }
    }

    /// The builder of an undeclared column, whose values are of its type.
    fn of(kind: &DataType) -> Self {
        match kind {
            DataType::Boolean => Self::Flag(BooleanBuilder::new()),
            DataType::Int32 => Self::I32(Int32Builder::new()),
            DataType::Int64 => Self::I64(Int64Builder::new()),
            DataType::Date32 => Self::Day(Date32Builder::new()),
            DataType::Timestamp(..) => Self::Datetime(TimestampMicrosecondBuilder::new()),
            DataType::Decimal128(..) => Self::Decimal(Decimal128Builder::new(), kind.clone()),
            DataType::Float32 => Self::Single(Float32Builder::new()),
            DataType::Float64 => Self::Double(Float64Builder::new()),
            DataType::Binary => Self::Bytes(BinaryBuilder::new()),
            _ => Self::Text(StringBuilder::new(), Mask::None),
        }
    }

    /// Adds a value and returns about how many bytes it takes.
    fn push(&mut self, value: &Value<'_>) -> usize {
        match (self, value) {
            (Self::I32(column), value) => {
                column.append_option(integer(value).and_then(|n| i32::try_from(n).ok()));
                4
            }
            (Self::I64(column), value) => {
                column.append_option(integer(value));
                8
            }
            (Self::Money(column), value) => {
                column.append_option(if let Value::Money(amount) = value { Some(*amount) } else { None });
                16
            }
            (Self::Datetime(column), value) => {
                column.append_option(if let Value::Datetime(micros) = value { Some(*micros) } else { None });
                8
            }
            (Self::Text(column, mask), Value::Text(text)) => {
                let text = masked(*mask, text);
                column.append_value(&text);
                text.len() + 4
            }
            (Self::Text(column, mask), Value::Integer(number)) => {
                column.append_value(masked(*mask, &number.to_string()));
                15
            }
            (Self::Text(column, _), _) => {
                column.append_null();
                4
            }
            (Self::Bytes(column), value) => {
                let bytes = if let Value::Bytes(bytes) = value { Some(bytes) } else { None };
                column.append_option(bytes);
                bytes.map_or(4, |bytes| bytes.len() + 4)
            }
            (column, value) => column.push_small(value),
        }
    }

    /// Adds so many values and returns about how many bytes they take.
    fn extend(&mut self, values: &Column<'_>, rows: usize) -> usize {
        match (self, values) {
            (Self::I64(column), Column::Integers(new)) => {
                column.append_values(&new.values, &new.valid);
                8 * rows
            }
            (Self::Money(column), Column::Money(new)) => {
                column.append_values(&new.values, &new.valid);
                16 * rows
            }
            (Self::Datetime(column), Column::Datetimes(new)) => {
                column.append_values(&new.values, &new.valid);
                8 * rows
            }
            (column, values) => (0..rows).map(|row| column.push(&values.value(row))).sum(),
        }
    }

    /// Adds a value of a type that only undeclared columns have.
    fn push_small(&mut self, value: &Value<'_>) -> usize {
        match self {
            Self::Flag(column) => column.append_option(if let Value::Flag(flag) = value { Some(*flag) } else { None }),
            Self::Day(column) => column.append_option(if let Value::Day(day) = value { Some(*day) } else { None }),
            Self::Decimal(column, _) => {
                column.append_option(if let Value::Decimal(units) = value { Some(*units) } else { None });
            }
            // Exact: the source's own single came as this double.
            Self::Single(column) => column.append_option(double(value).map(|number| number as f32)),
            Self::Double(column) => column.append_option(double(value)),
            _ => {}
        }
        16
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            Self::I32(column) => Arc::new(column.finish()),
            Self::I64(column) => Arc::new(column.finish()),
            Self::Money(column) => Arc::new(column.finish().with_precision_and_scale(MONEY.0, MONEY.1)?),
            Self::Datetime(column) => Arc::new(column.finish()),
            Self::Text(column, _) => Arc::new(column.finish()),
            Self::Flag(column) => Arc::new(column.finish()),
            Self::Day(column) => Arc::new(column.finish()),
            Self::Decimal(column, kind) => Arc::new(column.finish().with_data_type(kind.clone())),
            Self::Single(column) => Arc::new(column.finish()),
            Self::Double(column) => Arc::new(column.finish()),
            Self::Bytes(column) => Arc::new(column.finish()),
        })
    }
}

fn double(value: &Value<'_>) -> Option<f64> {
    if let Value::Double(bits) = value { Some(f64::from_bits(*bits)) } else { None }
}

fn integer(value: &Value<'_>) -> Option<i64> {
    if let Value::Integer(number) = value { Some(*number) } else { None }
}
