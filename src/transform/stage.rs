//! Staging: the rows of a partition before anybody may see them, with their content version.
//!
//! Small partitions wait in memory; a large one goes to uncommitted files in the table's folder as it is computed.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{concat_batches, partition};
use arrow::datatypes::{Date32Type, SchemaRef};
use datafusion::common::runtime::SpawnedTask;
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::task::JoinHandle;

use super::version::ContentHash;
use crate::check::RowChecks;
use crate::date::{BizDate, Slot, slot_words};
use crate::engine::cast_batch;
use crate::lake::{EncodedFile, StagedFile, Table, encode_parquet, sorted_by};

/// Staged rows that wait in memory, in bytes, before they are put into files.
const MEMORY_BYTES: usize = 32 << 20;

/// The rows of one partition, computed and not yet published.
#[derive(Clone)]
pub struct Staged {
    /// The partition.
    pub slot: Slot,
    /// What its files hold, sorted by the grain.
    pub file_schema: SchemaRef,
    /// Rows in memory, of the table's schema.
    pub batches: Vec<RecordBatch>,
    /// Rows before them, in uncommitted files.
    pub files: Vec<StagedFile>,
    /// How many rows there are in all.
    pub rows: u64,
    /// The version of the content: equal rows have equal versions.
    pub version: u64,
    /// The versions of its columns, in their order.
    pub columns: Vec<u64>,
    /// Whether no two rows after one another share the grain.
    pub neighbours_differ: bool,
    /// Whether the checks of single rows held for all of them; otherwise they are to be asked for what violates them.
    pub rows_hold: bool,
}

/// Files that are encoded at once, while the next rows are computed or beside one another.
pub const ENCODED_AT_ONCE: usize = 2;

/// Where staged rows go.
pub struct Stager<'a> {
    table: &'a Table,
    run: &'a str,
    grain: &'a [String],
    checks: Option<RowChecks>,
    file_schema: SchemaRef,
    hasher: ContentHash,
    /// The grain of the row before.
    before: Option<RecordBatch>,
    bytes: usize,
    current: Option<Staged>,
    done: Vec<Staged>,
    /// Files on their way, with the place of their partition among all.
    encoding: VecDeque<(usize, JoinHandle<Result<EncodedFile>>)>,
}

impl<'a> Stager<'a> {
    /// A stager for rows of a table with a grain, in the name of a run, which looks at the checks of single rows.
    pub fn new(table: &'a Table, run: &'a str, grain: &'a [String], checks: Option<RowChecks>) -> Result<Self> {
        let file_schema = table.file_schema();
        let order: Vec<&str> = grain.iter().map(String::as_str).filter(|key| *key != "dt").collect();
        Ok(Self {
            table,
            run,
            grain,
            checks,
            file_schema: sorted_by(&file_schema, &order),
            hasher: ContentHash::new(table.schema())?,
            before: None,
            bytes: 0,
            current: None,
            done: Vec::new(),
            encoding: VecDeque::new(),
        })
    }

    /// Stages all rows of a query for one partition.
    ///
    /// # Errors
    /// When the query fails, or a row belongs to another partition.
    pub async fn stage_slot(&mut self, slot: Slot, mut rows: SendableRecordBatchStream) -> Result<()> {
        self.begin(slot);
        while let Some(batch) = rows.next().await {
            let batch = cast_batch(&batch?, self.table.schema())?;
            if let Some(days) = batch.column_by_name("dt") {
                let days = days.as_primitive::<Date32Type>();
                let stray = days.iter().map(|day| day.map(BizDate::from_days)).find(|day| *day != slot);
                if let Some(stray) = stray {
                    let (slot, stray) = (slot_words(slot), slot_words(stray));
                    anyhow::bail!("{} for {slot} yields a row of {stray}", self.table.name());
                }
            }
            self.push(batch).await?;
        }
        self.finish();
        Ok(())
    }

