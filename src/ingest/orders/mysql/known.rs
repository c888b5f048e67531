//! The rejects of an overlap: a row is rejected each time it is read, and what says the same lands once.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context, Result};
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use tokio::runtime::Handle;
use xxhash_rust::xxh3::xxh3_128;

use crate::lake::{Table, read_columns};

/// The rejects that a table has already, looked up when the first new one comes.
#[derive(Default)]
pub struct KnownRejects {
    known: Option<HashSet<u128>>,
    /// Those that came once more, by reason.
    repeated: BTreeMap<String, u64>,
}

impl KnownRejects {
    /// A table's rejects without those that are among all `rejects` already.
    ///
    /// # Errors
    /// When these cannot be read.
    pub fn filtered(
        &mut self,
        new: &RecordBatch,
        rejects: &Table,
        runtime: &Handle,
        table: &str,
    ) -> Result<RecordBatch> {
        let known = match &mut self.known {
            Some(known) => known,
            missing => missing.insert(landed(rejects, runtime, table)?),
        };
        let is_new: BooleanArray = digests(new)?.iter().map(|digest| Some(!known.contains(digest))).collect();
        let reasons = new.column_by_name("reason").context("rejects without reason")?.as_string::<i32>();
        for row in (0..is_new.len()).filter(|row| !is_new.value(*row)) {
            *self.repeated.entry(reasons.value(row).to_owned()).or_default() += 1;
        }
        Ok(filter_record_batch(new, &is_new)?)
    }

    /// How many came once more since this was last asked, by reason.
    pub fn take_repeated(&mut self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.repeated)
    }
}

/// What a table's rejects say, from whatever run: also from one that a crash ended before its rows were committed.
fn landed(rejects: &Table, runtime: &Handle, table: &str) -> Result<HashSet<u128>> {
    let mut known = HashSet::new();
    for file in rejects.files() {
        let path = rejects.object_path(&file.path);
        let columns = ["table_name", "reason", "raw"];
        for batch in runtime.block_on(read_columns(&*rejects.lake().store(), &path, &columns))? {
            let tables = batch.column_by_name("table_name").context("rejects without table_name")?;
            let tables = tables.as_string::<i32>();
            let of_table = digests(&batch)?.into_iter().enumerate().filter(|(row, _)| tables.value(*row) == table);
            known.extend(of_table.map(|(_, digest)| digest));
        }
    }
    Ok(known)
}

fn digests(batch: &RecordBatch) -> Result<Vec<u128>> {
    let column = |name| batch.column_by_name(name).with_context(|| format!("rejects without {name}"));
    let (reasons, raws) = (column("reason")?.as_string::<i32>(), column("raw")?.as_binary::<i32>());
    let one = |row: usize| xxh3_128(&[reasons.value(row).as_bytes(), b"\n", raws.value(row)].concat());
    Ok((0..reasons.len()).map(one).collect())
}
