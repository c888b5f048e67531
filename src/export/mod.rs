//! Export: published partitions of the lake become rows of a database that dashboards read.
//!
//! One transaction takes all tables of a run: a reader sees the whole old state or the whole new one. What is written
//! is read back and compared before the commit, and a metadata table beside the data (`strata_export`) says for every
//! partition what it holds, from which run, and that its checks passed. A partition whose recorded version is the
//! lake's is not touched. What tables and columns mean is beside the data too (`strata_table`, `strata_column`). Each kind
//! of database is a sibling here; `mysql` joins as one.

mod rows;
mod sqlite;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use arrow::array::RecordBatch;

use crate::date::Slot;
use crate::engine::{Engine, LakeScan, query};
use crate::lake::Table;

/// The table beside the data that says what each exported partition is.
pub const METADATA_TABLE: &str = "strata_export";

/// The table beside the data that says what the rows of each table are.
pub const TABLES_TABLE: &str = "strata_table";

/// The table beside the data that says what each column is.
pub const COLUMNS_TABLE: &str = "strata_column";

/// A published table and the partitions it has.
pub struct ExportTable {
    /// The snapshot to export.
    pub table: Table,
    /// Its key: the model's grain.
    pub key: Vec<String>,
    /// What a row is.
    pub description: String,
    /// What its columns mean, by name.
    pub comments: BTreeMap<String, String>,
    /// Its partitions in the lake, version and rows: days, or the one of a table without `dt`.
    pub slots: BTreeMap<Slot, (u64, u64)>,
}

impl ExportTable {
    /// What a column means, on one line.
    fn meaning(&self, column: &str) -> String {
        one_line(self.comments.get(column).map_or("", String::as_str))
    }
}

/// A text without line breaks, so that it can end a line of SQL as a comment.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// In whose name an export is made.
#[derive(Clone)]
pub struct ExportRun {
    /// The run.
    pub run: String,
    /// The run's clock, epoch milliseconds.
    pub now_ms: i64,
    /// The newest arrival that the data rest on, for readers who ask how fresh a number is.
    pub data_as_of: String,
}

/// What an export did to one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The table.
    pub table: String,
    /// Partitions written or taken away.
    pub partitions: usize,
    /// Rows written.
    pub rows: u64,
}

/// Brings a `SQLite` database to the state of the lake.
///
/// # Errors
/// When the database cannot be written, or what is read back differs from the lake; it is as it was then.
pub async fn to_sqlite(
    path: &Path,
    engine: &Engine,
    tables: Vec<ExportTable>,
    run: &ExportRun,
) -> Result<Vec<Exported>> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let (path, engine, run) = (path.to_owned(), engine.clone(), run.clone());
    let runtime = tokio::runtime::Handle::current();
    let work =
        move || sqlite::export(&path, &tables, &run, |table, slots| runtime.block_on(read(&engine, table, slots)));
    tokio::task::spawn_blocking(work).await.context("the export was interrupted")?
}

/// The rows of some partitions of a table.
async fn read(engine: &Engine, table: &ExportTable, slots: &[Slot]) -> Result<Vec<RecordBatch>> {
    let session = engine.session();
    let name = table.table.name();
    session.register_table(name, std::sync::Arc::new(LakeScan::of(&table.table)?))?;
    let days: Vec<String> = slots.iter().flatten().map(|day| format!("date '{day}'")).collect();
    let filter = if table.table.schema().column_with_name("dt").is_none() {
        "true".to_owned()
    } else if days.is_empty() {
        "false".to_owned()
    } else {
        format!("dt in ({})", days.join(", "))
    };
    query(&session, &format!("select * from {name} where {filter}")).await
}
