//! Reads every domain metadata of a Delta table in one pass over its log, at its newest version or at an earlier one.
//!
//! `deltalake` looks a single domain up by replaying the log each time; a warehouse asks for all days of a table at
//! once. Format: the Delta protocol, actions `domainMetadata`, in JSON commits and (classic) Parquet checkpoints.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use arrow::array::{Array, AsArray};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::log::{Log, checkpoint_path, records_of};

/// The configuration at a version of every domain that is not removed.
///
/// # Errors
/// When the log cannot be read, or no longer has what that version is made of.
pub async fn read(store: &dyn ObjectStore, log: &Log, version: u64) -> Result<BTreeMap<String, String>> {
    let pieces = log.pieces(version);
    let (checkpoint, commits) = pieces.with_context(|| format!("the log no longer has version {version}"))?;
    let mut found = BTreeMap::new();
    if let Some(version) = checkpoint {
        let path = checkpoint_path(log.folder(), version);
        let bytes = store.get(&path).await?.bytes().await?;
        read_checkpoint(bytes, &mut found).with_context(|| format!("checkpoint {path}"))?;
    }
    let mut texts = std::pin::pin!(log.read(store, commits.into_iter()));
    while let Some((_, text)) = texts.try_next().await? {
        for (domain, record) in records_of(&text)? {
            match record {
                Some(record) => found.insert(domain, record),
                None => found.remove(&domain),
            };
        }
    }
    Ok(found)
}

fn read_checkpoint(bytes: bytes::Bytes, found: &mut BTreeMap<String, String>) -> Result<()> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    if builder.schema().column_with_name("domainMetadata").is_none() {
        return Ok(());
    }
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["domainMetadata"]);
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        let Some(actions) = batch.column_by_name("domainMetadata").and_then(|c| c.as_struct_opt().cloned()) else {
            continue;
        };
        let (Some(domains), Some(texts)) = (actions.column_by_name("domain"), actions.column_by_name("configuration"))
        else {
            continue;
        };
        let (Some(domains), Some(texts)) = (domains.as_string_opt::<i32>(), texts.as_string_opt::<i32>()) else {
            continue;
        };
        let removed = actions.column_by_name("removed").and_then(|c| c.as_boolean_opt().cloned());
        for row in (0..actions.len()).filter(|row| actions.is_valid(*row) && domains.is_valid(*row)) {
            let gone = removed.as_ref().is_some_and(|r| r.is_valid(row) && r.value(row));
            if !gone {
                found.insert(domains.value(row).to_owned(), texts.value(row).to_owned());
            }
        }
    }
    Ok(())
}
