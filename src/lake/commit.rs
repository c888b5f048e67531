//! Commits: staged files become rows of a table together with what is recorded of them, or not at all.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use deltalake::kernel::transaction::{CommitData, TransactionError};
use deltalake::kernel::{Action, Add, DomainMetadata, Remove};
use deltalake::logstore::{CommitOrBytes, LogStore};
use deltalake::protocol::{DeltaOperation, SaveMode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Lake;
use super::log::commit_path;
use super::table::{FileRef, Table};
use crate::date::Slot;

/// The folder of rows without a day, as Hive and Delta spell it.
const NO_DAY: &str = "__HIVE_DEFAULT_PARTITION__";

/// A Parquet file that lies in a table's folder and belongs to no version of it yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StagedFile {
    /// Where it lies, beneath the table's folder.
    pub path: String,
    /// The partition of its rows; `None` also for tables without partition folders.
    pub slot: Slot,
    /// Its size in bytes.
    pub size: u64,
    /// Its rows.
    pub rows: u64,
    /// Its statistics as JSON.
    pub stats: String,
}

/// One atomic change of a table.
#[derive(Default)]
pub struct Commit {
    /// Files that become part of the table.
    pub adds: Vec<StagedFile>,
    /// Files that leave it.
    pub removes: Vec<FileRef>,
    /// What is recorded with it: domain → JSON text, `None` takes the record away.
    pub records: Vec<(String, Option<String>)>,
    /// The run that does it.
    pub run: String,
    /// What it does, for the table's history: `ingest`, `build`, ….
    pub operation: &'static str,
    /// The run's clock.
    pub now_ms: i64,
}

/// The folder of a partition, as Delta and Hive name it.
pub fn partition_folder(slot: Slot) -> String {
    slot.map_or_else(|| format!("dt={NO_DAY}"), |day| format!("dt={day}"))
}

fn partition_values(partitioned: bool, slot: Slot) -> HashMap<String, Option<String>> {
    if partitioned { HashMap::from([("dt".to_owned(), slot.map(|day| day.to_string()))]) } else { HashMap::new() }
}

impl Table {
    /// Commits a change against this snapshot and moves on to the version it made.
    ///
    /// # Errors
    /// When another writer committed since the snapshot was taken, or the storage fails; the table is as it was then.
    pub async fn commit(&mut self, commit: Commit) -> Result<()> {
        self.write(commit, true).await
    }

    /// Commits other files with the same rows: those who follow the table's changes need not look.
    ///
    /// # Errors
    /// As of [`Self::commit`].
    pub(super) async fn rearrange(&mut self, commit: Commit) -> Result<()> {
        self.write(commit, false).await
    }

    async fn write(&mut self, commit: Commit, data_change: bool) -> Result<()> {
        if self.lake().after.is_some() {
            bail!("{}: the past is not written to", self.name());
        }
        let partitioned = self.partitioned();
        let mut actions = self.schema_actions()?;
        for file in &commit.removes {
            actions.push(Action::Remove(Remove {
                path: file.path.clone(),
                data_change,
                deletion_timestamp: Some(commit.now_ms),
                extended_file_metadata: Some(true),
                partition_values: Some(partition_values(partitioned, file.slot)),
                size: i64::try_from(file.size).ok(),
                ..Default::default()
            }));
        }
        for file in &commit.adds {
            actions.push(Action::Add(Add {
                path: file.path.clone(),
                partition_values: partition_values(partitioned, file.slot),
                size: i64::try_from(file.size).context("file size")?,
                modification_time: commit.now_ms,
                data_change,
                stats: Some(file.stats.clone()),
                ..Default::default()
            }));
        }
        for (domain, record) in commit.records {
            let (removed, configuration) = (record.is_none(), record.unwrap_or_default());
            actions.push(Action::DomainMetadata(DomainMetadata { domain, configuration, removed }));
        }
        let metadata = HashMap::from([
            ("run".to_owned(), json!(commit.run)),
            ("strata".to_owned(), json!(env!("CARGO_PKG_VERSION"))),
            ("strataOperation".to_owned(), json!(commit.operation)),
        ]);
        let version = self.version() + 1;
        self.lake().persist(commit.adds.iter().map(|file| self.object_path(&file.path))).await?;
        let bytes = write_version(self.lake(), self.name(), &*self.log_store(), version, actions, metadata).await?;
        self.advance(version, bytes).await
    }
}

/// Writes one version of a table's log, or fails where that version exists: a commit never retries over somebody
/// else's, for what was staged was computed from the snapshot before. Tells how long it is, in bytes.
///
/// `deltalake` refuses to commit to tables with domain metadata unless it is built with its `datafusion` feature (which
/// brings a second query engine's worth of code); its log store writes the same JSON atomically.
pub(super) async fn write_version(
    lake: &Lake,
    table: &str,
    log_store: &dyn LogStore,
    version: u64,
    actions: Vec<Action>,
    metadata: HashMap<String, Value>,
) -> Result<u64> {
    let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
    let bytes = CommitData::new(actions, operation, metadata, Vec::new()).get_bytes()?;
    let length = bytes.len() as u64;
    let written = log_store.write_commit_entry(version, CommitOrBytes::LogBytes(bytes), Uuid::new_v4()).await;
    match written {
        Ok(()) => {
            lake.persist([commit_path(&lake.log_folder(table), version)]).await?;
            Ok(length)
        }
        Err(TransactionError::VersionAlreadyExists(_)) => {
            bail!("another writer committed version {version} of {table} meanwhile; run again")
        }
        Err(error) => Err(error).with_context(|| format!("commit to {table}")),
    }
}
