//! Rows and columns on their way to a person or a file: cells as text, each knowing whether it is a number.
//!
//! Query results (Arrow batches) become a [`Grid`], and so do the listings that commands make themselves.

use anyhow::Result;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::Value;

/// How dates and times are written, in every format.
const OPTIONS: FormatOptions<'static> = FormatOptions::new()
    .with_display_error(true)
    .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
    .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"))
    .with_datetime_format(Some("%Y-%m-%d %H:%M:%S%.f"));

/// One value as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// No value.
    Null,
    /// Text, a date, a time.
    Text(String),
    /// A number in its exact digits, or true or false: what JSON writes without quotes.
    Bare(String),
    /// A list or a record, as JSON.
    Nested(String),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Bare(number.to_string())
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A column's name and side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Whether its values are numbers, which stand at the right.
    pub number: bool,
}

/// Columns and rows; every row has a cell for every column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// The columns, from left to right.
    pub columns: Vec<Column>,
    /// The rows, from top to bottom.
    pub rows: Vec<Vec<Cell>>,
    /// How a person is shown that there is no value.
    pub null: &'static str,
}

impl Grid {
    /// An empty grid; a name that ends in `#` is a column of numbers.
    pub fn new(names: &[&str]) -> Self {
        let column = |name: &&str| Column { name: name.trim_end_matches('#').to_owned(), number: name.ends_with('#') };
        Self { columns: names.iter().map(column).collect(), rows: Vec::new(), null: "" }
    }

    /// Adds a row.
    pub fn push<const N: usize>(&mut self, row: [Cell; N]) {
        debug_assert_eq!(N, self.columns.len(), "a cell for every column");
        self.rows.push(row.into());
    }

    /// The columns of a query's result, without rows.
    pub fn of_schema(schema: &Schema) -> Self {
        let column = |f: &std::sync::Arc<arrow::datatypes::Field>| Column {
            name: f.name().clone(),
            number: is_number(f.data_type()),
        };
        Self { columns: schema.fields().iter().map(column).collect(), rows: Vec::new(), null: "NULL" }
    }

    /// Adds the rows of one batch of a query's result.
    pub fn extend(&mut self, batch: &RecordBatch) -> Result<()> {
        let first = self.rows.len();
        self.rows.resize_with(first + batch.num_rows(), || Vec::with_capacity(self.columns.len()));
        for array in batch.columns() {
            let formatter = ArrayFormatter::try_new(array, &OPTIONS)?;
            for (i, row) in self.rows[first..].iter_mut().enumerate() {
                row.push(cell(array, &formatter, i)?);
            }
        }
        Ok(())
    }
}

fn cell(array: &dyn Array, formatter: &ArrayFormatter<'_>, row: usize) -> Result<Cell> {
    if array.is_null(row) {
        return Ok(Cell::Null);
    }
    let text = || formatter.value(row).to_string();
    Ok(match array.data_type() {
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) | DataType::Struct(_) => {
            Cell::Nested(nested(array, row)?.to_string())
        }
        kind if is_number(kind) || *kind == DataType::Boolean => Cell::Bare(text()),
        DataType::Null => Cell::Null,
        _ => Cell::Text(text()),
    })
}

/// A list or a record as JSON; what is inside keeps its exact digits as text when JSON's numbers could not hold it.
fn nested(array: &dyn Array, row: usize) -> Result<Value> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    let items = |values: &dyn Array| (0..values.len()).map(|i| nested(values, i)).collect::<Result<Vec<_>>>();
    Ok(match array.data_type() {
        DataType::List(_) => items(&array.as_list::<i32>().value(row))?.into(),
        DataType::LargeList(_) => items(&array.as_list::<i64>().value(row))?.into(),
        DataType::FixedSizeList(..) => items(&array.as_fixed_size_list().value(row))?.into(),
        DataType::Struct(fields) => {
            let values = array.as_struct().columns();
            let entry = |(field, values): (&std::sync::Arc<arrow::datatypes::Field>, &arrow::array::ArrayRef)| {
                Ok((field.name().clone(), nested(values, row)?))
            };
            Value::Object(fields.iter().zip(values).map(entry).collect::<Result<_>>()?)
        }
        _ => {
            let formatter = ArrayFormatter::try_new(array, &OPTIONS)?;
            match cell(array, &formatter, row)? {
                Cell::Bare(text) => match serde_json::from_str::<Value>(&text).map(|v| (v.to_string(), v)) {
                    Ok((rewritten, value)) if rewritten == text => value,
                    _ => text.into(),
                },
                Cell::Text(text) | Cell::Nested(text) => text.into(),
                Cell::Null => Value::Null,
            }
        }
    })
}

fn is_number(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => is_number(values),
        kind => kind.is_numeric(),
    }
}
