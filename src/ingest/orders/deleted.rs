//! Rows whose key is gone from the source: they leave their partitions, and the last version of each key is kept in
//! `ods_deleted`, as a tombstone that says what was there and when it was missed.
//!
//! Tombstones are committed before the rows leave. Both commits record the run: tombstones of a run that did not come to
//! take the rows away leave with the next commit of the table's tombstones.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Date32Type, Field, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::OrdersIngest;
use super::batch::Prepared;
use super::keys::Keys;
use super::landing::without_rows;
use super::layout::Layout;
use super::record::{entry, find};
use crate::date::Slot;
use crate::lake::{Commit, FileRef, StagedFile, Table, TableSpec, conform, encode_parquet, read_batches, read_columns};

/// The table of tombstones of every source's tables.
pub const DELETED_TABLE: &str = "ods_deleted";
/// The domain of the [`DeletedRecord`] in the table that rows left.
pub const DELETED: &str = "strata.deleted";

/// How often a commit to the table of all tables' tombstones is tried when others commit to it as well.
const ATTEMPTS: usize = 5;

/// Keys that the lake has and the source lacks.
pub struct Gone {
    /// How keys are told apart.
    pub keys: Keys,
    /// What tells each apart.
    pub gone: HashSet<u128>,
}

/// What becomes of them.
pub struct Deleted {
    keys: Keys,
    gone: HashMap<u128, Last>,
    files: BTreeSet<String>,
    tombstones: Vec<StagedFile>,
}

/// The version of a key that landed last.
struct Last {
    /// Arrival, file and row number, which order versions.
    version: (i32, Arc<str>, i64),
    /// Where in the lake it lies: the table's file, and the row there.
    at: (usize, usize),
    versions: i64,
}

/// The last tombstones of a table, in `ods_deleted` and with the rows that left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedRecord {
    /// The run that missed the keys.
    pub run: String,
    /// How many.
    pub keys: u64,
}

impl Deleted {
    /// Stages the tombstones of keys that are gone, missed at a time of the business zone's clock.
    ///
    /// # Errors
    /// When the lake cannot be read or written.
    pub async fn bury(
        job: &OrdersIngest<'_>,
        layout: &Layout,
        table: &Table,
        gone: &Gone,
        now_micros: i64,
    ) -> Result<Self> {
        let mut deleted =
            Self { keys: gone.keys.clone(), gone: HashMap::new(), files: BTreeSet::new(), tombstones: Vec::new() };
        if gone.gone.is_empty() {
            return Ok(deleted);
        }
        for (at, file) in table.files().iter().enumerate() {
            deleted.note(table, at, file, gone).await?;
        }
        let tombs = job.lake.ensure_table(&spec(), job.now_ms).await?;
        let mut slots: BTreeMap<Slot, Vec<(usize, &FileRef)>> = BTreeMap::new();
        for (at, file) in table.files().iter().enumerate().filter(|(_, file)| deleted.files.contains(&file.path)) {
            slots.entry(file.slot).or_default().push((at, file));
        }
        for (slot, files) in slots {
            let mut tombstones = Tombstones::default();
            for (at, file) in files {
                deleted.spell(table, at, file, &mut tombstones).await?;
            }
            let batch = tombstones.finish(job, layout, now_micros)?;
            if batch.num_rows() > 0 {
                let file = encode_parquet(&batch.schema(), &[batch])?;
                deleted.tombstones.push(tombs.put(slot, file, job.run).await?);
            }
        }
        Ok(deleted)
    }

    /// How many keys are gone.
    pub fn keys(&self) -> u64 {
        self.gone.len() as u64
    }

    /// How many rows leave.
    pub fn rows(&self) -> u64 {
        self.gone.values().map(|last| last.versions.unsigned_abs()).sum()
    }

    /// A name for what leaves, the same whenever the same keys do.
    pub fn name(&self) -> String {
        format!("-{:032x}", self.gone.keys().copied().fold(0, u128::wrapping_add))
    }

    /// What is recorded of it in both commits.
    pub fn record(&self, run: &str) -> DeletedRecord {
        DeletedRecord { run: run.to_owned(), keys: self.keys() }
    }

