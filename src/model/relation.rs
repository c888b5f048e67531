//! What is known of the relations in a FROM: whether they have a `dt`, and which days it can have.

use datafusion::sql::sqlparser::ast::TableAlias;

use super::facts::is_plain;
use super::range::{DayRange, add};
use super::sql::ident_text;

/// Whether a relation has a column `dt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HasDt {
    /// It has; of a table, the column its partitions are keyed by.
    Yes,
    /// It certainly has not.
    No,
    /// It is not known.
    Maybe,
}

/// What stands behind a name in a FROM.
#[derive(Clone, Debug, PartialEq)]
pub enum Relation {
    /// A table of the warehouse.
    Table(String),
    /// A subquery, a common table expression or a function.
    Derived,
}

/// What is known of the output of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Derived {
    /// Whether a column is called `dt`.
    pub has_dt: HasDt,
    /// The days that column can have, NULL aside; `None` when any.
    pub values: Option<Vec<DayRange>>,
    /// Its place among the columns, when known.
    pub position: Option<usize>,
}

impl Derived {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self { has_dt: HasDt::Maybe, values: None, position: None };

    /// Known days that are not plain ranges say nothing to other tables and are dropped.
    pub fn new(has_dt: HasDt, values: Option<Vec<DayRange>>, position: Option<usize>) -> Self {
        Self { has_dt, values: values.filter(|union| is_plain(union)), position }
    }

    /// The output after `as name (columns)`.
    pub fn renamed(self, alias: Option<&TableAlias>) -> Self {
        match alias {
            Some(alias) if !alias.columns.is_empty() => {
                // A shorter list than there are columns leaves the rest with their names.
                let renamed = alias.columns.iter().any(|column| ident_text(&column.name) == "dt");
                Self::new(if renamed { HasDt::Yes } else { HasDt::Maybe }, None, None)
            }
            _ => self,
        }
    }

    /// The output of a union: its columns are matched by position and named by the first query.
    pub fn united(self, other: Self) -> Self {
        let same_place = self.position.is_some() && self.position == other.position;
        let values = match (self.values, other.values) {
            (Some(mut union), Some(more)) if same_place => {
                more.into_iter().for_each(|range| add(&mut union, range));
                Some(union)
            }
            _ => None,
        };
        Self { values, ..self }
    }
}
