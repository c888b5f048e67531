//! Compaction: the small files of a partition become one. Only the files change: rows, records and versions stay, readers
//! of an earlier version keep their files, and the log says that no data changed.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use arrow::array::RecordBatch;
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use super::commit::{Commit, StagedFile};
use super::files::{conform, encode_parquet};
use super::order::sorted_by;
use super::table::{FileRef, Table};
use crate::date::Slot;

/// A file below this many bytes is small.
const SMALL_BYTES: u64 = 16 << 20;
/// How many bytes of small files are made one at most.
const GROUP_BYTES: u64 = 32 << 20;

/// What a compaction did, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Small files that left.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files that took their place; for a dry run how many there would be.
    pub made: usize,
    /// Their bytes; 0 for a dry run.
    pub bytes_made: u64,
}

impl Table {
    /// Makes the small files of each partition one, in one commit; tables that keep many days in a file see to that
    /// themselves.
    ///
    /// # Errors
    /// When the storage fails, or rows would be lost or made; the table is as it was then.
    pub async fn compact(&mut self, run: &str, now_ms: i64, dry_run: bool) -> Result<Compacted> {
        let groups = if self.partitioned() { groups(self.files()) } else { Vec::new() };
        let mut done = Compacted { made: groups.len(), ..Compacted::default() };
        for file in groups.iter().flatten() {
            done.files += 1;
            done.bytes += file.size;
        }
        if groups.is_empty() || dry_run {
            return Ok(done);
        }
        let mut adds = Vec::new();
        let merged = self.merge_all(&groups, run, &mut adds).await;
        let commit = Commit {
            adds: adds.clone(),
            removes: groups.into_iter().flatten().collect(),
            run: run.to_owned(),
            operation: "maintain",
            now_ms,
            ..Commit::default()
        };
        let committed = match merged {
            Ok(()) => self.rearrange(commit).await,
            Err(error) => Err(error),
        };
        if let Err(error) = committed {
            self.discard(&adds).await;
            return Err(error).with_context(|| format!("compact {}", self.name()));
        }
        done.bytes_made = adds.iter().map(|file| file.size).sum();
        Ok(done)
    }

    async fn merge_all(&self, groups: &[Vec<FileRef>], run: &str, adds: &mut Vec<StagedFile>) -> Result<()> {
        for group in groups {
            let (schema, batches) = self.merged(group).await?;
            let file = encode_parquet(&schema, &batches)?;
            let expected: u64 = group.iter().map(|file| file.rows).sum();
            if file.rows != expected {
                bail!("{} rows were read of {} files that have {expected}", file.rows, group.len());
            }
            adds.push(self.put(group.first().and_then(|file| file.slot), file, run).await?);
        }
        Ok(())
    }

    /// The rows of some files in the order that these say they are in, or else as they are, file after file.
    async fn merged(&self, files: &[FileRef]) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let schema = held(&self.file_schema());
        let mut orders = Vec::new();
        let mut batches = Vec::new();
        for file in files {
            let path = self.object_path(&file.path);
            let bytes = self.lake().store().get(&path).await.with_context(|| format!("read {path}"))?.bytes().await?;
            orders.push(order_of(bytes.clone())?);
            for batch in read(bytes).with_context(|| format!("read {path}"))? {
                batches.push(conform(&batch, &schema)?);
            }
        }
        let is_kept = |names: &&Vec<String>| {
            !names.is_empty()
                && orders.iter().all(|other| other == *names)
                && names.iter().all(|name| schema.column_with_name(name).is_some())
        };
        let Some(names) = orders.first().filter(is_kept) else { return Ok((schema, batches)) };
        let all = concat_batches(&schema, &batches)?;
        let key =
            |name: &String| all.column_by_name(name).map(|values| SortColumn { values: values.clone(), options: None });
        let keys: Vec<SortColumn> = names.iter().filter_map(key).collect();
        let sorted = take_record_batch(&all, &lexsort_to_indices(&keys, None)?)?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Ok((sorted_by(&schema, &names), vec![sorted]))
    }
}

/// The small files of each partition that has several, in groups that are not too large, in the order of their paths.
fn groups(files: &[FileRef]) -> Vec<Vec<FileRef>> {
    let mut partitions: BTreeMap<Slot, Vec<Vec<FileRef>>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.size < SMALL_BYTES) {
        let groups = partitions.entry(file.slot).or_default();
        match groups.last_mut() {
            Some(last) if last.iter().map(|f| f.size).sum::<u64>() + file.size <= GROUP_BYTES => {
                last.push(file.clone())
            }
            _ => groups.push(vec![file.clone()]),
        }
    }
    partitions.into_values().flatten().filter(|group| group.len() > 1).collect()
}

/// The schema in which rows are held: bytes as a dictionary, since many rows may share one long line.
fn held(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Binary => {
            let coded = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Binary));
            field.as_ref().clone().with_data_type(coded)
        }
        _ => field.as_ref().clone(),
    });
    Schema::new(fields.collect::<Vec<Field>>()).into()
}

fn read(bytes: Bytes) -> Result<Vec<RecordBatch>> {
    let plain = ParquetRecordBatchReaderBuilder::try_new(bytes.clone())?;
    let options = ArrowReaderOptions::new().with_schema(held(plain.schema()));
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)?.build()?;
    Ok(reader.collect::<Result<_, _>>()?)
}

/// The columns by which a file says that all its rows are sorted, ascending; none when it says nothing.
fn order_of(bytes: Bytes) -> Result<Vec<String>> {
    let file = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let columns = file.parquet_schema().columns();
    let mut order: Option<Vec<String>> = None;
    for group in file.metadata().row_groups() {
        let sorting = group.sorting_columns().map(Vec::as_slice).unwrap_or_default();
        let name = |at: i32| usize::try_from(at).ok().and_then(|at| Some(columns.get(at)?.name().to_owned()));
        let names: Option<Vec<String>> =
            sorting.iter().map(|column| name(column.column_idx).filter(|_| !column.descending)).collect();
        let names = names.unwrap_or_default();
        if order.get_or_insert_with(|| names.clone()) != &names {
            return Ok(Vec::new());
        }
    }
    Ok(order.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::date::BizDate;

    fn file(path: &str, day: i32, size: u64) -> FileRef {
        FileRef { path: path.to_owned(), slot: Some(BizDate::from_days(day)), days: None, size, rows: 1 }
    }

    #[test]
    fn only_small_files_of_one_partition_are_gathered_up_to_a_size() {
        let mib = 1 << 20;
        let files = [
            file("a", 1, mib),
            file("b", 1, 15 * mib),
            file("c", 1, 15 * mib),
            file("d", 1, 14 * mib),
            file("e", 1, 20 * mib),
            file("f", 2, mib),
            file("g", 1, mib),
        ];
        let names: Vec<Vec<String>> =
            groups(&files).into_iter().map(|group| group.into_iter().map(|f| f.path).collect()).collect();
        assert_eq!(names, [vec!["a", "b", "c"], vec!["d", "g"]]);
    }
}
