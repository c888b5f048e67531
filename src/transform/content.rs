//! The content of published partitions as it is read back: its version, and where it differs from another one.

use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::prelude::{col, lit};
use futures::StreamExt;

use super::version::ContentHash;
use super::{Input, Workshop, sorted};
use crate::date::Slot;
use crate::engine::{LakeScan, cast_batch};

impl Workshop {
    /// The version and the number of a partition's rows as its files have them.
    ///
    /// # Errors
    /// When a file is gone or damaged.
    pub async fn content(&self, input: &Input, slot: Slot, grain: &[String]) -> Result<(u64, u64)> {
        let schema = input.table.schema();
        let mut rows = sorted(self.partition(input, slot).await?, grain, false)?.execute_stream().await?;
        let (mut hash, mut count) = (ContentHash::new(schema)?, 0);
        while let Some(batch) = rows.next().await {
            let batch = cast_batch(&batch?, schema)?;
            count += batch.num_rows() as u64;
            hash.update(&batch)?;
        }
        Ok((hash.digest(), count))
    }

    /// Some rows, as text, that one table has in a partition and another one has not.
    ///
    /// # Errors
    /// When a file is gone or damaged, or the tables have different columns.
    pub async fn only_in(&self, one: &Input, other: &Input, slot: Slot, limit: usize) -> Result<Vec<String>> {
        let (one, other) = (self.partition(one, slot).await?, self.partition(other, slot).await?);
        let batches = one.except(other)?.limit(0, Some(limit))?.collect().await?;
        let mut rows = Vec::new();
        for batch in &batches {
            let options = FormatOptions::default().with_null("NULL");
            let texts = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
            let texts = texts.collect::<Result<Vec<_>, _>>()?;
            let row = |at: usize| texts.iter().map(|text| text.value(at).to_string()).collect::<Vec<_>>().join(", ");
            rows.extend((0..batch.num_rows()).map(row));
        }
        Ok(rows)
    }

    async fn partition(&self, input: &Input, slot: Slot) -> Result<DataFrame> {
        let session = self.engine.session();
        let lake = input.table.lake();
        // The table may be of another lake than the engine's.
        session.runtime_env().register_object_store(lake.root(), lake.store());
        let scan = LakeScan::new(&input.table, &input.files, Vec::new())?;
        session.register_table(input.name.as_str(), Arc::new(scan))?;
        let frame = session.table(input.name.as_str()).await.context("a table was registered")?;
        if frame.schema().index_of_column_by_name(None, "dt").is_none() {
            return Ok(frame);
        }
        let of_slot = match slot {
            Some(day) => col("dt").eq(lit(ScalarValue::Date32(Some(day.days())))),
            None => col("dt").is_null(),
        };
        Ok(frame.filter(of_slot)?)
    }
}
