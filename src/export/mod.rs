//! Export: published partitions of the lake become rows of a database that dashboards read.
//!
//! One transaction takes all tables of a run: a reader sees the whole old state or the whole new one. What is written
//! is read back and compared before the commit, and a metadata table beside the data (`strata_export`) says for every
//! partition what it holds, from which run, and that its checks passed. A partition whose recorded version is the
//! lake's is not touched. What tables and columns mean is beside the data too (`strata_table`, `strata_column`). Each kind
//! of database is a sibling here; what they share is [`changes`] and [`rows`].

mod changes;
mod compare;
mod mysql;
mod rows;
mod sqlite;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Date32Type;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::StreamExt;

pub use compare::{Content, Difference, Unlike};
pub use mysql::Aftermath;

use crate::date::{BizDate, Slot};
use crate::engine::{Engine, LakeScan, query_stream};
use crate::error::Advice;
use crate::lake::Head;
use crate::mysql::Server;
use crate::progress::Reporter;

/// The table beside the data that says what each exported partition is.
pub const METADATA_TABLE: &str = "strata_export";

/// The table beside the data that says what the rows of each table are.
pub const TABLES_TABLE: &str = "strata_table";

/// The table beside the data that says what each column is.
pub const COLUMNS_TABLE: &str = "strata_column";

/// A published table and the partitions it has.
pub struct ExportTable {
    /// What it is in the lake; its files are asked for when rows are wanted.
    pub head: Head,
    /// What its rows are told apart by.
    pub key: Key,
    /// What a row is.
    pub description: String,
    /// What its columns mean, by name.
    pub comments: BTreeMap<String, String>,
    /// Its partitions in the lake, version and rows: days, or the one of a table without `dt`.
    pub slots: BTreeMap<Slot, (u64, u64)>,
    /// The partitions to write even when the target has them.
    pub forced: BTreeSet<Slot>,
}

/// What the rows of a table are told apart by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// The grain of the model that made them.
    Grain(Vec<String>),
    /// An earlier model made them, or some of them, and the lake keeps no grain: the key that a target has stays. This is
    /// the grain of the model now, for a target that has no table.
    Earlier(Vec<String>),
}

impl ExportTable {
    /// The columns of the key beside the one that a target has; none where no key is known to hold.
    fn key_beside(&self, present: &[String]) -> Vec<String> {
        let has = |key: &&[String]| {
            let schema = self.head.schema();
            !key.is_empty() && key.iter().all(|column| schema.column_with_name(column).is_some())
        };
        match &self.key {
            Key::Grain(grain) => grain.clone(),
            Key::Earlier(grain) => [present, grain].into_iter().find(has).map(<[String]>::to_vec).unwrap_or_default(),
        }
    }

    /// What a column means, on one line.
    fn meaning(&self, column: &str) -> String {
        one_line(self.comments.get(column).map_or("", String::as_str))
    }
}

/// Whether all rows have all of their key, which no target lets be NULL; the grain was not always checked for it.
fn has_key(batch: &RecordBatch, key: &[String]) -> Result<()> {
    let lacks = |column: &&String| batch.column_by_name(column).is_some_and(|cells| cells.null_count() > 0);
    let Some(column) = key.iter().find(lacks) else { return Ok(()) };
    let row = batch.column_by_name(column).and_then(|cells| (0..cells.len()).find(|row| cells.is_null(*row)));
    let days = batch.column_by_name("dt").and_then(|days| days.as_primitive_opt::<Date32Type>());
    let day = days.zip(row).filter(|(days, row)| days.is_valid(*row));
    let day = day.map(|(days, row)| format!("dt={}: ", BizDate::from_days(days.value(row)))).unwrap_or_default();
    let key = key.join(", ");
    Err(anyhow!("{day}{column} is NULL in some rows, and part of the key ({key})")).hint(format!(
        "have the model give {column} a value (`coalesce`), or leave such rows or the column of `grain` out"
    ))
}

/// A text without line breaks, so that it can end a line of SQL as a comment.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// In whose name an export is made.
#[derive(Clone)]
pub struct ExportRun {
    /// The export's name in the configuration.
    pub export: String,
    /// The run.
    pub run: String,
    /// The run's clock, epoch milliseconds.
    pub now_ms: i64,
    /// The newest arrival that the data rest on, for readers who ask how fresh a number is.
    pub data_as_of: String,
}

impl ExportRun {
    /// The run's clock as targets record it, UTC.
    fn exported_at(&self) -> Result<String> {
        let at = chrono::DateTime::from_timestamp_millis(self.now_ms).context("the run's clock")?;
        Ok(at.format("%Y-%m-%dT%H:%M:%SZ").to_string())
    }
}

