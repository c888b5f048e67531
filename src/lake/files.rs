//! Parquet files of the lake: how rows become bytes, and what is known of them.

use anyhow::{Context, Result, ensure};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::compute::{cast, max, min};
use arrow::datatypes::{DataType, Date32Type, Field, Int32Type, Int64Type, SchemaRef};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowWriterOptions, compute_leaves};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::{ColumnDescPtr, ColumnPath};
use serde_json::{Map, Value, json};

use super::dictionary::{Chunk, DictionaryEncoder};
use super::encoding::with_encoding;
use super::order::{prunes, sorting_columns};
use crate::date::BizDate;

/// Rows of one row group: enough for good encoding, few enough for statistics that prune.
const ROW_GROUP_ROWS: usize = 256 * 1024;
/// Fewer rows than these are compressed by Snappy: to make a zstd decompressor for each column takes a reader longer than
/// to read them.
const FEW_ROWS: u64 = 8 * 1024;

/// A Parquet file in memory, with what the Delta log says of it.
pub struct EncodedFile {
    /// The file.
    pub bytes: Bytes,
    /// Its rows.
    pub rows: u64,
    /// Statistics in the form of the Delta protocol: `numRecords`, `minValues`, `maxValues`, `nullCount`.
    pub stats: Value,
}

/// Encodes batches of one schema as a Parquet file with statistics, zstd or of few rows Snappy; pure CPU, for any thread.
///
/// Dictionary columns reach the writer as dictionaries and are plain strings to every reader. Rows of a [`sorted_by`](super::sorted_by)
/// schema that are in that order are said to be so in the footer.
///
/// # Errors
/// When the batches differ in schema, or hold a type that Parquet lacks.
pub fn encode_parquet(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<EncodedFile> {
    let rows = batches.iter().map(|b| b.num_rows() as u64).sum();
    let zstd = Compression::ZSTD(ZstdLevel::try_new(1).context("zstd level")?);
    let compression = if rows < FEW_ROWS { Compression::SNAPPY } else { zstd };
    let mut properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_sorting_columns(sorting_columns(schema, batches)?)
        // Row groups are small enough to be pruned by; an index of pages costs every reader more than it saves.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_created_by(concat!("strata ", env!("CARGO_PKG_VERSION")).to_owned());
    let middle = batches.get(batches.len() / 2);
    for (index, field) in schema.fields().iter().enumerate() {
        properties = with_encoding(properties, field, middle.map(|batch| batch.column(index)));
        if is_text(field) && !prunes(schema, field.name()) {
            // Comparing every text with the least and the greatest takes as long as writing it.
            properties = properties
                .set_column_statistics_enabled(ColumnPath::from(field.name().as_str()), EnabledStatistics::None);
        }
    }
    let bytes = written(schema, batches, &properties.build(), compression)?;
    Ok(EncodedFile { bytes: bytes.into(), rows, stats: statistics(schema, batches, rows) })
}

/// The file, a row group after the other: columns of values that repeat by ourselves, the others by the `parquet` crate.
fn written(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    properties: &WriterProperties,
    compression: Compression,
) -> Result<Vec<u8>> {
    let (mut file, _) = crate_writer(schema, properties)?.into_serialized_writer()?;
    let described = file.schema_descr();
    let leaves: Vec<(usize, ColumnDescPtr)> = (0..described.num_columns())
        .map(|leaf| (described.get_column_root_idx(leaf), described.column(leaf)))
        .collect();
    for batch in batches {
        let kinds = |schema: &SchemaRef| schema.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
        ensure!(kinds(batch.schema_ref()) == kinds(schema), "rows of other columns than their file's");
    }
    let mut dictionaries = DictionaryEncoder::new(compression)?;
    // A column that was not worth it once is not tried again.
    let mut worth: Vec<bool> = leaves.iter().map(|(_, leaf)| properties.dictionary_enabled(leaf.path())).collect();
    for rows in row_groups(batches) {
        let columns: Vec<Vec<ArrayRef>> =
            (0..schema.fields().len()).map(|at| rows.iter().map(|part| part.column(at).clone()).collect()).collect();
        let mut chunks: Vec<Option<Chunk>> = columns.iter().map(|_| None).collect();
        for ((root, leaf), worth) in leaves.iter().zip(&mut worth).filter(|(_, worth)| **worth) {
            let with_statistics = properties.statistics_enabled(leaf.path()) != EnabledStatistics::None;
            chunks[*root] = dictionaries.chunk(leaf, &columns[*root], with_statistics)?;
            let is_null = || columns[*root].iter().all(|part| part.null_count() == part.len());
            *worth = chunks[*root].is_some() || is_null();
        }
        let others: Vec<usize> = (0..chunks.len()).filter(|at| chunks[*at].is_none()).collect();
        let mut others = crate_chunks(schema, &others, &columns, properties)?.into_iter();
        let mut group = file.next_row_group()?;
        for (root, _) in &leaves {
            match chunks[*root].take() {
                Some(chunk) => group.append_column(&chunk.bytes, chunk.close)?,
                None => others.next().context("a chunk of each column")?.append_to_row_group(&mut group)?,
            }
        }
        group.close()?;
    }
    Ok(file.into_inner()?)
}

/// The crate's chunks of some columns.
fn crate_chunks(
    schema: &SchemaRef,
    places: &[usize],
    columns: &[Vec<ArrayRef>],
    properties: &WriterProperties,
) -> Result<Vec<ArrowColumnChunk>> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let schema: SchemaRef = schema.project(places)?.into();
    let (_, factory) = crate_writer(&schema, properties)?.into_serialized_writer()?;
    let mut writers = factory.create_column_writers(0)?.into_iter();
    let mut chunks = Vec::with_capacity(writers.len());
    for (field, place) in schema.fields().iter().zip(places) {
        let mut leaves: Vec<ArrowColumnWriter> = Vec::new();
        for part in &columns[*place] {
            for (at, leaf) in compute_leaves(field, part)?.iter().enumerate() {
                if at == leaves.len() {
                    leaves.push(writers.next().context("a writer of each column")?);
                }
                leaves[at].write(leaf)?;
            }
        }
        for leaf in leaves {
            chunks.push(leaf.close()?);
        }
    }
    Ok(chunks)
}

