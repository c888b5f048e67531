//! Vacuum: files of a table's folder that no version within the retention refers to go, and log entries that no such
//! version needs.
//!
//! A file that left the table, or was staged by a run that died, is garbage only when it is older than the grace period,
//! by the log and by the storage. What is left behind by a crash in the middle is garbage again, or nothing.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use serde::Deserialize;
use url::Url;

use super::Lake;
use super::table::Table;

/// How many log entries are read at once.
const CONCURRENT_READS: usize = 16;

/// What is kept, by the clock.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// The versions that were the newest at this time, epoch milliseconds, or came later can be read.
    pub versions_since_ms: i64,
    /// Files that were written or left the table after this time stay in any case.
    pub untouched_since_ms: i64,
}

/// What a vacuum took away, or would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Data files that no version refers to.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Entries of the log and its checkpoints.
    pub log_entries: usize,
    /// Files that nothing refers to and that are not old enough yet.
    pub waiting: usize,
}

/// One version, as far as it matters here.
struct Version {
    number: u64,
    at_ms: i64,
    adds: Vec<String>,
}

#[derive(Deserialize)]
struct Line {
    add: Option<Added>,
    #[serde(rename = "commitInfo")]
    info: Option<Info>,
}

#[derive(Deserialize)]
struct Added {
    path: String,
}

#[derive(Deserialize)]
struct Info {
    timestamp: Option<i64>,
}

impl Table {
    /// Takes away what no version within the retention needs.
    ///
    /// # Errors
    /// When the storage fails; what was taken away by then was garbage.
    pub async fn vacuum(&self, retention: Retention, dry_run: bool) -> Result<Vacuumed> {
        let store = self.lake().store();
        let folder = self.lake().path(self.name());
        let log = folder.clone().join("_delta_log");
        let objects: Vec<ObjectMeta> = store.list(Some(&folder)).try_collect().await?;
        let (entries, files): (Vec<ObjectMeta>, Vec<ObjectMeta>) =
            objects.into_iter().partition(|object| object.location.prefix_matches(&log));
        let versions = self.versions(&entries).await?;
        let horizon = retention.versions_since_ms.min(retention.untouched_since_ms);
        // The newest of the versions that all came before the horizon: it was what readers saw then. A clock that jumped
        // back makes it an earlier one.
        let oldest =
            versions.iter().take_while(|version| version.at_ms <= horizon).last().map(|version| version.number);
        let oldest = oldest.or_else(|| versions.first().map(|version| version.number)).unwrap_or(self.version());

        let mut needed: HashSet<Path> = self.files_at(oldest).await?.into_iter().collect();
        needed.extend(self.files().iter().map(|file| self.object_path(&file.path)));
        let later = versions.iter().filter(|version| version.number > oldest);
        needed.extend(later.flat_map(|version| &version.adds).map(|path| self.object_path(path)));
        let mut done = Vacuumed::default();
        for file in files.iter().filter(|file| !needed.contains(&file.location)) {
            if file.last_modified.timestamp_millis() > retention.untouched_since_ms {
                done.waiting += 1;
                continue;
            }
            done.files += 1;
            done.bytes += file.size;
            if !dry_run {
                store.delete(&file.location).await.with_context(|| format!("take away {}", file.location))?;
            }
        }
        for (path, bytes) in drafts(self.lake(), &folder, retention.untouched_since_ms) {
            done.files += 1;
            done.bytes += bytes;
            if !dry_run {
                std::fs::remove_file(&path).with_context(|| format!("take away {}", path.display()))?;
            }
        }
        for path in needless_entries(&entries, oldest) {
            done.log_entries += 1;
            if !dry_run {
                store.delete(&path).await.with_context(|| format!("take away {path}"))?;
            }
        }
        Ok(done)
    }

    /// The versions whose log entries are there, oldest first.
    async fn versions(&self, entries: &[ObjectMeta]) -> Result<Vec<Version>> {
        let store = self.lake().store();
        let mut commits: Vec<(u64, Path)> = entries
            .iter()
            .filter(|entry| entry.location.filename().is_some_and(|name| name.ends_with(".json") && name.len() == 25))
            .filter_map(|entry| Some((number_of(&entry.location)?, entry.location.clone())))
            .collect();
        commits.sort_unstable();
        let read = commits.into_iter().map(|(number, path)| {
            let store = &store;
            async move {
                let text = store.get(&path).await?.bytes().await?;
                version(number, &text).with_context(|| format!("read {path}"))
            }
        });
        futures::stream::iter(read).buffered(CONCURRENT_READS).try_collect().await
    }

    /// The files of a version.
    async fn files_at(&self, version: u64) -> Result<Vec<Path>> {
        if version == self.version() {
            return Ok(self.files().iter().map(|file| self.object_path(&file.path)).collect());
        }
        let table = self.lake().table_at(self.name(), version).await?;
        Ok(table.files().iter().map(|file| self.object_path(&file.path)).collect())
    }
}

/// What a write that was cut short left in a folder of this machine: the storage writes `name#1` and renames it, and does
/// not list what was never renamed.
fn drafts(lake: &Lake, folder: &Path, untouched_since_ms: i64) -> Vec<(PathBuf, u64)> {
    let root = if lake.root().scheme() == "file" { Url::parse("file:///").ok() } else { None };
    let Some(Ok(root)) = root.map(|root| root.to_file_path()) else { return Vec::new() };
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder.as_ref())];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = name.rsplit_once('#').map(|(_, number)| number).filter(|number| !number.is_empty());
            let written = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            let is_old =
                written.is_some_and(|at| i64::try_from(at.as_millis()).is_ok_and(|at| at <= untouched_since_ms));
            if is_old && number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())) {
                found.push((entry.path(), meta.len()));
            }
        }
    }
    found
}

fn version(number: u64, text: &[u8]) -> Result<Version> {
    let mut version = Version { number, at_ms: i64::MAX, adds: Vec::new() };
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Line = serde_json::from_slice(line)?;
        version.adds.extend(line.add.map(|add| add.path));
        if let Some(at_ms) = line.info.and_then(|info| info.timestamp) {
            version.at_ms = at_ms;
        }
    }
    Ok(version)
}

/// The version that an entry of the log is of.
fn number_of(path: &Path) -> Option<u64> {
    path.filename()?.get(..20)?.parse().ok()
}

/// The entries before the newest checkpoint that is not newer than a version, oldest first: whatever is interrupted,
/// those that stay have no gap.
fn needless_entries(entries: &[ObjectMeta], oldest: u64) -> Vec<Path> {
    let is_checkpoint = |path: &Path| path.filename().is_some_and(|name| name.ends_with(".checkpoint.parquet"));
    let of = |entry: &ObjectMeta| Some((number_of(&entry.location)?, entry.location.clone()));
    let numbered: BTreeSet<(u64, Path)> = entries.iter().filter_map(of).collect();
    let bases = numbered.iter().filter(|(number, path)| *number <= oldest && is_checkpoint(path));
    let Some(base) = bases.map(|(number, _)| *number).max() else { return Vec::new() };
    numbered.into_iter().filter(|(number, _)| *number < base).map(|(_, path)| path).collect()
}
