//! Reads every domain metadata of a Delta table in one pass over its log.
//!
//! `deltalake` looks a single domain up by replaying the log each time; a warehouse asks for all days of a table at
//! once. Format: the Delta protocol, actions `domainMetadata`, in JSON commits and (classic) Parquet checkpoints.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use arrow::array::{Array, AsArray};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;

/// How many commits are fetched at once.
const CONCURRENT_READS: usize = 16;

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "domainMetadata")]
    domain_metadata: Option<DomainMetadata>,
}

#[derive(Deserialize)]
struct DomainMetadata {
    domain: String,
    configuration: String,
    removed: bool,
}

/// The newest configuration of every domain that is not removed.
pub async fn read(store: &dyn ObjectStore, log: &Path) -> Result<BTreeMap<String, String>> {
    let objects: Vec<_> = store.list_with_delimiter(Some(log)).await?.objects;
    let names: Vec<&str> = objects.iter().filter_map(|o| o.location.filename()).collect();
    let version_of = |name: &str| name.get(..20).and_then(|digits| digits.parse::<u64>().ok());
    let newest = names
        .iter()
        .filter(|n| n.ends_with(".checkpoint.parquet") && n.len() == 39)
        .filter_map(|n| version_of(n))
        .max();

    let mut found = BTreeMap::new();
    if let Some(version) = newest {
        let path = log.clone().join(format!("{version:020}.checkpoint.parquet"));
        let bytes = store.get(&path).await?.bytes().await?;
        read_checkpoint(bytes, &mut found).with_context(|| format!("checkpoint {path}"))?;
    }
    let mut commits: Vec<u64> = names
        .iter()
        .filter(|name| name.len() == 25 && name.ends_with(".json"))
        .filter_map(|name| version_of(name))
        .filter(|version| newest.is_none_or(|n| *version > n))
        .collect();
    commits.sort_unstable();
    let texts: Vec<bytes::Bytes> = futures::stream::iter(commits)
        .map(|version| {
            let path = log.clone().join(format!("{version:020}.json"));
            async move { store.get(&path).await?.bytes().await }
        })
        .buffered(CONCURRENT_READS)
        .try_collect()
        .await?;
    for text in texts {
        read_commit(&text, &mut found)?;
    }
    Ok(found)
}

fn read_commit(text: &[u8], found: &mut BTreeMap<String, String>) -> Result<()> {
    let marker = memchr::memmem::Finder::new(b"\"domainMetadata\"");
    for line in text.split(|b| *b == b'\n').filter(|line| marker.find(line).is_some()) {
        let line: Line = serde_json::from_slice(line).context("a domain metadata action in the log")?;
        let Some(action) = line.domain_metadata else { continue };
        if action.removed {
            found.remove(&action.domain);
        } else {
            found.insert(action.domain, action.configuration);
        }
    }
    Ok(())
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