    /// Stages all rows of a query that are ordered by `dt` (rows of no day first), a partition for each.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn stage_whole(&mut self, mut rows: SendableRecordBatchStream) -> Result<()> {
        while let Some(batch) = rows.next().await {
            let batch = cast_batch(&batch?, self.table.schema())?;
            for (slot, part) in split_by_day(&batch) {
                if self.current.as_ref().is_none_or(|c| c.slot != slot) {
                    self.finish();
                    self.begin(slot);
                }
                self.push(part).await?;
            }
        }
        self.finish();
        Ok(())
    }

    /// What was staged, in the order of staging.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub async fn into_staged(mut self) -> Result<Vec<Staged>> {
        self.finish();
        self.put_encoded(0).await?;
        Ok(self.done)
    }

    fn begin(&mut self, slot: Slot) {
        self.hasher.restart();
        self.before = None;
        self.current = Some(Staged {
            slot,
            file_schema: self.file_schema.clone(),
            batches: Vec::new(),
            files: Vec::new(),
            rows: 0,
            version: 0,
            columns: Vec::new(),
            neighbours_differ: true,
            rows_hold: self.checks.is_some(),
        });
    }

    async fn push(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.hasher.update(&batch)?;
        let differ = self.neighbours_differ(&batch)?;
        // What cannot be computed here fails below, where the check is named.
        let holds = self.checks.as_ref().is_some_and(|checks| checks.hold(&batch).unwrap_or(false));
        self.bytes += batch.get_array_memory_size();
        let staged = self.current.as_mut().context("a partition is being staged")?;
        staged.rows += batch.num_rows() as u64;
        staged.neighbours_differ &= differ;
        staged.rows_hold &= holds;
        staged.batches.push(batch);
        if self.bytes > MEMORY_BYTES {
            self.put_encoded(ENCODED_AT_ONCE - 1).await?;
            for (place, staged) in self.done.iter_mut().chain(self.current.as_mut()).enumerate() {
                if staged.batches.is_empty() {
                    continue;
                }
                let (schema, batches) = (staged.file_schema.clone(), std::mem::take(&mut staged.batches));
                // On the threads that compute: on others, each would keep memory of its own.
                self.encoding.push_back((place, tokio::spawn(async move { encoded(&schema, &batches) })));
            }
            self.bytes = 0;
        }
        Ok(())
    }

    /// Puts encoded files beside the table's, in the order of their rows, until so many are still on their way.
    async fn put_encoded(&mut self, left: usize) -> Result<()> {
        while self.encoding.len() > left {
            let Some((place, encoding)) = self.encoding.pop_front() else { break };
            let file = encoding.await.context("encode a file")??;
            let partition = self.done.iter_mut().chain(self.current.as_mut()).nth(place);
            let staged = partition.context("a partition is being staged")?;
            staged.files.push(self.table.put(staged.slot, file, self.run).await?);
        }
        Ok(())
    }

    /// Whether no two neighbours share the grain, among these rows and the one before them.
    fn neighbours_differ(&mut self, batch: &RecordBatch) -> Result<bool> {
        let schema = batch.schema();
        let places = self.grain.iter().map(|name| schema.index_of(name)).collect::<Result<Vec<_>, _>>()?;
        let keys = batch.project(&places)?;
        let last = keys.slice(keys.num_rows() - 1, 1);
        let rows = match self.before.replace(last) {
            Some(before) => concat_batches(&keys.schema(), [&before, &keys])?,
            None => keys,
        };
        Ok(partition(rows.columns())?.len() == rows.num_rows())
    }

    fn finish(&mut self) {
        if let Some(mut staged) = self.current.take() {
            (staged.version, staged.columns) = (self.hasher.digest(), self.hasher.columns());
            self.done.push(staged);
        }
    }
}

/// Puts batches of a table's schema into one uncommitted file of a schema, which is encoded beside what else is done.
pub async fn flush(
    table: &Table,
    slot: Slot,
    schema: &SchemaRef,
    batches: Vec<RecordBatch>,
    run: &str,
) -> Result<StagedFile> {
    let schema = SchemaRef::clone(schema);
    let file = SpawnedTask::spawn(async move { encoded(&schema, &batches) });
    table.put(slot, file.join_unwind().await.context("encode a file")??, run).await
}

fn encoded(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<EncodedFile> {
    let batches: Vec<RecordBatch> = batches.iter().map(|b| cast_batch(b, schema)).collect::<Result<_, _>>()?;
    encode_parquet(schema, &batches)
}

/// Parts of a batch with the same `dt`, in order; a batch without the column belongs to no day.
pub fn split_by_day(batch: &RecordBatch) -> Vec<(Slot, RecordBatch)> {
    let Some(days) = batch.column_by_name("dt").and_then(|c| c.as_primitive_opt::<Date32Type>()) else {
        return vec![(None, batch.clone())];
    };
    let slot = |row: usize| days.is_valid(row).then(|| BizDate::from_days(days.value(row)));
    let mut parts = Vec::new();
    let mut start = 0;
    for row in 1..=batch.num_rows() {
        if row == batch.num_rows() || slot(row) != slot(start) {
            parts.push((slot(start), batch.slice(start, row - start)));
            start = row;
        }
    }
    parts
}