/// The crate's writer. Without Arrow's own schema in the footer a dictionary column reads back as what it means: strings.
fn crate_writer(schema: &SchemaRef, properties: &WriterProperties) -> Result<ArrowWriter<Vec<u8>>> {
    let options = ArrowWriterOptions::new().with_properties(properties.clone()).with_skip_arrow_metadata(true);
    Ok(ArrowWriter::try_new_with_options(Vec::new(), SchemaRef::clone(schema), options)?)
}

/// The batches of each row group, cut where it is full.
fn row_groups(batches: &[RecordBatch]) -> Vec<Vec<RecordBatch>> {
    let mut groups: Vec<Vec<RecordBatch>> = Vec::new();
    let mut room = 0;
    for batch in batches {
        let mut from = 0;
        while from < batch.num_rows() {
            if room == 0 {
                groups.push(Vec::new());
                room = ROW_GROUP_ROWS;
            }
            let rows = room.min(batch.num_rows() - from);
            groups.last_mut().into_iter().for_each(|group| group.push(batch.slice(from, rows)));
            (from, room) = (from + rows, room - rows);
        }
    }
    groups
}

fn is_text(field: &Field) -> bool {
    match field.data_type() {
        DataType::Dictionary(_, value) => value.is_string(),
        kind => kind.is_string(),
    }
}

