//! The order of a file's rows: believed by who writes it, seen for itself, and told in the file's footer, so that no
//! reader has to sort again what is sorted.

use anyhow::Result;
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::and;
use arrow::compute::kernels::cmp::{eq, gt};
use arrow::datatypes::{Schema, SchemaRef};
use parquet::file::metadata::SortingColumn;

/// The key of a schema's metadata that names, with commas between, the columns by which rows are believed to be sorted.
const SORTED_BY: &str = "sorted_by";

/// The schema of rows that are believed to be sorted by some of its columns, ascending.
pub fn sorted_by(schema: &SchemaRef, columns: &[&str]) -> SchemaRef {
    let metadata = [(SORTED_BY.to_owned(), columns.join(","))];
    Schema::clone(schema).with_metadata(metadata.into()).into()
}

/// Whether a reader may leave out row groups by the bounds of a column: not when rows are sorted by others.
pub fn prunes(schema: &Schema, column: &str) -> bool {
    let names = schema.metadata().get(SORTED_BY).filter(|names| !names.is_empty());
    names.is_none_or(|names| names.split(',').any(|name| name == column))
}

/// The order to tell in a footer: the believed one, when every row of the batches keeps to it and no key is NULL.
///
/// # Errors
/// When a believed column is not one of the schema.
pub fn sorting_columns(schema: &Schema, batches: &[RecordBatch]) -> Result<Option<Vec<SortingColumn>>> {
    let names = schema.metadata().get(SORTED_BY).filter(|names| !names.is_empty());
    let places = names.map(|names| names.split(',').map(|name| schema.index_of(name)).collect::<Result<Vec<_>, _>>());
    let Some(places) = places.transpose()? else { return Ok(None) };
    // A footer numbers the leaves of nested columns, and says nothing of where NaN is.
    let is_untold = |at: &usize| schema.field(*at).data_type().is_floating();
    if schema.fields().iter().any(|field| field.data_type().is_nested()) || places.iter().any(is_untold) {
        return Ok(None);
    }
    let mut before: Option<Vec<ArrayRef>> = None;
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        let keys: Vec<ArrayRef> = places.iter().map(|place| batch.column(*place).clone()).collect();
        let part = |from: usize, rows| keys.iter().map(move |key| key.slice(from, rows)).collect::<Vec<_>>();
        let (next, last) = (batch.num_rows() - 1, part(batch.num_rows() - 1, 1));
        if keys.iter().any(|key| key.logical_null_count() > 0)
            || !ascending(&part(0, next), &part(1, next))?
            || !before.replace(last).map_or(Ok(true), |before| ascending(&before, &part(0, 1)))?
        {
            return Ok(None);
        }
    }
    let column = |place: &usize| {
        let column_idx = i32::try_from(*place)?;
        Ok(SortingColumn { column_idx, descending: false, nulls_first: true })
    };
    places.iter().map(column).collect::<Result<Vec<_>>>().map(Some)
}

/// Whether each row of the left is at most the one of the right, compared key after key.
fn ascending(left: &[ArrayRef], right: &[ArrayRef]) -> Result<bool> {
    let mut undecided: Option<BooleanArray> = None;
    for (left, right) in left.iter().zip(right) {
        let greater = gt(left, right)?;
        let wrong = undecided.as_ref().map_or(Ok(greater.clone()), |undecided| and(undecided, &greater))?;
        if wrong.has_true() {
            return Ok(false);
        }
        let equal = eq(left, right)?;
        let still = undecided.map_or(Ok(equal.clone()), |undecided| and(&undecided, &equal))?;
        if !still.has_true() {
            return Ok(true);
        }
        undecided = Some(still);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, Int64Array, StringArray};
    use arrow::datatypes::{Field, Int32Type};

    use super::*;

    fn rows(files: &[Option<&str>], offsets: &[i64]) -> RecordBatch {
        let files: ArrayRef = Arc::new(files.iter().copied().collect::<StringArray>());
        RecordBatch::try_from_iter([
            ("offset", Arc::new(Int64Array::from(offsets.to_vec())) as ArrayRef),
            ("file", files),
        ])
        .expect("a batch")
    }

    fn told(batches: &[RecordBatch]) -> Option<Vec<i32>> {
        let schema = sorted_by(&batches[0].schema(), &["file", "offset"]);
        let columns = sorting_columns(&schema, batches).expect("columns of the schema");
        columns.map(|columns| columns.iter().map(|column| column.column_idx).collect())
    }

    #[test]
    fn rows_in_order_are_told_so_across_batches_and_with_equal_keys() {
        let first = rows(&[Some("a"), Some("a"), Some("b")], &[1, 5, 0]);
        assert_eq!(told(&[first.clone(), rows(&[Some("b"), Some("c")], &[0, -1])]), Some(vec![1, 0]));
        assert_eq!(told(&[first.slice(0, 1)]), Some(vec![1, 0]));
        assert_eq!(told(&[first.slice(0, 0)]), Some(vec![1, 0]));
    }

    #[test]
    fn one_row_out_of_order_is_enough_to_tell_nothing() {
        let first = rows(&[Some("a"), Some("a"), Some("b")], &[1, 5, 0]);
        assert_eq!(told(&[rows(&[Some("a"), Some("a")], &[2, 1])]), None, "by the second key");
        assert_eq!(told(&[rows(&[Some("b"), Some("a")], &[1, 2])]), None, "by the first key");
        assert_eq!(told(&[first.clone(), rows(&[Some("a")], &[9])]), None, "between batches");
        assert_eq!(told(&[first, rows(&[None], &[9])]), None, "a NULL key");
        let schema = rows(&[None], &[1]).schema();
        assert!(sorting_columns(&schema, &[rows(&[Some("a")], &[1])]).expect("no belief").is_none());
    }

    #[test]
    fn a_dictionary_is_compared_by_its_values_and_not_by_its_numbers() {
        let texts: DictionaryArray<Int32Type> = vec!["b", "a", "b"].into_iter().collect();
        let schema = Arc::new(Schema::new(vec![Field::new("file", texts.data_type().clone(), true)]));
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(texts)]).expect("a batch");
        let schema = sorted_by(&schema, &["file"]);
        assert!(sorting_columns(&schema, &[batch.slice(0, 2)]).expect("compares").is_none());
        assert!(sorting_columns(&schema, &[batch.slice(1, 2)]).expect("compares").is_some());
    }
}
