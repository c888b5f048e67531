//! Small files of the lake as the engine reads them: opened and decoded once a run, for they never change, and from memory
//! after that.
//!
//! A night reads days of history over and over, a few rows each: to open such a file and to make its reader ready takes
//! ten times as long as to compute with what is in it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, Date32Array, RecordBatch, RecordBatchOptions, RecordBatchReader, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{Field, Schema, SchemaRef};
use bytes::Bytes;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};

use super::scan::viewed;
use crate::date::Slot;

/// Up to which size a file is small, in bytes.
const SMALL_FILE: u64 = 128 << 10;
/// How much of small files one scan may hold: bytes as they are stored, and about how many in memory.
const SCAN_STORED: u64 = 16 << 20;
const SCAN_HELD: u64 = 64 << 20;
/// How much is kept for the next scans at most, in bytes of memory, and of all that queries may use.
const KEPT: usize = 64 << 20;
const KEPT_OF_MEMORY: usize = 8;
/// Files that are read at once.
const FILES_AT_ONCE: usize = 16;
/// Batches are gathered up to so many rows: to handle one costs more than a few rows do.
const BATCH_ROWS: usize = 8192;

/// The small files that a run has read.
pub struct SmallFiles {
    /// Up to which size a file is small, in bytes.
    up_to: u64,
    /// How much is kept.
    limit: usize,
    kept: Mutex<Kept>,
    /// Held by the scan that reads files of a folder: another one, as of a model that looks at a table twice, waits for them
    /// instead of reading them, too.
    reading: Mutex<HashMap<Path, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Default)]
struct Kept {
    files: HashMap<Path, Columns>,
    bytes: usize,
}

/// Columns of a file by name, of the types that the table gave them, and how many rows it has.
#[derive(Clone)]
struct Columns {
    /// The file, for the columns that nobody asked for yet.
    file: Stored,
    rows: usize,
    by_name: HashMap<String, ArrayRef>,
}

/// A file as it is stored.
#[derive(Clone)]
struct Stored {
    bytes: Bytes,
    footer: ArrowReaderMetadata,
}

impl fmt::Debug for SmallFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmallFiles")
    }
}

impl SmallFiles {
    /// None yet; a part of the memory that queries may use is for those to come.
    pub fn new(memory: usize) -> Self {
        Self {
            up_to: SMALL_FILE,
            limit: KEPT.min(memory / KEPT_OF_MEMORY),
            kept: Mutex::default(),
            reading: Mutex::default(),
        }
    }

    /// No file is small.
    #[cfg(test)]
    pub fn none() -> Self {
        Self { up_to: 0, ..Self::new(0) }
    }

    /// Whether all files of a scan, by their bytes and rows, are small, and together not too much to be held. Only such
    /// scans are of use: some files apart from others would come in another order each time.
    pub fn fit(&self, mut files: impl Iterator<Item = (u64, u64)>, schema: &Schema) -> bool {
        let fields = schema.fields();
        // What is nested has rules of its own for files of another shape.
        let is_flat = !fields.iter().any(|field| field.data_type().is_nested());
        let width: u64 = fields.iter().map(|field| field.data_type().primitive_width().unwrap_or(16) as u64).sum();
        let (mut stored, mut held) = (0, 0);
        is_flat
            && files.all(|(bytes, rows)| {
                stored += bytes;
                held = rows.saturating_mul(width).saturating_add(held);
                bytes <= self.up_to && stored <= SCAN_STORED && held <= SCAN_HELD
            })
    }

