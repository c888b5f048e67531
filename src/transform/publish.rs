//! Publishing: staged partitions replace the ones of the same days, in one commit together with their records.
//!
//! Tables with a folder a day swap the day's files. Small tables keep many days in a file: the files that hold a
//! replaced day, and all small ones, are written anew, so that a thousand days never become a thousand files.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::RecordBatch;

use super::stage::{Staged, flush, split_by_day};
use crate::date::Slot;
use crate::engine::cast_batch;
use crate::lake::{Commit, FileRef, StagedFile, Table, read_batches};

/// Files of small tables with fewer rows than this are merged with what is new.
const SMALL_FILE_ROWS: u64 = 250_000;

/// Who publishes, and when.
#[derive(Clone, Copy)]
pub struct Publisher<'a> {
    /// The run.
    pub run: &'a str,
    /// The run's clock.
    pub now_ms: i64,
}

/// Replaces partitions of a table by staged ones, takes away the slots `gone`, and writes the records, in one commit.
///
/// # Errors
/// When the storage fails or somebody else committed meanwhile; the table is as it was then.
pub async fn publish(
    table: &mut Table,
    staged: Vec<Staged>,
    gone: &[Slot],
    records: Vec<(String, Option<String>)>,
    by: Publisher<'_>,
) -> Result<()> {
    let mut commit =
        Commit { records, run: by.run.to_owned(), operation: "build", now_ms: by.now_ms, ..Default::default() };
    if table.partitioned() {
        for staged in staged {
            commit.removes.extend(table.files().iter().filter(|f| f.slot == staged.slot).cloned());
            if !staged.batches.is_empty() {
                commit.adds.push(flush(table, staged.slot, &staged.file_schema, &staged.batches, by.run).await?);
            }
            commit.adds.extend(staged.files);
        }
        commit.removes.extend(table.files().iter().filter(|f| gone.contains(&f.slot)).cloned());
    } else if !staged.is_empty() || !gone.is_empty() {
        let (removes, adds) = merged(table, staged, gone, by.run).await?;
        commit.removes = removes;
        commit.adds = adds;
    }
    table.commit(commit).await
}

/// The files of a small table that go, and the ones that take their place.
async fn merged(
    table: &Table,
    staged: Vec<Staged>,
    gone: &[Slot],
    run: &str,
) -> Result<(Vec<FileRef>, Vec<StagedFile>)> {
    let replaced = |slot: Slot| gone.contains(&slot) || staged.iter().any(|s| s.slot == slot);
    let mut removes = Vec::new();
    let mut days: BTreeMap<Slot, Vec<RecordBatch>> = BTreeMap::new();
    let store = table.lake().store();
    for file in table.files() {
        let holds_replaced = match file.days {
            Some((first, last)) => staged
                .iter()
                .map(|s| s.slot)
                .chain(gone.iter().copied())
                .any(|slot| slot.is_none_or(|day| first <= day && day <= last)),
            None => true,
        };
        if !holds_replaced && file.rows >= SMALL_FILE_ROWS {
            continue;
        }
        removes.push(file.clone());
        for batch in read_batches(&*store, &table.object_path(&file.path)).await? {
            let batch = widened(&batch, table)?;
            for (slot, part) in split_by_day(&batch).into_iter().filter(|(slot, _)| !replaced(*slot)) {
                days.entry(slot).or_default().push(part);
            }
        }
    }
    for staged in staged {
        let kept = days.entry(staged.slot).or_default();
        for file in &staged.files {
            kept.extend(read_batches(&*store, &table.object_path(&file.path)).await?);
        }
        table.discard(&staged.files).await;
        kept.extend(staged.batches);
    }
    let schema = table.file_schema();
    let mut adds = Vec::new();
    let mut waiting: Vec<RecordBatch> = Vec::new();
    let mut rows = 0;
    for batch in days.into_values().flatten() {
        rows += batch.num_rows() as u64;
        waiting.push(batch);
        if rows >= SMALL_FILE_ROWS * 4 {
            adds.push(flush(table, None, &schema, &std::mem::take(&mut waiting), run).await?);
            rows = 0;
        }
    }
    if rows > 0 {
        adds.push(flush(table, None, &schema, &waiting, run).await?);
    }
    Ok((removes, adds))
}

/// A batch read from an older file with the columns the table has now; what it lacks is NULL.
fn widened(batch: &RecordBatch, table: &Table) -> Result<RecordBatch> {
    let schema = table.schema();
    let columns = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => Ok(arrow::compute::cast(column, field.data_type())?),
            None => Ok(arrow::array::new_null_array(field.data_type(), batch.num_rows())),
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(cast_batch(&RecordBatch::try_new(Arc::clone(schema), columns)?, schema)?)
}