/// What an export did to one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The table.
    pub table: String,
    /// Partitions written or taken away.
    pub partitions: usize,
    /// Rows written, as the lake has them.
    pub rows: u64,
    /// Rows that the target gave back before the commit.
    pub read_back: u64,
}

/// What came of an export.
#[derive(Default)]
pub struct Outcome {
    /// What was done to each table that was not as the lake's.
    pub done: Vec<Exported>,
    /// All tables whose partitions the target records, exported now or ever.
    pub recorded: BTreeSet<String>,
}

/// Brings a MySQL or MariaDB database to the state of the lake.
///
/// # Errors
/// When the database cannot be reached or written, or what is read back differs from the lake; its rows are as they were
/// then, but for what [`Aftermath`] says.
pub async fn to_mysql(
    server: &Server,
    engine: &Engine,
    tables: Vec<ExportTable>,
    run: &ExportRun,
    reporter: &dyn Reporter,
) -> Result<Outcome> {
    let tables = tables.into_iter().map(Arc::new).collect::<Vec<_>>();
    mysql::export(&mysql::Job { server, engine, tables: &tables, run, reporter }).await
}

/// Brings a `SQLite` database to the state of the lake.
///
/// # Errors
/// When the database cannot be written, or what is read back differs from the lake; it is as it was then.
pub async fn to_sqlite(path: &Path, engine: &Engine, tables: Vec<ExportTable>, run: &ExportRun) -> Result<Outcome> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let (path, engine, run) = (path.to_owned(), engine.clone(), run.clone());
    let runtime = tokio::runtime::Handle::current();
    let work =
        move || sqlite::export(&path, &tables, &run, |table, slots| runtime.block_on(read(&engine, table, slots)));
    tokio::task::spawn_blocking(work).await.context("the export was interrupted")?
}

/// Where a `SQLite` database differs from the lake.
///
/// # Errors
/// When it or the lake cannot be read.
pub async fn compare_sqlite(path: &Path, engine: &Engine, tables: Vec<ExportTable>) -> Result<Vec<Difference>> {
    let (path, engine) = (path.to_owned(), engine.clone());
    let runtime = tokio::runtime::Handle::current();
    let work = move || -> Result<Vec<Difference>> {
        let mut found = sqlite::found(&path, &tables)?;
        let mut all = Vec::new();
        for table in &tables {
            let mut found = found.remove(table.head.name()).unwrap_or_default();
            found.lake = sqlite::contents(table, |slots| runtime.block_on(read(&engine, table, slots)))?;
            all.extend(compare::differences(table, &found));
        }
        Ok(all)
    };
    tokio::task::spawn_blocking(work).await.context("the comparison was interrupted")?
}

/// Where a MySQL or MariaDB database differs from the lake.
///
/// # Errors
/// When it cannot be reached, or it or the lake cannot be read.
pub async fn compare_mysql(server: &Server, engine: &Engine, tables: Vec<ExportTable>) -> Result<Vec<Difference>> {
    let found = mysql::found(server, engine, &tables).await?;
    let differences =
        tables.iter().filter_map(|table| Some(compare::differences(table, found.get(table.head.name())?)));
    Ok(differences.flatten().collect())
}

/// The rows of some partitions of a table.
async fn read(engine: &Engine, table: &ExportTable, slots: &[Slot]) -> Result<Vec<RecordBatch>> {
    let mut rows = stream(engine, table, slots).await?;
    let mut batches = Vec::new();
    while let Some(batch) = rows.next().await {
        batches.push(batch?);
    }
    Ok(batches)
}

/// The rows of some partitions of a table as they are read, in the order they have in the lake: each partition by its key.
async fn stream(engine: &Engine, table: &ExportTable, slots: &[Slot]) -> Result<SendableRecordBatchStream> {
    // In one piece: several threads would mix up the order, and a database takes rows in more slowly than they are read.
    let session = engine.session_in_one_piece();
    let name = table.head.name();
    session.register_table(name, Arc::new(LakeScan::of(&table.head.open().await?)?))?;
    let days: Vec<String> = slots.iter().flatten().map(|day| format!("date '{day}'")).collect();
    let filter = if table.head.schema().column_with_name("dt").is_none() {
        "true".to_owned()
    } else if days.is_empty() {
        "false".to_owned()
    } else {
        format!("dt in ({})", days.join(", "))
    };
    let columns: Vec<String> = table.head.schema().fields().iter().map(|f| identifier(f.name())).collect();
    query_stream(&session, &format!("select {} from {name} where {filter}", columns.join(", "))).await
}

/// A column's name as the engine and `SQLite` quote it.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
