//! Column chunks of values that repeat: each value once, and for each row its place among them.
//!
//! The `parquet` crate looks up every row's bytes in a hash table, also where it is given a dictionary, which was a sixth of
//! the time of an ingest. Here a batch's dictionary is looked up once for each of its values, numbers and texts of up to twelve
//! bytes are looked up as numbers, and what repeats the row before is not looked up. Whatever is not worth a dictionary, and
//! every other encoding, is left to the crate.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use anyhow::{Context, Result, bail};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use bytes::Bytes;
use foldhash::fast::RandomState;
use parquet::basic::{Compression, Encoding, PageType, Type};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::file::metadata::{ColumnChunkMetaData, PageEncodingStats};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use xxhash_rust::xxh3::xxh3_64;

use super::hybrid::{put_numbers, put_run};

/// Rows of a page: what a reader decompresses at once.
const PAGE_ROWS: usize = 32 * 1024;
/// A dictionary of more bytes is not worth it.
const DICTIONARY_BYTES: usize = 1 << 20;
/// A text of so many bytes is a number of its own.
const SHORT_BYTES: usize = 12;
/// Bounds of longer texts are cut in a chunk's statistics.
const BOUND_BYTES: usize = 64;

/// A column chunk as it is to stand in a file.
pub struct Chunk {
    /// Its pages, the dictionary's first.
    pub bytes: Bytes,
    /// What the footer says of it, with offsets from its beginning.
    pub close: ColumnCloseResult,
}

/// Makes column chunks one after another.
pub struct DictionaryEncoder {
    codec: Codec,
    values: Values,
    /// For each row that is not NULL the place of its value.
    places: Vec<u32>,
    /// For each row 1 or, where it is NULL, 0; nothing for a column without NULLs.
    present: Vec<u32>,
}

impl DictionaryEncoder {
    /// For chunks of one compression.
    ///
    /// # Errors
    /// When it is none of those that the lake has.
    pub fn new(compression: Compression) -> Result<Self> {
        let values = Values::default();
        Ok(Self { codec: Codec::new(compression)?, values, places: Vec::new(), present: Vec::new() })
    }

    /// The chunk of a column's rows; `None` when it is not worth a dictionary, is all NULL or of another kind of type.
    ///
    /// # Errors
    /// When it cannot be compressed.
    pub fn chunk(
        &mut self,
        column: &ColumnDescPtr,
        parts: &[ArrayRef],
        with_statistics: bool,
    ) -> Result<Option<Chunk>> {
        if column.max_rep_level() > 0 || column.max_def_level() > 1 {
            return Ok(None);
        }
        self.values.clear();
        self.places.clear();
        self.present.clear();
        let nulls: usize = parts.iter().map(|part| part.null_count()).sum();
        let width = match column.physical_type() {
            Type::INT32 => 4,
            Type::INT64 => 8,
            Type::BYTE_ARRAY => 0,
            _ => return Ok(None),
        };
        for part in parts {
            if self.take_in(part, width).is_none() || self.values.bytes.len() > DICTIONARY_BYTES {
                return Ok(None);
            }
            match part.nulls() {
                _ if nulls == 0 => {}
                Some(there) => self.present.extend(there.iter().map(u32::from)),
                None => self.present.extend(std::iter::repeat_n(1, part.len())),
            }
        }
        if self.places.is_empty() || (nulls > 0 && column.max_def_level() == 0) {
            return Ok(None);
        }
        let rows = self.places.len() + nulls;
        let statistics = with_statistics.then(|| self.values.statistics(width, nulls as u64));
        self.written(column, rows, statistics).map(Some)
    }

