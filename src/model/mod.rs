//! Models: SQL files as values. What a model is called, what it reads and which days of it, what it promises.
//!
//! Pure: text in, values out. Nothing here opens a file, runs a query or knows a table's data. Reading order: this file,
//! `load` (one file), `project` (all of them, in order), `reads` with `joins` (which days a query needs).

mod columns;
mod date_expr;
mod date_parse;
mod diagnostic;
mod facts;
mod formula;
mod header;
mod joins;
mod lineage;
mod load;
mod meaning;
mod project;
mod range;
mod reads;
mod relation;
mod scope;
mod select;
mod sql;
pub mod trace;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::bail;
use datafusion::sql::sqlparser::ast::Query;
use serde::{Deserialize, Serialize};

pub use date_expr::{DateExpr, Period};
pub use diagnostic::{Diagnostic, did_you_mean};
pub use lineage::{downstream, upstream};
pub use load::{load_model, tables_in};
pub use meaning::{Edit, Form};
pub use project::Models;
pub use range::{DayRange, Partitions, Span, merge};
pub use select::select;
pub use sql::{SqlError, parse_statements, table_text};

use crate::date::Slot;

/// The function that answers with the latest partition of a table on or before a date.
const LATEST_SNAPSHOT: &str = "latest_snapshot";

/// The function that answers with the first loaded day of a source, and the name of that answer as an input of models.
pub const FIRST_LOADED_DAY: &str = "first_loaded_day";

/// The four layers of the warehouse, from the sources up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// As it came, typed.
    Ods,
    /// Cleaned, one row an event or an entity.
    Dwd,
    /// Joined and summed for many uses.
    Dws,
    /// Metrics, as they are published.
    App,
}

impl Layer {
    /// All layers, from the sources up.
    pub const ALL: [Self; 4] = [Self::Ods, Self::Dwd, Self::Dws, Self::App];

    /// The name, which is that of the folder and the first part of every table's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ods => "ods",
            Self::Dwd => "dwd",
            Self::Dws => "dws",
            Self::App => "app",
        }
    }

    /// The layer that a table's name says it is in.
    pub fn of_table(table: &str) -> Option<Self> {
        let (prefix, _) = table.split_once('_')?;
        prefix.parse().ok()
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Layer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match Self::ALL.into_iter().find(|layer| layer.name() == text) {
            Some(layer) => Ok(layer),
            None => bail!("`{text}` is not a layer: the layers are ods, dwd, dws, app"),
        }
    }
}

/// One table of the warehouse and the SELECT it is made by.
#[derive(Clone, Debug)]
pub struct Model {
    /// The table.
    pub name: String,
    /// Its layer.
    pub layer: Layer,
    /// The file, relative to the project, for messages.
    pub path: String,
    /// What a row is, in a sentence.
    pub description: String,
    /// What else its author wrote at the top, a paragraph a line.
    pub notes: String,
    /// The columns that tell its rows apart.
    pub grain: Vec<String>,
    /// What must hold of its rows.
    pub checks: Vec<Check>,
    /// The exports it is part of.
    pub export: Vec<String>,
    /// Words to select it by.
    pub tags: Vec<String>,
    /// The text of the file, header included, so that places in the engine's errors are places in the file.
    pub sql: String,
    /// The parsed query.
    pub ast: Box<Query>,
    /// Whether it is made day by day (`$dt` occurs in it) and not in one go.
    pub uses_day: bool,
    /// What it reads, by table name; itself included when it reads its own past.
    pub reads: Vec<Read>,
    /// What its partitions depend on, by table name: what it reads and what its checks read, together.
    pub dependencies: Vec<Read>,
    /// Its columns in order.
    pub columns: Vec<ColumnDoc>,
    /// The words of its SELECT and of the queries among its checks, in lower case; for [`Columns`].
    pub words: Arc<BTreeSet<String>>,
    /// A hash of what it means: equal as long as only comments, white space and case change.
    pub meaning: u64,
}

