//! The past: who made which version of a table, and the lake as it was after a run.
//!
//! A past lake ([`Lake::after`]) is read like the present one: a table is the newest version that a run up to then
//! committed, with the records of that version, and a table that did not exist yet is not there. It cannot be written.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;

use super::log::{Log, RecordChange, Version, records_of, version_of};
use super::table::Snapshot;
use super::{CONCURRENT_TABLES, Lake, Table, records};
use crate::error::Advice;

/// The layers, whose folders hold the tables.
const LAYERS: [&str; 4] = ["ods", "dwd", "dws", "app"];

impl Lake {
    /// The lake as it was when a run, and all before it, were done. Names of later runs sort after those of earlier ones.
    pub fn after(&self, run: &str) -> Self {
        Self { after: Some(run.into()), ..self.clone() }
    }

    /// Every table there is, by layer and name.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub async fn all_tables(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for layer in LAYERS {
            names.extend(self.tables(layer).await?);
        }
        Ok(names)
    }

    /// The versions of a table that the log still tells of, oldest first.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn history(&self, table: &str) -> Result<Vec<Version>> {
        let log = self.log(table).await?;
        let texts = log.read(&*self.store, log.commits.clone().into_iter());
        texts.map(|read| read.and_then(|(version, text)| version_of(version, &text))).try_collect().await
    }

    /// The versions of a table that the log still tells of, oldest first, with what each of them recorded.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn recordings(&self, table: &str) -> Result<Vec<(Version, Vec<RecordChange>)>> {
        let log = self.log(table).await?;
        let texts = log.read(&*self.store, log.commits.clone().into_iter());
        let told = |(version, text): (u64, bytes::Bytes)| Ok((version_of(version, &text)?, records_of(&text)?));
        texts.map(|read| read.and_then(told)).try_collect().await
    }

    /// The histories of all tables.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub async fn histories(&self) -> Result<BTreeMap<String, Vec<Version>>> {
        let tables = futures::stream::iter(self.all_tables().await?);
        let read = |table: String| async move { self.history(&table).await.map(|versions| (table, versions)) };
        tables.map(read).buffer_unordered(CONCURRENT_TABLES).try_collect().await
    }

    /// The version that a table had when a run was done; `None` when it did not exist. Reads no more of its log than was
    /// written since.
    ///
    /// A version that names no run (a table that was created, with nothing in it yet) belongs to the one after it.
    ///
    /// # Errors
    /// When the log cannot be read, or was cleaned up and no longer has that state.
    pub(super) async fn version_after(&self, table: &str, run: &str) -> Result<Option<u64>> {
        let log = self.log(table).await?;
        let mut texts = std::pin::pin!(log.read(&*self.store, log.commits.clone().into_iter().rev()));
        let mut is_newest = true;
        while let Some((number, text)) = texts.try_next().await? {
            let version = version_of(number, &text)?;
            if version.run.is_empty() {
                continue;
            }
            if version.run.as_str() > run {
                is_newest = false;
                continue;
            }
            // Nothing but versions without a run came after the newest that has one: they are its own.
            let found = if is_newest { log.newest().unwrap_or(number) } else { number };
            return if log.pieces(found).is_some() { Ok(Some(found)) } else { gone(table, run) };
        }
        if log.newest().is_some() && log.commits.first() != Some(&0) { gone(table, run) } else { Ok(None) }
    }

    /// A table at one of its versions.
    ///
    /// # Errors
    /// When the log cannot be read, or no longer has that version.
    pub async fn table_at(&self, name: &str, version: u64) -> Result<Table> {
        if let Some(snapshot) = self.kept.snapshot(name, version) {
            return Ok(Table::new(self, name, snapshot));
        }
        let delta = self.builder(name)?.with_version(version).load().await;
        let delta = delta.with_context(|| format!("open the Delta table {name} at version {version}"))?;
        let snapshot = Snapshot::of(delta)?;
        self.kept.keep_snapshot(name, version, snapshot.clone());
        Ok(Table::new(self, name, snapshot))
    }

    /// The oldest version of a table that can still be put together.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn oldest_version(&self, table: &str) -> Result<Option<u64>> {
        Ok(self.log(table).await?.oldest())
    }

    /// What is recorded beside a table's rows at one of its versions.
    ///
    /// # Errors
    /// When the log cannot be read, or no longer has that version.
    pub async fn records_at(&self, table: &str, version: u64) -> Result<BTreeMap<String, String>> {
        let read = records::read(&*self.store, &self.log(table).await?, version).await;
        Ok(read.with_context(|| format!("read what is recorded of {table}"))?.records)
    }

    /// Where a table's log lies.
    pub(super) fn log_folder(&self, table: &str) -> Path {
        self.path(table).join("_delta_log")
    }

    pub(super) async fn log(&self, table: &str) -> Result<Log> {
        Log::list(&*self.store, self.log_folder(table)).await
    }
}

fn gone<T>(table: &str, run: &str) -> Result<T> {
    let error = anyhow!("what {table} was after run {run} is gone: its log was cleaned up");
    Err(error).hint("ask for a later run: what was cleaned up cannot be had back")
}
