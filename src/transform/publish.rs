//! Publishing: staged partitions replace the ones of the same days, in one commit together with their records.
//!
//! Tables with a folder a day swap the day's files. Small tables keep the days of a month in a file: the files that hold a
//! replaced day, and the small ones of its month, are written anew, so that a thousand days never become a thousand files,
//! nor a night's work the writing of all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::RecordBatch;
use futures::{StreamExt, TryStreamExt, stream};

use super::stage::{ENCODED_AT_ONCE, Staged, flush, split_by_day};
use crate::date::{BizDate, Slot};
use crate::engine::cast_batch;
use crate::lake::{Commit, FileRef, StagedFile, Table, read_batches};

/// Files of small tables with fewer rows than this are merged with what is new of their month.
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
        let table: &Table = table;
        let replaced = |file: &&FileRef| staged.iter().any(|staged| staged.slot == file.slot);
        commit.removes.extend(table.files().iter().filter(replaced).cloned());
        let flushed = staged.into_iter().map(|staged| async move {
            let mut files = Vec::new();
            if !staged.batches.is_empty() {
                files.push(flush(table, staged.slot, &staged.file_schema, staged.batches, by.run).await?);
            }
            files.extend(staged.files);
            anyhow::Ok(files)
        });
        let flushed: Vec<_> = stream::iter(flushed).buffered(ENCODED_AT_ONCE).try_collect().await?;
        commit.adds.extend(flushed.into_iter().flatten());
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
    let touched = || staged.iter().map(|s| s.slot).chain(gone.iter().copied());
    let mut removes = Vec::new();
    let mut days: BTreeMap<Slot, Vec<RecordBatch>> = BTreeMap::new();
    let store = table.lake().store();
    for file in table.files() {
        // Where columns become of another type, all files but large ones have them.
        let stays =
            file.days.filter(|_| !table.is_reshaped() || file.rows >= SMALL_FILE_ROWS).is_some_and(|(first, last)| {
                let is_small = file.rows < SMALL_FILE_ROWS;
                let is_beside = |day: BizDate| {
                    let months = first.first_of_month()..=last.first_of_month();
                    is_small && months.contains(&day.first_of_month())
                };
                let holds = |day: BizDate| first <= day && day <= last;
                !touched().any(|slot| slot.is_none_or(|day| holds(day) || is_beside(day)))
            });
        if stays {
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
    let (mut rows, mut month_before) = (0, None);
    for (slot, batch) in days.into_iter().flat_map(|(slot, batches)| batches.into_iter().map(move |b| (slot, b))) {
        let month = slot.map(BizDate::first_of_month);
        if rows >= SMALL_FILE_ROWS * 4 || (rows > 0 && month != month_before) {
            adds.push(flush(table, None, &schema, std::mem::take(&mut waiting), run).await?);
            rows = 0;
        }
        month_before = month;
        rows += batch.num_rows() as u64;
        waiting.push(batch);
    }
    if rows > 0 {
        adds.push(flush(table, None, &schema, waiting, run).await?);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Date32Array, Int64Array};
    use arrow::datatypes::{Date32Type, Int64Type, SchemaRef};

    use super::*;
    use crate::lake::{Lake, TableSpec, encode_parquet};

    fn rows(of: &[(Option<&str>, i64)]) -> RecordBatch {
        let day = |text: &str| text.parse::<BizDate>().expect("a day").days();
        let days = Arc::new(Date32Array::from_iter(of.iter().map(|(d, _)| d.map(day)))) as ArrayRef;
        let numbers = Arc::new(Int64Array::from_iter_values(of.iter().map(|(_, n)| *n))) as ArrayRef;
        RecordBatch::try_from_iter_with_nullable([("dt", days, true), ("n", numbers, true)]).expect("a batch")
    }

    fn staged(schema: &SchemaRef, of: &[(Option<&str>, i64)]) -> Staged {
        let slot = of[0].0.map(|day| day.parse().expect("a day"));
        let (rows, batches) = (of.len() as u64, vec![rows(of)]);
        Staged {
            slot,
            rows,
            version: 0,
            columns: Vec::new(),
            batches,
            files: Vec::new(),
            file_schema: Arc::clone(schema),
            neighbours_differ: true,
            rows_hold: true,
        }
    }

    /// The months that the files hold, by their paths; and the rows.
    async fn seen(table: &Table) -> (BTreeMap<String, String>, Vec<(Option<i32>, i64)>) {
        let month = |file: &FileRef| file.days.map(|(first, last)| format!("{first}..{last}")).unwrap_or_default();
        let mut all = Vec::new();
        for file in table.files() {
            for batch in read_batches(&*table.lake().store(), &table.object_path(&file.path)).await.expect("rows") {
                let (days, numbers) = (batch.column(0).as_primitive::<Date32Type>(), batch.column(1));
                all.extend(days.iter().zip(numbers.as_primitive::<Int64Type>().values().iter().copied()));
            }
        }
        all.sort_unstable();
        (table.files().iter().map(|file| (file.path.clone(), month(file))).collect(), all)
    }

    #[tokio::test]
    async fn a_night_writes_the_months_anew_that_it_touches() {
        let folder = tempfile::tempdir().expect("a folder");
        let lake = Lake::open(&folder.path().to_string_lossy()).expect("a lake");
        let schema = rows(&[(None, 0)]).schema();
        let spec = TableSpec {
            name: "app_t".to_owned(),
            schema: schema.clone(),
            partitioned: false,
            description: "A row".to_owned(),
        };
        let mut table = lake.ensure_table(&spec, 0).await.expect("a table");
        let by = Publisher { run: "r", now_ms: 0 };
        // As a table was kept before: all months in one file.
        let old = [(Some("2026-01-30"), 1), (Some("2026-02-01"), 2), (Some("2026-03-01"), 3)];
        let file = encode_parquet(&schema, &[rows(&old)]).expect("a file");
        let adds = vec![table.put(None, file, "r").await.expect("is put")];
        table.commit(Commit { adds, run: "r".to_owned(), ..Commit::default() }).await.expect("commits");

        let night = vec![staged(&schema, &[(Some("2026-03-02"), 4)]), staged(&schema, &[(None, 9)])];
        publish(&mut table, night, &[], Vec::new(), by).await.expect("publishes");
        let (files, all) = seen(&table).await;
        let mut months: Vec<&str> = files.values().map(String::as_str).collect();
        months.sort_unstable();
        assert_eq!(months, ["", "2026-01-30..2026-01-30", "2026-02-01..2026-02-01", "2026-03-01..2026-03-02"]);
        assert_eq!(all.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [9, 1, 2, 3, 4]);

        let late = vec![staged(&schema, &[(Some("2026-02-01"), 5), (Some("2026-02-01"), 6)])];
        let gone = [Some("2026-01-30".parse().expect("a day"))];
        publish(&mut table, late, &gone, Vec::new(), by).await.expect("publishes");
        let (after, all) = seen(&table).await;
        let kept: Vec<&String> = files.keys().filter(|path| after.contains_key(*path)).collect();
        assert_eq!(kept.len(), 1, "that of March: {after:?}");
        assert_eq!(files[kept[0]], "2026-03-01..2026-03-02");
        assert_eq!(all.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [9, 5, 6, 3, 4]);
    }
}
