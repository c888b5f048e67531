//! Rows as a database takes them and gives them back: one canonical text for each value, and a checksum over rows.

use anyhow::{Result, bail};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use arrow::temporal_conversions::timestamp_us_to_datetime;
use xxhash_rust::xxh3::xxh3_64;

use crate::date::BizDate;

/// One value on its way to a database.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// A floating-point number.
    Double(f64),
    /// An exact decimal, date, date and time, or text, in its canonical spelling.
    Text(String),
}

/// The rows of a batch, column by column converted once.
pub fn rows(batch: &RecordBatch) -> Result<Vec<Vec<Value>>> {
    let mut rows = vec![Vec::with_capacity(batch.num_columns()); batch.num_rows()];
    for column in batch.columns() {
        for (row, values) in rows.iter_mut().enumerate() {
            values.push(value(column, row)?);
        }
    }
    Ok(rows)
}

fn value(column: &ArrayRef, row: usize) -> Result<Value> {
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match column.data_type() {
        DataType::Int32 => Value::Integer(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Value::Integer(column.as_primitive::<Int64Type>().value(row)),
        DataType::Boolean => Value::Integer(column.as_boolean().value(row).into()),
        DataType::Float64 => Value::Double(column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            Value::Text(decimal_text(column.as_primitive::<Decimal128Type>().value(row), *scale))
        }
        DataType::Date32 => Value::Text(BizDate::from_days(column.as_primitive::<Date32Type>().value(row)).to_string()),
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            match timestamp_us_to_datetime(micros) {
                Some(time) if micros % 1_000_000 == 0 => Value::Text(time.format("%Y-%m-%d %H:%M:%S").to_string()),
                Some(time) => Value::Text(time.format("%Y-%m-%d %H:%M:%S%.6f").to_string()),
                None => bail!("a time beyond the calendar"),
            }
        }
        DataType::Utf8 => Value::Text(column.as_string::<i32>().value(row).to_owned()),
        DataType::Utf8View => Value::Text(column.as_string_view().value(row).to_owned()),
        other => bail!("a column of type {other} cannot be exported"),
    })
}

/// A decimal as people write it: `-12.30`.
pub fn decimal_text(unscaled: i128, scale: i8) -> String {
    let Ok(digits) = usize::try_from(scale) else { return unscaled.to_string() };
    if digits == 0 {
        return unscaled.to_string();
    }
    let magnitude = format!("{:0>width$}", unscaled.unsigned_abs(), width = digits + 1);
    let (whole, part) = magnitude.split_at(magnitude.len() - digits);
    format!("{}{whole}.{part}", if unscaled < 0 { "-" } else { "" })
}

/// A checksum over rows that does not depend on their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    /// How many rows went in.
    pub rows: u64,
    sum: u64,
}

impl Checksum {
    /// Takes a row in.
    pub fn add(&mut self, row: &[Value]) {
        let mut text = Vec::with_capacity(64);
        for value in row {
            let (tag, spelled) = match value {
                Value::Null => (b'n', String::new()),
                Value::Integer(number) => (b'i', number.to_string()),
                Value::Double(number) => (b'd', format!("{:016x}", number.to_bits())),
                Value::Text(text) => (b't', text.clone()),
            };
            text.push(tag);
            text.extend_from_slice(&(spelled.len() as u64).to_le_bytes());
            text.extend_from_slice(spelled.as_bytes());
        }
        self.rows += 1;
        self.sum = self.sum.wrapping_add(xxh3_64(&text));
    }

    /// The checksum as 16 hexadecimal digits.
    pub fn hex(&self) -> String {
        format!("{:016x}", self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::{Checksum, Value, decimal_text};

    #[test]
    fn decimals_are_spelled_with_all_their_digits() {
        for (unscaled, scale, text) in [(1230, 2, "12.30"), (-5, 2, "-0.05"), (0, 6, "0.000000"), (7, 0, "7")] {
            assert_eq!(decimal_text(unscaled, scale), text);
        }
    }

    #[test]
    fn the_checksum_tells_values_apart_and_not_orders() {
        let (a, b) = (vec![Value::Text("1".into())], vec![Value::Integer(1)]);
        let sum = |rows: &[&Vec<Value>]| {
            let mut sum = Checksum::default();
            rows.iter().for_each(|row| sum.add(row));
            sum
        };
        assert_eq!(sum(&[&a, &b]), sum(&[&b, &a]));
        assert_ne!(sum(&[&a]), sum(&[&b]));
        assert_ne!(sum(&[&a, &a]), sum(&[&b, &b]));
    }
}