    /// The rows of files: some columns of their table, whose `dt` is the files' slot where it is `partitioned`.
    ///
    /// # Errors
    /// When a file cannot be read, or a value does not fit the type that its column has today.
    pub async fn read(
        self: Arc<Self>,
        store: Arc<dyn ObjectStore>,
        files: Vec<(ObjectMeta, Slot)>,
        schema: SchemaRef,
        partitioned: bool,
    ) -> Result<Vec<RecordBatch>> {
        let stored = |field: &&Arc<Field>| !partitioned || field.name() != "dt";
        let stored: SchemaRef =
            Arc::new(Schema::new(schema.fields().iter().filter(stored).cloned().collect::<Vec<_>>()));
        let folder = self.folder(&files, partitioned);
        let _one_at_a_time = if self.are_known(&files, &stored) { None } else { Some(folder.lock().await) };
        let batch = |(meta, slot): (ObjectMeta, Slot)| {
            let (this, store, stored, schema) = (&self, &store, &stored, &schema);
            async move {
                let known = this.known(&meta.location);
                let missing = known.as_ref().map_or_else(|| Arc::clone(stored), |known| known.missing(stored));
                let columns = match known {
                    Some(columns) if missing.fields().is_empty() => columns,
                    known => {
                        let (store, path) = (Arc::clone(store), meta.location.clone());
                        // On threads of its own: decoding takes most of the time.
                        let read = SpawnedTask::spawn(async move {
                            match known {
                                Some(known) => known.with(&missing),
                                None => Columns::of(Stored::read(&*store, &meta).await?).with(&missing),
                            }
                        });
                        let read = read.join_unwind().await.map_err(|e| DataFusionError::External(e.into()))?;
                        let read = read.map_err(|error| error.context(format!("read {path}")))?;
                        this.keep(path, &read);
                        read
                    }
                };
                columns.batch(schema, slot)
            }
        };
        let batches = futures::stream::iter(files).map(batch).buffered(FILES_AT_ONCE).try_collect().await?;
        gathered(batches, &schema)
    }

    /// The folder of the files' table, to be locked.
    fn folder(&self, files: &[(ObjectMeta, Slot)], partitioned: bool) -> Arc<tokio::sync::Mutex<()>> {
        let above = if partitioned { 2 } else { 1 };
        let mut folder: Vec<_> = files.first().map(|(meta, _)| meta.location.parts().collect()).unwrap_or_default();
        folder.truncate(folder.len().saturating_sub(above));
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(reading.entry(folder.into_iter().collect()).or_default())
    }

    /// Whether nothing of the files has to be read or decoded.
    fn are_known(&self, files: &[(ObjectMeta, Slot)], wanted: &SchemaRef) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |meta: &ObjectMeta| kept.files.get(&meta.location);
        files.iter().all(|(meta, _)| known(meta).is_some_and(|columns| columns.has(wanted)))
    }

    /// What is kept of a file.
    fn known(&self, path: &Path) -> Option<Columns> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).files.get(path).cloned()
    }

    fn keep(&self, path: Path, columns: &Columns) {
        // One that takes the place of many is read again.
        if columns.memory() > self.limit / 4 {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut columns = columns.clone();
        if let Some(before) = kept.files.remove(&path) {
            kept.bytes -= before.memory();
            for (name, column) in before.by_name {
                columns.by_name.entry(name).or_insert(column);
            }
        }
        let bytes = columns.memory();
        if kept.bytes + bytes > self.limit {
            *kept = Kept::default();
        }
        kept.bytes += bytes;
        kept.files.insert(path, columns);
    }
}

impl Columns {
    /// None of a file's yet.
    fn of(file: Stored) -> Self {
        let rows = usize::try_from(file.footer.metadata().file_metadata().num_rows()).unwrap_or_default();
        Self { file, rows, by_name: HashMap::new() }
    }

    fn lacks(&self, field: &Field) -> bool {
        self.by_name.get(field.name()).is_none_or(|column| column.data_type() != field.data_type())
    }

    /// Whether all of these columns are there, as they are typed.
    fn has(&self, wanted: &SchemaRef) -> bool {
        !wanted.fields().iter().any(|field| self.lacks(field))
    }

    /// The columns among these that are not there, or are of another type.
    fn missing(&self, wanted: &SchemaRef) -> SchemaRef {
        let missing: Vec<Arc<Field>> = wanted.fields().iter().filter(|field| self.lacks(field)).cloned().collect();
        if missing.len() == wanted.fields().len() { Arc::clone(wanted) } else { Arc::new(Schema::new(missing)) }
    }

