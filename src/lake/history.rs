//! The past: who made which version of a table, and the lake as it was after, or before, a run.
//!
//! A past lake ([`Lake::at`]) is read like the present one: a table is the newest version that a run up to then
//! committed, with the records of that version, and a table that did not exist yet is not there. It cannot be written.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, anyhow};
use futures::{StreamExt, TryStreamExt};

use super::log::{Log, RecordChange, Version, records_of, version_of};
use super::{CONCURRENT_TABLES, Lake, Table, records};
use crate::error::Advice;

/// The layers, whose folders hold the tables.
const LAYERS: [&str; 4] = ["ods", "dwd", "dws", "app"];

/// A moment in the life of a lake. Names of later runs sort after those of earlier ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// When the run, and all before it, were done.
    After(String),
    /// When the run, and none after it, had not begun.
    Before(String),
}

impl Moment {
    /// Whether what a run did is part of the state at this moment.
    fn includes(&self, run: &str) -> bool {
        match self {
            Self::After(last) => run <= last.as_str(),
            Self::Before(first) => run < first.as_str(),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::After(run) => format!("after run {run}"),
            Self::Before(run) => format!("before run {run}"),
        }
    }
}

/// A table at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Back {
    /// The version it had then; `None` when it did not exist.
    pub version: Option<u64>,
    /// The versions that were made since, newest first.
    pub since: Vec<Version>,
}

impl Lake {
    /// The lake as it was at a moment.
    pub fn at(&self, moment: Moment) -> Self {
        Self { moment: Some(moment.into()), ..self.clone() }
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

    /// The runs that made any version of any table, as far as the logs still tell.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub async fn runs(&self) -> Result<BTreeSet<String>> {
        let tables = futures::stream::iter(self.all_tables().await?);
        let mut histories =
            tables.map(|table| async move { self.history(&table).await }).buffer_unordered(CONCURRENT_TABLES);
        let mut runs = BTreeSet::new();
        while let Some(versions) = histories.try_next().await? {
            runs.extend(versions.into_iter().map(|version| version.run).filter(|run| !run.is_empty()));
        }
        Ok(runs)
    }

    /// Goes back in a table's log to a moment; reads no more of it than was written since.
    ///
    /// A version that names no run (a table that was created, with nothing in it yet) belongs to the one after it.
    ///
    /// # Errors
    /// When the log cannot be read, or was cleaned up and no longer has that state.
    pub async fn back(&self, table: &str, moment: &Moment) -> Result<Back> {
        let log = self.log(table).await?;
        let mut texts = std::pin::pin!(log.read(&*self.store, log.commits.clone().into_iter().rev()));
        let mut back = Back::default();
        while let Some((number, text)) = texts.try_next().await? {
            let version = version_of(number, &text)?;
            let has_run_since = back.since.iter().any(|since| !since.run.is_empty());
            if version.run.is_empty() {
                back.since.push(version);
            } else if moment.includes(&version.run) {
                // Nothing but versions without a run came after it: they are its own.
                if !has_run_since {
                    back.since.clear();
                }
                let newest = if has_run_since { number } else { log.newest().unwrap_or(number) };
                log.pieces(newest).map(drop).with_context(|| gone(table, moment)).hint(gone_hint())?;
                return Ok(Back { version: Some(newest), ..back });
            } else {
                back.since.push(version);
            }
        }
        match back.since.last() {
            Some(oldest) if oldest.version > 0 => Err(anyhow!(gone(table, moment))).hint(gone_hint()),
            None if log.newest().is_some() => Err(anyhow!(gone(table, moment))).hint(gone_hint()),
            _ => Ok(back),
        }
    }

    /// A table at one of its versions.
    ///
    /// # Errors
    /// When the log cannot be read, or no longer has that version.
    pub async fn table_at(&self, name: &str, version: u64) -> Result<Table> {
        let delta = self.builder(name)?.with_version(version).load().await;
        let delta = delta.with_context(|| format!("open the Delta table {name} at version {version}"))?;
        Table::new(self.clone(), name, delta)
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
        read.with_context(|| format!("read what is recorded of {table}"))
    }

    pub(super) async fn log(&self, table: &str) -> Result<Log> {
        Log::list(&*self.store, self.path(table).join("_delta_log")).await
    }
}

fn gone(table: &str, moment: &Moment) -> String {
    format!("what {table} was {} is gone: its log was cleaned up", moment.words())
}

fn gone_hint() -> &'static str {
    "a later run is needed; what was cleaned up cannot be had back"
}
