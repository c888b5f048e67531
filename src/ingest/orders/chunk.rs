//! Many rows by column, of which none is bad: what large extracts mostly are, and what costs least to take.
//!
//! Rows of which one is bad are taken one by one, as [`super::intake`] does it.

use std::borrow::Cow;

use super::value::Value;

/// Some rows: the values of each declared column.
pub struct Chunk<'a> {
    /// How many rows.
    pub rows: usize,
    /// As many values in each.
    pub columns: Vec<Column<'a>>,
}

/// The values of a column.
pub enum Column<'a> {
    /// Integers within the column's range.
    Integers(Values<i64>),
    /// Amounts in hundredths.
    Money(Values<i128>),
    /// Microseconds since 1970-01-01T00:00 of the business zone's wall clock.
    Datetimes(Values<i64>),
    /// Texts.
    Texts(Vec<Option<Cow<'a, str>>>),
}

/// Values, zero where there is none.
#[derive(Default)]
pub struct Values<T> {
    /// As many as there are rows.
    pub values: Vec<T>,
    /// Whether each is one, and not NULL.
    pub valid: Vec<bool>,
    /// How many are NULL.
    pub nulls: usize,
}

impl Column<'_> {
    /// The value in a row.
    pub fn value(&self, row: usize) -> Value<'_> {
        match self {
            Self::Integers(numbers) => numbers.get(row).map_or(Value::Null, Value::Integer),
            Self::Money(amounts) => amounts.get(row).map_or(Value::Null, Value::Money),
            Self::Datetimes(times) => times.get(row).map_or(Value::Null, Value::Datetime),
            Self::Texts(texts) => texts[row].as_deref().map_or(Value::Null, |text| Value::Text(Cow::Borrowed(text))),
        }
    }

    /// Whether a row has no value.
    pub fn has_nulls(&self) -> bool {
        match self {
            Self::Integers(Values { nulls, .. }) | Self::Datetimes(Values { nulls, .. }) => *nulls > 0,
            Self::Money(Values { nulls, .. }) => *nulls > 0,
            Self::Texts(texts) => texts.iter().any(Option::is_none),
        }
    }
}

impl<T: Copy + Default> Values<T> {
    /// So many values, each `Some(None)` where it is NULL; no column when one is `None`: bad, or to be told of.
    pub fn of(rows: usize, values: impl Iterator<Item = Option<Option<T>>>) -> Option<Self> {
        let mut all = Self { values: Vec::with_capacity(rows), valid: Vec::with_capacity(rows), nulls: 0 };
        for value in values {
            let value = value?;
            all.nulls += usize::from(value.is_none());
            all.valid.push(value.is_some());
            all.values.push(value.unwrap_or_default());
        }
        Some(all)
    }

    /// The value in a row, if there is one.
    pub fn get(&self, row: usize) -> Option<T> {
        self.valid[row].then(|| self.values[row])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_which_one_is_bad_are_no_column() {
        let numbers = |last| Values::of(3, [Some(Some(7)), Some(None), last].into_iter()).map(Column::Integers);
        let good = numbers(Some(Some(9))).expect("all are good");
        assert_eq!([0, 1, 2].map(|row| good.value(row)), [Value::Integer(7), Value::Null, Value::Integer(9)]);
        assert!(good.has_nulls());
        assert!(numbers(None).is_none());
    }
}