    /// These and more columns of the file, as a schema types them; NULLs where the file has none of a name.
    fn with(mut self, wanted: &SchemaRef) -> Result<Self> {
        let Stored { bytes, footer } = self.file.clone();
        let there = |field: &Arc<Field>| footer.schema().index_of(field.name()).ok();
        let roots: Vec<usize> = wanted.fields().iter().filter_map(there).collect();
        let projection = ProjectionMask::roots(footer.parquet_schema(), roots);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, footer)
            .with_projection(projection)
            .with_batch_size(self.rows.max(1))
            .build()?;
        let batch = concat_batches(&reader.schema(), &reader.collect::<Result<Vec<_>, _>>()?)?;
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        for field in wanted.fields() {
            let column = match batch.column_by_name(field.name()) {
                Some(column) if column.data_type() == field.data_type() => Arc::clone(column),
                Some(column) => cast_with_options(column, field.data_type(), &strict)?,
                None => new_null_array(field.data_type(), self.rows),
            };
            self.by_name.insert(field.name().clone(), column);
        }
        Ok(self)
    }

    /// Bytes of memory.
    fn memory(&self) -> usize {
        let file = self.file.bytes.len() + self.file.footer.metadata().memory_size();
        file + self.by_name.values().map(|column| column.get_array_memory_size()).sum::<usize>()
    }

    /// The rows as a table has them.
    fn batch(&self, schema: &SchemaRef, slot: Slot) -> Result<RecordBatch> {
        let column = |field: &Arc<Field>| match self.by_name.get(field.name()) {
            Some(column) => Arc::clone(column),
            None => Arc::new(Date32Array::from_iter(std::iter::repeat_n(slot.map(|day| day.days()), self.rows))),
        };
        let columns = schema.fields().iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
    }
}

impl Stored {
    async fn read(store: &dyn ObjectStore, meta: &ObjectMeta) -> Result<Self> {
        let bytes = store.get_ranges(&meta.location, std::slice::from_ref(&(0..meta.size))).await?.remove(0);
        let footer = ArrowReaderMetadata::load(&bytes, ArrowReaderOptions::new())?;
        let options = ArrowReaderOptions::new().with_schema(viewed(footer.schema()));
        let footer = ArrowReaderMetadata::try_new(Arc::clone(footer.metadata()), options)?;
        Ok(Self { bytes, footer })
    }
}