    /// The places of an array's values; `None` when they have none here.
    fn take_in(&mut self, array: &ArrayRef, width: usize) -> Option<()> {
        let (values, places) = (&mut self.values, &mut self.places);
        places.reserve(array.len() - array.null_count());
        let mut put = |place: Option<u32>| place.map(|place| places.push(place));
        match array.data_type() {
            DataType::Int32 if width == 4 => {
                let numbers = array.as_primitive::<Int32Type>().values();
                each(array.len(), array.nulls(), |row| put(values.number(numbers[row].into(), width)))
            }
            DataType::Date32 if width == 4 => {
                let numbers = array.as_primitive::<Date32Type>().values();
                each(array.len(), array.nulls(), |row| put(values.number(numbers[row].into(), width)))
            }
            DataType::Int64 if width == 8 => {
                let numbers = array.as_primitive::<Int64Type>().values();
                each(array.len(), array.nulls(), |row| put(values.number(numbers[row], width)))
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) if width == 8 => {
                let numbers = array.as_primitive::<TimestampMicrosecondType>().values();
                each(array.len(), array.nulls(), |row| put(values.number(numbers[row], width)))
            }
            DataType::Decimal128(1..=18, _) if width > 0 => {
                let numbers = array.as_primitive::<Decimal128Type>().values();
                each(array.len(), array.nulls(), |row| put(values.number(i64::try_from(numbers[row]).ok()?, width)))
            }
            DataType::Utf8 if width == 0 => {
                let texts = array.as_string::<i32>();
                let (offsets, data) = (texts.value_offsets(), texts.value_data());
                each(array.len(), array.nulls(), |row| {
                    put(values.text(data, offsets[row] as usize, offsets[row + 1] as usize))
                })
            }
            DataType::Dictionary(key, value) if width == 0 && **key == DataType::Int32 => {
                let coded = array.as_dictionary::<Int32Type>();
                let (offsets, data) = match **value {
                    DataType::Utf8 => {
                        let texts = coded.values().as_string::<i32>();
                        (texts.value_offsets(), texts.value_data())
                    }
                    DataType::Binary => {
                        let texts = coded.values().as_binary::<i32>();
                        (texts.value_offsets(), texts.value_data())
                    }
                    _ => return None,
                };
                if coded.values().null_count() > 0 {
                    return None;
                }
                let mut known: Vec<Option<u32>> = vec![None; coded.values().len()];
                let keys = coded.keys().values();
                each(array.len(), array.nulls(), |row| {
                    let key = keys[row] as usize;
                    if known[key].is_none() {
                        known[key] = values.text(data, offsets[key] as usize, offsets[key + 1] as usize);
                    }
                    put(known[key])
                })
            }
            _ => None,
        }
    }

    /// The chunk of what was taken in.
    fn written(&mut self, column: &ColumnDescPtr, rows: usize, statistics: Option<Statistics>) -> Result<Chunk> {
        let mut sink = TrackedWrite::new(Vec::new());
        let mut pages = SerializedPageWriter::new(&mut sink);
        let (mut stored, mut plain) = (0, 0);
        let mut put = |page: CompressedPage| -> Result<u64> {
            let spec = pages.write_page(page)?;
            (stored, plain) = (stored + spec.compressed_size as i64, plain + spec.uncompressed_size as i64);
            Ok(spec.offset)
        };
        let count = self.values.count();
        let buf = self.codec.compressed(&self.values.bytes)?;
        let page = Page::DictionaryPage { buf, num_values: count, encoding: Encoding::PLAIN, is_sorted: false };
        put(CompressedPage::new(page, self.values.bytes.len()))?;

        let width = (u32::BITS - (count - 1).leading_zeros()) as u8;
        let (mut body, mut first, mut from, mut number) = (Vec::new(), None, 0, 0);
        for row in (0..rows).step_by(PAGE_ROWS) {
            let page_rows = PAGE_ROWS.min(rows - row);
            let present = self.present.get(row..row + page_rows);
            let to = from + present.map_or(page_rows, |present| present.iter().map(|one| *one as usize).sum());
            body.clear();
            if column.max_def_level() > 0 {
                body.extend_from_slice(&[0; 4]);
                match present {
                    Some(present) => put_numbers(present, 1, &mut body),
                    None => put_run(1, page_rows, 1, &mut body),
                }
                let bytes = u32::try_from(body.len() - 4)?;
                body[..4].copy_from_slice(&bytes.to_le_bytes());
            }
            body.push(width);
            put_numbers(&self.places[from..to], width, &mut body);
            let page = Page::DataPage {
                buf: self.codec.compressed(&body)?,
                num_values: u32::try_from(page_rows)?,
                encoding: Encoding::RLE_DICTIONARY,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            };
            let offset = put(CompressedPage::new(page, body.len()))?;
            first.get_or_insert(offset);
            (from, number) = (to, number + 1);
        }
        pages.close()?;
        let pages_are = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        let mut metadata = ColumnChunkMetaData::builder(column.clone())
            .set_compression(self.codec.compression())
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY])
            .set_page_encoding_stats(vec![
                pages_are(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1),
                pages_are(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY, number),
            ])
            .set_total_compressed_size(stored)
            .set_total_uncompressed_size(plain)
            .set_num_values(i64::try_from(rows)?)
            .set_dictionary_page_offset(Some(0))
            .set_data_page_offset(i64::try_from(first.context("a chunk has a page")?)?);
        if let Some(statistics) = statistics {
            metadata = metadata.set_statistics(statistics);
        }
        let bytes: Bytes = sink.into_inner()?.into();
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        Ok(Chunk { bytes, close })
    }
}

