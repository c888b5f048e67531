//! Two states of a table's rows side by side: which rows came, which went, and which cells of the others changed.
//!
//! Both come sorted by their key and are read once, side by side, so that memory does not grow with them.

use std::cmp::Ordering;

use anyhow::{Context as _, Result};
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::row::{Row, RowConverter, Rows, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::StreamExt;
use serde::Serialize;

/// How cells are written: as queries show them.
const OPTIONS: FormatOptions<'static> = FormatOptions::new()
    .with_display_error(true)
    .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
    .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"));

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It was not there before.
    Added,
    /// It is no longer there.
    Removed,
    /// A cell of it is another one.
    Changed,
}

/// A row that came or went, or a cell that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key of the row, `dt=2026-01-05,goods_id=7`; empty where rows have none.
    pub key: String,
    /// What became of it.
    pub fate: Fate,
    /// The column of a cell.
    pub column: Option<String>,
    /// The cell, or the row, before; `None` is NULL, or no row.
    pub before: Option<String>,
    /// The cell, or the row, after.
    pub after: Option<String>,
}

/// How many rows differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differing {
    /// Rows that came.
    pub added: u64,
    /// Rows that went.
    pub removed: u64,
    /// Rows of which a cell changed.
    pub changed: u64,
}

/// Compares two streams of rows, sorted ascending by their first `keys` columns (NULLs first); every difference is taken
/// in that order. The same columns and types in both.
///
/// # Errors
/// When the rows cannot be read.
pub async fn compare(
    before: SendableRecordBatchStream,
    after: SendableRecordBatchStream,
    keys: usize,
    mut take: impl FnMut(&dyn Fn() -> Vec<Change>),
) -> Result<Differing> {
    let (mut before, mut after) = (Side::new(before, keys)?, Side::new(after, keys)?);
    let mut found = Differing::default();
    loop {
        before.fill().await?;
        after.fill().await?;
        let order = match (before.key(), after.key()) {
            (None, None) => return Ok(found),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => one.cmp(&other),
        };
        match order {
            Ordering::Less => {
                found.removed += 1;
                take(&|| before.row(Fate::Removed));
                before.at += 1;
            }
            Ordering::Greater => {
                found.added += 1;
                take(&|| after.row(Fate::Added));
                after.at += 1;
            }
            Ordering::Equal => {
                if before.rest() != after.rest() {
                    found.changed += 1;
                    take(&|| before.cells(&after));
                }
                before.at += 1;
                after.at += 1;
            }
        }
    }
}

/// A cell as text; `None` is NULL.
pub fn text(column: &ArrayRef, row: usize) -> Option<String> {
    let shown = |formatter: ArrayFormatter<'_>| formatter.value(row).to_string();
    if column.is_null(row) { None } else { ArrayFormatter::try_new(column, &OPTIONS).ok().map(shown) }
}

/// One of the two streams, and where it stands.
struct Side {
    rows: SendableRecordBatchStream,
    keys: usize,
    key: RowConverter,
    rest: RowConverter,
    chunk: Option<Chunk>,
    at: usize,
}

/// A batch with its rows as bytes that compare as the rows do.
struct Chunk {
    batch: RecordBatch,
    keys: Rows,
    rest: Option<Rows>,
}

impl Side {
    fn new(rows: SendableRecordBatchStream, keys: usize) -> Result<Self> {
        let schema: SchemaRef = rows.schema();
        let fields: Vec<SortField> =
            schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let (key, rest) = fields.split_at_checked(keys).context("as many columns as keys")?;
        let (key, rest) = (RowConverter::new(key.to_vec())?, RowConverter::new(rest.to_vec())?);
        Ok(Self { rows, keys, key, rest, chunk: None, at: 0 })
    }

    /// Reads on when the rows at hand are used up.
    async fn fill(&mut self) -> Result<()> {
        while self.chunk.as_ref().is_none_or(|chunk| self.at >= chunk.batch.num_rows()) {
            let Some(batch) = self.rows.next().await.transpose()? else {
                self.chunk = None;
                return Ok(());
            };
            let (key, rest) = batch.columns().split_at(self.keys);
            let keys = self.key.convert_columns(key)?;
            let rest = if rest.is_empty() { None } else { Some(self.rest.convert_columns(rest)?) };
            self.chunk = Some(Chunk { batch, keys, rest });
            self.at = 0;
        }
        Ok(())
    }

