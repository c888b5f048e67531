//! Reads a Parquet extract: columns by name, values converted exactly or not at all.
//!
//! The types are those of the file's own Parquet schema, whatever program wrote it and whatever that noted beside.
//! Text in it is read by the rules of CSV. A type that cannot become the declared one fails the file; a value that
//! cannot rejects its row.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result, anyhow, bail};
use arrow::array::types::{
    Date32Type, Decimal128Type, Decimal256Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::ChunkReader;

use super::intake::{Intake, SourceRow, TypedRow};
use super::layout::{Binding, Layout};
use super::value::{Fault, MICROS_A_DAY, Value, datetime_in_range, integer_in_range, money_in_range, read_text};
use crate::config::source::ColumnType;

/// Rows decoded at once.
const BATCH_ROWS: usize = 8192;

/// Reads all rows of a Parquet file into an intake.
///
/// # Errors
/// When it is no Parquet, lacks a declared column or has one twice, a column's type cannot become the declared one,
/// or the intake's sink fails. A bad row is no error.
pub fn read_parquet(input: impl ChunkReader + 'static, intake: &mut Intake<'_>) -> Result<()> {
    // The decoder panics at some kinds of damage; whoever reads on after an error drops the intake anyway.
    let read = catch_unwind(AssertUnwindSafe(|| read(input, intake)));
    read.unwrap_or_else(|_| bail!("cannot be read as Parquet: it is damaged"))
}

fn read(input: impl ChunkReader + 'static, intake: &mut Intake<'_>) -> Result<()> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder =
        ParquetRecordBatchReaderBuilder::try_new_with_options(input, options).context("cannot be read as Parquet")?;
    let schema = builder.schema().clone();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let binding = intake.layout().bind(&names)?;
    check_types(intake.layout(), &schema, &binding)?;
    intake.unknown_columns(binding.unknown.clone());
    let roots = binding.fields.iter().flatten().copied();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    for batch in builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().context("cannot be read")? {
        take_batch(&batch.context("cannot be read")?, intake)?;
    }
    Ok(())
}

fn check_types(layout: &Layout, schema: &Schema, binding: &Binding) -> Result<()> {
    for (column, field) in layout.columns.iter().zip(&binding.fields) {
        let Some(kind) = field.map(|field| schema.field(field).data_type()) else { continue };
        let name = &column.name;
        match (column.kind, kind) {
            (_, DataType::Null | DataType::Utf8 | DataType::Binary) => {}
            (ColumnType::I32 | ColumnType::I64 | ColumnType::String | ColumnType::Money, kind) if kind.is_integer() => {
            }
            (ColumnType::Money, DataType::Decimal128(..) | DataType::Decimal256(..)) => {}
            (ColumnType::Datetime, DataType::Timestamp(_, None) | DataType::Date32) => {}
            (ColumnType::Datetime, DataType::Timestamp(_, Some(_))) => bail!(
                "column `{name}` has instants of UTC; DATETIMEs of the business zone are expected \
                 (timestamps written with isAdjustedToUTC = false)"
            ),
            (wanted, kind) => bail!("column `{name}` is of type {kind}, which cannot be read as {}", type_name(wanted)),
        }
    }
    Ok(())
}

fn type_name(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::I32 => "i32",
        ColumnType::I64 => "i64",
        ColumnType::String => "string",
        ColumnType::Datetime => "datetime",
        ColumnType::Money => "money, decimal(18,2)",
    }
}

fn take_batch(batch: &RecordBatch, intake: &mut Intake<'_>) -> Result<()> {
    let columns = &intake.layout().columns;
    let arrays: Vec<Option<&ArrayRef>> = columns.iter().map(|c| batch.column_by_name(&c.name)).collect();
    let mut values = Vec::with_capacity(columns.len());
    for (column, array) in columns.iter().zip(&arrays) {
        let read = array.map(|array| column_values(column.kind, array));
        values.push(read.transpose()?.map(Vec::into_iter));
    }
    for row in 0..batch.num_rows() {
        let mut typed = TypedRow::with_capacity(columns.len());
        for column in &mut values {
            typed.push(column.as_mut().and_then(Iterator::next).unwrap_or(Ok(Value::Null)));
        }
        let source = ParquetRow { arrays: &arrays, row, number: intake.rows_read() + 1 };
        intake.row(&typed, &source)?;
    }
    Ok(())
}

