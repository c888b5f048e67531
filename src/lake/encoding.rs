//! How a column's values are put into a Parquet file: as their kind and a look at some of them suggest.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, TimestampMicrosecondType};
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::WriterPropertiesBuilder;
use parquet::schema::types::ColumnPath;
use xxhash_rust::xxh3::xxh3_64;

/// How many values are looked at, from the middle of the rows.
const LOOKED_AT: usize = 2_048;

/// The encoding of one column in a file.
///
/// A field's metadata `encoding` may say `delta` (integers close to one another) or `plain` (nothing compresses them).
/// Otherwise a column whose values hardly repeat is spared the dictionary, which would be built for nothing.
pub fn with_encoding(to: WriterPropertiesBuilder, field: &Field, middle: Option<&ArrayRef>) -> WriterPropertiesBuilder {
    let column = ColumnPath::from(field.name().as_str());
    match field.metadata().get("encoding").map(String::as_str) {
        // Values that follow one another closely: times and offsets in the order of a log.
        Some("delta") => delta(to, column),
        // Values that nothing compresses: hashes.
        Some("plain") => to
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_compression(column, Compression::UNCOMPRESSED),
        _ if !middle.is_some_and(hardly_repeats) => to,
        _ if matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View) => {
            to.set_column_dictionary_enabled(column, false)
        }
        _ => delta(to, column),
    }
}

fn delta(to: WriterPropertiesBuilder, column: ColumnPath) -> WriterPropertiesBuilder {
    to.set_column_dictionary_enabled(column.clone(), false).set_column_encoding(column, Encoding::DELTA_BINARY_PACKED)
}

/// Whether more than half of the values looked at are different ones; few values, and other kinds of them, never.
fn hardly_repeats(column: &ArrayRef) -> bool {
    if column.len() < 2 * LOOKED_AT {
        return false;
    }
    let some = column.slice((column.len() - LOOKED_AT) / 2, LOOKED_AT);
    let number = |value: i64| xxh3_64(&value.to_le_bytes());
    let hashes: HashSet<u64> = match some.data_type() {
        DataType::Int32 => some.as_primitive::<Int32Type>().iter().flatten().map(|v| number(v.into())).collect(),
        DataType::Int64 => some.as_primitive::<Int64Type>().iter().flatten().map(number).collect(),
        DataType::Timestamp(..) => {
            let times = some.as_primitive_opt::<TimestampMicrosecondType>();
            times.into_iter().flat_map(|times| times.iter().flatten()).map(number).collect()
        }
        DataType::Utf8 => some.as_string::<i32>().iter().flatten().map(|text| xxh3_64(text.as_bytes())).collect(),
        DataType::Utf8View => some.as_string_view().iter().flatten().map(|text| xxh3_64(text.as_bytes())).collect(),
        _ => HashSet::new(),
    };
    hashes.len() > LOOKED_AT / 2
}
