//! The version of a partition's content: one number that is equal for equal rows in the same order; and one of each of its
//! columns, for those who read some of them.
//!
//! It depends on the columns, their types and the rows, not on how the rows are cut into batches, nor on what a NULL's
//! place happens to hold. Columns are hashed side by side, most of them as the bytes they are.

use anyhow::Result;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use arrow::row::{RowConverter, SortField};
use xxhash_rust::xxh3::Xxh3;

/// A running content version.
pub struct ContentHash {
    schema: SchemaRef,
    columns: Vec<ColumnHash>,
    rows: u64,
}

/// The streams of one column: the places of its NULLs, the lengths of its texts, its values.
struct ColumnHash {
    nulls: Xxh3,
    lengths: Xxh3,
    values: Xxh3,
    /// Of a type that is neither a number nor a text.
    rows: Option<RowConverter>,
    scratch: Vec<u8>,
}

impl ContentHash {
    /// The version of no rows of a schema.
    ///
    /// # Errors
    /// When a type has no order, which no column of the lake has.
    pub fn new(schema: &SchemaRef) -> Result<Self> {
        let columns = schema.fields().iter().map(|field| ColumnHash::new(field.data_type()));
        Ok(Self { schema: SchemaRef::clone(schema), columns: columns.collect::<Result<_>>()?, rows: 0 })
    }

    /// Begins anew.
    pub fn restart(&mut self) {
        self.rows = 0;
        for column in &mut self.columns {
            (column.nulls, column.lengths, column.values) = (Xxh3::new(), Xxh3::new(), Xxh3::new());
        }
    }

    /// Takes in rows of the schema.
    ///
    /// # Errors
    /// When a column is not of its type.
    pub fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        for (hash, column) in self.columns.iter_mut().zip(batch.columns()) {
            hash.update(column, self.rows)?;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// The version of the rows taken in.
    pub fn digest(&self) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(&self.rows.to_le_bytes());
        for (field, column) in self.schema.fields().iter().zip(&self.columns) {
            column.add_to(&mut hash, field);
        }
        hash.digest()
    }

    /// The versions of its columns, in their order: that of one is equal for equal values in equally many rows.
    pub fn columns(&self) -> Vec<u64> {
        let of = |(field, column): (&FieldRef, &ColumnHash)| {
            let mut hash = Xxh3::new();
            hash.update(&self.rows.to_le_bytes());
            column.add_to(&mut hash, field);
            hash.digest()
        };
        self.schema.fields().iter().zip(&self.columns).map(of).collect()
    }
}

impl ColumnHash {
    fn new(kind: &DataType) -> Result<Self> {
        let is_plain = kind.primitive_width().is_some() || matches!(kind, DataType::Utf8 | DataType::Boolean);
        let rows = (!is_plain).then(|| RowConverter::new(vec![SortField::new(kind.clone())])).transpose()?;
        Ok(Self { nulls: Xxh3::new(), lengths: Xxh3::new(), values: Xxh3::new(), rows, scratch: Vec::new() })
    }

    /// Adds what was taken in, with what the column is called and of which type it is.
    fn add_to(&self, hash: &mut Xxh3, field: &Field) {
        hash.update(format!("{}:{};", field.name(), field.data_type()).as_bytes());
        for stream in [&self.nulls, &self.lengths, &self.values] {
            hash.update(&stream.digest().to_le_bytes());
        }
    }

    /// Takes in the values of a batch whose first row is the given one of the partition.
    fn update(&mut self, column: &ArrayRef, first_row: u64) -> Result<()> {
        let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0).map(|nulls| !nulls.inner());
        let places = || nulls.iter().flat_map(BooleanBuffer::set_indices);
        self.scratch.clear();
        self.scratch.extend(places().flat_map(|place| (first_row + place as u64).to_le_bytes()));
        self.nulls.update(&self.scratch);
        self.scratch.clear();
        match column.data_type() {
            DataType::Utf8 => {
                let texts = column.as_string::<i32>();
                let offsets = texts.value_offsets();
                let mut lengths: Vec<i32> = offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
                let is_bare = places().all(|place| lengths[place] == 0);
                places().for_each(|place| lengths[place] = 0);
                self.lengths.update(Buffer::from_vec(lengths).as_slice());
                if is_bare {
                    let (first, last) = (offsets.first().copied().unwrap_or(0), offsets.last().copied().unwrap_or(0));
                    self.values.update(&texts.value_data()[first as usize..last as usize]);
                } else {
                    texts.iter().flatten().for_each(|text| self.values.update(text.as_bytes()));
                }
            }
            DataType::Boolean => {
                let values = column.as_boolean();
                self.scratch.extend((0..values.len()).map(|at| u8::from(values.is_valid(at) && values.value(at))));
                self.values.update(&self.scratch);
            }
            kind => match (kind.primitive_width(), &self.rows) {
                (Some(width), _) => {
                    let data = column.to_data();
                    let bytes = &data.buffers()[0].as_slice()[data.offset() * width..][..data.len() * width];
                    if nulls.is_none() {
                        self.values.update(bytes);
                    } else {
                        self.scratch.extend_from_slice(bytes);
                        places().for_each(|at| self.scratch[at * width..(at + 1) * width].fill(0));
                        self.values.update(&self.scratch);
                    }
                }
                (None, Some(rows)) => {
                    for row in &rows.convert_columns(std::slice::from_ref(column))? {
                        self.lengths.update(&(row.data().len() as u64).to_le_bytes());
                        self.values.update(row.data());
                    }
                }
                (None, None) => anyhow::bail!("a column of type {kind} has no version"),
            },
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Int64Array, StringArray, StructArray};
    use arrow::datatypes::Schema;