    fn key(&self) -> Option<Row<'_>> {
        Some(self.chunk.as_ref()?.keys.row(self.at))
    }

    fn rest(&self) -> Option<Row<'_>> {
        Some(self.chunk.as_ref()?.rest.as_ref()?.row(self.at))
    }

    /// The cells of some columns of the row, `name=value`, NULLs left out of a row's description.
    fn words(&self, columns: std::ops::Range<usize>, separator: &str, with_nulls: bool) -> String {
        let Some(Chunk { batch, .. }) = &self.chunk else { return String::new() };
        let schema = batch.schema();
        let cell = |index: usize| {
            let value = text(batch.column(index), self.at);
            let value = value.or_else(|| with_nulls.then(|| "NULL".to_owned()))?;
            Some(format!("{}={value}", schema.field(index).name()))
        };
        columns.filter_map(cell).collect::<Vec<_>>().join(separator)
    }

    fn columns(&self) -> usize {
        self.chunk.as_ref().map_or(0, |chunk| chunk.batch.num_columns())
    }

    /// The whole row as a change. Rows without a key are all key: they are told by all they say.
    fn row(&self, fate: Fate) -> Vec<Change> {
        let all = self.columns();
        let (key, said) = match all == self.keys {
            true => (String::new(), self.words(0..all, ", ", false)),
            false => (self.words(0..self.keys, ",", true), self.words(self.keys..all, ", ", false)),
        };
        let (before, after) = if fate == Fate::Added { (None, Some(said)) } else { (Some(said), None) };
        vec![Change { key, fate, column: None, before, after }]
    }

    /// The cells in which the row differs from the other side's.
    fn cells(&self, other: &Self) -> Vec<Change> {
        let (Some(one), Some(two)) = (&self.chunk, &other.chunk) else { return Vec::new() };
        let key = self.words(0..self.keys, ",", true);
        let schema = one.batch.schema();
        let cell = |index: usize| {
            let cells = (text(one.batch.column(index), self.at), text(two.batch.column(index), other.at));
            let (before, after) = cells;
            let column = Some(schema.field(index).name().clone());
            (before != after).then(|| Change { key: key.clone(), fate: Fate::Changed, column, before, after })
        };
        (self.keys..self.columns()).filter_map(cell).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringViewArray};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

    use super::*;

    fn rows(batches: &[&[(i64, Option<&str>, i64)]]) -> SendableRecordBatchStream {
        let batch = |rows: &&[(i64, Option<&str>, i64)]| {
            RecordBatch::try_from_iter_with_nullable([
                ("id", Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0))) as ArrayRef, true),
                ("name", Arc::new(rows.iter().map(|r| r.1).collect::<StringViewArray>()), true),
                ("n", Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.2))), true),
            ])
            .expect("a batch")
        };
        let batches: Vec<RecordBatch> = batches.iter().map(batch).collect();
        let schema = batches[0].schema();
        Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches.into_iter().map(Ok))))
    }

    async fn told(before: SendableRecordBatchStream, after: SendableRecordBatchStream, keys: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let found = compare(before, after, keys, |changes| {
            lines.extend(changes().into_iter().map(|Change { key, fate, column, before, after }| {
                let word = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
                format!("{key} {fate:?} {} {} > {}", word(column), word(before), word(after))
            }));
        });
        let Differing { added, removed, changed } = found.await.expect("reads");
        lines.push(format!("{added} {removed} {changed}"));
        lines
    }

    #[tokio::test]
    async fn rows_that_came_and_went_and_cells_that_changed_are_told_across_batches() {
        let before = rows(&[&[(1, Some("a"), 1), (2, Some("b"), 2)], &[], &[(4, Some("d"), 4), (5, None, 5)]]);
        let after = rows(&[&[(2, Some("b"), 2)], &[(3, Some("c"), 3), (4, None, 40), (5, None, 5)]]);
        let expected = [
            "id=1 Removed - name=a, n=1 > -",
            "id=3 Added - - > name=c, n=3",
            "id=4 Changed name d > -",
            "id=4 Changed n 4 > 40",
            "1 1 1",
        ];
        assert_eq!(told(before, after, 1).await, expected);
    }

    #[tokio::test]
    async fn rows_without_a_key_are_counted_as_often_as_they_are_there() {
        let one = || (1, Some("a"), 1);
        let before = rows(&[&[one(), one(), (2, None, 2)]]);
        let after = rows(&[&[one(), (2, None, 2), (2, None, 2)]]);
        let expected = [" Removed - id=1, name=a, n=1 > -", " Added - - > id=2, n=2", "1 1 0"];
        assert_eq!(told(before, after, 3).await, expected);
        assert_eq!(told(rows(&[&[]]), rows(&[&[]]), 3).await, ["0 0 0"]);
    }
}
