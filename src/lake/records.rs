//! Reads every domain metadata of a Delta table, and what the table is, in one pass over its log, at its newest version or
//! at an earlier one.
//!
//! `deltalake` looks a single domain up by replaying the log each time; a warehouse asks for all days of a table at
//! once. Format: the Delta protocol, actions `domainMetadata` and `metaData`, in JSON commits and (classic) Parquet checkpoints.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use arrow::array::{Array, AsArray, StringArray, StructArray};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::head::Metadata;
use super::kept::Length;
use super::log::{Log, checkpoint_path, metadata_of, records_of};

/// What a pass over a log tells of a version, besides the files.
#[derive(Default)]
pub struct Told {
    /// The configuration of every domain that is not removed.
    pub records: BTreeMap<String, String>,
    /// What the table is.
    pub metadata: Option<Metadata>,
    /// How long the log is.
    pub length: Length,
}

/// What is recorded at a version, and what the table is.
///
/// # Errors
/// When the log cannot be read, or no longer has what that version is made of.
pub async fn read(store: &dyn ObjectStore, log: &Log, version: u64) -> Result<Told> {
    let pieces = log.pieces(version);
    let (checkpoint, commits) = pieces.with_context(|| format!("the log no longer has version {version}"))?;
    let mut found = Told::default();
    if let Some(version) = checkpoint {
        let path = checkpoint_path(log.folder(), version);
        let bytes = store.get(&path).await?.bytes().await?;
        found.length.checkpoint = bytes.len() as u64;
        read_checkpoint(bytes, &mut found).with_context(|| format!("checkpoint {path}"))?;
    }
    let mut texts = std::pin::pin!(log.read(store, commits.into_iter()));
    while let Some((_, text)) = texts.try_next().await? {
        found.length.commits += text.len() as u64;
        for (domain, record) in records_of(&text)? {
            match record {
                Some(record) => found.records.insert(domain, record),
                None => found.records.remove(&domain),
            };
        }
        found.metadata = metadata_of(&text)?.or(found.metadata);
    }
    Ok(found)
}

fn read_checkpoint(bytes: bytes::Bytes, found: &mut Told) -> Result<()> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["domainMetadata", "metaData"]);
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        let actions = |name| batch.column_by_name(name).and_then(|c| c.as_struct_opt());
        if let Some(actions) = actions("metaData") {
            found.metadata = metadata_in(actions).or(found.metadata.take());
        }
        let Some(actions) = actions("domainMetadata") else { continue };
        let (Some(domains), Some(texts)) = (texts_in(actions, "domain"), texts_in(actions, "configuration")) else {
            continue;
        };
        let removed = actions.column_by_name("removed").and_then(|c| c.as_boolean_opt());
        for row in (0..actions.len()).filter(|row| actions.is_valid(*row) && domains.is_valid(*row)) {
            let gone = removed.is_some_and(|r| r.is_valid(row) && r.value(row));
            if !gone {
                found.records.insert(domains.value(row).to_owned(), texts.value(row).to_owned());
            }
        }
    }
    Ok(())
}

/// The metadata action in a batch of a checkpoint, of which there is one.
fn metadata_in(actions: &StructArray) -> Option<Metadata> {
    let schemas = texts_in(actions, "schemaString")?;
    let row = (0..actions.len()).find(|row| actions.is_valid(*row) && schemas.is_valid(*row))?;
    let description = texts_in(actions, "description").filter(|texts| texts.is_valid(row));
    let by = actions.column_by_name("partitionColumns")?.as_list_opt::<i32>()?.value(row);
    Some(Metadata {
        description: description.map(|texts| texts.value(row).to_owned()),
        schema_string: schemas.value(row).to_owned(),
        partition_columns: by.as_string_opt::<i32>()?.iter().flatten().map(str::to_owned).collect(),
    })
}

fn texts_in<'a>(actions: &'a StructArray, field: &str) -> Option<&'a StringArray> {
    actions.column_by_name(field)?.as_string_opt::<i32>()
}
