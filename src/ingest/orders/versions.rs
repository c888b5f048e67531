//! What a row says, as a hash: to know a snapshot that says what the last one said, and a row that a database gives once
//! more as it landed before.
//!
//! A row's content is its declared and taken-up columns as they land, masked; where it came from is none of it.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Date32Type, Int64Type, SchemaRef};
use arrow::row::{RowConverter, SortField};
use tokio::runtime::Handle;
use xxhash_rust::xxh3::xxh3_128;

use super::layout::Layout;
use crate::date::Slot;
use crate::lake::{Table, conform, read_batches};

/// The columns that say where a row came from.
const ORIGIN: [&str; 3] = ["arrival_dt", "file", "row_number"];

/// Hashes some columns of rows.
struct Hasher {
    columns: Vec<usize>,
    converter: RowConverter,
}

impl Hasher {
    fn new(schema: &SchemaRef, wanted: impl Fn(&str) -> bool) -> Result<Self> {
        let columns: Vec<usize> = (0..schema.fields().len()).filter(|at| wanted(schema.field(*at).name())).collect();
        let fields = columns.iter().map(|at| SortField::new(schema.field(*at).data_type().clone())).collect();
        Ok(Self { columns, converter: RowConverter::new(fields)? })
    }

    fn hashes(&self, batch: &RecordBatch) -> Result<Vec<u128>> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|at| Arc::clone(batch.column(*at))).collect();
        let rows = self.converter.convert_columns(&columns)?;
        Ok(rows.iter().map(|row| xxh3_128(row.as_ref())).collect())
    }
}

/// Adds up what rows say, in whatever order they come.
pub struct Digest {
    hasher: Hasher,
    sum: u128,
}

impl Digest {
    /// The digest of no rows of a layout.
    ///
    /// # Errors
    /// When a column is of a type that cannot be compared, which would be a mistake of this program.
    pub fn new(layout: &Layout) -> Result<Self> {
        Ok(Self { hasher: Hasher::new(&layout.file_schema, |name| !ORIGIN.contains(&name))?, sum: 0 })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// When they are of another layout.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let hashes = self.hasher.hashes(batch)?;
        self.sum = hashes.into_iter().fold(self.sum, u128::wrapping_add);
        Ok(())
    }

    /// What was added.
    pub fn sum(&self) -> u128 {
        self.sum
    }
}

/// Knows the versions that landed last, one partition at a time.
#[derive(Clone)]
pub struct LastVersions {
    key: Arc<Hasher>,
    content: Arc<Hasher>,
    /// Whether a row may come to another partition while its change time stays.
    may_move: bool,
}

/// What landed last of a key: where it came from, which orders versions, and what it says.
struct Version {
    arrival: i32,
    file: Arc<str>,
    row_number: i64,
    content: u128,
}

impl Version {
    fn place(&self) -> (i32, Arc<str>, i64) {
        (self.arrival, Arc::clone(&self.file), self.row_number)
    }
}

/// The run that a file of a table was written by.
fn run_of(path: &str) -> Option<&str> {
    path.rsplit('/').next()?.rsplit_once('-').map(|(run, _)| run)
}

impl LastVersions {
    /// For a table, which may have more columns than its layout: those of earlier runs that are gone. Neither these nor
    /// declared ones that the source is `without` make a row another version: that they are NULL now was said by nobody
    /// who changed the row. Where a row may move to another day and keep its change time, other partitions are asked as
    /// well for what landed last.
    ///
    /// # Errors
    /// When a column is of a type that cannot be compared, which would be a mistake of this program.
    pub fn new(layout: &Layout, table: &Table, without: &[&str], may_move: bool) -> Result<Self> {
        let schema = table.file_schema();
        let is_read = |name: &str| layout.file_schema.field_with_name(name).is_ok() && !without.contains(&name);
        let key: Vec<&str> = layout.key.iter().map(|at| layout.columns[*at].name.as_str()).collect();
        Ok(Self {
            key: Arc::new(Hasher::new(&schema, |name| key.contains(&name))?),
            content: Arc::new(Hasher::new(&schema, |name| is_read(name) && !ORIGIN.contains(&name))?),
            may_move,
        })
    }

