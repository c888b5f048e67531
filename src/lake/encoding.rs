//! How a column's values are put into a Parquet file: as their kind and a look at some of them suggest.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Field, Int32Type, Int64Type, TimestampMicrosecondType};
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::WriterPropertiesBuilder;
use parquet::schema::types::ColumnPath;
use xxhash_rust::xxh3::xxh3_64;

/// How many values are looked at, from the middle of the rows.
const LOOKED_AT: usize = 2_048;

/// The encoding of one column in a file.
///
/// A field's metadata `encoding` may say `delta` (integers close to one another) or `plain` (nothing compresses them).
/// Otherwise a column whose values hardly repeat, or only one after the other, is spared the dictionary, which would be
/// built for nothing.
pub fn with_encoding(to: WriterPropertiesBuilder, field: &Field, middle: Option<&ArrayRef>) -> WriterPropertiesBuilder {
    let column = ColumnPath::from(field.name().as_str());
    match field.metadata().get("encoding").map(String::as_str) {
        // Values that follow one another closely: times and offsets in the order of a log.
        Some("delta") => delta(to, column),
        // Values that nothing compresses: hashes.
        Some("plain") => to
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_compression(column, Compression::UNCOMPRESSED),
        _ if !middle.is_some_and(|column| is_ascending(column) || hardly_repeats(column)) => to,
        _ if matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View) => {
            to.set_column_dictionary_enabled(column, false)
        }
        _ => delta(to, column),
    }
}

fn delta(to: WriterPropertiesBuilder, column: ColumnPath) -> WriterPropertiesBuilder {
    to.set_column_dictionary_enabled(column.clone(), false).set_column_encoding(column, Encoding::DELTA_BINARY_PACKED)
}

/// Some values from the middle of a column; none of a column with few values.
fn some_of(column: &ArrayRef) -> Option<ArrayRef> {
    (column.len() >= 2 * LOOKED_AT).then(|| column.slice((column.len() - LOOKED_AT) / 2, LOOKED_AT))
}

/// The numbers among the values looked at, of a type that Parquet stores as an integer.
fn numbers(some: &ArrayRef) -> Option<Vec<i64>> {
    match some.data_type() {
        DataType::Int32 => Some(some.as_primitive::<Int32Type>().iter().flatten().map(i64::from).collect()),
        DataType::Int64 => Some(some.as_primitive::<Int64Type>().iter().flatten().collect()),
        DataType::Timestamp(..) => {
            Some(some.as_primitive_opt::<TimestampMicrosecondType>()?.iter().flatten().collect())
        }
        DataType::Decimal128(1..=18, _) => {
            let small = |value: i128| i64::try_from(value).unwrap_or_default();
            Some(some.as_primitive::<Decimal128Type>().iter().flatten().map(small).collect())
        }
        _ => None,
    }
}

/// Whether numbers never fall, and rise often: keys of an extract in their order.
fn is_ascending(column: &ArrayRef) -> bool {
    let Some(numbers) = some_of(column).as_ref().and_then(numbers) else { return false };
    let rises = numbers.windows(2).filter(|pair| pair[0] < pair[1]).count();
    numbers.is_sorted() && rises > LOOKED_AT / 16
}

/// Whether more than half of the values looked at are different ones; few values, and other kinds of them, never.
fn hardly_repeats(column: &ArrayRef) -> bool {
    let Some(some) = some_of(column) else { return false };
    let hashes: HashSet<u64> = match (numbers(&some), some.data_type()) {
        (Some(numbers), _) => numbers.into_iter().map(|number| xxh3_64(&number.to_le_bytes())).collect(),
        (_, DataType::Utf8) => some.as_string::<i32>().iter().flatten().map(|text| xxh3_64(text.as_bytes())).collect(),
        (_, DataType::Utf8View) => some.as_string_view().iter().flatten().map(|t| xxh3_64(t.as_bytes())).collect(),
        _ => HashSet::new(),
    };
    hashes.len() > LOOKED_AT / 2
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;

    use super::*;

    #[test]
    fn only_numbers_that_repeat_out_of_order_are_worth_a_dictionary() {
        let column = |of: fn(i64) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values((0..10_000).map(of))) };
        let spared = |column: ArrayRef| is_ascending(&column) || hardly_repeats(&column);
        assert!(spared(column(|n| n / 3)), "lines of orders");
        assert!(spared(column(|n| n * 7919 % 100_003)), "hardly two alike");
        assert!(!spared(column(|n| n * 7919 % 500)), "a few hundred goods");
        assert!(!spared(column(|n| n / 1000)), "long runs");
        assert!(!spared(Arc::new(Int64Array::from(vec![1, 2, 3]))), "a few");
    }
}
