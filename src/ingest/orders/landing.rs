//! Staging rows: batches gather by partition, become Parquet files of the table, and wait for a commit.
//!
//! A landing is filled file by file: one of its own for each file being read, absorbed by the table's when the file
//! turns out good, discarded when not. What is full may be encoded and written while the next rows come. Also here: files
//! of the table anew, without rows that are to leave.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;

use anyhow::Result;
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::rows::staged;
use super::versions::LastVersions;
use crate::date::Slot;
use crate::lake::{FileRef, StagedFile, Table, conform, encode_parquet, read_batches};

/// Rows and bytes that wait in memory before they become files.
const PENDING_ROWS: usize = 500_000;
const PENDING_BYTES: usize = 64 * 1024 * 1024;

/// Rows on their way into a table.
pub struct Landing<'a> {
    table: &'a Table,
    run: &'a str,
    runtime: Handle,
    pending: BTreeMap<Slot, Vec<RecordBatch>>,
    rows: usize,
    bytes: usize,
    staged: Vec<StagedFile>,
    slots: BTreeSet<Slot>,
    versions: Option<LastVersions>,
    known: u64,
    /// Whether what is full is written while the next rows come.
    in_background: bool,
    /// What is being written.
    writing: Option<JoinHandle<Written>>,
}

/// The files that were staged, and how many rows were left out since they had landed before.
type Written = (Vec<StagedFile>, Result<u64>);

impl<'a> Landing<'a> {
    /// An empty landing in a table; to be used on a thread where waiting for the runtime is allowed.
    pub fn new(table: &'a Table, run: &'a str, runtime: &Handle) -> Self {
        Self {
            table,
            run,
            runtime: runtime.clone(),
            pending: BTreeMap::new(),
            rows: 0,
            bytes: 0,
            staged: Vec::new(),
            slots: BTreeSet::new(),
            versions: None,
            known: 0,
            in_background: false,
            writing: None,
        }
    }

    /// Whether what is full is to be encoded and written on another thread, while the next rows come.
    pub fn in_background(mut self, in_background: bool) -> Self {
        self.in_background = in_background;
        self
    }

    /// The landing, where rows that landed before do not land again.
    pub fn without_known(self, versions: LastVersions) -> Self {
        Self { versions: Some(versions), ..self }
    }

    /// Writes all that waits; how many rows did not land so far since they had landed before.
    ///
    /// # Errors
    /// When files cannot be written.
    pub fn settle(&mut self) -> Result<u64> {
        self.flush()?;
        self.wait()?;
        Ok(self.known)
    }

    /// Another empty landing in the same table.
    pub fn beside(&self) -> Self {
        Self::new(self.table, self.run, &self.runtime)
    }

    /// Takes rows of partitions, in the order they are to have.
    ///
    /// # Errors
    /// When files cannot be written.
    pub fn add(&mut self, parts: Vec<(Slot, RecordBatch)>, bytes: usize) -> Result<()> {
        self.bytes += bytes;
        for (slot, batch) in parts {
            self.rows += batch.num_rows();
            self.slots.insert(slot);
            self.pending.entry(slot).or_default().push(batch);
        }
        self.flush_if_full()
    }

    /// Takes over the rows of a file that turned out good.
    ///
    /// # Errors
    /// When files cannot be written.
    pub fn absorb(&mut self, mut file: Self) -> Result<()> {
        let written = file.wait();
        self.staged.extend(file.staged);
        written?;
        self.slots.extend(file.slots);
        self.rows += file.rows;
        self.bytes += file.bytes;
        for (slot, batches) in file.pending {
            self.pending.entry(slot).or_default().extend(batches);
        }
        self.flush_if_full()
    }

    /// Takes away what was staged, for rows that will not be committed.
    pub fn discard(mut self) {
        // Whatever became of it.
        let _ = self.wait();
        self.runtime.block_on(self.table.discard(&self.staged));
    }

    /// The partitions that rows were taken for.
    pub fn slots(&self) -> &BTreeSet<Slot> {
        &self.slots
    }

    /// Writes what is left; the files to commit.
    ///
    /// # Errors
    /// When files cannot be written.
    pub fn finish(mut self) -> Result<Vec<StagedFile>> {
        match self.settle() {
            Ok(_) => Ok(self.staged),
            Err(error) => {
                self.discard();
                Err(error)
            }
        }
    }

    fn flush_if_full(&mut self) -> Result<()> {
        if self.rows >= PENDING_ROWS || self.bytes >= PENDING_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes all that waits, or begins to, once what was begun before is written.
    fn flush(&mut self) -> Result<()> {
        self.wait()?;
        (self.rows, self.bytes) = (0, 0);
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            let (table, versions) = (self.table.clone(), self.versions.clone());
            let (run, runtime) = (self.run.to_owned(), self.runtime.clone());
            let write = move || {
                let mut staged = Vec::new();
                let known = write(&table, &run, versions.as_ref(), &runtime, pending, &mut staged);
                (staged, known)
            };
            match self.in_background {
                true => self.writing = Some(self.runtime.spawn_blocking(write)),
                false => self.keep(write())?,
            }
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let Some(writing) = self.writing.take() else { return Ok(()) };
        let written = self.runtime.block_on(writing);
        self.keep(written.or_else(|error| error.try_into_panic().map(|panic| resume_unwind(panic)))?)
    }

    fn keep(&mut self, (staged, known): Written) -> Result<()> {
        self.staged.extend(staged);
        self.known += known?;
        Ok(())
    }
}

/// Writes a file for each partition, and adds it to those `staged`; how many rows were left out.
fn write(
    table: &Table,
    run: &str,
    versions: Option<&LastVersions>,
    runtime: &Handle,
    pending: BTreeMap<Slot, Vec<RecordBatch>>,
    staged_files: &mut Vec<StagedFile>,
) -> Result<u64> {
    let schema = staged(&table.file_schema());
    let mut left_out = 0;
    for (slot, batches) in pending {
        let mut batches = batches.iter().map(|batch| conform(batch, &schema)).collect::<Result<Vec<_>>>()?;
        if let Some(versions) = versions {
            let (new, known) = versions.without_known(table, runtime, slot, batches)?;
            (batches, left_out) = (new, left_out + known);
        }
        if batches.is_empty() {
            continue;
        }
        let file = encode_parquet(&schema, &batches)?;
        staged_files.push(runtime.block_on(table.put(slot, file, run))?);
    }
    Ok(left_out)
}

/// Stages the files of a table anew that hold rows which are to leave; what to add and what to remove.
///
/// # Errors
/// When the storage fails.
pub async fn without_rows(
    table: &Table,
    run: &str,
    may_hold: impl Fn(&FileRef) -> bool,
    leaves: impl Fn(&FileRef, &RecordBatch) -> Result<BooleanArray>,
) -> Result<(Vec<StagedFile>, Vec<FileRef>)> {
    let schema = table.file_schema();
    let (mut adds, mut removes) = (Vec::new(), Vec::new());
    for file in table.files().iter().filter(|file| may_hold(file)) {
        let mut kept = Vec::new();
        for batch in read_batches(&*table.lake().store(), &table.object_path(&file.path)).await? {
            let batch = conform(&batch, &schema)?;
            kept.push(filter_record_batch(&batch, &not(&leaves(file, &batch)?)?)?);
        }
        let rows: usize = kept.iter().map(RecordBatch::num_rows).sum();
        if rows as u64 == file.rows {
            continue;
        }
        removes.push(file.clone());
        if rows > 0 {
            adds.push(table.put(file.slot, encode_parquet(&schema, &kept)?, run).await?);
        }
    }
    Ok((adds, removes))
}
