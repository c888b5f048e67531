//! Keys of an order table, the same whether the lake has them or a database: told apart by a hash, lying at a place of
//! one of their columns, and spelled as a database can spell them, too.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use chrono::DateTime;
use xxhash_rust::xxh3::Xxh3;

use super::layout::Layout;
use super::tally::Amount;
use super::value::Value;
use crate::config::source::ColumnType;
use crate::lake::conform;

/// The key columns of a table.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Name and type, in the order of the declaration.
    columns: Vec<(String, ColumnType)>,
    /// Which of them has the place.
    placed: usize,
    schema: SchemaRef,
}

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Where it lies: the value of one column, an integer or the microseconds of a time.
    pub place: i64,
    /// What tells it apart, in two halves so that many of them take less memory.
    hash: [u64; 2],
    /// The CRC-32 of its text, values joined by commas: what a database computes as well.
    pub crc: u32,
}

impl Key {
    /// What tells it apart.
    pub fn hash(&self) -> u128 {
        u128::from(self.hash[0]) << 64 | u128::from(self.hash[1])
    }
}

impl Keys {
    /// The keys of a layout, whose place is the value of one of its columns, an integer or a time.
    pub fn new(layout: &Layout, placed: usize) -> Self {
        let columns: Vec<_> =
            layout.key.iter().map(|at| (layout.columns[*at].name.clone(), layout.columns[*at].kind)).collect();
        let field = |(name, _): &(String, ColumnType)| layout.file_schema.field_with_name(name).ok().cloned();
        let fields: Vec<_> = columns.iter().filter_map(field).collect();
        Self {
            placed: layout.key.iter().position(|at| *at == placed).unwrap_or_default(),
            columns,
            schema: Arc::new(Schema::new(fields)),
        }
    }

    /// The names of the columns.
    pub fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The keys of rows of the lake.
    ///
    /// # Errors
    /// When the rows lack a column of the key.
    pub fn of_batch(&self, batch: &RecordBatch) -> Result<Vec<Key>> {
        let batch = conform(batch, &self.schema)?;
        let columns: Vec<_> = self.columns.iter().zip(batch.columns()).map(|((_, kind), c)| (*kind, c)).collect();
        let mut speller = Speller::default();
        let key = |row| {
            let values = columns.iter().map(|(kind, column)| value(*kind, column, row));
            speller.key(values, self.placed).context("a row of the lake has no key")
        };
        (0..batch.num_rows()).map(key).collect()
    }

    /// The key that has these values, in the order of the declaration; none when one of them is NULL.
    pub fn of_values<'v>(&self, values: impl Iterator<Item = Value<'v>>) -> Option<Key> {
        Speller::default().key(values, self.placed)
    }
}

fn value(kind: ColumnType, column: &ArrayRef, row: usize) -> Value<'_> {
    if column.is_null(row) {
        return Value::Null;
    }
    match kind {
        ColumnType::I32 => Value::Integer(column.as_primitive::<Int32Type>().value(row).into()),
        ColumnType::I64 => Value::Integer(column.as_primitive::<Int64Type>().value(row)),
        ColumnType::Money => Value::Money(column.as_primitive::<Decimal128Type>().value(row)),
        ColumnType::Datetime => Value::Datetime(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        ColumnType::String => Value::Text(Cow::Borrowed(column.as_string::<i32>().value(row))),
    }
}

/// Spells keys, one after another.
#[derive(Default)]
struct Speller {
    text: String,
}

impl Speller {
    fn key<'v>(&mut self, values: impl Iterator<Item = Value<'v>>, placed: usize) -> Option<Key> {
        self.text.clear();
        let (mut place, mut hash) = (0, Xxh3::new());
        for (at, value) in values.enumerate() {
            if at > 0 {
                self.text.push(',');
            }
            let start = self.text.len();
            // Writing to a text does not fail.
            let _ = match &value {
                Value::Integer(number) => write!(self.text, "{number}"),
                Value::Money(amount) => write!(self.text, "{}", Amount(*amount)),
                Value::Datetime(micros) => {
                    let time = DateTime::from_timestamp_micros(*micros)?;
                    write!(self.text, "{}", time.format("%Y-%m-%d %H:%M:%S%.6f"))
                }
                Value::Text(text) => self.text.write_str(text),
                _ => return None,
            };
            match value {
                Value::Integer(number) | Value::Datetime(number) if at == placed => place = number,
                _ => {}
            }
            // With its length, so that no two keys are one text.
            hash.update(&(self.text.len() - start).to_le_bytes());
            hash.update(&self.text.as_bytes()[start..]);
        }
        let hash = hash.digest128();
        let halves = [(hash >> 64) as u64, hash as u64];
        Some(Key { place, hash: halves, crc: crc32fast::hash(self.text.as_bytes()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(values: &[Value<'static>]) -> Option<Key> {
        Speller::default().key(values.iter().cloned(), 0)
    }

    #[test]
    fn a_key_is_told_apart_by_each_of_its_values() {
        let text = |text: &'static str| Value::Text(Cow::Borrowed(text));
        let one = key(&[Value::Integer(12), text("a,b"), text("c")]).unwrap();
        let two = key(&[Value::Integer(12), text("a"), text("b,c")]).unwrap();
        assert_eq!((one.place, one.crc), (12, crc32fast::hash(b"12,a,b,c")));
        assert_ne!(one.hash(), two.hash());
        assert_eq!(key(&[Value::Integer(12), Value::Null]), None);
        assert_eq!(key(&[Value::ZeroDate]), None);
    }

    #[test]
    fn values_are_spelled_as_a_database_spells_them() {
        let time = Value::Datetime(86_400_000_000 + 1);
        let spelled = key(&[time, Value::Money(-5)]).unwrap();
        assert_eq!(spelled.crc, crc32fast::hash(b"1970-01-02 00:00:00.000001,-0.05"));
        assert_eq!(spelled.place, 86_400_000_001);
    }
}