/// What the log says of a file: of few rows only how many they are and of which days. To leave out such a file saves less
/// than it takes everyone who opens the table to read more of it.
fn statistics(schema: &SchemaRef, batches: &[RecordBatch], rows: u64) -> Value {
    let (mut lows, mut highs, mut nulls) = (Map::new(), Map::new(), Map::new());
    for (index, field) in schema.fields().iter().enumerate() {
        if rows < FEW_ROWS && field.name() != "dt" {
            continue;
        }
        let columns = || batches.iter().map(|batch| batch.column(index));
        let null_count: usize = columns().map(|c| c.logical_null_count()).sum();
        nulls.insert(field.name().clone(), json!(null_count));
        let bounds: Vec<(i64, i64)> = columns().filter_map(integer_bounds).collect();
        let low = bounds.iter().map(|b| b.0).min();
        let high = bounds.iter().map(|b| b.1).max();
        if let (Some(low), Some(high)) = (low, high) {
            lows.insert(field.name().clone(), statistic(field.data_type(), low));
            highs.insert(field.name().clone(), statistic(field.data_type(), high));
        }
    }
    json!({"numRecords": rows, "minValues": lows, "maxValues": highs, "nullCount": nulls})
}

fn integer_bounds(column: &ArrayRef) -> Option<(i64, i64)> {
    match column.data_type() {
        DataType::Int32 => {
            let values = column.as_primitive::<Int32Type>();
            Some((min(values)?.into(), max(values)?.into()))
        }
        DataType::Date32 => {
            let values = column.as_primitive::<Date32Type>();
            Some((min(values)?.into(), max(values)?.into()))
        }
        DataType::Int64 => {
            let values = column.as_primitive::<Int64Type>();
            Some((min(values)?, max(values)?))
        }
        _ => None,
    }
}

fn statistic(kind: &DataType, value: i64) -> Value {
    match (kind, i32::try_from(value)) {
        (DataType::Date32, Ok(days)) => json!(BizDate::from_days(days).to_string()),
        _ => json!(value),
    }
}

/// Reads a whole Parquet file of the lake.
///
/// # Errors
/// When the file is missing or not Parquet.
pub async fn read_batches(store: &dyn ObjectStore, path: &Path) -> Result<Vec<RecordBatch>> {
    let reader = open(store, path).await?.build()?;
    reader.collect::<Result<Vec<_>, _>>().with_context(|| format!("decode {path}"))
}

/// Reads a whole Parquet file of the lake, its columns as they are in a schema: a dictionary, say, where values repeat.
///
/// # Errors
/// When the file is missing, not Parquet, or cannot be read so.
pub async fn read_batches_as(store: &dyn ObjectStore, path: &Path, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    let bytes = store.get(path).await.with_context(|| format!("read {path}"))?.bytes().await?;
    let options = ArrowReaderOptions::new().with_schema(SchemaRef::clone(schema));
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options);
    let reader = reader.with_context(|| format!("open {path}"))?.build()?;
    reader.collect::<Result<Vec<_>, _>>().with_context(|| format!("decode {path}"))
}

/// Reads some columns of a Parquet file of the lake, in the order that they have there.
///
/// # Errors
/// When the file is missing or not Parquet.
pub async fn read_columns(store: &dyn ObjectStore, path: &Path, names: &[&str]) -> Result<Vec<RecordBatch>> {
    let builder = open(store, path).await?;
    let wanted = ProjectionMask::columns(builder.parquet_schema(), names.iter().copied());
    let reader = builder.with_projection(wanted).build()?;
    reader.collect::<Result<Vec<_>, _>>().with_context(|| format!("decode {path}"))
}

/// A batch with the table's columns of today: those it lacks are NULL.
///
/// # Errors
/// When a column has become of a type that its values cannot become.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref().fields() == schema.fields() {
        return Ok(batch.clone());
    }
    let column = |name: &str, kind| -> Result<ArrayRef> {
        match batch.column_by_name(name) {
            Some(column) if column.data_type() == kind => Ok(column.clone()),
            Some(column) => Ok(cast(column, kind)?),
            None => Ok(new_null_array(kind, batch.num_rows())),
        }
    };
    let columns = schema.fields().iter().map(|f| column(f.name(), f.data_type())).collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

async fn open(store: &dyn ObjectStore, path: &Path) -> Result<ParquetRecordBatchReaderBuilder<Bytes>> {
    let bytes = store.get(path).await.with_context(|| format!("read {path}"))?.bytes().await?;
    ParquetRecordBatchReaderBuilder::try_new(bytes).with_context(|| format!("open {path}"))
}