    /// Whether rows that leave are in a file.
    pub fn may_hold(&self, file: &FileRef) -> bool {
        self.files.contains(&file.path)
    }

    /// Which rows leave.
    ///
    /// # Errors
    /// When the rows lack a column of the key.
    pub fn leaves(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let keys = self.keys.of_batch(batch)?;
        Ok(keys.iter().map(|key| Some(self.gone.contains_key(&key.hash()))).collect())
    }

    /// Notes the versions in a file of keys that are gone.
    async fn note(&mut self, table: &Table, at: usize, file: &FileRef, gone: &Gone) -> Result<()> {
        let mut names = self.keys.names();
        names.extend(["arrival_dt", "file", "row_number"]);
        let mut first = 0;
        for batch in read_columns(&*table.lake().store(), &table.object_path(&file.path), &names).await? {
            let column = |name| batch.column_by_name(name).with_context(|| format!("a file has no column {name}"));
            let arrivals = column("arrival_dt")?.as_primitive::<Date32Type>();
            let files = column("file")?.as_string::<i32>();
            let numbers = column("row_number")?.as_primitive::<Int64Type>();
            for (row, key) in self.keys.of_batch(&batch)?.into_iter().enumerate() {
                if !gone.gone.contains(&key.hash()) {
                    continue;
                }
                self.files.insert(file.path.clone());
                let version = (arrivals.value(row), Arc::from(files.value(row)), numbers.value(row));
                let here = Last { version, at: (at, first + row), versions: 1 };
                match self.gone.get_mut(&key.hash()) {
                    Some(last) => {
                        let versions = last.versions + 1;
                        if last.version < here.version {
                            *last = here;
                        }
                        last.versions = versions;
                    }
                    None => drop(self.gone.insert(key.hash(), here)),
                }
            }
            first += batch.num_rows();
        }
        Ok(())
    }

    /// Spells the last versions that are in a file.
    async fn spell(&self, table: &Table, at: usize, file: &FileRef, into: &mut Tombstones) -> Result<()> {
        let mut first = 0;
        for batch in read_batches(&*table.lake().store(), &table.object_path(&file.path)).await? {
            let batch = conform(&batch, &table.file_schema())?;
            let all: Vec<&str> = batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
            for (row, key) in self.keys.of_batch(&batch)?.into_iter().enumerate() {
                let Some(last) = self.gone.get(&key.hash()).filter(|last| last.at == (at, first + row)) else {
                    continue;
                };
                into.key.append_value(json(&batch, &self.keys.names(), row)?);
                into.versions.append_value(last.versions);
                into.row.append_value(json(&batch, &all, row)?);
            }
            first += batch.num_rows();
        }
        Ok(())
    }
}

#[derive(Default)]
struct Tombstones {
    key: StringBuilder,
    versions: Int64Builder,
    row: StringBuilder,
}

impl Tombstones {
    fn finish(mut self, job: &OrdersIngest<'_>, layout: &Layout, now_micros: i64) -> Result<RecordBatch> {
        let key = self.key.finish();
        let (mut constants, mut times) = ([(); 3].map(|()| StringBuilder::new()), TimestampMicrosecondBuilder::new());
        for _ in 0..key.len() {
            for (column, text) in constants.iter_mut().zip([job.name, &layout.table, job.run]) {
                column.append_value(text);
            }
            times.append_value(now_micros);
        }
        let [source, table_name, run] = constants.map(|mut column| Arc::new(column.finish()) as ArrayRef);
        let columns: Vec<ArrayRef> = vec![
            source,
            table_name,
            Arc::new(key),
            Arc::new(self.versions.finish()),
            run,
            Arc::new(times.finish()),
            Arc::new(self.row.finish()),
        ];
        let fields: Vec<_> = schema().fields().iter().skip(1).cloned().collect();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }
}

