//! What could not land: one schema for the lines and rows of every source, kept in `ods_reject`.
//!
//! A reject is a value, never an error: it is counted, and kept with its place and its bytes so that it can be
//! replayed. Whether the bytes may be kept as they are (personal data) is the source's business, not this module's.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{
    Array, ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, RecordBatch, StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::lake::TableSpec;

/// The table that rejects of every source land in, partitioned by arrival date.
pub const REJECT_TABLE: &str = "ods_reject";

/// How much of a rejected line or row is kept, unless a source's limits say otherwise.
pub const RAW_LIMIT_BYTES: usize = 65_536;

/// One rejected line, element or row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reject<'a> {
    /// Where it begins in the decompressed stream; `None` for formats without lines.
    pub byte_offset: Option<u64>,
    /// The row of an extract, from 1; `None` for logs.
    pub row_number: Option<u64>,
    /// The index within an envelope's data; `None` for extracts.
    pub element: Option<i32>,
    /// The reason, one word of `sources.md`.
    pub reason: &'a str,
    /// What exactly was wrong, without personal data.
    pub detail: &'a str,
    /// The bytes; whatever is beyond the builder's limit is not kept.
    pub raw: &'a [u8],
}

fn column(name: &str, kind: DataType, comment: &str) -> Field {
    Field::new(name, kind, true).with_metadata(HashMap::from([("comment".to_owned(), comment.to_owned())]))
}

/// The schema of `ods_reject`, its partition column `dt` first.
pub fn reject_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        column("dt", DataType::Date32, "arrival date of the file"),
        column("source", DataType::Utf8, "source, as conf/sources names it"),
        column("table_name", DataType::Utf8, "table that the row would have landed in"),
        column("file", DataType::Utf8, "path relative to the source's folder"),
        column("byte_offset", DataType::Int64, "where the line begins in the decompressed stream"),
        column("row_number", DataType::Int64, "row of an extract, from 1; NULL for logs"),
        column("element", DataType::Int32, "index within an envelope's data, 0 for a flat line; NULL for extracts"),
        column("reason", DataType::Utf8, "why it did not land, one word"),
        column("detail", DataType::Utf8, "what exactly was wrong, without personal data"),
        column("raw", DataType::Binary, "the line or row itself, its first 64 KiB"),
    ]))
}

/// What the table of rejects is.
pub fn reject_spec() -> TableSpec {
    TableSpec {
        name: REJECT_TABLE.to_owned(),
        schema: reject_schema(),
        partitioned: true,
        description: "Lines and rows that did not land, with their place and the reason".to_owned(),
    }
}

/// Collects the rejects of one source's table into batches of [`reject_schema`] without `dt`.
pub struct RejectBuilder {
    source: String,
    table_name: String,
    raw_limit: usize,
    bytes: usize,
    file: StringBuilder,
    byte_offset: Int64Builder,
    row_number: Int64Builder,
    element: Int32Builder,
    reason: StringBuilder,
    detail: StringBuilder,
    raw: BinaryBuilder,
}

impl RejectBuilder {
    /// An empty builder; at most `raw_limit` bytes of each reject are kept.
    pub fn new(source: &str, table_name: &str, raw_limit: usize) -> Self {
        Self {
            source: source.to_owned(),
            table_name: table_name.to_owned(),
            raw_limit,
            bytes: 0,
            file: StringBuilder::new(),
            byte_offset: Int64Builder::new(),
            row_number: Int64Builder::new(),
            element: Int32Builder::new(),
            reason: StringBuilder::new(),
            detail: StringBuilder::new(),
            raw: BinaryBuilder::new(),
        }
    }

    /// Adds one reject of a file.
    pub fn push(&mut self, file: &str, reject: &Reject<'_>) {
        let raw = &reject.raw[..reject.raw.len().min(self.raw_limit)];
        self.bytes += raw.len() + file.len() + reject.detail.len() + 64;
        self.file.append_value(file);
        self.byte_offset.append_option(reject.byte_offset.map(signed));
        self.row_number.append_option(reject.row_number.map(signed));
        self.element.append_option(reject.element);
        self.reason.append_value(reject.reason);
        self.detail.append_value(reject.detail);
        self.raw.append_value(raw);
    }

    /// Whether nothing was added since the last batch.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// About how much memory the rejects take: the caller finishes a batch in time.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The rejects added since the last batch, in that order: [`reject_schema`] without `dt`.
    ///
    /// # Errors
    /// When Arrow refuses the columns, which would be a mistake of this module.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        self.bytes = 0;
        let file = self.file.finish();
        let rows = file.len();
        let constant =
            |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows))) };
        let columns: Vec<ArrayRef> = vec![
            constant(&self.source),
            constant(&self.table_name),
            Arc::new(file),
            Arc::new(self.byte_offset.finish()),
            Arc::new(self.row_number.finish()),
            Arc::new(self.element.finish()),
            Arc::new(self.reason.finish()),
            Arc::new(self.detail.finish()),
            Arc::new(self.raw.finish()),
        ];
        Ok(RecordBatch::try_new(reject_file_schema(), columns)?)
    }
}

/// [`reject_schema`] without `dt`: the columns that the files of the table hold.
pub fn reject_file_schema() -> SchemaRef {
    let fields: Vec<_> = reject_schema().fields().iter().skip(1).cloned().collect();
    Arc::new(Schema::new(fields))
}

fn signed(place: u64) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    #[test]
    fn a_reject_keeps_its_place_and_no_more_bytes_than_the_limit() {
        let mut builder = RejectBuilder::new("orders", "ods_user", 4);
        builder.push("a.csv", &Reject { row_number: Some(7), reason: "bad_type", raw: b"123456", ..Reject::default() });
        assert!(!builder.is_empty());
        let batch = builder.finish().unwrap();
        assert_eq!(batch.column_by_name("raw").unwrap().as_binary::<i32>().value(0), b"1234");
        assert_eq!(batch.column_by_name("file").unwrap().as_string::<i32>().value(0), "a.csv");
        assert!(batch.column_by_name("element").unwrap().is_null(0));
        assert!(builder.is_empty());
        assert_eq!(builder.finish().unwrap().num_rows(), 0);
    }
}