/// What must hold of the rows of a model before they are published.
#[derive(Clone, Debug)]
pub struct Check {
    /// The condition or the query, on one line.
    pub text: String,
    /// The line of the file it begins on.
    pub line: usize,
    /// How it is to be understood.
    pub kind: CheckKind,
    /// What happens when it does not hold.
    pub severity: Severity,
    /// What a query reads besides the model itself: to be up to date before the check can be believed.
    pub reads: Vec<Read>,
}

/// What happens to the rows that violate a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// `check:`: nothing of the partitions it saw is published.
    Fail,
    /// `warn:`: it is told.
    Warn,
}

/// How a check is to be understood.
#[derive(Clone, Debug)]
pub enum CheckKind {
    /// A condition that each row satisfies or leaves NULL.
    Row,
    /// A query that returns the rows that are wrong.
    Query(Box<Query>),
}

/// An input of a model and the partitions of it that are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// The table.
    pub table: String,
    /// The partitions: the union of these.
    pub ranges: Vec<DayRange>,
    /// The columns that can matter.
    pub columns: Columns,
}

/// Columns of a table that a query can see; others may change without a change of its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Columns {
    /// All there are: a `*` is selected of it, columns are renamed or joined by their places, or are those of a join that
    /// has a name.
    All,
    /// Those whose name, in lower case, is a word of the query; and how many rows there are.
    Named(Arc<BTreeSet<String>>),
}

impl Columns {
    /// Whether a column is among them.
    pub fn has(&self, column: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(words) if column.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) => {
                words.contains(column)
            }
            Self::Named(words) => words.contains(&column.to_lowercase()),
        }
    }
}

impl Read {
    /// The partitions read to build one, in order and without overlap.
    pub fn spans(&self, slot: Slot, table: &impl Partitions) -> Vec<Span> {
        range::spans(&self.ranges, slot, table)
    }
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.table, range::words(&self.ranges))
    }
}

/// A column of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDoc {
    /// Its name.
    pub name: String,
    /// The comment on its line of the last SELECT.
    pub comment: Option<String>,
}

impl Model {
    /// How each of its columns is computed, in order: an expression, or none where it is a column of a table as it is.
    pub fn formulas(&self) -> Vec<Option<String>> {
        columns::formulas(&self.ast)
    }

    /// Whether rows fall into partitions by a column `dt`.
    pub fn is_partitioned(&self) -> bool {
        self.columns.iter().any(|column| column.name == "dt")
    }

    /// Whether it has rows on no day where what it reads has: it reads the partition of the slot that is built.
    pub fn covers_no_day(&self) -> bool {
        self.own_reads().next().is_some()
    }

    /// The inputs of which it reads the partition of the slot that is built, be that no day.
    pub fn own_reads(&self) -> impl Iterator<Item = &Read> {
        self.reads.iter().filter(|read| read.ranges.contains(&DayRange::Own))
    }

    /// Whether it reads its own past, and hence must be built in the order of the days.
    pub fn reads_itself(&self) -> bool {
        self.reads.iter().any(|read| read.table == self.name)
    }

    /// The tables it reads, itself excluded.
    pub fn inputs(&self) -> impl Iterator<Item = &Read> {
        self.reads.iter().filter(|read| read.table != self.name)
    }

    /// The tables that must be up to date before it is built and checked: its inputs and those of its checks.
    pub fn prerequisites(&self) -> impl Iterator<Item = &Read> {
        self.dependencies.iter().filter(|read| read.table != self.name)
    }

    /// What it reads in words, a line an input: `itself: the day before`.
    pub fn reads_in_words(&self) -> Vec<String> {
        let line = |read: &Read| match read.table.as_str() {
            FIRST_LOADED_DAY => "the first loaded day".to_owned(),
            table if table == self.name => format!("itself: {}", range::words(&read.ranges)),
            _ => read.to_string(),
        };
        self.reads.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_seen_in_whatever_case_it_is_written() {
        let columns = Columns::Named(Arc::new(["ab", "größe", "ǆ"].map(str::to_owned).into()));
        assert!(
            ["ab", "aB", "GRÖSSE", "Größe", "Ǆ", "ǅ"].map(|name| columns.has(name))
                == [true, true, false, true, true, true]
        );
        assert!(!columns.has("a") && Columns::All.has("a"));
    }
}