/// The values of a column's array, each read or faulty.
fn column_values<'a>(kind: ColumnType, array: &'a ArrayRef) -> Result<Vec<Result<Value<'a>, Fault>>> {
    let rows = 0..array.len();
    let read: Box<dyn Fn(usize) -> Result<Value<'a>, Fault>> = match array.data_type() {
        DataType::Null => Box::new(|_| Ok(Value::Null)),
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            Box::new(move |row| read_text(kind, texts.value(row).as_bytes(), true))
        }
        DataType::Binary => {
            let texts = array.as_binary::<i32>();
            Box::new(move |row| read_text(kind, texts.value(row), true))
        }
        DataType::Decimal128(_, scale) => {
            let (amounts, scale) = (array.as_primitive::<Decimal128Type>(), *scale);
            Box::new(move |row| hundredths(Some(amounts.value(row)), scale).map(Value::Money))
        }
        DataType::Decimal256(_, scale) => {
            let (amounts, scale) = (array.as_primitive::<Decimal256Type>(), *scale);
            Box::new(move |row| hundredths(amounts.value(row).to_i128(), scale).map(Value::Money))
        }
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>();
            Box::new(move |row| datetime_in_range(Some(i64::from(days.value(row)).saturating_mul(MICROS_A_DAY))))
        }
        DataType::Timestamp(..) => {
            let micros = microseconds(array).context("a unit that no Parquet file has")?;
            Box::new(move |row| datetime_in_range(micros(row)))
        }
        _ => {
            let integers = integers(array).ok_or_else(|| anyhow!("unexpected type {}", array.data_type()))?;
            Box::new(move |row| integer(kind, integers(row)))
        }
    };
    Ok(rows.map(|row| if array.is_null(row) { Ok(Value::Null) } else { read(row) }).collect())
}

fn integer(kind: ColumnType, number: i128) -> Result<Value<'static>, Fault> {
    match kind {
        ColumnType::Money => money_in_range(number.checked_mul(100)).map(Value::Money),
        ColumnType::String => Ok(Value::Text(Cow::Owned(number.to_string()))),
        _ => integer_in_range(kind, i64::try_from(number).ok()),
    }
}

/// An unscaled decimal as hundredths, where that is exact.
fn hundredths(unscaled: Option<i128>, scale: i8) -> Result<i128, Fault> {
    let shift = 10_i128.checked_pow(u32::from(scale.abs_diff(2)));
    match (unscaled, shift) {
        (Some(0), _) => Ok(0),
        (Some(amount), Some(shift)) if scale > 2 => match amount % shift {
            0 => money_in_range(Some(amount / shift)),
            _ => Err("not an amount with at most two decimals"),
        },
        (Some(_), None) if scale > 2 => Err("not an amount with at most two decimals"),
        (amount, shift) => money_in_range(amount.and_then(|amount| amount.checked_mul(shift?))),
    }
}

fn microseconds<'a>(array: &'a ArrayRef) -> Option<Box<dyn Fn(usize) -> Option<i64> + 'a>> {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let times = array.as_primitive::<TimestampMillisecondType>();
            Some(Box::new(|row| Some(times.value(row).saturating_mul(1_000))))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let times = array.as_primitive::<TimestampMicrosecondType>();
            Some(Box::new(|row| Some(times.value(row))))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let times = array.as_primitive::<TimestampNanosecondType>();
            Some(Box::new(|row| Some(times.value(row)).filter(|t| t % 1_000 == 0).map(|t| t / 1_000)))
        }
        _ => None,
    }
}

fn integers<'a>(array: &'a ArrayRef) -> Option<Box<dyn Fn(usize) -> i128 + 'a>> {
    macro_rules! widened {
        ($kind:ty) => {{
            let numbers = array.as_primitive::<$kind>();
            Some(Box::new(move |row| i128::from(numbers.value(row))))
        }};
    }
    match array.data_type() {
        DataType::Int8 => widened!(Int8Type),
        DataType::Int16 => widened!(Int16Type),
        DataType::Int32 => widened!(Int32Type),
        DataType::Int64 => widened!(Int64Type),
        DataType::UInt8 => widened!(UInt8Type),
        DataType::UInt16 => widened!(UInt16Type),
        DataType::UInt32 => widened!(UInt32Type),
        DataType::UInt64 => widened!(UInt64Type),
        _ => None,
    }
}

struct ParquetRow<'a> {
    arrays: &'a [Option<&'a ArrayRef>],
    row: usize,
    number: u64,
}

impl SourceRow for ParquetRow<'_> {
    fn byte_offset(&self) -> Option<u64> {
        None
    }

    fn place(&self) -> String {
        format!("row {}", self.number)
    }

    fn text(&self, column: usize) -> Cow<'_, [u8]> {
        let Some(array) = self.arrays[column] else { return Cow::Borrowed(b"") };
        if let Some(bytes) = array.as_binary_opt::<i32>() {
            return Cow::Borrowed(if array.is_null(self.row) { b"" } else { bytes.value(self.row) });
        }
        let shown = ArrayFormatter::try_new(array, &FormatOptions::new()).ok();
        let text = shown.and_then(|array| array.value(self.row).try_to_string().ok());
        Cow::Owned(text.unwrap_or_default().into_bytes())
    }

    fn bytes(&self) -> Option<&[u8]> {
        None
    }
}