    use super::*;

    fn rows(numbers: Vec<Option<i64>>, texts: Vec<Option<&str>>) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("t", DataType::Utf8, true),
            Field::new("m", DataType::Decimal128(18, 2), true),
        ]);
        let money: Decimal128Array = numbers.iter().map(|n| n.map(i128::from)).collect();
        let money = money.with_precision_and_scale(18, 2).expect("a scale");
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(numbers)), Arc::new(StringArray::from(texts)), Arc::new(money)];
        RecordBatch::try_new(Arc::new(schema), columns).expect("a batch")
    }

    fn version(batches: &[RecordBatch]) -> u64 {
        let mut hash = ContentHash::new(&batches[0].schema()).expect("a hash");
        batches.iter().for_each(|batch| hash.update(batch).expect("rows"));
        hash.digest()
    }

    #[test]
    fn equal_rows_have_equal_versions_however_they_are_cut() {
        let all = rows(vec![Some(1), None, Some(3), Some(4)], vec![Some("ab"), Some(""), None, Some("c")]);
        for cut in 0..=4 {
            assert_eq!(
                version(&[all.slice(0, cut), all.slice(cut, 4 - cut)]),
                version(std::slice::from_ref(&all)),
                "{cut}"
            );
        }
    }

    #[test]
    fn different_rows_have_different_versions() {
        let base = rows(vec![Some(1), None], vec![Some("ab"), Some("c")]);
        for other in [
            rows(vec![Some(1), Some(0)], vec![Some("ab"), Some("c")]),
            rows(vec![None, Some(1)], vec![Some("ab"), Some("c")]),
            rows(vec![Some(1), None], vec![Some("a"), Some("bc")]),
            rows(vec![Some(1), None], vec![Some("c"), Some("ab")]),
            rows(vec![Some(1)], vec![Some("ab")]),
            rows(vec![Some(1), None, None], vec![Some("ab"), Some("c"), None]),
        ] {
            assert_ne!(version(std::slice::from_ref(&base)), version(&[other]));
        }
        let (empty, null) = (rows(vec![None], vec![Some("")]), rows(vec![None], vec![None]));
        assert_ne!(version(&[empty]), version(&[null]), "NULL is not the empty text");
    }

    #[test]
    fn a_column_has_a_version_of_its_own() {
        let columns = |batch: &RecordBatch| {
            let mut hash = ContentHash::new(&batch.schema()).expect("a hash");
            hash.update(batch).expect("rows");
            hash.columns()
        };
        let base = columns(&rows(vec![Some(1), None], vec![Some("ab"), Some("c")]));
        let alike = columns(&rows(vec![Some(1), None], vec![Some("ab"), Some("d")]));
        assert_eq!((base[0], base[2]), (alike[0], alike[2]));
        assert_ne!(base[1], alike[1]);
        let longer = columns(&rows(vec![Some(1), None, None], vec![Some("ab"), Some("c"), None]));
        assert!(base.iter().zip(&longer).all(|(one, other)| one != other), "a row more is a row more in each");
        let named = ["x", "t", "m"].into_iter();
        let batch = rows(vec![Some(1), None], vec![Some("ab"), Some("c")]);
        let renamed = named.zip(batch.columns()).map(|(name, column)| (name, ArrayRef::clone(column), true));
        let renamed = columns(&RecordBatch::try_from_iter_with_nullable(renamed).expect("a batch"));
        assert_ne!(base[0], renamed[0]);
        assert_eq!(base[1..], renamed[1..]);
    }

    #[test]
    fn what_the_place_of_a_null_holds_does_not_matter() {
        let nulls = arrow::buffer::NullBuffer::from(vec![true, false]);
        let with = |hidden: i64| {
            let column: ArrayRef = Arc::new(Int64Array::new(vec![7, hidden].into(), Some(nulls.clone())));
            version(&[RecordBatch::try_from_iter([("n", column)]).expect("a batch")])
        };
        assert_eq!(with(1), with(2));
    }

    #[test]
    fn what_a_null_text_hides_does_not_matter() {
        let with = |hidden: &str| {
            let texts = StringArray::from(vec!["ab", hidden, "c"]);
            let (offsets, values, _) = texts.into_parts();
            let nulls = arrow::buffer::NullBuffer::from(vec![true, false, true]);
            let column: ArrayRef = Arc::new(StringArray::new(offsets, values, Some(nulls)));
            version(&[RecordBatch::try_from_iter([("t", column)]).expect("a batch")])
        };
        assert_eq!(with("xyz"), with(""));
    }

    #[test]
    fn a_version_stays_what_it_is_for_lakes_are_compared_with_it() {
        let rows = rows(vec![Some(1), None, Some(3)], vec![Some("ab"), None, Some("")]);
        assert_eq!(format!("{:016x}", version(&[rows])), "dd87a24d2d5a907c");
    }

    #[test]
    fn nested_columns_have_a_version_too() {
        let of = |value: i64| {
            let inner: ArrayRef = Arc::new(Int64Array::from(vec![value]));
            let column: ArrayRef =
                Arc::new(StructArray::from(vec![(Arc::new(Field::new("x", DataType::Int64, true)), inner)]));
            version(&[RecordBatch::try_from_iter([("s", column)]).expect("a batch")])
        };
        assert_ne!(of(1), of(2));
    }
}
