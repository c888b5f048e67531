//! From a row of a model back to the rows it was made from: the model's query rewritten, a SELECT at a time.
//!
//! Pure: [`blocks`] takes a query apart into SELECTs with names, [`trace`] turns one of them round: given rows of its
//! output, what to ask to get the rows of its sources that made them. What cannot be turned round so says why.

mod blocks;
mod expr;
mod factors;
mod grouping;
mod request;
mod select;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use blocks::{Block, blocks, with_clause};
pub use select::{Around, Given, Traced, trace};

/// What is asked of some rows: the columns that a number is made from, and those that decide whether a row counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Columns whose values the number is computed from.
    pub value: BTreeSet<String>,
    /// Those of them whose sum over the rows is the number.
    pub sums: BTreeSet<String>,
    /// Those whose different values are counted.
    pub distinct: BTreeSet<String>,
    /// Columns that decide whether a row counts, by a group or a filter.
    pub deciding: BTreeSet<String>,
}

impl Wanted {
    /// A number itself: one column.
    pub fn column(name: &str) -> Self {
        let one = BTreeSet::from([name.to_owned()]);
        Self { value: one.clone(), sums: one, ..Self::default() }
    }

    /// What this and another ask for.
    pub fn add(&mut self, other: Self) {
        self.value.extend(other.value);
        self.sums.extend(other.sums);
        self.distinct.extend(other.distinct);
        self.deciding.extend(other.deciding);
    }

    /// Whether a column is asked for.
    pub fn has(&self, column: &str) -> bool {
        self.value.contains(column) || self.deciding.contains(column)
    }

    /// Whether no column is: the rows are only counted.
    pub fn is_empty(&self) -> bool {
        self.value.is_empty() && self.deciding.is_empty()
    }
}