/// Calls for each row that is not NULL, until one is refused.
fn each(rows: usize, nulls: Option<&NullBuffer>, call: impl FnMut(usize) -> Option<()>) -> Option<()> {
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        Some(nulls) => nulls.valid_indices().try_for_each(call),
        None => (0..rows).try_for_each(call),
    }
}

/// The values of one chunk, in the order in which they came first.
#[derive(Default)]
struct Values {
    /// A number or a short text as itself, a long text by its hash.
    places: HashMap<u128, u32, RandomState>,
    /// As the dictionary page has them.
    bytes: Vec<u8>,
    /// Where the bytes of each begin.
    starts: Vec<u32>,
    /// The value of the row before.
    last: Option<(u128, u32)>,
}

impl Values {
    fn clear(&mut self) {
        self.places.clear();
        self.bytes.clear();
        self.starts.clear();
        self.last = None;
    }

    fn count(&self) -> u32 {
        self.starts.len() as u32
    }

    /// The place of a number of so many bytes; `None` when the dictionary is full.
    fn number(&mut self, number: i64, width: usize) -> Option<u32> {
        self.place(u128::from(number as u64), |bytes| bytes.extend_from_slice(&number.to_le_bytes()[..width]))
    }

    /// The place of the text that is a part of some data; `None` when the dictionary is full, or when two texts have one hash.
    fn text(&mut self, data: &[u8], from: usize, to: usize) -> Option<u32> {
        let text = &data[from..to];
        let put = |bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
            bytes.extend_from_slice(text);
        };
        if text.len() <= SHORT_BYTES {
            // Its length, and its bytes, which are read with those behind them where there are some.
            let raw = match data.get(from..from + 16).and_then(|bytes| bytes.try_into().ok()) {
                Some(bytes) => u128::from_le_bytes(bytes) & ((1 << (8 * text.len())) - 1),
                None => text.iter().rev().fold(0, |raw, byte| raw << 8 | u128::from(*byte)),
            };
            return self.place(raw << 32 | text.len() as u128, put);
        }
        let key = u128::from(xxh3_64(text)) << 64 | text.len() as u128;
        let place = self.place(key, put)?;
        let start = self.starts[place as usize] as usize + 4;
        (self.bytes.get(start..start + text.len()) == Some(text)).then_some(place)
    }

    /// The place of a key's value, which is put behind the others when it is new.
    fn place(&mut self, key: u128, put: impl FnOnce(&mut Vec<u8>)) -> Option<u32> {
        if let Some((last, place)) = self.last
            && last == key
        {
            return Some(place);
        }
        let place = match self.places.entry(key) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(_) if self.bytes.len() > DICTIONARY_BYTES => return None,
            Entry::Vacant(free) => {
                let place = self.starts.len() as u32;
                self.starts.push(self.bytes.len() as u32);
                put(&mut self.bytes);
                *free.insert(place)
            }
        };
        self.last = Some((key, place));
        Some(place)
    }

    /// The least and the greatest value, and how many rows have none.
    fn statistics(&self, width: usize, nulls: u64) -> Statistics {
        match width {
            4 => {
                let number = |bytes: &[u8]| bytes.try_into().map_or(0, i32::from_le_bytes);
                let numbers = || self.bytes.chunks_exact(4).map(number);
                Statistics::int32(numbers().min(), numbers().max(), None, Some(nulls), false)
            }
            8 => {
                let number = |bytes: &[u8]| bytes.try_into().map_or(0, i64::from_le_bytes);
                let numbers = || self.bytes.chunks_exact(8).map(number);
                Statistics::int64(numbers().min(), numbers().max(), None, Some(nulls), false)
            }
            _ => {
                let ends = self.starts.iter().skip(1).map(|start| *start as usize).chain([self.bytes.len()]);
                let texts =
                    || self.starts.iter().zip(ends.clone()).map(|(start, end)| &self.bytes[*start as usize + 4..end]);
                let bounds = texts().min().zip(texts().max());
                let bounds = bounds.and_then(|(low, high)| Some((lower_bound(low)?, upper_bound(high)?)));
                let (low, high) = bounds.unzip();
                let is_exact = |bound: &Option<(Vec<u8>, bool)>| bound.as_ref().is_some_and(|bound| bound.1);
                let (low_is_exact, high_is_exact) = (is_exact(&low), is_exact(&high));
                let told = |bound: Option<(Vec<u8>, bool)>| bound.map(|bound| ByteArray::from(bound.0));
                Statistics::ByteArray(
                    ValueStatistics::new(told(low), told(high), None, Some(nulls), false)
                        .with_min_is_exact(low_is_exact)
                        .with_max_is_exact(high_is_exact),
                )
            }
        }
    }
}