/// Batches in their order, small ones put together.
fn gathered(batches: Vec<RecordBatch>, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    let mut all = Vec::new();
    let mut waiting: Vec<RecordBatch> = Vec::new();
    let mut rows = 0;
    for batch in batches.into_iter().filter(|batch| batch.num_rows() > 0) {
        if !waiting.is_empty() && rows + batch.num_rows() > BATCH_ROWS {
            all.push(concat_batches(schema, &std::mem::take(&mut waiting))?);
            rows = 0;
        }
        rows += batch.num_rows();
        waiting.push(batch);
    }
    if !waiting.is_empty() {
        all.push(concat_batches(schema, &waiting)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int32Array, StringArray};
    use arrow::datatypes::{DataType, Int32Type, Int64Type};
    use object_store::memory::InMemory;
    use object_store::{ObjectStoreExt, PutPayload};

    use super::*;
    use crate::lake::encode_parquet;

    async fn put(store: &InMemory, name: &str, columns: Vec<(&str, ArrayRef)>) -> (ObjectMeta, Slot) {
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)));
        let batch = batch.expect("a batch");
        let file = encode_parquet(&batch.schema(), &[batch]).expect("a file");
        store.put(&Path::from(name), PutPayload::from(file.bytes)).await.expect("is put");
        (store.head(&Path::from(name)).await.expect("is there"), Some(name.parse().expect("a day")))
    }

    fn fields(of: &[(&str, DataType)]) -> SchemaRef {
        Arc::new(Schema::new(of.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>()))
    }

    #[tokio::test]
    async fn files_are_read_as_the_table_is_today_and_only_once() {
        let store = Arc::new(InMemory::new());
        let number = |of: &[i32]| Arc::new(Int32Array::from(of.to_vec())) as ArrayRef;
        let text = |of: &[&str]| Arc::new(StringArray::from(of.to_vec())) as ArrayRef;
        let old = put(&store, "2026-01-01", vec![("n", number(&[1, 2]))]).await;
        let new = put(&store, "2026-01-02", vec![("t", text(&["a", "b"])), ("n", number(&[3, 4]))]).await;
        let small = Arc::new(SmallFiles::new(1 << 30));
        let read = async |files: Vec<_>, schema: &SchemaRef| {
            small.clone().read(store.clone(), files, schema.clone(), true).await.map(|batches| {
                assert_eq!(batches.len(), 1, "they are put together");
                batches[0].clone()
            })
        };
        let today = fields(&[("dt", DataType::Date32), ("n", DataType::Int64), ("t", DataType::Utf8View)]);
        let rows = read(vec![old.clone(), new.clone()], &today).await.expect("is read");
        assert_eq!(rows.column(1).as_primitive::<Int64Type>().values(), &[1, 2, 3, 4]);
        assert_eq!(rows.column(2).as_string_view().iter().collect::<Vec<_>>(), [None, None, Some("a"), Some("b")]);
        let first = rows.column(0).slice(0, 1);
        assert_eq!(arrow::util::display::array_value_to_string(&first, 0).expect("shown"), "2026-01-01");
        let count = read(vec![new.clone()], &fields(&[])).await.expect("is read");
        assert_eq!((count.num_columns(), count.num_rows()), (0, 2));

        for (meta, _) in [&old, &new] {
            store.delete(&meta.location).await.expect("is gone");
        }
        assert_eq!(read(vec![old.clone(), new.clone()], &today).await.expect("is kept"), rows);
        // The same column as another type is another column, and the files are not opened for it.
        let narrow = fields(&[("n", DataType::Int32)]);
        let (narrow, wide) = tokio::join!(read(vec![old.clone(), new.clone()], &narrow), read(vec![old, new], &today));
        assert_eq!(narrow.expect("is kept").column(0).as_primitive::<Int32Type>().values(), &[1, 2, 3, 4]);
        assert_eq!(wide.expect("is kept"), rows);
    }

    #[test]
    fn only_scans_of_flat_small_files_that_are_not_too_much_fit() {
        let small = SmallFiles::new(1 << 30);
        let (flat, none) = (fields(&[("n", DataType::Int64), ("t", DataType::Utf8View)]), fields(&[]));
        let nested = fields(&[("l", DataType::new_list(DataType::Int64, true))]);
        let fit = |files: &[(u64, u64)], schema: &SchemaRef| small.fit(files.iter().copied(), schema);
        assert!(fit(&[(SMALL_FILE, 10); 100], &flat) && fit(&[], &flat));
        assert!(!fit(&[(10, 10), (SMALL_FILE + 1, 10)], &flat));
        assert!(!fit(&[(SMALL_FILE, 10); 200], &flat));
        assert!(!fit(&[(10, 3_000_000)], &flat) && fit(&[(10, 3_000_000)], &none));
        assert!(!fit(&[(10, 10)], &nested));
    }

    #[tokio::test]
    async fn what_does_not_fit_todays_type_is_an_error_and_memory_is_bounded() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let inner = InMemory::new();
        let file = put(&inner, "2026-01-01", vec![("t", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]).await;
        let bytes = inner.get(&file.0.location).await.expect("is there").bytes().await.expect("bytes");
        store.put(&file.0.location, PutPayload::from(bytes)).await.expect("is put");
        let small = Arc::new(SmallFiles::new(1 << 30));
        let numbers = fields(&[("t", DataType::Int64)]);
        let error = small.clone().read(store, vec![file.clone()], numbers, true).await.expect_err("no number");
        assert!(error.to_string().contains("read 2026-01-01"), "{error}");
        let column = |bytes| Arc::new(Int32Array::from_value(0, bytes / 4)) as ArrayRef;
        let known = small.known(&file.0.location);
        assert!(known.is_none(), "what cannot be read is not kept");
        let stored = Stored::read(&inner, &file.0).await.expect("is read");
        let columns =
            |bytes| Columns { file: stored.clone(), rows: 1, by_name: [("n".to_owned(), column(bytes))].into() };
        small.keep(Path::from("large"), &columns(KEPT / 2));
        for name in ["a", "a", "b", "c", "d", "e", "f"] {
            small.keep(Path::from(name), &columns(KEPT / 5));
        }
        let kept = small.kept.lock().expect("nobody else");
        assert!(kept.bytes <= KEPT && kept.files.len() == 2, "{} bytes of {} files", kept.bytes, kept.files.len());
    }
}