    /// The rows of a partition without those that are what landed last of their key, and how many these are.
    ///
    /// # Errors
    /// When the partition cannot be read.
    pub fn without_known(
        &self,
        table: &Table,
        runtime: &Handle,
        slot: Slot,
        batches: Vec<RecordBatch>,
    ) -> Result<(Vec<RecordBatch>, u64)> {
        if !table.files().iter().any(|file| file.slot == slot) {
            return Ok((batches, 0));
        }
        let keys = batches.iter().map(|batch| self.key.hashes(batch)).collect::<Result<Vec<_>>>()?;
        let mut last: HashMap<u128, Option<Version>> = keys.iter().flatten().map(|key| (*key, None)).collect();
        for file in table.files().iter().filter(|file| file.slot == slot) {
            let path = table.object_path(&file.path);
            for batch in runtime.block_on(read_batches(&*table.lake().store(), &path))? {
                self.note(&conform(&batch, &table.file_schema())?, &mut last)?;
            }
        }
        let contents = batches.iter().map(|batch| self.content.hashes(batch)).collect::<Result<Vec<_>>>()?;
        let pairs = keys.iter().flatten().zip(contents.iter().flatten());
        let mut same = HashMap::new();
        for (key, content) in pairs {
            if let Some(version) = last.get_mut(key).and_then(|found| found.take_if(|v| v.content == *content)) {
                same.insert(*key, version);
            }
        }
        if self.may_move {
            self.forget_moved(table, runtime, slot, &mut same)?;
        }
        let mut known = 0;
        let mut kept = Vec::with_capacity(batches.len());
        for ((batch, keys), contents) in batches.iter().zip(&keys).zip(&contents) {
            let is_new = |(key, content): (&u128, &u128)| same.get(key).is_none_or(|v| v.content != *content);
            let new: BooleanArray = keys.iter().zip(contents).map(|pair| Some(is_new(pair))).collect();
            known += (new.len() - new.true_count()) as u64;
            kept.push(filter_record_batch(batch, &new)?);
        }
        kept.retain(|batch| batch.num_rows() > 0);
        Ok((kept, known))
    }

    /// Forgets those versions of which a later one landed in another partition: the row came back from there.
    fn forget_moved(
        &self,
        table: &Table,
        runtime: &Handle,
        slot: Slot,
        same: &mut HashMap<u128, Version>,
    ) -> Result<()> {
        // What landed later was written later, and files are named after their runs; only those are read.
        let Some(earliest) = same.values().map(|v| v.file.strip_prefix("mysql/").unwrap_or_default().to_owned()).min()
        else {
            return Ok(());
        };
        let before: HashMap<u128, (i32, Arc<str>, i64)> = same.iter().map(|(key, v)| (*key, v.place())).collect();
        let mut last: HashMap<u128, Option<Version>> = same.drain().map(|(key, v)| (key, Some(v))).collect();
        let is_later = |path: &str| run_of(path).is_none_or(|run| run > earliest.as_str());
        for file in table.files().iter().filter(|file| file.slot != slot && is_later(&file.path)) {
            let path = table.object_path(&file.path);
            for batch in runtime.block_on(read_batches(&*table.lake().store(), &path))? {
                self.note(&conform(&batch, &table.file_schema())?, &mut last)?;
            }
        }
        let stays = |(key, version): (u128, Option<Version>)| {
            let version = version.filter(|version| before.get(&key) == Some(&version.place()))?;
            Some((key, version))
        };
        same.extend(last.into_iter().filter_map(stays));
        Ok(())
    }

    /// Notes the versions in a batch that are later than those known.
    fn note(&self, batch: &RecordBatch, last: &mut HashMap<u128, Option<Version>>) -> Result<()> {
        let column = |name| batch.column_by_name(name).with_context(|| format!("a file has no column {name}"));
        let arrivals = column("arrival_dt")?.as_primitive::<Date32Type>();
        let files = column("file")?.as_string::<i32>();
        let numbers = column("row_number")?.as_primitive::<Int64Type>();
        let keys = self.key.hashes(batch)?;
        let mut content = None;
        let mut name: Arc<str> = Arc::from("");
        for (row, key) in keys.iter().enumerate() {
            let Some(version) = last.get_mut(key) else { continue };
            if content.is_none() {
                content = Some(self.content.hashes(batch)?);
            }
            let place = (arrivals.value(row), files.value(row), numbers.value(row));
            if version.as_ref().is_some_and(|v| (v.arrival, &*v.file, v.row_number) > place) {
                continue;
            }
            if *name != *place.1 {
                name = Arc::from(place.1);
            }
            let content = content.as_ref().map_or(0, |hashes| hashes[row]);
            *version = Some(Version { arrival: place.0, file: Arc::clone(&name), row_number: place.2, content });
        }
        Ok(())
    }
}
