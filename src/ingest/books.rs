//! The books of an ingest: what became of each file, and what a table had in the lake before and after.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use arrow::array::AsArray;
use arrow::datatypes::Decimal128Type;

use crate::lake::{FileRef, StagedFile, Table, read_columns};

/// What became of the events or rows of one file: read = landed + unchanged + rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileBooks {
    /// The file, as it is named in the lake.
    pub file: String,
    /// What was read of it.
    pub read: u64,
    /// What landed.
    pub landed: u64,
    /// What had landed before.
    pub unchanged: u64,
    /// What was rejected.
    pub rejected: u64,
}

/// A table's rows in the lake around an ingest: after = before − left + landed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LakeBooks {
    /// Before.
    pub before: u64,
    /// Those that left: replaced by what their file says now, or deleted at the source.
    pub left: u64,
    /// After the last commit, as its log has it.
    pub after: u64,
}

/// The rows of files.
pub fn rows_of(files: &[FileRef]) -> u64 {
    files.iter().map(|file| file.rows).sum()
}

/// What some money columns of staged files add up to, read back from them.
///
/// # Errors
/// When a file cannot be read.
pub async fn sums_of(table: &Table, staged: &[StagedFile], names: &[&str]) -> Result<BTreeMap<String, i128>> {
    let mut sums: BTreeMap<String, i128> = names.iter().map(|name| ((*name).to_owned(), 0)).collect();
    if names.is_empty() {
        return Ok(sums);
    }
    for file in staged {
        let path = table.object_path(&file.path);
        for batch in read_columns(&*table.lake().store(), &path, names).await? {
            for (name, sum) in &mut sums {
                let column = batch.column_by_name(name).with_context(|| format!("{path} has no column {name}"))?;
                *sum += column.as_primitive::<Decimal128Type>().iter().flatten().sum::<i128>();
            }
        }
    }
    Ok(sums)
}