/// A text that is not greater than another, not long, and whether it is that one itself.
fn lower_bound(text: &[u8]) -> Option<(Vec<u8>, bool)> {
    if text.len() <= BOUND_BYTES {
        return Some((text.to_vec(), true));
    }
    let text = std::str::from_utf8(text).ok()?;
    Some((text[..text.floor_char_boundary(BOUND_BYTES)].into(), false))
}

/// A text that is not less than another, not long, and whether it is that one itself; `None` when there is none.
fn upper_bound(text: &[u8]) -> Option<(Vec<u8>, bool)> {
    let (low, is_exact) = lower_bound(text)?;
    if is_exact {
        return Some((low, true));
    }
    let mut text = String::from_utf8(low).ok()?;
    while let Some(last) = text.pop() {
        // What it begins with, its last character the next one of as many bytes.
        let next = char::from_u32(u32::from(last) + 1).filter(|next| next.len_utf8() == last.len_utf8());
        if let Some(next) = next {
            text.push(next);
            return Some((text.into_bytes(), false));
        }
    }
    None
}

/// What compresses pages.
enum Codec {
    Zstd(Compression, Box<zstd::bulk::Compressor<'static>>),
    Snappy(Box<snap::raw::Encoder>),
}

impl Codec {
    fn new(compression: Compression) -> Result<Self> {
        match compression {
            Compression::ZSTD(level) => {
                let compressor = zstd::bulk::Compressor::new(level.compression_level()).context("zstd")?;
                Ok(Self::Zstd(compression, Box::new(compressor)))
            }
            Compression::SNAPPY => Ok(Self::Snappy(Box::new(snap::raw::Encoder::new()))),
            other => bail!("the lake has no pages in {other}"),
        }
    }

    fn compression(&self) -> Compression {
        match self {
            Self::Zstd(compression, _) => *compression,
            Self::Snappy(_) => Compression::SNAPPY,
        }
    }

    fn compressed(&mut self, page: &[u8]) -> Result<Bytes> {
        let bytes = match self {
            Self::Zstd(_, compressor) => compressor.compress(page).context("compress a page")?,
            Self::Snappy(encoder) => encoder.compress_vec(page).context("compress a page")?,
        };
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests;