/// Some columns of a row as a JSON object: integers and flags as such, all else as text.
fn json(batch: &RecordBatch, names: &[&str], row: usize) -> Result<String> {
    let mut object = Map::new();
    let options = FormatOptions::default();
    for name in names {
        let column = batch.column_by_name(name).with_context(|| format!("a row has no column {name}"))?;
        let value = match column.data_type() {
            _ if column.is_null(row) => Value::Null,
            DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
            DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
            DataType::Boolean => column.as_boolean().value(row).into(),
            _ => ArrayFormatter::try_new(column, &options)?.value(row).try_to_string()?.into(),
        };
        object.insert((*name).to_owned(), value);
    }
    Ok(Value::Object(object).to_string())
}

fn schema() -> SchemaRef {
    let column = |name: &str, kind, comment: &str| {
        Field::new(name, kind, true).with_metadata([("comment".to_owned(), comment.to_owned())].into())
    };
    Arc::new(Schema::new(vec![
        column("dt", DataType::Date32, "day that the row belonged to"),
        column("source", DataType::Utf8, "source, as conf/sources names it"),
        column("table_name", DataType::Utf8, "table that the rows left"),
        column("key", DataType::Utf8, "key that is gone, JSON"),
        column("versions", DataType::Int64, "rows of the key that left, of all days"),
        column("run", DataType::Utf8, "run that missed it"),
        column("detected_at", DataType::Timestamp(TimeUnit::Microsecond, None), "moment it was missed, business time"),
        column("row", DataType::Utf8, "its last version as it had landed, masked, JSON"),
    ]))
}

fn spec() -> TableSpec {
    TableSpec {
        name: DELETED_TABLE.to_owned(),
        schema: schema(),
        partitioned: true,
        description: "Keys that were deleted at their source, each with its last version".to_owned(),
    }
}

/// Commits the tombstones of a table, in the place of those of a run that was interrupted.
///
/// # Errors
/// When the lake cannot be read or written.
pub async fn publish_deleted(job: &OrdersIngest<'_>, prepared: &Prepared<'_>) -> Result<()> {
    let Some(deleted) = &prepared.deleted else { return Ok(()) };
    for attempt in 1.. {
        let Some(mut table) = job.lake.table(DELETED_TABLE).await? else { return Ok(()) };
        let Some(commit) = commit(job, prepared, deleted, &table).await? else { return Ok(()) };
        let before = table.version();
        let Err(error) = table.commit(commit).await else { return Ok(()) };
        let overtaken = job.lake.table(DELETED_TABLE).await?.is_some_and(|table| table.version() != before);
        if !overtaken || attempt >= ATTEMPTS {
            return Err(error);
        }
    }
    Ok(())
}

/// The commit of a table's tombstones, if there is anything to commit.
async fn commit(
    job: &OrdersIngest<'_>,
    prepared: &Prepared<'_>,
    deleted: &Deleted,
    table: &Table,
) -> Result<Option<Commit>> {
    let name = &prepared.layout.table;
    let domain = format!("{DELETED}:{name}");
    let buried = find::<DeletedRecord>(&job.lake.records(DELETED_TABLE).await?, &domain)?;
    let left = find::<DeletedRecord>(&prepared.records, DELETED)?;
    let interrupted = buried.filter(|buried| Some(buried) != left.as_ref());
    if interrupted.is_none() && deleted.tombstones.is_empty() {
        return Ok(None);
    }
    let (mut adds, removes) = match &interrupted {
        None => (Vec::new(), Vec::new()),
        Some(record) => {
            let leaves = |_: &FileRef, batch: &RecordBatch| {
                let column = |name| batch.column_by_name(name).with_context(|| format!("tombstones without {name}"));
                let (tables, runs) = (column("table_name")?.as_string::<i32>(), column("run")?.as_string::<i32>());
                let row = |row| tables.value(row) == name && runs.value(row) == record.run;
                Ok((0..batch.num_rows()).map(|at| Some(row(at))).collect::<BooleanArray>())
            };
            without_rows(table, job.run, |_| true, leaves).await?
        }
    };
    adds.extend(deleted.tombstones.iter().cloned());
    let record = if deleted.tombstones.is_empty() { left } else { Some(deleted.record(job.run)) };
    let records = vec![match record {
        Some(record) => entry(domain, &record)?,
        None => (domain, None),
    }];
    Ok(Some(Commit { adds, removes, records, run: job.run.to_owned(), operation: "ingest", now_ms: job.now_ms }))
}
